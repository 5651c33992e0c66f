"""A mesh's overlay as its real controller makes it: what the client tests want is what it gives.

The tests of tests/clients/ that start no gateway of their own are collected here once more; what follows them is what
is another with a mesh.
"""

import base64
import json
from types import ModuleType
from typing import Any

import httpx
import pytest
from openai import OpenAI

from tests.clients import (
    conftest,
    test_chat,
    test_embeddings,
    test_errors,
    test_models,
    test_streaming,
    test_structured_output,
    test_tools,
)
from tests.clusters.conftest import Attached

pytestmark = pytest.mark.mesh

NOVA = "amazon.nova-micro-v1:0"
HELLO: Any = [{"role": "user", "content": "Hello!"}]

client, async_client, local, token = conftest.client, conftest.async_client, conftest.local, conftest.token
weather, clock = conftest.weather, conftest.clock

OTHERWISE = {"test_the_headers_of_an_answer"}
"""What is not so with a mesh: neither lets the worker say how long its answers are, so they come in chunks."""


def collect(*modules: ModuleType) -> dict[str, Any]:
    """The tests of these modules that are about the gateway that is there."""
    return {
        f"{module.__name__.rpartition('.')[2]}_{name.removeprefix('test_')}": each
        for module in modules
        for name, each in vars(module).items()
        if name.startswith("test_") and name not in OTHERWISE and "start_gateway" not in each.__code__.co_varnames
    }


globals().update(
    collect(test_chat, test_streaming, test_tools, test_structured_output, test_embeddings, test_models, test_errors)
)


def test_answers_have_no_length_and_are_whole(client: OpenAI) -> None:
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
    answer = client.chat.completions.create(
        model="anthropic.claude-sonnet-4-6", messages=[{"role": "user", "content": content}]
    )
    assert answer.choices[0].message.content
    assert local.call()["state"] == "finished"


def test_a_body_above_the_limit_is_a_413_in_openais_words(gateway: Attached, token: str) -> None:
    body = b'{"model": "' + b"x" * (42 * 1024 * 1024) + b'"}'
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    answer = httpx.post(f"{gateway.url}/chat/completions", content=body, headers=headers, timeout=60)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"


def test_an_arn_with_escaped_slashes_is_one_model(gateway: Attached, token: str) -> None:
    arn = "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aprovisioned-model%2Fnone"
    answer = httpx.get(f"{gateway.url}/models/{arn}", headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


def test_a_stream_of_a_minute_is_whole(client: OpenAI) -> None:
    """Longer than the timeouts that meshes have by themselves; 120 words, half a second each."""
    text = " ".join(f"word{number}" for number in range(120))
    stream = client.chat.completions.create(
        model=NOVA, messages=[{"role": "user", "content": f"{text} [[local: pace=0.5]]"}], stream=True, timeout=120
    )
    said = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert "word119" in said


CALLERS_OWN = {
    "x-forwarded-for": "192.0.2.1",
    "x-forwarded-host": "evil.example",
    "x-envoy-max-retries": "7",
    "x-envoy-decorator-operation": "mine",
    "x-envoy-attempt-count": "9",
    "x-amz-security-token": "mine",
    "cookie": "a=b",
}
LEFT = {"istio": set[str](), "envoy-gateway": {"x-forwarded-host"}}
"""What a mesh sends to Bedrock beside what the worker wrote, and no overlay can keep it from."""


def test_bedrock_sees_what_the_worker_wrote_and_nothing_of_the_callers(
    mesh: str, client: OpenAI, local: Any, token: str
) -> None:
    client.chat.completions.create(model=NOVA, messages=HELLO, extra_headers=CALLERS_OWN)
    (call,) = local.calls()
    assert token not in json.dumps(call)
    foreign = {name for name in call["headers"] if name.startswith(("x-envoy-", "x-forwarded-", "x-b3-", "cookie"))}
    assert foreign == LEFT[mesh]
    assert call["headers"]["host"] == "bedrock-runtime.us-east-1.amazonaws.com"
    assert not set(CALLERS_OWN.values()) & set(map(str, call["headers"].values()))


def test_nothing_but_the_apis_path_is_asked_about(gateway: Attached) -> None:
    answer = httpx.get(gateway.url.removesuffix("/oai/v1") + "/elsewhere")
    assert answer.status_code == 404
    assert answer.content == b""
