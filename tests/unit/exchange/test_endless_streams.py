"""Streams that do not end by themselves; tests/envoy/gateway/test_endless_streams.py has them behind Envoy."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from extproc.exchange.directives import Head
from extproc.exchange.events import Idle, ResponseBody, ResponseHeaders
from extproc.exchange.exchange import Exchange
from extproc.exchange.gateway import Gateway
from extproc.exchange.responses import STREAM_SECONDS
from extproc.shared_names import LONGEST_CALL_SECONDS
from extproc.translate.response_limits import MAX_RESPONSE_BYTES, MAX_STREAM_BYTES, longest_text
from tests.unit.exchange.replies import only

Send = Callable[..., Exchange]
Encode = Callable[..., bytes]

NOW = 1_790_000_000.0


def opened(exchange: Exchange, event: Encode) -> Exchange:
    """Return the exchange, whose stream has begun."""
    exchange.receive(ResponseHeaders({":status": "200"}), NOW)
    exchange.receive(ResponseBody(event("messageStart", {"role": "assistant"})), NOW)
    return exchange


def delta(event: Encode, size: int, **more: Any) -> ResponseBody:
    return ResponseBody(event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "x" * size}, **more}))


def until_it_ends(exchange: Exchange, event: ResponseBody) -> Iterator[Any]:
    """Yield what an exchange sends of this body, again and again, until its last directive."""
    for _ in range(1 << 12):
        for directive in exchange.receive(event, NOW):
            if not isinstance(directive, Head):
                yield directive
        if exchange.done:
            return
    pytest.fail("it does not end")


def error_of(last: Any) -> dict[str, Any]:
    """Return the error at the end of a stream."""
    assert last.end_of_stream
    event, rest = last.data.split(b"\n\n")[-2:]
    assert rest == b""
    error: dict[str, Any] = json.loads(event.removeprefix(b"data: "))["error"]
    assert error["code"] == "bad_upstream_answer"
    return error


@pytest.mark.parametrize("most", [1, 100, 4000, 10_000_000, 0])
def test_a_text_beyond_its_limit_of_tokens_is_an_error(sent: Send, gateway: Gateway, event: Encode, most: int) -> None:
    exchange = opened(sent(gateway, stream=True, **({"max_tokens": most} if most else {})), event)
    *written, last = until_it_ends(exchange, delta(event, 10_000))
    longest = longest_text(most)
    assert longest >= min(128 * most, MAX_RESPONSE_BYTES)
    assert longest <= sum(body.data.count(b"x") for body in (*written, last)) <= longest + 10_000
    assert f"more than {longest:,} bytes of text" in error_of(last)["message"]
    record = exchange._call.record
    assert (record.estimated, record.output_tokens) == (True, min(most or 128_000, 128_000))
    assert last.metadata["finish"] == "bad_upstream_answer"


def test_events_without_text_are_limited(sent: Send, gateway: Gateway, event: Encode) -> None:
    exchange = opened(sent(gateway, stream=True), event)
    *_, last = until_it_ends(exchange, delta(event, 1, p="p" * 100_000))
    assert f"more than {MAX_STREAM_BYTES:,} bytes" in error_of(last)["message"]


@pytest.mark.parametrize("late", [lambda event: delta(event, 1), lambda event: Idle(15.0)], ids=["a delta", "idle"])
def test_a_stream_ends_before_envoy_cuts_it(
    sent: Send, gateway: Gateway, event: Encode, late: Callable[[Encode], Any]
) -> None:
    assert STREAM_SECONDS + gateway.settings.streaming.keepalive_seconds < LONGEST_CALL_SECONDS
    exchange = opened(sent(gateway, stream=True), event)
    exchange.receive(delta(event, 1), NOW)
    assert not only(exchange.receive(late(event), NOW + STREAM_SECONDS)).end_of_stream
    last = only(exchange.receive(late(event), NOW + STREAM_SECONDS + 1))
    assert f"more than {STREAM_SECONDS} seconds" in error_of(last)["message"]


def test_the_end_of_a_stream_at_its_limit_is_its_end(sent: Send, gateway: Gateway, event: Encode) -> None:
    exchange = opened(sent(gateway, stream=True, max_tokens=1), event)
    exchange.receive(delta(event, longest_text(1)), NOW)
    stop = event("messageStop", {"stopReason": "max_tokens"})
    usage = {"inputTokens": 3, "outputTokens": 1, "totalTokens": 4}
    exchange.receive(ResponseBody(stop + event("metadata", {"usage": usage})), NOW)
    last = only(exchange.receive(ResponseBody(b"", end_of_stream=True), NOW))
    assert last.data == b"data: [DONE]\n\n"
