"""ConverseStream events -> the chunks of one `chat.completion`.

One state machine, moved by events; the end of the bytes is an event too (`end`).

| state   | event                        | next    | written                                             |
|---------|------------------------------|---------|-----------------------------------------------------|
| waiting | messageStart                 | open    | the chunk with the role                             |
| open    | contentBlockStart (tool)     | open    | the tool call's id, type and name                   |
| open    | contentBlockDelta            | open    | content, reasoning_content or arguments             |
| open    | contentBlockStop             | open    | `{}` for a tool call without arguments              |
| open    | messageStop                  | stopped | what was held back; the finish_reason               |
| stopped | metadata                     | counted | usage, if it was asked for                          |
| stopped, counted | end                 | whole   | `[DONE]`                                            |
| any other pair, an exception frame, an error frame, bad bytes | failed | `StreamError` is raised     |

The awkward case is the answer tool (a JSON schema as `response_format`): its input is the content, so its pieces
stream as content, while plain text beside it would spoil the JSON and is held back until it is known that the tool
was not called. And `[DONE]` waits for the end of the bytes: until then an exception may still come, and a client that
reads it hangs up at once, which would look like a call that was broken off.

Invariant: whatever way the bytes of a stream are cut, the chunks together are the same.
"""

from dataclasses import dataclass
from enum import Enum, auto

from extproc.bedrock import errors as bedrock_errors
from extproc.bedrock.converse import (
    BadAnswerError,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    MessageStart,
    MessageStop,
    Metadata,
    decode_event,
)
from extproc.bedrock.eventstream import Decoder, EventStreamError, Message
from extproc.openai.chat import Chunks, Usage
from extproc.openai.errors import ApiError
from extproc.openai.sse import DONE
from extproc.translate.chat_answer import finish_reason, usage
from extproc.translate.errors import bad_answer, cut_off, from_bedrock


class State(Enum):
    """Where a stream stands."""

    WAITING = auto()
    OPEN = auto()
    STOPPED = auto()
    COUNTED = auto()
    WHOLE = auto()
    FAILED = auto()


@dataclass(slots=True)
class _Tool:
    """A tool's block that is being written: the call at `index` of the answer, or the answer itself (None)."""

    index: int | None
    empty: bool = True


class ChatStream:
    """One stream. `usage` and `finish` are known once it is counted; `state` is for reading."""

    def __init__(self, chunks: Chunks, *, answer_tool: str | None = None, truncation: str = "length") -> None:
        self.state = State.WAITING
        self.usage = Usage()
        self.finish = ""
        self._chunks = chunks
        self._truncation = truncation
        self._decoder = Decoder()
        self._tools: dict[int, _Tool] = {}
        """Those that have not ended, by the index of their block."""
        self._calls = 0
        self._answer_tool = answer_tool
        self._answered = False
        self._held: list[str] = []

    def feed(self, data: bytes) -> bytes:
        """The events that `data` completes, as SSE. Raises `StreamError` where the stream fails."""
        written: list[bytes] = []
        try:
            written.extend(self._receive(message) for message in self._decoder.feed(data))
        except (EventStreamError, BadAnswerError) as error:
            raise self._failed(bad_answer(str(error)), written) from error
        except ApiError as error:
            raise self._failed(error, written) from error
        return b"".join(written)

    def end(self) -> bytes:
        """No more bytes will come: what ends the stream, or a `StreamError` if it is not whole."""
        try:
            self._decoder.close()
        except EventStreamError as error:
            raise self._failed(bad_answer(str(error)), []) from error
        if self.state not in (State.STOPPED, State.COUNTED):
            raise self._failed(cut_off(), [])
        self.state = State.WHOLE
        return DONE

    def _failed(self, error: ApiError, written: list[bytes]) -> "StreamError":
        self.state = State.FAILED
        return StreamError(error, b"".join(written))

    def _receive(self, message: Message) -> bytes:
        if message.headers.get(":message-type") != "event":
            raise from_bedrock(bedrock_errors.from_frame(message.headers, message.payload))
        event = decode_event(str(message.headers.get(":event-type", "")), message.payload)
        match event:
            case None:
                return b""
            case MessageStart() if self.state is State.WAITING:
                self.state = State.OPEN
                return self._chunks.role()
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

    def _start(self, event: ContentBlockStart) -> bytes:
        use = event.start.tool_use
        if use is None:
            return b""
        if use.name == self._answer_tool:
            return self._start_answer(event.content_block_index)
        index = self._calls
        self._calls += 1
        self._tools[event.content_block_index] = _Tool(index)
        return self._chunks.tool_start(index, use.tool_use_id, use.name)

    def _start_answer(self, block: int) -> bytes:
        """There may be one answer; a second is not heard."""
        if not self._answered:
            self._answered = True
            self._tools[block] = _Tool(None)
        return b""

    def _delta(self, event: ContentBlockDelta) -> bytes:
        delta = event.delta
        if delta.text is not None:
            return self._text(delta.text)
        if delta.tool_use is not None:
            return self._input(event.content_block_index, delta.tool_use.input)
        if delta.reasoning_content is not None and delta.reasoning_content.text:
            return self._chunks.delta({"reasoning_content": delta.reasoning_content.text})
        return b""

    def _text(self, text: str) -> bytes:
        if self._answer_tool is None:
            return self._chunks.content(text) if text else b""
        self._held.append(text)
        return b""

    def _input(self, block: int, piece: str) -> bytes:
        tool = self._tools.get(block)
        if tool is None or not piece:
            return b""
        tool.empty = False
        return self._write(tool, piece)

    def _close(self, block: int) -> bytes:
        """A tool without arguments streams no input at all; its arguments are still a JSON object."""
        tool = self._tools.pop(block, None)
        return self._write(tool, "{}") if tool is not None and tool.empty else b""

    def _write(self, tool: _Tool, piece: str) -> bytes:
        if tool.index is None:
            return self._chunks.content(piece)
        return self._chunks.tool_arguments(tool.index, piece)

    def _stop(self, event: MessageStop) -> bytes:
        reason = finish_reason(event.stop_reason, called=self._calls > 0)
        self.finish = self._truncation if reason == "length" else reason
        self.state = State.STOPPED
        rest = [self._close(block) for block in tuple(self._tools)]
        if self._held and not self._answered:
            rest.append(self._chunks.content("".join(self._held)))
        return b"".join(rest) + self._chunks.finish(self.finish)

    def _metadata(self, event: Metadata) -> bytes:
        self.usage = usage(event.usage)
        self.state = State.COUNTED
        return self._chunks.usage(self.usage)


class StreamError(Exception):
    """A stream failed: `error` is what to tell the client, after `written`, the chunks from before it."""

    def __init__(self, error: ApiError, written: bytes) -> None:
        super().__init__(error.message)
        self.error = error
        self.written = written
