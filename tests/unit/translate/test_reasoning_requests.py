"""The rest of a request with reasoning."""

import json
from typing import Any

import pytest

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.capability_table import BUILT_IN
from extproc.translate.reasoning import Reasoning
from tests.unit.translate.reasoning_parts import (
    CLAUDE_37,
    CLAUDE_46,
    DEEPSEEK,
    GPT,
    NOVA,
    OPUS_55,
    TOOLS,
    Read,
    called,
    enabled,
    planned,
    reasoning_of,
)

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
