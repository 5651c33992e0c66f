"""AWS's names for a request's fields in the text of an error -> OpenAI's names.

A name is returned only if it is certain: `messages.3` is not the client's message 3, since turns are merged. Otherwise
the result is None. Two of AWS's names stand for either of two fields; `alternatives` tells which of them a request has.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType

from extproc.openai.chat import ChatRequest

_PLACES = (
    re.compile(r" at '([A-Za-z][\w.]*)' failed to satisfy constraint"),
    re.compile(r"support the ([A-Za-z][\w.]*) field"),
    re.compile(r" at ([a-z]\w*(?:\.\w+)+) (?:is|must|does|has|cannot|exceeds|conflicts)\b"),
    re.compile(r"#/([A-Za-z][\w/]*)"),
    re.compile(r"(?:\A|: )([a-z]\w*(?:\.\w+)*): "),
    re.compile(r"`([a-z]\w*(?:\.\w+)*)`"),
    re.compile(r"'([a-z]\w*(?:\.\w+)+)' (?:is|does|must|cannot)\b"),
    re.compile(r"\bblocks with (cache_control)\b"),
)
"""Phrases in which AWS, and the models' own servers behind it, name a field; the most reliable first."""

_FAR = 10_000
"""Characters of an error that are searched for a field."""

_CONTAINERS = frozenset({"inferenceConfig", "additionalModelRequestFields"})

_NONE: Mapping[str, str] = MappingProxyType({})
_FIELDS = {
    "modelId": "model",
    "messages": "messages",
    "system": "messages",
    "maxTokens": "max_tokens",
    "max_tokens": "max_tokens",
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
    "output_config.format": "response_format",
    "outputConfig.effort": "reasoning_effort",
    "output_config.effort": "reasoning_effort",
    "reasoning.effort": "reasoning_effort",
    "reasoning_effort": "reasoning_effort",
    "thinking": "thinking",
    "thinking.budget_tokens": "thinking.budget_tokens",
    "thinking.enabled": "thinking.budget_tokens",
    "cache_control": "cache_control",
    "serviceTier": "service_tier",
    "guardrailConfig": "guardrailConfig",
    "performanceConfig": "performanceConfig",
    "inputText": "input",
    "texts": "input",
}


def param(message: str) -> str | None:
    """Return the field of OpenAI's request that AWS's text names, or None."""
    for place in _PLACES:
        match = place.search(message, 0, _FAR)
        if match is not None and (name := _field(match[1])):
            return name
    return None


def _field(path: str) -> str | None:
    steps = [step for step in re.split(r"[./]", path) if step not in _CONTAINERS]
    return _FIELDS.get(".".join(steps[:2])) or _FIELDS.get(steps[0]) if steps else None


def alternatives(request: ChatRequest) -> Mapping[str, str]:
    """Return the request's own names of the fields that `param` calls by another name of the same thing."""
    if request.max_completion_tokens is None and request.reasoning_effort is None:
        return _NONE
    own: dict[str, str] = {}
    if request.max_completion_tokens is not None:
        own["max_tokens"] = "max_completion_tokens"
    if request.thinking is None and request.reasoning_effort is not None:
        own |= {"thinking": "reasoning_effort", "thinking.budget_tokens": "reasoning_effort"}
    return own
