"""The translation of `reasoning_effort` and `thinking`, OpenAI's and Anthropic's, to each family's own parameters.

A request may leave reasoning open, switch it off, or switch it on: with an effort, with a budget in tokens, or with
neither. The family's style decides on the translation (`Capabilities.reasoning`):

| style    | an effort                                | a budget                          | nothing but "on" |
|----------|------------------------------------------|-----------------------------------|------------------|
| none     | rejected                                 | rejected                          | rejected         |
| always   | ignored                                  | ignored                           | nothing to send  |
| budget   | the budget that it is worth              | as it is                          | `medium`         |
| adaptive | as it is                                 | as it is, or the effort worth it  | no effort        |
| effort   | as it is                                 | the effort that it is worth       | `medium`         |
| nova     | as it is                                 | the effort that it is worth       | `medium`         |

An effort that a family does not have becomes the next that it has (`Capabilities.effort_for`), and is reported like an
ignored field (`Ignored`). Where the least is `high`, `minimal` and `low` turn reasoning off.

Reasoning yields to the guarantees of the API: to a tool that must be called, if the family cannot do both; to the
limit of the completion's tokens, if it leaves no space; to a history of tool calls without the signed blocks that a
budget requires. The fields that yield are ignored (`Ignored`). A number that the client itself states is never changed:
it is sent, or rejected.

Sources: https://platform.claude.com/docs/en/build-with-claude/extended-thinking and adaptive-thinking,
https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-thinking-block-binding.html,
https://docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html

Decisions: docs/decisions.md, D13, D129.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.converse import ConverseMessage, ReasoningContent
from extproc.openai.chat import (
    AllowedTools,
    ChatRequest,
    CustomChoice,
    FunctionChoice,
    NamedTool,
    ResponseFormatJsonSchema,
)
from extproc.openai.errors import ApiError, invalid
from extproc.translate.ignored import Ignored
from extproc.translate.model_fields import BETA, merged, placed
from extproc.translate.past_reasoning import lacks_reasoning
from extproc.value import Value

_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 4096, "high": 8192, "xhigh": 16384, "max": 24576}
"""The budget for each effort, in tokens. The highest leaves space for text in the 32,000 tokens of Claude Opus 4."""
_USUAL = "medium"
"""The effort if a request only switches reasoning on: OpenAI's own default."""
_CHEAP, _DEAR = ("minimal", "low"), ("high", "xhigh", "max")
_TEXT_TOKENS = 4096
"""Tokens for the text of the message, if the client sets no limit beside the budget."""
_BINDING_BETA = "thinking-binding-controls-2026-08-01"
_DROP_MISMATCHES = {"prefix_mismatch_behavior": "drop_block"}
_ADAPTIVE = {"type": "adaptive"}
"""Claude's `thinking` where a request has none."""


class Reasoning(Value, frozen=True):
    """The members of the request that control reasoning, and their effects on its other members."""

    on: bool = False
    """Whether the model reasons, requested or not."""
    fields: Mapping[str, Any] = {}
    """For `additionalModelRequestFields`."""
    effort: str | UnsetType = UNSET
    """For `outputConfig.effort`."""
    budget: int | None = None
    """Most tokens of the reasoning; `maxTokens` must be above."""
    ties_sampling: bool = False
    """Whether `temperature` and `top_k` must be left alone, and `topP` be 0.95 or more."""
    lifts_limits: bool = False
    """Whether `maxTokens`, `temperature`, `topP` and `top_k` must be left out."""
    ignored: tuple[str, ...] = ()
    """Fields of the request that yielded."""

    @property
    def least_tokens(self) -> int:
        """Return the `maxTokens` that leaves space for text, if the client sets no limit."""
        return 0 if self.budget is None else self.budget + _TEXT_TOKENS

    def effective(self, capabilities: Capabilities) -> Capabilities:
        """Return the family's capabilities while it reasons like this.

        It cannot continue text and, beside a budget, cannot be forced to call a tool. Earlier reasoning that is bound
        to the messages before it is not sent while reasoning is off: only with adaptive thinking can such a family drop
        blocks that no longer match; otherwise Anthropic's page on thinking tells clients to leave them out.
        """
        forced = capabilities.forced_tools_while_reasoning and self.budget is None
        if self.on and (capabilities.prefill or forced != capabilities.forced_tools_while_reasoning):
            capabilities = msgspec.structs.replace(capabilities, prefill=False, forced_tools_while_reasoning=forced)
        if capabilities.reasoning_bound and not self._is_adaptive:
            capabilities = msgspec.structs.replace(capabilities, reasoning_history="none")
        return capabilities

    def binding_fields(self, capabilities: Capabilities, turns: Iterable[ConverseMessage]) -> dict[str, Any]:
        """Return more fields, for a family that rejects earlier reasoning once anything before it has changed.

        With them it drops such blocks. Clients do change earlier messages: a date in the instructions, a shortened
        history.
        """
        if not capabilities.reasoning_bound or not self._is_adaptive or not _has_reasoning(turns):
            return {}
        thinking = self.fields.get("thinking", _ADAPTIVE)
        return {"thinking": {**thinking, "block_binding": _DROP_MISMATCHES}, BETA: [_BINDING_BETA]}

    @property
    def _is_adaptive(self) -> bool:
        kind: object = self.fields.get("thinking", _ADAPTIVE)["type"]
        return kind == "adaptive"


class _Requested(Value, frozen=True):
    """The reasoning that a request asks for, in one form for all fields."""

    on: bool
    effort: str | None
    budget: int | None
    display: str | None
    fields: tuple[str, ...]
    """The fields that the request has for it."""

    @property
    def worth(self) -> str:
        """Return the effort: the client's, or the least whose budget is as large as the client's."""
        if self.effort is not None or self.budget is None:
            return self.effort or _USUAL
        budget = self.budget
        return next((effort for effort, worth in _BUDGETS.items() if worth >= budget), "max")


def plan_reasoning(request: ChatRequest, capabilities: Capabilities, ignored: Ignored) -> Reasoning:
    """Return how a model of this family is to reason; raises a 400 `ApiError`."""
    reasoning = _reasoning(request, capabilities)
    ignored.add(*reasoning.ignored)
    return reasoning


def _reasoning(request: ChatRequest, capabilities: Capabilities) -> Reasoning:
    requested = _requested(request)
    if requested is None:
        return Reasoning(on=capabilities.reasons_unasked)
    if not requested.on:
        return _off(requested, capabilities)
    match capabilities.reasoning:
        case "none":
            raise _rejected(requested, "do not reason", capabilities)
        case "always":
            return Reasoning(on=True, ignored=_without_effect(requested))
        case "budget":
            planned = _with_budget(requested, request, capabilities)
        case "adaptive":
            planned = _adaptive(requested, request, capabilities)
        case "effort":
            planned = _with_effort(requested, capabilities)
        case "nova":
            planned = _nova(requested, request, capabilities)
    if planned is None or (not capabilities.forced_tools_while_reasoning and _must_call(request, capabilities)):
        return _yielded(requested, capabilities)
    return planned


def _requested(request: ChatRequest) -> _Requested | None:
    thinking, effort = request.thinking, request.reasoning_effort
    fields = tuple(name for name in ("reasoning_effort", "thinking") if getattr(request, name) is not None)
    if thinking is None:
        on = effort != "none"
        return None if effort is None else _Requested(on, effort if on else None, None, None, fields)
    on = thinking.type != "disabled"
    if effort is not None and on == (effort == "none"):
        raise invalid(
            f"'thinking' is {thinking.type} and 'reasoning_effort' is '{effort}': send one of them.",
            "reasoning_effort",
            "invalid_value",
        )
    if thinking.budget_tokens is not None and thinking.type != "enabled":
        raise invalid(
            "'budget_tokens' is only for thinking of the type 'enabled': set that type, or leave the budget out.",
            "thinking.budget_tokens",
            "invalid_value",
        )
    return _Requested(on, effort if on else None, thinking.budget_tokens, thinking.display, fields)


