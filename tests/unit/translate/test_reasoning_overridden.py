"""Settings that override reasoning: limits, forced tools, schemas, and a history without its reasoning."""

from typing import Any

import msgspec
import pytest

from extproc.bedrock.capabilities import Capabilities
from extproc.translate.reasoning import Reasoning
from tests.unit.translate.reasoning_parts import (
    CLAUDE_5,
    CLAUDE_37,
    CLAUDE_45,
    CLAUDE_46,
    SCHEMA,
    TOOLS,
    called,
    enabled,
    families,
    reasoning_of,
)


@pytest.mark.parametrize(("limit", "budget"), [(20000, 8192), (16384, 8192), (10000, 5000), (2048, 1024)])
def test_a_budget_leaves_half_of_the_limit(limit: int, budget: int) -> None:
    sent = reasoning_of(CLAUDE_37, reasoning_effort="high", max_completion_tokens=limit)
    assert (sent.budget, sent.ignored) == (budget, ())


@pytest.mark.parametrize("limit", [1, 1024, 2047])
def test_a_limit_too_low_for_reasoning_drops_it(limit: int) -> None:
    assert reasoning_of(CLAUDE_37, reasoning_effort="high", max_tokens=limit) == Reasoning(
        ignored=("reasoning_effort",)
    )


FORCED: list[dict[str, Any]] = [
    {**TOOLS, "tool_choice": "required"},
    {**TOOLS, "tool_choice": {"type": "function", "function": {"name": "f"}}},
    {
        **TOOLS,
        "tool_choice": {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "f"}}]},
        },
    },
    {
        "tools": [{"type": "custom", "custom": {"name": "f"}}],
        "tool_choice": {"type": "custom", "custom": {"name": "f"}},
    },
    {"functions": [{"name": "f"}], "function_call": {"name": "f"}},
]
FREE: list[dict[str, Any]] = [
    {**TOOLS, "tool_choice": "auto"},
    {**TOOLS, "tool_choice": "none"},
    TOOLS,
    {
        **TOOLS,
        "tool_choice": {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]},
        },
    },
    {"functions": [{"name": "f"}], "function_call": "auto"},
]


@families("budget", "adaptive", "effort", "nova")
@pytest.mark.parametrize("forced", FORCED)
def test_a_tool_that_must_be_called_comes_first(family: Capabilities, forced: dict[str, Any]) -> None:
    sent = reasoning_of(family, reasoning_effort="high", **forced)
    if family.forced_tools_while_reasoning:
        assert (sent.on, sent.ignored) == (True, ())
    else:
        assert sent.ignored == ("reasoning_effort",)
        assert sent.on == (family.reasoning_off == "never")
        assert sent.budget is None


@families("budget", "adaptive", "effort", "nova")
@pytest.mark.parametrize("free", FREE)
def test_a_tool_that_may_be_called_changes_nothing(family: Capabilities, free: dict[str, Any]) -> None:
    assert reasoning_of(family, reasoning_effort="high", **free) == reasoning_of(family, reasoning_effort="high")


def test_a_schema_that_takes_a_forced_tool_comes_first() -> None:
    assert reasoning_of(CLAUDE_37, reasoning_effort="high", response_format=SCHEMA).ignored == ("reasoning_effort",)
    assert reasoning_of(CLAUDE_45, reasoning_effort="high", response_format=SCHEMA).ignored == ()


@pytest.mark.parametrize("fields", [*FORCED, {**TOOLS, "messages": called(thoughts=False)}])
def test_where_no_budget_can_be_the_effort_that_it_is_worth_may(fields: dict[str, Any]) -> None:
    sent = reasoning_of(CLAUDE_46, thinking=enabled(8000), **fields)
    assert (sent.fields, sent.effort, sent.budget) == ({"thinking": {"type": "adaptive"}}, "high", None)
    assert sent.ignored == ("thinking.budget_tokens",)


@families("budget")
def test_calls_without_their_signed_reasoning_end_it(family: Capabilities) -> None:
    lost = reasoning_of(family, reasoning_effort="low", **TOOLS, messages=called(thoughts=False))
    assert lost == Reasoning(ignored=("reasoning_effort",))
    lost = reasoning_of(family, thinking=enabled(2000), **TOOLS, messages=called(thoughts=False))
    assert lost == Reasoning(ignored=("thinking",))
    kept = reasoning_of(family, reasoning_effort="low", **TOOLS, messages=called(thoughts=True))
    assert (kept.on, kept.ignored) == (True, ())


@families("adaptive")
def test_adaptive_thinking_takes_any_history(family: Capabilities) -> None:
    sent = reasoning_of(family, reasoning_effort="low", **TOOLS, messages=called(thoughts=False))
    assert (sent.on, sent.ignored) == (True, ())


def test_dropped_reasoning_is_switched_off_where_it_is_the_default() -> None:
    family = msgspec.structs.replace(CLAUDE_5, forced_tools_while_reasoning=False)
    sent = reasoning_of(family, reasoning_effort="high", **FORCED[0])
    assert sent == Reasoning(fields={"thinking": {"type": "disabled"}}, ignored=("reasoning_effort",))
