"""Responses that stop coming: comments, time limits, and streams whose body stays open."""

from typing import Any

import pytest

from extproc.exchange.directives import Head
from extproc.exchange.events import (
    Idle,
    ResponseBody,
)
from extproc.exchange.exchange import Exchange
from extproc.exchange.gateway import Gateway
from extproc.exchange.responses import END_SECONDS, READ_AHEAD
from tests.unit.exchange.replies import error, only
from tests.unit.exchange.test_responses import NOW, Encode, Send, converse_stream, upstream


def test_an_idle_stream_gets_comments_and_ends_in_an_error(sent: Send, gateway: Gateway, event: Encode) -> None:
    exchange = sent(gateway, stream=True)
    exchange.receive(upstream(), NOW)
    exchange.receive(ResponseBody(converse_stream(event)[0]), NOW)
    timers = gateway.settings.streaming
    assert exchange.idle_timeout(0.0) == timers.keepalive_seconds
    assert exchange.idle_timeout(timers.idle_seconds - 1) == timers.idle_seconds
    head, comment = exchange.receive(Idle(15.0), NOW)
    assert isinstance(head, Head)
    assert comment.data == b": keepalive\n\n"
    last = only(exchange.receive(Idle(timers.idle_seconds), NOW))
    assert last.end_of_stream
    assert b'"Bedrock sent nothing for 300 seconds' in last.data


def test_before_bedrocks_headers_an_idle_call_ends_with_a_status(sent: Send, gateway: Gateway) -> None:
    """Envoy takes no piece of a body before it has sent one."""
    exchange = sent(gateway, stream=True)
    longest = gateway.settings.streaming.idle_seconds
    assert exchange.idle_timeout(0.0) == longest
    exchange.receive(upstream(), NOW)
    assert exchange.idle_timeout(0.0) == longest
    reply = only(exchange.receive(Idle(longest), NOW))
    assert (reply.status, error(reply)["code"]) == (504, "timeout")
    assert reply.metadata["finish"] == "timeout"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("headers", [False, True])
def test_a_call_that_is_idle_for_too_long_is_a_504(sent: Send, gateway: Gateway, stream: bool, headers: bool) -> None:
    exchange = sent(gateway, stream=stream)
    if headers:
        exchange.receive(upstream(), NOW)
    reply = only(exchange.receive(Idle(300.2), NOW))
    assert (reply.status, error(reply)["code"]) == (504, "timeout")
    assert error(reply)["message"].startswith("Bedrock sent nothing for 300.2 seconds")
    assert exchange.idle_timeout(0.0) is None


def test_a_buffered_response_that_stops_in_the_middle_is_a_504(sent: Send, gateway: Gateway) -> None:
    exchange = sent(gateway)
    exchange.receive(upstream(), NOW)
    exchange.receive(ResponseBody(b'{"output"'), NOW)
    assert only(exchange.receive(Idle(300.0), NOW)).status == 504


def test_a_request_without_any_event_yet_is_not_idle(exchange: Exchange) -> None:
    assert exchange.idle_timeout(0.0) is None


def test_a_stream_whose_body_stays_open_after_the_metadata_is_ended(
    sent: Send, gateway: Gateway, event: Encode
) -> None:
    exchange = sent(gateway, stream=True)
    exchange.receive(upstream(), NOW)
    written: Any = exchange.receive(ResponseBody(b"".join(converse_stream(event))), NOW)
    assert written[-1].metadata["output_tokens"] == 2
    assert exchange.idle_timeout(0.0) == END_SECONDS
    last = only(exchange.receive(Idle(END_SECONDS), NOW))
    assert last.end_of_stream
    assert last.data == b"data: [DONE]\n\n"


def test_bytes_behind_the_metadata_are_waited_for(sent: Send, gateway: Gateway, event: Encode) -> None:
    exchange = sent(gateway, stream=True)
    exchange.receive(upstream(), NOW)
    exchange.receive(ResponseBody(b"".join(converse_stream(event)) + event("throttlingException", {})[:5]), NOW)
    assert exchange.idle_timeout(0.0) == gateway.settings.streaming.keepalive_seconds
    assert only(exchange.receive(Idle(15.0), NOW)).data == b": keepalive\n\n"
    assert b'"timeout"' in only(exchange.receive(Idle(300.0), NOW)).data


def test_where_much_was_sent_the_pause_may_be_the_callers(sent: Send, gateway: Gateway, event: Encode) -> None:
    exchange = sent(gateway, stream=True)
    exchange.receive(upstream(), NOW)
    piece = event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "x" * READ_AHEAD}})
    exchange.receive(ResponseBody(converse_stream(event)[0] + piece), NOW)
    last = only(exchange.receive(Idle(300.0), NOW))
    message = b"The stream made no progress for 300 seconds: Bedrock sent nothing, or the response was not read."
    assert message in last.data
