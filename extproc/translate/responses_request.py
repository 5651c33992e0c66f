"""A Responses request -> the chat request that asks for the same.

Chat and Responses have the same things under different names, so that everything that concerns models, media, schemas
and turns is `chat_request`'s. Here an item becomes a message or a part of one:

- `instructions` are the first message;
- neighbouring items of the assistant (reasoning, message, calls) are one message, because the results of its calls have
  to follow it directly;
- `encrypted_content` is opened later (`open_reasoning`), when the model is known.

Items and tools of a type that is not known are left out and named, as in `input[type=mcp_call]`.

Decision: docs/decisions.md, D167.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

from extproc.openai import chat, messages
from extproc.openai.decoding import decode_at
from extproc.openai.errors import ApiError, invalid
from extproc.openai.limits import MAX_THINKING_BLOCKS
from extproc.openai.response_items import (
    ITEMS,
    AudioPart,
    CallOutputItem,
    CustomToolCallItem,
    FunctionCallItem,
    InputFile,
    InputImage,
    InputText,
    Item,
    MessageItem,
    OutputText,
    Part,
    ReasoningItem,
    Refusal,
    Typed,
    decode_item,
)
from extproc.openai.responses import Items, JsonObjectFormat, JsonSchemaFormat, ResponsesRequest
from extproc.openai.unknown import MOST
from extproc.translate.ignored import Ignored
from extproc.translate.responses_fields import NOT_APPLIED, REJECTED
from extproc.translate.responses_paths import Paths, Place
from extproc.translate.responses_tools import ResponsesTools, plan_choice, plan_tools
from extproc.translate.sealed_reasoning import ReasoningSeal
from extproc.value import Value

ENCRYPTED = "reasoning.encrypted_content"
LOGPROBS = "message.output_text.logprobs"
_REASONING = "input[].encrypted_content"


class PastReasoning(Value, frozen=True):
    """A reasoning item, and the message that it belongs to."""

    message: messages.AssistantMessage
    encrypted: str
    summary: str


class ChatForm(Value, frozen=True):
    """A request in chat's form."""

    request: chat.ChatRequest
    paths: Paths
    tools: ResponsesTools
    reasoning: list[PastReasoning]
    ignored: Ignored


def chat_form(request: ResponsesRequest, unknown: Sequence[str] = ()) -> ChatForm:
    """Return the request in chat's form; `unknown` are the fields that decoding left out.

    Raises a 400 `ApiError` that names the field.
    """
    _check(request)
    ignored = Ignored()
    ignored.add(*_not_applied(request), *unknown)
    tools = plan_tools(request.tools or (), ignored)
    conversation = _Conversation(tools, ignored)
    if request.instructions is not None:
        conversation.instruct(request.instructions)
    conversation.read(request.input)
    if not conversation.messages:
        raise invalid("'input' has no item that can be sent: send a message at least.", "input", "invalid_value")
    paths = Paths(conversation.places, tools.paths)
    form = _chat_request(request, conversation.messages, tools, ignored)
    return ChatForm(form, paths, tools, conversation.reasoning, ignored)


def open_reasoning(form: ChatForm, seal: ReasoningSeal, model: str) -> None:
    """Put the reasoning back into its messages, as far as it is this model's own; the rest is named."""
    for past in form.reasoning:
        block = seal.open(past.encrypted, model) if past.encrypted else None
        if block is None and past.encrypted:
            form.ignored.add(_REASONING)
        elif block is None and past.summary:
            block = messages.ThinkingBlock(past.summary)
        if block is None:
            continue
        blocks = past.message.thinking_blocks = past.message.thinking_blocks or []
        if len(blocks) < MAX_THINKING_BLOCKS:
            blocks.append(block)
        else:
            form.ignored.add(_REASONING)


def _check(request: ResponsesRequest) -> None:
    for name, row in REJECTED.items():
        value = getattr(request, name)
        if value is not None and value not in row.neutral:
            raise invalid(row.message, name, "unsupported_parameter")
    if request.stream_options is not None and not request.stream:
        raise invalid("'stream_options' is only for streams: set 'stream' too.", "stream_options", "invalid_value")


def _not_applied(request: ResponsesRequest) -> list[str]:
    """Return the fields that have no effect here, except for those that a chat request has as well."""
    values = [(name, getattr(request, name), neutral) for name, neutral in NOT_APPLIED.items()]
    names = [name for name, value, neutral in values if value is not None and value not in neutral]
    reasoning = request.reasoning
    if reasoning is not None and reasoning.context not in (None, "auto"):
        names.append("reasoning.context")
    if reasoning is not None and reasoning.mode not in (None, "standard"):
        names.append("reasoning.mode")
    if any(name not in (ENCRYPTED, LOGPROBS) for name in request.include or ()):
        names.append("include[]")
    return names


