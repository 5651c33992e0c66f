"""A Converse answer as a `chat.completion`, which the openai package's own type must take."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from extproc.bedrock.converse_response import ConverseResponseError
from extproc.openai.chunks import ChunkEncoder
from extproc.openai.completion import Usage
from extproc.openai.errors import ApiError
from extproc.translate.chat_completion import MAX_RESPONSE_BLOCKS, MAX_RESPONSE_BYTES, translate_response
from extproc.translate.chat_sse import whole_stream
from extproc.translate.chat_stream import ChatStream
from extproc.translate.completed import Completed
from extproc.translate.response_fields import finish_reason
from extproc.translate.response_shape import ResponseShape


def converse(*blocks: Any, stop: str = "end_turn", **usage: int) -> bytes:
    counted = {"inputTokens": 10, "outputTokens": 20, "totalTokens": 30, **usage}
    message = {"role": "assistant", "content": list(blocks)}
    return json.dumps({"output": {"message": message}, "stopReason": stop, "usage": counted}).encode()


REPORT = {"answer_tool": "report"}


def use(name: str = "f", call_id: str = "c1", **fields: Any) -> dict[str, Any]:
    return {"toolUse": {"toolUseId": call_id, "name": name, **fields}}


def answered(body: bytes, **shape: Any) -> Completed:
    return translate_response(
        body, completion_id="chatcmpl-1", created=1_790_000_000, model="m", shape=ResponseShape(**shape)
    )


def completion(*blocks: Any, shape: dict[str, Any] | None = None, **fields: Any) -> Any:
    found = json.loads(answered(converse(*blocks, **fields), **shape or {}).body)
    ChatCompletion.model_validate(found, strict=True)
    return found


def message(*blocks: Any, **fields: Any) -> Any:
    return completion(*blocks, **fields)["choices"][0]["message"]


def finish(*blocks: Any, **fields: Any) -> str:
    found: str = completion(*blocks, **fields)["choices"][0]["finish_reason"]
    return found


def call(name: str = "f", call_id: str = "c1", arguments: str = "{}") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


# The message


def test_a_text_is_the_content() -> None:
    assert completion({"text": "Hi"}) == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 20,
            "total_tokens": 30,
            "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        },
    }


def test_several_texts_are_one_content() -> None:
    assert message({"text": "a"}, {"text": "b "}, {"text": "c"})["content"] == "ab c"


def test_cited_text_is_content_like_any_other() -> None:
    cited = {"citationsContent": {"content": [{"text": "b"}, {"text": "c"}], "citations": [{"title": "t"}]}}
    assert message({"text": "a"}, cited, {"text": "d"})["content"] == "abcd"


def cited(text: str, *citations: dict[str, Any]) -> dict[str, Any]:
    return {"citationsContent": {"content": [{"text": text}], "citations": list(citations)}}


def web(url: str | None, **fields: Any) -> dict[str, Any]:
    return {"location": {"web": {"url": url, "domain": "x.org"}}, **fields}


def test_citations_of_the_web_are_annotations_of_the_text_that_cites_them() -> None:
    blocks = [
        {"text": "Look: "},
        cited("\U0001f600 it is", web("https://x.org/a", title="A"), web("https://x.org/b")),
        cited(".", {"location": {"documentPage": {"documentIndex": 0}}, "title": "a document"}, web(""), {}),
    ]
    found = message(*blocks)
    assert found["content"] == "Look: \U0001f600 it is."
    spans = [each["url_citation"] for each in found["annotations"]]
    assert spans == [
        {"start_index": 6, "end_index": 13, "title": "A", "url": "https://x.org/a"},
        {"start_index": 6, "end_index": 13, "title": "x.org", "url": "https://x.org/b"},
    ]
    assert found["content"][6:13] == "\U0001f600 it is"


def test_text_that_is_not_told_leaves_no_annotations() -> None:
    found = message(cited("a", web("https://x.org")), use("report", input={"a": 1}), shape=REPORT)
    assert "annotations" not in found


def test_reasoning_stands_apart_from_the_content_and_comes_back_in_blocks() -> None:
    blocks = [
        {"reasoningContent": {"reasoningText": {"text": "Hm. ", "signature": "s"}}},
        {"reasoningContent": {"redactedContent": "eA=="}},
        {"reasoningContent": {"reasoningText": {"text": "So."}}},
        {"text": "Hi"},
    ]
    found = message(*blocks)
    assert (found["content"], found["reasoning_content"]) == ("Hi", "Hm. So.")
    assert found["thinking_blocks"] == [
        {"type": "thinking", "thinking": "Hm. ", "signature": "s"},
        {"type": "redacted_thinking", "data": "eA=="},
        {"type": "thinking", "thinking": "So."},
    ]


def test_a_signature_without_words_is_kept() -> None:
    found = message({"reasoningContent": {"reasoningText": {"text": "", "signature": "s"}}})
    assert "reasoning_content" not in found
    assert found["thinking_blocks"] == [{"type": "thinking", "thinking": "", "signature": "s"}]


@pytest.mark.parametrize(
    "reasoning", [{}, {"reasoningText": {"text": ""}}, {"redactedContent": ""}, {"reasoningText": None}]
)
def test_without_reasoning_there_is_no_reasoning_key(reasoning: Any) -> None:
    assert set(message({"reasoningContent": reasoning}, {"text": "a"})) == {"role", "content", "refusal"}


def test_blocks_that_are_not_known_are_passed_over() -> None:
    assert message({"image": {"format": "png"}}, {"text": "Hi"}, {"hologram": 1})["content"] == "Hi"


@pytest.mark.parametrize("blocks", [[], [{"text": ""}], [{"hologram": 1}]])
def test_an_answer_of_nothing_has_empty_content(blocks: list[Any]) -> None:
    assert message(*blocks)["content"] == ""


# Tool calls


def test_a_call_comes_with_its_id_name_and_arguments() -> None:
    found = message({"text": "Let me see."}, use(input={"x": 1}), use("g", "c2", input={}))
    assert found["content"] == "Let me see."
    assert found["tool_calls"] == [call(arguments='{"x": 1}'), call("g", "c2")]


def test_calls_without_words_have_null_content() -> None:
    assert message(use(input={}))["content"] is None


@pytest.mark.parametrize("fields", [{}, {"input": {}}, {"input": None}])
def test_a_call_without_arguments_has_an_empty_object(fields: dict[str, Any]) -> None:
    assert message(use(**fields))["tool_calls"] == [call()]


def test_arguments_come_byte_for_byte() -> None:
    arguments = '{"b":1.0,  "a":123456789012345678901234567890}'
    body = converse(use(input="HERE")).replace(b'"HERE"', arguments.encode())
    found = json.loads(answered(body).body)
    assert found["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == arguments


def test_tools_have_the_clients_names() -> None:
    found = message(use("files_read_1a2b"), use("g", "c2"), shape={"names": {"files_read_1a2b": "files/read.txt"}})
    assert found["tool_calls"] == [call("files/read.txt"), call("g", "c2")]


def test_a_call_that_aws_itself_executes_is_none_of_the_clients() -> None:
    blocks = [use("nova_grounding", type="server_tool_use"), {"toolResult": {"toolUseId": "c1"}}, {"text": "Hi"}]
    found = completion(*blocks)["choices"][0]
    assert found["message"] == {"role": "assistant", "content": "Hi", "refusal": None}
    assert found["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"input": 'ls "x"'}, 'ls "x"'),
        ({"input": ""}, ""),
        ({}, ""),
        ({"command": "ls"}, '{"command": "ls"}'),
        ({"input": 5}, '{"input": 5}'),
    ],
)
def test_a_custom_tools_input_is_a_text(given: Any, told: str) -> None:
    shape = {"names": {"shell_1": "my shell"}, "custom": frozenset({"my shell"})}
    found = completion(use("f", "c0"), use("shell_1", input=given), shape=shape)["choices"][0]
    assert found["message"]["tool_calls"] == [
        call(call_id="c0"),
        {"id": "c1", "type": "custom", "custom": {"name": "my shell", "input": told}},
    ]
    assert found["finish_reason"] == "tool_calls"


def test_a_function_from_before_tools_is_called_in_the_old_shape() -> None:
    """There is room for one; what the model called beside it is not heard."""
    shape = {"names": {"f_1": "f"}, "legacy": True}
    found = completion(use("f_1", input={"x": 1}), use("g", "c2"), stop="tool_use", shape=shape)["choices"][0]
    assert found["message"]["function_call"] == {"name": "f", "arguments": '{"x": 1}'}
    assert found["message"]["content"] is None
    assert "tool_calls" not in found["message"]
    assert found["finish_reason"] == "function_call"


def test_without_a_call_the_old_shape_is_as_any_other() -> None:
    found = completion({"text": "a"}, shape={"legacy": True})["choices"][0]
    assert (found["message"]["content"], found["finish_reason"]) == ("a", "stop")
    assert "function_call" not in found["message"]


# The finish reason


@pytest.mark.parametrize(
    ("stop", "alone", "with_a_call"),
    [
        ("end_turn", "stop", "tool_calls"),
        ("stop_sequence", "stop", "tool_calls"),
        ("tool_use", "stop", "tool_calls"),
        ("max_tokens", "length", "length"),
        ("model_context_window_exceeded", "length", "length"),
        ("guardrail_intervened", "content_filter", "content_filter"),
        ("content_filtered", "content_filter", "content_filter"),
        ("refusal", "content_filter", "content_filter"),
        ("brand_new_reason", "stop", "tool_calls"),
        ("", "stop", "tool_calls"),
    ],
)
def test_a_stop_reason_is_told_in_openais_words(stop: str, alone: str, with_a_call: str) -> None:
    assert finish({"text": "Hi"}, stop=stop) == alone
    assert finish({"text": "Hi"}, use(), stop=stop) == with_a_call


@pytest.mark.parametrize("stop", ["malformed_model_output", "malformed_tool_use"])
def test_a_botched_answer_is_an_error_and_no_answer(stop: str) -> None:
    with pytest.raises(ApiError) as caught:
        finish_reason(stop, called=False)
    assert (caught.value.status, caught.value.code) == (502, stop)


# The answer tool


def test_the_input_of_the_answer_tool_is_the_content() -> None:
    found = completion(use("report", input={"a": 1}), stop="tool_use", shape=REPORT)["choices"][0]
    assert found["message"] == {"role": "assistant", "content": '{"a": 1}', "refusal": None}
    assert found["finish_reason"] == "stop"


def test_text_beside_the_answer_would_spoil_its_json() -> None:
    blocks = [{"text": "Here it is:"}, use("report", input={"a": 1}), {"text": "Done."}]
    assert message(*blocks, shape=REPORT)["content"] == '{"a": 1}'


def test_a_second_answer_is_not_heard() -> None:
    blocks = [use("report", input={"a": 1}), use("report", "c2", input={"a": 2})]
    assert message(*blocks, shape=REPORT)["content"] == '{"a": 1}'


def test_without_the_answer_tool_the_text_is_all_there_is() -> None:
    assert message({"text": "I cannot."}, shape=REPORT)["content"] == "I cannot."


def test_text_beside_another_call_is_not_of_the_schema() -> None:
    """The client's `parse()` would raise at it."""
    found = message({"text": "Let me see."}, cited("a", web("https://x.org")), use("f"), shape=REPORT)
    assert found == {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call()]}


