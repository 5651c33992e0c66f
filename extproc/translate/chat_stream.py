"""ConverseStream events -> the chunks of one chat completion. `chat_sse` decodes the events and encodes the chunks.

A state machine, driven by events; the end of the stream is an event too (`end`).

| state    | event                        | next     | chunks                                             |
|----------|------------------------------|----------|----------------------------------------------------|
| waiting  | messageStart                 | open     | none yet: the role comes before the first other chunk |
| open     | contentBlockStart (tool)     | open     | the tool call's id, type and name                  |
| open     | contentBlockDelta            | open     | content, reasoning or arguments                    |
| open     | contentBlockStop             | open     | `{}` for a tool call without arguments             |
| open     | messageStop                  | stopped  | withheld text and details                          |
| stopped  | metadata                     | counted  | the finish reason; usage                           |
| counted  | end                          | whole    | none                                               |
| any other pair, `StreamException`, `StreamDefect` | failed | `ApiError` is raised            |

Four chunks are delayed. The role waits for another chunk: an exception directly after messageStart can then still
become a status. The finish reason waits for the metadata, a moment later, which contain the service tier and the
guardrail's trace; and the usage of a client that disconnects after the finish reason has been recorded. So does a stop
reason that is a failure: Bedrock bills that output, too. `thinking_blocks`, `annotations` and `images` wait for
messageStop, because clients read each from one chunk only. A custom tool's input waits for its block to end: it is a
text within JSON. A stream that ends without metadata was cut.

The special case is the answer tool (a JSON schema as `response_format`): its input is the content, so its pieces
stream as content, while plain text beside it would break the JSON: the SDKs' `parse()` raises at text that does not
match the schema. Such text is withheld until the end of the message, and sent only if the model called no tool, since
it then explains why.

Invariants: the chunks of a response's events make up the message that `chat_completion` makes of the response; and what
is delayed or withheld is no more than a whole response may be (`response_limits`).

Decisions: docs/decisions.md, D14, D18, D131.
"""

from enum import Enum, auto
from io import StringIO
from typing import Any

from extproc.bedrock.converse_response import (
    Citation,
    ContentBlockDeltaEvent,
    ContentBlockStartEvent,
    ContentBlockStopEvent,
    ConverseResponseError,
    ConverseStreamMetadataEvent,
    MessageStartEvent,
    MessageStopEvent,
    ReasoningContentBlockDelta,
    ToolUseBlockStart,
    thinking_tokens,
)
from extproc.bedrock.converse_stream import Event, StreamDefect, StreamException
from extproc.openai.chunks import (
    AnnotationsChunk,
    Chunk,
    ContentChunk,
    CustomCallChunk,
    CustomInputChunk,
    DetailsChunk,
    FinishChunk,
    FunctionArgumentsChunk,
    FunctionCallChunk,
    ReasoningChunk,
    ReasoningEndChunk,
    RoleChunk,
    ToolArgumentsChunk,
    ToolCallChunk,
    UsageChunk,
)
from extproc.openai.completion import Usage
from extproc.openai.errors import ApiError
from extproc.translate.errors import bad_response, cut_off, from_bedrock
from extproc.translate.response_fields import (
    annotations,
    custom_input,
    finish_reason,
    service_tier,
    usage,
    visible_trace,
)
from extproc.translate.response_limits import Kept, utf8_length
from extproc.translate.response_shape import ResponseShape
from extproc.translate.response_text import Fence, InlineReasoning
from extproc.translate.stream_details import StreamDetails
from extproc.translate.stream_tools import Form, OpenTools, Tool

_UNCHANGED = ResponseShape()


class State(Enum):
    """The states of a stream."""

    WAITING = auto()
    OPEN = auto()
    STOPPED = auto()
    COUNTED = auto()
    WHOLE = auto()
    FAILED = auto()


