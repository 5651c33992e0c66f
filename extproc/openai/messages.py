"""What is said in a chat: the messages and their parts, as clients send them.

Clients send back what they were given, by whomever: what nobody knows is taken out of messages, and named
(`openai/unknown`), where anywhere else it is refused. What may be as long as a request may be, an image, say, is a
string that is left in its JSON (`Raw`): `translate/lazy_base64` reads it.

Source: `ChatCompletionRequestMessage` in OpenAI's API description, and `types/chat` of the openai package.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Raw, Struct

from extproc.openai.limits import MAX_PARTS, MAX_THINKING_BLOCKS, MAX_TOOL_CALLS

FunctionName = Annotated[str, Meta(min_length=1, max_length=512)]
"""OpenAI takes 64 of `[a-zA-Z0-9_-]`; clients of MCP servers send longer ones, with dots and slashes."""

PARTS = Meta(max_length=MAX_PARTS)


class Exact(Struct, forbid_unknown_fields=True):
    """A JSON object with these members and no others."""


class CacheControl(Exact):
    """What comes before it may be cached: Anthropic's field, as many clients send it here too."""

    type: Literal["ephemeral"] = "ephemeral"
    ttl: Literal["5m", "1h"] | None = None


class CacheBreakpoint(Exact):
    """What comes before it may be cached, for at least this long: OpenAI's own field."""

    mode: Literal["explicit"]
    ttl: Literal["30m", "12h"] | None = None


class Marked(Exact, kw_only=True):
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


class ImageURL(Exact):
    """Where an image is: a `data:`, http(s) or `s3:` URL."""

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
    """Where a video is: a `data:` or `s3:` URL."""

    url: Raw


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

    content: str | Annotated[list[TextPart], PARTS]
    name: str | None = None


class DeveloperMessage(Marked, tag_field="role", tag="developer"):
    """Instructions, under their newer name."""

    content: str | Annotated[list[TextPart], PARTS]
    name: str | None = None


class UserMessage(Marked, tag_field="role", tag="user"):
    """What the user says."""

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
    """A call that the assistant asked for: of a function, or of a custom tool."""

    id: str
    type: str = "function"
    function: FunctionCall | None = None
    custom: CustomCall | None = None


class ThinkingBlock(Exact, tag_field="type", tag="thinking"):
    """What the model thought, with the signature by which it knows its own."""

    thinking: str = ""
    signature: str | None = None


class RedactedThinkingBlock(Exact, tag_field="type", tag="redacted_thinking"):
    """What the model thought, encrypted, in base64."""

    data: str


class AssistantMessage(Marked, tag_field="role", tag="assistant"):
    """What the model said before.

    `thinking_blocks` and `reasoning_content` are what it thought, as this gateway and LiteLLM give it out.
    """

    content: str | Annotated[list[AssistantPart], PARTS] | None = None
    refusal: str | None = None
    tool_calls: Annotated[list[ToolCall], Meta(max_length=MAX_TOOL_CALLS)] | None = None
    function_call: FunctionCall | None = None
    audio: dict[str, Any] | None = None
    thinking_blocks: (
        Annotated[list[ThinkingBlock | RedactedThinkingBlock], Meta(max_length=MAX_THINKING_BLOCKS)] | None
    ) = None
    reasoning_content: str | None = None
    name: str | None = None


class ToolMessage(Marked, tag_field="role", tag="tool"):
    """What a called tool gave."""

    content: str | Annotated[list[ToolPart], PARTS]
    tool_call_id: str


class FunctionMessage(Marked, tag_field="role", tag="function"):
    """What a called function gave, in the shape from before tools."""

    name: str
    content: str | None = None


Message = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage
