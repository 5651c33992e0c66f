"""Bedrock's responses in an exchange: whole ones, streams, and error responses."""

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from extproc.bedrock import capability_table, errors
from extproc.exchange.directives import Body, Directive, Head
from extproc.exchange.events import (
    Idle,
    RequestBody,
    RequestHeaders,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
)
from extproc.exchange.exchange import Exchange
from extproc.exchange.gateway import Gateway
from extproc.exchange.responses import CollectedResponse
from extproc.translate.embeddings import NUMBER_BYTES
from extproc.translate.response_limits import MAX_RESPONSE_BYTES
from tests.unit.exchange.replies import error, only

Send = Callable[..., Exchange]
Encode = Callable[..., bytes]

NOW = 1_790_000_000.0


def upstream(status: int = 200, *, end: bool = False, local: bool = False, **more: str) -> ResponseHeaders:
    fields = {":status": str(status)} | {name.replace("_", "-"): value for name, value in more.items()}
    return ResponseHeaders(fields, end, local, "via_upstream" if not local else "upstream_reset")


def converse_stream(event: Encode) -> list[bytes]:
    return [
        event("messageStart", {"role": "assistant"}),
        event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hi"}}),
        event("contentBlockStop", {"contentBlockIndex": 0}),
        event("messageStop", {"stopReason": "end_turn"}),
        event("metadata", {"usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}}),
    ]


# The response, buffered


def test_a_buffered_response_is_held_back_until_its_end(sent: Send, gateway: Gateway) -> None:
    exchange = sent(gateway, seed=1)
    body = {
        "output": {"message": {"role": "assistant", "content": [{"text": "Hi"}, {"text": " there"}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5},
    }
    data = json.dumps(body).encode()
    assert not exchange.receive(upstream(x_amzn_requestid="aws-1", date="x"), NOW)
    assert exchange.idle_timeout(0.0) == gateway.settings.streaming.idle_seconds
    assert not exchange.receive(ResponseBody(data[:10]), NOW)
    reply = only(exchange.receive(ResponseBody(data[10:], end_of_stream=True), NOW))
    completion = json.loads(reply.body)
    assert (reply.status, completion["choices"][0]["message"]["content"]) == (200, "Hi there")
    assert completion["id"] == "chatcmpl-" + "0" * 32
    assert completion["created"] == int(NOW)
    assert completion["model"] == "amazon.nova-micro-v1:0"
    assert reply.remove == ("x-amzn-requestid", "date")
    assert dict(reply.headers)["x-oai-ignored-params"] == "seed"
    counted = {"input_tokens": 3, "output_tokens": 2, "finish": "stop", "bedrock_request_id": "aws-1"}
    assert counted.items() <= reply.metadata.items()


def test_a_response_may_end_with_trailers(sent: Send, gateway: Gateway) -> None:
    exchange = sent(gateway)
    exchange.receive(upstream(), NOW)
    exchange.receive(ResponseBody(b'{"output":{"message":{"content":[]}},"stopReason":"end_turn"}'), NOW)
    assert only(exchange.receive(ResponseTrailers(), NOW)).status == 200


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b"\xff", b'{"output": 1}'])
def test_an_unreadable_response_is_a_502(sent: Send, gateway: Gateway, body: bytes) -> None:
    exchange = sent(gateway)
    exchange.receive(upstream(), NOW)
    reply = only(exchange.receive(ResponseBody(body, end_of_stream=True), NOW))
    assert (reply.status, error(reply)["code"]) == (502, "bad_upstream_answer")


@pytest.mark.parametrize(
    ("status", "kind", "reported", "code"),
    [
        (400, "ValidationException", 400, None),
        (403, "AccessDeniedException", 502, "gateway_credentials"),
        (403, "ExpiredTokenException", 502, "gateway_credentials"),
        (401, "", 502, "gateway_credentials"),
        (404, "ResourceNotFoundException", 404, "model_not_found"),
        (429, "ThrottlingException", 429, "rate_limit_exceeded"),
        (424, "ModelErrorException", 502, "model_error"),
        (500, "InternalServerException", 500, "bedrock_error"),
        (503, "ServiceUnavailableException", 503, "bedrock_unavailable"),
        (302, "", 502, "bedrock_error"),
    ],
)
def test_bedrocks_error_responses_become_openais(
    sent: Send, gateway: Gateway, status: int, kind: str, reported: int, code: str | None
) -> None:
    exchange = sent(gateway)
    exchange.receive(upstream(status, x_amzn_errortype=kind), NOW)
    reply = only(exchange.receive(ResponseBody(b'{"message":"no"}', end_of_stream=True), NOW))
    assert (reply.status, error(reply)["code"]) == (reported, code)
    assert reply.metadata["finish"] == (code or "invalid_request_error")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "kind", "retried"),
    [
        (407, "text/html; charset=utf-8", False),
        (407, "", False),
        (403, "text/html", False),
        (200, "text/html", False),
        (503, "text/plain", True),
    ],
)
def test_a_response_of_something_in_between_is_named_as_such(
    sent: Send, gateway: Gateway, status: int, kind: str, retried: bool, stream: bool
) -> None:
    exchange = sent(gateway, stream=stream)
    exchange.receive(upstream(status, **({"content_type": kind} if kind else {})), NOW)
    assert not exchange.receive(ResponseBody(b"<html>Authenticate yourself"), NOW)
    reply = only(exchange.receive(ResponseBody(b"</html>", end_of_stream=True), NOW))
    assert (reply.status, error(reply)["code"]) == (502, "not_from_bedrock")
    media_type = kind.partition(";")[0] or "none"
    assert f"such as a proxy (status {status}, content type {media_type})" in error(reply)["message"]
    assert "Authenticate" not in error(reply)["message"]
    assert dict(reply.headers).get("x-should-retry") == (None if retried else "false")
    assert f"status {status}" in reply.metadata["bedrock_error"]


