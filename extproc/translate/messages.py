"""OpenAI's messages -> Bedrock's `system` and turns.

Bedrock's turns alternate and the user has the first; all results of one turn's tool calls stand first in the next
user turn; no text is blank. OpenAI's messages know none of that, so, walking them once in order:

- a leading run of system and developer messages becomes `system`; later ones become part of a user turn in place
  (hoisting them would change what came before, and break prompt caches), after pending tool results;
- neighbours of one role become one turn; blank texts, and messages with nothing else, disappear;
- an assistant's tool calls must all be answered, once each, before anything else is said, as OpenAI has it;
- if the model may call nothing, calls and results are written as text, since Bedrock takes tool blocks only beside
  `toolConfig`, and would then be free to call.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/conversation-inference-call.html and the errors that
Bedrock's validation gives.
"""

from collections.abc import Sequence
from typing import NamedTuple

from extproc.bedrock.converse import Block, Role, Text, ToolResult, ToolResultBody, ToolUse, ToolUseBody, Turn
from extproc.openai.chat import (
    AssistantMessage,
    DeveloperMessage,
    ImagePart,
    Message,
    RefusalPart,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from extproc.openai.errors import ApiError, invalid
from extproc.translate.media import image_block
from extproc.translate.schemas import json_object
from extproc.translate.tools import bedrock_id

PLACEHOLDER = "."
"""Stands where Bedrock wants a text and the client gave none; it may not be blank."""

NO_OUTPUT = "(no output)"
"""What the model reads where a tool gave nothing."""


def conversation(messages: Sequence[Message], *, tool_blocks: bool) -> tuple[list[Text], list[Turn]]:
    """`system` and the turns. `tool_blocks`: whether tool calls may stand as such, or must be text."""
    walk = _Walk(tool_blocks)
    for index, message in enumerate(messages):
        walk.message(message, f"messages[{index}]")
    return walk.finish()


class _Asked(NamedTuple):
    """A tool call: the name of its tool, and the id by which Bedrock knows it."""

    name: str
    bedrock_id: str


class _Walk:
    """The messages seen so far."""

    def __init__(self, tool_blocks: bool) -> None:
        self._tool_blocks = tool_blocks
        self._system: list[Text] = []
        self._turns: list[Turn] = []
        self._unanswered: dict[str, _Asked] = {}
        """Calls without a result, by their OpenAI ids."""
        self._ids: set[str] = set()
        """Bedrock ids of all calls."""
        self._asked_at = ""
        self._held: list[Block] = []
        """System texts that came between a call and its result."""

    def message(self, message: Message, param: str) -> None:
        match message:
            case SystemMessage() | DeveloperMessage():
                self._instruct(_texts(message.content))
            case UserMessage():
                self._expect_no_results(param)
                self._add("user", _user_blocks(message, param))
            case AssistantMessage():
                self._expect_no_results(param)
                self._assistant(message, param)
            case ToolMessage():
                self._result(message, param)
            case _:
                raise invalid(
                    "The 'function' role is not supported: use 'tool_calls' and the 'tool' role.",
                    f"{param}.role",
                    "unsupported_value",
                )

    def finish(self) -> tuple[list[Text], list[Turn]]:
        """What goes out, once every message has been seen."""
        self._expect_no_results("messages")
        if not self._turns:
            if not self._system:
                raise invalid("There is nothing to send: every message is blank.", "messages", "invalid_value")
            return [], [Turn("user", [*self._system])]
        if self._turns[0].role == "assistant":
            self._turns.insert(0, Turn("user", [Text(PLACEHOLDER)]))
        self._trim_last_turn()
        return self._system, self._turns

    def _instruct(self, texts: list[Text]) -> None:
        if self._unanswered:
            self._held.extend(texts)
        elif self._turns:
            self._add("user", texts)
        else:
            self._system.extend(texts)

    def _add(self, role: Role, blocks: Sequence[Block]) -> None:
        if not blocks:
            return
        if self._turns and self._turns[-1].role == role:
            self._turns[-1].content.extend(blocks)
        else:
            self._turns.append(Turn(role, list(blocks)))

    def _assistant(self, message: AssistantMessage, param: str) -> None:
        if message.function_call is not None:
            raise invalid(
                "'function_call' is not supported: use 'tool_calls'.",
                f"{param}.function_call",
                "unsupported_value",
            )
        content = message.content
        blocks: list[Block] = [*_texts(content)] if content is not None else []
        if message.refusal and message.refusal.strip():
            blocks.append(Text(message.refusal))
        for position, call in enumerate(message.tool_calls or ()):
            blocks.append(self._call(call, f"{param}.tool_calls[{position}]"))
        self._asked_at = f"{param}.tool_calls"
        self._add("assistant", blocks)

    def _call(self, call: ToolCall, param: str) -> Block:
        if call.function is None:
            raise invalid("Custom tool calls are not supported: send a function call.", param, "unsupported_value")
        if call.id in self._unanswered:
            raise invalid(f"Two tool calls have the id '{call.id}'.", f"{param}.id", "invalid_value")
        name, arguments = call.function.name, call.function.arguments.strip() or "{}"
        asked = self._unanswered[call.id] = _Asked(name, self._unique_id(call.id))
        if not self._tool_blocks:
            return Text(f"[Called {name} with {arguments}]")
        inputs = json_object(arguments, "Arguments", f"{param}.function.arguments")
        return ToolUse(ToolUseBody(asked.bedrock_id, name, inputs))

    def _unique_id(self, call_id: str) -> str:
        """Some clients begin to count anew in every turn, but Bedrock wants no id twice in a conversation.

        What comes of an id depends on what was before it only, so that the prompt cache still hits.
        """
        unique, number = bedrock_id(call_id), len(self._ids)
        while unique in self._ids:
            number += 1
            unique = bedrock_id(f"{call_id}#{number}")
        self._ids.add(unique)
        return unique

    def _result(self, message: ToolMessage, param: str) -> None:
        asked = self._unanswered.pop(message.tool_call_id, None)
        if asked is None:
            raise invalid(
                f"'{message.tool_call_id}' answers no tool call: a 'tool' message must follow the assistant's message "
                "whose 'tool_calls' has its id, and answer it once.",
                f"{param}.tool_call_id",
                "invalid_value",
            )
        texts = _texts(message.content) or [Text(NO_OUTPUT)]
        self._add("user", [self._answer(asked, texts)])
        if not self._unanswered:
            self._add("user", self._held)
            self._held = []

    def _answer(self, asked: _Asked, texts: list[Text]) -> Block:
        if self._tool_blocks:
            return ToolResult(ToolResultBody(asked.bedrock_id, texts))
        return Text(f"[{asked.name} gave: {' '.join(text.text for text in texts)}]")

    def _expect_no_results(self, param: str) -> None:
        if self._unanswered:
            raise invalid(
                "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
                f"'tool_call_id'. These did not have response messages: {', '.join(self._unanswered)}",
                self._asked_at if param == "messages" else param,
                "invalid_value",
            )

    def _trim_last_turn(self) -> None:
        """Claude refuses a last assistant text that ends in white space."""
        last = self._turns[-1].content[-1]
        if self._turns[-1].role == "assistant" and isinstance(last, Text):
            last.text = last.text.rstrip()


def _texts(content: str | Sequence[TextPart | RefusalPart]) -> list[Text]:
    """The text that there is: blank ones are refused by Bedrock."""
    if isinstance(content, str):
        return [Text(content)] if content.strip() else []
    texts = [part.text if isinstance(part, TextPart) else part.refusal for part in content]
    return [Text(text) for text in texts if text.strip()]


def _user_blocks(message: UserMessage, param: str) -> list[Block]:
    if isinstance(message.content, str):
        return [*_texts(message.content)]
    blocks: list[Block] = []
    for position, part in enumerate(message.content):
        where = f"{param}.content[{position}]"
        if isinstance(part, TextPart):
            blocks.extend(_texts(part.text))
        elif isinstance(part, ImagePart):
            blocks.append(image_block(part.image_url.url, f"{where}.image_url.url"))
        else:
            raise _unsupported(where)
    return blocks


def _unsupported(param: str) -> ApiError:
    message = "This kind of content is not supported: send 'text' and 'image_url' parts."
    return invalid(message, f"{param}.type", "unsupported_value")