def _chat_request(
    request: ResponsesRequest, conversation: list[messages.Message], tools: ResponsesTools, ignored: Ignored
) -> chat.ChatRequest:
    options = request.stream_options
    return chat.ChatRequest(
        model=request.model,
        messages=conversation,
        stream=request.stream,
        stream_options=None if options is None else chat.StreamOptions(None, options.include_obfuscation),
        max_completion_tokens=request.max_output_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        tools=tools.tools or None,
        tool_choice=plan_choice(request.tool_choice, tools, ignored),
        parallel_tool_calls=request.parallel_tool_calls if tools.tools else None,
        response_format=_response_format(request),
        logprobs=True if LOGPROBS in (request.include or ()) else None,
        top_logprobs=request.top_logprobs or None,
        user=request.user,
        safety_identifier=request.safety_identifier,
        metadata=request.metadata,
        store=request.store,
        prompt_cache_key=request.prompt_cache_key,
        prompt_cache_retention=request.prompt_cache_retention,
        prompt_cache_options=request.prompt_cache_options,
        verbosity=request.text.verbosity if request.text else None,
        service_tier=request.service_tier,
        reasoning_effort=request.reasoning.effort if request.reasoning else None,
        moderation=request.moderation,
        thinking=request.thinking,
        top_k=request.top_k,
        guardrail_config=request.guardrail_config,
        performance_config=request.performance_config,
        additional_model_request_fields=request.additional_model_request_fields,
    )


def _response_format(request: ResponsesRequest) -> chat.ResponseFormat | None:
    match request.text.format if request.text else None:
        case JsonObjectFormat():
            return chat.ResponseFormatJsonObject()
        case JsonSchemaFormat() as form:
            return chat.ResponseFormatJsonSchema(chat.JsonSchema(form.name, form.description, form.schema, form.strict))
    return None


class _Conversation:
    """The messages of the items read so far."""

    def __init__(self, tools: ResponsesTools, ignored: Ignored) -> None:
        self.messages: list[messages.Message] = []
        self.places: list[Place] = []
        self.reasoning: list[PastReasoning] = []
        self._tools = tools
        self._ignored = ignored
        self._assistant: messages.AssistantMessage | None = None
        """The assistant's message that the next item may be a part of."""
        self._path = ""
        self._calls: list[str] = []
        """The paths of its calls."""
        self._unknown: set[str] = set()
        """Paths of unknown members of items, which were removed."""
        self._waiting: list[ReasoningItem] = []
        """Reasoning before anything that it belongs to."""

    def instruct(self, text: str) -> None:
        """Add the instructions."""
        self._add(messages.SystemMessage(content=text), Place("instructions", content=""))

    def read(self, raw: Raw) -> None:
        """Add the request's `input`. Raises a 400 `ApiError`."""
        if bytes(memoryview(raw)[:1]) == b'"':
            text = decode_at(raw, str, "input")
            self._add(messages.UserMessage(content=text), Place("input", content=""))
            return
        for index, item in enumerate(decode_at(raw, Items, "input")):
            path = f"input[{index}]"
            kind = decode_at(item, Typed, path).type
            if kind in ITEMS:
                decoded, removed = decode_item(item, ITEMS[kind], path)
                self._unknown.update(removed)
                self._item(decoded, path)
            elif kind == "item_reference":
                raise _reference(path)
            else:
                self._ignored.add_type("input", kind)
        self._close()
        unknown = sorted(self._unknown)
        self._ignored.add(*(unknown if len(unknown) <= MOST else [*unknown[:MOST], "input[].*"]))

    def _item(self, item: Item, path: str) -> None:
        match item:
            case ReasoningItem():
                self._reason(item)
            case MessageItem(role="assistant"):
                self._speak(item, path)
            case MessageItem():
                self._close()
                self._add(_message(item, path), Place(path))
            case FunctionCallItem():
                name = self._tools.chat_name(item.name, item.namespace)
                function = messages.FunctionCall(name, item.arguments)
                self._call(messages.ToolCall(item.call_id, "function", function), path)
            case CustomToolCallItem():
                custom = messages.CustomCall(self._tools.chat_name(item.name, item.namespace), item.input)
                self._call(messages.ToolCall(item.call_id, "custom", None, custom), path)
            case CallOutputItem():
                self._close()
                self._add(_result(item, path), Place(path, content=".output"))

    # The assistant's messages

    def _reason(self, item: ReasoningItem) -> None:
        if self._assistant is not None and self._assistant.tool_calls is None:
            self._end()  # a text: what it thinks next has a place of its own
        self._waiting.append(item)

    def _speak(self, item: MessageItem, path: str) -> None:
        content = _assistant_content(item, path)
        before = self._assistant
        if before is None or before.tool_calls is None:
            self._end()
            self._begin(path).content = content
        else:  # a text after calls, whose results are still to come
            self._begin(path)
            before.content = [*_parts(before.content), *_parts(content)]

    def _call(self, call: messages.ToolCall, path: str) -> None:
        assistant = self._begin(path)
        if assistant.tool_calls is None:
            assistant.tool_calls = []
        assistant.tool_calls.append(call)
        self._calls.append(path)

    def _begin(self, path: str) -> messages.AssistantMessage:
        """Return the assistant's message that is open, with the reasoning that waits."""
        assistant = self._assistant
        if assistant is None:
            assistant = self._assistant = messages.AssistantMessage()
            self._path = path
        for item in self._waiting:
            summary = "\n\n".join(part.text for part in (item.content or item.summary or ()))
            self.reasoning.append(PastReasoning(assistant, item.encrypted_content or "", summary))
        self._waiting = []
        return assistant

    def _close(self) -> None:
        """End the assistant's turn. Reasoning that nothing followed has no place."""
        if self._waiting:
            self._ignored.add(_REASONING)
            self._waiting = []
        self._end()

    def _end(self) -> None:
        """End the assistant's message, if one is open."""
        if self._assistant is not None:
            self._add(self._assistant, Place(self._path, tuple(self._calls)))
            self._assistant, self._calls = None, []

    def _add(self, message: messages.Message, place: Place) -> None:
        self.messages.append(message)
        self.places.append(place)


