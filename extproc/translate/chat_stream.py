"""ConverseStream events -> the chunks of one `chat.completion`.

One state machine, moved by events; the end of the bytes is an event too (`end`).

| state    | event                        | next     | written                                            |
|----------|------------------------------|----------|----------------------------------------------------|
| waiting  | messageStart                 | open     | nothing yet: the role goes before the first other chunk |
| waiting  | `{`, the first byte of all   | document | nothing: AWS's refusal in JSON, with a status of 200 |
| open     | contentBlockStart (tool)     | open     | the tool call's id, type and name                  |
| open     | contentBlockDelta            | open     | content, reasoning_content or arguments            |
| open     | contentBlockStop             | open     | `{}` for a tool call without arguments             |
| open     | messageStop                  | stopped  | what was held back                                 |
| stopped  | metadata                     | counted  | the finish_reason; usage, if it was asked for      |
| stopped  | end                          | whole    | the finish_reason; `[DONE]`                        |
| counted  | end                          | whole    | `[DONE]`                                           |
| document | end                          | failed   | `StreamError` is raised                            |
| any other pair, an exception frame, an error frame, bad bytes | failed | `StreamError` is raised     |

Five things wait. The chunk with the role waits for something to say: an exception right behind messageStart can then
still become a real status, however the bytes were cut. The finish_reason waits for the metadata, a moment later,
which say at which tier the call was served and what a guardrail did; and a client that leaves as soon as it has read
it has been counted. `thinking_blocks` and `annotations` wait for messageStop, because clients take each from one
chunk only. A custom tool's input waits for its block to end: it is a text within JSON. And `[DONE]` waits for the end
of the bytes: until then an exception may still come, and a client that reads it hangs up at once, which would look
like a call that was broken off.

The awkward case is the answer tool (a JSON schema as `response_format`): its input is the content, so its pieces
stream as content, while plain text beside it would spoil the JSON: the SDKs' `parse()` raises at what is not of the
schema. It is held back until it is known that the model called nothing at all, and said why it did not.

Invariant: whatever way the bytes of a stream are cut, the chunks together are the same.
"""

from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from extproc.bedrock import errors as bedrock_errors
from extproc.bedrock.converse_answer import (
    BadAnswerError,
    Citation,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    MessageStart,
    MessageStop,
    Metadata,
    ReasoningDelta,
    ToolUseStart,
    decode_event,
)
from extproc.bedrock.eventstream import Decoder, EventStreamError, Message
from extproc.openai.completion import Chunks, Usage
from extproc.openai.errors import ApiError
from extproc.openai.sse import DONE
from extproc.translate.chat_answer import (
    annotations,
    custom_input,
    finish_reason,
    service_tier,
    streamed_extras,
    thinking_block,
    usage,
)
from extproc.translate.errors import bad_answer, cut_off, from_bedrock
from extproc.translate.shape import Shape

_AS_IT_COMES = Shape()

_LONGEST_DOCUMENT = 64 * 1024


class State(Enum):
    """Where a stream stands."""

    WAITING = auto()
    DOCUMENT = auto()
    OPEN = auto()
    STOPPED = auto()
    COUNTED = auto()
    WHOLE = auto()
    FAILED = auto()


class _Form(Enum):
    """What becomes of a tool's input."""

    ANSWER = auto()
    CALL = auto()
    CUSTOM = auto()
    LEGACY = auto()


@dataclass(slots=True)
class _Tool:
    """A tool's block that is being written; `index` is the call's place among the answer's calls."""

    form: _Form
    index: int = 0
    empty: bool = True
    held: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Thought:
    """A block of reasoning: its pieces."""

    text: list[str] = field(default_factory=list)
    signature: list[str] = field(default_factory=list)
    redacted: list[str] = field(default_factory=list)

    def block(self) -> dict[str, Any] | None:
        return thinking_block("".join(self.text), "".join(self.signature), _one_base64(self.redacted))


