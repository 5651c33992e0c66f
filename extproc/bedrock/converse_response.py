"""The response of Converse, and the events of ConverseStream, as in botocore's `bedrock-runtime` service model.

Decoding is lenient: unknown fields are ignored, as AWS asks of its clients. A tool call's input stays `Raw`: it goes
through byte for byte. Requests are in `converse`.

Source: API_runtime_Converse.html and API_runtime_ConverseStream.html under
https://docs.aws.amazon.com/bedrock/latest/APIReference/
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from extproc.json_values import count_values

OUTPUT_TOKENS_DETAILS = "/usage/output_tokens_details"
"""The place of Anthropic's `thinking_tokens` in the model's own response, for `additionalModelResponseFieldPaths`."""
_THINKING_TOKENS = (*OUTPUT_TOKENS_DETAILS[1:].split("/"), "thinking_tokens")
MOST_TOKENS = 1_000_000_000
"""Most tokens of one call that are believed: a thousand times the longest context."""
Tokens = Annotated[int, Meta(ge=0, le=MOST_TOKENS)]
SERVER_TOOL_USE = "server_tool_use"
"""The `type` of a tool call that AWS itself executes."""


class ConverseResponseError(Exception):
    """A response or an event that does not conform to AWS's service model."""


class Lenient(Struct, rename="camel"):
    """A struct of a response. Unknown fields are ignored."""


class CacheDetail(Lenient):
    """Tokens that were written to a cache, by how long they are kept."""

    ttl: str = ""
    input_tokens: Tokens = 0


class TokenUsage(Lenient):
    """Tokens as Bedrock counts them: `input_tokens` excludes those read from, or written to, a cache.

    AWS's service model requires both numbers; None: Bedrock has not counted.
    """

    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    cache_read_input_tokens: Tokens = 0
    cache_write_input_tokens: Tokens = 0
    cache_details: tuple[CacheDetail, ...] = ()

    @property
    def written_for_an_hour(self) -> int:
        """Return the part of `cache_write_input_tokens` that costs more, because it is kept for an hour."""
        hour = sum(detail.input_tokens for detail in self.cache_details if detail.ttl == "1h")
        return min(hour, self.cache_write_input_tokens)


class ResponseToolUse(Lenient):
    """A tool call; `input` is absent or empty for a tool without arguments."""

    tool_use_id: str
    name: str
    input: Raw = Raw(b"{}")
    type: str | None = None

    @property
    def is_server_side(self) -> bool:
        """Return whether AWS itself executes the call, so that it is not for the client."""
        return self.type == SERVER_TOOL_USE

    @property
    def arguments(self) -> str:
        """Return the input as it came: a JSON object's text, by AWS's service model."""
        text = bytes(self.input).decode()
        return "{}" if text == "null" else text


class ResponseReasoningText(Lenient):
    """Readable reasoning, with the signature by which the model recognises it on a later turn."""

    text: str = ""
    signature: str | None = None


class ResponseReasoning(Lenient):
    """Reasoning: readable, or redacted (base64)."""

    reasoning_text: ResponseReasoningText | None = None
    redacted_content: str | None = None


class WebLocation(Lenient):
    """A page on the web."""

    url: str = ""
    domain: str = ""


class CitationLocation(Lenient):
    """The location of a source. Locations within documents are not decoded."""

    web: WebLocation | None = None


class Citation(Lenient):
    """A source; in a stream, a delta of its own."""

    title: str = ""
    location: CitationLocation | None = None


class CitedText(Lenient):
    """A text with a source."""

    text: str = ""


class CitationsContentBlock(Lenient):
    """Text with sources: part of the message like any other text."""

    content: list[CitedText] = []
    citations: list[Citation] = []

    @property
    def text(self) -> str:
        """Return the whole text."""
        return "".join(cited.text for cited in self.content)


class ResponseImageSource(Lenient):
    """The source of an image; one in S3 is not decoded."""

    bytes: str | None = None
    """Base64; in a stream, a part that is complete by itself."""


class ResponseImage(Lenient):
    """An image of the model's; without a source where it failed."""

    format: str = "png"
    source: ResponseImageSource | None = None


class ResponseBlock(Lenient):
    """A content block of the message: one field is set, or none for an unknown kind of block."""

    text: str | None = None
    tool_use: ResponseToolUse | None = None
    reasoning_content: ResponseReasoning | None = None
    citations_content: CitationsContentBlock | None = None
    image: ResponseImage | None = None


class ResponseMessage(Lenient):
    """The model's message."""

    content: list[ResponseBlock] = []


class ConverseOutput(Lenient):
    """The output of Converse."""

    message: ResponseMessage


class ResponseServiceTier(Lenient):
    """The service tier of a call."""

    type: str | None = None


class ConverseResponse(Lenient):
    """The body of Converse's response."""

    output: ConverseOutput
    stop_reason: str
    usage: TokenUsage = msgspec.field(default_factory=TokenUsage)
    service_tier: ResponseServiceTier | None = None
    trace: dict[str, Any] | None = None
    """The guardrail's trace, if the request asked for it, and the prompt router's."""
    additional_model_response_fields: Any = None
    """The parts of the model's own response that `additionalModelResponseFieldPaths` asked for: any JSON."""


