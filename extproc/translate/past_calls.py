"""Earlier tool calls and their results -> Bedrock's `toolUse` and `toolResult` blocks.

Bedrock wants every call answered in the next turn, once, under an id that no other call has. OpenAI's messages have
three kinds of calls: of functions, of custom tools, and, from before tools, `function_call`, which has no id: its
result, if it has one, is the next message. Where no tool may be called, all of them are told as text.

Some models, and clients that put streamed calls together wrongly, leave several objects in one call's arguments,
`{"a":1}{"a":2}`: they are as many calls, and the result belongs to the first.

Invariant: arguments go through byte for byte, and what becomes of a call depends on what was before it only, so that
prompt caches hit.
"""

import json
import re
from collections.abc import Sequence
from typing import NamedTuple, TypeGuard

import msgspec
from msgspec import Raw

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.converse import (
    ContentBlock,
    ConversationRole,
    DocumentContent,
    ImageContent,
    JsonContent,
    TextContent,
    ToolResultBlock,
    ToolResultContent,
    ToolUseBlock,
    ToolUseContent,
)
from extproc.openai.errors import ApiError, invalid
from extproc.openai.limits import MAX_TOOL_CALLS
from extproc.openai.messages import CustomCall, FunctionCall, FunctionMessage, Message, ToolCall
from extproc.translate.media import MediaBlock
from extproc.translate.schemas import json_object
from extproc.translate.tools import Tools, bedrock_id

NO_OUTPUT = "(no output)"
"""What the model reads where a tool gave nothing."""

_WITH_THE_FIRST = "(answered with the call before)"
"""The result of a call that its client knew as a part of another."""
_BELOW = "(it follows below)"
"""Stands in a tool's result for an image or a document that has to follow it."""
_LONG_ID = 1024
"""Characters of an id from which on ids are made of its hash: a long one may be repeated many times."""
_NO_INPUT = Raw(b"{}")
_SCAN = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)
"""Finds where a value ends; what it makes of the value is not used."""
_NO_SPACE = re.compile(r"[^ \t\r\n]")

Following = list[tuple[ConversationRole, list[ContentBlock]]]


class _Asked(NamedTuple):
    """A tool call: the name of its tool, and the ids by which Bedrock knows it, several if it was several calls."""

    name: str
    bedrock_ids: tuple[str, ...]


