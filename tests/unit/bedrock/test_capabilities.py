"""The table of capabilities: every known model finds its family, and the families agree with AWS's service model."""

import json
from importlib.resources import files
from itertools import pairwise
from typing import Annotated, Any, get_args, get_origin

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta

from extproc.bedrock import capabilities
from extproc.bedrock.capabilities import FIELDS, Capabilities
from extproc.bedrock.capability_table import BUILT_IN, ROWS, SOURCES, Row, Table
from extproc.bedrock.catalogue import PREFIXES

FAMILIES = list(BUILT_IN.families.values())
each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.family)


def _seed() -> list[dict[str, Any]]:
    models = json.loads((files("extproc.bedrock") / "seed.json").read_bytes())["models"]
    return [model for model in models if "TEXT" in model["outputs"]]


CHAT_IDS = [model["id"] for model in _seed()]


def _literal_characters(pattern: str) -> int:
    return len(pattern.replace("*", "").replace("?", ""))


# Families of ids


@pytest.mark.parametrize("model", CHAT_IDS)
def test_every_chat_model_that_is_known_has_a_named_family(model: str) -> None:
    assert BUILT_IN.of(model).family != capabilities.UNKNOWN


@pytest.mark.parametrize("model", CHAT_IDS)
def test_no_model_is_matched_ambiguously(model: str) -> None:
    """The narrowest matching row wins in any order; no two match equally narrowly."""
    fitting = [
        (_literal_characters(pattern), row.family)
        for row in ROWS
        for pattern in row.match
        if Table([Row(family="x", match=(pattern,))]).of(model).family == "x"
    ]
    widths = [width for width, _ in fitting]
    assert all(first > second for first, second in pairwise(widths))
    assert BUILT_IN.of(model).family == fitting[0][1]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.family)
def test_no_pattern_is_in_another_ones_shadow(row: Row) -> None:
    assert [BUILT_IN.of(pattern.replace("*", "9")).family for pattern in row.match] == [row.family] * len(row.match)


@pytest.mark.parametrize("model", _seed(), ids=lambda model: model["id"])
def test_a_profile_has_the_capabilities_of_its_model(model: dict[str, Any]) -> None:
    ids = [f"{geography}.{model['id']}" for geography in {*model["profiles"], *PREFIXES}]
    assert {BUILT_IN.of(profile) for profile in ids} == {BUILT_IN.of(model["id"])}


@pytest.mark.parametrize("model", [model["id"] for model in _seed() if "IMAGE" in model["inputs"]])
def test_models_that_are_listed_with_images_take_images(model: str) -> None:
    assert BUILT_IN.of(model).images


def test_a_context_size_changes_nothing() -> None:
    assert BUILT_IN.of("amazon.nova-lite-v1:0:300k") is BUILT_IN.of("amazon.nova-lite-v1:0")


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("anthropic.claude-opus-6", "claude-newer"),
        ("anthropic.claude-opus-5-5-20270101-v1:0", "claude-opus-5-5"),
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", "claude-3"),
        ("anthropic.claude-sonnet-4-20250514-v1:0", "claude-4"),
        ("openai.gpt-7-sol", "gpt-6"),
        ("meta.llama5-8b-instruct-v1:0", "llama"),
        ("mistral.mistral-medium-2604", "mistral"),
        ("mistral.pixtral-large-2502-v1:0", "pixtral"),
        ("deepseek.v4", "deepseek-v3"),
        ("ai21.jamba-1-5-mini-v1:0", "jamba-1-5"),
    ],
)
def test_models_that_are_not_listed_are_of_their_relatives_family(model: str, family: str) -> None:
    assert BUILT_IN.of(model).family == family


@pytest.mark.parametrize(
    "model",
    [
        None,
        "",
        "a1b2c3d4e5f6",
        "acme.chat-1",
        "us.acme.chat-1",
        "us.",
        "Anthropic.claude-sonnet-4-6",
        " anthropic.claude-sonnet-4-6",
        "us.eu.anthropic.claude-sonnet-4-6",
        "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/a1b2c3",
        "amazon.titan-embed-text-v2:0",
    ],
)
def test_an_unknown_model_has_unknown_capabilities(model: str | None) -> None:
    assert BUILT_IN.of(model).family == capabilities.UNKNOWN


