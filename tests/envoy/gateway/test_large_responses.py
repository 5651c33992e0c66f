"""Whole responses of Bedrock's that are larger than a model's text: another process assembles them, or none does."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bench.whole_responses import converse
from extproc.exchange.endpoint import LARGE_RESPONSES
from tests.chaos.upstream import Script, Upstream, chunk, head
from tests.conftest import CONFIG, Gateway
from tests.envoy.gateway.conftest import client_for
from tests.envoy.gateway.test_large_requests import translators

NOVA = "amazon.nova-lite-v1:0"
LLAMA = "us.meta.llama3-3-70b-instruct-v1:0"
"""It cannot stream beside tools."""
TOOL = {"type": "function", "name": "f", "parameters": {"type": "object"}}
TEXT = "word " * (LARGE_RESPONSES // 4)
"""1.3 MB."""


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    upstream = Upstream()
    yield upstream
    upstream.close()


@pytest.fixture(scope="module")
def gateway(start_shared: Any, upstream: Upstream) -> Any:
    settings = {"organisations": CONFIG["organisations"], "endpoints": {"responses": True}}
    return start_shared(settings, env=upstream.environment, args=["--upstream", "aws", "--access-log"])


def script(upstream: Upstream, body: bytes, *, chunked: bool = False) -> Script:
    """Return a script that sends a whole response."""
    if chunked:
        return upstream.script(head("application/json"), chunk(body), b"0\r\n\r\n")
    return upstream.script(head("application/json", len(body)), body)


@pytest.mark.parametrize("chunked", [False, True], ids=["of a length", "in chunks"])
def test_a_large_response_is_whole(gateway: Gateway, upstream: Upstream, *, chunked: bool) -> None:
    response = client_for(gateway).chat(
        script(upstream, converse([{"text": TEXT}]), chunked=chunked).prompt, model=NOVA
    )
    assert response.content == TEXT
    assert response.json()["usage"]["completion_tokens"] == 5
    assert translators(gateway)


def test_a_large_response_of_a_model_that_cannot_stream_is_a_whole_stream(gateway: Gateway, upstream: Upstream) -> None:
    prompt = script(upstream, converse([{"text": TEXT}])).prompt
    request = {"model": LLAMA, "input": prompt, "stream": True, "tools": [TOOL]}
    client = client_for(gateway)
    connection = client.connect()
    client.send(connection, "POST", "/oai/v1/responses", json.dumps(request).encode())
    *_, last, rest = connection.getresponse().read().decode().split("\n\n")
    connection.close()
    event = json.loads(last.partition("data: ")[2])
    assert (rest, event["type"]) == ("", "response.completed")
    assert event["response"]["output"][0]["content"][0]["text"] == TEXT


def test_a_large_response_whose_translation_fails_is_an_error(gateway: Gateway, upstream: Upstream) -> None:
    client = client_for(gateway)
    odd = script(upstream, b"{" * (LARGE_RESPONSES + 1))
    response = client.chat(odd.prompt, model=NOVA)
    assert (response.status, response.error["code"]) == (502, "bad_upstream_answer")
    [pid] = translators(gateway)
    os.kill(pid, signal.SIGKILL)
    responses = [client.chat(script(upstream, converse([{"text": TEXT}])).prompt, model=NOVA) for _ in range(3)]
    assert {response.status for response in responses} <= {200, 503}
    assert responses[-1].status == 200


def test_small_responses_do_not_wait_for_a_large_one(
    gateway: Gateway, upstream: Upstream, eventually: Callable[..., Any]
) -> None:
    client = client_for(gateway)
    assert client.chat(script(upstream, converse([{"text": TEXT}])).prompt, model=NOVA).status == 200
    [pid] = translators(gateway)
    os.kill(pid, signal.SIGSTOP)
    try:
        large = script(upstream, converse([{"text": TEXT}]))
        connection = client.connect()
        body = {"model": NOVA, "messages": [{"role": "user", "content": large.prompt}]}
        client.send(connection, "POST", "/oai/v1/chat/completions", json.dumps(body).encode())
        eventually(large.arrived.is_set)
        for _ in range(3):
            assert client.chat("Hello!", model=NOVA).status == 200
    finally:
        os.kill(pid, signal.SIGCONT)
    response = connection.getresponse()
    assert (response.status, len(response.read()) > len(TEXT)) == (200, True)
    connection.close()


def test_a_client_that_leaves_while_its_large_response_is_assembled_takes_nothing_with_it(
    gateway: Gateway, upstream: Upstream, eventually: Callable[..., Any]
) -> None:
    client = client_for(gateway)
    assert client.chat(script(upstream, converse([{"text": TEXT}])).prompt, model=NOVA).status == 200
    [pid] = translators(gateway)
    os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(3):
            large = script(upstream, converse([{"text": TEXT}]))
            connection = client.connect()
            body = {"model": NOVA, "messages": [{"role": "user", "content": large.prompt}]}
            client.send(connection, "POST", "/oai/v1/chat/completions", json.dumps(body).encode())
            eventually(large.arrived.is_set)
            connection.close()
        assert client.chat("Hello!", model=NOVA).status == 200
    finally:
        os.kill(pid, signal.SIGCONT)
    assert client.chat(script(upstream, converse([{"text": TEXT}])).prompt, model=NOVA).status == 200


@pytest.mark.parametrize("endpoint", ["chat", "responses"])
def test_a_response_with_more_text_than_its_limit_of_tokens_can_be_is_an_error(
    gateway: Gateway, upstream: Upstream, endpoint: str
) -> None:
    prompt = script(upstream, converse([{"text": TEXT}])).prompt
    if endpoint == "chat":
        response = client_for(gateway).chat(prompt, model=NOVA, max_tokens=100)
    else:
        body = json.dumps({"model": NOVA, "input": prompt, "max_output_tokens": 100}).encode()
        response = client_for(gateway).exchange("POST", "/oai/v1/responses", body)
    assert (response.status, response.error["code"]) == (502, "bad_upstream_answer")
    assert "bytes of text" in response.error["message"]
    line = gateway.wait_for(rf'.*"id":"{response.headers["x-request-id"]}".*')[0]
    record = json.loads(line[line.index("{") :])["oai"]
    assert (record["estimated"], record["output_tokens"]) == (True, 100)
