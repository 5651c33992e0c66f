"""A chat request on the wire: known fields, and rejected ones, by their path."""

import json
from typing import Any

import pytest
from msgspec.structs import FieldInfo, fields
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming

from extproc.openai.chat import ChatRequest, PartlyKnown, decode_request
from extproc.openai.errors import ApiError

HELLO = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def decode(**fields: Any) -> ChatRequest:
    return decode_request(json.dumps({**HELLO, **fields}).encode())


def rejection(**fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        decode(**fields)
    return caught.value


# Requests


def test_every_field_of_the_openai_package_is_declared() -> None:
    assert set(CompletionCreateParamsNonStreaming.__annotations__) <= set(ChatRequest.__struct_fields__)


@pytest.mark.parametrize("field", [field for field in fields(ChatRequest) if field.encode_name not in HELLO])
def test_every_optional_field_may_be_null(field: FieldInfo) -> None:
    assert getattr(decode(**{field.encode_name: None}), field.name) is None


def test_a_field_that_is_called_like_a_place_in_the_messages_is_rejected_by_name() -> None:
    """A regression from `make fuzz`: without `messages` it was a KeyError."""
    body = b'{"model": "m", "messages[0]": [{"role": "user", "content": "Hi", "other": 1}]}'
    with pytest.raises(ApiError) as caught:
        decode_request(body)
    assert (caught.value.param, caught.value.code) == ("messages[0]", "unknown_parameter")


@pytest.mark.parametrize("field", ["min_p", "guardrail_config", "extra_body", "Model"])
def test_a_field_that_openai_does_not_have_is_rejected_by_name(field: str) -> None:
    error = rejection(**{field: 1})
    assert (error.param, error.code) == (field, "unknown_parameter")


FUNCTION = {"name": "f", "parameters": {"type": "object", "anything": {"strict": 1}}}
TOOL = {"type": "function", "function": FUNCTION}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [TOOL, {**TOOL, "strict": True}]}, "tools[1].strict"),
        ({"tools": [{"type": "function", "function": {**FUNCTION, "input_examples": []}}]}, None),
        ({"tools": [{**TOOL, "cache_control": {"type": "ephemeral", "scope": "global"}}]}, None),
        ({"tools": [{"type": "custom", "custom": {"name": "c", "strict": True}}]}, "tools[0].custom.strict"),
        (
            {"tools": [{"type": "custom", "custom": {"name": "c", "format": {"type": "text", "x": 1}}}]},
            "tools[0].custom.format.x",
        ),
        ({"functions": [{**FUNCTION, "returns": {}}]}, "functions[0].returns"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}, "mode": "any"}}, "tool_choice.mode"),
        ({"tool_choice": {"type": "function", "function": {"name": "f", "strict": True}}}, None),
        (
            {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [TOOL]}}},
            "tool_choice.allowed_tools.tools[0].function.parameters",
        ),
        ({"function_call": {"name": "f", "arguments": "{}"}}, "function_call.arguments"),
        ({"response_format": {"type": "json_object", "schema": {}}}, "response_format.schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n"}, "strict": True}},
            "response_format.strict",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "examples": []}}},
            "response_format.json_schema.examples",
        ),
        ({"stream_options": {"continuous_usage_stats": True}}, "stream_options.continuous_usage_stats"),
    ],
)
def test_an_unknown_field_within_a_field_is_rejected_by_its_path(fields: dict[str, Any], param: str | None) -> None:
    """As OpenAI does: "Unknown parameter: 'response_format.strict'" (beeai-framework, issue 980)."""
    error = rejection(**fields)
    assert (error.status, error.code) == (400, "unknown_parameter")
    assert error.message.startswith(f"Unknown parameter: '{error.param}'.")
    assert param is None or error.param == param


def left_out(*messages: Any, **fields: Any) -> tuple[str, ...]:
    request = decode(messages=[*messages, {"role": "user", "content": "And?"}], **fields)
    return request.left_out if isinstance(request, PartlyKnown) else ()


CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
THINKING = {"type": "thinking", "thinking": "Hm", "signature": "s"}


@pytest.mark.parametrize(
    ("message", "names"),
    [
        ({"role": "user", "content": "Hi", "id": 1}, ["messages[].id"]),
        (
            {"role": "user", "content": [{"type": "text", "text": "Hi", "id": "a", "citations": [1]}]},
            ["messages[].content[].citations", "messages[].content[].id"],
        ),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,", "format": "x"}}]},
            ["messages[].content[].image_url.format"],
        ),
        (
            {"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": {"scope": "global"}}]},
            ["messages[].content[].cache_control.scope"],
        ),
        (
            {"role": "assistant", "content": "Ho", "annotations": [{"type": "url_citation"}], "parsed": {"a": 1}},
            ["messages[].annotations", "messages[].parsed"],
        ),
        (
            {"role": "assistant", "tool_calls": [{**CALL, "index": 0, "extra_content": {"google": {}}}]},
            ["messages[].tool_calls[].extra_content", "messages[].tool_calls[].index"],
        ),
        (
            {
                "role": "assistant",
                "tool_calls": [{**CALL, "function": {"name": "f", "arguments": "{}", "parsed_arguments": {"a": 1}}}],
            },
            ["messages[].tool_calls[].function.parsed_arguments"],
        ),
        (
            {"role": "assistant", "content": "Ho", "thinking_blocks": [{**THINKING, "cache_control": {"type": "x"}}]},
            ["messages[].thinking_blocks[].cache_control"],
        ),
        ({"role": "assistant", "content": "Ho", "annotations": [], "parsed": None, "extra": {}}, []),
        ({"role": "user", "content": "Hi", "a\nset-cookie: b": 1, "é": 1, "a, b": 1}, ["messages[].*"]),
    ],
)
def test_an_unknown_field_within_a_message_is_ignored_and_reported(message: Any, names: list[str]) -> None:
    """Clients send back fields of any provider. Empty values (null, [], {}) are not reported."""
    assert left_out(message) == tuple(names)


