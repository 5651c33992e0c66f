"""The chunks of a chat -> the events of a Responses stream, and the response object that they make up.

Each event has its type twice, as SSE's `event` and in its data, and a `sequence_number` from 0 without a gap.

| chunk                      | events (`response.` before each)                                                   |
|----------------------------|------------------------------------------------------------------------------------|
| the first                  | `created`, `in_progress`                                                           |
| a piece of content         | (message: `output_item.added`, `content_part.added`) `output_text.delta`           |
| a piece of reasoning       | (`output_item.added`) `reasoning_summary_part.added`, `reasoning_summary_text.delta`|
| the start of a call        | `output_item.added`                                                                |
| a piece of its arguments   | `function_call_arguments.delta`, or `custom_tool_call_input.delta`                 |
| annotations                | `output_text.annotation.added`                                                     |
| an image                   | `output_item.added`, `image_generation_call.completed`, `output_item.done`         |
| anything of another item   | the open item's `*.done` events, with all of it, and `output_item.done`            |
| the end                    | `completed`, or `incomplete` with the reason; `failed` at any time                 |

One item is open at a time. It ends when another begins or the message does: only then is it known whether it is whole.

Invariants: the deltas of an item make up its text; the last event carries every item, as its `output_item.done` did;
no more is kept than a whole response may have (`response_limits`).

Source: https://platform.openai.com/docs/api-reference/responses-streaming, and `types/responses` of the openai package.

Decision: docs/decisions.md, D167.
"""

from collections.abc import Callable, Mapping
from io import StringIO
from typing import Any

import msgspec

from extproc.openai.chunks import (
    AnnotationsChunk,
    Chunk,
    ContentChunk,
    CustomCallChunk,
    CustomInputChunk,
    DetailsChunk,
    FinishChunk,
    ReasoningChunk,
    ReasoningEndChunk,
    RoleChunk,
    StreamEncoder,
    ToolArgumentsChunk,
    ToolCallChunk,
    UsageChunk,
)
from extproc.openai.errors import ApiError
from extproc.openai.response_object import (
    ResponseHead,
    error_object,
    image_item,
    incomplete_details,
    message_item,
    output_text,
    reasoning_item,
    usage_object,
)
from extproc.payload import Payload, joined
from extproc.translate.errors import bad_response
from extproc.translate.response_limits import Kept

_EVENT_END = b"}\n\n"
_ITEM = 256
"""Bytes that an item, or an annotation, counts beside its texts."""

Members = dict[str, Any]


class _Item:
    """An item that has not ended. `delta_head` and `delta_tail` are around the JSON of a piece of its text."""

    def __init__(self, kind: str, item_id: str, index: int, delta: str, place: Members) -> None:
        """`delta` is the type of the events with a piece of its text, `place` where in the item that text is."""
        self.kind = kind
        self.id = item_id
        self.index = index
        self.text = StringIO()
        self.place: Members = {"item_id": item_id, "output_index": index, **place}
        event = msgspec.json.encode({"type": delta, **self.place, **(_NO_LOGPROBS if kind == "message" else {})})
        self.delta_head = b"event: " + delta.encode() + b"\ndata: " + event[:-1] + b',"delta":'
        self.annotations: list[Members] = []
        self.start = 0
        """For a message: where its text begins among the texts of all."""
        self.call: Members = {}
        """For a call: its name and id."""
        self.part_begun = False
        """For reasoning: whether it has a summary."""
        self.encrypted: str | None = None


_NO_LOGPROBS: Mapping[str, Any] = {"logprobs": []}


