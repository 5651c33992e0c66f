"""`additionalModelRequestFields`: a family's parameters beyond Converse's own.

Several modules of the translation add members, each at a path that the capabilities name; so does the client, under
its own responsibility. Invariant: no client can replace a member of the gateway's.

Where there is a limit of tokens, a budget or a guardrail, a client has but those that are known to evade none of these:
a model may have its limit, or its instructions, under another name than Converse's.

Decision: docs/decisions.md, D201.
"""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from extproc.bedrock.capabilities import Capabilities
from extproc.openai.chat import ChatRequest
from extproc.openai.errors import invalid
from extproc.translate.rules import Rules

ROOT = "additionalModelRequestFields"
BETA = "anthropic_beta"
"""The names of Anthropic's beta features that a request uses: the one list to which gateway and client may both add."""

_INSTEAD = {
    "thinking": "'thinking' or 'reasoning_effort'",
    "tool_choice": "'tool_choice' or 'parallel_tool_calls'",
    "top_k": "'top_k'",
    "effort": "'reasoning_effort'",
}


HARMLESS = frozenset(
    {
        *(BETA, "k", "p", "min_p", "top_k", "seed", "random_seed"),
        *("presence_penalty", "frequency_penalty", "repetition_penalty"),
    }
)
"""Parameters that neither lengthen a completion nor contain a text of the prompt."""


def placed(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Return the fields below the root that hold `value` at a path of the capabilities, which begins with `ROOT`."""
    for key in reversed(path[1:]):
        value = {key: value}
    fields: dict[str, Any] = value
    return fields


def merged(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Merge the parts: objects recursively; of other values the last counts."""
    fields: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            known = fields.get(key)
            if isinstance(known, dict) and isinstance(value, dict):
                value = merged(known, value)
            fields[key] = value
    return fields


def with_own(fields: dict[str, Any], request: ChatRequest, capabilities: Capabilities, rules: Rules) -> dict[str, Any]:
    """Add the client's own fields, byte for byte.

    Raises a 400 `ApiError` for keys that are the gateway's, and for those that may evade the organisation's `rules`.
    """
    own = request.additional_model_request_fields
    if not own:
        return fields
    reserved = _reserved(capabilities)
    for key in own:
        if key in reserved or (key in fields and key != BETA):
            raise invalid(
                f"'{key}' is set by the gateway: use {reserved.get(key, 'the request field that sets it')} instead.",
                f"{ROOT}.{key}",
                "invalid_value",
            )
    if rules.max_tokens is not None or rules.guardrail is not None or rules.budgeted:
        _check_harmless(own)
    both = {BETA: [*fields[BETA], *_betas(own[BETA])]} if BETA in own and BETA in fields else {}
    return {**fields, **own, **both}


def _reserved(capabilities: Capabilities) -> dict[str, str]:
    """Return the keys that are the gateway's for this family, and the request fields to use instead."""
    reserved: dict[str, str] = {}
    if capabilities.reasoning in ("budget", "adaptive"):
        reserved["thinking"] = _INSTEAD["thinking"]
    if capabilities.tool_choice_none or capabilities.parallel_tool_switch:
        reserved["tool_choice"] = _INSTEAD["tool_choice"]
    for name, path in (("effort", capabilities.effort_path), ("top_k", capabilities.top_k)):
        if path[:1] == (ROOT,):
            reserved[path[1]] = _INSTEAD[name]
    return reserved


def _check_harmless(own: Collection[str]) -> None:
    """Reject keys that may evade a limit of tokens, a budget or a guardrail. Raises a 400 `ApiError`."""
    for key in own:
        if key not in HARMLESS:
            raise invalid(
                f"You have a limit of tokens, a budget or a guardrail, which '{key}' might evade: leave it out. "
                f"These may be sent: {', '.join(sorted(HARMLESS))}.",
                f"{ROOT}.{key}",
                "unsupported_parameter",
            )


def _betas(value: Raw) -> list[str]:
    try:
        return msgspec.json.decode(value, type=list[str])
    except msgspec.MsgspecError as error:
        raise invalid(f"'{BETA}' must be a list of names.", f"{ROOT}.{BETA}", "invalid_type") from error
