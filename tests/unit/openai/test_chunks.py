"""Chunks as the openai package's own types read them."""

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletionChunk

from extproc.openai.chunks import (
    Chunk,
    ChunkEncoder,
    ContentChunk,
    CustomCallChunk,
    CustomInputChunk,
    DetailsChunk,
    FinishChunk,
    FunctionArgumentsChunk,
    FunctionCallChunk,
    ReasoningChunk,
    RoleChunk,
    ToolArgumentsChunk,
    ToolCallChunk,
    UsageChunk,
)
from extproc.openai.completion import Usage


def chunk(event: bytes) -> Any:
    """Return the chunk in one event, validated by the openai package's type."""
    assert event.startswith(b"data: ")
    assert event.endswith(b"\n\n")
    assert event.count(b"\n") == 2
    decoded = json.loads(event[6:])
    ChatCompletionChunk.model_validate(decoded, strict=True)
    assert {"id", "object", "created", "model", "choices"} <= set(decoded)
    return decoded


def encoder(*, include_usage: bool = False) -> ChunkEncoder:
    return ChunkEncoder("chatcmpl-1", 1_790_000_000, "m", include_usage=include_usage)


KINDS: list[tuple[Chunk, dict[str, Any]]] = [
    (RoleChunk(), {"role": "assistant", "content": "", "refusal": None}),
    (ContentChunk("a"), {"content": "a"}),
    (
        ToolCallChunk(0, "c1", "f"),
        {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}]},
    ),
    (ToolArgumentsChunk(0, "{}"), {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}),
    (CustomInputChunk(1, "ls"), {"tool_calls": [{"index": 1, "custom": {"input": "ls"}}]}),
    (FunctionCallChunk("f"), {"function_call": {"name": "f", "arguments": ""}}),
    (FunctionArgumentsChunk("{}"), {"function_call": {"arguments": "{}"}}),
    (ReasoningChunk("r"), {"reasoning_content": "r"}),
    (DetailsChunk({"annotations": []}), {"annotations": []}),
    (DetailsChunk({"thinking_blocks": []}), {"reasoning_content": "", "thinking_blocks": []}),
    (FinishChunk("stop"), {}),
]


def every_kind(writer: ChunkEncoder) -> list[bytes]:
    return [writer.encode(kind) for kind, _ in KINDS]


@pytest.mark.parametrize(("kind", "delta"), KINDS, ids=[type(kind).__name__ for kind, _ in KINDS])
def test_a_chunk_is_a_delta(kind: Chunk, delta: dict[str, Any]) -> None:
    [choice] = chunk(encoder().encode(kind))["choices"]
    finish = "stop" if isinstance(kind, FinishChunk) else None
    assert choice == {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}


def test_a_custom_call_begins_with_a_kind_unknown_to_the_openai_package() -> None:
    """As OpenAI's API sends it: https://github.com/openai/openai-openapi/issues/576."""
    [choice] = json.loads(encoder().encode(CustomCallChunk(0, "c1", "shell"))[6:])["choices"]
    call = {"index": 0, "id": "c1", "type": "custom", "custom": {"name": "shell", "input": ""}}
    assert choice["delta"] == {"tool_calls": [call]}


@pytest.mark.parametrize("text", ["", 'é\u2028\x85\x0c\r\n\t\x00"\\', "\U0001f600", "data: [DONE]\n\n"])
def test_any_text_stays_on_the_one_line_of_its_event(text: str) -> None:
    assert chunk(encoder().encode(ContentChunk(text)))["choices"][0]["delta"] == ContentChunk(text).delta()


def test_all_chunks_of_a_stream_have_one_id_time_and_model() -> None:
    heads = [(decoded["id"], decoded["created"], decoded["model"]) for decoded in map(chunk, every_kind(encoder()))]
    assert set(heads) == {("chatcmpl-1", 1_790_000_000, "m")}


def test_without_include_usage_no_chunk_has_usage() -> None:
    assert all("usage" not in chunk(event) for event in every_kind(encoder()))
    assert encoder().encode(UsageChunk(Usage(1, 2))) == b""


def test_with_include_usage_the_last_chunk_has_it_and_all_others_null() -> None:
    writer = encoder(include_usage=True)
    assert [chunk(event)["usage"] for event in every_kind(writer)] == [None] * len(KINDS)
    last = chunk(writer.encode(UsageChunk(Usage(22, 20, cached=5, cache_written=7))))
    assert last["choices"] == []
    assert last["usage"] == Usage(22, 20, cached=5, cache_written=7).as_object()


@pytest.mark.parametrize("include_usage", [False, True])
def test_the_last_chunks_have_the_tier_at_which_it_was_served(include_usage: bool) -> None:
    writer = encoder(include_usage=include_usage)
    assert chunk(writer.encode(FinishChunk("stop", "flex")))["service_tier"] == "flex"
    assert "service_tier" not in chunk(writer.encode(FinishChunk("stop")))
    assert chunk(writer.encode(FinishChunk("stop", "flex", {"guardrail": {}})))["trace"] == {"guardrail": {}}
    if include_usage:
        assert chunk(writer.encode(UsageChunk(Usage(1, 2), "flex")))["service_tier"] == "flex"


def test_a_model_of_any_name_is_repeated_as_requested() -> None:
    name = 'arn:aws:bedrock:us-east-1:1:"x"/é'
    assert chunk(ChunkEncoder("i", 1, name, include_usage=False).encode(RoleChunk()))["model"] == name
