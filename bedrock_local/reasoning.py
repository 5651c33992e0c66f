"""Whether a model reasons over a request, and what its answer shows of that.

A family that takes `thinking` is told by its type; any other by an effort. One that reasons `unasked` does so unless
it is told not to. A demanded tool takes Claude straight to the call.
"""

from dataclasses import dataclass
from typing import Any

from bedrock_local import seals
from bedrock_local.conversation import Conversation

#: How much of the user's text is thought about, in characters.
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A block of reasoning: its text, and the signature by which the model knows it again, if it gives one."""

    text: str
    signature: str | None


@dataclass(frozen=True, slots=True)
class Redacted:
    """A block of reasoning that nobody may read."""

    data: bytes


def thinking(conversation: Conversation) -> dict[str, Any]:
    """Give Claude's `thinking` field, empty where there is none (or where it is no object)."""
    said = conversation.extra.get("thinking")
    return said if isinstance(said, dict) else {}


def effort(conversation: Conversation) -> Any:
    """Give the effort that is asked for, at the family's own place or at Claude's other one; None where none is."""
    own = conversation.at(conversation.family.effort_at)
    if own is None and "output_config" in conversation.family.extra:
        return conversation.at(("additionalModelRequestFields", "output_config", "effort"))
    return own


def reasons(conversation: Conversation) -> bool:
    """Tell whether the model reasons over this request."""
    family = conversation.family
    if family.thinking:
        said = thinking(conversation).get("type", "adaptive" if family.reasons == "unasked" else "disabled")
        return said in ("enabled", "adaptive") or (said == "between_tools" and bool(conversation.results()))
    if family.reasons == "asked":
        return effort(conversation) is not None
    return family.reasons == "unasked" and effort(conversation) != "none"


def blocks(conversation: Conversation, text: str, ordered: str | None, redact: bool) -> list[Reasoning | Redacted]:
    """Give the reasoning that an answer to the user's `text` begins with.

    `ordered` is a thought that must be shown, and `redact` orders one that must not.
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
    said = effort(conversation)
    return f'Thinking about "{shown}"{f" with {said} effort" if isinstance(said, str) else ""}.'


def _hidden(conversation: Conversation) -> bool:
    return conversation.family.hides_thoughts and thinking(conversation).get("display") != "summarized"


def _readable(conversation: Conversation, shown: str, thought: str, prefix: bytes) -> Reasoning:
    signs = conversation.family.history == "signed"
    return Reasoning(shown, seals.signature(shown, thought, prefix) if signs else None)
