"""POST /chat/completions: the request as clients send it.

Every field of OpenAI's API is declared here, so that none is dropped without a decision; what becomes of each is
decided in `translate/chat_request`. Optional fields take an explicit null, as OpenAI's do. An unknown top-level
field is refused; unknown fields inside messages are tolerated, because clients send back what they were given.

Source: `CreateChatCompletionRequest` in OpenAI's API description, and `types/chat` of the openai package.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from extproc.openai.decoding import decode

Unit = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
FunctionName = Annotated[str, Meta(min_length=1, max_length=512)]
"""OpenAI takes 64 of `[a-zA-Z0-9_-]`; clients of MCP servers send longer ones, with dots and slashes."""


class CacheControl(Struct):
    """What comes before it may be cached: Anthropic's field, as many clients send it here too."""

    type: Literal["ephemeral"] = "ephemeral"
    ttl: Literal["5m", "1h"] | None = None


class CacheBreakpoint(Struct):
    """What comes before it may be cached, for at least this long: OpenAI's own field."""

    mode: Literal["explicit"]
    ttl: Literal["30m", "12h"] | None = None


class Marked(Struct, kw_only=True):
    """A part or a message that may be marked: the prompt up to its end may be cached. One mark is as good as two."""

    cache_control: CacheControl | None = None
    prompt_cache_breakpoint: CacheBreakpoint | None = None


# Content parts


class TextPart(Marked, tag_field="type", tag="text"):
    """Some text."""

    text: str


class GuardedTextPart(Marked, tag_field="type", tag="guarded_text"):
    """Text of a user's that the guardrail reads, and then nothing else: an extension that LiteLLM's clients send."""

    text: str


class ImageURL(Struct):
    """Where an image is: a `data:`, http(s) or `s3:` URL."""

    url: str
    detail: str | None = None


class ImagePart(Marked, tag_field="type", tag="image_url"):
    """An image in a user's message, or in a tool's result."""

    image_url: ImageURL


class InputAudio(Struct):
    """A sound, in base64; OpenAI's formats are wav and mp3."""

    data: str
    format: str


class AudioPart(Marked, tag_field="type", tag="input_audio"):
    """A sound in a user's message."""

    input_audio: InputAudio


class File(Struct):
    """A document: as a `data:` URL or plain base64, or as the id of an uploaded one."""

    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class FilePart(Marked, tag_field="type", tag="file"):
    """A document in a user's message, or in a tool's result."""

    file: File


class VideoURL(Struct):
    """Where a video is: a `data:` or `s3:` URL."""

    url: str


class VideoPart(Marked, tag_field="type", tag="video_url"):
    """A video in a user's message: not OpenAI's own, but what clients send."""

    video_url: VideoURL


class RefusalPart(Marked, tag_field="type", tag="refusal"):
    """What an assistant said when it declined."""

    refusal: str


MediaPart = ImagePart | AudioPart | FilePart | VideoPart
UserPart = TextPart | GuardedTextPart | ImagePart | AudioPart | FilePart | VideoPart
AssistantPart = TextPart | RefusalPart
ToolPart = TextPart | ImagePart | FilePart


# Messages


class SystemMessage(Marked, tag_field="role", tag="system"):
    """Instructions."""

    content: str | list[TextPart]
    name: str | None = None


class DeveloperMessage(Marked, tag_field="role", tag="developer"):
    """Instructions, under their newer name."""

    content: str | list[TextPart]
    name: str | None = None


class UserMessage(Marked, tag_field="role", tag="user"):
    """What the user says."""

    content: str | list[UserPart]
    name: str | None = None


class FunctionCall(Struct):
    """A function's name, and its arguments as a JSON text."""

    name: FunctionName
    arguments: str = ""


class CustomCall(Struct):
    """A custom tool's name, and its input as a text."""

    name: FunctionName
    input: str = ""


class ToolCall(Struct):
    """A call that the assistant asked for: of a function, or of a custom tool."""

    id: str
    type: str = "function"
    function: FunctionCall | None = None
    custom: CustomCall | None = None


class ThinkingBlock(Struct, tag_field="type", tag="thinking"):
    """What the model thought, with the signature by which it knows its own."""

    thinking: str = ""
    signature: str | None = None


class RedactedThinkingBlock(Struct, tag_field="type", tag="redacted_thinking"):
    """What the model thought, encrypted, in base64."""

    data: str


class AssistantMessage(Marked, tag_field="role", tag="assistant"):
    """What the model said before.

    `thinking_blocks` and `reasoning_content` are what it thought, as this gateway and LiteLLM give it out.
    """

    content: str | list[AssistantPart] | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: FunctionCall | None = None
    audio: dict[str, Any] | None = None
    thinking_blocks: list[ThinkingBlock | RedactedThinkingBlock] | None = None
    reasoning_content: str | None = None
    name: str | None = None


class ToolMessage(Marked, tag_field="role", tag="tool"):
    """What a called tool gave."""

    content: str | list[ToolPart]
    tool_call_id: str


class FunctionMessage(Marked, tag_field="role", tag="function"):
    """What a called function gave, in the shape from before tools."""

    name: str
    content: str | None = None


Message = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage


