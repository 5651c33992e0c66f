"""POST /responses: the request as clients send it.

Every field of OpenAI's API is declared here and in `openai/response_items`, so that none is dropped without a decision;
the decisions are in `translate/responses_fields`. The lists of items and of tools are left in their JSON: `Item` and
`Tool` are open unions, whose members of unknown type are left out and named.

Source: `CreateResponse` in OpenAI's API description, and `types/responses` of the openai package.
"""

from collections.abc import Collection
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Raw

from extproc.openai.chat import (
    Count,
    Effort,
    Guardrail,
    NamedTool,
    Performance,
    PromptCacheOptions,
    Thinking,
    Unit,
)
from extproc.openai.limits import MAX_MESSAGES, MAX_TOOLS
from extproc.openai.messages import Exact, FunctionName
from extproc.openai.passed_over import decode_without


class GrammarFormat(Exact, tag_field="type", tag="grammar"):
    """The format of a custom tool's input: a text of this grammar."""

    definition: str
    syntax: Literal["lark", "regex"]


class AnyText(Exact, tag_field="type", tag="text"):
    """The format of a custom tool's input: any text."""


class ClientTool(Exact, kw_only=True):
    """A tool of the client's. What is declared here beside its name has no effect on Converse."""

    name: FunctionName
    description: str | None = None
    defer_loading: bool | None = None
    allowed_callers: list[str] | None = None
    asynchronous: bool | None = msgspec.field(default=None, name="async")


class ResponsesFunctionTool(ClientTool, tag_field="type", tag="function"):
    """A function that the model may call; `parameters` is a JSON Schema, kept byte for byte."""

    parameters: Raw = Raw(b"null")
    strict: bool | None = None
    output_schema: dict[str, Raw] | None = None


class ResponsesCustomTool(ClientTool, tag_field="type", tag="custom"):
    """A tool with a text as its input."""

    format: AnyText | GrammarFormat | None = None


class Namespace(Exact, tag_field="type", tag="namespace"):
    """Tools under one name, which their calls carry."""

    name: FunctionName
    tools: Annotated[list[ResponsesFunctionTool | ResponsesCustomTool], Meta(max_length=MAX_TOOLS)]
    description: str | None = None


class ResponsesFunctionChoice(NamedTool, tag_field="type", tag="function"):
    """The choice of a function that must be called."""


class ResponsesCustomChoice(NamedTool, tag_field="type", tag="custom"):
    """The choice of a custom tool that must be called."""


class ResponsesAllowedTools(Exact, tag_field="type", tag="allowed_tools"):
    """The choice of some of the tools, and the mode: `required` if one of them must be called."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[Raw], Meta(min_length=1, max_length=MAX_TOOLS)]


class TextFormat(Exact, tag_field="type", tag="text"):
    """Plain text."""


class JsonObjectFormat(Exact, tag_field="type", tag="json_object"):
    """Any JSON object."""


class JsonSchemaFormat(Exact, tag_field="type", tag="json_schema"):
    """JSON of a schema, which is kept byte for byte."""

    name: FunctionName
    schema: Raw
    description: str | None = None
    strict: bool | None = None


class TextConfig(Exact):
    """The form of the text: its format, and how long it is to be."""

    format: TextFormat | JsonObjectFormat | JsonSchemaFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ReasoningConfig(Exact):
    """Requested reasoning. A summary is given if it is requested in one of its three names."""

    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed", "none"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    context: str | None = None
    mode: str | None = None


class ResponsesStreamOptions(Exact):
    """Options of a stream."""

    include_obfuscation: bool | None = None


class ResponsesRequest(Exact, kw_only=True):
    """The whole request."""

    model: Annotated[str, Meta(min_length=1, max_length=2048)]
    input: Raw
    instructions: str | None = None

    stream: bool | None = None
    stream_options: ResponsesStreamOptions | None = None
    max_output_tokens: Count | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Unit | None = None
    text: TextConfig | None = None
    reasoning: ReasoningConfig | None = None
    include: Annotated[list[str], Meta(max_length=100)] | None = None

    tools: Annotated[list[Raw], Meta(max_length=MAX_TOOLS)] | None = None
    tool_choice: Raw = Raw(b"null")
    parallel_tool_calls: bool | None = None
    max_tool_calls: Count | None = None

    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, str] | None = None
    service_tier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: PromptCacheOptions | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    store: bool | None = None
    client_metadata: dict[str, Raw] | None = None
    context_management: list[dict[str, Raw]] | None = None
    image: dict[str, Raw] | None = None
    access_programs: dict[str, Raw] | None = None
    moderation: dict[str, Raw] | None = None

    # Fields of a service that keeps something

    previous_response_id: str | None = None
    conversation: str | dict[str, Raw] | None = None
    background: bool | None = None
    background_options: dict[str, Raw] | None = None
    prompt: dict[str, Raw] | None = None

    # Extensions: fields of Bedrock that OpenAI has not

    thinking: Thinking | None = None
    top_k: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    guardrail_config: Guardrail | None = msgspec.field(default=None, name="guardrailConfig")
    performance_config: Performance | None = msgspec.field(default=None, name="performanceConfig")
    additional_model_request_fields: dict[str, Raw] | None = msgspec.field(
        default=None, name="additionalModelRequestFields"
    )


Items = Annotated[list[Raw], Meta(max_length=MAX_MESSAGES)]
"""The items of `input`, each in its JSON."""


def decode_request(
    body: bytes | bytearray, passed_over: Collection[str] = ()
) -> tuple[ResponsesRequest, tuple[str, ...]]:
    """Decode a request body without the unknown fields at the paths `passed_over`, and return those it had.

    Raises a 400 `ApiError`.
    """
    return decode_without(body, ResponsesRequest, passed_over)
