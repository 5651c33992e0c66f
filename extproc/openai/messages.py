"""The messages of a chat and their parts, as clients send them.

Clients send back the messages of other services too: unknown fields are removed from messages, and named
(`openai/unknown`); in any other object they are rejected. Parts that may be as long as a request, such as an image,
are strings that are left in their JSON (`Raw`): `translate/lazy_base64` reads them.

Source: `ChatCompletionRequestMessage` in OpenAI's API description, and `types/chat` of the openai package.

Decision: docs/decisions.md, D127.
"""

from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct

from extproc.openai.limits import MAX_PARTS, MAX_THINKING_BLOCKS, MAX_TOOL_CALLS

FunctionName = Annotated[str, Meta(min_length=1, max_length=512)]
"""A function's name. OpenAI takes 64 of `[a-zA-Z0-9_-]`; clients of MCP servers send longer ones, with dots and
slashes."""

PARTS = Meta(max_length=MAX_PARTS)


class Exact(Struct, forbid_unknown_fields=True):
    """A JSON object with these members and no others."""


class CacheControl(Exact):
    """A cache mark: the prompt before it may be cached. Anthropic's field, as many clients send it here too."""

    type: Literal["ephemeral"] = "ephemeral"
    ttl: Literal["5m", "1h"] | None = None


class CacheBreakpoint(Exact):
    """A cache mark: the prompt before it may be cached, for at least this long. OpenAI's own field."""

    mode: Literal["explicit"]
    ttl: Literal["30m", "12h"] | None = None


class Marked(Exact, kw_only=True):
    """A part or a message that may be marked: the prompt up to its end may be cached. Two marks equal one."""

    cache_control: CacheControl | None = None
    prompt_cache_breakpoint: CacheBreakpoint | None = None


# Content parts


class TextPart(Marked, tag_field="type", tag="text"):
    """A text."""

    text: str


class GuardedTextPart(Marked, tag_field="type", tag="guarded_text"):
    """A user's text for the guardrail, which then reads nothing else: an extension that LiteLLM's clients send.

    `qualifiers` are Bedrock's: what the text is for a check of contextual grounding.
    """

    text: str
    qualifiers: (
        Annotated[list[Literal["grounding_source", "query", "guard_content"]], Meta(min_length=1, max_length=3)] | None
    ) = None


class ImageURL(Exact):
    """The URL of an image: `data:`, http(s) or `s3:`."""

    url: Raw
    detail: str | None = None


class ImagePart(Marked, tag_field="type", tag="image_url"):
    """An image in a user's message, or in a tool's result."""

    image_url: ImageURL


class InputAudio(Exact):
    """A sound, in base64; OpenAI's formats are wav and mp3."""

    data: Raw
    format: str


class AudioPart(Marked, tag_field="type", tag="input_audio"):
    """A sound in a user's message."""

    input_audio: InputAudio


class File(Exact):
    """A document: as a `data:` URL or plain base64, or as the id of an uploaded one."""

    file_data: Raw = Raw(b"null")
    file_id: str | None = None
    filename: str | None = None


class FilePart(Marked, tag_field="type", tag="file"):
    """A document in a user's message, or in a tool's result."""

    file: File


class VideoURL(Exact):
    """The URL of a video: `data:` or `s3:`."""

    url: Raw


class VideoPart(Marked, tag_field="type", tag="video_url"):
    """A video in a user's message: no part of OpenAI's API, but clients send it."""

    video_url: VideoURL


class RefusalPart(Marked, tag_field="type", tag="refusal"):
    """The text of an assistant that declined."""

    refusal: str


MediaPart = ImagePart | AudioPart | FilePart | VideoPart
UserPart = TextPart | GuardedTextPart | ImagePart | AudioPart | FilePart | VideoPart
AssistantPart = TextPart | RefusalPart
ToolPart = TextPart | ImagePart | FilePart


# Messages


class SystemMessage(Marked, tag_field="role", tag="system"):
    """Instructions."""

    content: str | Annotated[list[TextPart], PARTS]
    name: str | None = None


class DeveloperMessage(Marked, tag_field="role", tag="developer"):
    """Instructions, under their newer name."""

    content: str | Annotated[list[TextPart], PARTS]
    name: str | None = None


class UserMessage(Marked, tag_field="role", tag="user"):
    """A message of the user."""

    content: str | Annotated[list[UserPart], PARTS]
    name: str | None = None


class FunctionCall(Exact):
    """A function's name, and its arguments as a JSON text."""

    name: FunctionName
    arguments: str = ""


class CustomCall(Exact):
    """A custom tool's name, and its input as a text."""

    name: FunctionName
    input: str = ""


class ToolCall(Exact):
    """A call that the assistant requested: of a function, or of a custom tool."""

    id: str
    type: str = "function"
    function: FunctionCall | None = None
    custom: CustomCall | None = None


class ThinkingBlock(Exact, tag_field="type", tag="thinking"):
    """A block of reasoning, with the signature by which the model knows its own."""

    thinking: str = ""
    signature: str | None = None


class RedactedThinkingBlock(Exact, tag_field="type", tag="redacted_thinking"):
    """A block of reasoning, encrypted, in base64."""

    data: str


class AssistantMessage(Marked, tag_field="role", tag="assistant"):
    """A past message of the model.

    `thinking_blocks` and `reasoning_content` are its reasoning, as this gateway and LiteLLM return it.
    """

    content: str | Annotated[list[AssistantPart], PARTS] | None = None
    refusal: str | None = None
    tool_calls: Annotated[list[ToolCall], Meta(max_length=MAX_TOOL_CALLS)] | None = None
    function_call: FunctionCall | None = None
    audio: dict[str, Raw] | None = None
    thinking_blocks: (
        Annotated[list[ThinkingBlock | RedactedThinkingBlock], Meta(max_length=MAX_THINKING_BLOCKS)] | None
    ) = None
    reasoning_content: str | None = None
    name: str | None = None


class ToolMessage(Marked, tag_field="role", tag="tool"):
    """The result of a tool call. `is_error`, of a call that failed, is Anthropic's: an extension that clients send."""

    content: str | Annotated[list[ToolPart], PARTS]
    tool_call_id: str
    is_error: bool | None = None


class FunctionMessage(Marked, tag_field="role", tag="function"):
    """The result of a function call, in the shape from before tools."""

    name: str
    content: str | None = None


Message = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage
