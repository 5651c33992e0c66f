"""How much a model is to reason: OpenAI's `reasoning_effort` and Anthropic's `thinking`, in each family's own words.

A request says nothing of it, or wants none, or wants some: with an effort, or with a budget in tokens, or just so. What
it says becomes what the family understands (`Capabilities.reasoning`):

| style    | an effort                                | a budget                          | nothing but "on" |
|----------|------------------------------------------|-----------------------------------|------------------|
| none     | refused                                  | refused                           | refused          |
| always   | ignored                                  | ignored                           | nothing to say   |
| budget   | the budget that it is worth              | as it is                          | `medium`         |
| adaptive | as it is                                 | as it is, or the effort worth it  | no effort        |
| effort   | as it is                                 | the effort that it is worth       | `medium`         |
| nova     | as it is                                 | the effort that it is worth       | `medium`         |

An effort that a family has not becomes the next that it has (`Capabilities.effort_for`).

Reasoning is a wish, and gives way to what a client can rely on: to a tool that must be called, where the family cannot
do both; to the limit of the answer's tokens, where it leaves no room; to a history of tool calls without the signed
blocks that a budget asks for. What gave way is ignored (`Ignored`). A number that the client itself states is never
changed: it is sent, or refused.

Sources: https://platform.claude.com/docs/en/build-with-claude/extended-thinking and adaptive-thinking,
https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-thinking-block-binding.html,
https://docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html
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
"""What an effort is worth in tokens. The highest leaves room for an answer in the 32,000 tokens of Claude Opus 4."""
_USUAL = "medium"
"""The effort where a request only says that there is to be some: OpenAI's own default."""
_ROOM = 4096
"""Tokens for the answer, where the budget alone says how long it may become."""
_BINDING_BETA = "thinking-binding-controls-2026-08-01"
_FORGIVING = {"prefix_mismatch_behavior": "drop_block"}
_ADAPTIVE = {"type": "adaptive"}
"""Claude's `thinking` where a request has none."""


class Reasoning(Value, frozen=True):
    """What goes out, and what it means for the rest of the request."""

    on: bool = False
    """Whether the model reasons, asked or not."""
    fields: Mapping[str, Any] = {}
    """For `additionalModelRequestFields`."""
    effort: str | UnsetType = UNSET
    """For `outputConfig.effort`."""
    budget: int | None = None
    """Tokens that it may take; `maxTokens` must be above."""
    ties_sampling: bool = False
    """Whether `temperature` and `top_k` must be left alone, and `topP` be 0.95 or more."""
    lifts_limits: bool = False
    """Whether `maxTokens`, `temperature`, `topP` and `top_k` must be left out."""
    ignored: tuple[str, ...] = ()
    """Fields of the request that gave way."""

    @property
    def least_tokens(self) -> int:
        """The `maxTokens` that leaves room for an answer, where the client names no limit."""
        return 0 if self.budget is None else self.budget + _ROOM

    def effective(self, capabilities: Capabilities) -> Capabilities:
        """Return what the family takes while it reasons so.

        No text to be continued, and beside a budget no forced tool. Earlier reasoning may not be sent where it is bound
        to what came before it and reasoning is switched off: only beside adaptive thinking can such a family be asked
        to drop what no longer fits; Anthropic's page on thinking says to leave the blocks out otherwise.
        """
        forced = capabilities.forced_tools_while_reasoning and self.budget is None
        if self.on and (capabilities.prefill or forced != capabilities.forced_tools_while_reasoning):
            capabilities = msgspec.structs.replace(capabilities, prefill=False, forced_tools_while_reasoning=forced)
        if capabilities.reasoning_bound and not self._is_adaptive:
            capabilities = msgspec.structs.replace(capabilities, reasoning_history="none")
        return capabilities

    def binding_fields(self, capabilities: Capabilities, turns: Iterable[ConverseMessage]) -> dict[str, Any]:
        """Return more fields, for a family that rejects earlier reasoning once anything before it has changed.

        With them it drops such blocks. Clients do change what came before: a date in the instructions, a shortened
        history.
        """
        if not capabilities.reasoning_bound or not self._is_adaptive or not _has_reasoning(turns):
            return {}
        thinking = self.fields.get("thinking", _ADAPTIVE)
        return {"thinking": {**thinking, "block_binding": _FORGIVING}, BETA: [_BINDING_BETA]}

    @property
    def _is_adaptive(self) -> bool:
        kind: object = self.fields.get("thinking", _ADAPTIVE)["type"]
        return kind == "adaptive"


