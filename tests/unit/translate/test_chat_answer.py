"""A Converse answer as a `chat.completion`, which the openai package's own type must take."""

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion

from extproc.bedrock.converse import BadAnswerError
from extproc.openai.chat import Usage
from extproc.openai.errors import ApiError
from extproc.translate.chat_answer import answer, finish_reason


def converse(*blocks: Any, stop: str = "end_turn", **usage: int) -> bytes:
    counted = {"inputTokens": 10, "outputTokens": 20, "totalTokens": 30, **usage}
    message = {"role": "assistant", "content": list(blocks)}
    return json.dumps({"output": {"message": message}, "stopReason": stop, "usage": counted}).encode()


def use(name: str = "f", call_id: str = "c1", **fields: Any) -> dict[str, Any]:
    return {"toolUse": {"toolUseId": call_id, "name": name, **fields}}


def completion(*blocks: Any, answer_tool: str | None = None, **fields: Any) -> Any:
    body, _, _ = answer(
        converse(*blocks, **fields),
        completion_id="chatcmpl-1",
        created=1_790_000_000,
        model="m",
        answer_tool=answer_tool,
    )
    found = json.loads(body)
    ChatCompletion.model_validate(found, strict=True)
    return found


def message(*blocks: Any, answer_tool: str | None = None, **fields: Any) -> Any:
    return completion(*blocks, answer_tool=answer_tool, **fields)["choices"][0]["message"]


def finish(*blocks: Any, answer_tool: str | None = None, **fields: Any) -> str:
    found: str = completion(*blocks, answer_tool=answer_tool, **fields)["choices"][0]["finish_reason"]
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
        "usage": {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30},
    }


def test_several_texts_are_one_content() -> None:
    assert message({"text": "a"}, {"text": "b "}, {"text": "c"})["content"] == "ab c"


def test_cited_text_is_content_like_any_other() -> None:
    cited = {"citationsContent": {"content": [{"text": "b"}, {"text": "c"}], "citations": [{"title": "t"}]}}
    assert message({"text": "a"}, cited, {"text": "d"})["content"] == "abcd"


def test_reasoning_stands_apart_from_the_content() -> None:
    blocks = [
        {"reasoningContent": {"reasoningText": {"text": "Hm. ", "signature": "s"}}},
        {"reasoningContent": {"redactedContent": "eA=="}},
        {"reasoningContent": {"reasoningText": {"text": "So."}}},
        {"text": "Hi"},
    ]
    found = message(*blocks)
    assert (found["content"], found["reasoning_content"]) == ("Hi", "Hm. So.")


def test_without_reasoning_there_is_no_reasoning_key() -> None:
    assert "reasoning_content" not in message({"reasoningContent": {"reasoningText": {"text": "", "signature": "s"}}})


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
    found = json.loads(answer(body, completion_id="i", created=1, model="m", answer_tool=None)[0])
    assert found["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == arguments


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
    found = completion(use("report", input={"a": 1}), stop="tool_use", answer_tool="report")["choices"][0]
    assert found["message"] == {"role": "assistant", "content": '{"a": 1}', "refusal": None}
    assert found["finish_reason"] == "stop"


def test_text_beside_the_answer_would_spoil_its_json() -> None:
    blocks = [{"text": "Here it is:"}, use("report", input={"a": 1}), {"text": "Done."}]
    assert message(*blocks, answer_tool="report")["content"] == '{"a": 1}'


def test_a_second_answer_is_not_heard() -> None:
    blocks = [use("report", input={"a": 1}), use("report", "c2", input={"a": 2})]
    assert message(*blocks, answer_tool="report")["content"] == '{"a": 1}'


def test_without_the_answer_tool_the_text_is_all_there_is() -> None:
    assert message({"text": "I cannot."}, answer_tool="report")["content"] == "I cannot."


def test_other_calls_beside_the_answer_are_calls() -> None:
    found = completion(use("report", input={"a": 1}), use("f", "c2"), stop="tool_use", answer_tool="report")["choices"][
        0
    ]
    assert found["message"]["content"] == '{"a": 1}'
    assert found["message"]["tool_calls"] == [call(call_id="c2")]
    assert found["finish_reason"] == "tool_calls"


def test_an_answer_that_was_cut_off_says_so() -> None:
    assert finish(use("report", input={"a": 1}), stop="max_tokens", answer_tool="report") == "length"


def test_an_empty_answer_is_an_empty_object() -> None:
    assert message(use("report"), answer_tool="report")["content"] == "{}"


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
    _, usage, reason = answer(converse({"text": "Hi"}), completion_id="i", created=1, model="m", answer_tool=None)
    assert (usage, reason) == (Usage(10, 20), "stop")


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"\xff", b'{"output":{"message":{}}}'])
def test_an_answer_that_is_none_is_a_bad_answer(body: bytes) -> None:
    with pytest.raises(BadAnswerError):
        answer(body, completion_id="i", created=1, model="m", answer_tool=None)
