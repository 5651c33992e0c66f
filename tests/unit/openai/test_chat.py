"""The chat wire: which fields are known, and the answers and chunks as the openai package's own types read them."""

import json
from typing import Any

import msgspec
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming

from extproc.openai.chat import (
    ChatRequest,
    Chunks,
    TextPart,
    Usage,
    UserMessage,
    completion,
    decode_request,
    tool_call,
)
from extproc.openai.errors import ApiError

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


@pytest.mark.parametrize("field", [name for name in ChatRequest.__struct_fields__ if name not in HELLO])
def test_every_optional_field_may_be_null(field: str) -> None:
    assert getattr(decode(**{field: None}), field) is None


@pytest.mark.parametrize("field", ["top_k", "guardrailConfig", "extra_body", "Model"])
def test_a_field_that_openai_does_not_have_is_refused_by_name(field: str) -> None:
    error = refused(**{field: 1})
    assert (error.param, error.code) == (field, "unknown_parameter")


def test_fields_within_messages_that_are_not_known_are_passed_over() -> None:
    """Clients send back what they were given, and mark prompts for other providers' caches."""
    part = {"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}
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


# Answers


def strict(body: bytes) -> Any:
    """The completion, once the openai package's type and its schema's `required` have nothing against it."""
    answer = json.loads(body)
    ChatCompletion.model_validate(answer, strict=True)
    assert {"id", "object", "created", "model", "choices", "usage"} <= set(answer)
    assert {"index", "message", "finish_reason", "logprobs"} <= set(answer["choices"][0])
    assert {"role", "content", "refusal"} <= set(answer["choices"][0]["message"])
    return answer


def test_a_completion_is_what_the_openai_package_takes() -> None:
    message = {"role": "assistant", "content": None, "refusal": None, "tool_calls": [tool_call("c1", "f", "{}")]}
    answer = strict(completion("chatcmpl-1", 1_790_000_000, "m", message, "tool_calls", Usage(3, 4)))
    assert answer["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


def test_usage_tells_of_the_cache_where_there_was_one() -> None:
    assert Usage(22, 20, cached=5, cache_written=7).as_object() == {
        "prompt_tokens": 22,
        "completion_tokens": 20,
        "total_tokens": 42,
        "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 7},
    }


# Chunks


def chunk(event: bytes) -> Any:
    """The chunk in one event, once the openai package's type has nothing against it."""
    assert event.startswith(b"data: ")
    assert event.endswith(b"\n\n")
    assert event.count(b"\n") == 2
    found = json.loads(event[6:])
    ChatCompletionChunk.model_validate(found, strict=True)
    assert {"id", "object", "created", "model", "choices"} <= set(found)
    return found


def chunks(*, include_usage: bool = False) -> Chunks:
    return Chunks("chatcmpl-1", 1_790_000_000, "m", include_usage=include_usage)


def every_kind(writer: Chunks) -> list[bytes]:
    return [
        writer.role(),
        writer.content("a"),
        writer.tool_start(0, "c1", "f"),
        writer.tool_arguments(0, "{}"),
        writer.delta({"reasoning_content": "r"}),
        writer.finish("stop"),
    ]


@pytest.mark.parametrize(
    ("at", "delta"),
    [
        (0, {"role": "assistant", "content": "", "refusal": None}),
        (1, {"content": "a"}),
        (
            2,
            {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        ),
        (3, {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}),
        (4, {"reasoning_content": "r"}),
        (5, {}),
    ],
)
def test_a_piece_of_an_answer_is_a_delta(at: int, delta: Any) -> None:
    [choice] = chunk(every_kind(chunks())[at])["choices"]
    finish = "stop" if at == 5 else None
    assert choice == {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}


@pytest.mark.parametrize("text", ["", 'é\u2028\x85\x0c\r\n\t\x00"\\', "\U0001f600", "data: [DONE]\n\n"])
def test_any_text_stays_on_the_one_line_of_its_event(text: str) -> None:
    assert chunk(chunks().content(text))["choices"][0]["delta"]["content"] == text


def test_all_chunks_of_a_stream_have_one_id_time_and_model() -> None:
    heads = [(found["id"], found["created"], found["model"]) for found in map(chunk, every_kind(chunks()))]
    assert set(heads) == {("chatcmpl-1", 1_790_000_000, "m")}


def test_without_include_usage_no_chunk_speaks_of_usage() -> None:
    assert all("usage" not in chunk(event) for event in every_kind(chunks()))
    assert chunks().usage(Usage(1, 2)) == b""


def test_with_include_usage_the_last_chunk_has_it_and_all_others_null() -> None:
    writer = chunks(include_usage=True)
    assert [chunk(event)["usage"] for event in every_kind(writer)] == [None] * 6
    last = chunk(writer.usage(Usage(1, 2)))
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


def test_a_model_of_any_name_is_repeated_as_it_was_asked_for() -> None:
    name = 'arn:aws:bedrock:us-east-1:1:"x"/é'
    assert chunk(Chunks("i", 1, name, include_usage=False).role())["model"] == name
    assert msgspec.json.decode(completion("i", 1, name, {}, "stop", Usage()))["model"] == name
