"""The emulator's flags beside the gateway's table: two files, written separately, that must agree.

Where both cover the same thing they agree, for every model that both have. What the table *prefers* no service
rejects, so of that only what follows from it is compared.
"""

import dataclasses
from fnmatch import fnmatchcase

import pytest

from bedrock_local import families
from bedrock_local.models import Shelf
from extproc.bedrock.capabilities import FIELDS, Capabilities
from extproc.bedrock.capability_table import BUILT_IN, ROWS

MODELS = {model.id: model for model in Shelf("us-east-1").models.values() if model.family is not None}

DIFFERENCES: dict[tuple[str, str], str] = {}
"""(model, field) -> why the two may differ there. None may, today."""

PREFERENCES = {
    "inline_reasoning": "how a text is read: a directive has it written",
    "implicit_caching": "whether cache points are put without marks",
    "web_search_geographies": "which of a model's profiles search is not known to the emulator",
    "json_schema": "which of two ways is the better one",
    "default_max_tokens": "what to send where a model's own default cuts answers short",
}
"""Fields that `declared` leaves out; each has a test of its own."""


def declared(family):
    """The emulator's flags in the words of the table."""
    return {
        "converse": family.converse,
        "streams": True,
        "guardrails": family.guardrails,
        "service_tiers": set(family.tiers),
        "optimized_latency": family.optimised,
        "system": family.system,
        "system_turns": family.system_turns,
        "opens_with_assistant": family.assistant_first,
        "prefill": family.prefill,
        "tools": family.tools,
        "streams_with_tools": family.streamed_tools,
        "tool_choices": set(family.tool_choice),
        "tool_choice_none": "none" in family.own_tool_choice,
        "parallel_tool_switch": "single" in family.own_tool_choice,
        "forced_tools_while_reasoning": family.forced_reasoning,
        "text_beside_tool_calls": family.text_beside_calls,
        "strict_tools": family.strict,
        "tool_names": family.tool_names.removeprefix("^").removesuffix("$"),
        "property_names": family.property_names.removeprefix("^").removesuffix("$") or None,
        "schema_gaps": set(family.schema_gaps),
        "schema_root_keys": set(family.root_keys),
        "web_search": next(iter(family.system_tools), None),
        "tool_result_format": "json" if family.json_results else "text",
        "tool_result_status": family.result_status,
        "tool_result_images": family.result_images,
        "tool_result_documents": set(family.result_documents),
        "beside_tool_results": set(family.beside_results),
        "images": family.images,
        "max_images": 20,
        "documents": set(family.documents),
        "cited_documents": set(family.cited),
        "video": set(family.video),
        "audio": set(family.audio),
        "s3_sources": set(family.s3),
        **reasoning(family),
        "sampling": family.sampling,
        "max_temperature": 1.0,
        "top_k": family.top_k,
        "stop_sequences": family.stops,
        "blank_stops": False,
        "min_max_tokens": family.least_tokens,
        "cache": set(family.cache),
        "cache_ttls": set(family.cache_ttls),
        "cache_points": 4,
    }


def reasoning(family):
    """Return how the model reasons, in the words of the table."""
    return {
        "reasoning": style(family),
        "effort_path": family.effort_at,
        "efforts": set(family.efforts) - {"none"},
        "efforts_without_limits": set(family.unlimited_efforts),
        "reasoning_off": off(family),
        "minimum_budget": 1024 if "enabled" in family.thinking else None,
        "ask_for_thinking": family.hides_thoughts,
        "reasoning_history": family.history,
        "reasoning_tokens": family.counts_thoughts,
        "reasoning_bound": family.bound,
    }


def style(family):
    if family.thinking:
        return "adaptive" if "adaptive" in family.thinking else "budget"
    if family.efforts:
        return "nova" if "reasoningConfig" in family.effort_at else "effort"
    return "always" if family.reasons == "unasked" else "none"


def off(family):
    if family.reasons != "unasked":
        return "omit"
    for kind in ("disabled", "between_tools"):
        if kind in family.thinking:
            return kind
    return "effort_none" if "none" in family.efforts else "never"


def as_declared(value):
    """A field of the table; lists without their order, unless they are a path."""
    return set(value) if isinstance(value, tuple) else value


def differences(model_id, family, capabilities):
    for name, value in declared(family).items():
        theirs = getattr(capabilities, name)
        if name not in ("effort_path", "top_k"):
            theirs = as_declared(theirs)
        if theirs != value and (model_id, name) not in DIFFERENCES:
            yield f"{name}: the table says {theirs}, the emulator {value}"


@pytest.mark.parametrize("model_id", MODELS)
def test_both_agree_on_a_model(model_id):
    assert list(differences(model_id, MODELS[model_id].family, BUILT_IN.of(model_id))) == []


@pytest.mark.parametrize("model_id", MODELS)
def test_a_schema_can_be_had_in_the_ways_that_the_table_names(model_id):
    family, ways = MODELS[model_id].family, BUILT_IN.of(model_id).json_schema
    assert ("native" in ways) == family.structured
    assert "tool" not in ways or {"any", "tool"} & set(family.tool_choice)


@pytest.mark.parametrize("model_id", MODELS)
def test_the_tables_default_length_is_needed_and_is_taken(model_id):
    model, default = MODELS[model_id], BUILT_IN.of(model_id).default_max_tokens
    assert (default is None) == (model.family.default_tokens is None)
    assert default is None or model.family.default_tokens < default <= model.max_tokens


def test_every_field_of_the_table_is_compared():
    compared = set(declared(families.Family(name="any"))) | set(PREFERENCES)
    assert {field.name for field in FIELDS} == compared


def test_an_unknown_model_is_the_same_to_both():
    assert list(differences("", families.Family(name="unknown"), Capabilities())) == []


def test_every_family_of_the_table_has_a_model_here():
    met = {BUILT_IN.of(model_id).family for model_id in MODELS}
    empty = {row.family for row in ROWS if row.match} - met
    assert empty == {"claude-newer", "kimi"}  # which are for the models that there are none of yet


def test_every_pattern_of_the_table_that_is_not_a_net_finds_a_model_here():
    nets = {pattern for pattern in (p for row in ROWS for p in row.match) if not any(map(fits(pattern), MODELS))}
    assert nets == NETS


def fits(pattern):
    return lambda model_id: fnmatchcase(model_id, pattern)


NETS = {
    "meta.llama3-1-405b-*",
    "meta.llama3-2-1b-*",
    "meta.llama3-2-90b-*",
    "meta.llama3-8b-*",
    "google.gemma-3-27b-*",
    "openai.gpt-5.5*",
    "openai.gpt-6-sol*",
    "openai.gpt-6.1-sol*",
    "openai.gpt-6.1-terra*",
}
"""Patterns of the table beside others of the same family, which do find one."""


def test_every_family_here_has_a_model():
    used = {model.family.name for model in MODELS.values()}
    assert used == set(families.load()) - {"open-weights", "kimi"}  # bases that similar families share


def test_an_unknown_flag_is_an_error():
    with pytest.raises(TypeError, match="colour"):
        dataclasses.replace(families.Family(name="x"), colour="red")
