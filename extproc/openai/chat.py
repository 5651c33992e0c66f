"""POST /chat/completions: the request as clients send it.

Every field of OpenAI's API is declared here and in `openai/messages`, so that none is dropped without a decision; the
decisions are in `translate/chat_request`. Optional fields take an explicit null, as OpenAI's do. A field that is not
declared is rejected in every object but a message, from which it is removed and named; so are those that the operator
has passed over.

Source: `CreateChatCompletionRequest` in OpenAI's API description, and `types/chat` of the openai package.
"""

from collections.abc import Collection
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Raw

from extproc.openai.decoding import decode
from extproc.openai.dialects import advised
from extproc.openai.errors import ApiError
from extproc.openai.limits import MAX_LOGIT_BIASES, MAX_MESSAGES, MAX_STOP_SEQUENCES, MAX_TOOLS
from extproc.openai.messages import CacheControl, Exact, FunctionName, Message
from extproc.openai.passed_over import decode_without
from extproc.openai.unknown import without_unknown

Unit = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
# Tools and formats


class Function(Exact):
    """A function that the model may call; `parameters` is a JSON Schema, kept byte for byte.

    `type` stands beside it; Open WebUI sends it here too (`convert_openapi_to_tool_payload`).
    """

    name: FunctionName
    description: str | None = None
    parameters: Raw = Raw(b"null")
    strict: bool | None = None
    cache_control: CacheControl | None = None
    type: Literal["function"] | None = None


class FunctionTool(Exact, tag_field="type", tag="function"):
    """A tool that is a function; `cache_control` stands here or in the function."""

    function: Function
    cache_control: CacheControl | None = None


class CustomFormatText(Exact, tag_field="type", tag="text"):
    """The format of a custom tool's input: any text."""


class GrammarBody(Exact):
    """A grammar, and the syntax that it is written in."""

    definition: str
    syntax: Literal["lark", "regex"]


class CustomFormatGrammar(Exact, tag_field="type", tag="grammar"):
    """The format of a custom tool's input: a text of this grammar."""

    grammar: GrammarBody


class Custom(Exact):
    """A custom tool's name, description and input format."""

    name: FunctionName
    description: str | None = None
    format: CustomFormatText | CustomFormatGrammar | None = None


class CustomTool(Exact, tag_field="type", tag="custom"):
    """A tool with a text as its input."""

    custom: Custom
    cache_control: CacheControl | None = None


Tool = FunctionTool | CustomTool


class NamedTool(Exact):
    """A tool, by name."""

    name: str


class FunctionChoice(Exact, tag_field="type", tag="function"):
    """The choice of a function that must be called."""

    function: NamedTool


class CustomChoice(Exact, tag_field="type", tag="custom"):
    """The choice of a custom tool that must be called."""

    custom: NamedTool


class AllowedToolsBody(Exact):
    """The tools that may be called, and the mode: `required` if one of them must be."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[FunctionChoice | CustomChoice], Meta(min_length=1, max_length=MAX_TOOLS)]


class AllowedTools(Exact, tag_field="type", tag="allowed_tools"):
    """The choice of some of the tools."""

    allowed_tools: AllowedToolsBody


ToolChoice = Literal["none", "auto", "required"] | FunctionChoice | CustomChoice | AllowedTools


class ResponseFormatText(Exact, tag_field="type", tag="text"):
    """Plain text."""


class ResponseFormatJsonObject(Exact, tag_field="type", tag="json_object"):
    """Any JSON object."""


class JsonSchema(Exact):
    """A JSON Schema and its name; `schema` is kept byte for byte."""

    name: FunctionName
    description: str | None = None
    schema: Raw = Raw(b"null")
    strict: bool | None = None


class ResponseFormatJsonSchema(Exact, tag_field="type", tag="json_schema"):
    """JSON of this schema."""

    json_schema: JsonSchema


ResponseFormat = ResponseFormatText | ResponseFormatJsonObject | ResponseFormatJsonSchema


class StreamOptions(Exact):
    """Options of a stream: what it contains beside the message."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class Thinking(Exact):
    """Requested reasoning, in Anthropic's words: an extension that LiteLLM's clients send."""

    type: Literal["enabled", "adaptive", "disabled"]
    budget_tokens: Count | None = None
    display: Literal["summarized", "omitted"] | None = None


