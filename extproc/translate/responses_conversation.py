"""The items of a Responses request -> the messages of a chat request.

| item                              | becomes                                                                          |
|-----------------------------------|----------------------------------------------------------------------------------|
| `message`                         | a message                                                                        |
| `reasoning`, `…_call`             | a part of the assistant's message, which the results of its calls follow directly|
| `…_call_output`                   | a `tool` message                                                                 |
| `function_call_output` of no call | messages of the user's, with its name: an agent reports what nobody called       |

A message between a call and its result comes after the result: in chat, and at Bedrock, nothing is in between.

Decisions: docs/decisions.md, D167, D170, D171.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

from extproc.openai import messages
from extproc.openai.decoding import decode_at
from extproc.openai.errors import ApiError, invalid
from extproc.openai.response_items import (
    ITEMS,
    CallOutputItem,
    CustomToolCallItem,
    FunctionCallItem,
    InputAudioPart,
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
from extproc.openai.responses import Items
from extproc.openai.unknown import MOST
from extproc.translate.ignored import Ignored
from extproc.translate.responses_paths import ItemPaths
from extproc.translate.responses_tools import ResponsesTools
from extproc.value import Value

REASONING = "input[].encrypted_content"
"""Reasoning that is left out, in the list of what has no effect."""


class PastReasoning(Value, frozen=True):
    """A reasoning item, and the message that it belongs to."""

    message: messages.AssistantMessage
    encrypted: str
    summary: str


class InputItems:
    """The messages of the items read so far."""

    def __init__(self, tools: ResponsesTools, ignored: Ignored) -> None:
        self.messages: list[messages.Message] = []
        self.places: list[ItemPaths] = []
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
        self._due: set[str] = set()
        """The ids of calls that have no result yet."""
        self._held: list[tuple[messages.Message, ItemPaths]] = []
        """Messages before the results of those calls, which they come after."""

    def instruct(self, text: str) -> None:
        """Add the instructions."""
        self._add(messages.SystemMessage(content=text), ItemPaths("instructions", content=""))

    def read(self, raw: Raw) -> None:
        """Add the request's `input`. Raises a 400 `ApiError`."""
        if bytes(memoryview(raw)[:1]) == b'"':
            text = decode_at(raw, str, "input")
            self._add(messages.UserMessage(content=text), ItemPaths("input", content=""))
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
        self._release()
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
                self._follow(_message(item, path), ItemPaths(path))
            case FunctionCallItem():
                name = self._tools.chat_name(item.name, item.namespace)
                function = messages.FunctionCall(name, item.arguments)
                self._call(messages.ToolCall(item.call_id, "function", function), path)
            case CustomToolCallItem():
                custom = messages.CustomCall(self._tools.chat_name(item.name, item.namespace), item.input)
                self._call(messages.ToolCall(item.call_id, "custom", None, custom), path)
            case CallOutputItem():
                self._close()
                self._output(item, path)

    def _output(self, item: CallOutputItem, path: str) -> None:
        place = ItemPaths(path, content=".output")
        if item.call_id is None:
            self._follow(messages.UserMessage(content=_heading(item, path)), place)
            self._follow(messages.UserMessage(content=_output_content(item, path)), place)
            return
        self._add(_result(item, item.call_id, path), place)
        self._due.discard(item.call_id)
        if not self._due:
            self._release()

    def _follow(self, message: messages.Message, place: ItemPaths) -> None:
        """Add a message, after the results that are due."""
        if self._due:
            self._held.append((message, place))
        else:
            self._add(message, place)

    def _release(self) -> None:
        """Add the messages that were held."""
        for message, place in self._held:
            self._add(message, place)
        self._held, self._due = [], set()

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
            parts = before.content = _parts(before.content)
            parts += _parts(content)

    def _call(self, call: messages.ToolCall, path: str) -> None:
        assistant = self._begin(path)
        if assistant.tool_calls is None:
            assistant.tool_calls = []
        assistant.tool_calls.append(call)
        self._calls.append(path)
        self._due.add(call.id)

    def _begin(self, path: str) -> messages.AssistantMessage:
        """Return the assistant's message that is open, with the reasoning that waits."""
        assistant = self._assistant
        if assistant is None:
            self._release()
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
            self._ignored.add(REASONING)
            self._waiting = []
        self._end()

    def _end(self) -> None:
        """End the assistant's message, if one is open."""
        if self._assistant is not None:
            self._add(self._assistant, ItemPaths(self._path, tuple(self._calls)))
            self._assistant, self._calls = None, []

    def _add(self, message: messages.Message, place: ItemPaths) -> None:
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
        case InputAudioPart():
            return messages.AudioPart(input_audio=part.input_audio, **marks)
    return _text(part, path)


def _result(item: CallOutputItem, call_id: str, path: str) -> messages.ToolMessage:
    content = _output_content(item, path)
    if isinstance(content, str):
        return messages.ToolMessage(content=content, tool_call_id=call_id)
    taken = [part for part in content if isinstance(part, messages.ToolPart)]
    return messages.ToolMessage(content=taken, tool_call_id=call_id)


def _output_content(item: CallOutputItem, path: str) -> str | list[messages.UserPart]:
    if isinstance(item.output, str):
        return item.output
    return [_user_part(part, f"{path}.output[{index}]") for index, part in enumerate(item.output)]


def _heading(item: CallOutputItem, path: str) -> str:
    """Return the words before the output of no call. Raises a 400 `ApiError` for a custom tool's: it has a call."""
    if item.type == "custom_tool_call_output":
        raise invalid(f"Missing required parameter: '{path}.call_id'.", f"{path}.call_id", _MISSING)
    name = ".".join(filter(None, (item.namespace, item.name)))
    return f"[Output of the tool {name}, which was not called:]" if name else "[Output of a tool that was not called:]"


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
