"""Converse and ConverseStream: the bodies, as botocore's `bedrock-runtime` service model has them.

Requests are structs that encode to the wire's camelCase and leave out what is not set (an explicit null is refused
by Bedrock). Free JSON (tool schemas and inputs) is `Raw`: it goes through byte for byte. Answers and stream events
are decoded leniently: what is not known here is passed over, as AWS asks of its clients.

Source: API_runtime_Converse.html and API_runtime_ConverseStream.html under
https://docs.aws.amazon.com/bedrock/latest/APIReference/
"""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType


class BadAnswerError(Exception):
    """Bedrock answered with something that is not what its service model says."""


# Requests


class Wire(Struct, rename="camel"):
    """A struct of a request: what is UNSET does not go out."""


class Text(Wire):
    """A text block; also a block of `system`."""

    text: str


class S3Location(Wire):
    """An object in S3 that Bedrock reads by itself."""

    uri: str
    bucket_owner: str | UnsetType = UNSET


class Source(Wire):
    """Where media are: exactly one of its bytes, in base64 as the wire has them, or a place in S3."""

    bytes: str | UnsetType = UNSET
    s3_location: S3Location | UnsetType = UNSET


class ImageBody(Wire):
    """An image's format and source."""

    format: Literal["png", "jpeg", "gif", "webp"]
    source: Source


class Image(Wire):
    """An image block."""

    image: ImageBody


class DocumentBody(Wire):
    """A document; its name (letters, digits, single spaces, hyphens, brackets) is unique in a request."""

    format: str
    name: str
    source: Source


class Document(Wire):
    """A document block; a text block must stand beside it."""

    document: DocumentBody


class VideoBody(Wire):
    """A video's format and source."""

    format: str
    source: Source


class Video(Wire):
    """A video block."""

    video: VideoBody


class AudioBody(Wire):
    """A sound's format and source."""

    format: str
    source: Source


class Audio(Wire):
    """A sound block."""

    audio: AudioBody


class CachePointBody(Wire):
    """What comes before it may be cached, for this long."""

    type: Literal["default"] = "default"
    ttl: str | UnsetType = UNSET


class CachePoint(Wire):
    """A place up to which a prompt may be cached; also an entry of `system` and of `toolConfig.tools`."""

    cache_point: CachePointBody


class SignedText(Wire):
    """What a model thought, with the signature by which it knows its own."""

    text: str
    signature: str | UnsetType = UNSET


class PastReasoningBody(Wire):
    """Exactly one of the two: readable reasoning, or withheld (base64)."""

    reasoning_text: SignedText | UnsetType = UNSET
    redacted_content: str | UnsetType = UNSET


class PastReasoning(Wire):
    """Reasoning of an earlier turn, given back."""

    reasoning_content: PastReasoningBody


class Json(Wire):
    """A JSON object as a tool's result."""

    json: Raw


class ToolUseBody(Wire):
    """A call: `input` is a JSON object, byte for byte."""

    tool_use_id: str
    name: str
    input: Raw


class ToolUse(Wire):
    """A block in which the model calls a tool."""

    tool_use: ToolUseBody


class ToolResultBody(Wire):
    """What a call gave."""

    tool_use_id: str
    content: Sequence[Text | Json | Image | Document]
    status: Literal["success", "error"] | UnsetType = UNSET


class ToolResult(Wire):
    """A block that answers a `ToolUse` of the turn before."""

    tool_result: ToolResultBody


Block = Text | Image | Document | Video | Audio | PastReasoning | ToolUse | ToolResult | CachePoint
SystemBlock = Text | CachePoint
Role = Literal["user", "assistant", "system"]


class Turn(Wire):
    """One message: user and assistant alternate, and with most models the first is the user's."""

    role: Role
    content: list[Block]


