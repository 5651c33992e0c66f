"""A chat request on the wire: which fields are known, and what is refused, by its path."""

import json
from typing import Any

import pytest
from msgspec.structs import FieldInfo, fields
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming

from extproc.openai.chat import ChatRequest, decode_request
from extproc.openai.errors import ApiError
from extproc.openai.messages import TextPart, UserMessage

HELLO = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def decode(**fields: Any) -> ChatRequest:
    return decode_request(json.dumps({**HELLO, **fields}).encode())


def refused(**fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        decode(**fields)
    return caught.value


# Requests


def test_every_field_of_the_openai_package_is_declared() -> None:
    assert set(CompletionCreateParamsNonStreaming.__annotations__) <= set(ChatRequest.__struct_fields__)


@pytest.mark.parametrize("field", [field for field in fields(ChatRequest) if field.encode_name not in HELLO])
def test_every_optional_field_may_be_null(field: FieldInfo) -> None:
    assert getattr(decode(**{field.encode_name: None}), field.name) is None


@pytest.mark.parametrize("field", ["min_p", "guardrail_config", "extra_body", "Model"])
def test_a_field_that_openai_does_not_have_is_refused_by_name(field: str) -> None:
    error = refused(**{field: 1})
    assert (error.param, error.code) == (field, "unknown_parameter")


def test_fields_within_messages_that_are_not_known_are_passed_over() -> None:
    """Clients send back what they were given."""
    part = {"type": "text", "text": "Hi", "annotations": []}
    messages = [
        {"role": "user", "content": [part], "name": "ann"},
        {"role": "assistant", "content": "Ho", "annotations": [], "reasoning_content": "r", "audio": None},
    ]
    assert decode(messages=messages).messages[0] == UserMessage([TextPart("Hi")], "ann")


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
def test_what_openai_would_refuse_is_refused_at_its_path(fields: dict[str, Any], param: str, code: str) -> None:
    error = refused(**fields)
    assert (error.status, error.param, error.code) == (400, param, code)
    assert param in error.message