class PastCalls:
    """The calls and results of one request."""

    def __init__(self, capabilities: Capabilities, tools: Tools) -> None:
        self._capabilities = capabilities
        self._tools = tools
        self._unanswered: dict[str, _Asked] = {}
        """Calls without a result, by their OpenAI ids."""
        self._function: _Asked | None = None
        """The call that the next message answers, in the shape from before tools."""
        self._more = 0
        """JSON objects in arguments, beside the first of each call: a few bytes each become a call and its result."""
        self._ids: set[str] = set()
        """Bedrock ids of all calls."""
        self._numbers: dict[str, int] = {}
        """The number at the end of the last id that was made of a repeated one, by the client's id."""
        self._asked_at = ""
        self._results: list[ContentBlock] = []
        self._following: Following = []

    @property
    def pending(self) -> bool:
        """Whether there are calls without a result."""
        return bool(self._unanswered)

    def call(self, call: ToolCall, param: str) -> list[ContentBlock]:
        """What goes out for one of an assistant's `tool_calls`. Raises a 400 `ApiError`."""
        if call.id in self._unanswered:
            raise invalid(f"Two tool calls have the id '{call.id}'.", f"{param}.id", "invalid_value")
        if call.custom is not None:
            name, arguments = call.custom.name, call.custom.input
            values = [_custom_input(call.custom)]
        elif call.function is not None:
            name, arguments = call.function.name, call.function.arguments
            values = self._inputs(call.function, f"{param}.function")
        else:
            raise invalid("A tool call needs 'function' or 'custom'.", param, "missing_required_parameter")
        self._asked_at = param.rpartition("[")[0]
        asked = self._unanswered[call.id] = _Asked(name, self._new_ids(call.id, len(values)))
        return self._uses(asked, values, arguments)

    def function_call(self, call: FunctionCall, following: Message | None, param: str) -> list[ContentBlock]:
        """What goes out for a call in the shape from before tools; `following` is the next message."""
        if self._unanswered:
            raise invalid("Send 'tool_calls' or 'function_call', not both.", param, "invalid_value")
        if not isinstance(following, FunctionMessage) or following.name != call.name:
            return [_told_call(call.name, call.arguments)]
        values = self._inputs(call, param)
        self._function = _Asked(call.name, self._new_ids("function_call", len(values)))
        return self._uses(self._function, values, call.arguments)

    def result(self, call_id: str, parts: Sequence[TextContent | MediaBlock], param: str) -> None:
        """What the call with this id gave; `param` is the path of the id. Raises a 400 `ApiError`."""
        asked = self._unanswered.pop(call_id, None)
        if asked is None:
            raise invalid(
                f"'{call_id}' answers no tool call: a 'tool' message must follow the assistant's message "
                "whose 'tool_calls' has its id, and answer it once.",
                param,
                "invalid_value",
            )
        self._answer(asked, parts)

    def function_result(self, name: str, told: Sequence[TextContent]) -> None:
        """What a function gave, in the shape from before tools."""
        asked, self._function = self._function, None
        if asked is None:
            self._results.append(_told_result(name, told))
        else:
            self._answer(asked, told)

    def follow(self, role: ConversationRole, blocks: list[ContentBlock]) -> None:
        """Something was said between a call and its results: it has to follow them."""
        self._following.append((role, blocks))

    def settle(self) -> tuple[list[ContentBlock], Following]:
        """The results, now that all are there, and what follows them."""
        settled = self._results, self._following
        self._results, self._following = [], []
        return settled

    def expect_answered(self, param: str) -> None:
        """Raise a 400 `ApiError` if there are calls without a result; `param` is where something else stands."""
        if self._unanswered:
            raise invalid(
                "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
                f"'tool_call_id'. These did not have response messages: {', '.join(self._unanswered)}",
                self._asked_at if param == "messages" else param,
                "invalid_value",
            )

    def _inputs(self, call: FunctionCall, param: str) -> list[Raw]:
        """The inputs of the call; text that is only told need not be JSON."""
        if self._tools.config is None:
            return [_NO_INPUT]
        values = _inputs(call.arguments, f"{param}.arguments")
        self._more += len(values) - 1
        if self._more >= MAX_TOOL_CALLS:
            raise _too_many_inputs(f"{param}.arguments")
        return values

    def _uses(self, asked: _Asked, values: Sequence[Raw], arguments: str) -> list[ContentBlock]:
        if self._tools.config is None:
            return [_told_call(asked.name, arguments)]
        name = self._tools.bedrock_name(asked.name)
        pairs = zip(asked.bedrock_ids, values, strict=True)
        return [ToolUseContent(ToolUseBlock(bedrock, name, value)) for bedrock, value in pairs]

    def _new_ids(self, call_id: str, count: int) -> tuple[str, ...]:
        return tuple(self._unique_id(call_id) for _ in range(count))

    def _unique_id(self, call_id: str) -> str:
        """Some clients begin to count anew in every turn, but Bedrock wants no id twice in a conversation.

        What comes of an id depends on what was before it only, so that the prompt cache still hits.
        """
        unique = bedrock_id(call_id)
        if unique in self._ids:
            unique = self._numbered(call_id if len(call_id) <= _LONG_ID else unique)
        self._ids.add(unique)
        return unique

    def _numbered(self, call_id: str) -> str:
        """A free id made of a taken one. No number is tried twice: those up to the last one are taken."""
        number = max(len(self._ids), self._numbers.get(call_id, 0)) + 1
        while (unique := bedrock_id(f"{call_id}#{number}")) in self._ids:
            number += 1
        self._numbers[call_id] = number
        return unique

    def _answer(self, asked: _Asked, parts: Sequence[TextContent | MediaBlock]) -> None:
        """Add to the results of the turn what this one is."""
        if self._tools.config is None:
            told = [part for part in parts if isinstance(part, TextContent)]
            self._results += [
                _told_result(asked.name, told),
                *(part for part in parts if not isinstance(part, TextContent)),
            ]
            return
        contents: list[TextContent | JsonContent | ImageContent | DocumentContent] = []
        for part in parts:
            if isinstance(part, TextContent):
                contents.append(self._as_json(part))
            elif self._goes_inside(part):
                contents.append(part)
            else:
                contents.append(TextContent(_BELOW))
                self._following.append(("user", [TextContent(f"[From {asked.name}:]"), part]))
        first, *others = asked.bedrock_ids
        self._results.append(ToolResultContent(ToolResultBlock(first, contents or [TextContent(NO_OUTPUT)])))
        self._results += [ToolResultContent(ToolResultBlock(other, [TextContent(_WITH_THE_FIRST)])) for other in others]

    def _goes_inside(self, block: MediaBlock) -> TypeGuard[ImageContent | DocumentContent]:
        """Whether the model takes it within a tool's result."""
        if isinstance(block, ImageContent):
            return self._capabilities.tool_result_images
        return isinstance(block, DocumentContent) and block.document.format in self._capabilities.tool_result_documents

    def _as_json(self, text: TextContent) -> TextContent | JsonContent:
        """A JSON object as such, for models that want that."""
        if self._capabilities.tool_result_format == "text" or not text.text.lstrip().startswith("{"):
            return text
        try:
            return JsonContent(json_object(text.text, "A result", ""))
        except ApiError:
            return text


def _told_call(name: str, arguments: str) -> TextContent:
    return TextContent(f"[Called {name} with {arguments.strip() or '{}'}]")


def _told_result(name: str, texts: Sequence[TextContent]) -> TextContent:
    return TextContent(f"[{name} gave: {' '.join(text.text for text in texts) or NO_OUTPUT}]")


def _inputs(arguments: str, param: str) -> list[Raw]:
    """The inputs of one call, one for most; nothing at all means no arguments. Raises a 400 `ApiError`."""
    arguments = arguments.strip() or "{}"
    try:
        return [json_object(arguments, "Arguments", param)]
    except ApiError:
        pieces = _pieces(arguments)
        if len(pieces) < 2:
            raise
    if len(pieces) > MAX_TOOL_CALLS:
        raise _too_many_inputs(param)
    return [json_object(piece, "Arguments", param) for piece in pieces]


def _too_many_inputs(param: str) -> ApiError:
    return invalid(
        f"The arguments of the calls in this request hold more than {MAX_TOOL_CALLS:,} JSON objects beside the first "
        "of each call, and each is a call. Send fewer.",
        param,
        "invalid_value",
    )


def _custom_input(call: CustomCall) -> Raw:
    """A custom tool's input as the argument that the tool has on Bedrock's side."""
    return Raw(b'{"input":' + msgspec.json.encode(call.input) + b"}")


def _pieces(text: str) -> list[str]:
    """The JSON values that stand one behind the other, one more than are accepted at most; none if there is another
    text among them."""
    pieces: list[str] = []
    start = 0
    while start < len(text) and len(pieces) <= MAX_TOOL_CALLS:
        try:
            _, end = _SCAN.raw_decode(text, start)
        except (ValueError, RecursionError):
            return []
        pieces.append(text[start:end])
        following = _NO_SPACE.search(text, end)
        start = following.start() if following else len(text)
    return pieces
