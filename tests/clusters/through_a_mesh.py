"""Checks of every mesh's overlay: its worker's command line, and tests of calls through it.

The tests are no `test_*.py` of their own: a module that has a `gateway` collects them (`collect`).
"""

import base64
import sys
from pathlib import Path
from types import FunctionType
from typing import Any

import httpx
import pytest
import yaml
from openai import OpenAI

from tests.clients import (
    test_chat,
    test_custom_tools,
    test_embeddings,
    test_errors,
    test_models,
    test_streaming,
    test_structured_output,
    test_tool_histories,
    test_tools,
)
from tests.conftest import CONFIG
from tests.deploy.programs import OAI_EXTPROC

NOVA = "amazon.nova-micro-v1:0"
HELLO: Any = [{"role": "user", "content": "Hello!"}]

OTHERWISE = {"test_the_headers_of_a_response"}
"""Client tests that fail with a mesh: its responses come in chunks, as the worker cannot set a length."""


def collect() -> dict[str, Any]:
    """Return the client tests and those of this module, by their names where they are collected."""
    modules = (
        test_chat,
        test_streaming,
        test_tools,
        test_custom_tools,
        test_tool_histories,
        test_structured_output,
        test_embeddings,
        test_models,
        test_errors,
        sys.modules[__name__],
    )
    return {
        f"test_{module.__name__.rpartition('.')[2].removeprefix('test_')}_{name.removeprefix('test_')}": each
        for module in modules
        for name, each in vars(module).items()
        if name.startswith("test_") and isinstance(each, FunctionType) and name not in OTHERWISE
        if "start_gateway" not in each.__code__.co_varnames
    }


def worker_command(container: Any, folder: Path, certificates: Path, listen: str) -> list[str]:
    """The container's own, with the files where they are here; organisations and tokens are those of all tests."""
    assert container["command"] == ["oai-extproc"]
    settings = {key: value for key, value in CONFIG.items() if key not in ("tokens", "region")}
    for name in ("config", "tokens", "run"):
        (folder / name).mkdir()
    (folder / "config" / "gateway.yaml").write_text(yaml.safe_dump({**settings, "tokens_from": "../tokens"}))
    (folder / "tokens" / "tokens.yaml").write_text(yaml.safe_dump({"tokens": CONFIG["tokens"]}))
    places = {
        "/etc/oai/config": str(folder / "config"),
        "/etc/oai/tls": str(certificates / "server"),
        "/run/oai": str(folder / "run"),
        "0.0.0.0:9443": listen,
    }
    words = list(container["args"])
    for old, new in places.items():
        words = [word.replace(old, new) for word in words]
    return [*OAI_EXTPROC, *words]


def ready(url: str) -> bool:
    """Return whether a caller without a key gets the worker's error."""
    try:
        return httpx.get(f"{url}/models").status_code == 401
    except httpx.HTTPError:
        return False


def test_responses_have_no_length_and_are_whole(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model=NOVA, messages=HELLO)
    assert raw.headers["x-request-id"] == raw.parse()._request_id
    assert raw.headers["content-type"] == "application/json"
    assert raw.headers["transfer-encoding"] == "chunked"
    assert not [name for name in raw.headers if name.startswith("x-amz")]


def picture(size: int) -> str:
    """A PNG with this many bytes behind its head."""
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * size).decode()


@pytest.mark.parametrize("size", [40_000, 1_200_000, 3_000_000])
def test_an_image_is_larger_than_a_meshs_usual_buffer(client: OpenAI, local: Any, size: int) -> None:
    content: Any = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": picture(size)}},
    ]
    response = client.chat.completions.create(
        model="anthropic.claude-sonnet-4-6", messages=[{"role": "user", "content": content}]
    )
    assert response.choices[0].message.content
    assert local.call()["state"] == "finished"


def test_a_body_above_the_limit_is_a_413_in_openais_shape(gateway: Any, token: str) -> None:
    body = b'{"model": "' + b"x" * (42 * 1024 * 1024) + b'"}'
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    response = httpx.post(f"{gateway.url}/chat/completions", content=body, headers=headers, timeout=60)
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "request_too_large"


def test_an_arn_with_escaped_slashes_is_one_model(gateway: Any, token: str) -> None:
    arn = "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aprovisioned-model%2Fnone"
    headers = {"authorization": f"Bearer {token}"}
    response = httpx.get(f"{gateway.url}/models/{arn}", headers=headers)
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"


def test_only_the_apis_path_goes_to_the_worker(gateway: Any) -> None:
    response = httpx.get(gateway.url.removesuffix("/oai/v1") + "/elsewhere")
    assert response.status_code == 404
    assert response.content == b""
