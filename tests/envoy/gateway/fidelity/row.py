"""A row of the fidelity table: what a caller sends, what Bedrock gets of it, and what comes back."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

NOVA = "amazon.nova-micro-v1:0"
NOVA_LITE = "amazon.nova-lite-v1:0"
NOVA_2 = "us.amazon.nova-2-lite-v1:0"
OMNI = "us.amazon.nova-2-omni-v1:0"
HAIKU_3 = "anthropic.claude-3-haiku-20240307-v1:0"
SONNET_3_7 = "anthropic.claude-3-7-sonnet-20250219-v1:0"
SONNET_4_5 = "anthropic.claude-sonnet-4-5-20250929-v1:0"
HAIKU_4_5 = "anthropic.claude-haiku-4-5-20251001-v1:0"
OPUS_4_5 = "anthropic.claude-opus-4-5-20251101-v1:0"
OPUS_4_6 = "anthropic.claude-opus-4-6-v1"
SONNET_4_6 = "anthropic.claude-sonnet-4-6"
OPUS_4_7 = "anthropic.claude-opus-4-7"
OPUS_4_8 = "anthropic.claude-opus-4-8"
OPUS_5_5 = "anthropic.claude-opus-5-5"
SONNET_5_5 = "anthropic.claude-sonnet-5-5"
LLAMA = "meta.llama3-3-70b-instruct-v1:0"
MISTRAL = "mistral.mistral-large-2407-v1:0"
GPT_OSS = "openai.gpt-oss-20b-1:0"
QWEN = "qwen.qwen3-32b-v1:0"
KIMI_K2_5 = "moonshotai.kimi-k2.5"
KIMI_K3_1 = "moonshotai.kimi-k3.1"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One input of an entry, `A1`, with what is right.

    `sent` and `got` are values by JMESPath: in the body of the last call that Bedrock saw, and in the response
    (`calls.view`). A value of None stands for nothing at that place.
    """

    entry: str
    case: str
    model: str
    prompt: str = "Call get_weather for Paris."
    token: str = "ci"
    fields: Mapping[str, Any] = field(default_factory=dict)
    """The request beside `model` and the prompt; its own `messages` replace the prompt."""
    sent: Mapping[str, Any] = field(default_factory=dict)
    got: Mapping[str, Any] = field(default_factory=dict)
    ignored: Sequence[str] = ()
    """What `x-oai-ignored-params` names."""
    param: str | None = None
    """The request is a 400 that names this field."""
    again: Sequence[str] = ()
    """What the header names beside that once the message is a part of the history."""

    @property
    def id(self) -> str:
        """Return the row's name in a run."""
        return f"{self.entry} {self.case} ({self.model.partition(':')[0]})"


def for_each(models: Iterable[str], row: Row) -> list[Row]:
    """Return the row for each of several models."""
    return [replace(row, model=model) for model in models]


def tool(parameters: Any, name: str = "get_weather", **more: Any) -> dict[str, Any]:
    """Return a function as a tool."""
    return {"type": "function", "function": {"name": name, "parameters": parameters, **more}}


def tools(parameters: Any, name: str = "get_weather", **more: Any) -> dict[str, Any]:
    """Return the field `tools` with one function."""
    return {"tools": [tool(parameters, name, **more)]}


def json_schema(schema: Any, name: str = "get_weather", **more: Any) -> dict[str, Any]:
    """Return the field `response_format` with a schema."""
    return {"response_format": {"type": "json_schema", "json_schema": {"name": name, "schema": schema, **more}}}


SCHEMA = "toolConfig.tools[0].toolSpec.inputSchema.json"
"""Where Bedrock gets the schema of the first tool."""
PARAMETERS = "tools[].function.parameters"
RESPONSE_SCHEMA = "response_format.json_schema.schema"
CITY = {"type": "string"}
STRICT = {"type": "object", "properties": {"city": CITY}, "required": ["city"], "additionalProperties": False}
"""A schema as an SDK makes it for a strict tool."""
BARE = {"type": "object", "properties": {"city": CITY}, "required": ["city"]}
WEATHER = tools(BARE)
PARIS = [{"name": "get_weather", "arguments": {"city": "Paris"}}]
"""The call that the local Bedrock makes of the prompt."""


def user(*content: Any) -> dict[str, Any]:
    """Return a message of the user, of a text or of parts."""
    return {"role": "user", "content": content[0] if len(content) == 1 and isinstance(content[0], str) else [*content]}


def past_call(arguments: str, name: str = "get_weather", identifier: str = "c1", **more: Any) -> dict[str, Any]:
    """Return a message of the assistant with one call."""
    call = {"id": identifier, "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [call], **more}


def result(content: Any = "18 degrees", identifier: str = "c1", **more: Any) -> dict[str, Any]:
    """Return the message with a call's result."""
    return {"role": "tool", "tool_call_id": identifier, "content": content, **more}
