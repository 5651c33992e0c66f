"""The events of Responses over generated streams: in order, the same cut anywhere, and those of a whole response."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from extproc.openai.response_object import response_head
from extproc.translate.chat_sse import ChatSse, StreamError, whole_stream
from extproc.translate.chat_stream import ChatStream
from extproc.translate.response_shape import ResponseShape
from extproc.translate.responses_events import ResponsesEncoder
from tests.properties.test_chat_stream_properties import cut, encode, events_of, responses, streams, whole

Event = Callable[..., bytes]
Data = dict[str, Any]

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
ECHO = {
    "instructions": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "reasoning": {"effort": None, "summary": None},
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
}
HEAD = response_head("resp_i", 1, "m", json.dumps(ECHO).encode())
COMPLETED_AT = 2
NAMES = {"my shell": {"name": "shell", "namespace": "my"}}

shapes = st.builds(
    ResponseShape,
    answer_tool=st.sampled_from([None, None, "report"]),
    names=st.sampled_from([{}, {"shell_1": "my shell", "read_1": "files/read.txt"}]),
    custom=st.sampled_from([frozenset(), frozenset({"my shell", "g"})]),
    inline_reasoning=st.sampled_from([None, "thinking"]),
    bare_json=st.booleans(),
)
wishes = st.fixed_dictionaries({"summary": st.booleans(), "sealed": st.booleans()})


def encoder(wish: Data) -> ResponsesEncoder:
    seal = json.dumps if wish["sealed"] else None
    return ResponsesEncoder("i", HEAD, NAMES, clock=lambda: COMPLETED_AT, summary=wish["summary"], seal=seal)


def play(pieces: list[bytes], shape: ResponseShape, wish: Data) -> tuple[bytes, bool]:
    """Return the output, and whether the stream failed; another exception fails the test."""
    stream = ChatSse(ChatStream(shape=shape, itemised=True), encoder(wish))
    written = b""
    try:
        for piece in pieces:
            written += stream.feed(piece)
        return written + stream.end(), False
    except StreamError as failure:
        return written + failure.written + stream.fail(failure.error), True


def decoded(written: bytes) -> list[Data]:
    """Return the events, each of which is valid by the openai package's types."""
    *blocks, rest = written.split(b"\n\n")
    assert rest == b""
    events = []
    for block in blocks:
        name, data = block.split(b"\n", 1)
        event = json.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + event["type"].encode()
        EVENT.validate_json(json.dumps(event), strict=True)
        events.append(event)
    return events


class Grammar:
    """The order that the specification gives events: a response, its items one after the other, the end of all."""

    def __init__(self) -> None:
        self.output: list[Data] = []
        self._item: Data | None = None
        self._text = ""
        self._parts = 0
        self._open_parts = 0
        self._annotations: list[Data] = []

    def run(self, events: list[Data]) -> None:
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
        for event in events[2:-1]:
            self.step(event["type"].removeprefix("response."), event)
        last = events[-1]
        assert last["type"] in ("response.completed", "response.incomplete", "response.failed")
        assert last["response"]["status"] == last["type"].removeprefix("response.")
        assert last["response"]["output"] == self.output
        for event in (*events[:2], last):
            completed_at = event["response"]["completed_at"]
            assert completed_at == (COMPLETED_AT if event["type"] == "response.completed" else None)
        assert (self._item is None) or last["type"] == "response.failed"
        Response.model_validate_json(json.dumps(last["response"]), strict=True)

    def step(self, kind: str, event: Data) -> None:
        assert event["output_index"] == len(self.output)
        if kind == "output_item.added":
            assert self._item is None
            self._item, self._text, self._parts, self._annotations = event["item"], "", 0, []
            return
        assert self._item is not None
        if kind == "output_item.done":
            self.done(event["item"])
            return
        assert event["item_id"] == self._item["id"]
        if kind.endswith("part.added"):
            self._parts += 1
            self._open_parts += 1
        elif kind.endswith("part.done"):
            self._open_parts -= 1
        elif kind == "output_text.annotation.added":
            assert event["annotation_index"] == len(self._annotations)
            self._annotations.append(event["annotation"])
        elif kind.endswith(".delta"):
            self._text += event["delta"]
        elif kind.endswith(".done"):
            assert next(event[name] for name in ("text", "arguments", "input") if name in event) == self._text
        else:
            assert kind == "image_generation_call.completed"

    def done(self, item: Data) -> None:
        assert self._open_parts == 0
        assert self._item is not None
        assert (item["type"], item["id"]) == (self._item["type"], self._item["id"])
        assert item["status"] in ("completed", "incomplete")
        match item["type"]:
            case "message":
                [part] = item["content"]
                assert (part["text"], part["annotations"]) == (self._text, self._annotations)
            case "reasoning":
                assert "".join(part["text"] for part in item["summary"]) == self._text
                assert len(item["summary"]) == self._parts
            case "function_call":
                assert item["arguments"] == self._text
            case "custom_tool_call":
                assert item["input"] == self._text
        self.output.append(item)
        self._item = None


@given(responses, shapes, wishes, st.data())
def test_a_response_and_its_stream_have_the_same_items(
    event: Event, drawn_response: Data, shape: ResponseShape, wish: Data, data: st.DataObject
) -> None:
    written, failed = play([encode(event, events_of(data, drawn_response))], shape, wish)
    assert not failed
    streamed = decoded(written)
    Grammar().run(streamed)
    at_once = encoder(wish)
    completed = whole_stream(whole(drawn_response), ChatStream(shape=shape, itemised=True), at_once)
    Grammar().run(decoded(completed.body))
    response = json.loads(at_once.response)
    Response.model_validate_json(at_once.response, strict=True)
    assert response == streamed[-1]["response"] == decoded(completed.body)[-1]["response"]


@given(streams(), shapes, wishes, st.binary(max_size=4), st.data())
def test_any_stream_cut_anywhere_has_the_same_events_in_the_specifications_order(
    event: Event,
    stream_events: list[tuple[str, Any, str]],
    shape: ResponseShape,
    wish: Data,
    rest: bytes,
    data: st.DataObject,
) -> None:
    stream = b"".join(event(kind, payload, message=message) for kind, payload, message in stream_events)
    stream += data.draw(st.sampled_from([b"", b"", rest]))
    written, failed = play([stream], shape, wish)
    assert play(cut(data, stream), shape, wish) == (written, failed)
    assert play([stream[at : at + 1] for at in range(len(stream))], shape, wish) == (written, failed)
    events = decoded(written)
    Grammar().run(events)
    assert (events[-1]["type"] == "response.failed") == failed
