"""Families, requests and their reasoning, as tests write them."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.capability_table import BUILT_IN
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
