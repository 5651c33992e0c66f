"""A decoder of ConverseStream's response (bytes -> events), and the events of a response that Converse sent whole.

The events are those of botocore's service model (`ConverseStreamOutput`), in which a failure is an event as well.
Two kinds are ours: `StreamException` stands for all modelled exceptions and for error frames, `StreamDefect` for bytes
that are not an event stream. Either is the last event of its stream.

For an operation that it does not know, AWS sends a JSON document with status 200: bytes that begin with `{` are that
document.

Invariant: however the bytes of a stream are cut, the events are the same.

Source: API_runtime_ConverseStream.html under https://docs.aws.amazon.com/bedrock/latest/APIReference/
"""

from typing import Final

from extproc.bedrock import errors
from extproc.bedrock.converse_response import (
    CitationsContentBlock,
    ContentBlockDelta,
    ContentBlockDeltaEvent,
    ContentBlockStart,
    ContentBlockStartEvent,
    ContentBlockStopEvent,
    ConverseResponse,
    ConverseResponseError,
    ConverseStreamMetadataEvent,
    ImageBlockDelta,
    ImageBlockStart,
    MessageStartEvent,
    MessageStopEvent,
    ReasoningContentBlockDelta,
    ResponseBlock,
    ResponseReasoning,
    ResponseReasoningText,
    ResponseToolUse,
    StreamEvent,
    ToolUseBlockDelta,
    ToolUseBlockStart,
    decode_event,
)
from extproc.bedrock.errors import BedrockError
from extproc.bedrock.eventstream import Decoder, EventStreamError, Message
from extproc.value import Value

MAX_DOCUMENT: Final = 64 * 1024
"""Longest JSON document in place of a stream, in bytes."""


class StreamException(Value, frozen=True):
    """An exception that Bedrock sent in place of further events."""

    error: BedrockError


class StreamDefect(Value, frozen=True):
    """A stream that cannot be decoded, or ends within a message; `reason` completes "cannot be read (…)"."""

    reason: str


Event = StreamEvent | StreamException | StreamDefect


class StreamDecoder:
    """A decoder of one stream."""

    def __init__(self) -> None:
        self._messages = Decoder()
        self._document: bytearray | None = None
        self._failed = False
        self.started = False
        """Set by the first byte."""

    @property
    def pending(self) -> int:
        """Return the number of bytes of an incomplete message."""
        return self._messages.pending

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that `data` completes. Unknown types are ignored.

        After a `StreamException` or a `StreamDefect` there are no more.
        """
        if self._failed:
            return []
        if not self.started and data:
            self.started = True
            if data[0] == _BRACE:
                self._document = bytearray()
        if self._document is not None:
            return self._feed_document(self._document, data)
        events: list[Event] = []
        try:
            for message in self._messages.feed(data):
                if (event := _event(message)) is not None:
                    events.append(event)
                if type(event) is StreamException:
                    self._failed = True
                    break
        except (EventStreamError, ConverseResponseError) as error:
            self._failed = True
            events.append(StreamDefect(str(error)))
        return events

    def close(self) -> list[Event]:
        """Return the failure of a stream that may not end here, or nothing, as after another failure."""
        if self._failed:
            return []
        if self._document is not None:
            error = errors.from_response(200, {}, bytes(self._document))
            return [StreamException(error) if error.kind else StreamDefect("a JSON document, not an event stream")]
        try:
            self._messages.close()
        except EventStreamError as error:
            return [StreamDefect(str(error))]
        return []

    def _feed_document(self, document: bytearray, data: bytes) -> list[Event]:
        document += data[: MAX_DOCUMENT + 1 - len(document)]
        if len(document) <= MAX_DOCUMENT:
            return []
        self._failed = True
        return [StreamDefect(f"it is a JSON document of more than {MAX_DOCUMENT // 1024} KiB, not an event stream")]


_BRACE = ord("{")


def _event(message: Message) -> Event | None:
    """Return the event in a message, None for an unknown type; raises `ConverseResponseError`."""
    headers = message.headers
    kind = headers.get(":message-type")
    if kind == "event":
        return decode_event(str(headers.get(":event-type", "")), message.payload)
    if kind in ("exception", "error"):
        return StreamException(errors.from_frame(headers, message.payload))
    raise ConverseResponseError(f"a message of the type {kind!r}")


# The events of a whole response


def response_events(response: ConverseResponse) -> list[StreamEvent]:
    """Return the events in which ConverseStream would send this response: one delta a block, or a few."""
    events: list[StreamEvent] = [MessageStartEvent()]
    for index, block in enumerate(response.output.message.content):
        events += _block_events(index, block)
        events.append(ContentBlockStopEvent(index))
    events.append(MessageStopEvent(response.stop_reason, response.additional_model_response_fields))
    events.append(ConverseStreamMetadataEvent(response.usage, response.service_tier, response.trace))
    return events


def _block_events(index: int, block: ResponseBlock) -> list[StreamEvent]:
    if block.tool_use is not None:
        return _tool_use_events(index, block.tool_use)
    if block.image is not None:
        start = ContentBlockStart(image=ImageBlockStart(block.image.format))
        delta = ContentBlockDelta(image=ImageBlockDelta(block.image.source))
        return [ContentBlockStartEvent(index, start), ContentBlockDeltaEvent(index, delta)]
    deltas: list[ContentBlockDelta] = []
    if block.reasoning_content is not None:
        deltas.append(_reasoning_delta(block.reasoning_content))
    if block.text is not None:
        deltas.append(ContentBlockDelta(text=block.text))
    if block.citations_content is not None:
        deltas += _citation_deltas(block.citations_content)
    return [ContentBlockDeltaEvent(index, delta) for delta in deltas]


def _tool_use_events(index: int, use: ResponseToolUse) -> list[StreamEvent]:
    start = ContentBlockStart(ToolUseBlockStart(use.tool_use_id, use.name, use.type))
    delta = ContentBlockDelta(tool_use=ToolUseBlockDelta(use.arguments))
    return [ContentBlockStartEvent(index, start), ContentBlockDeltaEvent(index, delta)]


def _reasoning_delta(reasoning: ResponseReasoning) -> ContentBlockDelta:
    readable = reasoning.reasoning_text or ResponseReasoningText()
    return ContentBlockDelta(
        reasoning_content=ReasoningContentBlockDelta(readable.text, readable.signature, reasoning.redacted_content)
    )


def _citation_deltas(content: CitationsContentBlock) -> list[ContentBlockDelta]:
    return [
        ContentBlockDelta(text=content.text),
        *[ContentBlockDelta(citation=citation) for citation in content.citations],
    ]