def test_a_page_with_awss_headers_is_bedrocks(sent: Send, gateway: Gateway) -> None:
    exchange = sent(gateway)
    exchange.receive(upstream(503, content_type="text/html", x_amzn_requestid="aws-1"), NOW)
    assert error(only(exchange.receive(ResponseBody(b"", end_of_stream=True), NOW)))["code"] == "bedrock_unavailable"


def test_awss_message_goes_to_the_log_and_not_to_the_caller(sent: Send, gateway: Gateway) -> None:
    exchange = sent(gateway)
    exchange.receive(upstream(403, x_amzn_errortype="InvalidSignatureException"), NOW)
    content = (
        b'{"message":"The signature does not match.\\n\\nThe Canonical String was \'x-amz-security-token:secret\'"}'
    )
    reply = only(exchange.receive(ResponseBody(content, end_of_stream=True), NOW))
    assert reply.metadata["bedrock_error"] == "InvalidSignatureException: The signature does not match."
    assert b"signature does not" not in reply.body


def test_an_error_response_without_a_body_is_translated_at_once(sent: Send, gateway: Gateway) -> None:
    assert only(sent(gateway).receive(upstream(503, end=True), NOW)).status == 503


@pytest.mark.parametrize(
    ("status", "reported"), [(413, 413), (503, 503), (504, 504), (408, 408), (500, 503), (404, 404)]
)
def test_envoys_own_responses_become_openais_errors(sent: Send, gateway: Gateway, status: int, reported: int) -> None:
    exchange = sent(gateway)
    exchange.receive(upstream(status, local=True), NOW)
    reply = only(exchange.receive(ResponseBody(b"plain text", end_of_stream=True), NOW))
    assert reply.status == reported
    assert error(reply)


def test_no_more_of_a_response_is_collected_than_one_may_have(sent: Send, gateway: Gateway) -> None:
    exchange = sent(gateway)
    exchange.receive(upstream(), NOW)
    assert not exchange.receive(ResponseBody(bytes(MAX_RESPONSE_BYTES)), NOW)
    reply = only(exchange.receive(ResponseBody(b"x"), NOW))
    assert (reply.status, error(reply)["code"]) == (502, "bad_upstream_answer")


def test_no_more_of_embeddings_is_collected_than_their_vectors_may_have(gateway: Gateway) -> None:
    exchange = Exchange(gateway, "0" * 32)
    headers = {":method": "POST", ":path": "/oai/v1/embeddings", "authorization": "Bearer qc_test"}
    exchange.receive(RequestHeaders(headers), NOW)
    body = {"model": "amazon.titan-embed-text-v2:0", "input": "Hi", "dimensions": 256}
    exchange.receive(RequestBody(json.dumps(body).encode()), NOW)
    exchange.receive(upstream(), NOW)
    assert not exchange.receive(ResponseBody(bytes(256 * NUMBER_BYTES)), NOW)
    reply = only(exchange.receive(ResponseBody(bytes(64 * 1024)), NOW))
    assert (reply.status, error(reply)["code"]) == (502, "bad_upstream_answer")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("status", "local", "replied"), [(500, False, 502), (400, False, 400), (413, True, 413)])
