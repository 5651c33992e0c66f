"""Earlier tool calls and their results -> Bedrock's `toolUse` and `toolResult` blocks.

Bedrock requires one result for every call in the next turn, under an id that no other call has. OpenAI's messages have
three kinds of calls: of functions, of custom tools, and the legacy `function_call`, which has no id: its result, if it
has one, is the next message. If the model may not call a tool, calls and results become text.

Several objects in one call's arguments, `{"a":1}{"a":2}`, become a call each (`past_arguments`), and the result belongs
to the first.

Invariant: arguments that are JSON objects are sent byte for byte, and the blocks of a call depend only on the messages
before it, so that prompt caches hit.

Decisions: docs/decisions.md, D3, D7, D12.
"""

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
from extproc.openai.limits import MAX_TOOL_CALLS, check_values
from extproc.openai.messages import CustomCall, FunctionCall, FunctionMessage, Message, ToolCall
from extproc.translate.ignored import Ignored
from extproc.translate.media import MediaBlock
from extproc.translate.past_arguments import read_arguments
from extproc.translate.schemas import json_object
from extproc.translate.tools import Tools, bedrock_id

NO_OUTPUT = "(no output)"
"""The text of a result without content."""

_WITH_THE_FIRST = "(answered with the call before)"
"""The result of a call that the client sent as a part of another."""
_BELOW = "(it follows below)"
"""The placeholder in a tool's result for an image or a document that follows the result."""
_LONG_ID = 1024
"""Longest id that is numbered as it is, in characters; a longer one, which may be repeated often, is hashed first."""
_SMALL_TEXT = 4_096
"""Longest text whose JSON values are not counted before it is decoded: however many there are, each is small work."""
_NO_INPUT = Raw(b"{}")
_INDEX = re.compile(r"\[\d+\]")

Following = list[tuple[ConversationRole, list[ContentBlock]]]


class UnmatchedCallError(ApiError):
    """The 400 for calls without a result, or for a result without a call; `in_responses` has it in Responses' words."""

    def __init__(self, message: str, param: str, in_responses: str) -> None:
        super().__init__(400, message, param=param, code="invalid_value")
        self.in_responses = in_responses


class _Call(NamedTuple):
    """A tool call: the name of its tool, and its ids at Bedrock, several if it becomes several calls."""

    name: str
    bedrock_ids: tuple[str, ...]