def test_names_of_ignored_fields_are_reported_once_and_limited() -> None:
    many = {f"x{number:02}": 1 for number in range(30)}
    messages = [{"role": "user", "content": "Hi", "x00": 1}, {"role": "user", "content": "Hi", **many}]
    assert left_out(*messages) == (*[f"messages[].x{number:02}" for number in range(20)], "messages[].*")


def test_known_fields_stay_unchanged() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:\u00e9\n"}}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "Hi \u20ac"}, image], "name": "ann"},
        {"role": "assistant", "content": "Ho", "tool_calls": [CALL], "thinking_blocks": [THINKING]},
        {"role": "tool", "tool_call_id": "c", "content": "{}"},
    ]
    known = decode(messages=messages, tools=[TOOL], seed=2**62)
    partly = decode(messages=[{**message, "id": "x"} for message in messages], tools=[TOOL], seed=2**62)
    assert isinstance(partly, PartlyKnown)
    assert partly.left_out == ("messages[].id",)
    assert [getattr(partly, name) for name in ChatRequest.__struct_fields__] == [
        getattr(known, name) for name in ChatRequest.__struct_fields__
    ]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": [{"role": "user", "content": "Hi", "x": 1}, {"role": "user"}]}, "messages[1].content"),
        ({"messages": [{"role": "user", "content": "Hi", "x": 1}, {"role": "robot"}]}, "messages[1].role"),
        ({"messages": [{"role": "user", "content": "Hi", "x": 1}, "Hi"]}, "messages[0].x"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": 1}], "x": 1}]},
            "messages[0].content[0].text",
        ),
        ({"messages": [{"role": "user", "content": "Hi", "x": 1}], "tools": [{**TOOL, "y": 1}]}, "tools[0].y"),
        ({"messages": [{"role": "user", "content": "Hi", "x": 1}], "min_p": 1}, "min_p"),
    ],
)
def test_a_fault_beside_an_unknown_field_is_still_rejected(fields: dict[str, Any], param: str) -> None:
    assert rejection(**fields).param == param


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","messages":[{"role":"user","content":"Hi","x":' + b"[" * 100_000,
        b'{"model":"m","messages":[{"role":"user","content":"Hi","x":1}]',
        b'{"model":"m","messages":[{"role":"user","content":"Hi","\\ud800":1}]}',
        b'{"model":"m","messages":[{"role":"user","content":"Hi","x":"\xff"}]}',
        b'{"model":"m","messages":[{"role":"user","content":"Hi","x":1}],"messages":1}',
    ],
    ids=["without end", "cut off", "half a surrogate pair in a name", "not UTF-8", "messages twice"],
)
def test_broken_json_beside_an_unknown_field_is_a_400(body: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        decode_request(body)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": None}, "messages", "invalid_type"),
        ({"messages": "Hi"}, "messages", "invalid_type"),
        ({"messages": [{"role": "robot", "content": "Hi"}]}, "messages[0].role", "invalid_value"),
        ({"messages": [{"content": "Hi"}]}, "messages[0].role", "missing_required_parameter"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content", "invalid_type"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id", "missing_required_parameter"),
        (
            {"messages": [{"role": "user", "content": [{"type": "video"}]}]},
            "messages[0].content[0].type",
            "invalid_value",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "data:"}]}]},
            "messages[0].content[0].image_url",
            "invalid_type",
        ),
        (
            {
                "messages": [
                    {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {}}}]}
                ]
            },
            "messages[0].tool_calls[0].function.arguments",
            "invalid_type",
        ),
        ({"model": ""}, "model", "invalid_value"),
        ({"model": None}, "model", "invalid_type"),
        ({"temperature": -0.1}, "temperature", "invalid_value"),
        ({"temperature": 2.1}, "temperature", "invalid_value"),
        ({"temperature": "1"}, "temperature", "invalid_type"),
        ({"top_p": 1.1}, "top_p", "invalid_value"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"max_tokens": -1}, "max_tokens", "invalid_value"),
        ({"max_tokens": 1.5}, "max_tokens", "invalid_type"),
        ({"max_completion_tokens": 2**31}, "max_completion_tokens", "invalid_value"),
        ({"max_tokens": 10**30}, "max_tokens", "invalid_value"),
        ({"n": 0}, "n", "invalid_value"),
        ({"stop": [1]}, "stop[0]", "invalid_type"),
        ({"stream": "true"}, "stream", "invalid_type"),
        ({"tool_choice": "any"}, "tool_choice", "invalid_value"),
        ({"tool_choice": 5}, "tool_choice", "invalid_type"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.function", "missing_required_parameter"),
        ({"tools": [{"type": "retrieval"}]}, "tools[0].type", "invalid_value"),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "missing_required_parameter"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value"),
        ({"response_format": "json"}, "response_format", "invalid_type"),
        ({"frequency_penalty": 3}, "frequency_penalty", "invalid_value"),
        ({"logit_bias": {"50256": "x"}}, "logit_bias", "invalid_type"),
        ({"metadata": {"a": 1}}, "metadata", "invalid_type"),
    ],
)
def test_values_that_openai_rejects_are_rejected_at_their_path(fields: dict[str, Any], param: str, code: str) -> None:
    error = rejection(**fields)
    assert (error.status, error.param, error.code) == (400, param, code)
    assert param in error.message