class _Wish(Value, frozen=True):
    """What a request says, whichever way it says it."""

    on: bool
    effort: str | None
    budget: int | None
    display: str | None
    given: tuple[str, ...]
    """The fields that say so."""

    @property
    def worth(self) -> str:
        """The effort: as it was said, or what the budget is worth."""
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
    wish = _wish(request)
    if wish is None:
        return Reasoning(on=capabilities.reasons_unasked)
    if not wish.on:
        return _off(wish, capabilities)
    match capabilities.reasoning:
        case "none":
            raise _refused(wish, "do not reason", capabilities)
        case "always":
            return Reasoning(on=True, ignored=_without_knob(wish))
        case "budget":
            found = _with_budget(wish, request, capabilities)
        case "adaptive":
            found = _adaptive(wish, request, capabilities)
        case "effort":
            found = _with_effort(wish, capabilities)
        case "nova":
            found = _nova(wish, request, capabilities)
    if found is None or (not capabilities.forced_tools_while_reasoning and _must_call(request, capabilities)):
        return _given_up(wish, capabilities)
    return found


def _wish(request: ChatRequest) -> _Wish | None:
    thinking, effort = request.thinking, request.reasoning_effort
    given = tuple(name for name in ("reasoning_effort", "thinking") if getattr(request, name) is not None)
    if thinking is None:
        on = effort != "none"
        return None if effort is None else _Wish(on, effort if on else None, None, None, given)
    on = thinking.type != "disabled"
    if effort is not None and on == (effort == "none"):
        raise invalid(
            f"'thinking' is {thinking.type} and 'reasoning_effort' is '{effort}': send one of them.",
            "reasoning_effort",
            "invalid_value",
        )
    if thinking.budget_tokens is not None and thinking.type != "enabled":
        raise invalid("A budget is for thinking that is 'enabled'.", "thinking.budget_tokens", "invalid_value")
    return _Wish(on, effort if on else None, thinking.budget_tokens, thinking.display, given)


def _must_call(request: ChatRequest, capabilities: Capabilities) -> bool:
    """Whether the client relies on a tool being called: one of its own, or the one that gives the answer its form."""
    if isinstance(request.response_format, ResponseFormatJsonSchema) and capabilities.json_schema == ("tool",):
        return True
    match request.tool_choice:
        case "required" | FunctionChoice() | CustomChoice():
            return True
        case AllowedTools() as choice:
            return choice.allowed_tools.mode == "required"
    return isinstance(request.function_call, NamedTool)


def _refused(wish: _Wish, why: str, capabilities: Capabilities) -> ApiError:
    param = wish.given[0]
    message = f"Models of the family '{capabilities.family}' {why}: leave '{param}' out, or ask another model."
    return invalid(message, param, "unsupported_parameter")


def _without_knob(wish: _Wish) -> tuple[str, ...]:
    """What changes nothing for a model that reasons as it likes."""
    ignored = [name for name in wish.given if name != "thinking"]
    return (*ignored, *(() if wish.budget is None else ("thinking.budget_tokens",)), *_undisplayed(wish))


def _undisplayed(wish: _Wish) -> tuple[str, ...]:
    """Where the display cannot be chosen, what was thought is shown."""
    return ("thinking.display",) if wish.display == "omitted" else ()


def _off(wish: _Wish, capabilities: Capabilities) -> Reasoning:
    match capabilities.reasoning_off:
        case "omit":
            return Reasoning()
        case "effort_none":
            return Reasoning(**_effort(capabilities, "none"))
        case "never":
            raise _refused(wish, "cannot be kept from reasoning", capabilities)
        case kind:
            return Reasoning(fields={"thinking": {"type": kind}})


def _given_up(wish: _Wish, capabilities: Capabilities) -> Reasoning:
    """No reasoning, although it was asked for; a model that cannot do without reasons as it likes."""
    if capabilities.reasoning_off == "never":
        return Reasoning(on=True, ignored=wish.given)
    return msgspec.structs.replace(_off(wish, capabilities), ignored=wish.given)


def _effort(capabilities: Capabilities, effort: str) -> dict[str, Any]:
    """The members of a `Reasoning` with this effort, where the family wants it."""
    if capabilities.effort_path[:1] == ("outputConfig",):
        return {"effort": effort}
    return {"fields": placed(capabilities.effort_path, effort)}