def test_of_an_error_without_an_end_the_beginning_is_enough(
    sent: Send, gateway: Gateway, status: int, local: bool, replied: int, stream: bool
) -> None:
    exchange = sent(gateway, stream=stream)
    exchange.receive(upstream(status, local=local), NOW)
    piece = ResponseBody(b"x" * (errors.LONGEST // 2))
    assert not exchange.receive(piece, NOW)
    assert not exchange.receive(piece, NOW)
    reply = only(exchange.receive(piece, NOW))
    assert reply.status == replied
    assert exchange.done


# The response, streamed


def test_a_stream_is_written_as_it_comes(sent: Send, gateway: Gateway, event: Encode) -> None:
    exchange = sent(gateway, stream=True, stream_options={"include_usage": True})
    assert not exchange.receive(upstream(content_type="application/vnd.amazon.eventstream"), NOW)
    start, first, *more = converse_stream(event)
    assert not exchange.receive(ResponseBody(start), NOW)
    head, body = exchange.receive(ResponseBody(first), NOW)
    assert isinstance(head, Head)
    assert dict(head.headers)["content-type"].startswith("text/event-stream")
    assert head.remove == ("content-type",)
    written: list[Any] = [body, *(d for piece in more for d in exchange.receive(ResponseBody(piece), NOW))]
    [last] = exchange.receive(ResponseBody(b"", end_of_stream=True), NOW)
    assert last.end_of_stream
    text = b"".join(directive.data for directive in [*written, last])
    assert last.data == b"data: [DONE]\n\n"
    assert text.count(b"data: ") == 5
    counts = {"input_tokens": 3, "output_tokens": 2, "finish": "stop"}
    assert counts.items() <= written[-1].metadata.items(), "a client may leave before the last piece"
    assert last.metadata is None
    assert exchange.done


def test_a_model_that_cannot_stream_sends_a_whole_stream_at_the_end(sent: Send, gateway: Gateway) -> None:
    gateway.capabilities = gateway.capabilities.with_overrides(
        [capability_table.Row(family="nova-micro", streams=False)]
    )
    exchange = sent(gateway, stream=True)
    message = {"role": "assistant", "content": [{"text": "Hi"}]}
    body = {"output": {"message": message}, "stopReason": "end_turn", "usage": {"inputTokens": 3, "outputTokens": 2}}
    assert not exchange.receive(upstream(content_type="application/json"), NOW)
    reply = only(exchange.receive(ResponseBody(json.dumps(body).encode(), end_of_stream=True), NOW))
    assert (reply.status, dict(reply.headers)["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert reply.remove == ("content-type",)
    assert reply.body.endswith(b"data: [DONE]\n\n")
    assert {"input_tokens": 3, "output_tokens": 2, "finish": "stop"}.items() <= reply.metadata.items()


@pytest.mark.parametrize("started", [False, True])
def test_an_exception_before_any_byte_of_the_response_is_a_status(
    sent: Send, gateway: Gateway, event: Encode, started: bool
) -> None:
    exchange = sent(gateway, stream=True)
    exchange.receive(upstream(), NOW)
    failure = event("throttlingException", {"message": "slow down"}, message="exception")
    if started:
        assert not exchange.receive(ResponseBody(converse_stream(event)[0]), NOW)
    reply = only(exchange.receive(ResponseBody(failure), NOW))
    assert (reply.status, error(reply)["message"]) == (429, "slow down")
    assert dict(reply.headers)["retry-after"] == "1"
    assert reply.metadata["bedrock_error"] == "ThrottlingException: slow down"
    assert reply.metadata["finish"] == "rate_limit_exceeded"


def test_an_exception_after_a_comment_is_an_error_event_in_the_stream(
    sent: Send, gateway: Gateway, event: Encode
) -> None:
    exchange = sent(gateway, stream=True)
    exchange.receive(upstream(), NOW)
    exchange.receive(ResponseBody(converse_stream(event)[0]), NOW)
    exchange.receive(Idle(15.0), NOW)
    last = only(exchange.receive(ResponseBody(event("throttlingException", {}, message="exception")), NOW))
    assert last.end_of_stream
    assert b'"rate_limit_exceeded"' in last.data


@pytest.mark.parametrize("together", [False, True])
def test_a_later_exception_ends_the_stream_without_done(
    sent: Send, gateway: Gateway, event: Encode, together: bool
) -> None:
    exchange = sent(gateway, stream=True)
    exchange.receive(upstream(), NOW)
    begun = b"".join(converse_stream(event)[:2])
    failure = event("modelStreamErrorException", {"message": "broken"}, message="exception")
    pieces = [begun + failure] if together else [begun, failure]
    head, *bodies = [content for piece in pieces for content in exchange.receive(ResponseBody(piece), NOW)]
    assert isinstance(head, Head)
    assert head.status == 200
    *_, reported, rest = b"".join(body.data for body in bodies).split(b"\n\n")
    assert rest == b""
    assert json.loads(reported.removeprefix(b"data: "))["error"]["message"] == "broken"
    last = bodies[-1]
    assert last.end_of_stream
    assert last.metadata["finish"] == "model_error"
    assert last.metadata["bedrock_error"] == "ModelStreamErrorException: broken"
    assert not exchange.receive(ResponseBody(converse_stream(event)[1]), NOW)


def test_a_stream_that_breaks_off_is_not_whole(sent: Send, gateway: Gateway, event: Encode) -> None:
    exchange = sent(gateway, stream=True)
    exchange.receive(upstream(), NOW)
    exchange.receive(ResponseBody(b"".join(converse_stream(event)[:2])), NOW)
    last = only(exchange.receive(ResponseBody(b"", end_of_stream=True), NOW))
    assert b'"cut_off"' in last.data
    assert b"[DONE]" not in last.data


def test_a_stream_that_never_begins_is_a_502(sent: Send, gateway: Gateway) -> None:
    exchange = sent(gateway, stream=True)
    exchange.receive(upstream(), NOW)
    assert only(exchange.receive(ResponseBody(b"", end_of_stream=True), NOW)).status == 502


def test_a_streamed_request_that_bedrock_rejects_is_not_a_stream(sent: Send, gateway: Gateway) -> None:
    exchange = sent(gateway, stream=True)
    exchange.receive(upstream(400, x_amzn_errortype="ValidationException:http://x"), NOW)
    reply = only(exchange.receive(ResponseBody(b'{"message":"bad"}', end_of_stream=True), NOW))
    assert (reply.status, error(reply)["message"]) == (400, "bad")


def test_a_stream_made_of_a_whole_response_fails_with_a_status(sent: Send, gateway: Gateway) -> None:
    gateway.capabilities = gateway.capabilities.with_overrides(
        [capability_table.Row(family="nova-micro", streams=False)]
    )
    exchange = sent(gateway, stream=True)
    exchange.receive(upstream(504, local=True), NOW)
    assert exchange.idle_timeout(0.0) == gateway.settings.streaming.idle_seconds
    reply = only(exchange.receive(ResponseBody(b"stream timeout", end_of_stream=True), NOW))
    assert (reply.status, error(reply)["code"]) == (504, "bedrock_timeout")


CUSTOM = {"tools": [{"type": "custom", "custom": {"name": "patch"}}]}


def call_of(event: Encode, *pieces: str) -> list[bytes]:
    start = {"toolUse": {"toolUseId": "t1", "name": "patch"}}
    return [
        event("messageStart", {"role": "assistant"}),
        event("contentBlockStart", {"contentBlockIndex": 0, "start": start}),
        *[
            event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"toolUse": {"input": piece}}})
            for piece in pieces
        ],
    ]


def test_a_custom_tools_input_is_progress_that_the_client_does_not_see(
    sent: Send, gateway: Gateway, event: Encode
) -> None:
    exchange = sent(gateway, stream=True, **CUSTOM)
    exchange.receive(upstream(), NOW)
    start, call, piece = call_of(event, '{"input":"a')
    exchange.receive(ResponseBody(start + call), NOW)
    assert exchange.receive(ResponseBody(piece), NOW) == []
    assert exchange.progressed
    timers = gateway.settings.streaming
    assert exchange.idle_timeout(-timers.keepalive_seconds) == 0.0
    assert only(exchange.receive(Idle(0.0), NOW)).data == b": keepalive\n\n"


def test_unknown_events_and_parts_of_events_are_no_progress(sent: Send, gateway: Gateway, event: Encode) -> None:
    exchange = sent(gateway, stream=True)
    exchange.receive(upstream(), NOW)
    assert exchange.progressed
    start, delta, *_ = converse_stream(event)
    exchange.receive(ResponseBody(start[:5]), NOW)
    assert exchange.progressed  # from here on the client may get comments
    exchange.receive(ResponseBody(start[5:9]), NOW)
    assert not exchange.progressed
    exchange.receive(ResponseBody(start[9:]), NOW)
    assert exchange.progressed
    exchange.receive(ResponseBody(event("somethingNew", {})), NOW)
    assert not exchange.progressed
    exchange.receive(ResponseBody(delta), NOW)
    assert exchange.progressed


def test_a_response_in_tiny_pieces_takes_no_more_memory_than_in_one() -> None:
    """Bedrock may send frames of two bytes, over HTTP/2."""
    pieces = 1 << 19
    whole: list[Directive] = []

    def complete(body: bytes) -> Directive:
        whole.append(Body(body))
        return whole[0]

    collected = CollectedResponse(complete, 2 * pieces, 60.0)
    tracemalloc.start()
    for number in range(pieces):
        collected.body((number & 0xFFFF).to_bytes(2))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * pieces
    assert collected.end() == [Body(b"".join([number.to_bytes(2) for number in range(1 << 16)]) * (pieces >> 16))]
