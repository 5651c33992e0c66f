"""Count tokens without a tokenizer: a word counts one token for every four characters or part of them.

The count is deterministic and plausible; nothing depends on its being exact.
"""

import re
from typing import Any

from bedrock_local.conversation import Conversation

_CHARACTERS = 4
_WORD = re.compile(r"\S+")

#: Tokens of an image, a document or other binary content.
_BLOB = 256


def count(text: str) -> int:
    """Count the tokens of a text."""
    return sum(-(-len(word) // _CHARACTERS) for word in _WORD.findall(text))


def written(delta: dict[str, Any]) -> int:
    """Count the tokens of a text, of reasoning or of a tool's input in one delta of a stream."""
    parts = (delta, delta.get("reasoningContent", {}), {"text": delta.get("toolUse", {}).get("input", "")})
    return sum(count(part.get("text", "")) for part in parts)


def cut(text: str, budget: int) -> str:
    """Return the beginning of a text that has at most `budget` tokens."""
    left = budget
    for word in _WORD.finditer(text):
        cost = -(-len(word[0]) // _CHARACTERS)
        if cost > left:
            return text[: word.start() + left * _CHARACTERS] if left else text[: word.start()].rstrip()
        left -= cost
    return text


def input_tokens(conversation: Conversation) -> int:
    """Count the tokens of system, messages and tools."""
    request = conversation.request
    return sum(_weigh(request.get(member, [])) for member in ("system", "messages", "toolConfig"))


def _weigh(value: Any) -> int:
    if isinstance(value, str):
        return count(value)
    if isinstance(value, bytes):
        return _BLOB
    if isinstance(value, dict):
        return sum(map(_weigh, value.values()))
    if isinstance(value, list):
        return sum(map(_weigh, value))
    return 0 if value is None else 1
