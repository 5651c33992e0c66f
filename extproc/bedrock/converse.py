"""A request to Converse or ConverseStream, as botocore's `bedrock-runtime` service model has it.

Structs that encode to the wire's camelCase and leave out what is not set (Bedrock rejects an explicit null).
Free JSON (tool schemas and inputs) is `Raw`: it goes through byte for byte. Long base64 is `Verbatim`, and is not even
copied into the body. Responses are in `converse_response`.

Source: API_runtime_Converse.html and API_runtime_ConverseStream.html under
https://docs.aws.amazon.com/bedrock/latest/APIReference/
"""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from extproc.bedrock.image_formats import ImageFormat
from extproc.payload import Payload, Segments

_GAP = b"\0"
"""Placeholder of a long value: JSON contains no such byte, neither in strings nor between them."""
_QUOTED_GAP = Raw(b'"' + _GAP + b'"')


class Verbatim:
    """The characters of a string without escapes, in the memory that they came in."""

    __slots__ = ("characters",)

    def __init__(self, characters: memoryview) -> None:
        self.characters = characters


class Wire(Struct, rename="camel"):
    """A struct of a request. Fields that are UNSET are left out."""


class TextContent(Wire):
    """A text block; also a block of `system`."""

    text: str


class GuardrailTextBlock(Wire):
    """A text for a guardrail, and what it is for a check of contextual grounding."""

    text: str
    qualifiers: list[Literal["grounding_source", "query", "guard_content"]] | UnsetType = UNSET


class GuardrailContentBlock(Wire):
    """The text of a `GuardContent`."""

    text: GuardrailTextBlock


class GuardContent(Wire):
    """A text for a guardrail, which then reads texts in such blocks only."""

    guard_content: GuardrailContentBlock


class S3Location(Wire):
    """An object in S3, which Bedrock reads itself."""

    uri: str


class MediaSource(Wire):
    """The source of media: exactly one of bytes, in base64 as on the wire, or a location in S3."""

    bytes: str | Verbatim | UnsetType = UNSET
    s3_location: S3Location | UnsetType = UNSET


class ImageBlock(Wire):
    """An image's format and source."""

    format: ImageFormat
    source: MediaSource


class ImageContent(Wire):
    """An image block."""

    image: ImageBlock


class CitationsConfig(Wire):
    """Whether the model cites a document."""

    enabled: bool


class DocumentBlock(Wire):
    """A document. Its name (letters, digits, single spaces, hyphens, brackets) is unique in a request."""

    format: str
    name: str
    source: MediaSource
    citations: CitationsConfig | UnsetType = UNSET


class DocumentContent(Wire):
    """A document block; its message needs a text block as well."""

    document: DocumentBlock


class VideoBlock(Wire):
    """A video's format and source."""

    format: str
    source: MediaSource


class VideoContent(Wire):
    """A video block."""

    video: VideoBlock


class AudioBlock(Wire):
    """An audio clip's format and source."""

    format: str
    source: MediaSource


class AudioContent(Wire):
    """An audio block."""

    audio: AudioBlock


class CachePointBlock(Wire):
    """A request to cache the prompt up to here, for `ttl`."""

    type: Literal["default"] = "default"
    ttl: str | UnsetType = UNSET


class CachePointContent(Wire):
    """A cache point; also an entry of `system` and of `toolConfig.tools`."""

    cache_point: CachePointBlock


class ReasoningTextBlock(Wire):
    """Reasoning of a model, with the signature by which the model recognises it."""

    text: str
    signature: str | UnsetType = UNSET


class ReasoningContentBlock(Wire):
    """Exactly one of the two: readable reasoning, or redacted (base64)."""

    reasoning_text: ReasoningTextBlock | UnsetType = UNSET
    redacted_content: str | UnsetType = UNSET


class ReasoningContent(Wire):
    """Reasoning of an earlier turn, sent back."""

    reasoning_content: ReasoningContentBlock


class JsonContent(Wire):
    """A JSON object as a tool's result."""

    json: Raw


class ToolUseBlock(Wire):
    """A tool call: `input` is a JSON object, byte for byte."""

    tool_use_id: str
    name: str
    input: Raw


class ToolUseContent(Wire):
    """A block in which the model calls a tool."""

    tool_use: ToolUseBlock


class ToolResultBlock(Wire):
    """The result of a tool call; without a status it is a success."""

    tool_use_id: str
    content: Sequence[TextContent | JsonContent | ImageContent | DocumentContent]
    status: Literal["success", "error"] | UnsetType = UNSET


class ToolResultContent(Wire):
    """A block with the result of a `ToolUseContent` of the turn before."""

    tool_result: ToolResultBlock


