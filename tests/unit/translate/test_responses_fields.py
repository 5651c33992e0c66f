"""The table of Responses fields: complete, and each row true of its sample."""

import json
from typing import Any

import msgspec
import pytest

from extproc.openai.chat import ChatRequest
from extproc.openai.errors import ApiError
from extproc.openai.responses import ResponsesRequest, decode_request
from extproc.translate.field_treatments import NotApplied, Rejected
from extproc.translate.responses_fields import RESPONSES_FIELDS, Echoed, InChatForm
from extproc.translate.responses_request import ChatForm, chat_form

PLAIN = {"model": "m", "input": "Hello", "stream": True}
FUNCTION = {"type": "function", "name": "f"}
SAMPLES: dict[str, Any] = {
    "model": "another",
    "input": "Other",
    "instructions": "Be brief.",
    "stream": False,
    "stream_options": {"include_obfuscation": True},
    "max_output_tokens": 100,
    "temperature": 0.5,
    "top_p": 0.5,
    "text": {"format": {"type": "json_object"}},
    "reasoning": {"effort": "high"},
    "tools": [FUNCTION],
    "tool_choice": "required",
    "parallel_tool_calls": False,
    "user": "u",
    "safety_identifier": "u",
    "metadata": {"a": "b"},
    "service_tier": "priority",
    "prompt_cache_key": "k",
    "prompt_cache_retention": "24h",
    "prompt_cache_options": {"ttl": "30m"},
    "top_logprobs": 3,
    "store": True,
    "moderation": {"model": "x"},
    "thinking": {"type": "enabled"},
    "top_k": 5,
    "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"},
    "performanceConfig": {"latency": "optimized"},
    "additionalModelRequestFields": {"key": 1},
    "include": ["reasoning.encrypted_content"],
}


def form(**fields: Any) -> ChatForm:
    request, unknown = decode_request(json.dumps({**PLAIN, **fields}).encode())
    return chat_form(request, unknown)


def test_every_field_has_a_row_and_a_sample() -> None:
    declared = {field.encode_name for field in msgspec.structs.fields(ResponsesRequest)}
    sampled = {name for name, row in RESPONSES_FIELDS.items() if isinstance(row, NotApplied | Rejected)}
    assert set(RESPONSES_FIELDS) == declared == {*SAMPLES, *sampled}


def rows(kind: type) -> list[str]:
    return [name for name, row in RESPONSES_FIELDS.items() if isinstance(row, kind)]


@pytest.mark.parametrize("name", rows(InChatForm))
def test_a_field_of_the_chat_form_changes_it(name: str) -> None:
    beside = {"tools": [FUNCTION]} if name in ("tool_choice", "parallel_tool_calls") else {}
    with_it, without = form(**beside, **{name: SAMPLES[name]}).request, form(**beside).request
    row = RESPONSES_FIELDS[name]
    assert isinstance(row, InChatForm)
    members = {field.encode_name: field.name for field in msgspec.structs.fields(ChatRequest)}
    assert getattr(with_it, members[row.path]) != getattr(without, members[row.path])


@pytest.mark.parametrize("name", rows(NotApplied))
def test_a_field_that_is_not_applied_is_named_unless_it_is_neutral(name: str) -> None:
    row = RESPONSES_FIELDS[name]
    assert isinstance(row, NotApplied)
    assert form(**row.sample).ignored.paths == (name,)
    for neutral in (None, *row.neutral):
        assert form(**{name: neutral}).ignored.paths == ()
    assert form(**row.sample).request == form().request


@pytest.mark.parametrize("name", rows(Rejected))
def test_a_field_that_needs_a_memory_is_rejected_unless_it_is_neutral(name: str) -> None:
    row = RESPONSES_FIELDS[name]
    assert isinstance(row, Rejected)
    with pytest.raises(ApiError, match="keeps no") as raised:
        form(**row.sample)
    assert (raised.value.status, raised.value.param) == (400, name)
    for neutral in (None, *row.neutral):
        assert form(**{name: neutral}).request == form().request


@pytest.mark.parametrize("name", rows(Echoed))
def test_a_field_of_the_response_alone_changes_no_request(name: str) -> None:
    assert form(**{name: SAMPLES[name]}).request == form().request
    assert form(**{name: SAMPLES[name]}).ignored.paths == ()


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"reasoning": {"context": "all_turns"}}, "reasoning.context"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
        ({"include": ["file_search_call.results"]}, "include[]"),
        ({"tools": [{**FUNCTION, "defer_loading": True}]}, "tools[].defer_loading"),
        ({"tools": [{**FUNCTION, "async": True}]}, "tools[].async"),
        ({"tools": [{**FUNCTION, "allowed_callers": ["programmatic"]}]}, "tools[].allowed_callers"),
        ({"tools": [{**FUNCTION, "output_schema": {}}]}, "tools[].output_schema"),
        ({"input": [{"role": "user", "content": "Hi", "colour": 1}]}, "input[].colour"),
    ],
)
def test_a_member_without_an_effect_is_named(fields: Any, named: str) -> None:
    assert form(**fields).ignored.paths == (named,)