def _must_call(request: ChatRequest, capabilities: Capabilities) -> bool:
    """Return whether a tool must be called: one of the client's, or the answer tool."""
    if isinstance(request.response_format, ResponseFormatJsonSchema) and capabilities.json_schema == ("tool",):
        return True
    match request.tool_choice:
        case "required" | FunctionChoice() | CustomChoice():
            return True
        case AllowedTools() as choice:
            return choice.allowed_tools.mode == "required"
    return isinstance(request.function_call, NamedTool)


def _rejected(requested: _Requested, why: str, capabilities: Capabilities) -> ApiError:
    param = requested.fields[0]
    message = f"Models of the family '{capabilities.family}' {why}: leave '{param}' out, or use another model."
    return invalid(message, param, "unsupported_parameter")


def _without_effect(requested: _Requested) -> tuple[str, ...]:
    """Return the fields that change nothing for a model whose reasoning cannot be controlled."""
    ignored = [name for name in requested.fields if name != "thinking"]
    return (*ignored, *(() if requested.budget is None else ("thinking.budget_tokens",)), *_undisplayed(requested))


def _undisplayed(requested: _Requested) -> tuple[str, ...]:
    """Return the field that has no effect if the display cannot be chosen: the reasoning is always shown."""
    return ("thinking.display",) if requested.display == "omitted" else ()


def _off(requested: _Requested, capabilities: Capabilities) -> Reasoning:
    match capabilities.reasoning_off:
        case "omit":
            return Reasoning()
        case "effort_none":
            return Reasoning(**_effort(capabilities, "none"))
        case "never":
            raise _rejected(requested, "cannot be kept from reasoning", capabilities)
        case kind:
            return Reasoning(fields={"thinking": {"type": kind}})


def _yielded(requested: _Requested, capabilities: Capabilities) -> Reasoning:
    """Return no reasoning, although requested; a model that always reasons does so by its default."""
    if capabilities.reasoning_off == "never":
        return Reasoning(on=True, ignored=requested.fields)
    return msgspec.structs.replace(_off(requested, capabilities), ignored=requested.fields)


def _effort(capabilities: Capabilities, effort: str) -> dict[str, Any]:
    """Return the members of a `Reasoning` with this effort, in the place that the family has for it."""
    if capabilities.effort_path[:1] == ("outputConfig",):
        return {"effort": effort}
    return {"fields": placed(capabilities.effort_path, effort)}


def _changed(requested: _Requested, effort: str | None) -> tuple[str, ...]:
    """Return the fields that request something else than `effort`, which is sent for them."""
    rewritten = ("reasoning_effort",) if requested.effort not in (None, effort) else ()
    return rewritten if requested.budget is None else (*rewritten, "thinking.budget_tokens")


def _with_effort(requested: _Requested, capabilities: Capabilities) -> Reasoning | None:
    """Return the effort; None if the client wants a little, and the family has only much."""
    effort = capabilities.effort_for(requested.worth)
    if effort is None:
        return Reasoning(on=True, ignored=_without_effect(requested))
    if requested.fields == ("reasoning_effort",) and requested.effort in _CHEAP and capabilities.efforts[0] in _DEAR:
        return None
    ignored = (*_changed(requested, effort), *_undisplayed(requested))
    return Reasoning(on=True, ignored=ignored, **_effort(capabilities, effort))


def _nova(requested: _Requested, request: ChatRequest, capabilities: Capabilities) -> Reasoning:
    """Return Nova's effort, lowered if it would lift the client's limit of tokens."""
    effort = capabilities.effort_for(requested.worth)
    if effort is None:
        return Reasoning(on=True, ignored=_without_effect(requested))
    ignored = (*_changed(requested, effort), *_undisplayed(requested))
    unlimited = capabilities.efforts_without_limits
    if effort in unlimited and request.token_limit is not None:
        smaller = capabilities.efforts[: capabilities.efforts.index(effort)]
        lower = [other for other in smaller if other not in unlimited]
        if lower:
            effort, ignored = lower[-1], tuple(dict.fromkeys((*requested.fields, *ignored)))
    *above, key = capabilities.effort_path
    fields = placed(tuple(above), {"type": "enabled", key: effort})
    return Reasoning(on=True, fields=fields, lifts_limits=effort in unlimited, ignored=ignored)


