"""What comes back from Converse, whole, and from ConverseStream, event by event.

As botocore's `bedrock-runtime` service model has it, but decoded leniently: what is not known here is passed over, as
AWS asks of its clients. A call's input stays `Raw`: it goes through byte for byte. What is sent is in `converse`.

Source: API_runtime_Converse.html and API_runtime_ConverseStream.html under
https://docs.aws.amazon.com/bedrock/latest/APIReference/
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct

SERVER_TOOL_USE = "server_tool_use"
"""The `type` of a call that AWS itself executes."""


class ConverseResponseError(Exception):
    """Bedrock answered with something that is not what its service model says."""


class Lenient(Struct, rename="camel"):
    """A struct of an answer: fields that are not known are passed over."""


class TokenUsage(Lenient):
    """Tokens as Bedrock counts them: `input_tokens` is without what came from, or went to, a cache."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_write_input_tokens: int = 0


class ResponseToolUse(Lenient):
    """A call that the model makes; `input` is absent or empty for a tool without arguments."""

    tool_use_id: str
    name: str
    input: Raw = Raw(b"{}")
    type: str | None = None

    @property
    def is_server_side(self) -> bool:
        """Whether AWS itself executes it: then it is no call for the client."""
        return self.type == SERVER_TOOL_USE

    @property
    def arguments(self) -> str:
        """The input as it came: always a JSON object's text where Bedrock keeps to its service model."""
        text = bytes(self.input).decode()
        return "{}" if text == "null" else text


class ResponseReasoningText(Lenient):
    """What a model thought; with the signature, the model takes it for its own on a later turn."""

    text: str = ""
    signature: str | None = None


class ResponseReasoning(Lenient):
    """Reasoning: readable, or withheld (base64)."""

    reasoning_text: ResponseReasoningText | None = None
    redacted_content: str | None = None


class WebLocation(Lenient):
    """A place in the web."""

    url: str = ""
    domain: str = ""


class CitationLocation(Lenient):
    """Where a source is; places inside of documents are not known here."""

    web: WebLocation | None = None


class Citation(Lenient):
    """A source; in a stream, a delta of its own."""

    title: str = ""
    location: CitationLocation | None = None


class CitedText(Lenient):
    """A piece of text with a source."""

    text: str = ""


class CitationsContentBlock(Lenient):
    """Text with sources: it belongs to the answer as any other text does."""

    content: list[CitedText] = []
    citations: list[Citation] = []

    @property
    def text(self) -> str:
        """All of the text."""
        return "".join(piece.text for piece in self.content)


class ResponseBlock(Lenient):
    """One block of an answer: one of these is set, or none that is known here."""

    text: str | None = None
    tool_use: ResponseToolUse | None = None
    reasoning_content: ResponseReasoning | None = None
    citations_content: CitationsContentBlock | None = None


class ResponseMessage(Lenient):
    """The model's turn."""

    content: list[ResponseBlock] = []


class ConverseOutput(Lenient):
    """What came of it."""

    message: ResponseMessage


class ResponseServiceTier(Lenient):
    """The tier at which a call was served."""

    type: str | None = None


class ConverseResponse(Lenient):
    """The body of a Converse answer."""

    output: ConverseOutput
    stop_reason: str
    usage: TokenUsage = msgspec.field(default_factory=TokenUsage)
    service_tier: ResponseServiceTier | None = None
    trace: dict[str, Any] | None = None
    """What a guardrail did, where the request asked for it."""


# Events of a stream, by `:event-type`


class MessageStartEvent(Lenient):
    """The answer begins."""

    role: str = "assistant"


class ToolUseBlockStart(Lenient):
    """A tool call begins."""

    tool_use_id: str
    name: str
    type: str | None = None

    @property
    def is_server_side(self) -> bool:
        """Whether AWS itself executes it: then it is no call for the client."""
        return self.type == SERVER_TOOL_USE


class ContentBlockStart(Lenient):
    """What a block begins with: only tool calls say so."""

    tool_use: ToolUseBlockStart | None = None


class ContentBlockStartEvent(Lenient):
    """A block begins; text and reasoning blocks begin without one of these."""

    content_block_index: int
    start: ContentBlockStart


class ToolUseBlockDelta(Lenient):
    """A piece of a call's input, cut anywhere in its JSON text."""

    input: str = ""


class ReasoningContentBlockDelta(Lenient):
    """A piece of reasoning: of its text, of its signature, or of what is withheld (base64)."""

    text: str | None = None
    signature: str | None = None
    redacted_content: str | None = None


class ContentBlockDelta(Lenient):
    """A piece of a block."""

    text: str | None = None
    tool_use: ToolUseBlockDelta | None = None
    reasoning_content: ReasoningContentBlockDelta | None = None
    citation: Citation | None = None


class ContentBlockDeltaEvent(Lenient):
    """A piece of the block with this index."""

    content_block_index: int
    delta: ContentBlockDelta


class ContentBlockStopEvent(Lenient):
    """The block with this index is whole."""

    content_block_index: int


class MessageStopEvent(Lenient):
    """The answer is whole; only `ConverseStreamMetadataEvent` follows."""

    stop_reason: str


class ConverseStreamMetadataEvent(Lenient):
    """The last event."""

    usage: TokenUsage = msgspec.field(default_factory=TokenUsage)
    service_tier: ResponseServiceTier | None = None
    trace: dict[str, Any] | None = None
    """What a guardrail did, where the request asked for it."""


StreamEvent = (
    MessageStartEvent
    | ContentBlockStartEvent
    | ContentBlockDeltaEvent
    | ContentBlockStopEvent
    | MessageStopEvent
    | ConverseStreamMetadataEvent
)

_EVENTS: dict[str, msgspec.json.Decoder[StreamEvent]] = {
    "messageStart": msgspec.json.Decoder(MessageStartEvent),
    "contentBlockStart": msgspec.json.Decoder(ContentBlockStartEvent),
    "contentBlockDelta": msgspec.json.Decoder(ContentBlockDeltaEvent),
    "contentBlockStop": msgspec.json.Decoder(ContentBlockStopEvent),
    "messageStop": msgspec.json.Decoder(MessageStopEvent),
    "metadata": msgspec.json.Decoder(ConverseStreamMetadataEvent),
}
_ANSWER = msgspec.json.Decoder(ConverseResponse)


def decode_response(body: bytes) -> ConverseResponse:
    """A Converse answer's body; raises `ConverseResponseError`."""
    try:
        body.decode()  # msgspec does not look into what stays Raw
        return _ANSWER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ConverseResponseError(f"Converse answer: {error}") from error


def decode_event(event_type: str, payload: bytes) -> StreamEvent | None:
    """A ConverseStream event, or None for a type that is not known here; raises `ConverseResponseError`."""
    decoder = _EVENTS.get(event_type)
    if decoder is None:
        return None
    try:
        return decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ConverseResponseError(f"{event_type} event: {error}") from error
