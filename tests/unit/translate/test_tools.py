"""OpenAI's tools, tool choice and JSON schemas, as `toolConfig`."""

import json
import re
from typing import Any

import msgspec
import pytest

from extproc.bedrock.capabilities import Capabilities
from extproc.openai.chat import decode_request
from extproc.openai.errors import ApiError
from extproc.translate.tools import Tools, bedrock_id, tools

CLAUDE = Capabilities(tool_choices=("auto", "any", "tool"), json_schema=("tool",))


def function(name: str = "weather", **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **fields}}


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def json_schema(schema: Any, name: str = "report", **fields: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema, **fields}}


def translate(**fields: Any) -> Tools:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    return tools(decode_request(json.dumps(body).encode()), CLAUDE)


def config(**fields: Any) -> Any:
    """The `toolConfig` that goes out, as JSON has it."""
    found = translate(**fields).config
    return None if found is None else json.loads(msgspec.json.encode(found))


def schema_of(parameters: Any) -> Any:
    return config(tools=[function(parameters=parameters)])["tools"][0]["toolSpec"]["inputSchema"]["json"]


def refused(**fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        translate(**fields)
    assert caught.value.status == 400
    return caught.value


OBJECT = {"type": "object", "properties": {"city": {"type": "string"}}}


# What is offered


def test_a_tool_is_offered_with_its_name_description_and_schema() -> None:
    tool = function(description="The weather.", parameters=OBJECT, strict=True)
    spec = {"name": "weather", "description": "The weather.", "inputSchema": {"json": OBJECT}}
    assert config(tools=[tool]) == {"tools": [{"toolSpec": spec}]}


@pytest.mark.parametrize("offered", [None, []])
def test_without_tools_there_is_no_tool_config(offered: Any) -> None:
    assert config(tools=offered) is None


@pytest.mark.parametrize("description", [None, "", " \n"])
def test_a_blank_description_does_not_go_out(description: str | None) -> None:
    offered = config(tools=[function(description=description, parameters=OBJECT)])
    assert "description" not in offered["tools"][0]["toolSpec"]


@pytest.mark.parametrize("fields", [{}, {"parameters": None}, {"parameters": {}}])
def test_a_tool_without_parameters_takes_an_empty_object(fields: dict[str, Any]) -> None:
    spec = config(tools=[function(**fields)])["tools"][0]["toolSpec"]
    assert spec["inputSchema"]["json"]["type"] == "object"


def test_a_schema_goes_out_byte_for_byte() -> None:
    schema = b'{ "type":"object", "properties":{"z":{"maximum":1.0},"a":{"enum":[123456789012345678901234567890]}} }'
    tool = b'{"type":"function","function":{"name":"f","parameters":' + schema + b"}}"
    body = b'{"model":"m","messages":[{"role":"user","content":"Hi"}],"tools":[' + tool + b"]}"
    assert schema in msgspec.json.encode(tools(decode_request(body), CLAUDE).config)


@pytest.mark.parametrize("kind", ["string", "array", ["object", "null"], None, 5])
def test_a_schema_of_anything_but_an_object_is_refused(kind: Any) -> None:
    error = refused(tools=[function(), function("other", parameters={"type": kind})])
    assert error.param == "tools[1].function.parameters.type"


@pytest.mark.parametrize("schema", [5, "object", [], True])
def test_a_schema_that_is_no_object_is_refused(schema: Any) -> None:
    error = refused(tools=[function(parameters=schema)])
    assert error.param == "tools[0].function.parameters"
    assert "JSON object" in error.message


def test_two_tools_of_one_name_are_refused() -> None:
    assert refused(tools=[function(), function()]).param == "tools[1].function.name"


def test_a_custom_tool_is_refused() -> None:
    error = refused(tools=[function(), {"type": "custom", "custom": {"name": "shell"}}])
    assert (error.param, error.code) == ("tools[1]", "unsupported_value")


@pytest.mark.parametrize("name", ["", "a.b", "a b", "a" * 65, "weather\n", "wétter"])
def test_a_name_that_openai_would_refuse_is_refused(name: str) -> None:
    assert refused(tools=[function(name)]).param == "tools[0].function.name"


# What must be called


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (None, None),
        ("auto", None),
        ("required", {"any": {}}),
        (named("time"), {"tool": {"name": "time"}}),
    ],
)
def test_a_tool_choice_goes_out_as_bedrock_says_it(choice: Any, sent: Any) -> None:
    assert config(tools=[function(), function("time")], tool_choice=choice).get("toolChoice") == sent


def test_none_takes_the_tools_away_because_bedrock_cannot_say_none() -> None:
    assert config(tools=[function()], tool_choice="none") is None


