"""Bedrock's turns: blocks are added message by message, and the result follows Bedrock's rules.

- neighbours of one role become one turn, as Bedrock itself would merge them;
- tool results are first in their turn, and beside them is only what the family accepts there: any other block needs a
  turn of the assistant in between;
- reasoning begins a turn: between it and a message of the assistant before it, the user says to continue;
- tool calls are beside the text that precedes them, unless the family takes no text there: then the text is a turn of
  its own, and the user's turn in between says to continue;
- an instruction is a turn of the role `system`, where the family has it, directly after the user's turn that precedes
  or follows it, since that is the only place for one; elsewhere it is part of the user's turn, inside a mark;
- the first turn is the user's, unless the family lets the assistant begin;
- the last turn is the user's, unless the family continues the assistant's text (then without white space at the end,
  which Claude rejects);
- a document has a text beside it.

An addition changes nothing before the last turn of the user: prompt caches hit from one request of a conversation to
the next.

Sources: https://platform.claude.com/docs/en/build-with-claude/mid-conversation-system-messages (the places of `system`)

Decisions: docs/decisions.md, D11, D126, D161.
"""

from collections.abc import Sequence

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.converse import (
    CachePointContent,
    ContentBlock,
    ConversationRole,
    ConverseMessage,
    DocumentContent,
    GuardContent,
    ImageContent,
    ReasoningContent,
    SystemContentBlock,
    TextContent,
    ToolResultContent,
    ToolUseContent,
    VideoContent,
)
from extproc.translate.cache import PLACEHOLDER

CONTINUE = "Continue."
"""The user's text between two turns of the assistant, and after a last one that the model does not continue."""

INSTRUCTION = "[System message, from the operator and not from the user:]\n{}\n[End of the system message.]"
"""The mark around each text of an instruction that has to be part of the user's turn."""

_KINDS: dict[type, str] = {
    TextContent: "text",
    GuardContent: "text",
    ImageContent: "image",
    DocumentContent: "document",
    VideoContent: "video",
}
"""The blocks' names in `beside_tool_results`."""
_ANYWHERE = (ToolResultContent, CachePointContent)


class Turns:
    """The turns of one request."""

    def __init__(self, capabilities: Capabilities) -> None:
        self._capabilities = capabilities
        self._turns: list[ConverseMessage] = []
        self._instructions: list[ContentBlock] = []
        """Blocks of the role `system` that wait for the end of the user's turn."""

    def __bool__(self) -> bool:
        return bool(self._turns)

    def add(self, role: ConversationRole, blocks: Sequence[ContentBlock]) -> None:
        """Add the blocks of one message."""
        if not blocks:
            return
        if role == "system":
            self._instruct(blocks)
            return
        if role == "user":
            self._separate(blocks)
        else:
            self._begin_assistant(blocks)
        if role == "assistant" and not self._capabilities.text_beside_tool_calls:
            blocks = self._without_text_before_calls(blocks)
        self._append(role, blocks)

    def _begin_assistant(self, blocks: Sequence[ContentBlock]) -> None:
        """Prepare for more blocks of the assistant, after a turn of its own that these do not continue."""
        is_new = bool(self._instructions) or isinstance(blocks[0], ReasoningContent)
        if is_new and self._turns and self._turns[-1].role == "assistant":
            self._append("user", [TextContent(CONTINUE)])
        self._put_instructions()

    def _instruct(self, blocks: Sequence[ContentBlock]) -> None:
        """Add an instruction that is not among the leading ones: its texts, and cache points."""
        if self._capabilities.system_turns:
            self._instructions.extend(blocks)
            return
        for block in blocks:
            if isinstance(block, TextContent):
                block.text = INSTRUCTION.format(block.text)
        self.add("user", blocks)

    def _put_instructions(self) -> None:
        """Add the instructions that wait as a turn, if the user's turn is the last."""
        if self._instructions and self._turns and self._turns[-1].role == "user":
            self._append("system", self._instructions)
            self._instructions = []

    def _append(self, role: ConversationRole, blocks: Sequence[ContentBlock]) -> None:
        turns = self._turns
        if turns and turns[-1].role == role:
            turns[-1].content.extend(blocks)
        else:
            turns.append(ConverseMessage(role, list(blocks)))

    def finish(self, opening: Sequence[SystemContentBlock], *, prefill: bool) -> list[ConverseMessage]:
        """Return the turns.

        `opening` precedes the user's first blocks. `prefill`: whether the model may continue the assistant's text.
        """
        turns = self._turns
        if self._instructions and turns and turns[-1].role == "assistant":
            self._append("user", [TextContent(CONTINUE)])
        self._put_instructions()
        if opening and turns and turns[0].role == "user":
            turns[0].content[:0] = opening
        elif opening:
            turns.insert(0, ConverseMessage("user", [*opening]))
        elif turns[0].role == "assistant" and not self._capabilities.opens_with_assistant:
            turns.insert(0, ConverseMessage("user", [TextContent(PLACEHOLDER)]))
        for turn in turns:
            _put_text_beside_documents(turn.content)
        if turns[-1].role == "assistant":
            self._finish_with_assistant(prefill)
        return turns

    def _without_text_before_calls(self, blocks: Sequence[ContentBlock]) -> Sequence[ContentBlock]:
        """Add the assistant's blocks before its first call, and a user's turn after them; return the rest."""
        first = next((index for index, block in enumerate(blocks) if isinstance(block, ToolUseContent)), None)
        if first is None:
            return blocks
        if first > 0:
            self._append("assistant", blocks[:first])
        if self._turns and self._turns[-1].role == "assistant":
            self._append("user", [TextContent(CONTINUE)])
        return blocks[first:]

    def _separate(self, blocks: Sequence[ContentBlock]) -> None:
        """Prepare for more blocks of the user, after tool results that do not accept them."""
        turns = self._turns
        if not turns or turns[-1].role == "assistant":
            return
        if isinstance(turns[-1].content[0], ToolResultContent) and not self._fit_beside_results(blocks):
            turns.append(ConverseMessage("assistant", [TextContent(PLACEHOLDER)]))

    def _fit_beside_results(self, blocks: Sequence[ContentBlock]) -> bool:
        taken = self._capabilities.beside_tool_results
        return all(isinstance(block, _ANYWHERE) or _KINDS.get(type(block)) in taken for block in blocks)

    def _finish_with_assistant(self, prefill: bool) -> None:
        texts = [block for block in self._turns[-1].content if not isinstance(block, CachePointContent)]
        last = texts[-1]
        if prefill and isinstance(last, TextContent):
            last.text = last.text.rstrip()
        else:
            self._turns.append(ConverseMessage("user", [TextContent(CONTINUE)]))


def _put_text_beside_documents(blocks: list[ContentBlock]) -> None:
    if any(isinstance(block, DocumentContent) for block in blocks) and not any(
        isinstance(block, TextContent) for block in blocks
    ):
        blocks.append(TextContent(PLACEHOLDER))