def _message(item: MessageItem, path: str) -> messages.Message:
    content: Any = item.content
    if item.role == "user":
        return messages.UserMessage(content=content if isinstance(content, str) else _media_parts(content, path))
    if not isinstance(content, str):
        content = [_text(part, f"{path}.content[{index}]") for index, part in enumerate(content)]
    if item.role == "system":
        return messages.SystemMessage(content=content)
    return messages.DeveloperMessage(content=content)


def _assistant_content(item: MessageItem, path: str) -> str | list[messages.AssistantPart]:
    if isinstance(item.content, str):
        return item.content
    return [
        messages.RefusalPart(refusal=part.refusal)
        if isinstance(part, Refusal)
        else _text(part, f"{path}.content[{index}]")
        for index, part in enumerate(item.content)
    ]


def _parts(content: str | list[messages.AssistantPart] | None) -> list[messages.AssistantPart]:
    if content is None:
        return []
    return [messages.TextPart(text=content)] if isinstance(content, str) else content


def _text(part: Part, path: str) -> messages.TextPart:
    if isinstance(part, InputText | OutputText):
        return messages.TextPart(
            text=part.text, cache_control=part.cache_control, prompt_cache_breakpoint=part.prompt_cache_breakpoint
        )
    if isinstance(part, Refusal):
        return messages.TextPart(text=part.refusal)
    raise invalid("Only texts are accepted here: send the part in a message of the user.", path, "invalid_value")


def _media_parts(parts: Sequence[Part], path: str) -> list[messages.UserPart]:
    return [_user_part(part, f"{path}.content[{index}]") for index, part in enumerate(parts)]


def _user_part(part: Part, path: str) -> messages.UserPart:
    marks: dict[str, Any] = {
        "cache_control": part.cache_control,
        "prompt_cache_breakpoint": part.prompt_cache_breakpoint,
    }
    match part:
        case InputImage():
            return messages.ImagePart(image_url=_image(part, path), **marks)
        case InputFile():
            return messages.FilePart(file=_file(part, path), **marks)
        case AudioPart():
            return messages.AudioPart(input_audio=part.input_audio, **marks)
    return _text(part, path)


def _result(item: CallOutputItem, path: str) -> messages.ToolMessage:
    if isinstance(item.output, str):
        return messages.ToolMessage(content=item.output, tool_call_id=item.call_id)
    parts = [_user_part(part, f"{path}.output[{index}]") for index, part in enumerate(item.output)]
    taken = [part for part in parts if isinstance(part, messages.ToolPart)]
    return messages.ToolMessage(content=taken, tool_call_id=item.call_id)


def _image(part: InputImage, path: str) -> messages.ImageURL:
    if part.file_id is not None:
        raise _uploaded(f"{path}.file_id", "the image in 'image_url'")
    if part.image_url == Raw(b"null"):
        raise invalid(f"Missing required parameter: '{path}.image_url'.", f"{path}.image_url", _MISSING)
    return messages.ImageURL(part.image_url, part.detail)


def _file(part: InputFile, path: str) -> messages.File:
    if part.file_id is not None:
        raise _uploaded(f"{path}.file_id", "the document in 'file_data'")
    if part.file_url is None:
        return messages.File(part.file_data, None, part.filename)
    if not part.file_url.startswith(("s3://", "data:")):
        raise invalid(
            "Documents at URLs are not fetched: send the document in 'file_data'.", f"{path}.file_url", _UNSUPPORTED
        )
    return messages.File(Raw(msgspec.json.encode(part.file_url)), None, part.filename)


_MISSING, _UNSUPPORTED = "missing_required_parameter", "unsupported_parameter"


def _uploaded(path: str, instead: str) -> ApiError:
    return invalid(f"This gateway keeps no files: send {instead}.", path, _UNSUPPORTED)


def _reference(path: str) -> ApiError:
    return invalid(
        "This gateway keeps nothing: send the item itself in 'input', not an 'item_reference'. Clients send items "
        "with 'store': false.",
        path,
        _UNSUPPORTED,
    )