class InferenceConfig(Wire):
    """Sampling; Bedrock takes a temperature from 0 to 1."""

    max_tokens: int | UnsetType = UNSET
    temperature: float | UnsetType = UNSET
    top_p: float | UnsetType = UNSET
    stop_sequences: list[str] | UnsetType = UNSET


class InputSchema(Wire):
    """A JSON Schema whose root is an object."""

    json: Raw


class ToolSpecBody(Wire):
    """A tool on offer."""

    name: str
    input_schema: InputSchema
    description: str | UnsetType = UNSET
    strict: bool | UnsetType = UNSET


class ToolSpec(Wire):
    """An entry of `toolConfig.tools`."""

    tool_spec: ToolSpecBody


class ToolName(Wire):
    """A tool, by name."""

    name: str


class ToolChoice(Wire):
    """Exactly one of `auto`, `any`, `tool`. There is no `none` on this wire."""

    auto: dict[str, Any] | UnsetType = UNSET
    any: dict[str, Any] | UnsetType = UNSET
    tool: ToolName | UnsetType = UNSET


class ToolConfig(Wire):
    """The tools, and which of them must be called."""

    tools: Sequence[ToolSpec | CachePoint]
    tool_choice: ToolChoice | UnsetType = UNSET


class JsonSchemaBody(Wire):
    """A JSON Schema as a text."""

    schema: str
    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET


class Structure(Wire):
    """What the answer's text is to be."""

    json_schema: JsonSchemaBody


class TextFormat(Wire):
    """A form that the answer must have."""

    structure: Structure
    type: Literal["json_schema"] = "json_schema"


class OutputConfig(Wire):
    """How to answer: in which form, and with how much effort."""

    text_format: TextFormat | UnsetType = UNSET
    effort: str | UnsetType = UNSET


class GuardrailConfig(Wire):
    """The guardrail to apply; `stream_processing_mode` is ConverseStream's alone."""

    guardrail_identifier: str
    guardrail_version: str
    trace: Literal["enabled", "disabled", "enabled_full"] | UnsetType = UNSET
    stream_processing_mode: Literal["sync", "async"] | UnsetType = UNSET


class PerformanceConfig(Wire):
    """Latency, where a model has it optimised."""

    latency: Literal["standard", "optimized"]


class ServiceTier(Wire):
    """The tier that a call is served, and billed, at."""

    type: str


class Request(Wire):
    """A Converse request; ConverseStream takes the same."""

    messages: list[Turn]
    system: Sequence[SystemBlock] | UnsetType = UNSET
    inference_config: InferenceConfig | UnsetType = UNSET
    tool_config: ToolConfig | UnsetType = UNSET
    output_config: OutputConfig | UnsetType = UNSET
    guardrail_config: GuardrailConfig | UnsetType = UNSET
    performance_config: PerformanceConfig | UnsetType = UNSET
    service_tier: ServiceTier | UnsetType = UNSET
    request_metadata: dict[str, str] | UnsetType = UNSET
    additional_model_request_fields: dict[str, Any] | UnsetType = UNSET

    def encode(self) -> bytes:
        """The request as a body."""
        return msgspec.json.encode(self)


# Answers

SERVER_TOOL_USE = "server_tool_use"
"""The `type` of a call that AWS itself executes."""


class Lenient(Struct, rename="camel"):
    """A struct of an answer: fields that are not known are passed over."""


class TokenUsage(Lenient):
    """Tokens as Bedrock counts them: `input_tokens` is without what came from, or went to, a cache."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_write_input_tokens: int = 0


class AnsweredToolUse(Lenient):
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


class ReasoningText(Lenient):
    """What a model thought; with the signature, the model takes it for its own on a later turn."""

    text: str = ""
    signature: str | None = None


class ReasoningContent(Lenient):
    """Reasoning: readable, or withheld (base64)."""

    reasoning_text: ReasoningText | None = None
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


class CitationsContent(Lenient):
    """Text with sources: it belongs to the answer as any other text does."""

    content: list[CitedText] = []
    citations: list[Citation] = []

    @property
    def text(self) -> str:
        """All of the text."""
        return "".join(piece.text for piece in self.content)


class AnsweredBlock(Lenient):
    """One block of an answer: one of these is set, or none that is known here."""

    text: str | None = None
    tool_use: AnsweredToolUse | None = None
    reasoning_content: ReasoningContent | None = None
    citations_content: CitationsContent | None = None


class AnsweredMessage(Lenient):
    """The model's turn."""

    content: list[AnsweredBlock] = []