# Events of a stream, by `:event-type`


class MessageStartEvent(Lenient):
    """The start of the message."""

    role: str = "assistant"


class ToolUseBlockStart(Lenient):
    """The start of a tool call."""

    tool_use_id: str
    name: str
    type: str | None = None

    @property
    def is_server_side(self) -> bool:
        """Return whether AWS itself executes the call, so that it is not for the client."""
        return self.type == SERVER_TOOL_USE


class ImageBlockStart(Lenient):
    """The start of an image."""

    format: str = "png"


class ContentBlockStart(Lenient):
    """The start of a block; only tool calls and images have one."""

    tool_use: ToolUseBlockStart | None = None
    image: ImageBlockStart | None = None


class ContentBlockStartEvent(Lenient):
    """The start of a block; text and reasoning blocks start without this event."""

    content_block_index: int
    start: ContentBlockStart


class ToolUseBlockDelta(Lenient):
    """A part of a tool call's input, cut anywhere in its JSON text."""

    input: str = ""


class ReasoningContentBlockDelta(Lenient):
    """A part of reasoning: of its text, of its signature, or of its redacted content (base64)."""

    text: str | None = None
    signature: str | None = None
    redacted_content: str | None = None


class ImageBlockDelta(Lenient):
    """A part of an image."""

    source: ResponseImageSource | None = None


class ContentBlockDelta(Lenient):
    """A part of a block."""

    text: str | None = None
    tool_use: ToolUseBlockDelta | None = None
    reasoning_content: ReasoningContentBlockDelta | None = None
    citation: Citation | None = None
    image: ImageBlockDelta | None = None


class ContentBlockDeltaEvent(Lenient):
    """A part of the block with this index."""

    content_block_index: int
    delta: ContentBlockDelta


class ContentBlockStopEvent(Lenient):
    """The end of the block with this index."""

    content_block_index: int


class MessageStopEvent(Lenient):
    """The end of the message; only `ConverseStreamMetadataEvent` follows."""

    stop_reason: str
    additional_model_response_fields: Any = None
    """The parts of the model's own response that `additionalModelResponseFieldPaths` asked for: any JSON."""


class ConverseStreamMetadataEvent(Lenient):
    """The last event: token usage, tier and trace."""

    usage: TokenUsage = msgspec.field(default_factory=TokenUsage)
    service_tier: ResponseServiceTier | None = None
    trace: dict[str, Any] | None = None
    """The guardrail's trace, if the request asked for it, and the prompt router's."""


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


def thinking_tokens(fields: Any) -> int | None:
    """Return the tokens of reasoning in `additionalModelResponseFields`; None if they are not reported."""
    for key in _THINKING_TOKENS:
        fields = fields.get(key) if isinstance(fields, dict) else None
    return fields if type(fields) is int and 0 <= fields <= MOST_TOKENS else None


_RESPONSE = msgspec.json.Decoder(ConverseResponse)


MAX_EVENT = 8 << 20
"""Bytes of an event of ConverseStream: no more than of a whole response."""
MAX_VALUES = 100_000
"""JSON values in a response, or in an event: each takes the event loop up to half a microsecond."""
_SMALL = 1 << 16
"""Bytes of a document whose values are not counted."""


def decode_response(body: bytes) -> ConverseResponse:
    """Decode the body of Converse's response; raises `ConverseResponseError`."""
    _check_values(body, "Converse response")
    try:
        body.decode()  # msgspec does not decode what stays Raw
        return _RESPONSE.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ConverseResponseError(f"Converse response: {error}") from error


class CountTokensResponse(Struct):
    """The response of CountTokens."""

    input_tokens: Tokens = msgspec.field(name="inputTokens")


_COUNT = msgspec.json.Decoder(CountTokensResponse)


def decode_count(body: bytes) -> int:
    """Return the number of tokens in the body of CountTokens' response; raises `ConverseResponseError`."""
    try:
        return _COUNT.decode(body).input_tokens
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ConverseResponseError(f"CountTokens response: {error}") from error


def decode_event(event_type: str, payload: bytes) -> StreamEvent | None:
    """Decode an event of ConverseStream; return None for an unknown type. Raises `ConverseResponseError`."""
    decoder = _EVENTS.get(event_type)
    if decoder is None:
        return None
    if len(payload) > _SMALL:
        if len(payload) > MAX_EVENT:
            raise ConverseResponseError(f"{event_type} event: {len(payload):,} bytes")
        _check_values(payload, f"{event_type} event")
    try:
        return decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ConverseResponseError(f"{event_type} event: {error}") from error


def _check_values(document: bytes, name: str) -> None:
    if len(document) > _SMALL and count_values(document, MAX_VALUES) > MAX_VALUES:
        raise ConverseResponseError(f"{name}: more than {MAX_VALUES:,} JSON values")
