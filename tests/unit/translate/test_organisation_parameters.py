"""The limit of tokens and the guardrail of an organisation, in every request."""

import json
from typing import Any

import pytest

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.converse import GuardrailConfig
from extproc.openai.chat import decode_request
from extproc.openai.errors import ApiError
from extproc.translate.chat_request import plan
from extproc.translate.reasoning import Reasoning
from extproc.translate.rules import Rules
from tests.unit.translate.parameter_plans import (
    CLAUDE,
    each_family,
    parameters_of,
    rejection,
)

# An organisation's limit of tokens


@each_family
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_no_request_exceeds_the_organisations_limit(family: Capabilities, name: str) -> None:
    rules = Rules(max_tokens=100)
    error = rejection(family, rules=rules, **{name: 101})
    assert (error.status, error.param) == (400, name)
    assert "100 at most" in error.message
    at_most = parameters_of(family, rules=rules, **{name: 100})
    assert at_most.inference.max_tokens == 100


@each_family
def test_without_a_limit_of_its_own_a_request_has_the_lower_of_two(family: Capabilities) -> None:
    usual = family.default_max_tokens
    assert parameters_of(family, rules=Rules(max_tokens=100)).inference.max_tokens == min(usual or 100, 100)
    assert parameters_of(family, rules=Rules(max_tokens=10**7)).inference.max_tokens == usual or 10**7


def test_an_effort_without_limits_is_rejected_where_the_organisation_has_one() -> None:
    error = rejection(reasoning=Reasoning(on=True, lifts_limits=True), rules=Rules(max_tokens=100))
    assert (error.status, error.param) == (400, "reasoning_effort")


def limits(family: Capabilities, rules: Rules, effort: str) -> tuple[int, int]:
    """Return the limit of tokens and the budget of what is sent; (0, -1) where the effort is rejected."""
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "reasoning_effort": effort}
    try:
        planned = plan(decode_request(json.dumps(body).encode()), family, rules=rules)
    except ApiError as error:
        if error.param == "reasoning_effort":
            return 0, -1
        raise
    sent = json.loads(bytes(planned.body))
    thinking = sent.get("additionalModelRequestFields", {}).get("thinking", {})
    return sent["inferenceConfig"]["maxTokens"], thinking.get("budget_tokens", 0)


@each_family
@pytest.mark.parametrize("effort", ["low", "high"])
@pytest.mark.parametrize("ceiling", [1_500, 20_000])
def test_reasoning_fits_into_the_organisations_limit(family: Capabilities, effort: str, ceiling: int) -> None:
    limit, budget = limits(family, Rules(max_tokens=ceiling), effort)
    assert budget < limit <= ceiling


def test_a_budget_is_chosen_for_the_organisations_limit() -> None:
    assert limits(CLAUDE, Rules(max_tokens=8_000), "high") == (8_000, 4_000)


# An organisation's guardrail

MANDATORY = Rules(guardrail=("gr1", "2"))
SAME = {"guardrailIdentifier": "gr1", "guardrailVersion": "2"}


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({}, GuardrailConfig("gr1", "2")),
        ({"guardrailConfig": SAME}, GuardrailConfig("gr1", "2")),
        ({"guardrailConfig": SAME | {"trace": "enabled_full"}}, GuardrailConfig("gr1", "2", trace="enabled_full")),
        (
            {"guardrailConfig": SAME | {"streamProcessingMode": "sync"}},
            GuardrailConfig("gr1", "2", stream_processing_mode="sync"),
        ),
    ],
)
def test_each_request_passes_the_organisations_guardrail(fields: Any, sent: GuardrailConfig) -> None:
    assert parameters_of(rules=MANDATORY, stream=True, **fields).guardrail == sent


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"guardrailIdentifier": "gr2"}, "guardrailConfig"),
        ({"guardrailVersion": "1"}, "guardrailConfig"),
        ({"guardrailVersion": "DRAFT"}, "guardrailConfig"),
        ({"guardrailIdentifier": "arn:aws:bedrock:us-east-1:123456789012:guardrail/gr1"}, "guardrailConfig"),
        ({"streamProcessingMode": "async"}, "guardrailConfig.streamProcessingMode"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_no_request_replaces_or_weakens_it(change: Any, param: str, stream: bool) -> None:
    with pytest.raises(ApiError) as caught:
        parameters_of(rules=MANDATORY, stream=stream, guardrailConfig=SAME | change)
    assert (caught.value.status, caught.value.param) == (400, param)


@each_family
def test_a_model_without_guardrails_is_none_for_such_an_organisation(family: Capabilities) -> None:
    if family.guardrails:
        assert parameters_of(family, rules=MANDATORY).guardrail == GuardrailConfig("gr1", "2")
    else:
        error = rejection(family, rules=MANDATORY)
        assert (error.status, error.param) == (400, "model")


def test_no_mark_narrows_what_it_reads() -> None:
    content = [{"type": "guarded_text", "text": "Hi"}, {"type": "text", "text": "unseen"}]
    body = {"model": "m", "messages": [{"role": "user", "content": content}], "guardrailConfig": SAME}
    request = decode_request(json.dumps(body).encode())
    plan(request, CLAUDE)
    with pytest.raises(ApiError) as caught:
        plan(request, CLAUDE, rules=MANDATORY)
    assert (caught.value.status, caught.value.param) == (400, "messages[0].content[0]")