@pytest.mark.parametrize("choice", [None, "auto", "none"])
def test_a_choice_that_asks_for_nothing_needs_no_tools(choice: str | None) -> None:
    assert config(tool_choice=choice, tools=[]) is None


@pytest.mark.parametrize("choice", ["required", named("weather")])
def test_a_choice_that_demands_a_call_needs_tools(choice: Any) -> None:
    error = refused(tool_choice=choice)
    assert (error.param, error.code) == ("tool_choice", "invalid_value")


def test_demanding_a_tool_that_is_not_offered_is_refused() -> None:
    error = refused(tools=[function()], tool_choice=named("time"))
    assert error.param == "tool_choice.function.name"
    assert "'time'" in error.message


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "custom", "custom": {"name": "weather"}},
        {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [named("weather")]}},
    ],
)
def test_other_forms_of_choice_are_refused_by_name(choice: Any) -> None:
    error = refused(tools=[function()], tool_choice=choice)
    assert (error.param, error.code) == ("tool_choice", "unsupported_value")


# A schema for the answer


def test_a_schema_for_the_answer_becomes_a_tool_that_must_be_called() -> None:
    asked = json_schema(OBJECT, description="A report.", strict=True)
    spec = {"name": "report", "description": "A report.", "inputSchema": {"json": OBJECT}}
    assert config(response_format=asked) == {"tools": [{"toolSpec": spec}], "toolChoice": {"tool": {"name": "report"}}}
    assert translate(response_format=asked).shape.answer_tool == "report"


def test_beside_tools_the_model_must_call_one_of_them_or_answer() -> None:
    sent = config(response_format=json_schema(OBJECT), tools=[function()])
    assert [tool["toolSpec"]["name"] for tool in sent["tools"]] == ["weather", "report"]
    assert sent["toolChoice"] == {"any": {}}


@pytest.mark.parametrize("choice", ["required", named("weather")])
def test_where_a_tool_must_be_called_there_is_no_answer_to_shape(choice: Any) -> None:
    fields = {"response_format": json_schema(OBJECT), "tools": [function()], "tool_choice": choice}
    assert [tool["toolSpec"]["name"] for tool in config(**fields)["tools"]] == ["weather"]
    assert translate(**fields).shape.answer_tool is None


def test_where_no_tool_may_be_called_only_the_answer_is_left() -> None:
    sent = config(response_format=json_schema(OBJECT), tools=[function()], tool_choice="none")
    assert [tool["toolSpec"]["name"] for tool in sent["tools"]] == ["report"]
    assert sent["toolChoice"] == {"tool": {"name": "report"}}


@pytest.mark.parametrize("description", [None, "", "  "])
def test_an_answer_tool_says_what_it_is_for(description: str | None) -> None:
    sent = config(response_format=json_schema(OBJECT, description=description))
    assert sent["tools"][0]["toolSpec"]["description"].strip()


@pytest.mark.parametrize("schema", [None, {}])
def test_an_answer_without_a_schema_may_be_any_object(schema: Any) -> None:
    sent = config(response_format=json_schema(schema))
    assert sent["tools"][0]["toolSpec"]["inputSchema"]["json"] == {"type": "object"}


def test_a_schema_for_an_answer_that_is_no_object_is_refused() -> None:
    error = refused(response_format=json_schema({"type": "array", "items": {}}))
    assert error.param == "response_format.json_schema.schema.type"


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("report", ["report"]),
        ("report", ["report", "report_2", "report_3"]),
        ("r" * 64, ["r" * 64]),
        ("r" * 57 + "_answer", ["r" * 57 + "_answer"]),
    ],
)
def test_an_answer_tool_takes_a_name_that_no_tool_has(name: str, taken: list[str]) -> None:
    found = translate(
        response_format=json_schema(OBJECT, name), tools=[function(tool) for tool in taken]
    ).shape.answer_tool
    assert found is not None
    assert found not in taken
    assert re.fullmatch("[a-zA-Z0-9_-]{1,64}", found)


# Ids


@pytest.mark.parametrize("call_id", ["call_1", "toolu_bdrk_01", "a.b:c-d", "x" * 64])
def test_an_id_that_bedrock_takes_stays(call_id: str) -> None:
    assert bedrock_id(call_id) == call_id


@pytest.mark.parametrize("call_id", ["", "x" * 65, "a/b", "é", "call_1\n", "call 1"])
def test_any_other_id_is_hashed_always_alike(call_id: str) -> None:
    assert re.fullmatch("[a-zA-Z0-9_.:-]{1,64}", bedrock_id(call_id))
    assert bedrock_id(call_id) == bedrock_id(call_id)
    assert bedrock_id(call_id) != bedrock_id(call_id + "x")
