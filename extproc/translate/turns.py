"""Bedrock's turns: blocks are added one message after the other, and what goes out keeps to its rules.

- neighbours of one role become one turn; Bedrock would put them together itself;
- tool results stand first in their turn, and beside them only what the family takes there: for anything else there
  has to be a turn of the assistant in between;
- the first turn is the user's, unless the family lets the assistant begin;
- the last turn is the user's, unless the family continues what the assistant began (then without white space at the
  end, which Claude refuses);
- a document has a text beside it.

What is added changes nothing before the last turn: prompt caches hit from one request of a conversation to the next.
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
    SystemContentBlock,
    TextContent,
    ToolResultContent,
    VideoContent,
)
from extproc.translate.cache import PLACEHOLDER

CONTINUE = "Continue."
"""What the user says where the assistant has the last word, and the model does not go on from there by itself."""

_KINDS: dict[type, str] = {
    TextContent: "text",
    GuardContent: "text",
    ImageContent: "image",
    DocumentContent: "document",
    VideoContent: "video",
}
"""As `beside_tool_results` calls them."""
_ANYWHERE = (ToolResultContent, CachePointContent)


class Turns:
    """The turns of one request."""

    def __init__(self, capabilities: Capabilities) -> None:
        self._capabilities = capabilities
        self._turns: list[ConverseMessage] = []

    def __bool__(self) -> bool:
        return bool(self._turns)

    def add(self, role: ConversationRole, blocks: Sequence[ContentBlock]) -> None:
        """Say `blocks`, which belong together."""
        if not blocks:
            return
        turns = self._turns
        if role == "user":
            self._make_room(blocks)
        if turns and turns[-1].role == role:
            turns[-1].content.extend(blocks)
        else:
            turns.append(ConverseMessage(role, list(blocks)))

    def finish(self, opening: Sequence[SystemContentBlock], *, prefill: bool) -> list[ConverseMessage]:
        """What goes out. `opening`: what the user says first of all; `prefill`: whether the model may continue."""
        turns = self._turns
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

    def _make_room(self, blocks: Sequence[ContentBlock]) -> None:
        """Let the user speak again: after tool results that these may not stand beside, or after an instruction."""
        turns = self._turns
        if not turns or turns[-1].role == "assistant":
            return
        if turns[-1].role == "system":
            self._hand_over_instruction()
        if isinstance(turns[-1].content[0], ToolResultContent) and not self._fit_beside_results(blocks):
            turns.append(ConverseMessage("assistant", [TextContent(PLACEHOLDER)]))

    def _hand_over_instruction(self) -> None:
        """An instruction within the user's turn is the user's: between two of those it would split it."""
        turns = self._turns
        if len(turns) > 1 and turns[-2].role == "user":
            instruction = turns.pop()
            self.add("user", instruction.content)

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