def test_other_calls_beside_the_answer_are_calls() -> None:
    found = completion(use("report", input={"a": 1}), use("f", "c2"), stop="tool_use", shape=REPORT)["choices"][0]
    assert found["message"]["content"] == '{"a": 1}'
    assert found["message"]["tool_calls"] == [call(call_id="c2")]
    assert found["finish_reason"] == "tool_calls"


def test_an_answer_that_was_cut_off_says_so() -> None:
    assert finish(use("report", input={"a": 1}), stop="max_tokens", shape=REPORT) == "length"


def test_an_empty_answer_is_an_empty_object() -> None:
    assert message(use("report"), shape=REPORT)["content"] == "{}"


# Usage


def test_tokens_of_the_cache_count_as_prompt_tokens() -> None:
    found = completion({"text": "Hi"}, cacheReadInputTokens=5, cacheWriteInputTokens=7)["usage"]
    assert found == {
        "prompt_tokens": 22,
        "completion_tokens": 20,
        "total_tokens": 42,
        "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 7},
    }


def test_usage_and_finish_reason_come_beside_the_body() -> None:
    found = answered(converse({"text": "Hi"}))
    assert (found.usage, found.finish) == (Usage(10, 20), "stop")


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"\xff", b'{"output":{"message":{}}}'])
def test_an_answer_that_is_none_is_a_bad_answer(body: bytes) -> None:
    with pytest.raises(ConverseResponseError):
        answered(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},"Version":"1.0"}',
        b'{"__type":"UnknownOperationException"}',
    ],
)
def test_a_failure_with_a_status_of_200_is_a_failure(body: bytes) -> None:
    """AWS answers so where it does not know the operation."""
    with pytest.raises(ApiError) as caught:
        answered(body)
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")