class ChatStream:
    """A translator of one stream. `usage` is set in the state COUNTED, `finish` in STOPPED; `state` is read-only.

    `truncation` is the finish reason of a truncated message. `itemised`: whether reasoning and citations end where
    their blocks do (`ItemChunk`), instead of in the details at the end of the message.
    """

    def __init__(
        self, *, shape: ResponseShape = _UNCHANGED, truncation: str = "length", itemised: bool = False
    ) -> None:
        self.state = State.WAITING
        self.usage = Usage()
        self.finish = ""
        self.counted = False
        """Whether `usage` is set: Bedrock has told what it counted, if it has."""
        self.text_bytes = 0
        """Characters that the model has written so far: text, reasoning and input of tools."""
        self._shape = shape
        self._answer_tool, self._inline_tag = shape.answer_tool, shape.inline_reasoning
        """The members of the shape that each delta needs."""
        self._truncation = truncation
        self._itemised = itemised
        self._role_is_due = True
        self._tools = OpenTools()
        self._calls = 0
        self._has_answer = False
        self._kept = Kept()
        self._withheld = StringIO()
        self._inline_readers: dict[int, InlineReasoning] = {}
        """The readers of text blocks that have not ended, for a model that writes reasoning into its text."""
        self._fence = Fence() if shape.bare_json else None
        self._details = StreamDetails(self._kept)
        self._reasoning_tokens: int | None = None
        self._failure: ApiError | None = None
        """The stop reason that is a failure, which waits for the metadata."""
        self._length = 0
        """Characters of content so far."""
        self._spans: dict[int, list[int]] = {}
        """The start and end of each block's text in the content."""
        self._citations: dict[int, list[Citation]] = {}
        self._cited_spans: dict[int, list[int]] = {}
        """For a block that has citations and no text: the place of the text before it."""
        self._last_span = [0, 0]

    def feed(self, event: Event) -> list[Chunk]:
        """Return the chunks of an event. Raises the `ApiError` with which the stream fails, at it or before it."""
        try:
            chunks = self._receive(event)
        except ConverseResponseError as error:
            self.state = State.FAILED
            raise bad_response(str(error)) from error
        except ApiError:
            self.state = State.FAILED
            raise
        return self._after_role(chunks) if self._role_is_due else chunks

    def end(self) -> None:
        """Accept that no more events will come. Raises an `ApiError` if the stream is not whole."""
        if self.state is not State.COUNTED:
            self.state = State.FAILED
            raise self._failure or cut_off()
        self.state = State.WHOLE

    def _after_role(self, chunks: list[Chunk]) -> list[Chunk]:
        if not chunks:
            return chunks
        self._role_is_due = False
        return [RoleChunk(), *chunks]

    def _receive(self, event: Event) -> list[Chunk]:
        match event:
            case ContentBlockDeltaEvent() if self.state is State.OPEN:
                return self._delta(event)
            case MessageStartEvent() if self.state is State.WAITING:
                self.state = State.OPEN
                return []
            case ContentBlockStartEvent() if self.state is State.OPEN:
                return self._start(event)
            case ContentBlockStopEvent() if self.state is State.OPEN:
                return self._close(event.content_block_index)
            case MessageStopEvent() if self.state is State.OPEN:
                return self._stop(event)
            case ConverseStreamMetadataEvent() if self.state is State.STOPPED:
                return self._metadata(event)
            case StreamException():
                raise from_bedrock(event.error, self._shape.params)
            case StreamDefect():
                raise ConverseResponseError(event.reason)
        raise ConverseResponseError(f"{type(event).__name__} while {self.state.name.lower()}")

    # Blocks

    def _delta(self, event: ContentBlockDeltaEvent) -> list[Chunk]:
        block, delta = event.content_block_index, event.delta
        self._kept.block(block)
        text = delta.text
        if text is not None:
            self.text_bytes += utf8_length(text)
            if self._inline_tag is None:
                return self._text(block, text)
            return self._divided(block, self._inline_of(block, self._inline_tag).feed(text))
        if delta.tool_use is not None:
            self.text_bytes += utf8_length(delta.tool_use.input)
            return self._input(block, delta.tool_use.input)
        if delta.reasoning_content is not None:
            return self._reason(block, delta.reasoning_content)
        if delta.image is not None:
            self._details.draw(block, delta.image)
        if delta.citation is not None:
            self._cite(block, delta.citation)
        return []

    def _cite(self, block: int, citation: Citation) -> None:
        web = citation.location.web if citation.location else None
        self._kept.citation(len(citation.title) + (len(web.url) + len(web.domain) if web else 0))
        self._citations.setdefault(block, []).append(citation)
        self._cited_spans.setdefault(block, self._last_span)

    def _text(self, block: int, text: str) -> list[Chunk]:
        if not text:
            return []
        span = self._spans.get(block)
        if span is None:
            span = self._spans[block] = [self._length, 0]
        span[1] = self._length = self._length + len(text)
        self._last_span = span
        if self._answer_tool is None:
            if self._fence is not None:
                text = self._fence.feed(text)
            return [ContentChunk(text)] if text else []
        self._kept.add(len(text))
        self._withheld.write(text)
        return []

    def _inline_of(self, block: int, tag: str) -> InlineReasoning:
        inline = self._inline_readers.get(block)
        if inline is None:
            inline = self._inline_readers[block] = InlineReasoning(tag)
        return inline

    def _divided(self, block: int, parts: tuple[str, str]) -> list[Chunk]:
        """Return the chunks of a text's reasoning and content."""
        reasoning, text = parts
        chunks: list[Chunk] = [ReasoningChunk(reasoning)] if reasoning else []
        return chunks + self._text(block, text)

    def _reason(self, block: int, piece: ReasoningContentBlockDelta) -> list[Chunk]:
        self._details.reason(block, piece)
        written = piece.text or piece.signature or piece.redacted_content
        self.text_bytes += utf8_length(written) if written else 0
        if not piece.text:
            return []
        return [ReasoningChunk(piece.text)]

    def _start(self, event: ContentBlockStartEvent) -> list[Chunk]:
        block, use = event.content_block_index, event.start.tool_use
        self._kept.block(block)
        if event.start.image is not None:
            self._details.start_image(block, event.start.image)
        if use is None:
            return []
        if use.is_server_side:
            self._tools.begin(block, None)
            return []
        if use.name == self._shape.answer_tool:
            return self._start_answer(block, use)
        return self._start_call(block, use)

    def _start_answer(self, block: int, use: ToolUseBlockStart) -> list[Chunk]:
        """Begin the answer tool's input; a second call of that tool is dropped."""
        tool = None if self._has_answer else Tool(Form.ANSWER, self._shape.renamer(use.name))
        self._tools.begin(block, tool)
        self._has_answer = True
        return []

    def _start_call(self, block: int, use: ToolUseBlockStart) -> list[Chunk]:
        name = self._shape.client_name(use.name)
        index = self._calls
        self._calls += 1
        if self._shape.legacy:
            # A legacy message holds one call.
            self._tools.begin(block, None if index else Tool(Form.LEGACY, self._shape.renamer(use.name)))
            return [] if index else [FunctionCallChunk(name)]
        if name in self._shape.custom:
            self._tools.begin(block, Tool(Form.CUSTOM, None, index))
            return [CustomCallChunk(index, use.tool_use_id, name)]
        self._tools.begin(block, Tool(Form.CALL, self._shape.renamer(use.name), index))
        return [ToolCallChunk(index, use.tool_use_id, name)]

    def _input(self, block: int, piece: str) -> list[Chunk]:
        tool = self._tools.of(block) if piece else None
        if tool is None:
            return []
        tool.empty = False
        if tool.renamer is not None:
            piece = tool.renamer.feed(piece)
        return self._write(tool, piece) if piece else []

    def _write(self, tool: Tool, piece: str) -> list[Chunk]:
        match tool.form:
            case Form.CALL:
                return [ToolArgumentsChunk(tool.index, piece)]
            case Form.ANSWER:
                return [ContentChunk(piece)]
            case Form.LEGACY:
                return [FunctionArgumentsChunk(piece)]
            case Form.CUSTOM:
                self._kept.add(len(piece))
                tool.held.write(piece)
                return []

    def _close(self, block: int) -> list[Chunk]:
        """End a block."""
        rest = self._rest(block)
        return [*rest, *self._item_end(block)] if self._itemised else rest

    def _item_end(self, block: int) -> list[Chunk]:
        """Return the end of a block's reasoning, or the annotations of its text."""
        reasoning = self._details.end_reasoning(block)
        if reasoning is not None:
            return [ReasoningEndChunk(reasoning)]
        citations = self._citations.pop(block, None)
        if citations is None or self._shape.answer_tool is not None:
            return []
        start, end = self._spans.get(block) or self._cited_spans[block]
        cited = annotations(citations, start, end, self._fence)
        return [AnnotationsChunk(cited)] if cited else []

    def _rest(self, block: int) -> list[Chunk]:
        """Return what was held. A tool without arguments streams no input; its arguments are still a JSON object."""
        inline = self._inline_readers.pop(block, None)
        if inline is not None:
            return self._divided(block, inline.end())
        tool = self._tools.end(block)
        if tool is None:
            return []
        held = "" if tool.renamer is None else tool.renamer.end()
        rest = self._write(tool, held or "{}") if tool.empty or held else []
        if tool.form is Form.CUSTOM:
            return [CustomInputChunk(tool.index, custom_input(tool.held.getvalue()))]
        return rest

    # The end of the message

    def _stop(self, event: MessageStopEvent) -> list[Chunk]:
        self._reasoning_tokens = thinking_tokens(event.additional_model_response_fields)
        self.state = State.STOPPED
        try:
            reason = finish_reason(event.stop_reason, called=self._calls > 0, legacy=self._shape.legacy)
        except ApiError as failure:
            self._failure = failure
            return []
        self.finish = self._truncation if reason == "length" else reason
        rest = [chunk for block in (*self._tools.blocks(), *self._inline_readers) for chunk in self._close(block)]
        if self._content_is_text and (held := self._rest_of_content()):
            rest.append(ContentChunk(held))
        if members := self._members():
            rest.append(DetailsChunk(members))
        return rest

    def _rest_of_content(self) -> str:
        held = self._withheld.getvalue()
        return held if self._fence is None else self._fence.feed(held) + self._fence.end()

    def _members(self) -> dict[str, Any]:
        """Return the members of the message that clients read from one chunk only."""
        members = self._details.members()
        if self._content_is_text and (cited := self._annotations()):
            members["annotations"] = cited
        return members

    @property
    def _content_is_text(self) -> bool:
        """Return whether the content is the model's text, and not the answer tool's input."""
        return self._shape.answer_tool is None or not (self._has_answer or self._calls)

    def _annotations(self) -> list[dict[str, Any]]:
        cited = []
        for block, citations in self._citations.items():
            start, end = self._spans.get(block) or self._cited_spans[block]
            cited += annotations(citations, start, end, self._fence)
        return cited

    def _metadata(self, event: ConverseStreamMetadataEvent) -> list[Chunk]:
        self.usage = usage(event.usage, self._reasoning_tokens, self.text_bytes)
        self.counted = True
        if self._failure is not None:
            raise self._failure
        self.state = State.COUNTED
        tier = service_tier(event.service_tier)
        trace = visible_trace(event.trace, requested=self._shape.trace)
        return [FinishChunk(self.finish, tier, trace), UsageChunk(self.usage, tier)]
