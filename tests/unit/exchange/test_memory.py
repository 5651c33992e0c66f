"""Memory that an exchange holds while it waits, which is most of its life."""

import gc
import tracemalloc
from collections.abc import Callable

import pytest

from extproc.exchange.events import ResponseBody, ResponseHeaders
from extproc.exchange.exchange import Exchange
from extproc.exchange.gateway import Gateway

NOW = 1_790_000_000.0
MANY = 200
IDLE_BYTES = 3072
"""Of one exchange; with what the transport holds, a stream is to stay below 4 KB."""

Send = Callable[..., Exchange]


def held(make: Callable[[], object]) -> float:
    """Return the bytes that each of many objects keeps allocated."""
    make()
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        kept = [make() for _ in range(MANY)]
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(kept) == MANY
    return (after - before) / MANY


@pytest.mark.parametrize("stream", [False, True])
def test_waiting_for_bedrock_takes_little_however_large_the_request_is(
    sent: Send, gateway: Gateway, stream: bool
) -> None:
    messages = [{"role": "user", "content": "word " * 700}]
    assert held(lambda: sent(gateway, stream=stream, messages=messages)) < IDLE_BYTES


def test_a_stream_takes_no_more_the_longer_it_runs(sent: Send, gateway: Gateway, event: Callable[..., bytes]) -> None:
    exchange = sent(gateway, stream=True)
    headers = {":status": "200", "content-type": "application/vnd.amazon.eventstream"}
    exchange.receive(ResponseHeaders(headers), NOW)
    exchange.receive(ResponseBody(event("messageStart", {"role": "assistant"})), NOW)
    delta = event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "word " * 20}})

    def pieces() -> None:
        for _ in range(10):
            assert exchange.receive(ResponseBody(delta), NOW)

    assert held(pieces) < 20


def test_finished_objects_are_freed_without_the_garbage_collector(sent: Send, gateway: Gateway) -> None:
    gc.collect()
    gc.disable()
    try:
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(MANY):
            exchange = sent(gateway)
            exchange.receive(ResponseHeaders({":status": "200"}), NOW)
            exchange.receive(ResponseBody(b"{}", end_of_stream=True), NOW)
            assert exchange.done
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert (after - before) / MANY < 200