class ChatStream:
    """One stream. `usage` is known once it is counted, `finish` once it has stopped; `state` is for reading."""

    def __init__(self, chunks: Chunks, *, shape: Shape = _AS_IT_COMES, truncation: str = "length") -> None:
        self.state = State.WAITING
        self.usage = Usage()
        self.finish = ""
        self._chunks = chunks
        self._shape = shape
        self._truncation = truncation
        self._decoder = Decoder()
        self._opening = b""
        """The chunk with the role, until something follows it."""
        self._aws_said = ""
        self._fresh = True
        self._document = bytearray()
        self._tools: dict[int, _Tool] = {}
        """Those that have not ended, by the index of their block."""
        self._calls = 0
        self._answered = False
        self._held: list[str] = []
        self._thoughts: dict[int, _Thought] = {}
        self._length = 0
        """Characters of content so far."""
        self._spans: dict[int, list[int]] = {}
        """Where in the content each block's text begins and ends."""
        self._citations: dict[int, list[Citation]] = {}

    @property
    def begun(self) -> bool:
        """Whether any byte has come."""
        return not self._fresh

    @property
    def settled(self) -> bool:
        """Whether the metadata event has come, and nothing after it: only the end of the bytes is missing."""
        return self.state is State.COUNTED and not self._decoder.pending

    def feed(self, data: bytes) -> bytes:
        """The events that `data` completes, as SSE. Raises `StreamError` where the stream fails."""
        if self._fresh and data:
            self._fresh = False
            if data[0] == _BRACE:
                self.state = State.DOCUMENT
        if self.state is State.DOCUMENT:
            self._document += data[: _LONGEST_DOCUMENT + 1 - len(self._document)]
            if len(self._document) > _LONGEST_DOCUMENT:
                raise self._failed(bad_answer("it is a JSON document of more than 64 KiB, not an event stream"), [])
            return b""
        written: list[bytes] = []
        try:
            for message in self._decoder.feed(data):
                written.append(self._receive(message))  # noqa: PERF401 - what came before an error is kept
        except (EventStreamError, BadAnswerError) as error:
            raise self._failed(bad_answer(str(error)), written) from error
        except ApiError as refusal:
            raise self._failed(refusal, written) from refusal
        return self._joined(written)

    def end(self) -> bytes:
        """No more bytes will come: what ends the stream, or a `StreamError` if it is not whole."""
        if self.state is State.DOCUMENT:
            raise self._failed(self._refusal(), [])
        try:
            self._decoder.close()
        except EventStreamError as error:
            raise self._failed(bad_answer(str(error)), []) from error
        if self.state not in (State.STOPPED, State.COUNTED):
            raise self._failed(cut_off(), [])
        finish = self._chunks.finish(self.finish) if self.state is State.STOPPED else b""
        self.state = State.WHOLE
        return self._joined([finish, DONE])

    def _joined(self, written: list[bytes]) -> bytes:
        """What was written, behind the role if that has not gone out yet."""
        data = b"".join(written)
        if data and self._opening:
            data, self._opening = self._opening + data, b""
        return data

    def _failed(self, error: ApiError, written: list[bytes]) -> "StreamError":
        self.state = State.FAILED
        return StreamError(error, self._joined(written), self._aws_said)

    def _refusal(self) -> ApiError:
        """What a JSON document says that came where a stream should."""
        failure = bedrock_errors.from_response(200, {}, bytes(self._document))
        return self._refused(failure) if failure.kind else bad_answer("a JSON document, no event stream")

    def _refused(self, failure: bedrock_errors.BedrockError) -> ApiError:
        self._aws_said = str(failure)
        return from_bedrock(failure)

    def _receive(self, message: Message) -> bytes:
        kind = message.headers.get(":message-type")
        if kind in ("exception", "error"):
            raise self._refused(bedrock_errors.from_frame(message.headers, message.payload))
        if kind != "event":
            raise BadAnswerError(f"a message of the type {kind!r}")
        event = decode_event(str(message.headers.get(":event-type", "")), message.payload)
        match event:
            case None:
                return b""
            case MessageStart() if self.state is State.WAITING:
                self.state = State.OPEN
                self._opening = self._chunks.role()
                return b""
            case ContentBlockDelta() if self.state is State.OPEN:
                return self._delta(event)
            case ContentBlockStart() if self.state is State.OPEN:
                return self._start(event)
            case ContentBlockStop() if self.state is State.OPEN:
                return self._close(event.content_block_index)
            case MessageStop() if self.state is State.OPEN:
                return self._stop(event)
            case Metadata() if self.state is State.STOPPED:
                return self._metadata(event)
        raise BadAnswerError(f"{type(event).__name__} while {self.state.name.lower()}")

    # Blocks

    def _delta(self, event: ContentBlockDelta) -> bytes:
        block, delta = event.content_block_index, event.delta
        if delta.text is not None:
            return self._text(block, delta.text)
        if delta.tool_use is not None:
            return self._input(block, delta.tool_use.input)
        if delta.reasoning_content is not None:
            return self._reasoning(block, delta.reasoning_content)
        if delta.citation is not None:
            self._citations.setdefault(block, []).append(delta.citation)
        return b""

    def _text(self, block: int, text: str) -> bytes:
        span = self._spans.get(block)
        if span is None:
            span = self._spans[block] = [self._length, 0]
        span[1] = self._length = self._length + len(text)
        if self._shape.answer_tool is None:
            return self._chunks.content(text) if text else b""
        self._held.append(text)
        return b""

    def _reasoning(self, block: int, piece: ReasoningDelta) -> bytes:
        thought = self._thoughts.get(block)
        if thought is None:
            thought = self._thoughts[block] = _Thought()
        if piece.signature:
            thought.signature.append(piece.signature)
        if piece.redacted_content:
            thought.redacted.append(piece.redacted_content)
        if not piece.text:
            return b""
        thought.text.append(piece.text)
        return self._chunks.delta({"reasoning_content": piece.text})

    def _start(self, event: ContentBlockStart) -> bytes:
        use = event.start.tool_use
        if use is None or use.is_server_side:
            return b""
        if use.name == self._shape.answer_tool:
            return self._start_answer(event.content_block_index)
        return self._start_call(event.content_block_index, use)

    def _start_answer(self, block: int) -> bytes:
        """There may be one answer; a second is not heard."""
        if not self._answered:
            self._answered = True
            self._tools[block] = _Tool(_Form.ANSWER)
        return b""

    def _start_call(self, block: int, use: ToolUseStart) -> bytes:
        name = self._shape.client_name(use.name)
        index = self._calls
        self._calls += 1
        if self._shape.legacy:
            if index:
                return b""  # a legacy message has room for one
            self._tools[block] = _Tool(_Form.LEGACY)
            return self._chunks.function_start(name)
        if name in self._shape.custom:
            self._tools[block] = _Tool(_Form.CUSTOM, index)
            return self._chunks.custom_start(index, use.tool_use_id, name)
        self._tools[block] = _Tool(_Form.CALL, index)
        return self._chunks.tool_start(index, use.tool_use_id, name)

    def _input(self, block: int, piece: str) -> bytes:
        tool = self._tools.get(block)
        if tool is None or not piece:
            return b""
        tool.empty = False
        return self._write(tool, piece)

    def _write(self, tool: _Tool, piece: str) -> bytes:
        match tool.form:
            case _Form.CALL:
                return self._chunks.tool_arguments(tool.index, piece)
            case _Form.ANSWER:
                return self._chunks.content(piece)
            case _Form.LEGACY:
                return self._chunks.function_arguments(piece)
            case _Form.CUSTOM:
                tool.held.append(piece)
                return b""

    def _close(self, block: int) -> bytes:
        """A tool without arguments streams no input at all; its arguments are still a JSON object."""
        tool = self._tools.pop(block, None)
        if tool is None:
            return b""
        rest = self._write(tool, "{}") if tool.empty else b""
        if tool.form is _Form.CUSTOM:
            return self._chunks.custom_input(tool.index, custom_input("".join(tool.held)))
        return rest

    # The end of the message

    def _stop(self, event: MessageStop) -> bytes:
        reason = finish_reason(event.stop_reason, called=self._calls > 0, legacy=self._shape.legacy)
        self.finish = self._truncation if reason == "length" else reason
        self.state = State.STOPPED
        rest = [self._close(block) for block in tuple(self._tools)]
        if self._tells_text and (held := "".join(self._held)):
            rest.append(self._chunks.content(held))
        if extras := self._extras():
            rest.append(self._chunks.delta(streamed_extras(extras)))
        return b"".join(rest)

    def _extras(self) -> dict[str, Any]:
        """What goes out whole."""
        extras: dict[str, Any] = {}
        if thinking := [block for thought in self._thoughts.values() if (block := thought.block())]:
            extras["thinking_blocks"] = thinking
        if self._tells_text and (cited := self._annotations()):
            extras["annotations"] = cited
        return extras

    @property
    def _tells_text(self) -> bool:
        """Whether the content is the model's text, and not the answer tool's input."""
        return self._shape.answer_tool is None or not (self._answered or self._calls)

    def _annotations(self) -> list[dict[str, Any]]:
        cited = []
        for block, citations in self._citations.items():
            start, end = self._spans.get(block, (self._length, self._length))
            cited += annotations(citations, start, end)
        return cited

    def _metadata(self, event: Metadata) -> bytes:
        self.usage = usage(event.usage)
        self.state = State.COUNTED
        tier = service_tier(event.service_tier)
        trace = event.trace if self._shape.trace else None
        return self._chunks.finish(self.finish, tier, trace) + self._chunks.usage(self.usage, tier)


_BRACE = ord("{")


def _one_base64(pieces: list[str]) -> str:
    """Pieces of base64 as one; each is whole by itself. Raises `BadAnswerError`."""
    if len(pieces) < 2:
        return "".join(pieces)
    try:
        return b2a_base64(b"".join(map(a2b_base64, pieces)), newline=False).decode()
    except (Base64Error, ValueError) as error:
        raise BadAnswerError(f"redactedContent: {error}") from error


class StreamError(Exception):
    """A stream failed: `error` is what to tell the client, after `written`, the chunks from before it.

    `aws_said` is for whoever runs the gateway: AWS's own words, empty where it was not AWS that failed.
    """

    def __init__(self, error: ApiError, written: bytes, aws_said: str = "") -> None:
        super().__init__(error.message)
        self.error = error
        self.written = written
        self.aws_said = aws_said