class Guardrail(Exact, rename="camel"):
    """The guardrail to apply, as Converse has it: an extension that LiteLLM's clients send."""

    guardrail_identifier: Annotated[str, Meta(min_length=1, max_length=2048)]
    guardrail_version: Annotated[str, Meta(pattern=r"^([1-9][0-9]{0,7}|DRAFT)\Z")]
    trace: Literal["enabled", "disabled", "enabled_full"] | None = None
    stream_processing_mode: Literal["sync", "async"] | None = None


class Performance(Exact):
    """Requested latency, as Converse has it: an extension that LiteLLM's clients send."""

    latency: Literal["standard", "optimized"]


class PromptCacheOptions(Exact):
    """Whether the prompt is cached without marks too, and the least lifetime of all cache entries."""

    mode: Literal["implicit", "explicit"] | None = None
    ttl: Literal["30m", "12h"] | None = None


class WebSearchOptions(Exact):
    """A request to search the web, and wishes about it."""

    search_context_size: Literal["low", "medium", "high"] | None = None
    user_location: dict[str, Raw] | None = None


class ChatRequest(Exact, kw_only=True):
    """The whole request."""

    model: Annotated[str, Meta(min_length=1, max_length=2048)]
    messages: Annotated[list[Message], Meta(min_length=1, max_length=MAX_MESSAGES)]

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Unit | None = None
    stop: str | Annotated[list[str], Meta(max_length=MAX_STOP_SEQUENCES)] | None = None
    n: Count | None = None
    tools: Annotated[list[Tool], Meta(max_length=MAX_TOOLS)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None

    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    seed: int | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    logit_bias: Annotated[dict[str, float], Meta(max_length=MAX_LOGIT_BIASES)] | None = None

    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: PromptCacheOptions | None = None
    prediction: dict[str, Raw] | None = None
    verbosity: str | None = None
    service_tier: str | None = None

    reasoning_effort: Effort | None = None
    modalities: list[str] | None = None
    audio: dict[str, Raw] | None = None
    web_search_options: WebSearchOptions | None = None
    moderation: dict[str, Raw] | None = None
    functions: Annotated[list[Function], Meta(max_length=MAX_TOOLS)] | None = None
    function_call: Literal["none", "auto"] | NamedTool | None = None

    # Extensions: fields of Bedrock that OpenAI has not

    thinking: Thinking | None = None
    top_k: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    guardrail_config: Guardrail | None = msgspec.field(default=None, name="guardrailConfig")
    performance_config: Performance | None = msgspec.field(default=None, name="performanceConfig")
    additional_model_request_fields: dict[str, Raw] | None = msgspec.field(
        default=None, name="additionalModelRequestFields"
    )

    @property
    def token_limit(self) -> int | None:
        """The token limit of the response, by the field's newer name or its older one."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


class PartlyKnown(ChatRequest):
    """A request that contained unknown fields, which were removed."""

    left_out: tuple[str, ...]
    """Paths of the removed fields, as in `messages[].annotations`."""


def decode_request(body: bytes | bytearray, passed_over: Collection[str] = ()) -> ChatRequest:
    """Decode a request body without the unknown fields at the paths `passed_over`; raises a 400 `ApiError`."""
    try:
        request, removed = decode_without(body, ChatRequest, passed_over)
        return _named(request, removed)
    except ApiError as error:
        if error.code != "unknown_parameter" or not (error.param or "").startswith("messages["):
            better = advised(error)
            if better is None:  # never an error from itself: as its own cause it would keep the body
                raise
            raise better from error
        fields = decode(body, dict[str, Raw])
        if "messages" not in fields:  # the unknown field is of the request, and is named `messages[…`
            raise
    return _partly_known(fields, passed_over)


def _partly_known(fields: dict[str, Raw], passed_over: Collection[str]) -> ChatRequest:
    known, left_out = without_unknown(fields["messages"], list[Message], "messages")
    body = msgspec.json.encode({**fields, "messages": known})
    request, removed = decode_without(body, ChatRequest, passed_over)
    return _named(request, (*removed, *left_out))


def _named(request: ChatRequest, left_out: tuple[str, ...]) -> ChatRequest:
    return PartlyKnown(**msgspec.structs.asdict(request), left_out=left_out) if left_out else request
