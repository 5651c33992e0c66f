"""Tool calls of a `chat.completion`, and the content that an answer tool's call is."""

import json
from typing import Any

import pytest

from tests.unit.translate.whole_responses import (
    REPORT,
    call,
    cited,
    completed,
    completion,
    converse,
    finish,
    message,
    use,
    web,
)

# Tool calls


def test_a_call_comes_with_its_id_name_and_arguments() -> None:
    decoded = message({"text": "Let me see."}, use(input={"x": 1}), use("g", "c2", input={}))
    assert decoded["content"] == "Let me see."
    assert decoded["tool_calls"] == [call(arguments='{"x": 1}'), call("g", "c2")]


def test_calls_without_text_have_null_content() -> None:
    assert message(use(input={}))["content"] is None


@pytest.mark.parametrize("fields", [{}, {"input": {}}, {"input": None}])
def test_a_call_without_arguments_has_an_empty_object(fields: dict[str, Any]) -> None:
    assert message(use(**fields))["tool_calls"] == [call()]


def test_arguments_come_byte_for_byte() -> None:
    arguments = '{"b":1.0,  "a":123456789012345678901234567890}'
    body = converse(use(input="HERE")).replace(b'"HERE"', arguments.encode())
    decoded = json.loads(completed(body).body)
    assert decoded["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == arguments


def test_tools_have_the_clients_names() -> None:
    decoded = message(use("files_read_1a2b"), use("g", "c2"), shape={"names": {"files_read_1a2b": "files/read.txt"}})
    assert decoded["tool_calls"] == [call("files/read.txt"), call("g", "c2")]


def test_a_call_that_aws_itself_executes_is_none_of_the_clients() -> None:
    blocks = [use("nova_grounding", type="server_tool_use"), {"toolResult": {"toolUseId": "c1"}}, {"text": "Hi"}]
    decoded = completion(*blocks)["choices"][0]
    assert decoded["message"] == {"role": "assistant", "content": "Hi", "refusal": None}
    assert decoded["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"input": 'ls "x"'}, 'ls "x"'),
        ({"input": ""}, ""),
        ({}, ""),
        ({"command": "ls"}, '{"command": "ls"}'),
        ({"input": 5}, '{"input": 5}'),
    ],
)
def test_a_custom_tools_input_is_a_text(value: Any, expected: str) -> None:
    shape = {"names": {"shell_1": "my shell"}, "custom": frozenset({"my shell"})}
    decoded = completion(use("f", "c0"), use("shell_1", input=value), shape=shape)["choices"][0]
    assert decoded["message"]["tool_calls"] == [
        call(call_id="c0"),
        {"id": "c1", "type": "custom", "custom": {"name": "my shell", "input": expected}},
    ]
    assert decoded["finish_reason"] == "tool_calls"


def test_a_function_from_before_tools_is_called_in_the_old_shape() -> None:
    """The old form holds one call; further calls of the model are dropped."""
    shape = {"names": {"f_1": "f"}, "legacy": True}
    decoded = completion(use("f_1", input={"x": 1}), use("g", "c2"), stop="tool_use", shape=shape)["choices"][0]
    assert decoded["message"]["function_call"] == {"name": "f", "arguments": '{"x": 1}'}
    assert decoded["message"]["content"] is None
    assert "tool_calls" not in decoded["message"]
    assert decoded["finish_reason"] == "function_call"


def test_without_a_call_the_old_shape_is_as_any_other() -> None:
    decoded = completion({"text": "a"}, shape={"legacy": True})["choices"][0]
    assert (decoded["message"]["content"], decoded["finish_reason"]) == ("a", "stop")
    assert "function_call" not in decoded["message"]


# The answer tool


def test_the_input_of_the_answer_tool_is_the_content() -> None:
    decoded = completion(use("report", input={"a": 1}), stop="tool_use", shape=REPORT)["choices"][0]
    assert decoded["message"] == {"role": "assistant", "content": '{"a": 1}', "refusal": None}
    assert decoded["finish_reason"] == "stop"


def test_text_beside_the_answer_tool_is_dropped() -> None:
    blocks = [{"text": "Here it is:"}, use("report", input={"a": 1}), {"text": "Done."}]
    assert message(*blocks, shape=REPORT)["content"] == '{"a": 1}'


def test_a_second_call_of_the_answer_tool_is_ignored() -> None:
    blocks = [use("report", input={"a": 1}), use("report", "c2", input={"a": 2})]
    assert message(*blocks, shape=REPORT)["content"] == '{"a": 1}'


def test_without_a_call_of_the_answer_tool_the_text_is_the_content() -> None:
    assert message({"text": "I cannot."}, shape=REPORT)["content"] == "I cannot."


def test_text_beside_another_call_is_not_of_the_schema() -> None:
    """The client's `parse()` would raise an exception for the text."""
    decoded = message({"text": "Let me see."}, cited("a", web("https://x.org")), use("f"), shape=REPORT)
    assert decoded == {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call()]}


def test_other_calls_beside_the_answer_tool_are_calls() -> None:
    decoded = completion(use("report", input={"a": 1}), use("f", "c2"), stop="tool_use", shape=REPORT)["choices"][0]
    assert decoded["message"]["content"] == '{"a": 1}'
    assert decoded["message"]["tool_calls"] == [call(call_id="c2")]
    assert decoded["finish_reason"] == "tool_calls"


def test_a_truncated_response_has_finish_reason_length() -> None:
    assert finish(use("report", input={"a": 1}), stop="max_tokens", shape=REPORT) == "length"


def test_an_empty_tool_input_is_an_empty_object() -> None:
    assert message(use("report"), shape=REPORT)["content"] == "{}"
