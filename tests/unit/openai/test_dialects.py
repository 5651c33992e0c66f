"""Requests in the form of another API: the error is OpenAI's, and says what to send instead."""

import json
from typing import Any

import pytest

from extproc.openai.chat import decode_request
from extproc.openai.errors import ApiError

MESSAGES = [{"role": "user", "content": "Hello!"}]
SCHEMA = {"type": "object", "properties": {}}


def rejection(**fields: Any) -> ApiError:
    with pytest.raises(ApiError) as raised:
        decode_request(json.dumps({"model": "m", **fields}).encode())
    assert (raised.value.status, raised.value.type) == (400, "invalid_request_error")
    return raised.value


@pytest.mark.parametrize(
    ("fields", "param", "advice"),
    [
        ({"input": "Hello!"}, "input", "choose chat completions in the client's settings"),
        ({"instructions": "Be brief.", "input": []}, "instructions", "Responses API"),
        ({"messages": MESSAGES, "reasoning": {"effort": "low"}}, "reasoning", "Responses API"),
        ({"messages": MESSAGES, "system": "Be brief."}, "system", "a message of the role `system`"),
        ({"messages": MESSAGES, "stop_sequences": ["x"]}, "stop_sequences", "`stop`"),
        (
            {"messages": MESSAGES, "tools": [{"type": "function", "name": "f", "parameters": SCHEMA}]},
            "tools[0].name",
            '{"type": "function", "function": {"name"',
        ),
        (
            {"messages": MESSAGES, "tools": [{"name": "f", "input_schema": SCHEMA}]},
            "tools[0].type",
            '{"type": "function", "function": {"name"',
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "x"}]}]},
            "messages[0].content[0].type",
            "a message of the role `tool`",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_text", "text": "Hello!"}]}]},
            "messages[0].content[0].type",
            "`text`",
        ),
        ({"messages": MESSAGES, "tool_choice": {}}, "tool_choice.type", '"none", "auto", "required"'),
        ({"messages": MESSAGES, "tool_choice": {"type": "any"}}, "tool_choice.type", '"none", "auto", "required"'),
    ],
)
def test_the_message_names_what_to_send_instead(fields: dict[str, Any], param: str, advice: str) -> None:
    error = rejection(**fields)
    assert error.param == param
    assert advice in error.message


@pytest.mark.parametrize("fields", [{"messages": MESSAGES, "top_x": 1}, {"messages": [{"role": "user"}]}, {}])
def test_other_errors_stay_as_they_are(fields: dict[str, Any]) -> None:
    error = rejection(**fields)
    assert error.message.endswith((f": {error.param}", f"'{error.param}'."))


@pytest.mark.parametrize("fields", [{"messages": MESSAGES, "top_x": 1}, {"messages": MESSAGES, "system": "Be brief."}])
def test_no_error_is_its_own_cause(fields: dict[str, Any]) -> None:
    """Such an error would keep its traceback, and with it the request's body, until the collector comes."""
    error = rejection(**fields)
    assert error.__cause__ is not error
