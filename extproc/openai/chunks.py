"""The chunks of a streamed chat completion, as values, and their encoding as `chat.completion.chunk`s.

Members that OpenAI has no name for (`reasoning_content`, `thinking_blocks`, `images`, `trace`) have LiteLLM's names,
which clients read.

Source: `CreateChatCompletionStreamResponse` in OpenAI's API description, and `types/chat` of the openai package.
"""

from abc import ABC, abstractmethod
from typing import Any, Final

import msgspec

from extproc.openai import sse
from extproc.openai.completion import Usage, custom_call, tool_call
from extproc.openai.errors import ApiError
from extproc.payload import Payload
from extproc.value import Value

_json: Final = msgspec.json.encode
"""In one lookup instead of three, for what is encoded with each frame."""


class RoleChunk(Value, frozen=True):
    """The first chunk, with the message's role."""

    def delta(self) -> dict[str, Any]:
        """Return the `delta`."""
        return {"role": "assistant", "content": "", "refusal": None}


class ContentChunk(Value, frozen=True):
    """A piece of the message's text."""

    text: str

    def delta(self) -> dict[str, Any]:
        """Return the `delta`."""
        return {"content": self.text}


class ReasoningChunk(Value, frozen=True):
    """A piece of the reasoning's text."""

    text: str

    def delta(self) -> dict[str, Any]:
        """Return the `delta`."""
        return {"reasoning_content": self.text}


class ToolCallChunk(Value, frozen=True):
    """The start of a tool call: the only chunk with its id, type and name. `index` is its place in `tool_calls`."""

    index: int
    call_id: str
    name: str

    def delta(self) -> dict[str, Any]:
        """Return the `delta`."""
        return {"tool_calls": [{"index": self.index, **tool_call(self.call_id, self.name, "")}]}


class ToolArgumentsChunk(Value, frozen=True):
    """A piece of a tool call's arguments."""

    index: int
    arguments: str

    def delta(self) -> dict[str, Any]:
        """Return the `delta`."""
        return {"tool_calls": [{"index": self.index, "function": {"arguments": self.arguments}}]}


class CustomCallChunk(Value, frozen=True):
    """The start of a custom tool's call.

    OpenAI's description of chunks knows functions only; this is what its API sends, and what its SDKs put
    together (https://github.com/openai/openai-openapi/issues/576).
    """

    index: int
    call_id: str
    name: str

    def delta(self) -> dict[str, Any]:
        """Return the `delta`."""
        return {"tool_calls": [{"index": self.index, **custom_call(self.call_id, self.name, "")}]}


class CustomInputChunk(Value, frozen=True):
    """The input of a custom tool's call."""

    index: int
    text: str

    def delta(self) -> dict[str, Any]:
        """Return the `delta`."""
        return {"tool_calls": [{"index": self.index, "custom": {"input": self.text}}]}


class FunctionCallChunk(Value, frozen=True):
    """The start of a `function_call` (the form from before tools): the only chunk with its name."""

    name: str

    def delta(self) -> dict[str, Any]:
        """Return the `delta`."""
        return {"function_call": {"name": self.name, "arguments": ""}}


class FunctionArgumentsChunk(Value, frozen=True):
    """A piece of a `function_call`'s arguments."""

    arguments: str

    def delta(self) -> dict[str, Any]:
        """Return the `delta`."""
        return {"function_call": {"arguments": self.arguments}}


class DetailsChunk(Value, frozen=True):
    """`thinking_blocks`, `annotations` and `images`, each whole.

    The SDKs put a list that is not `tool_calls` together from one delta only: openai-python raises at a second one,
    openai-node forgets the first.
    """

    details: dict[str, Any]

    def delta(self) -> dict[str, Any]:
        """Return the `delta`."""
        # LiteLLM skips a delta without a text that it knows, and would lose the signatures.
        text = {"reasoning_content": ""} if "thinking_blocks" in self.details else {}
        return text | self.details


class ReasoningEndChunk(Value, frozen=True):
    """The end of a block of reasoning, as an entry of `thinking_blocks`: only for streams of items."""

    block: dict[str, Any]