@given(st.text() | st.sampled_from(CHAT_IDS).flatmap(lambda known: st.text().map(lambda text: known + text)))
@settings(max_examples=100, deadline=None)
def test_any_string_has_capabilities(text: str) -> None:
    assert BUILT_IN.of(text) in FAMILIES


def test_a_family_is_looked_up_once() -> None:
    assert BUILT_IN.of("eu.anthropic.claude-sonnet-4-6") is BUILT_IN.of("anthropic.claude-sonnet-4-6")


# Unknown models


def test_an_unknown_model_chats_and_calls_tools_and_is_sent_nothing_optional() -> None:
    unknown = BUILT_IN.of(None)
    assert unknown == Capabilities()
    on = {name for name, value in msgspec.structs.asdict(unknown).items() if value is True}
    assert on == {
        "converse",
        "streams",
        "system",
        "tools",
        "streams_with_tools",
        "text_beside_tool_calls",
        "guardrails",
    }
    nullable_lists = {
        name for name, value in msgspec.structs.asdict(unknown).items() if isinstance(value, tuple) and value
    }
    assert nullable_lists == set()
    assert (unknown.sampling, unknown.reasoning, unknown.reasoning_off) == ("both", "none", "omit")
    assert (unknown.stop_sequences, unknown.default_max_tokens, unknown.minimum_budget) == (0, None, None)


# Single facts, through all that a family inherits