# The service tier


@pytest.mark.parametrize(
    ("tier", "told"), [("default", "default"), ("flex", "flex"), ("priority", "priority"), ("reserved", "scale")]
)
def test_it_says_at_which_tier_it_was_served(tier: str, told: str) -> None:
    body = converse({"text": "a"}).replace(b'"stopReason"', b'"serviceTier":{"type":"%s"},"stopReason"' % tier.encode())
    found = json.loads(answered(body).body)
    ChatCompletion.model_validate(found, strict=True)
    assert found["service_tier"] == told


def test_without_a_tier_there_is_no_tier() -> None:
    assert "service_tier" not in completion({"text": "a"})


# What a guardrail did

TRACE = {"guardrail": {"inputAssessment": {"gr1": {"x": [1.0, "a\nb", {}, None]}}, "actionReason": "No action."}}


def traced(trace: Any) -> bytes:
    return converse({"text": "a"})[:-1] + b',"trace":' + json.dumps(trace, indent=1).encode() + b"}"


def test_who_asked_what_the_guardrail_did_is_told() -> None:
    found = json.loads(answered(traced(TRACE), trace=True).body)
    ChatCompletion.model_validate(found, strict=True)
    assert found["trace"] == TRACE


@pytest.mark.parametrize("trace", [TRACE, None, {}])
def test_who_did_not_ask_is_not_shown_what_the_guardrail_held_back(trace: Any) -> None:
    assert "trace" not in json.loads(answered(traced(trace), trace=trace != TRACE).body)
    assert b"trace" not in streamed(traced(trace), trace=trace != TRACE).body


