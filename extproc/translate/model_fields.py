"""`additionalModelRequestFields`: what one family takes beyond Converse's own parameters.

Several rooms of the translation have something to put there, each under a path that the capabilities name; so has the
client, under its own responsibility. Invariant: what the gateway puts there, no client can replace.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from extproc.bedrock.capabilities import Capabilities
from extproc.openai.chat import ChatRequest
from extproc.openai.errors import invalid

ROOT = "additionalModelRequestFields"
BETA = "anthropic_beta"
"""The names of Anthropic's beta features that a request uses: the one list that both sides may add to."""

_INSTEAD = {
    "thinking": "'thinking' or 'reasoning_effort'",
    "tool_choice": "'tool_choice' or 'parallel_tool_calls'",
    "top_k": "'top_k'",
    "effort": "'reasoning_effort'",
}


def placed(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """`value` at a path of capabilities that begins with `ROOT`, as the fields below the root."""
    for key in reversed(path[1:]):
        value = {key: value}
    fields: dict[str, Any] = value
    return fields


def merged(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """All of the parts: objects are merged, of anything else the last stands."""
    fields: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            known = fields.get(key)
            if isinstance(known, dict) and isinstance(value, dict):
                value = merged(known, value)
            fields[key] = value
    return fields


def with_own(fields: dict[str, Any], request: ChatRequest, capabilities: Capabilities) -> dict[str, Any]:
    """`fields` and what the client gave, byte for byte; raises a 400 for keys that are the gateway's."""
    own = request.additional_model_request_fields
    if not own:
        return fields
    kept = _kept(capabilities)
    for key in own:
        if key in kept or (key in fields and key != BETA):
            raise invalid(
                f"'{key}' is set by the gateway: use {kept.get(key, 'the request field that it comes from')} instead.",
                f"{ROOT}.{key}",
                "invalid_value",
            )
    both = {BETA: [*fields[BETA], *_betas(own[BETA])]} if BETA in own and BETA in fields else {}
    return {**fields, **own, **both}


def _kept(capabilities: Capabilities) -> dict[str, str]:
    """The keys that are the gateway's for this family, and what a client uses instead."""
    kept: dict[str, str] = {}
    if capabilities.reasoning in ("budget", "adaptive"):
        kept["thinking"] = _INSTEAD["thinking"]
    if capabilities.tool_choice_none or capabilities.parallel_tool_switch:
        kept["tool_choice"] = _INSTEAD["tool_choice"]
    for name, path in (("effort", capabilities.effort_path), ("top_k", capabilities.top_k)):
        if path[:1] == (ROOT,):
            kept[path[1]] = _INSTEAD[name]
    return kept


def _betas(value: Raw) -> list[str]:
    try:
        return msgspec.json.decode(value, type=list[str])
    except msgspec.MsgspecError as error:
        raise invalid(f"'{BETA}' must be a list of names.", f"{ROOT}.{BETA}", "invalid_type") from error