def _with_effort(wish: _Wish, capabilities: Capabilities) -> Reasoning:
    ignored = _undisplayed(wish)
    effort = capabilities.effort_for(wish.worth)
    if effort is None:
        return Reasoning(on=True, ignored=_without_knob(wish))
    return Reasoning(on=True, ignored=ignored, **_effort(capabilities, effort))


def _nova(wish: _Wish, request: ChatRequest, capabilities: Capabilities) -> Reasoning:
    """An effort, lowered where it would lift the limit of tokens that the client set."""
    effort = capabilities.effort_for(wish.worth)
    if effort is None:
        return Reasoning(on=True, ignored=_without_knob(wish))
    ignored = _undisplayed(wish)
    unlimited = capabilities.efforts_without_limits
    if effort in unlimited and request.token_limit is not None:
        lower = [one for one in capabilities.efforts[: capabilities.efforts.index(effort)] if one not in unlimited]
        if lower:
            effort, ignored = lower[-1], (*wish.given, *ignored)
    *above, key = capabilities.effort_path
    fields = placed(tuple(above), {"type": "enabled", key: effort})
    return Reasoning(on=True, fields=fields, lifts_limits=effort in unlimited, ignored=ignored)


def _adaptive(wish: _Wish, request: ChatRequest, capabilities: Capabilities) -> Reasoning:
    """As the model sees fit; with a budget where one is stated, and taken, and nothing forbids it."""
    if wish.budget is not None and capabilities.minimum_budget and _may_have_budget(request, capabilities):
        return _enabled(_stated(wish.budget, request, capabilities), wish, capabilities)
    thinking, ignored = _displayed({"type": "adaptive"}, wish, capabilities)
    members: dict[str, Any] = {"fields": {"thinking": thinking}}
    if wish.budget is not None:
        ignored = ("thinking.budget_tokens", *ignored)
    effort = capabilities.effort_for(wish.worth) if wish.effort is not None or wish.budget is not None else None
    if effort is not None:
        found = _effort(capabilities, effort)
        members = {**found, "fields": merged(members["fields"], found.get("fields", {}))}
    return Reasoning(on=True, ties_sampling=True, ignored=ignored, **members)


def _displayed(
    thinking: dict[str, Any], wish: _Wish, capabilities: Capabilities
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """`thinking` with what it takes to see it, and what of the client's wish for that has no effect."""
    if not capabilities.ask_for_thinking:
        return thinking, _undisplayed(wish)
    return {**thinking, "display": wish.display or "summarized"}, ()


def _may_have_budget(request: ChatRequest, capabilities: Capabilities) -> bool:
    """Beside a budget no tool can be forced, and the last calls must come with the signed reasoning behind them."""
    return not _must_call(request, capabilities) and not lacks_reasoning(request.messages, capabilities)


def _with_budget(wish: _Wish, request: ChatRequest, capabilities: Capabilities) -> Reasoning | None:
    """A budget: the client's, or what the effort is worth, but at most half of the tokens that there may be.

    None where there is no room for one.
    """
    if not _may_have_budget(request, capabilities):
        return None
    if wish.budget is not None:
        return _enabled(_stated(wish.budget, request, capabilities), wish, capabilities)
    least = capabilities.minimum_budget or 1
    budget = max(_BUDGETS[wish.worth], least)
    if request.token_limit is not None:
        budget = min(budget, request.token_limit // 2)
    return _enabled(budget, wish, capabilities) if budget >= least else None


def _stated(budget: int, request: ChatRequest, capabilities: Capabilities) -> int:
    """The client's own budget, if it can be sent."""
    least = capabilities.minimum_budget or 1
    if budget < least:
        raise invalid(
            f"A budget must be {least} tokens or more for models of the family '{capabilities.family}'.",
            "thinking.budget_tokens",
            "invalid_value",
        )
    if request.token_limit is not None and budget >= request.token_limit:
        raise invalid(
            "The budget must be less than the tokens that the answer may have in all: raise 'max_completion_tokens' "
            f"above {budget}, or lower the budget.",
            "thinking.budget_tokens",
            "invalid_value",
        )
    return budget


def _enabled(budget: int, wish: _Wish, capabilities: Capabilities) -> Reasoning:
    thinking, ignored = _displayed({"type": "enabled", "budget_tokens": budget}, wish, capabilities)
    return Reasoning(on=True, fields={"thinking": thinking}, budget=budget, ties_sampling=True, ignored=ignored)


def _has_reasoning(turns: Iterable[ConverseMessage]) -> bool:
    return any(isinstance(block, ReasoningContent) for turn in turns for block in turn.content)
