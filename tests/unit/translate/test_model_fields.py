"""`additionalModelRequestFields`: the client's own go through byte for byte, and replace nothing of the gateway's."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.capability_table import BUILT_IN
from extproc.openai.chat import decode_request
from extproc.openai.errors import ApiError
from extproc.translate.chat_request import ChatPlan, plan
from extproc.translate.model_fields import merged, placed
from extproc.translate.rules import NO_RULES, Rules

FAMILIES = [family for family in BUILT_IN.families.values() if family.converse]
each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.family)

Read = Callable[[bytes], dict[str, Any]]


def planned(family: Capabilities, own: str, *, rules: Rules = NO_RULES, **fields: Any) -> ChatPlan:
    """Plan a request with `own`, the client's JSON."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields})
    return plan(decode_request(f'{body[:-1]},"additionalModelRequestFields":{own}}}'.encode()), family, rules=rules)


def rejection(family: Capabilities, own: str, **fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        planned(family, own, **fields)
    assert (caught.value.status, caught.value.type) == (400, "invalid_request_error")
    return caught.value


@each_family
def test_the_clients_fields_pass_through_byte_for_byte(family: Capabilities) -> None:
    own = '{"min_p":1.0,"big":123456789012345678901234567890,"deep":{"z":[1e2,null],"a":"\\u00e9"}}'
    assert f'"additionalModelRequestFields":{own}' in planned(family, own).body.decode()


LIMITED, GUARDED, BUDGETED = Rules(max_tokens=100), Rules(guardrail=("gr1", "2")), Rules(budgeted=True)
RULED = [
    pytest.param(family, rules, id=family.family)
    for family in FAMILIES
    for rules in ([LIMITED, BUDGETED, GUARDED] if family.guardrails else [LIMITED, BUDGETED])
]


@pytest.mark.parametrize(("family", "rules"), RULED)
@pytest.mark.parametrize("key", ["max_gen_len", "n", "system", "amazon-bedrock-guardrailConfig", "MIN_P", ""])
def test_beside_a_limit_a_budget_or_a_guardrail_there_is_no_other_way_around_it(
    key: str, family: Capabilities, rules: Rules
) -> None:
    error = rejection(family, json.dumps({"min_p": 1, key: 5_000}), rules=rules)
    assert (error.param, error.code) == (f"additionalModelRequestFields.{key}", "unsupported_parameter")
    assert '"min_p":1' in planned(family, '{"min_p":1}', rules=rules).body.decode()


def test_pairs_of_metadata_leave_the_clients_fields_alone() -> None:
    own, rules = '{"max_gen_len":5}', Rules(metadata={"a": "b"})
    assert own in planned(FAMILIES[0], own, rules=rules).body.decode()


@pytest.mark.parametrize("own", ["{}", "null"])
def test_nothing_is_nothing(own: str, read_converse: Read) -> None:
    assert "additionalModelRequestFields" not in read_converse(planned(FAMILIES[0], own).body)


@each_family
def test_fields_that_the_gateway_sets_are_rejected(family: Capabilities) -> None:
    mine = {path[1] for path in (family.effort_path, family.top_k) if path[:1] == ("additionalModelRequestFields",)}
    if family.reasoning in ("budget", "adaptive"):
        mine.add("thinking")
    if family.tool_choice_none or family.parallel_tool_switch:
        mine.add("tool_choice")
    for key in mine:
        error = rejection(family, json.dumps({key: {}}))
        assert (error.param, error.code) == (f"additionalModelRequestFields.{key}", "invalid_value")
        assert "instead" in error.message
    for key in {"thinking", "tool_choice", "top_k", "effort", "reasoning_effort", "reasoning"} - mine:
        planned(family, json.dumps({key: {}}))


def test_the_error_names_the_field_to_use_instead() -> None:
    claude = BUILT_IN.families["claude-3-7"]
    assert "'thinking' or 'reasoning_effort'" in rejection(claude, '{"thinking":{}}').message
    assert "'top_k'" in rejection(claude, '{"top_k":5}').message


def test_own_fields_are_merged_with_the_gateways(read_converse: Read) -> None:
    sent = read_converse(planned(BUILT_IN.families["claude-3-7"], '{"container":"c"}', reasoning_effort="low").body)
    assert sent["additionalModelRequestFields"] == {
        "thinking": {"type": "enabled", "budget_tokens": 2048},
        "container": "c",
    }


def test_model_fields_of_all_sources_are_merged(read_converse: Read) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    sent = planned(
        BUILT_IN.families["claude-4-6"],
        '{"container":"c"}',
        reasoning_effort="low",
        tools=tools,
        parallel_tool_calls=False,
    )
    assert read_converse(sent.body)["additionalModelRequestFields"] == {
        "thinking": {"type": "adaptive"},
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "container": "c",
    }


@pytest.mark.parametrize("own", ["[]", '"x"', "1"])
def test_a_value_that_is_no_object_is_rejected(own: str) -> None:
    assert rejection(FAMILIES[0], own).param == "additionalModelRequestFields"


# The one list that both add to

BOUND = BUILT_IN.families["claude-opus-5-5"]
HISTORY = {
    "messages": [
        {"role": "user", "content": "Hi"},
        {
            "role": "assistant",
            "content": "Ho",
            "thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "s"}],
        },
        {"role": "user", "content": "And?"},
    ]
}


def test_beta_features_of_both_are_used(read_converse: Read) -> None:
    own = '{"anthropic_beta":["context-1m-2025-08-07"]}'
    assert read_converse(planned(BOUND, own).body)["additionalModelRequestFields"] == json.loads(own)
    both = read_converse(planned(BOUND, own, **HISTORY).body)["additionalModelRequestFields"]["anthropic_beta"]
    assert both == ["thinking-binding-controls-2026-08-01", "context-1m-2025-08-07"]


@pytest.mark.parametrize("beta", ['"context-1m"', "[1]", "null"])
def test_beta_features_that_are_no_list_cannot_be_added_to(beta: str) -> None:
    error = rejection(BOUND, f'{{"anthropic_beta":{beta}}}', **HISTORY)
    assert (error.param, error.code) == ("additionalModelRequestFields.anthropic_beta", "invalid_type")


# Putting them together


def test_paths_make_objects() -> None:
    assert placed(("additionalModelRequestFields", "a", "b"), 1) == {"a": {"b": 1}}


def test_objects_are_merged_and_the_last_other_value_wins() -> None:
    first = {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
    assert merged(first, {"a": {"c": {"f": 4}}, "e": 5}) == {"a": {"b": 1, "c": {"d": 2, "f": 4}}, "e": 5}
    assert first == {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
    assert merged() == {}