ContentBlock = (
    TextContent
    | GuardContent
    | ImageContent
    | DocumentContent
    | VideoContent
    | AudioContent
    | ReasoningContent
    | ToolUseContent
    | ToolResultContent
    | CachePointContent
)
SystemContentBlock = TextContent | CachePointContent
ConversationRole = Literal["user", "assistant", "system"]


class ConverseMessage(Wire):
    """A message. User and assistant alternate, and with most models the first is the user's."""

    role: ConversationRole
    content: list[ContentBlock]


class InferenceConfig(Wire):
    """Sampling parameters; Converse takes a temperature from 0 to 1."""

    max_tokens: int | UnsetType = UNSET
    temperature: float | UnsetType = UNSET
    top_p: float | UnsetType = UNSET
    stop_sequences: list[str] | UnsetType = UNSET


class ToolInputSchema(Wire):
    """A JSON Schema whose root is an object."""

    json: Raw


class ToolSpecification(Wire):
    """A tool that the model may call."""

    name: str
    input_schema: ToolInputSchema
    description: str | UnsetType = UNSET
    strict: bool | UnsetType = UNSET


class ToolSpec(Wire):
    """An entry of `toolConfig.tools`."""

    tool_spec: ToolSpecification


class SystemTool(Wire):
    """A tool that AWS itself executes, by name."""

    name: str


class SystemToolEntry(Wire):
    """An entry of `toolConfig.tools`."""

    system_tool: SystemTool


class SpecificToolChoice(Wire):
    """A tool, by name."""

    name: str


class ToolChoice(Wire):
    """Exactly one of `auto`, `any`, `tool`. Converse has no `none`."""

    auto: dict[str, Any] | UnsetType = UNSET
    any: dict[str, Any] | UnsetType = UNSET
    tool: SpecificToolChoice | UnsetType = UNSET


class ToolConfig(Wire):
    """The tools, and the choice among them."""

    tools: Sequence[ToolSpec | SystemToolEntry | CachePointContent]
    tool_choice: ToolChoice | UnsetType = UNSET


class JsonSchemaDefinition(Wire):
    """A JSON Schema, as text."""

    schema: str
    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET


class OutputFormatStructure(Wire):
    """The structure of the model's text."""

    json_schema: JsonSchemaDefinition


class OutputFormat(Wire):
    """A format that the model's text must have."""

    structure: OutputFormatStructure
    type: Literal["json_schema"] = "json_schema"


class OutputConfig(Wire):
    """The format of the model's text, and the effort of its reasoning."""

    text_format: OutputFormat | UnsetType = UNSET
    effort: str | UnsetType = UNSET


class GuardrailConfig(Wire):
    """The guardrail to apply; `stream_processing_mode` is ConverseStream's alone."""

    guardrail_identifier: str
    guardrail_version: str
    trace: Literal["enabled", "disabled", "enabled_full"] | UnsetType = UNSET
    stream_processing_mode: Literal["sync", "async"] | UnsetType = UNSET


class PerformanceConfig(Wire):
    """Latency; some models have an optimised one."""

    latency: Literal["standard", "optimized"]


class ServiceTier(Wire):
    """The tier that a call is served, and billed, at."""

    type: str


class ConverseRequest(Wire):
    """A Converse request; ConverseStream takes the same."""

    messages: list[ConverseMessage]
    system: Sequence[SystemContentBlock] | UnsetType = UNSET
    inference_config: InferenceConfig | UnsetType = UNSET
    tool_config: ToolConfig | UnsetType = UNSET
    output_config: OutputConfig | UnsetType = UNSET
    guardrail_config: GuardrailConfig | UnsetType = UNSET
    performance_config: PerformanceConfig | UnsetType = UNSET
    service_tier: ServiceTier | UnsetType = UNSET
    request_metadata: dict[str, str] | UnsetType = UNSET
    additional_model_request_fields: dict[str, Any] | UnsetType = UNSET
    additional_model_response_field_paths: list[str] | UnsetType = UNSET
    project_identifier: str | UnsetType = UNSET

    def encode(self) -> Payload:
        """Return the request's body."""
        verbatim: list[memoryview] = []

        def leave_out(value: Verbatim) -> Raw:
            verbatim.append(value.characters)
            return _QUOTED_GAP

        encoded = msgspec.json.encode(self, enc_hook=leave_out)
        return _filled(encoded, verbatim) if verbatim else encoded


def _filled(encoded: bytes, verbatim: Sequence[memoryview]) -> Segments:
    """Put each value into its gap."""
    first, *others = encoded.split(_GAP)
    segments: list[bytes | memoryview] = [first]
    for characters, rest in zip(verbatim, others, strict=True):
        segments += (characters, rest)
    return Segments(segments)
