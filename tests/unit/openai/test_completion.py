"""Completions and chunks as the openai package's own types read them."""

import json
from typing import Any

import msgspec
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from extproc.openai.completion import Chunks, Usage, completion, custom_call, tool_call

USAGE = {
    "prompt_tokens": 22,
    "completion_tokens": 20,
    "total_tokens": 42,
    "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 7},
}


def message(*calls: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "refusal": None, "tool_calls": list(calls)}


def strict(body: bytes) -> Any:
    """The completion, once the openai package's type and its schema's `required` have nothing against it."""
    answer = json.loads(body)
    ChatCompletion.model_validate(answer, strict=True)
    assert {"id", "object", "created", "model", "choices", "usage"} <= set(answer)
    assert {"index", "message", "finish_reason", "logprobs"} <= set(answer["choices"][0])
    assert {"role", "content", "refusal"} <= set(answer["choices"][0]["message"])
    return answer


def test_a_completion_is_what_the_openai_package_takes() -> None:
    said = message(tool_call("c1", "f", "{}"), custom_call("c2", "shell", "ls"))
    usage = Usage(22, 20, cached=5, cache_written=7)
    answer = strict(completion("chatcmpl-1", 1_790_000_000, "m", said, "tool_calls", usage))
    assert answer["usage"] == USAGE
    assert "service_tier" not in answer
    function, custom = ChatCompletion.model_validate(answer, strict=True).choices[0].message.tool_calls or ()
    assert (function.type, custom.type) == ("function", "custom")


@pytest.mark.parametrize("tier", ["default", "flex", "priority", "scale"])
def test_a_completion_says_at_which_tier_it_was_served(tier: str) -> None:
    answer = strict(completion("i", 1, "m", message(), "stop", Usage(), tier))
    assert answer["service_tier"] == tier


def test_usage_has_its_details_even_where_no_cache_was_at_work() -> None:
    """Clients read `usage.prompt_tokens_details.cached_tokens` without asking whether it is there."""
    assert Usage(3, 4).as_object()["prompt_tokens_details"] == {"cached_tokens": 0, "cache_write_tokens": 0}


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


KINDS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("role", (), {"role": "assistant", "content": "", "refusal": None}),
    ("content", ("a",), {"content": "a"}),
    (
        "tool_start",
        (0, "c1", "f"),
        {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}]},
    ),
    ("tool_arguments", (0, "{}"), {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}),
    ("custom_input", (1, "ls"), {"tool_calls": [{"index": 1, "custom": {"input": "ls"}}]}),
    ("function_start", ("f",), {"function_call": {"name": "f", "arguments": ""}}),
    ("function_arguments", ("{}",), {"function_call": {"arguments": "{}"}}),
    ("delta", ({"reasoning_content": "r"},), {"reasoning_content": "r"}),
    ("finish", ("stop",), {}),
]


def every_kind(writer: Chunks) -> list[bytes]:
    return [getattr(writer, name)(*arguments) for name, arguments, _ in KINDS]


@pytest.mark.parametrize(("name", "arguments", "delta"), KINDS, ids=[name for name, _, _ in KINDS])
def test_a_piece_of_an_answer_is_a_delta(name: str, arguments: Any, delta: Any) -> None:
    [choice] = chunk(getattr(chunks(), name)(*arguments))["choices"]
    finish = "stop" if name == "finish" else None
    assert choice == {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}


def test_a_custom_call_begins_with_its_kind_which_the_openai_packages_type_does_not_know_yet() -> None:
    """As OpenAI's API sends it: https://github.com/openai/openai-openapi/issues/576."""
    [choice] = json.loads(chunks().custom_start(0, "c1", "shell")[6:])["choices"]
    begun = {"index": 0, "id": "c1", "type": "custom", "custom": {"name": "shell", "input": ""}}
    assert choice["delta"] == {"tool_calls": [begun]}


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
    assert [chunk(event)["usage"] for event in every_kind(writer)] == [None] * len(KINDS)
    last = chunk(writer.usage(Usage(22, 20, cached=5, cache_written=7)))
    assert last["choices"] == []
    assert last["usage"] == USAGE


@pytest.mark.parametrize("include_usage", [False, True])
def test_the_last_chunks_say_at_which_tier_it_was_served(include_usage: bool) -> None:
    writer = chunks(include_usage=include_usage)
    assert chunk(writer.finish("stop", "flex"))["service_tier"] == "flex"
    assert "service_tier" not in chunk(writer.finish("stop"))
    assert chunk(writer.finish("stop", "flex", {"guardrail": {}}))["trace"] == {"guardrail": {}}
    if include_usage:
        assert chunk(writer.usage(Usage(1, 2), "flex"))["service_tier"] == "flex"


def test_a_model_of_any_name_is_repeated_as_it_was_asked_for() -> None:
    name = 'arn:aws:bedrock:us-east-1:1:"x"/é'
    assert chunk(Chunks("i", 1, name, include_usage=False).role())["model"] == name
    assert msgspec.json.decode(completion("i", 1, name, {}, "stop", Usage()))["model"] == name
