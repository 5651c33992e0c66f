"""Streams of a broken Bedrock that do not end: each ends with an error, and costs no more than its limit of tokens."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.chaos.upstream import START, Script, Upstream, chunk, frame, head
from tests.conftest import CONFIG, Gateway
from tests.envoy.gateway.conftest import client_for
from tests.envoy.gateway.test_budgets import balances

MODEL = "amazon.nova-lite-v1:0"
MIB = 1024 * 1024

WORDS = chunk(frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "word " * 50}}) * 100)
"""25,000 bytes of text."""
INPUT = chunk(frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"toolUse": {"input": " " * 250}}}) * 100)
CALL = chunk(
    frame("contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "1", "name": "f"}}})
)
NOTHING = chunk(frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": ""}, "p": "x" * 99_000}))

ENDLESS = 2000
"""Times that a piece is sent: more than any stream may have."""


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    upstream = Upstream()
    yield upstream
    upstream.close()


@pytest.fixture(scope="module")
def gateway(start_shared: Any, upstream: Upstream) -> Any:
    acme = {"budgets": [{"tokens": "1G", "per": "month"}]}
    settings = {
        "organisations": {**CONFIG["organisations"], "acme": acme},
        "budgets": {"sqlite": "spent.sqlite"},
        "endpoints": {"responses": True},
    }
    return start_shared(settings, env=upstream.environment, args=["--upstream", "aws", "--access-log"])


def record(gateway: Gateway, request_id: str) -> dict[str, Any]:
    line = gateway.wait_for(rf'.*"id":"{request_id}".*')[0]
    entry: dict[str, Any] = json.loads(line[line.index("{") :])["oai"]
    return entry


def ended(gateway: Gateway, script: Script, **more: Any) -> tuple[int, str, dict[str, Any]]:
    """Return the bytes that a caller of a stream gets, the code of the error at its end, and the call's record."""
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    with client_for(gateway).stream(script.prompt, model=MODEL, tools=[tool], **more) as stream:
        *chunks, last = stream.rest()
        request_id = stream.headers["x-request-id"]
    return sum(map(len, chunks)), json.loads(last)["error"]["code"], record(gateway, request_id)


@pytest.mark.parametrize("pieces", [[WORDS], [CALL, INPUT]], ids=["text", "a tool's input"])
def test_a_stream_without_end_ends_by_its_limit_of_tokens(
    gateway: Gateway, upstream: Upstream, eventually: Callable[..., Any], pieces: list[bytes]
) -> None:
    before = sum(spent for spent, _ in balances(gateway).values())
    script = upstream.script(head(), START, *pieces, *[pieces[-1]] * ENDLESS)
    received, code, counted = ended(gateway, script, max_tokens=100)
    assert code == counted["finish"] == "bad_upstream_answer"
    assert 64 * 1024 < received < 2 * MIB
    assert (counted["estimated"], counted["output_tokens"]) == (True, 100)
    eventually(script.left.is_set)
    spent = sum(spent for spent, _ in balances(gateway).values()) - before
    assert spent == counted["input_tokens"] + 100


def test_a_stream_without_end_and_without_a_limit_ends(
    gateway: Gateway, upstream: Upstream, eventually: Callable[..., Any]
) -> None:
    script = upstream.script(head(), START, *[WORDS] * ENDLESS)
    _, code, counted = ended(gateway, script)
    assert (code, counted["estimated"], counted["output_tokens"]) == ("bad_upstream_answer", True, 128_000)
    eventually(script.left.is_set)


def test_a_stream_of_nothing_without_end_ends(
    gateway: Gateway, upstream: Upstream, eventually: Callable[..., Any]
) -> None:
    script = upstream.script(head(), START, WORDS, *[NOTHING] * ENDLESS)
    _, code, counted = ended(gateway, script)
    assert (code, counted["estimated"], counted["output_tokens"]) == ("bad_upstream_answer", True, 6250)
    eventually(script.left.is_set)