class Output(Lenient):
    """What came of it."""

    message: AnsweredMessage


class ServedTier(Lenient):
    """The tier at which a call was served."""

    type: str | None = None


class Answer(Lenient):
    """The body of a Converse answer."""

    output: Output
    stop_reason: str
    usage: TokenUsage = msgspec.field(default_factory=TokenUsage)
    service_tier: ServedTier | None = None


# Events of a stream, by `:event-type`


class MessageStart(Lenient):
    """The answer begins."""

    role: str = "assistant"


class ToolUseStart(Lenient):
    """A tool call begins."""

    tool_use_id: str
    name: str
    type: str | None = None

    @property
    def is_server_side(self) -> bool:
        """Whether AWS itself executes it: then it is no call for the client."""
        return self.type == SERVER_TOOL_USE


class BlockStart(Lenient):
    """What a block begins with: only tool calls say so."""

    tool_use: ToolUseStart | None = None


class ContentBlockStart(Lenient):
    """A block begins; text and reasoning blocks begin without one of these."""

    content_block_index: int
    start: BlockStart


class ToolUseDelta(Lenient):
    """A piece of a call's input, cut anywhere in its JSON text."""

    input: str = ""


class ReasoningDelta(Lenient):
    """A piece of reasoning: of its text, of its signature, or of what is withheld (base64)."""

    text: str | None = None
    signature: str | None = None
    redacted_content: str | None = None


class BlockDelta(Lenient):
    """A piece of a block."""

    text: str | None = None
    tool_use: ToolUseDelta | None = None
    reasoning_content: ReasoningDelta | None = None
    citation: Citation | None = None


class ContentBlockDelta(Lenient):
    """A piece of the block with this index."""

    content_block_index: int
    delta: BlockDelta


class ContentBlockStop(Lenient):
    """The block with this index is whole."""

    content_block_index: int


class MessageStop(Lenient):
    """The answer is whole; only `Metadata` follows."""

    stop_reason: str


class Metadata(Lenient):
    """The last event."""

    usage: TokenUsage = msgspec.field(default_factory=TokenUsage)
    service_tier: ServedTier | None = None


StreamEvent = MessageStart | ContentBlockStart | ContentBlockDelta | ContentBlockStop | MessageStop | Metadata

_EVENTS: dict[str, msgspec.json.Decoder[StreamEvent]] = {
    "messageStart": msgspec.json.Decoder(MessageStart),
    "contentBlockStart": msgspec.json.Decoder(ContentBlockStart),
    "contentBlockDelta": msgspec.json.Decoder(ContentBlockDelta),
    "contentBlockStop": msgspec.json.Decoder(ContentBlockStop),
    "messageStop": msgspec.json.Decoder(MessageStop),
    "metadata": msgspec.json.Decoder(Metadata),
}
_ANSWER = msgspec.json.Decoder(Answer)


def decode_answer(body: bytes) -> Answer:
    """A Converse answer's body; raises `BadAnswerError`."""
    try:
        body.decode()  # msgspec does not look into what stays Raw
        return _ANSWER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadAnswerError(f"Converse answer: {error}") from error


def decode_event(event_type: str, payload: bytes) -> StreamEvent | None:
    """A ConverseStream event, or None for a type that is not known here; raises `BadAnswerError`."""
    decoder = _EVENTS.get(event_type)
    if decoder is None:
        return None
    try:
        return decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadAnswerError(f"{event_type} event: {error}") from error