@pytest.mark.parametrize(
    ("model", "facts"),
    [
        (
            "anthropic.claude-3-haiku-20240307-v1:0",
            {"sampling": "both", "prefill": True, "cache": ()},
        ),
        (
            "anthropic.claude-3-7-sonnet-20250219-v1:0",
            {"reasoning": "budget", "minimum_budget": 1024, "cache_ttls": ()},
        ),
        (
            "anthropic.claude-opus-4-1-20250805-v1:0",
            {"sampling": "one", "json_schema": ("tool",), "cache_ttls": ()},
        ),
        (
            "anthropic.claude-sonnet-4-5-20250929-v1:0",
            {
                "sampling": "one",
                "prefill": True,
                "parallel_tool_switch": True,
                "json_schema": ("native", "tool"),
                "cache_ttls": ("5m", "1h"),
                "forced_tools_while_reasoning": False,
                "beside_tool_results": ("text", "image"),
                "top_k": ("additionalModelRequestFields", "top_k"),
            },
        ),
        (
            "anthropic.claude-sonnet-4-6",
            {
                "prefill": False,
                "reasoning": "adaptive",
                "effort_path": ("outputConfig", "effort"),
                "efforts": ("low", "medium", "high", "max"),
                "minimum_budget": 1024,
                "reasons_unasked": False,
            },
        ),
        (
            "anthropic.claude-opus-4-7",
            {"sampling": "none", "top_k": (), "minimum_budget": None, "ask_for_thinking": True, "strict_tools": False},
        ),
        ("anthropic.claude-sonnet-5", {"reasoning_off": "disabled", "tool_choices": ("auto", "any", "tool")}),
        ("anthropic.claude-opus-5-5", {"reasoning_off": "never", "tool_choices": ("auto",), "reasoning_bound": True}),
        ("anthropic.claude-sonnet-5-5", {"reasoning_off": "between_tools", "tool_choices": ("auto",)}),
        ("anthropic.claude-haiku-5-5", {"reasoning_off": "disabled", "reasoning_bound": True}),
        ("anthropic.claude-fable-5", {"json_schema": ("tool",), "reasons_unasked": True}),
        ("anthropic.claude-opus-4-6-v1", {"default_max_tokens": 128000}),
        ("anthropic.claude-sonnet-4-6", {"default_max_tokens": 64000}),
        ("anthropic.claude-fable-5-1", {"json_schema": ("native",), "tool_choices": ("auto",)}),
        ("anthropic.claude-opus-5-5", {"json_schema": ("native",), "tool_choices": ("auto",), "strict_tools": False}),
        ("anthropic.claude-fable-6", {"json_schema": (), "tool_choices": ("auto",), "system_turns": False}),
        (
            "amazon.nova-lite-v1:0",
            {"video": get_args(capabilities.VideoFormat), "documents": get_args(capabilities.DocumentFormat)},
        ),
        ("amazon.nova-micro-v1:0", {"images": False, "documents": (), "video": (), "cache": ("system", "messages")}),
        (
            "amazon.nova-pro-v1:0",
            {
                "optimized_latency": True,
                "tool_result_documents": ("csv", "txt"),
                "s3_sources": ("image", "document", "video"),
            },
        ),
        (
            "amazon.nova-2-lite-v1:0",
            {"reasoning": "nova", "efforts_without_limits": ("high",)},
        ),
        ("meta.llama3-8b-instruct-v1:0", {"tools": False, "images": False}),
        (
            "meta.llama4-scout-17b-instruct-v1:0",
            {"tools": True, "streams_with_tools": False, "beside_tool_results": (), "images": True},
        ),
        ("mistral.mistral-7b-instruct-v0:2", {"system": False, "tools": False}),
        ("mistral.mistral-large-2407-v1:0", {"tool_result_format": "json", "tool_choices": ("auto", "any")}),
        ("mistral.voxtral-mini-3b-2507", {"audio": ("wav", "mp3"), "images": False, "tool_result_format": "json"}),
        ("deepseek.r1-v1:0", {"tools": False, "reasoning": "always"}),
        ("deepseek.v3.2", {"json_schema": ("native",), "efforts": ("high",), "stop_sequences": 0}),
        (
            "qwen.qwen3-32b-v1:0",
            {"opens_with_assistant": True, "strict_tools": True, "tool_choices": ("auto", "any")},
        ),
        ("qwen.qwen3-vl-235b-a22b", {"tool_choices": ()}),
        ("minimax.minimax-m2.5", {"tool_choices": ("auto", "any"), "forced_tools_while_reasoning": True}),
        ("nvidia.nemotron-super-3-120b", {"tool_choices": ("auto", "any"), "forced_tools_while_reasoning": True}),
        ("nvidia.nemotron-nano-9b-v2", {"tool_choices": ()}),
        ("mistral.devstral-2-123b", {"tool_choices": ("auto", "any")}),
        ("moonshotai.kimi-k2.5", {"efforts": ("low", "high", "max"), "reasoning_off": "never"}),
        (
            "moonshotai.kimi-k3.1",
            {
                "efforts": ("low", "medium", "high", "xhigh", "max"),
                "reasoning_off": "effort_none",
                "reasoning_history": "none",
                "min_max_tokens": 16,
            },
        ),
        ("qwen.qwen3-coder-next", {"reasoning": "none", "efforts": ()}),
        ("zai.glm-5", {"json_schema": ("native",), "stop_sequences": 0}),
        ("moonshotai.kimi-k3", {"min_max_tokens": 16, "schema_gaps": ("lookaround",), "cache": ()}),
        (
            "moonshotai.kimi-k3",
            {
                "effort_path": ("additionalModelRequestFields", "reasoning", "effort"),
                "efforts": ("low", "medium", "high", "xhigh", "max"),
                "reasoning_history": "none",
            },
        ),
        (
            "openai.gpt-oss-120b-1:0",
            {"efforts": ("low", "medium", "high"), "schema_gaps": ("definitions",), "reasoning_history": "none"},
        ),
        ("openai.gpt-5.4", {"converse": False}),
        (
            "openai.gpt-6-sol",
            {"converse": True, "sampling": "none", "reasoning_off": "effort_none", "reasoning_history": "redacted"},
        ),
        ("openai.gpt-6.1-sol", {"reasoning_off": "never", "min_max_tokens": 16}),
        ("xai.grok-4.6", {"sampling": "none", "stop_sequences": 0, "min_max_tokens": 16}),
        ("writer.palmyra-x5-v1:0", {"beside_tool_results": ()}),
    ],
)
def test_facts(model: str, facts: dict[str, Any]) -> None:
    matched = BUILT_IN.of(model)
    assert {name: getattr(matched, name) for name in facts} == facts


