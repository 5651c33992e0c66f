"""Responses that end well without Bedrock's count of their tokens: an estimate stays, as where a call has no end."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from extproc.bedrock.prices import prices
from extproc.exchange.events import RequestBody, RequestHeaders, ResponseBody, ResponseHeaders, Resumed
from extproc.exchange.exchange import Exchange
from extproc.exchange.gateway import Gateway
from extproc.exchange.jobs import SideResponse, SideResponses
from extproc.telemetry.record import Record

Send = Callable[..., Exchange]
Encode = Callable[..., bytes]

NOW = 1_790_000_000.0
TEXT = "one two three é"
HEAD = ResponseHeaders({":status": "200", "x-amzn-requestid": "b-1"})
NO_COUNTS: list[dict[str, Any]] = [
    {},
    {"usage": {}},
    {"usage": {"totalTokens": 9}},
    {"usage": {"inputTokens": 9}},
    {"usage": {"outputTokens": 9}},
]
"""Members of a response, or of a stream's metadata, that have no count."""

no_counts = pytest.mark.parametrize("counts", NO_COUNTS, ids=str)


def whole(*blocks: Any, stop: str = "end_turn", **more: Any) -> bytes:
    message = {"role": "assistant", "content": list(blocks)}
    return json.dumps({"output": {"message": message}, "stopReason": stop, **more}).encode()


def stream(event: Encode, counts: dict[str, Any], stop: str = "end_turn") -> bytes:
    return (
        event("messageStart", {"role": "assistant"})
        + event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": TEXT}})
        + event("contentBlockStop", {"contentBlockIndex": 0})
        + event("messageStop", {"stopReason": stop})
        + event("metadata", {"metrics": {"latencyMs": 1}, **counts})
    )


def ended(exchange: Exchange, body: bytes) -> tuple[list[Any], Record]:
    """Return what an exchange sends that gets this body, and its record."""
    exchange._call.meter.choose(prices(1, 2))
    exchange._call.meter.estimate(exchange._call.record.input_tokens, exchange._call.record.output_tokens)
    exchange.receive(HEAD, NOW + 1)
    sent = exchange.receive(ResponseBody(body, end_of_stream=True), NOW + 2)
    return list(sent), exchange._call.record


def is_estimate(record: Record, output: int) -> None:
    assert (record.estimated, record.output_tokens) == (True, output)
    assert 10 < record.input_tokens < 100
    assert record.cost_micro_usd == record.input_tokens + 2 * output
    assert record.known_model == "amazon.nova-micro-v1:0"


@no_counts
def test_a_whole_response(sent: Send, gateway: Gateway, counts: dict[str, Any]) -> None:
    [reply], record = ended(sent(gateway), whole({"text": TEXT}, **counts))
    is_estimate(record, 4)
    assert (reply.status, record.finish) == (200, "stop")
    assert (reply.metadata["output_tokens"], reply.metadata["finish"]) == (4, "stop")
    assert json.loads(reply.body)["choices"][0]["message"]["content"] == TEXT


@no_counts
def test_a_stream(sent: Send, gateway: Gateway, event: Encode, counts: dict[str, Any]) -> None:
    [_, body, last], record = ended(sent(gateway, stream=True), stream(event, counts))
    is_estimate(record, 4)
    assert (body.metadata["output_tokens"], body.metadata["finish"]) == (4, "stop")
    assert (last.data, last.metadata) == (b"data: [DONE]\n\n", None)


@pytest.mark.parametrize("streams", [False, True])
def test_a_model_that_failed(sent: Send, gateway: Gateway, event: Encode, streams: bool) -> None:
    stop = "malformed_model_output"
    body = stream(event, {}, stop) if streams else whole({"text": TEXT}, stop=stop)
    _, record = ended(sent(gateway, stream=streams), body)
    is_estimate(record, 4)
    assert record.finish == stop


@pytest.mark.parametrize("streams", [False, True])
def test_a_count_of_nothing_is_one(sent: Send, gateway: Gateway, event: Encode, streams: bool) -> None:
    """What a guardrail has rejected before the model had it."""
    counts = {"usage": {"inputTokens": 0, "outputTokens": 0, "totalTokens": 0}}
    body = stream(event, counts) if streams else whole({"text": TEXT}, **counts)
    _, record = ended(sent(gateway, stream=streams), body)
    assert (record.estimated, record.input_tokens, record.output_tokens) == (False, 0, 0)
    assert record.cost_micro_usd == 0


def test_all_that_a_model_writes_counts(sent: Send, gateway: Gateway) -> None:
    """Reasoning, its signature, calls of tools and cited text."""
    blocks = (
        {"reasoningContent": {"reasoningText": {"text": "r" * 40, "signature": "s" * 40}}},
        {"reasoningContent": {"redactedContent": "cmVk" * 10}},
        {"citationsContent": {"content": [{"text": "c" * 40}], "citations": []}},
        {"toolUse": {"toolUseId": "1", "name": "f", "input": {"x": "y" * 31}}},
    )
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    _, record = ended(sent(gateway, tools=[tool]), whole(*blocks, stop="tool_use"))
    assert (record.estimated, record.output_tokens) == (True, 50)


def embedded(gateway: Gateway, *texts: str) -> Exchange:
    """Return an exchange whose embeddings request is on its way to Bedrock."""
    exchange = Exchange(gateway, "0" * 32)
    headers = {":method": "POST", ":path": "/oai/v1/embeddings", "authorization": "Bearer qc_test"}
    exchange.receive(RequestHeaders(headers), NOW)
    body = {"model": "amazon.titan-embed-text-v2:0", "input": list(texts)}
    exchange.receive(RequestBody(json.dumps(body).encode()), NOW)
    return exchange


def vector(**fields: int) -> bytes:
    return json.dumps({"embedding": [1] * 1024} | fields).encode()


def test_embeddings_of_one_input(gateway: Gateway) -> None:
    [reply], record = ended(embedded(gateway, "word " * 100), vector())
    assert (reply.status, record.estimated, record.output_tokens) == (200, True, 0)
    assert 125 <= record.input_tokens == record.cost_micro_usd < 200


def test_embeddings_of_several_inputs_of_which_one_is_not_counted(gateway: Gateway) -> None:
    exchange = embedded(gateway, "word " * 100, "word " * 100)
    bodies = (vector(inputTextTokenCount=100), vector())
    [reply] = exchange.receive(Resumed(SideResponses(SideResponse(200, {}, body) for body in bodies)), NOW + 1)
    record = exchange._call.record
    assert (reply.status, record.estimated, record.output_tokens) == (200, True, 0)  # type: ignore[union-attr]
    assert 250 <= record.input_tokens < 400
