"""AWS's names for a request's fields -> OpenAI's, as far as they can be told from the text of an error.

Only where it is sure: `maxTokens` came of one of two fields, and `messages.3` is not the client's message 3, since
turns are merged on the way. What is not sure is None.
"""

import re

_PLACES = (
    re.compile(r" at '([A-Za-z][\w.]*)' failed to satisfy constraint"),
    re.compile(r"support the ([A-Za-z][\w.]*) field"),
    re.compile(r" at ([a-z]\w*(?:\.\w+)+) (?:is|must|does|has|cannot|exceeds|conflicts)\b"),
    re.compile(r"#/([A-Za-z][\w/]*)"),
    re.compile(r"(?:\A|: )([a-z]\w*(?:\.\w+)*): "),
    re.compile(r"`([a-z]\w*)`"),
)
"""How AWS, and the models' own servers behind it, say where: surest first."""

_FAR = 10_000
"""Characters of an error in which a field is looked for."""

_CONTAINERS = frozenset({"inferenceConfig", "additionalModelRequestFields"})

_FIELDS = {
    "modelId": "model",
    "messages": "messages",
    "system": "messages",
    "temperature": "temperature",
    "topP": "top_p",
    "top_p": "top_p",
    "top_k": "top_k",
    "stopSequences": "stop",
    "stop_sequences": "stop",
    "toolConfig": "tools",
    "tools": "tools",
    "toolConfig.toolChoice": "tool_choice",
    "toolChoice": "tool_choice",
    "tool_choice": "tool_choice",
    "outputConfig.textFormat": "response_format",
    "outputConfig.effort": "reasoning_effort",
    "serviceTier": "service_tier",
    "guardrailConfig": "guardrailConfig",
    "performanceConfig": "performanceConfig",
    "inputText": "input",
    "texts": "input",
}


def param(message: str) -> str | None:
    """The field of OpenAI's request that AWS's text complains of."""
    for place in _PLACES:
        found = place.search(message, 0, _FAR)
        if found is not None and (name := _field(found[1])):
            return name
    return None


def _field(path: str) -> str | None:
    steps = [step for step in re.split(r"[./]", path) if step not in _CONTAINERS]
    return _FIELDS.get(".".join(steps[:2])) or _FIELDS.get(steps[0]) if steps else None
