"""`reasoning_effort` and `thinking`, for every family: sent in its own fields, rejected, or ignored by name."""

from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.capability_table import BUILT_IN
from extproc.translate.reasoning import Reasoning
from tests.unit.translate.reasoning_parts import (
    BUDGETS,
    CLAUDE_37,
    CLAUDE_46,
    CLAUDE_47,
    DEEPSEEK,
    NOVA,
    at,
    each_effort,
    enabled,
    families,
    reasoning_of,
    rejection,
)

# No field, and reasoning switched off


@families()
def test_without_a_setting_nothing_is_sent(family: Capabilities) -> None:
    assert reasoning_of(family) == Reasoning(on=family.reasons_unasked)


@families()
@pytest.mark.parametrize("fields", [{"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}])
def test_it_can_be_kept_from_reasoning_where_that_is_possible(family: Capabilities, fields: dict[str, Any]) -> None:
    if family.reasoning_off == "never":
        error = rejection(family, **fields)
        assert (error.param, error.code) == (next(iter(fields)), "unsupported_parameter")
        assert family.family in error.message
        return
    off = reasoning_of(family, **fields)
    assert (off.on, off.budget, off.ties_sampling, off.ignored) == (False, None, False, ())
    match family.reasoning_off:
        case "omit":
            assert off == Reasoning()
        case "effort_none":
            assert at(off.fields, family.effort_path) == "none"
        case kind:
            assert off == Reasoning(fields={"thinking": {"type": kind}})


# An effort


@families()
@each_effort
def test_an_effort_is_sent_in_the_familys_own_field(family: Capabilities, effort: str) -> None:
    if family.reasoning == "none":
        error = rejection(family, reasoning_effort=effort)
        assert (error.param, error.code) == ("reasoning_effort", "unsupported_parameter")
        assert family.family in error.message
        return
    sent = reasoning_of(family, reasoning_effort=effort)
    if family.efforts == ("high",) and effort in ("minimal", "low"):
        assert sent == Reasoning(ignored=("reasoning_effort",))
        return
    assert sent.on
    is_sent = effort in family.efforts or family.reasoning == "budget"
    assert sent.ignored == (() if is_sent else ("reasoning_effort",))
    match family.reasoning:
        case "always":
            assert (sent.fields, sent.effort) == ({}, UNSET)
        case "budget":
            assert sent.fields["thinking"]["budget_tokens"] == sent.budget == BUDGETS[effort]
        case _:
            reached = sent.effort if family.effort_path[0] == "outputConfig" else at(sent.fields, family.effort_path)
            assert reached == family.effort_for(effort)


@families("adaptive")
def test_claudes_summarised_thinking_is_requested_where_necessary(family: Capabilities) -> None:
    display = {"display": "summarized"} if family.ask_for_thinking else {}
    assert reasoning_of(family, reasoning_effort="low").fields["thinking"] == {"type": "adaptive", **display}


@families("nova")
def test_nova_gets_its_reasoning_config(family: Capabilities) -> None:
    sent = reasoning_of(family, reasoning_effort="low")
    assert sent.fields == {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}}
    assert not sent.lifts_limits


@pytest.mark.parametrize(
    ("fields", "effort", "lifted", "ignored"),
    [
        ({}, "high", True, ()),
        ({"temperature": 0.5}, "high", True, ()),
        ({"max_tokens": 500}, "medium", False, ("reasoning_effort",)),
        ({"max_completion_tokens": 500}, "medium", False, ("reasoning_effort",)),
    ],
)
def test_novas_highest_effort_yields_to_a_limit(fields: Any, effort: str, lifted: bool, ignored: Any) -> None:
    sent = reasoning_of(NOVA, reasoning_effort="high", **fields)
    assert sent.fields["reasoningConfig"]["maxReasoningEffort"] == effort
    assert (sent.lifts_limits, sent.ignored) == (lifted, ignored)


def test_an_effort_without_a_lower_one_lifts_the_limit() -> None:
    family = msgspec.structs.replace(NOVA, efforts=("high",))
    sent = reasoning_of(family, reasoning_effort="low", max_tokens=5)
    assert (sent.lifts_limits, sent.ignored) == (True, ("reasoning_effort",))


@pytest.mark.parametrize(
    ("family", "requested", "effort"),
    [
        ("qwen3", "medium", "high"),
        ("deepseek-v3", "max", "high"),
        ("claude-4-6", "xhigh", "max"),
        ("claude-4-6", "minimal", "low"),
        ("claude-4-7", "max", "xhigh"),
        ("nova-2", "minimal", "low"),
        ("nova-2", "xhigh", "high"),
        ("gpt-oss", "max", "high"),
    ],
)
def test_another_effort_than_the_requested_one_is_named(family: str, requested: str, effort: str) -> None:
    capabilities = BUILT_IN.families[family]
    sent = reasoning_of(capabilities, reasoning_effort=requested)
    exact = reasoning_of(capabilities, reasoning_effort=effort)
    assert (sent.ignored, exact.ignored) == (("reasoning_effort",), ())
    assert msgspec.structs.replace(sent, ignored=()) == exact


@pytest.mark.parametrize("effort", ["minimal", "low"])
def test_who_wants_little_reasoning_does_not_get_much(effort: str) -> None:
    """What turns reasoning off is the family's way; one that cannot be kept from it is left to its default."""
    high = msgspec.structs.replace(DEEPSEEK, reasoning_off="effort_none")
    assert reasoning_of(high, reasoning_effort=effort).fields == {"reasoning_effort": "none"}
    never = msgspec.structs.replace(DEEPSEEK, reasoning_off="never")
    assert reasoning_of(never, reasoning_effort=effort) == Reasoning(on=True, ignored=("reasoning_effort",))


def test_switched_on_thinking_stays_on_beside_a_low_effort() -> None:
    sent = reasoning_of(DEEPSEEK, reasoning_effort="low", thinking={"type": "enabled"})
    assert (sent.on, sent.fields, sent.ignored) == (True, {"reasoning_effort": "high"}, ("reasoning_effort",))


# Thinking


@families()
@pytest.mark.parametrize("kind", ["enabled", "adaptive"])
def test_thinking_without_more_is_the_usual_effort(family: Capabilities, kind: str) -> None:
    if family.reasoning == "none":
        assert rejection(family, thinking={"type": kind}).param == "thinking"
        return
    sent = reasoning_of(family, thinking={"type": kind})
    assert (sent.on, sent.ignored) == (True, ())
    if family.reasoning == "adaptive":
        assert (sent.effort, sent.fields["thinking"]["type"]) == (UNSET, "adaptive")
    elif family.reasoning != "always":
        assert sent == msgspec.structs.replace(reasoning_of(family, reasoning_effort="medium"), ignored=())


@families("budget")
def test_a_stated_budget_is_sent_as_it_is(family: Capabilities) -> None:
    sent = reasoning_of(family, thinking=enabled(5000), max_tokens=5001)
    assert sent == Reasoning(on=True, fields={"thinking": enabled(5000)}, budget=5000, ties_sampling=True)


@families("budget", "adaptive")
def test_a_stated_budget_that_cannot_be_sent_is_rejected(family: Capabilities) -> None:
    if family.minimum_budget is None:
        return
    for fields in ({"thinking": enabled(family.minimum_budget - 1)}, {"thinking": enabled(2048), "max_tokens": 2048}):
        error = rejection(family, **fields)
        assert (error.param, error.code) == ("thinking.budget_tokens", "invalid_value")


@families("adaptive")
def test_a_budget_becomes_an_effort_where_budgets_are_rejected(family: Capabilities) -> None:
    sent = reasoning_of(family, thinking=enabled(8000))
    if family.minimum_budget is not None:
        assert (sent.fields["thinking"], sent.budget, sent.effort) == (enabled(8000), 8000, UNSET)
        return
    assert sent.fields["thinking"]["type"] == "adaptive"
    assert (sent.effort, sent.budget) == (family.effort_for("high"), None)
    assert sent.ignored == ("thinking.budget_tokens",)


@families("effort", "nova")
@pytest.mark.parametrize(
    ("budget", "effort"),
    [(1, "minimal"), (1024, "minimal"), (1025, "low"), (4096, "medium"), (16384, "xhigh"), (10**6, "max")],
)
def test_a_budget_is_worth_an_effort(family: Capabilities, budget: int, effort: str) -> None:
    sent = reasoning_of(family, thinking=enabled(budget))
    assert sent.fields == reasoning_of(family, reasoning_effort=effort, thinking={"type": "enabled"}).fields
    assert sent.ignored == ("thinking.budget_tokens",)


@families("always")
def test_a_model_without_a_reasoning_setting_reports_it_as_ignored(family: Capabilities) -> None:
    thinking = {**enabled(2048), "display": "omitted"}
    assert reasoning_of(family, reasoning_effort="low", thinking=thinking).ignored == (
        "reasoning_effort",
        "thinking.budget_tokens",
        "thinking.display",
    )


def test_an_effort_may_accompany_thinking() -> None:
    sent = reasoning_of(CLAUDE_46, reasoning_effort="high", thinking={"type": "adaptive"})
    assert (sent.fields, sent.effort) == ({"thinking": {"type": "adaptive"}}, "high")
    beside_budget = reasoning_of(CLAUDE_37, reasoning_effort="high", thinking=enabled(3000))
    assert (beside_budget.budget, beside_budget.ignored) == (3000, ("reasoning_effort",))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"reasoning_effort": "none", "thinking": {"type": "adaptive"}}, "reasoning_effort"),
        ({"reasoning_effort": "low", "thinking": {"type": "disabled"}}, "reasoning_effort"),
        ({"thinking": {"type": "adaptive", "budget_tokens": 2000}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "disabled", "budget_tokens": 2000}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "on"}}, "thinking.type"),
        ({"thinking": {"budget_tokens": 2000}}, "thinking.type"),
        ({"thinking": {"type": "enabled", "budget_tokens": 0}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled", "tokens": 1}}, "thinking.tokens"),
        ({"reasoning_effort": "lots"}, "reasoning_effort"),
        ({"reasoning_effort": 3}, "reasoning_effort"),
    ],
)
def test_contradictory_or_empty_reasoning_is_rejected(fields: dict[str, Any], param: str) -> None:
    assert rejection(CLAUDE_46, **fields).param == param


@pytest.mark.parametrize(
    ("family", "sent", "ignored"),
    [
        (CLAUDE_47, {"type": "adaptive", "display": "omitted"}, ()),
        (CLAUDE_46, {"type": "adaptive"}, ("thinking.display",)),
    ],
    ids=["chosen", "shown"],
)
def test_the_display_goes_where_it_can_be_chosen(family: Capabilities, sent: Any, ignored: Any) -> None:
    result = reasoning_of(family, thinking={"type": "adaptive", "display": "omitted"})
    assert (result.fields["thinking"], result.ignored) == (sent, ignored)
    assert reasoning_of(family, thinking={"type": "adaptive", "display": "summarized"}).ignored == ()
