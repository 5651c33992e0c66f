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
FunctionName = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}\Z")]


# Content parts


class TextPart(Struct, tag_field="type", tag="text"):
    """Some text."""

    text: str


class ImageURL(Struct):
    """Where an image is: a `data:` URL."""

    url: str
    detail: str | None = None


class ImagePart(Struct, tag_field="type", tag="image_url"):
    """An image in a user's message."""

    image_url: ImageURL


class AudioPart(Struct, tag_field="type", tag="input_audio"):
    """A sound in a user's message."""

    input_audio: Raw


class FilePart(Struct, tag_field="type", tag="file"):
    """A document in a user's message."""

    file: Raw


class RefusalPart(Struct, tag_field="type", tag="refusal"):
    """What an assistant said when it declined."""

    refusal: str


UserPart = TextPart | ImagePart | AudioPart | FilePart
AssistantPart = TextPart | RefusalPart


# Messages


class SystemMessage(Struct, tag_field="role", tag="system"):
    """Instructions."""

    content: str | list[TextPart]
    name: str | None = None


class DeveloperMessage(Struct, tag_field="role", tag="developer"):
    """Instructions, under their newer name."""

    content: str | list[TextPart]
    name: str | None = None


class UserMessage(Struct, tag_field="role", tag="user"):
    """What the user says."""

    content: str | list[UserPart]
    name: str | None = None


class FunctionCall(Struct):
    """A function's name, and its arguments as a JSON text."""

    name: FunctionName
    arguments: str = ""


class ToolCall(Struct):
    """A call that the assistant asked for. `custom` calls are declared to be refused by name."""

    id: str
    type: str = "function"
    function: FunctionCall | None = None


class AssistantMessage(Struct, tag_field="role", tag="assistant"):
    """What the model said before."""

    content: str | list[AssistantPart] | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: FunctionCall | None = None
    name: str | None = None


class ToolMessage(Struct, tag_field="role", tag="tool"):
    """What a called tool gave."""

    content: str | list[TextPart]
    tool_call_id: str


class FunctionMessage(Struct, tag_field="role", tag="function"):
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


class FunctionTool(Struct, tag_field="type", tag="function"):
    """A tool that is a function."""

    function: Function


class CustomTool(Struct, tag_field="type", tag="custom"):
    """A tool with free text as its input."""

    custom: Raw


Tool = FunctionTool | CustomTool


class NamedFunction(Struct):
    """A function, by name."""

    name: str


class FunctionChoice(Struct, tag_field="type", tag="function"):
    """This function must be called."""

    function: NamedFunction


class CustomChoice(Struct, tag_field="type", tag="custom"):
    """This custom tool must be called."""

    custom: Raw


class AllowedTools(Struct, tag_field="type", tag="allowed_tools"):
    """Only some of the tools may be called."""

    allowed_tools: Raw


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

    reasoning_effort: str | None = None
    modalities: list[str] | None = None
    audio: dict[str, Any] | None = None
    web_search_options: dict[str, Any] | None = None
    moderation: dict[str, Any] | None = None
    functions: list[Any] | None = None
    function_call: Any = None


def decode_request(body: bytes) -> ChatRequest:
    """The request in `body`; raises a 400 `ApiError`."""
    return decode(body, ChatRequest)


# The answer


class Usage(msgspec.Struct, frozen=True):
    """Tokens as OpenAI counts them: `prompt` includes what came from a cache."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    cache_written: int = 0

    def as_object(self) -> dict[str, Any]:
        """The `usage` object; the details stand only where a cache was at work."""
        usage: dict[str, Any] = {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
        }
        if self.cached or self.cache_written:
            usage["prompt_tokens_details"] = {
                "cached_tokens": self.cached,
                "cache_write_tokens": self.cache_written,
            }
        return usage


def tool_call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    """One entry of a message's `tool_calls`."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def completion(
    completion_id: str, created: int, model: str, message: dict[str, Any], finish_reason: str, usage: Usage
) -> bytes:
    """A whole `chat.completion`, with every key that OpenAI's schema requires."""
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
    return msgspec.json.encode(
        {
            "id": completion_id,
            "object": "chat.completion",
            "created": created,
            "model": model,
            "choices": [choice],
            "usage": usage.as_object(),
        }
    )


class Chunks:
    """Writes one stream's `chat.completion.chunk`s: the same id, time and model in all of them.

    The part that does not change is encoded once. With `include_usage` each chunk carries `"usage": null` and
    `usage()` gives the last one, without choices; without it, `usage()` gives nothing.
    """

    def __init__(self, completion_id: str, created: int, model: str, *, include_usage: bool) -> None:
        head = {"id": completion_id, "object": "chat.completion.chunk", "created": created, "model": model}
        self._head = msgspec.json.encode(head)[:-1] + b',"choices":['
        self._include_usage = include_usage
        self._start = b"data: " + self._head + b'{"index":0,"delta":'
        self._nulls = b',"usage":null}\n\n' if include_usage else b"}\n\n"
        self._end = b',"logprobs":null,"finish_reason":null}]' + self._nulls

    def role(self) -> bytes:
        """The first chunk."""
        return self.delta({"role": "assistant", "content": "", "refusal": None})

    def content(self, text: str) -> bytes:
        """A piece of the answer's text."""
        return self._start + b'{"content":' + msgspec.json.encode(text) + b"}" + self._end

    def delta(self, delta: dict[str, Any]) -> bytes:
        """Any other piece."""
        return self._start + msgspec.json.encode(delta) + self._end

    def tool_start(self, index: int, call_id: str, name: str) -> bytes:
        """A tool call begins: the only chunk with its id, type and name."""
        call = {"index": index, **tool_call(call_id, name, "")}
        return self.delta({"tool_calls": [call]})

    def tool_arguments(self, index: int, arguments: str) -> bytes:
        """A piece of a tool call's arguments."""
        return self.delta({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]})

    def finish(self, reason: str) -> bytes:
        """The last chunk with a choice."""
        end = b',"logprobs":null,"finish_reason":' + msgspec.json.encode(reason) + b"}]" + self._nulls
        return self._start + b"{}" + end

    def usage(self, usage: Usage) -> bytes:
        """The chunk that only carries usage."""
        if not self._include_usage:
            return b""
        return b"data: " + self._head + b'],"usage":' + msgspec.json.encode(usage.as_object()) + b"}\n\n"