class AnnotationsChunk(Value, frozen=True):
    """The annotations of the text since the last ones, counted from the first text: only for streams of items."""

    annotations: list[dict[str, Any]]


class FinishChunk(Value, frozen=True):
    """The last chunk with a choice; `trace` is a guardrail's."""

    reason: str
    service_tier: str | None = None
    trace: dict[str, Any] | None = None


class UsageChunk(Value, frozen=True):
    """The chunk without choices that `stream_options.include_usage` asks for."""

    usage: Usage
    service_tier: str | None = None


DeltaChunk = (
    RoleChunk
    | ContentChunk
    | ReasoningChunk
    | ToolCallChunk
    | ToolArgumentsChunk
    | CustomCallChunk
    | CustomInputChunk
    | FunctionCallChunk
    | FunctionArgumentsChunk
    | DetailsChunk
)
ItemChunk = ReasoningEndChunk | AnnotationsChunk
Chunk = DeltaChunk | FinishChunk | UsageChunk | ItemChunk


class StreamEncoder(ABC):
    """An encoder of one stream's chunks as server-sent events of one API."""

    @abstractmethod
    def encode(self, chunk: Chunk) -> Payload:
        """Return the events of a chunk; there may be none. Raises a 502 `ApiError` if the stream is too long."""

    @abstractmethod
    def end(self) -> Payload:
        """Return the last events of a whole stream."""

    @abstractmethod
    def fail(self, error: ApiError) -> Payload:
        """Return the last events of a stream that fails after its beginning."""


class ChunkEncoder(StreamEncoder):
    """An encoder of one stream's chunks as server-sent events: the same id, time and model in all of them.

    The part that does not change is encoded once. With `include_usage` each chunk has `"usage": null`; without
    it, a `UsageChunk` becomes nothing. The service tier is known only at the end: the last two chunks have it.
    """

    def __init__(self, completion_id: str, created: int, model: str, *, include_usage: bool) -> None:
        head = {"id": completion_id, "object": "chat.completion.chunk", "created": created, "model": model}
        self._head = msgspec.json.encode(head)[:-1] + b',"choices":['
        self._include_usage = include_usage
        self._start = b"data: " + self._head + b'{"index":0,"delta":'
        self._null_usage = b',"usage":null' if include_usage else b""
        self._end = b',"logprobs":null,"finish_reason":null}]' + self._null_usage + _EVENT_END
        self._before_text, self._after_text = self._start + b'{"content":', b"}" + self._end

    def encode(self, chunk: Chunk) -> bytes:
        """Return the chunk as one event."""
        if type(chunk) is ContentChunk:  # nearly all of them
            return self._before_text + _json(chunk.text) + self._after_text
        match chunk:
            case FinishChunk():
                return self._finish(chunk)
            case UsageChunk():
                return self._usage(chunk)
            case ReasoningEndChunk() | AnnotationsChunk():
                return b""
        return self._start + msgspec.json.encode(chunk.delta()) + self._end

    def end(self) -> bytes:
        """Return `[DONE]`."""
        return sse.DONE

    def fail(self, error: ApiError) -> bytes:
        """Return the error; without `[DONE]`, because the message is not whole."""
        return sse.event(error.encode())

    def _finish(self, chunk: FinishChunk) -> bytes:
        end = b',"logprobs":null,"finish_reason":' + msgspec.json.encode(chunk.reason) + b"}]" + self._null_usage
        trace = b',"trace":' + msgspec.json.encode(chunk.trace) if chunk.trace else b""
        return self._start + b"{}" + end + _tier(chunk.service_tier) + trace + _EVENT_END

    def _usage(self, chunk: UsageChunk) -> bytes:
        if not self._include_usage:
            return b""
        usage = msgspec.json.encode(chunk.usage.as_object())
        return b"data: " + self._head + b'],"usage":' + usage + _tier(chunk.service_tier) + _EVENT_END


_EVENT_END = b"}\n\n"


def _tier(service_tier: str | None) -> bytes:
    return b',"service_tier":' + msgspec.json.encode(service_tier) if service_tier else b""
