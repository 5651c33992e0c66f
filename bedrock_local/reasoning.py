"""Decide whether a model reasons over a request, and make the reasoning blocks of its response.

A family that has `thinking` is controlled by its type, others by an effort. A family that reasons `unasked` does so
unless the request disables it. Claude does not reason before a tool that must be called.
"""

from dataclasses import dataclass
from typing import Any

from bedrock_local import seals
from bedrock_local.conversation import Conversation

#: Longest part of the user's text in a reasoning block, in characters.
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A block of reasoning: its text, and the signature by which the model recognises it, if it signs."""

    text: str
    signature: str | None


@dataclass(frozen=True, slots=True)
class Redacted:
    """A block of reasoning without readable text."""

    data: bytes


def thinking(conversation: Conversation) -> dict[str, Any]:
    """Return Claude's `thinking` field, empty if there is none (or if it is no object)."""
    field = conversation.extra.get("thinking")
    return field if isinstance(field, dict) else {}


def effort(conversation: Conversation) -> Any:
    """Return the requested effort, at the family's own path or at Claude's other one, or None."""
    own = conversation.at(conversation.family.effort_at)
    if own is None and "output_config" in conversation.family.extra:
        return conversation.at(("additionalModelRequestFields", "output_config", "effort"))
    return own


def reasons(conversation: Conversation) -> bool:
    """Return whether the model reasons over this request."""
    family = conversation.family
    if family.thinking:
        kind = thinking(conversation).get("type", "adaptive" if family.reasons == "unasked" else "disabled")
        return kind in ("enabled", "adaptive") or (kind == "between_tools" and bool(conversation.results()))
    if family.reasons == "asked":
        return effort(conversation) is not None
    return family.reasons == "unasked" and effort(conversation) != "none"


def blocks(conversation: Conversation, text: str, ordered: str | None, redact: bool) -> list[Reasoning | Redacted]:
    """Return the reasoning blocks that precede the response to the user's `text`.

    `ordered` is a text that must be shown, and `redact` orders a block without one.
    """
    prefix = seals.prefix(conversation.request, len(conversation.messages))
    own = _thought(conversation, text) if _shows(conversation) else None
    made: list[Reasoning | Redacted] = []
    if ordered is not None:
        made.append(_readable(conversation, ordered, ordered, prefix))
    elif own is not None and conversation.family.history == "redacted":
        redact = True
    elif own is not None:
        made.append(_readable(conversation, "" if _hidden(conversation) else own, own, prefix))
    if redact:
        made.append(Redacted(seals.redacted(_thought(conversation, text), prefix)))
    return made


def _shows(conversation: Conversation) -> bool:
    return reasons(conversation) and not (conversation.forced and conversation.family.thinking)


def _thought(conversation: Conversation, text: str) -> str:
    shown = text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
    level = effort(conversation)
    return f'Thinking about "{shown}"{f" with {level} effort" if isinstance(level, str) else ""}.'


def _hidden(conversation: Conversation) -> bool:
    return conversation.family.hides_thoughts and thinking(conversation).get("display") != "summarized"


def _readable(conversation: Conversation, shown: str, whole: str, prefix: bytes) -> Reasoning:
    signs = conversation.family.history == "signed"
    return Reasoning(shown, seals.signature(shown, whole, prefix) if signs else None)
