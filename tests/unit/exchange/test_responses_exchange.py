"""Exchanges of POST /responses: who has the endpoint, its keys, and the times of its responses."""

import json
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from extproc import config
from extproc.exchange.directives import Forward, Reply
from extproc.exchange.events import RequestBody, RequestHeaders, ResponseBody, ResponseHeaders
from extproc.exchange.exchange import Exchange
from extproc.exchange.gateway import Gateway
from extproc.tenancy.directory import Directory
from tests.unit.exchange.conftest import NOW, TOKEN
from tests.unit.exchange.test_responses_endpoint import ask

# The switch


def exchange_of(gateway: Gateway, **settings: Any) -> Exchange:
    gateway.settings = msgspec.structs.replace(gateway.settings, **settings)
    gateway.directory = Directory(gateway.settings)
    return Exchange(gateway, "0" * 32)


def begin(exchange: Exchange, authorization: str = f"Bearer {TOKEN}", method: str = "POST") -> Any:
    headers = {":method": method, ":path": "/oai/v1/responses", "authorization": authorization}
    [directive] = exchange.receive(RequestHeaders(headers), NOW)
    return directive


ON, OFF = config.EndpointSettings(responses=True), config.EndpointSettings()


@pytest.mark.parametrize("authorization", [f"Bearer {TOKEN}", "Bearer qc_unknown", ""])
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_without_the_switch_it_is_a_404_for_anybody(gateway: Gateway, authorization: str, method: str) -> None:
    reply = begin(exchange_of(gateway), authorization, method)
    assert isinstance(reply, Reply)
    assert reply.status == 404
    error = json.loads(reply.body)["error"]
    assert error["code"] == "unknown_url"
    assert ("endpoints.responses: true" in error["message"]) == (method == "POST")


def test_one_organisation_may_have_it(gateway: Gateway) -> None:
    own = {"acme": config.Organisation(endpoints=ON), "frugal": config.Organisation()}
    exchange = exchange_of(gateway, organisations=own)
    assert not isinstance(begin(exchange), Reply)
    body = json.dumps({"model": "anthropic.claude-sonnet-4-6", "input": "Hello"}).encode()
    [forward] = exchange.receive(RequestBody(body), NOW)
    assert isinstance(forward, Forward)
    assert forward.path == "/model/us.anthropic.claude-sonnet-4-6/converse"


@pytest.mark.parametrize(
    "fields",
    [
        '"input":[{"role":"user","content":"Hi"},{"type":"odd","x":%s}]',
        '"input":[{"role":"assistant","content":[{"type":"output_text","text":"Hi","annotations":%s}]}]',
        '"input":[{"role":"user","content":[{"type":"input_image","image_url":%s}]}]',
        '"input":"Hi","tool_choice":{"type":"function","name":"look","x":%s}',
        '"input":"Hi","tools":[\n{"type":"odd","x":%s}]',
        '"input":"Hi","text":{"format":{"type":"json_schema","name":"it","schema":\n{"x":%s}}}',
    ],
)
def test_json_of_any_depth_is_a_request_or_a_400(gateway: Gateway, fields: str) -> None:
    """Whichever step finds Python's limit of recursion: each stands on more frames than the one before."""
    limit = sys.getrecursionlimit()
    rejected = 0
    for depth in range(limit - 200, limit):
        exchange = exchange_of(gateway, endpoints=ON)
        begin(exchange)
        body = '{"model":"anthropic.claude-sonnet-4-6",' + fields % ("[" * depth + "]" * depth) + "}"
        [directive] = exchange.receive(RequestBody(body.encode()), NOW)
        assert isinstance(directive, Forward | Reply)
        rejected += isinstance(directive, Reply) and directive.status == 400
    assert rejected


def test_one_organisation_may_lack_it(gateway: Gateway) -> None:
    own = {"acme": config.Organisation(endpoints=OFF), "frugal": config.Organisation()}
    reply = begin(exchange_of(gateway, organisations=own, endpoints=ON))
    assert isinstance(reply, Reply)
    assert reply.status == 404


def test_the_key_is_the_operators_or_derived_from_the_tokens(gateway: Gateway) -> None:
    derived = gateway.directory.response_keys
    assert Directory(gateway.settings).response_keys == derived
    fewer = msgspec.structs.replace(gateway.settings, tokens=gateway.settings.tokens[:1])
    assert Directory(fewer).response_keys != derived
    keys = config.ResponsesSettings(keys=("n" * 32, "o" * 32))
    own = msgspec.structs.replace(gateway.settings, responses=keys)
    assert Directory(own).response_keys == (b"n" * 32, b"o" * 32)


@pytest.mark.parametrize("stream", [False, True])
def test_the_repetitions_of_the_request_in_its_response_are_counted(stream: bool) -> None:
    [call] = ask(instructions="x" * 10_000, stream=stream).calls
    assert 3 * 10_000 < call.response < 3 * 12_000


@pytest.mark.parametrize("stream", [False, True])
def test_a_response_has_the_times_of_its_request_and_of_its_end(
    gateway: Gateway, event: Callable[..., bytes], stream: bool
) -> None:
    exchange = exchange_of(gateway, endpoints=ON)
    begin(exchange)
    request = {"model": "anthropic.claude-sonnet-4-6", "input": "Hello", "stream": stream}
    exchange.receive(RequestBody(json.dumps(request).encode()), NOW + 1)
    exchange.receive(ResponseHeaders({":status": "200"}, False, False, ""), NOW + 2)
    exchange.receive(ResponseBody(converse_response(event, stream)), NOW + 3)
    [end] = exchange.receive(ResponseBody(b"", end_of_stream=True), NOW + 9)
    body = end.data.partition(b"data: ")[2] if stream else end.body
    made = json.loads(body)
    times = made["response"] if stream else made
    assert (times["created_at"], times["completed_at"]) == (NOW, NOW + 9)


def converse_response(event: Callable[..., bytes], stream: bool) -> bytes:
    """Return the smallest response of Bedrock's that is whole."""
    usage = {"inputTokens": 3, "outputTokens": 5, "totalTokens": 8}
    message = {"role": "assistant", "content": [{"text": "Hi"}]}
    if not stream:
        return json.dumps({"output": {"message": message}, "stopReason": "end_turn", "usage": usage}).encode()
    return b"".join(
        [
            event("messageStart", {"role": "assistant"}),
            event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hi"}}),
            event("contentBlockStop", {"contentBlockIndex": 0}),
            event("messageStop", {"stopReason": "end_turn"}),
            event("metadata", {"usage": usage}),
        ]
    )
