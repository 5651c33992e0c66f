"""A gateway with OpenAI's API of usage, and calls to it."""

import hashlib
import time
from collections.abc import Callable
from typing import Any

from openai import InternalServerError, OpenAI

from tests.conftest import Gateway

NOVA, LITE, TITAN = "amazon.nova-micro-v1:0", "amazon.nova-lite-v1:0", "amazon.titan-embed-text-v2:0"
PRICES = {
    NOVA: {"input": 1000, "cached": 100, "cache_write": 1250, "output": 2000},
    LITE: {"input": 3, "output": 7},
    TITAN: {"input": 500},
}
DAY = 86_400
SECRETS = {name: f"qc_{name:_<43}" for name in ("ci", "dev", "umbrella", "watcher", "chats", "both", "leaver")}
TOKENS = [
    {"name": name, "sha256": hashlib.sha256(SECRETS[name].encode()).hexdigest(), **rest}
    for name, rest in {
        "ci": {"organisations": ["acme"]},
        "dev": {"organisations": ["acme"]},
        "umbrella": {"organisations": ["umbrella"]},
        "watcher": {"organisations": ["acme"], "scopes": ["usage"]},
        "chats": {"organisations": ["acme"], "scopes": ["chat", "models"]},
        "both": {"organisations": ["acme", "umbrella", "leavers"], "scopes": ["usage"]},
        "leaver": {"organisations": ["leavers"]},
    }.items()
]
CONFIG = {
    "usage": {"ledger": "usage.jsonl", "sqlite": "usage.sqlite"},
    "prices": PRICES,
    "tokens": TOKENS,
    "organisations": {"acme": {"aliases": {"small": NOVA}}, "umbrella": {}, "leavers": {}},
    "workers": 2,
}
Eventually = Callable[..., Any]


def sdk(gateway: Gateway, token: str, **more: Any) -> OpenAI:
    """Return OpenAI's SDK, which has one key for calls and another for administration: here the same."""
    return OpenAI(
        base_url=gateway.url, api_key=SECRETS[token], admin_api_key=SECRETS[token], max_retries=0, timeout=60, **more
    )


def usage_of(gateway: Gateway, token: str = "watcher", **more: Any) -> Any:
    """Return the resource of usage, as the holder of a token has it."""
    return sdk(gateway, token, **more).admin.organization.usage


TODAY = int(time.time()) // DAY * DAY
"""The day on which the tests begin; they may end on the next."""

GROUPS = ("model", "line_item", "api_key_id")
NUMBERS = ("num_model_requests", "input_tokens", "output_tokens")


def results(page: Any) -> list[Any]:
    """Return the results, those of a group in several buckets as one."""
    found: dict[tuple[str | None, ...], Any] = {}
    for each in (result for bucket in page.data for result in bucket.results):
        known = found.setdefault(tuple(getattr(each, name, None) for name in GROUPS), each)
        if known is not each:
            for name in NUMBERS if hasattr(each, "input_tokens") else ():
                setattr(known, name, getattr(known, name, 0) + getattr(each, name, 0))
            if hasattr(each, "amount"):
                known.amount.value += each.amount.value
    return list(found.values())


def chat(gateway: Gateway, token: str, model: str, text: str = "Hello! " * 30) -> Any:
    messages: Any = [{"role": "user", "content": text}]
    return sdk(gateway, token).chat.completions.create(model=model, messages=messages).usage


def used(gateway: Gateway) -> tuple[int, int, int] | None:
    """Return the calls of the tests, and their tokens; None while the ledger is read, or no worker runs."""
    try:
        found = results(usage_of(gateway).completions(start_time=TODAY))
    except InternalServerError as error:
        if error.status_code != 503:
            raise
        return None
    return (found[0].num_model_requests, found[0].input_tokens, found[0].output_tokens) if found else (0, 0, 0)