class PastCalls:
    """The calls and results of one request."""

    def __init__(self, capabilities: Capabilities, tools: Tools, ignored: Ignored) -> None:
        self._ignored = ignored
        self._capabilities = capabilities
        self._tools = tools
        self._unanswered: dict[str, _Call] = {}
        """Calls without a result, by their OpenAI ids."""
        self._function: _Call | None = None
        """The legacy call whose result is the next message."""
        self._more = 0
        """JSON objects in arguments beside the first of each call; each becomes a call and its result."""
        self._values = 0
        """JSON values in the arguments and results that have been decoded."""
        self._ids: set[str] = set()
        """Bedrock ids of all calls."""
        self._numbers: dict[str, int] = {}
        """The last number that was appended to a repeated id, by the client's id."""
        self._calls_param = ""
        self._results: list[ContentBlock] = []
        self._following: Following = []

    @property
    def pending(self) -> bool:
        """Return whether there are calls without a result."""
        return bool(self._unanswered)

    def call(self, call: ToolCall, param: str) -> list[ContentBlock]:
        """Return the blocks for one of an assistant's `tool_calls`. Raises a 400 `ApiError`."""
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
        self._calls_param = param.rpartition("[")[0]
        past_call = self._unanswered[call.id] = _Call(name, self._new_ids(call.id, len(values)))
        return self._uses(past_call, values, arguments)

    def function_call(self, call: FunctionCall, following: Message | None, param: str) -> list[ContentBlock]:
        """Return the blocks for a legacy call; `following` is the next message. Raises a 400 `ApiError`."""
        if self._unanswered:
            raise invalid("Send 'tool_calls' or 'function_call', not both.", param, "invalid_value")
        if not isinstance(following, FunctionMessage) or following.name != call.name:
            return [_call_text(call.name, call.arguments)]
        values = self._inputs(call, param)
        self._function = _Call(call.name, self._new_ids("function_call", len(values)))
        return self._uses(self._function, values, call.arguments)

    def result(
        self, call_id: str, parts: Sequence[TextContent | MediaBlock], param: str, *, is_error: bool = False
    ) -> None:
        """Add the result of the call with this id; `param` is the path of the id. Raises a 400 `ApiError`.

        `is_error`: whether the call failed.
        """
        past_call = self._unanswered.pop(call_id, None)
        if past_call is None:
            raise UnmatchedCallError(
                f"'{call_id}' is no tool call without a result: a 'tool' message must follow the assistant's message "
                "whose 'tool_calls' contains its id, and there must be one for each call.",
                param,
                f"No tool call found for function call output with call_id {call_id}. It must follow the call, and "
                "each call has one output.",
            )
        self._add_result(past_call, parts, is_error)

    def function_result(self, name: str, texts: Sequence[TextContent]) -> None:
        """Add the result of a legacy call."""
        past_call, self._function = self._function, None
        if past_call is None:
            self._results.append(_result_text(name, texts))
        else:
            self._add_result(past_call, texts, is_error=False)

    def follow(self, role: ConversationRole, blocks: list[ContentBlock]) -> None:
        """Keep the blocks of a message between a call and its results: they have to follow the results."""
        self._following.append((role, blocks))

    def settle(self) -> tuple[list[ContentBlock], Following]:
        """Return the results, which are complete, and the blocks that follow them."""
        settled = self._results, self._following
        self._results, self._following = [], []
        return settled

    def expect_answered(self, param: str) -> None:
        """Raise a 400 `ApiError` if there are calls without a result; `param` is the path of the following message."""
        if self._unanswered:
            ids = ", ".join(self._unanswered)
            raise UnmatchedCallError(
                "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
                f"'tool_call_id'. These did not have response messages: {ids}",
                self._calls_param if param == "messages" else param,
                f"No tool output found for function call{'s' * (len(self._unanswered) > 1)} {ids}. Send an output for "
                "each call, after it.",
            )

    def _inputs(self, call: FunctionCall, param: str) -> list[Raw]:
        """Return the inputs of the call; arguments that become text need not be JSON. Raises a 400 `ApiError`."""
        if self._tools.config is None:
            return [_NO_INPUT]
        self._count(call.arguments)
        param = f"{param}.arguments"
        arguments = read_arguments(call.arguments)
        if not arguments.exact:
            self._ignored.add(_INDEX.sub("[]", param))
        self._more += len(arguments.inputs) - 1
        if self._more >= MAX_TOOL_CALLS:
            raise _too_many_inputs(param)
        return arguments.inputs

    def _count(self, text: str) -> None:
        """Count the values of a text that is about to be decoded: inside of a string of the request none has been."""
        if len(text) > _SMALL_TEXT:
            self._values = check_values(text.encode(), self._values)

    def _uses(self, past_call: _Call, values: Sequence[Raw], arguments: str) -> list[ContentBlock]:
        if self._tools.config is None:
            return [_call_text(past_call.name, arguments)]
        name = self._tools.bedrock_name(past_call.name)
        renamed_values = [self._tools.renamed(past_call.name, value) for value in values]
        pairs = zip(past_call.bedrock_ids, renamed_values, strict=True)
        return [ToolUseContent(ToolUseBlock(bedrock, name, value)) for bedrock, value in pairs]

    def _new_ids(self, call_id: str, count: int) -> tuple[str, ...]:
        return tuple(self._unique_id(call_id) for _ in range(count))

    def _unique_id(self, call_id: str) -> str:
        """Return an id that the conversation does not have yet, which some clients repeat in every turn.

        It depends only on the messages before it, so that the prompt cache still hits.
        """
        unique = bedrock_id(call_id)
        if unique in self._ids:
            unique = self._numbered(call_id if len(call_id) <= _LONG_ID else unique)
        self._ids.add(unique)
        return unique

    def _numbered(self, call_id: str) -> str:
        """Return an unused id derived from a used one. No number is tried twice: those up to the last one are used."""
        number = max(len(self._ids), self._numbers.get(call_id, 0)) + 1
        while (unique := bedrock_id(f"{call_id}#{number}")) in self._ids:
            number += 1
        self._numbers[call_id] = number
        return unique

    def _add_result(self, past_call: _Call, parts: Sequence[TextContent | MediaBlock], is_error: bool) -> None:
        """Add the result of one call to the results of the turn."""
        if self._tools.config is None:
            texts = [part for part in parts if isinstance(part, TextContent)]
            self._results += [
                _result_text(past_call.name, texts, is_error=is_error),
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
                self._following.append(("user", [TextContent(f"[From {past_call.name}:]"), part]))
        first, *others = past_call.bedrock_ids
        result = ToolResultBlock(first, contents or [TextContent(NO_OUTPUT)])
        if is_error and self._capabilities.tool_result_status:
            result.status = "error"
        elif is_error:
            self._ignored.add("messages[].is_error")
        self._results.append(ToolResultContent(result))
        self._results += [ToolResultContent(ToolResultBlock(other, [TextContent(_WITH_THE_FIRST)])) for other in others]

    def _goes_inside(self, block: MediaBlock) -> TypeGuard[ImageContent | DocumentContent]:
        """Return whether the model accepts the block within a tool's result."""
        if isinstance(block, ImageContent):
            return self._capabilities.tool_result_images
        return isinstance(block, DocumentContent) and block.document.format in self._capabilities.tool_result_documents

    def _as_json(self, text: TextContent) -> TextContent | JsonContent:
        """Return a JSON object as such, for models that require that."""
        if self._capabilities.tool_result_format == "text" or not text.text.lstrip().startswith("{"):
            return text
        self._count(text.text)
        try:
            return JsonContent(json_object(text.text, "A result", ""))
        except ApiError:
            return text


def _call_text(name: str, arguments: str) -> TextContent:
    return TextContent(f"[Called {name} with {arguments.strip() or '{}'}]")


def _result_text(name: str, texts: Sequence[TextContent], *, is_error: bool = False) -> TextContent:
    verb = "failed" if is_error else "gave"
    return TextContent(f"[{name} {verb}: {' '.join(text.text for text in texts) or NO_OUTPUT}]")


def _too_many_inputs(param: str) -> ApiError:
    return invalid(
        f"The arguments of the calls in this request hold more than {MAX_TOOL_CALLS:,} JSON objects beside the first "
        "of each call, and each is a call. Send fewer.",
        param,
        "invalid_value",
    )


def _custom_input(call: CustomCall) -> Raw:
    """Return a custom tool's input as the argument of Bedrock's tool."""
    return Raw(b'{"input":' + msgspec.json.encode(call.input) + b"}")
