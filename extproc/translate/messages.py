"""OpenAI's messages -> Bedrock's `system` and turns.

OpenAI's messages need not follow Bedrock's rules, which `translate/turns` enforces. Walking the messages once in order:

- a leading run of system and developer messages becomes `system`, or the beginning of the first user turn where the
  model takes no `system`; later ones stay in their place, or after pending tool results, as a turn of the role `system`
  or inside a mark in the user's turn (hoisting them would change what came before, and break prompt caches);
- blank texts, and messages with nothing else, disappear;
- an assistant's reasoning precedes its text, and its text precedes its tool calls;
- each of an assistant's tool calls needs one result before any other message, as in OpenAI's API; calls in the legacy
  form have no ids, and a call and a result that do not belong together become text;
- images and documents in a tool's result that the model does not accept there follow the results of the turn;
- if the model may not call a tool, calls and results become text: Bedrock accepts tool blocks only beside `toolConfig`,
  with which the model could call tools.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/conversation-inference-call.html and the errors that
Bedrock's validation gives.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import UNSET

from extproc.bedrock.capabilities import CachePlace, Capabilities
from extproc.bedrock.converse import (
    CachePointContent,
    ContentBlock,
    ConverseMessage,
    GuardContent,
    GuardrailContentBlock,
    GuardrailTextBlock,
    SystemContentBlock,
    TextContent,
)
from extproc.openai.chat import PromptCacheOptions
from extproc.openai.errors import invalid
from extproc.openai.messages import (
    AssistantMessage,
    DeveloperMessage,
    FunctionMessage,
    GuardedTextPart,
    ImagePart,
    Marked,
    MediaPart,
    Message,
    SystemMessage,
    TextPart,
    ToolMessage,
    ToolPart,
    UserMessage,
)
from extproc.translate.cache import CacheMarks, is_marked
from extproc.translate.ignored import Ignored
from extproc.translate.media import Media, MediaBlock
from extproc.translate.past_calls import PastCalls
from extproc.translate.past_reasoning import past_reasoning
from extproc.translate.tools import Tools
from extproc.translate.turns import Turns
from extproc.value import Value

_ANY_DETAIL = (None, "auto")
_MESSAGE, _PART = "messages[]", "messages[].content[]"
"""Paths of any message, and of any part of one, as `Ignored` has them."""


class Conversation(Value, frozen=True):
    """The system instructions and the turns of a Converse request; `page_tokens` as `Media` has them."""

    system: list[SystemContentBlock]
    turns: list[ConverseMessage]
    page_tokens: int = 0


def plan_conversation(
    messages: Sequence[Message],
    capabilities: Capabilities,
    tools: Tools,
    fetched: Mapping[str, bytes],
    ignored: Ignored,
    *,
    instruction: str | None = None,
    guarded: bool = False,
    cache: PromptCacheOptions | None = None,
) -> Conversation:
    """Return `system` and the turns, as the models of a family take them; raises a 400 `ApiError` that names the part.

    `fetched` has the images by http(s) URL. `instruction` is the gateway's own, appended to the client's leading
    instructions. `guarded`: whether the request has its own guardrail, without which no text may be marked for one.
    `cache`: the request's options of the prompt cache.
    """
    walk = _Walk(messages, capabilities, tools, fetched, ignored, guarded=guarded, cache=cache)
    for index in range(len(messages)):
        walk.message(index)
    prefill = capabilities.prefill and tools.config is None and tools.output is UNSET
    return walk.finish(instruction, prefill=prefill)


class _Walk:
    """The messages seen so far."""

    def __init__(
        self,
        messages: Sequence[Message],
        capabilities: Capabilities,
        tools: Tools,
        fetched: Mapping[str, bytes],
        ignored: Ignored,
        *,
        guarded: bool,
        cache: PromptCacheOptions | None,
    ) -> None:
        self._guarded = guarded
        self._ignored = ignored
        config = tools.config
        points = [tool for tool in config.tools if isinstance(tool, CachePointContent)] if config else []
        self._messages = messages
        self._capabilities = capabilities
        self._media = Media(capabilities, fetched, ignored)
        self._marks = CacheMarks(capabilities, points, ignored, cache)
        self._system: list[SystemContentBlock] = []
        self._turns = Turns(capabilities)
        self._calls = PastCalls(capabilities, tools, ignored)
        self._mark: tuple[Marked, str] | None = None
        """The last of the results' marks for the prompt cache, and the path of the field that has it."""

    def message(self, index: int) -> None:
        """Translate the next message."""
        message, param = self._messages[index], f"messages[{index}]"
        match message:
            case UserMessage():
                self._calls.expect_answered(param)
                self._turns.add("user", self._user_blocks(message, param))
            case AssistantMessage():
                self._calls.expect_answered(param)
                self._turns.add("assistant", self._assistant_blocks(message, index, param))
            case ToolMessage():
                self._result(message, param)
            case SystemMessage() | DeveloperMessage():
                self._instruct(message)
            case FunctionMessage():
                self._calls.expect_answered(param)
                self._calls.function_result(message.name, _text(message.content or ""))
                self._mark = message, _MESSAGE
                self._settle()
        if not isinstance(message, ToolMessage | FunctionMessage) and message.name:
            self._ignored.add(f"{_MESSAGE}.name")

    def finish(self, instruction: str | None, *, prefill: bool) -> Conversation:
        """Return the conversation, after the last message. Raises a 400 `ApiError` if a call has no result."""
        self._calls.expect_answered("messages")
        system, opening = self._system, list[SystemContentBlock]()
        if not self._turns and not system:
            raise invalid("Every message is blank: send at least one with text.", "messages", "invalid_value")
        if not self._turns or not self._capabilities.system:
            system, opening = [], self._marks.moved(system)
        if instruction is not None:
            (system if self._capabilities.system else opening).append(TextContent(instruction))
        turns = self._turns.finish(opening, prefill=prefill)
        self._marks.finish([system, *(turn.content for turn in turns)])
        return Conversation(system, turns, self._media.page_tokens)

    # Instructions

    def _instruct(self, message: SystemMessage | DeveloperMessage) -> None:
        if not self._turns:
            self._put_texts(message, self._system, "system" if self._capabilities.system else "messages")
            return
        blocks: list[ContentBlock] = []
        self._put_texts(message, blocks)
        if self._calls.pending:
            self._calls.follow("system", blocks)
        else:
            self._turns.add("system", blocks)

    def _put_texts(
        self,
        message: SystemMessage | DeveloperMessage | AssistantMessage,
        blocks: list[Any],
        place: CachePlace = "messages",
    ) -> None:
        """Append each text as a block. Bedrock rejects blank texts, so they are left out."""
        content = message.content
        if isinstance(content, str):
            blocks.extend(_text(content))
        elif content is not None:
            for part in content:
                blocks.extend(_text(part.text if isinstance(part, TextPart) else part.refusal))
                self._marks.put(part, _PART, blocks, place)
        if not isinstance(message, AssistantMessage):
            self._marks.put(message, _MESSAGE, blocks, place)

    # User messages

    def _user_blocks(self, message: UserMessage, param: str) -> list[ContentBlock]:
        blocks: list[ContentBlock] = []
        content = message.content
        if isinstance(content, str):
            blocks.extend(_text(content))
        else:
            for position, part in enumerate(content):
                if isinstance(part, TextPart):
                    blocks.extend(_text(part.text))
                elif isinstance(part, GuardedTextPart):
                    blocks.extend(self._guarded_text(part, f"{param}.content[{position}]"))
                else:
                    blocks.append(self._media_block(part, f"{param}.content[{position}]"))
                self._marks.put(part, _PART, blocks, "messages")
        self._marks.put(message, _MESSAGE, blocks, "messages")
        return blocks

    def _guarded_text(self, part: GuardedTextPart, param: str) -> list[ContentBlock]:
        """Return a text that is marked for the client's own guardrail.

        A mark must not narrow a guardrail that an operator applies: it is rejected without 'guardrailConfig'.
        """
        if not self._guarded:
            message = (
                "This text is marked for a guardrail of the request's own: send 'guardrailConfig' too, or mark it as "
                "'text'. Your organisation's guardrail, if it has one, reads all texts."
            )
            raise invalid(message, param, "missing_required_parameter")
        qualifiers = UNSET if part.qualifiers is None else part.qualifiers
        return [
            GuardContent(GuardrailContentBlock(GuardrailTextBlock(one.text, qualifiers))) for one in _text(part.text)
        ]

    def _media_block(self, part: MediaPart, param: str, *, in_result: bool = False) -> MediaBlock | TextContent:
        if isinstance(part, ImagePart) and part.image_url.detail not in _ANY_DETAIL:
            self._ignored.add(f"{_PART}.image_url.detail")
        return self._media.block(part, param, in_result=in_result)

    # Assistant messages

    def _assistant_blocks(self, message: AssistantMessage, index: int, param: str) -> list[ContentBlock]:
        if message.audio is not None:
            raise invalid(
                "Earlier audio is not stored here: send its transcript as text.", f"{param}.audio", "unsupported_value"
            )
        blocks: list[ContentBlock] = []
        self._put_texts(message, blocks)
        blocks.extend(_text(message.refusal or ""))
        for position, call in enumerate(message.tool_calls or ()):
            blocks.extend(self._calls.call(call, f"{param}.tool_calls[{position}]"))
        if message.function_call is not None:
            following = self._messages[index + 1] if index + 1 < len(self._messages) else None
            blocks.extend(self._calls.function_call(message.function_call, following, f"{param}.function_call"))
        self._marks.put(message, _MESSAGE, blocks, "messages")
        reasoning, ignored = past_reasoning(message, self._capabilities, param)
        if ignored is not None:
            self._ignored.add(f"{_MESSAGE}.{ignored}")
        if blocks or not reasoning:
            return [*reasoning, *blocks]
        self._ignored.add(f"{_MESSAGE}.{'thinking_blocks' if message.thinking_blocks else 'reasoning_content'}")
        return []  # reasoning alone is no turn

    # Tool results

    def _result(self, message: ToolMessage, param: str) -> None:
        parts = self._result_parts(message.content, param)
        self._calls.result(message.tool_call_id, parts, f"{param}.tool_call_id", is_error=bool(message.is_error))
        self._keep_mark(message)
        self._settle()

    def _keep_mark(self, message: ToolMessage) -> None:
        """Keep the last mark, since none can be within a result. The last part ends where its message does."""
        parts: list[tuple[Marked, str]] = []
        if not isinstance(message.content, str):
            parts = [(part, _PART) for part in message.content]
        if parts and is_marked(message):
            parts.pop()
        for marked, path in (*parts, (message, _MESSAGE)):
            if is_marked(marked):
                if self._mark is not None:
                    self._marks.drop(*self._mark)
                self._mark = marked, path

    def _result_parts(self, content: str | Sequence[ToolPart], param: str) -> list[TextContent | MediaBlock]:
        if isinstance(content, str):
            return [*_text(content)]
        parts: list[TextContent | MediaBlock] = []
        for position, part in enumerate(content):
            if isinstance(part, TextPart):
                parts.extend(_text(part.text))
            else:
                parts.append(self._media_block(part, f"{param}.content[{position}]", in_result=True))
        return parts

    def _settle(self) -> None:
        """Add the results once they are complete, and the blocks that had to wait for them."""
        if self._calls.pending:
            return
        results, following = self._calls.settle()
        if self._mark is not None:
            self._marks.put(*self._mark, results, "messages")
            self._mark = None
        self._turns.add("user", results)
        for role, blocks in following:
            self._turns.add(role, blocks)


def _text(text: str) -> list[TextContent]:
    """Return the text as a block; none if it is blank, which Bedrock rejects."""
    return [TextContent(text)] if text and not text.isspace() else []
