"""Custom tools, and functions from before there were tools, as `toolConfig`."""

import json
from typing import Any

import msgspec
import pytest

from tests.unit.translate.test_tools import CLAUDE, OBJECT, config, custom, function, rejection, translate


@pytest.mark.parametrize("form", [None, {"type": "text"}])
def test_a_custom_tool_is_a_function_of_one_text(form: Any) -> None:
    result = translate(tools=[custom(description="Runs it.", format=form), function()])
    spec = json.loads(msgspec.json.encode(result.config))["tools"][0]["toolSpec"]
    assert (spec["name"], spec["description"]) == ("shell", "Runs it.")
    assert spec["inputSchema"]["json"]["properties"] == {"input": {"type": "string"}}
    assert result.shape.custom == {"shell"}
    assert result.ignored == ()


def test_a_grammar_is_described_in_text_and_reported_as_ignored() -> None:
    body = {"syntax": "lark", "definition": "start: WORD"}
    result = translate(tools=[custom(format={"type": "grammar", "grammar": body})])
    spec = json.loads(msgspec.json.encode(result.config))["tools"][0]["toolSpec"]
    assert "(lark):\nstart: WORD" in spec["description"]
    assert result.ignored == ("tools[].custom.format",)


def test_a_custom_tool_can_be_demanded_and_allowed() -> None:
    by_name = {"type": "custom", "custom": {"name": "shell"}}
    assert config(tools=[custom(), function()], tool_choice=by_name)["toolChoice"] == {"tool": {"name": "shell"}}
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [by_name]}}
    assert [
        tool["toolSpec"]["name"] for tool in config(tools=[custom(), function()], tool_choice=allowed)["tools"]
    ] == ["shell"]


def test_a_function_and_a_custom_tool_of_one_name_are_rejected() -> None:
    assert rejection(tools=[function(), custom("weather")]).param == "tools[1].custom.name"


# Functions, from before there were tools


@pytest.mark.parametrize(
    ("choice", "sent"), [(None, None), ("auto", None), ({"name": "time"}, {"tool": {"name": "time"}})]
)
def test_functions_go_out_as_tools(choice: Any, sent: Any) -> None:
    functions = [{"name": "weather", "description": "Now.", "parameters": OBJECT}, {"name": "time"}]
    result = translate(functions=functions, function_call=choice)
    config = json.loads(msgspec.json.encode(result.config))
    spec = {"name": "weather", "description": "Now.", "inputSchema": {"json": OBJECT}}
    assert config["tools"][0] == {"toolSpec": spec}
    assert config.get("toolChoice") == sent
    assert result.shape.legacy


def test_no_function_goes_out_where_none_may_be_called() -> None:
    assert config(functions=[{"name": "time"}], function_call="none") is None


def test_functions_are_called_one_at_a_time() -> None:
    able = msgspec.structs.replace(CLAUDE, parallel_tool_switch=True)
    fields = translate(able, functions=[{"name": "time"}]).model_fields
    assert fields == {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"functions": [{"name": "f"}], "function_call": {"name": "g"}}, "function_call.name"),
        ({"functions": [{"name": "f"}], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [function()], "function_call": {"name": "weather"}}, "function_call"),
        ({"function_call": {"name": "weather"}}, "function_call"),
        ({"functions": [{"name": "f"}, {"name": "f"}]}, "functions[1].name"),
        ({"functions": [{"name": "f", "parameters": {"type": "array"}}]}, "functions[0].parameters.type"),
        ({"functions": [{}]}, "functions[0].name"),
        ({"function_call": "required"}, "function_call"),
    ],
)
def test_functions_that_match_no_form_are_rejected(fields: dict[str, Any], param: str) -> None:
    assert rejection(**fields).param == param


def test_a_request_with_tools_is_not_legacy() -> None:
    assert not translate(tools=[function()]).shape.legacy
