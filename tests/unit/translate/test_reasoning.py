"""`reasoning_effort` and `thinking`, for every family: sent in its own fields, rejected, or ignored by name."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from extproc.bedrock.capabilities import BUILT_IN, Capabilities
from extproc.openai.chat import decode_request
from extproc.openai.errors import ApiError
from extproc.translate.chat_request import ChatPlan, plan
from extproc.translate.ignored import Ignored
from extproc.translate.reasoning import Reasoning, plan_reasoning

FAMILIES = [family for family in BUILT_IN.families.values() if family.converse]
EFFORTS = ["minimal", "low", "medium", "high", "xhigh", "max"]
BUDGETS = {"minimal": 1024, "low": 2048, "medium": 4096, "high": 8192, "xhigh": 16384, "max": 24576}


def families(*styles: str) -> pytest.MarkDecorator:
    chosen = [family for family in FAMILIES if not styles or family.reasoning in styles]
    return pytest.mark.parametrize("family", chosen, ids=lambda family: family.family)


each_effort = pytest.mark.parametrize("effort", EFFORTS)
CLAUDE_37, CLAUDE_45, CLAUDE_46, CLAUDE_47, CLAUDE_5, OPUS_55 = (
    BUILT_IN.families[name]
    for name in (
        "claude-3-7",
        "claude-4-5",
        "claude-4-6",
        "claude-4-7",
        "claude-5",
        "claude-opus-5-5",
    )
)
NOVA = BUILT_IN.families["nova-2"]
GPT = BUILT_IN.families["gpt-5.6"]
DEEPSEEK = BUILT_IN.families["deepseek-v3"]

TOOL = {"type": "function", "function": {"name": "f"}}
TOOLS = {"tools": [TOOL]}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "r", "schema": {"type": "object"}}}
THINKING = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}

Read = Callable[[bytes], dict[str, Any]]


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}).encode()


def reasoning_of(family: Capabilities, **fields: Any) -> Reasoning:
    return plan_reasoning(decode_request(body(**fields)), family, Ignored())


def rejection(family: Capabilities, **fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        reasoning_of(family, **fields)
    assert (caught.value.status, caught.value.type) == (400, "invalid_request_error")
    return caught.value


def planned(family: Capabilities, **fields: Any) -> ChatPlan:
    return plan(decode_request(body(**fields)), family)


def enabled(budget: int) -> dict[str, Any]:
    return {"type": "enabled", "budget_tokens": budget}


def called(*, thoughts: bool) -> list[dict[str, Any]]:
    """Return a history whose last turn is a tool's result."""
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assistant: dict[str, Any] = {"role": "assistant", "tool_calls": [call]}
    if thoughts:
        assistant["thinking_blocks"] = [THINKING]
    return [{"role": "user", "content": "Hi"}, assistant, {"role": "tool", "tool_call_id": "c1", "content": "42"}]


