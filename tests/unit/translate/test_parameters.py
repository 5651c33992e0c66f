"""Parameters beside messages and tools, for every family: sent, rejected by name, or ignored by name."""

import json
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from extproc.bedrock.capabilities import Capabilities
from extproc.openai.chat import decode_request
from extproc.translate.chat_request import plan
from extproc.translate.reasoning import Reasoning
from tests.unit.translate.parameter_plans import (
    CLAUDE,
    NOVA,
    Read,
    changed,
    each_family,
    inference,
    parameters_of,
    rejection,
)


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