def test_the_trace_of_a_whole_answer_goes_out_with_the_finish_reason() -> None:
    chunks = [json.loads(part[6:]) for part in streamed(traced(TRACE), trace=True).body.split(b"\n\n")[:-2]]
    assert [chunk.get("trace") for chunk in chunks] == [None, None, TRACE, None]
    assert chunks[2]["choices"][0]["finish_reason"] == "stop"


# A whole answer as a stream


def streamed(body: bytes, *, truncation: str = "length", usage: bool = True, **shape: Any) -> Completed:
    encoder = ChunkEncoder("chatcmpl-1", 1_790_000_000, "m", include_usage=usage)
    return whole_stream(body, ChatStream(shape=ResponseShape(**shape), truncation=truncation), encoder)


def deltas(written: bytes) -> list[Any]:
    """What stands between the role and the finish_reason, as the openai package's type takes it."""
    *parts, done, rest = written.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    found = [json.loads(part.removeprefix(b"data: ")) for part in parts]
    for chunk in found:
        ChatCompletionChunk.model_validate(chunk, strict=True)
    first, *choices = [chunk["choices"][0] for chunk in found if chunk["choices"]]
    assert first["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert [choice["finish_reason"] for choice in choices[:-1]] == [None] * (len(choices) - 1)
    return [choice["delta"] for choice in choices[:-1]]


def test_a_whole_answer_can_be_told_as_a_stream() -> None:
    blocks = [
        {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "s"}}},
        {"text": "a"},
        cited("b", web("https://x.org")),
        use("f", input={"x": 1}),
        use("g_1", "c2"),
    ]
    found = streamed(converse(*blocks, stop="tool_use"), names={"g_1": "g"})
    cited_b = {"start_index": 1, "end_index": 2, "title": "x.org", "url": "https://x.org"}
    assert deltas(found.body) == [
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
    assert (found.usage, found.finish) == (Usage(10, 20), "tool_calls")
    assert b'"finish_reason":"tool_calls"' in found.body


def test_its_usage_stands_in_the_stream_only_where_it_was_asked_for() -> None:
    body = converse({"text": "a"})
    assert b'"usage":{"prompt_tokens":10,' in streamed(body).body
    assert b'"usage"' not in streamed(body, usage=False).body


def test_it_ends_with_done_once() -> None:
    assert streamed(converse({"text": "a"})).body.count(b"[DONE]") == 1


def test_an_answer_of_nothing_is_a_stream_of_nothing() -> None:
    assert deltas(streamed(converse()).body) == []


def test_a_deployment_may_call_truncation_by_another_name_in_streams() -> None:
    body = converse({"text": "a"}, stop="max_tokens")
    assert streamed(body).finish == answered(body).finish == "length"
    found = streamed(body, truncation="stop")
    assert found.finish == "stop"
    assert b'"finish_reason":"stop"' in found.body


@pytest.mark.parametrize("stop", ["malformed_model_output", "malformed_tool_use"])
def test_a_botched_answer_is_an_error_and_no_stream(stop: str) -> None:
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


@pytest.mark.parametrize("shape", [answered, streamed], ids=["whole", "streamed"])
def test_a_response_over_a_limit_is_an_error(shape: Callable[[bytes], Completed]) -> None:
    """It would hold up the event loop."""
    bare = len(converse({"text": ""}))
    shape(converse({"text": "a" * (MAX_RESPONSE_BYTES - bare)}))
    shape(converse(*[{"text": "a"}] * MAX_RESPONSE_BLOCKS))
    for body, why in (
        (converse({"text": "a" * (MAX_RESPONSE_BYTES - bare + 1)}), "at most 8,388,608"),
        (converse(*[{"text": "a"}] * (MAX_RESPONSE_BLOCKS + 1)), "at most 4,096"),
    ):
        with pytest.raises(ApiError, match=why) as caught:
            shape(body)
        assert (caught.value.status, caught.value.code) == (502, "bad_upstream_answer")