def at(fields: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = {"additionalModelRequestFields": fields}
    for key in path:
        value = value[key]
    return value


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


# Settings that override reasoning


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


# Beside a budget, and with earlier reasoning


def test_beside_a_budget_no_tool_is_forced_and_no_text_continued() -> None:
    budget, adaptive = reasoning_of(CLAUDE_46, thinking=enabled(2048)), reasoning_of(CLAUDE_46, reasoning_effort="low")
    assert not budget.effective(CLAUDE_46).forced_tools_while_reasoning
    assert adaptive.effective(CLAUDE_46) is CLAUDE_46
    assert not reasoning_of(CLAUDE_37, reasoning_effort="low").effective(CLAUDE_37).prefill
    assert Reasoning().effective(CLAUDE_37).prefill


DROP = {"prefix_mismatch_behavior": "drop_block"}


@pytest.mark.parametrize(
    ("family", "fields", "thinking"),
    [
        (OPUS_55, {}, {"type": "adaptive"}),
        (OPUS_55, {"reasoning_effort": "low"}, {"type": "adaptive", "display": "summarized"}),
    ],
    ids=["unasked", "asked"],
)
def test_stale_reasoning_may_be_dropped(family: Capabilities, fields: Any, thinking: Any, read_converse: Read) -> None:
    sent = read_converse(planned(family, **TOOLS, messages=called(thoughts=True), **fields).body)
    more = sent["additionalModelRequestFields"]
    assert more["thinking"] == {**thinking, "block_binding": DROP}
    assert more["anthropic_beta"] == ["thinking-binding-controls-2026-08-01"]


def test_stale_reasoning_is_not_configured_where_the_family_has_none(read_converse: Read) -> None:
    without = read_converse(planned(OPUS_55, **TOOLS, messages=called(thoughts=False)).body)
    assert "additionalModelRequestFields" not in without
    unbound = read_converse(planned(CLAUDE_46, **TOOLS, messages=called(thoughts=True)).body)
    assert "additionalModelRequestFields" not in unbound


@pytest.mark.parametrize(("name", "kind"), [("claude-haiku-5-5", "disabled"), ("claude-sonnet-5-5", "between_tools")])
def test_stale_reasoning_is_not_configured_where_reasoning_is_off(name: str, kind: str, read_converse: Read) -> None:
    off = planned(BUILT_IN.families[name], **TOOLS, messages=called(thoughts=True), reasoning_effort="none")
    assert read_converse(off.body)["additionalModelRequestFields"] == {"thinking": {"type": kind}}


# The whole request


@pytest.mark.parametrize(
    ("family", "fields", "sent", "ignored"),
    [
        (
            CLAUDE_37,
            {"reasoning_effort": "low", "temperature": 0.3, "top_p": 0.5, "top_k": 3},
            {
                "inferenceConfig": {"maxTokens": 6144},
                "additionalModelRequestFields": {"thinking": enabled(2048)},
                "additionalModelResponseFieldPaths": ["/usage/output_tokens_details"],
            },
            ("temperature", "top_p", "top_k"),
        ),
        (
            CLAUDE_46,
            {"reasoning_effort": "max", "max_tokens": 100, "temperature": 0.3, "top_p": 0.95},
            {
                "inferenceConfig": {"maxTokens": 100, "topP": 0.95},
                "outputConfig": {"effort": "max"},
                "additionalModelRequestFields": {"thinking": {"type": "adaptive"}},
                "additionalModelResponseFieldPaths": ["/usage/output_tokens_details"],
            },
            ("temperature",),
        ),
        (
            NOVA,
            {"reasoning_effort": "high", "temperature": 0.3},
            {"additionalModelRequestFields": {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}}},
            ("temperature",),
        ),
        (
            NOVA,
            {"reasoning_effort": "low", "temperature": 0.3, "top_k": 3},
            {
                "inferenceConfig": {"temperature": 0.3},
                "additionalModelRequestFields": {
                    "reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"},
                    "inferenceConfig": {"topK": 3},
                },
            },
            (),
        ),
        (
            GPT,
            {"reasoning_effort": "none"},
            {"additionalModelRequestFields": {"reasoning": {"effort": "none"}}},
            (),
        ),
        (
            DEEPSEEK,
            {"reasoning_effort": "medium", "temperature": 0.3},
            {
                "inferenceConfig": {"temperature": 0.3},
                "additionalModelRequestFields": {"reasoning_effort": "high"},
            },
            ("reasoning_effort",),
        ),
        (
            DEEPSEEK,
            {"reasoning_effort": "low", "temperature": 0.3},
            {"inferenceConfig": {"temperature": 0.3}},
            ("reasoning_effort",),
        ),
    ],
    ids=["budget", "adaptive", "nova high", "nova low", "off", "effort", "little"],
)
def test_the_rest_of_the_request_fits(family: Any, fields: Any, sent: Any, ignored: Any, read_converse: Read) -> None:
    result = planned(family, **fields)
    assert read_converse(result.body) == {"messages": [{"role": "user", "content": [{"text": "Hi"}]}], **sent}
    assert result.ignored == ignored


@pytest.mark.parametrize("name", ["claude-haiku-5-5", "claude-sonnet-5-5"])
def test_bound_reasoning_is_not_sent_back_where_reasoning_is_off(name: str, read_converse: Read) -> None:
    """Without adaptive thinking the family cannot drop reasoning that no longer fits, and would reject it."""
    family = BUILT_IN.families[name]
    result = planned(family, **TOOLS, messages=called(thoughts=True), reasoning_effort="none")
    assert "reasoningContent" not in json.dumps(read_converse(result.body)["messages"])
    assert "messages[].thinking_blocks" in result.ignored
    kept = planned(family, **TOOLS, messages=called(thoughts=True))
    assert "reasoningContent" in json.dumps(read_converse(kept.body)["messages"])
