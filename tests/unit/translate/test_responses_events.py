"""The events of Responses, of streams that a hostile Bedrock sends: limited, and in linear time."""

import json
from collections.abc import Callable

import pytest

from bench.bodies import Shape
from extproc.bedrock.converse_response import StreamEvent, decode_event
from extproc.openai.errors import ApiError
from extproc.openai.response_object import response_head
from extproc.translate.chat_sse import whole_stream
from extproc.translate.chat_stream import ChatStream
from extproc.translate.response_limits import MAX_RESPONSE_BLOCKS, MAX_RESPONSE_CITATIONS
from extproc.translate.response_shape import ResponseShape
from extproc.translate.responses_events import ResponsesEncoder
from tests.unit.translate import stream_events
from tests.unit.translate.stream_events import START, close, piece, reasoning, tool
from tests.unit.translate.test_linear import GROWTH, growth, without_garbage_collection
from tests.unit.translate.whole_responses import converse

__all__ = ["without_garbage_collection"]

HEAD = response_head("resp_1", 1, "m", b'{"metadata":{}}')


def encoder() -> ResponsesEncoder:
    return ResponsesEncoder("1", HEAD, {}, clock=lambda: 2, summary=True, seal=None)


def event(written: stream_events.StreamEvent) -> StreamEvent:
    kind, payload = written
    decoded = decode_event(kind, json.dumps(payload).encode())
    assert decoded is not None
    return decoded


LONG = "n" * (1 << 20)


def test_long_members_of_the_request_are_repeated_as_short_ones_are() -> None:
    def written(echo: bytes) -> bytes:
        head = response_head("resp_1", 1, "m", echo)
        events = ResponsesEncoder("1", head, {}, clock=lambda: 2, summary=True, seal=None)
        body = converse({"text": "Hi"})
        stream = bytes(whole_stream(body, ChatStream(itemised=True), events).body)
        return stream + bytes(events.response) + bytes(events.fail(ApiError(502, "Failed.")))

    short, long = b'{"user":"u"}', b'{"user":"%b"}' % LONG.encode()
    assert written(short).count(short[1:-1]) == 5
    assert written(long) == written(short).replace(short[1:-1], long[1:-1])


@pytest.mark.parametrize("custom", [frozenset[str](), frozenset({LONG, "f"})])
@pytest.mark.parametrize("names", [(LONG, "c1"), ("f", LONG)])
def test_names_and_ids_of_calls_are_limited(names: tuple[str, str], custom: frozenset[str]) -> None:
    """The last event has them all, of however many blocks."""
    stream, written = ChatStream(shape=ResponseShape(custom=custom), itemised=True), encoder()
    stream.feed(event(START))
    chunks = [chunk for block in range(8) for chunk in stream.feed(event(tool(block, *names)))]
    *before, last = chunks
    for chunk in before:
        written.encode(chunk)
    with pytest.raises(ApiError, match="more than 8,388,608 bytes"):
        written.encode(last)


def test_a_piece_of_a_call_while_no_item_is_open_is_an_error() -> None:
    """Two calls, of which the second has ended: there is no item that a piece of the first could be of."""
    stream, written = ChatStream(itemised=True), encoder()
    before = [START, tool(0), tool(1), reasoning(2, signature="s"), close(2)]
    for chunk in [chunk for each in before for chunk in stream.feed(event(each))]:
        written.encode(chunk)
    [chunk] = stream.feed(event(piece("{}", 0)))
    with pytest.raises(ApiError, match="a piece of a tool call that has ended"):
        written.encode(chunk)


def cited(count: int) -> bytes:
    url = "https://x.org/" + "u" * 400
    citations = [{"title": "t", "location": {"web": {"url": url, "domain": "x.org"}}}] * count
    return converse({"citationsContent": {"content": [{"text": "a"}], "citations": citations}})


def drawn(count: int) -> bytes:
    return converse(*[{"image": {"format": "png", "source": {"bytes": "AAAA" * 100}}}] * count)


def translate(itemised: bool) -> Callable[[bytes], str]:
    def work(body: bytes) -> str:
        whole_stream(body, ChatStream(itemised=itemised), encoder())
        return "accepted"

    return work


@pytest.mark.parametrize("itemised", [True, False])
@pytest.mark.parametrize(
    "shape",
    [Shape(cited, MAX_RESPONSE_CITATIONS), Shape(drawn, MAX_RESPONSE_BLOCKS)],
    ids=["citations", "images"],
)
def test_a_response_of_many_parts_takes_time_in_proportion_to_its_size(shape: Shape, itemised: bool) -> None:
    assert growth(translate(itemised), shape, 1 << 20) <= GROWTH