def _adaptive(requested: _Requested, request: ChatRequest, capabilities: Capabilities) -> Reasoning:
    """Return adaptive thinking, or thinking with the client's budget, if the rest of the request allows one."""
    if requested.budget is not None and capabilities.minimum_budget and _may_have_budget(request, capabilities):
        return _enabled(_stated(requested.budget, request, capabilities), requested, capabilities)
    thinking, ignored = _displayed({"type": "adaptive"}, requested, capabilities)
    members: dict[str, Any] = {"fields": {"thinking": thinking}}
    is_stated = requested.effort is not None or requested.budget is not None
    effort = capabilities.effort_for(requested.worth) if is_stated else None
    ignored = (*_changed(requested, effort), *ignored)
    if effort is not None:
        effort_members = _effort(capabilities, effort)
        members = {**effort_members, "fields": merged(members["fields"], effort_members.get("fields", {}))}
    return Reasoning(on=True, ties_sampling=True, ignored=ignored, **members)


def _displayed(
    thinking: dict[str, Any], requested: _Requested, capabilities: Capabilities
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return `thinking` with its `display`, and the fields of the request that have no effect on it."""
    if not capabilities.ask_for_thinking:
        return thinking, _undisplayed(requested)
    return {**thinking, "display": requested.display or "summarized"}, ()


def _may_have_budget(request: ChatRequest, capabilities: Capabilities) -> bool:
    """Return whether a budget is possible: beside it no tool can be forced, and the last calls need their reasoning."""
    return not _must_call(request, capabilities) and not lacks_reasoning(request.messages, capabilities)


def _with_budget(requested: _Requested, request: ChatRequest, capabilities: Capabilities) -> Reasoning | None:
    """Return a budget: the client's, or the effort's, but at most half of the limit of tokens.

    None if the request allows none.
    """
    if not _may_have_budget(request, capabilities):
        return None
    if requested.budget is not None:
        return _enabled(_stated(requested.budget, request, capabilities), requested, capabilities)
    least = capabilities.minimum_budget or 1
    budget = max(_BUDGETS[requested.worth], least)
    if request.token_limit is not None:
        budget = min(budget, request.token_limit // 2)
    return _enabled(budget, requested, capabilities) if budget >= least else None


def _stated(budget: int, request: ChatRequest, capabilities: Capabilities) -> int:
    """Return the client's own budget. Raises a 400 `ApiError` if it cannot be sent."""
    least = capabilities.minimum_budget or 1
    if budget < least:
        raise invalid(
            f"A budget must be {least} tokens or more for models of the family '{capabilities.family}'.",
            "thinking.budget_tokens",
            "invalid_value",
        )
    if request.token_limit is not None and budget >= request.token_limit:
        raise invalid(
            "The budget must be less than the limit of the whole completion: raise 'max_completion_tokens' above "
            f"{budget}, or lower the budget.",
            "thinking.budget_tokens",
            "invalid_value",
        )
    return budget


def _enabled(budget: int, requested: _Requested, capabilities: Capabilities) -> Reasoning:
    thinking, ignored = _displayed({"type": "enabled", "budget_tokens": budget}, requested, capabilities)
    if requested.budget is not None and requested.effort is not None:
        ignored = ("reasoning_effort", *ignored)
    return Reasoning(on=True, fields={"thinking": thinking}, budget=budget, ties_sampling=True, ignored=ignored)


def _has_reasoning(turns: Iterable[ConverseMessage]) -> bool:
    return any(isinstance(block, ReasoningContent) for turn in turns for block in turn.content)
