"""A whole Converse response, sent as the chunks of a stream."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from openai.types.chat import ChatCompletionChunk

from extproc.openai.completion import Usage
from extproc.openai.errors import ApiError
from extproc.translate.completed import Completed
from extproc.translate.response_limits import (
    MAX_RESPONSE_BLOCKS,
    MAX_RESPONSE_BYTES,
    MAX_RESPONSE_CITATIONS,
    MAX_WHOLE_TEXT,
)
from tests.unit.translate.whole_responses import call, cited, completed, converse, streamed, use, web


def deltas(written: bytes) -> list[Any]:
    """Return the deltas between the role and the finish_reason, validated by the openai package's type."""
    *parts, done, rest = written.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    decoded = [json.loads(part.removeprefix(b"data: ")) for part in parts]
    for chunk in decoded:
        ChatCompletionChunk.model_validate(chunk, strict=True)
    first, *choices = [chunk["choices"][0] for chunk in decoded if chunk["choices"]]
    assert first["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert [choice["finish_reason"] for choice in choices[:-1]] == [None] * (len(choices) - 1)
    return [choice["delta"] for choice in choices[:-1]]


def test_a_whole_response_can_be_sent_as_a_stream() -> None:
    blocks = [
        {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "s"}}},
        {"text": "a"},
        cited("b", web("https://x.org")),
        use("f", input={"x": 1}),
        use("g_1", "c2"),
    ]
    decoded = streamed(converse(*blocks, stop="tool_use"), names={"g_1": "g"})
    cited_b = {"start_index": 1, "end_index": 2, "title": "x.org", "url": "https://x.org"}
    assert deltas(decoded.body) == [
        {"reasoning_content": "Hm."},
        {"content": "a"},
        {"content": "b"},
        {"tool_calls": [{"index": 0, **call(arguments="")}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"x": 1}'}}]},
        {"tool_calls": [{"index": 1, **call("g", "c2", "")}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
        {
            "reasoning_content": "",
            "annotations": [{"type": "url_citation", "url_citation": cited_b}],
            "thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": "s"}],
        },
    ]
    assert (decoded.usage, decoded.finish) == (Usage(10, 20), "tool_calls")
    assert b'"finish_reason":"tool_calls"' in decoded.body


def test_its_usage_is_in_the_stream_only_if_requested() -> None:
    body = converse({"text": "a"})
    assert b'"usage":{"prompt_tokens":10,' in streamed(body).body
    assert b'"usage"' not in streamed(body, usage=False).body


def test_it_ends_with_done_once() -> None:
    assert streamed(converse({"text": "a"})).body.count(b"[DONE]") == 1


def test_an_empty_response_is_an_empty_stream() -> None:
    assert deltas(streamed(converse()).body) == []


def test_a_deployment_may_call_truncation_by_another_name_in_streams() -> None:
    body = converse({"text": "a"}, stop="max_tokens")
    assert streamed(body).finish == completed(body).finish == "length"
    decoded = streamed(body, truncation="stop")
    assert decoded.finish == "stop"
    assert b'"finish_reason":"stop"' in decoded.body


@pytest.mark.parametrize("stop", ["malformed_model_output", "malformed_tool_use"])
def test_a_malformed_response_is_an_error_and_no_stream(stop: str) -> None:
    with pytest.raises(ApiError):
        streamed(converse({"text": "a"}, stop=stop))


def test_an_old_call_and_a_custom_call_are_streamed_in_their_shapes() -> None:
    old = streamed(converse(use("f", input={"x": 1}), use("g", "c2")), legacy=True)
    assert deltas(old.body) == [
        {"function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": '{"x": 1}'}},
    ]
    custom = streamed(converse(use("sh", input={"input": "ls"})), custom=frozenset({"sh"})).body
    assert b'{"index":0,"id":"c1","type":"custom","custom":{"name":"sh","input":""}}' in custom
    assert b'{"index":0,"custom":{"input":"ls"}}' in custom


@pytest.mark.parametrize("shape", [completed, streamed], ids=["whole", "streamed"])
def test_a_response_over_a_limit_is_an_error(shape: Callable[[bytes], Completed]) -> None:
    """A larger response would take the event loop, or the process beside it, too long."""
    image = {"image": {"format": "png", "source": {"bytes": ""}}}
    bare = len(converse(image))
    drawn = {"image": {"format": "png", "source": {"bytes": "A" * (MAX_RESPONSE_BYTES - bare)}}}
    shape(converse(drawn))
    shape(converse({"text": "a" * MAX_WHOLE_TEXT}))
    shape(converse(*[{"text": "a"}] * MAX_RESPONSE_BLOCKS))
    sources = [{"title": "t", "location": {"web": {"url": "https://x.org"}}}] * (MAX_RESPONSE_CITATIONS // 2)
    half = {"citationsContent": {"content": [{"text": "a"}], "citations": sources}}
    shape(converse(half, half))
    for body, why in (
        (converse(drawn).replace(b'"A', b'"AA'), "at most 8,388,608"),
        (converse({"text": "a" * MAX_WHOLE_TEXT}, {"text": "a"}), "more than 4,194,304 bytes of text"),
        (converse(*[{"text": "a"}] * (MAX_RESPONSE_BLOCKS + 1)), "at most 4,096"),
        (converse(half, half, {"citationsContent": {"citations": [{}]}}), "at most 8,192"),
    ):
        with pytest.raises(ApiError, match=why) as caught:
            shape(body)
        assert (caught.value.status, caught.value.code) == (502, "bad_upstream_answer")