# Invariants of every family


@each_family
def test_reasoning_makes_sense(family: Capabilities) -> None:
    by_effort = family.reasoning in ("adaptive", "effort", "nova")
    assert bool(family.efforts) == bool(family.effort_path) == by_effort
    assert list(family.efforts) == sorted(family.efforts, key=get_args(capabilities.Effort).index)
    assert set(family.efforts_without_limits) <= set(family.efforts)
    assert (family.minimum_budget is not None) or family.reasoning != "budget"
    assert family.minimum_budget is None or family.reasoning in ("budget", "adaptive")
    assert family.reasoning_off == "never" or family.reasoning != "always"
    assert family.reasoning_off == "omit" or family.reasoning != "none"
    assert family.reasoning_history == "signed" or not family.reasoning_bound


@each_family
def test_tools_make_sense(family: Capabilities) -> None:
    offers = (family.tool_choices, family.strict_tools, family.parallel_tool_switch, family.tool_choice_none)
    assert family.tools or not any(offers)
    assert "auto" in family.tool_choices or not family.tool_choices
    assert "tool" not in family.json_schema or {"any", "tool"} & set(family.tool_choices)
    assert "native" in family.json_schema or not family.strict_tools
    assert {"any", "tool"} & set(family.tool_choices) or not family.forced_tools_while_reasoning


@each_family
def test_media_make_sense(family: Capabilities) -> None:
    taken = {"text": True, "image": family.images, "document": bool(family.documents), "video": bool(family.video)}
    assert all(taken[kind] for kind in (*family.beside_tool_results, *family.s3_sources))
    assert set(family.tool_result_documents) <= set(family.documents)
    assert family.images or not family.tool_result_images


@each_family
def test_parameters_make_sense(family: Capabilities) -> None:
    assert family.sampling != "none" or not family.top_k
    assert family.cache or not family.cache_ttls
    assert family.cache_points == 4
    assert family.max_temperature == 1


# AWS's service model defines the possible values


# Efforts


@pytest.mark.parametrize(
    ("model", "requested", "sent"),
    [
        ("anthropic.claude-sonnet-4-6", "medium", "medium"),
        ("anthropic.claude-sonnet-4-6", "minimal", "low"),
        ("anthropic.claude-sonnet-4-6", "xhigh", "max"),
        ("anthropic.claude-opus-4-7", "max", "xhigh"),
        ("anthropic.claude-opus-5", "max", "max"),
        ("qwen.qwen3-32b-v1:0", "low", "high"),
        ("openai.gpt-oss-20b-1:0", "max", "high"),
        ("openai.gpt-oss-20b-1:0", "none", None),
        ("openai.gpt-oss-20b-1:0", "enormous", None),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", "high", None),
        ("meta.llama3-3-70b-instruct-v1:0", "high", None),
    ],
)
def test_the_effort_is_the_same_or_the_next_above_or_the_highest(model: str, requested: str, sent: str | None) -> None:
    assert BUILT_IN.of(model).effort_for(requested) == sent


# Descriptions of the fields


def _descriptions(kind: Any) -> list[str]:
    matched = [part.description for part in getattr(kind, "__metadata__", ()) if isinstance(part, Meta)]
    inner = get_args(kind)[:1] if get_origin(kind) is Annotated else get_args(kind)
    return [text for text in matched if text] + [text for part in inner for text in _descriptions(part)]


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_type_has_a_description(field: msgspec.structs.FieldInfo) -> None:
    assert len(_descriptions(field.type)) == 1


# Sources


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.family)
def test_every_row_names_its_sources(row: Row) -> None:
    assert row.source
    assert all(source in SOURCES or source.startswith("https://") for source in row.source)


def test_every_source_is_used() -> None:
    assert set(SOURCES) == {source for row in ROWS for source in row.source if source in SOURCES}