# Tools and formats


class Function(Struct):
    """A function that the model may call; `parameters` is a JSON Schema, kept byte for byte."""

    name: FunctionName
    description: str | None = None
    parameters: Raw = Raw(b"null")
    strict: bool | None = None
    cache_control: CacheControl | None = None


class FunctionTool(Struct, tag_field="type", tag="function"):
    """A tool that is a function; `cache_control` stands here or in the function."""

    function: Function
    cache_control: CacheControl | None = None


class FreeText(Struct, tag_field="type", tag="text"):
    """Any text."""


class GrammarBody(Struct):
    """A grammar, and what it is written in."""

    definition: str
    syntax: Literal["lark", "regex"]


class Grammar(Struct, tag_field="type", tag="grammar"):
    """A text of this grammar."""

    grammar: GrammarBody


class Custom(Struct):
    """What a custom tool is called and takes."""

    name: FunctionName
    description: str | None = None
    format: FreeText | Grammar | None = None


class CustomTool(Struct, tag_field="type", tag="custom"):
    """A tool with a text as its input."""

    custom: Custom
    cache_control: CacheControl | None = None


Tool = FunctionTool | CustomTool


class NamedTool(Struct):
    """A tool, by name."""

    name: str


class FunctionChoice(Struct, tag_field="type", tag="function"):
    """This function must be called."""

    function: NamedTool


class CustomChoice(Struct, tag_field="type", tag="custom"):
    """This custom tool must be called."""

    custom: NamedTool


class AllowedToolsBody(Struct):
    """The tools, and whether one of them must be called."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[FunctionChoice | CustomChoice], Meta(min_length=1)]


class AllowedTools(Struct, tag_field="type", tag="allowed_tools"):
    """Only some of the tools may be called."""

    allowed_tools: AllowedToolsBody


ToolChoice = Literal["none", "auto", "required"] | FunctionChoice | CustomChoice | AllowedTools


class TextFormat(Struct, tag_field="type", tag="text"):
    """Plain text."""


class JsonObjectFormat(Struct, tag_field="type", tag="json_object"):
    """Some JSON object."""


class JsonSchema(Struct):
    """A JSON Schema and its name; `schema` is kept byte for byte."""

    name: FunctionName
    description: str | None = None
    schema: Raw = Raw(b"null")
    strict: bool | None = None


class JsonSchemaFormat(Struct, tag_field="type", tag="json_schema"):
    """JSON of this schema."""

    json_schema: JsonSchema


ResponseFormat = TextFormat | JsonObjectFormat | JsonSchemaFormat


class StreamOptions(Struct):
    """What a stream should carry beside the answer."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class Thinking(Struct, forbid_unknown_fields=True):
    """How to reason, in Anthropic's words: an extension that LiteLLM's clients send."""

    type: Literal["enabled", "adaptive", "disabled"]
    budget_tokens: Count | None = None
    display: Literal["summarized", "omitted"] | None = None


class Guardrail(Struct, forbid_unknown_fields=True, rename="camel"):
    """The guardrail to apply, as Converse has it: an extension that LiteLLM's clients send."""

    guardrail_identifier: Annotated[str, Meta(min_length=1, max_length=2048)]
    guardrail_version: Annotated[str, Meta(pattern=r"^([1-9][0-9]{0,7}|DRAFT)\Z")]
    trace: Literal["enabled", "disabled", "enabled_full"] | None = None
    stream_processing_mode: Literal["sync", "async"] | None = None


class Performance(Struct, forbid_unknown_fields=True):
    """Whether latency is optimised, as Converse has it: an extension that LiteLLM's clients send."""

    latency: Literal["standard", "optimized"]


class ChatRequest(Struct, forbid_unknown_fields=True, kw_only=True):
    """The whole request."""

    model: Annotated[str, Meta(min_length=1, max_length=2048)]
    messages: Annotated[list[Message], Meta(min_length=1)]

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Unit | None = None
    stop: str | list[str] | None = None
    n: Count | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None

    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    seed: int | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    logit_bias: dict[str, float] | None = None

    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prediction: dict[str, Any] | None = None
    verbosity: str | None = None
    service_tier: str | None = None

    reasoning_effort: Effort | None = None
    modalities: list[str] | None = None
    audio: dict[str, Any] | None = None
    web_search_options: dict[str, Any] | None = None
    moderation: dict[str, Any] | None = None
    functions: list[Function] | None = None
    function_call: Literal["none", "auto"] | NamedTool | None = None

    # Extensions: what Bedrock has and OpenAI has not

    thinking: Thinking | None = None
    top_k: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    guardrail_config: Guardrail | None = msgspec.field(default=None, name="guardrailConfig")
    performance_config: Performance | None = msgspec.field(default=None, name="performanceConfig")
    additional_model_request_fields: dict[str, Raw] | None = msgspec.field(
        default=None, name="additionalModelRequestFields"
    )

    @property
    def token_limit(self) -> int | None:
        """The most tokens that the answer may have, by the field's newer name or its older one."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


def decode_request(body: bytes) -> ChatRequest:
    """The request in `body`; raises a 400 `ApiError`."""
    return decode(body, ChatRequest)