class ResponsesEncoder(StreamEncoder):
    """An encoder of one stream. After its end, `response` is the whole object."""

    def __init__(
        self,
        response_id: str,
        head: ResponseHead,
        names: Mapping[str, Members],
        *,
        clock: Callable[[], float],
        summary: bool,
        seal: Callable[[Members], str] | None,
    ) -> None:
        """`names` are the name and namespace of tools by their flat names; `summary`: whether reasoning is shown.

        `clock` returns the unix time, at which a response is completed.
        `seal` makes the `encrypted_content` of a block of reasoning, if the client requests it.
        """
        self._id = response_id
        self._head = head
        self._names = names
        self._clock = clock
        self._summary = summary
        self._seal = seal
        self._sequence = 0
        self._item: _Item | None = None
        self._calls: dict[int, _Item] = {}
        self._output: list[bytes] = []
        self._length = 0
        """Characters of all texts so far."""
        self._kept = Kept()
        self._end: Members = {}
        self._finish = ""

    @property
    def response(self) -> Payload:
        """The response object, after `end`."""
        return self._object(self._status(), self._end)

    def encode(self, chunk: Chunk) -> Payload:
        """Return the events of a chunk."""
        if type(chunk) is ContentChunk:  # nearly all of them
            item = self._item
            if item is None or item.kind != "message":
                return self._begin_message() + self._delta(chunk.text)
            return self._delta(chunk.text)
        if type(chunk) is ToolArgumentsChunk:
            return self._input(chunk.index, chunk.arguments)
        if type(chunk) is ReasoningChunk:
            return self._reason(chunk.text)
        return self._once(chunk)

    def _once(self, chunk: Chunk) -> Payload:
        """Return the events of a chunk of which there is one for an item, or for the message."""
        match chunk:
            case ReasoningEndChunk():
                return self._end_reasoning(chunk.block)
            case ToolCallChunk():
                return self._begin_call("function_call", chunk.index, chunk.call_id, chunk.name)
            case CustomCallChunk():
                return self._begin_call("custom_tool_call", chunk.index, chunk.call_id, chunk.name)
            case CustomInputChunk():
                return self._input(chunk.index, chunk.text)
            case AnnotationsChunk():
                return self._annotate(chunk.annotations)
            case DetailsChunk():
                return self._details(chunk.details)
            case RoleChunk():
                return self._begin()
            case FinishChunk():
                return self._stop(chunk)
            case UsageChunk():
                self._end["usage"] = usage_object(chunk.usage)
        return b""

    def end(self) -> Payload:
        """Return the last event, with the whole response."""
        status = self._status()
        if status == "completed":
            self._end["completed_at"] = int(self._clock())
        return self._whole(f"response.{status}", status, self._end)

    def fail(self, error: ApiError) -> Payload:
        """Return the end of a response that has failed. What was open stays in progress for ever."""
        begun = b"" if self._sequence else self._begin()
        failed = self._whole("response.failed", "failed", {**self._end, "error": error_object(error)})
        return joined((begun, failed))

    # The response

    def _status(self) -> str:
        return "incomplete" if self._end.get("incomplete_details") else "completed"

    def _begin(self) -> Payload:
        created = self._whole("response.created", "in_progress", {})
        return joined((created, self._whole("response.in_progress", "in_progress", {})))

    def _stop(self, chunk: FinishChunk) -> bytes:
        self._end["incomplete_details"] = incomplete_details(chunk.reason)
        if chunk.service_tier:
            self._end["service_tier"] = chunk.service_tier
        if chunk.trace:
            self._end["trace"] = chunk.trace
        return self._close(self._status())

    def _object(self, status: str, more: Members) -> Payload:
        return self._head.encode(status, b"[" + b",".join(self._output) + b"]", more)

    def _whole(self, kind: str, status: str, more: Members) -> Payload:
        return joined((self._event_head(kind) + b'"response":', self._object(status, more), _EVENT_END))

    def _event(self, kind: str, members: Members) -> bytes:
        return self._write(kind, msgspec.json.encode(members)[:-1])

    def _write(self, kind: str, members: bytes) -> bytes:
        """Return an event; `members` are a JSON object without its end."""
        return self._event_head(kind) + members[1:] + _EVENT_END

    def _event_head(self, kind: str) -> bytes:
        """Return what comes before the members of an event's own."""
        number = self._sequence
        self._sequence = number + 1
        return f'event: {kind}\ndata: {{"type":"{kind}","sequence_number":{number},'.encode()

    # Items

    def _open(self, kind: str, prefix: str, delta: str, place: Members) -> tuple[bytes, _Item]:
        """End the open item, and begin another; return the events of the former, and the latter."""
        closed = self._close("completed")
        index = len(self._output)
        self._kept.add(_ITEM)
        item = self._item = _Item(kind, f"{prefix}_{self._id}_{index}", index, delta, place)
        return closed, item

    def _added(self, item: _Item, content: Members) -> bytes:
        return self._event("response.output_item.added", {"output_index": item.index, "item": content})

    def _done(self, index: int, content: Members) -> bytes:
        encoded = msgspec.json.encode(content)
        self._output.append(encoded)
        return self._write("response.output_item.done", b'{"output_index":%d,"item":%b' % (index, encoded))

    def _delta(self, text: str) -> bytes:
        """Return a piece of the open item's text."""
        item = self._item
        assert item is not None
        self._kept.add(len(text))
        item.text.write(text)
        number = self._sequence
        self._sequence = number + 1
        return item.delta_head + msgspec.json.encode(text) + b',"sequence_number":%d}\n\n' % number

    def _close(self, status: str) -> bytes:
        """End the open item, if there is one."""
        item = self._item
        if item is None:
            return b""
        self._item = None
        if item.kind == "message":
            return self._close_message(item, status)
        if item.kind == "reasoning":
            return self._close_reasoning(item, status)
        return self._close_call(item, status)

    # Messages

    def _begin_message(self) -> bytes:
        place = {"content_index": 0}
        closed, item = self._open("message", "msg", "response.output_text.delta", place)
        item.start = self._length
        added = self._added(item, message_item(item.id, "in_progress", []))
        part = self._event("response.content_part.added", {**item.place, "part": output_text("", [])})
        return closed + added + part

    def _close_message(self, item: _Item, status: str) -> bytes:
        text = item.text.getvalue()
        self._length += len(text)
        part = output_text(text, item.annotations)
        done = self._event("response.output_text.done", {**item.place, "text": text, "logprobs": []})
        part_done = self._event("response.content_part.done", {**item.place, "part": part})
        return done + part_done + self._done(item.index, message_item(item.id, status, [part]))

    def _annotate(self, annotations: list[Members]) -> bytes:
        """Return annotations of the open message; one of an earlier message is of the beginning of this one."""
        written: list[bytes] = []
        for annotation in annotations:
            if self._item is None or self._item.kind != "message":
                written.append(self._begin_message())
            written.append(self._annotate_with(self._item, annotation["url_citation"]))
        return b"".join(written)

    def _annotate_with(self, item: "_Item | None", citation: Members) -> bytes:
        assert item is not None
        self._kept.add(_ITEM)
        start, end = (max(citation[name] - item.start, 0) for name in ("start_index", "end_index"))
        own = {"type": "url_citation", **citation, "start_index": start, "end_index": end}
        index = len(item.annotations)
        item.annotations.append(own)
        members = {**item.place, "annotation_index": index, "annotation": own}
        return self._event("response.output_text.annotation.added", members)

    # Reasoning

    def _begin_reasoning(self) -> bytes:
        place = {"summary_index": 0}
        closed, item = self._open("reasoning", "rs", "response.reasoning_summary_text.delta", place)
        return closed + self._added(item, reasoning_item(item.id, "in_progress", [], None))

    def _reason(self, text: str) -> bytes:
        begun = b""
        if self._item is None or self._item.kind != "reasoning":
            begun = self._begin_reasoning()
        item = self._item
        assert item is not None
        if not self._summary:
            return begun
        if not item.part_begun:
            item.part_begun = True
            part = {"type": "summary_text", "text": ""}
            begun += self._event("response.reasoning_summary_part.added", {**item.place, "part": part})
        return begun + self._delta(text)

    def _end_reasoning(self, block: Members) -> bytes:
        begun = b""
        if self._item is None or self._item.kind != "reasoning":
            begun = self._begin_reasoning()
        item = self._item
        if item is not None and self._seal is not None:
            item.encrypted = self._seal(block)
            self._kept.add(len(item.encrypted))
        return begun + self._close("completed")

    def _close_reasoning(self, item: _Item, status: str) -> bytes:
        summary = [item.text.getvalue()] if item.part_begun else []
        written = b""
        for text in summary:
            part = {"type": "summary_text", "text": text}
            written += self._event("response.reasoning_summary_text.done", {**item.place, "text": text})
            written += self._event("response.reasoning_summary_part.done", {**item.place, "part": part})
        return written + self._done(item.index, reasoning_item(item.id, status, summary, item.encrypted))

    # Calls

    def _begin_call(self, kind: str, call: int, call_id: str, name: str) -> bytes:
        self._kept.add(len(call_id) + len(name))
        if kind == "function_call":
            closed, item = self._open(kind, "fc", "response.function_call_arguments.delta", {})
        else:
            closed, item = self._open(kind, "ctc", "response.custom_tool_call_input.delta", {})
        item.call = {"call_id": call_id, **(self._names.get(name) or {"name": name})}
        self._calls = {call: item}
        return closed + self._added(item, self._call(item, "in_progress"))

    def _call(self, item: _Item, status: str) -> Members:
        text = "arguments" if item.kind == "function_call" else "input"
        known = {"id": item.id, "type": item.kind, "status": status, **item.call}
        return {**known, text: item.text.getvalue()}

    def _input(self, call: int, text: str) -> bytes:
        item = self._calls.get(call)
        if item is None or item is not self._item:
            raise bad_response("a piece of a tool call that has ended")
        return self._delta(text)

    def _close_call(self, item: _Item, status: str) -> bytes:
        whole = self._call(item, status)
        if item.kind == "function_call":
            members = {**item.place, "name": whole["name"], "arguments": whole["arguments"]}
            done = self._event("response.function_call_arguments.done", members)
        else:
            done = self._event("response.custom_tool_call_input.done", {**item.place, "input": whole["input"]})
        return done + self._done(item.index, whole)

    # Details at the end of the message

    def _details(self, details: Members) -> bytes:
        written = [self._end_reasoning(block) for block in details.get("thinking_blocks", ())]
        written.append(self._annotate(details.get("annotations", [])))
        for image in details.get("images", ()):
            written.append(self._close("completed"))
            written.append(self._image(image["image_url"]["url"].partition(",")[2]))
        return b"".join(written)

    def _image(self, base64: str) -> bytes:
        self._kept.add(_ITEM + len(base64))
        index = len(self._output)
        item_id = f"ig_{self._id}_{index}"
        place = {"output_index": index, "item_id": item_id}
        begun = {"output_index": index, "item": image_item(item_id, "in_progress", None)}
        added = self._event("response.output_item.added", begun)
        completed = self._event("response.image_generation_call.completed", place)
        return added + completed + self._done(index, image_item(item_id, "completed", base64))
