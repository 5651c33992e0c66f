"""Parameters beside messages and tools, for every family: sent, rejected by name, or ignored by name."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.capability_table import BUILT_IN
from extproc.bedrock.converse import GuardrailConfig
from extproc.openai.chat import decode_request
from extproc.openai.errors import ApiError
from extproc.translate.chat_request import plan
from extproc.translate.ignored import Ignored
from extproc.translate.parameters import plan_parameters
from extproc.translate.reasoning import Reasoning
from extproc.translate.rules import NO_RULES, Rules
from tests.planned import Planned

FAMILIES = [family for family in BUILT_IN.families.values() if family.converse]
each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.family)
CLAUDE = BUILT_IN.families["claude-3-7"]
NOVA = BUILT_IN.families["nova-2"]

Read = Callable[[bytes], dict[str, Any]]


def parameters_of(
    family: Capabilities = CLAUDE,
    reasoning: Reasoning | None = None,
    *,
    stream: bool = False,
    rules: Rules = NO_RULES,
    **fields: Any,
) -> Planned:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    ignored = Ignored()
    request = decode_request(json.dumps(body).encode())
    planned = plan_parameters(request, family, reasoning or Reasoning(), ignored, stream=stream, rules=rules)
    return Planned(planned, ignored)


def rejection(family: Capabilities = CLAUDE, **fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        parameters_of(family, **fields)
    assert (caught.value.status, caught.value.type) == (400, "invalid_request_error")
    return caught.value


def inference(family: Capabilities = CLAUDE, reasoning: Reasoning | None = None, **fields: Any) -> dict[str, Any]:
    sent = parameters_of(family, reasoning, **fields).inference
    return {} if sent is UNSET else msgspec.to_builtins(sent)


def changed(**capabilities: Any) -> Capabilities:
    return msgspec.structs.replace(BUILT_IN.of(None), **capabilities)


@each_family
def test_only_requested_parameters_are_sent(family: Capabilities) -> None:
    usual = {} if family.default_max_tokens is None else {"maxTokens": family.default_max_tokens}
    assert inference(family) == usual
    bare = parameters_of(family)
    assert (bare.guardrail, bare.performance, bare.service_tier, bare.metadata) == (UNSET,) * 4
    assert (bare.fields, bare.ignored) == ({}, ())


# Temperature and top_p


@each_family
def test_sampling_goes_out_as_far_as_the_family_takes_it(family: Capabilities) -> None:
    sent = parameters_of(family, temperature=0.7, top_p=0.9)
    both = {"temperature": 0.7, "topP": 0.9}
    kept, ignored = {
        "both": (both, ()),
        "one": ({"temperature": 0.7}, ("top_p",)),
        "none": ({}, ("temperature", "top_p")),
    }[family.sampling]
    assert {
        name: value for name, value in inference(family, temperature=0.7, top_p=0.9).items() if name in both
    } == kept
    assert sent.ignored == ignored


@each_family
@pytest.mark.parametrize("fields", [{"temperature": 1}, {"top_p": 1}, {"temperature": 1, "top_p": 1}])
def test_the_default_of_every_model_loses_nothing(family: Capabilities, fields: dict[str, Any]) -> None:
    assert parameters_of(family, **fields).ignored == ()


@pytest.mark.parametrize(
    ("fields", "sent", "ignored"),
    [
        ({"temperature": 0.5}, {"temperature": 0.5}, ()),
        ({"top_p": 0.5}, {"topP": 0.5}, ()),
        ({"temperature": 0, "top_p": 1}, {"temperature": 0}, ()),
        ({"temperature": 1, "top_p": 0.5}, {"topP": 0.5}, ()),
        ({"temperature": 0, "top_p": 0}, {"temperature": 0}, ("top_p",)),
    ],
)
def test_where_one_is_taken_the_temperature_goes_first(fields: Any, sent: Any, ignored: Any) -> None:
    assert inference(changed(sampling="one"), **fields) == sent
    assert parameters_of(changed(sampling="one"), **fields).ignored == ignored


@each_family
@pytest.mark.parametrize("temperature", [1.01, 2])
def test_a_temperature_beyond_bedrocks_is_rejected(family: Capabilities, temperature: float) -> None:
    if family.sampling == "none":
        assert parameters_of(family, temperature=temperature).ignored == ("temperature",)
        return
    error = rejection(family, temperature=temperature)
    assert (error.param, error.code) == ("temperature", "unsupported_value")
    assert "from 0 to 1" in error.message


def test_a_family_may_have_a_limit_of_its_own() -> None:
    family = changed(max_temperature=1.5)
    assert inference(family, temperature=1.5) == {"temperature": 1.5}
    assert "from 0 to 1.5: send 1.5 or less" in rejection(family, temperature=2).message


THINKING = Reasoning(on=True, budget=2048, ties_sampling=True)


@pytest.mark.parametrize(
    ("fields", "sent", "ignored"),
    [
        ({"temperature": 1}, {}, ()),
        ({"temperature": 0.2}, {}, ("temperature",)),
        ({"temperature": 2}, {}, ("temperature",)),
        ({"top_p": 0.95}, {"topP": 0.95}, ()),
        ({"top_p": 1}, {"topP": 1}, ()),
        ({"top_p": 0.9}, {}, ("top_p",)),
        ({"top_k": 5}, {}, ("top_k",)),
    ],
)
def test_a_model_that_thinks_is_left_to_its_own_temperature(fields: Any, sent: Any, ignored: Any) -> None:
    result = parameters_of(CLAUDE, THINKING, max_tokens=4096, **fields)
    assert inference(CLAUDE, THINKING, max_tokens=4096, **fields) == {"maxTokens": 4096, **sent}
    assert (result.ignored, result.fields) == (ignored, {})


# Stop sequences


@each_family
@pytest.mark.parametrize("stop", ["", [], ["", ""], None])
def test_a_stop_that_stops_nothing_is_neither_sent_nor_named(family: Capabilities, stop: Any) -> None:
    assert inference(family, stop=stop) == inference(family)
    assert parameters_of(family, stop=stop).ignored == ()


@each_family
def test_stops_go_out_where_there_are_any(family: Capabilities) -> None:
    if family.stop_sequences:
        assert inference(family, stop="END")["stopSequences"] == ["END"]
        assert inference(family, stop=["a", "", "b"])["stopSequences"] == ["a", "b"]
    else:
        error = rejection(family, stop="END")
        assert (error.param, error.code) == ("stop", "unsupported_parameter")
        assert family.family in error.message


@each_family
def test_as_many_stops_as_the_family_takes(family: Capabilities) -> None:
    most = [f"s{number}" for number in range(family.stop_sequences)]
    assert inference(family, stop=most).get("stopSequences", []) == most
    assert rejection(family, stop=[*most, "x"]).param == "stop"


@each_family
def test_blank_stops_are_left_out_by_name(family: Capabilities) -> None:
    sent = parameters_of(family, stop=["\n"])
    assert sent.ignored == (() if family.blank_stops else ("stop",))
    assert ("stopSequences" in inference(family, stop=["\n"])) == family.blank_stops


def test_a_family_may_take_blank_stops() -> None:
    assert inference(changed(stop_sequences=1, blank_stops=True), stop="\n\n") == {"stopSequences": ["\n\n"]}


# Limits


@each_family
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_limit_goes_out_by_either_name(family: Capabilities, name: str) -> None:
    assert inference(family, **{name: 100})["maxTokens"] == 100


@each_family
def test_a_limit_below_the_least_becomes_the_least(family: Capabilities) -> None:
    assert inference(family, max_tokens=1)["maxTokens"] == family.min_max_tokens
    assert parameters_of(family, max_tokens=1).ignored == (() if family.min_max_tokens == 1 else ("max_tokens",))
    assert "max_tokens" not in parameters_of(family, max_completion_tokens=1).ignored


def test_two_different_limits_are_rejected() -> None:
    assert inference(max_tokens=5, max_completion_tokens=5) == {"maxTokens": 5}
    assert rejection(max_tokens=5, max_completion_tokens=6).param == "max_tokens"


@pytest.mark.parametrize(
    ("usual", "budget", "sent"), [(None, 2048, 6144), (64000, 2048, 64000), (4096, 4096, 8192), (64000, 100000, 104096)]
)
def test_without_a_limit_tokens_are_added_to_a_budget(usual: int | None, budget: int, sent: int) -> None:
    family = changed(default_max_tokens=usual)
    assert inference(family, Reasoning(on=True, budget=budget)) == {"maxTokens": sent}


def test_an_effort_without_limits_lifts_them() -> None:
    reasoning = Reasoning(on=True, lifts_limits=True)
    fields = {"max_completion_tokens": 100, "temperature": 0.5, "top_p": 0.5, "top_k": 5, "stop": "END"}
    assert inference(NOVA, reasoning, **fields) == {"stopSequences": ["END"]}
    assert parameters_of(NOVA, reasoning, **fields).ignored == (
        "temperature",
        "top_p",
        "max_completion_tokens",
        "top_k",
    )
    assert inference(changed(default_max_tokens=10), reasoning) == {}


# top_k


@each_family
def test_top_k_goes_where_the_family_has_it(family: Capabilities) -> None:
    if not family.top_k:
        error = rejection(family, top_k=5)
        assert (error.param, error.code) == ("top_k", "unsupported_parameter")
        return
    fields: Any = {"additionalModelRequestFields": parameters_of(family, top_k=5).fields}
    for key in family.top_k:
        fields = fields[key]
    assert fields == 5


# Service tiers


@each_family
@pytest.mark.parametrize("tier", ["auto", "default", None])
def test_the_default_tier_is_not_sent(family: Capabilities, tier: str | None) -> None:
    assert parameters_of(family, service_tier=tier).service_tier is UNSET


@each_family
@pytest.mark.parametrize(
    ("requested", "served"),
    [("flex", "flex"), ("priority", "priority"), ("fast", "priority"), ("scale", "reserved"), ("reserved", "reserved")],
)
def test_a_tier_is_served_or_rejected(family: Capabilities, requested: str, served: str) -> None:
    if served in family.service_tiers:
        assert msgspec.to_builtins(parameters_of(family, service_tier=requested).service_tier) == {"type": served}
        return
    error = rejection(family, service_tier=requested)
    assert (error.param, error.code) == ("service_tier", "unsupported_value")
    assert f"'{requested}'" in error.message


def test_the_error_names_the_available_tiers() -> None:
    assert "use 'auto', 'default', 'flex', 'priority' or 'fast'" in rejection(NOVA, service_tier="cheap").message
    assert "use 'auto' or 'default'" in rejection(service_tier="flex").message


# Metadata


@pytest.mark.parametrize(
    ("fields", "sent", "ignored"),
    [
        ({"metadata": {}}, UNSET, ()),
        ({"metadata": {"team": "a b/c:d_e@f$g#h=i+j,k-l.m"}}, {"team": "a b/c:d_e@f$g#h=i+j,k-l.m"}, ()),
        ({"metadata": {"k" * 256: "v" * 256, "empty": ""}}, {"k" * 256: "v" * 256, "empty": ""}, ()),
        (
            {"user": "ann@example.com", "safety_identifier": "s-1"},
            {"user": "ann@example.com", "safety_identifier": "s-1"},
            (),
        ),
        ({"user": "", "safety_identifier": ""}, UNSET, ()),
        ({"user": "Zoë"}, UNSET, ("user",)),
        ({"user": "u" * 257}, UNSET, ("user",)),
        ({"user": "a\u00a0b"}, UNSET, ("user",)),
        ({"user": '{"id": 1}'}, UNSET, ("user",)),
        ({"user": "b", "metadata": {"user": "a"}}, {"user": "a"}, ("user",)),
        ({"user": "b", "metadata": {str(n): "" for n in range(16)}}, {str(n): "" for n in range(16)}, ("user",)),
    ],
)
def test_metadata_and_users_go_to_the_invocation_log(fields: Any, sent: Any, ignored: Any) -> None:
    result = parameters_of(**fields)
    assert (result.metadata, result.ignored) == (sent, ignored)


@pytest.mark.parametrize(
    ("key", "value", "path"),
    [
        ("user_id", '{"device_id":"704c"}', "metadata.user_id"),
        ("company", "Société", "metadata.company"),
        ("url", "https://example.com/?q=1", "metadata.url"),
        ("long", "v" * 257, "metadata.long"),
        ("", "a", "metadata.*"),
        ("k" * 257, "a", "metadata.*"),
        ("clé, and more", "a", "metadata.*"),
    ],
)
def test_a_pair_that_bedrock_does_not_take_is_left_out_and_named(key: str, value: str, path: str) -> None:
    alone = parameters_of(metadata={key: value})
    assert (alone.metadata, alone.ignored) == (UNSET, (path,))
    among = parameters_of(metadata={"team": "blue", key: value, "n": "1"}, user="ann")
    assert (among.metadata, among.ignored) == ({"team": "blue", "n": "1", "user": "ann"}, (path,))


def test_a_user_does_not_take_the_place_of_a_pair_that_is_left_out() -> None:
    result = parameters_of(metadata={"user": "Zoë"}, user="b")
    assert (result.metadata, result.ignored) == (UNSET, ("metadata.user", "user"))


OWN = Rules(metadata={"oai.organisation": "acme", "team": "search"})


@pytest.mark.parametrize(
    ("fields", "sent", "ignored"),
    [
        ({}, {}, ()),
        ({"metadata": {}}, {}, ()),
        ({"metadata": {"a": "b"}, "user": "ann"}, {"a": "b", "user": "ann"}, ()),
        ({"metadata": {str(n): "" for n in range(14)}, "user": "ann"}, {str(n): "" for n in range(14)}, ("user",)),
    ],
)
def test_the_gateways_pairs_stand_beside_the_clients(fields: Any, sent: Any, ignored: Any) -> None:
    result = parameters_of(rules=OWN, **fields)
    assert (result.metadata, result.ignored) == ({**OWN.metadata, **sent}, ignored)


def test_a_user_does_not_replace_the_organisations_own_pair() -> None:
    result = parameters_of(rules=Rules(metadata={"user": "search"}), user="ann")
    assert (result.metadata, result.ignored) == ({"user": "search"}, ("user",))


@pytest.mark.parametrize(
    ("metadata", "param", "words"),
    [
        ({"oai.organisation": "forged"}, "metadata", "that begin with 'oai.' are this gateway's"),
        ({" OAI.new": "x"}, "metadata", "that begin with 'oai.' are this gateway's"),
        ({"team": "other"}, "metadata.team", "'team' of 'metadata' is set by the operator"),
        ({str(n): "" for n in range(15)}, "metadata", "14 pairs at most: of Bedrock's 16, this gateway sets 2."),
    ],
)
def test_the_gateways_pairs_are_not_the_clients(metadata: Any, param: str, words: str) -> None:
    error = rejection(rules=OWN, metadata=metadata)
    assert (error.status, error.param, error.code) == (400, param, "invalid_value")
    assert words in error.message


def test_keys_like_the_gateways_are_rejected_where_it_sends_none() -> None:
    assert rejection(metadata={"oai.token": "forged"}).param == "metadata"
    assert parameters_of(metadata={"oai": "x", "my.oai.token": "y"}).ignored == ()


def test_more_metadata_than_openai_takes_are_rejected() -> None:
    error = rejection(metadata={str(n): "" for n in range(17)})
    assert (error.param, error.code) == ("metadata", "invalid_value")


# Guardrails and latency

GUARDRAIL = {"guardrailIdentifier": "gr1", "guardrailVersion": "DRAFT"}


@each_family
def test_guardrails_are_applied_or_rejected(family: Capabilities) -> None:
    requested = {**GUARDRAIL, "trace": "enabled"}
    if family.guardrails:
        assert msgspec.to_builtins(parameters_of(family, guardrailConfig=requested).guardrail) == requested
    else:
        error = rejection(family, guardrailConfig=requested)
        assert (error.param, error.code) == ("guardrailConfig", "unsupported_parameter")


def test_how_a_stream_is_guarded_is_for_streams() -> None:
    requested = {**GUARDRAIL, "streamProcessingMode": "async"}
    assert msgspec.to_builtins(parameters_of(stream=True, guardrailConfig=requested).guardrail) == requested
    whole = parameters_of(guardrailConfig=requested)
    assert msgspec.to_builtins(whole.guardrail) == GUARDRAIL
    assert whole.ignored == ("guardrailConfig.streamProcessingMode",)


@pytest.mark.parametrize(
    ("requested", "param"),
    [
        ({}, "guardrailConfig.guardrailIdentifier"),
        ({"guardrailIdentifier": "gr1"}, "guardrailConfig.guardrailVersion"),
        ({**GUARDRAIL, "guardrailVersion": "one"}, "guardrailConfig.guardrailVersion"),
        ({**GUARDRAIL, "trace": "yes"}, "guardrailConfig.trace"),
        ({**GUARDRAIL, "more": 1}, "guardrailConfig.more"),
    ],
)
def test_half_a_guardrail_is_rejected(requested: Any, param: str) -> None:
    assert rejection(guardrailConfig=requested).param == param


@each_family
def test_optimised_latency_is_for_those_that_have_it(family: Capabilities) -> None:
    assert parameters_of(family, performanceConfig={"latency": "standard"}).performance is UNSET
    requested = {"latency": "optimized"}
    if family.optimized_latency:
        assert msgspec.to_builtins(parameters_of(family, performanceConfig=requested).performance) == requested
    else:
        assert rejection(family, performanceConfig=requested).param == "performanceConfig"


def test_the_service_model_accepts_all_parameters_at_once(read_converse: Read) -> None:
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "temperature": 0.5,
        "top_k": 5,
        "stop": "END",
        "service_tier": "flex",
        "metadata": {"a": "b"},
        "user": "ann",
        "guardrailConfig": GUARDRAIL,
    }
    request = read_converse(plan(decode_request(json.dumps(body).encode()), NOVA).body)
    assert request == {
        "messages": [{"role": "user", "content": [{"text": "Hi"}]}],
        "inferenceConfig": {"temperature": 0.5, "stopSequences": ["END"]},
        "serviceTier": {"type": "flex"},
        "requestMetadata": {"a": "b", "user": "ann"},
        "guardrailConfig": GUARDRAIL,
        "additionalModelRequestFields": {"inferenceConfig": {"topK": 5}},
    }


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
