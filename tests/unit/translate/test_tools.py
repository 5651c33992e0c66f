"""OpenAI's tools, tool choice and JSON schemas, as `toolConfig`."""

import json
import re
from typing import Any

import msgspec
import pytest

from extproc.bedrock.capabilities import Capabilities
from extproc.openai.chat import decode_request
from extproc.openai.errors import ApiError
from extproc.translate.ignored import Ignored
from extproc.translate.tools import bedrock_id, plan_tools
from tests.planned import Planned

CLAUDE = Capabilities(tool_choices=("auto", "any", "tool"), json_schema=("tool",))


def function(name: str = "weather", **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **fields}}


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def json_schema(schema: Any, name: str = "report", **fields: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema, **fields}}


def translate(capabilities: Capabilities = CLAUDE, /, *, reasoning: bool = False, **fields: Any) -> Planned:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    ignored = Ignored()
    request = decode_request(json.dumps(body).encode())
    return Planned(plan_tools(request, capabilities, ignored, reasoning=reasoning), ignored)


def config(capabilities: Capabilities = CLAUDE, /, *, reasoning: bool = False, **fields: Any) -> Any:
    """Return the sent `toolConfig` as JSON."""
    result = translate(capabilities, reasoning=reasoning, **fields).config
    return None if result is None else json.loads(msgspec.json.encode(result))


def rejection(capabilities: Capabilities = CLAUDE, /, *, reasoning: bool = False, **fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        translate(capabilities, reasoning=reasoning, **fields)
    assert caught.value.status == 400
    return caught.value


OBJECT = {"type": "object", "properties": {"city": {"type": "string"}}}


# Tools


def test_a_tool_is_offered_with_its_name_description_and_schema() -> None:
    tool = function(description="The weather.", parameters=OBJECT, strict=True)
    spec = {"name": "weather", "description": "The weather.", "inputSchema": {"json": OBJECT}}
    assert config(tools=[tool]) == {"tools": [{"toolSpec": spec}]}


@pytest.mark.parametrize("tools", [None, []])
def test_without_tools_there_is_no_tool_config(tools: Any) -> None:
    assert config(tools=tools) is None


@pytest.mark.parametrize("description", [None, "", " \n"])
def test_a_blank_description_does_not_go_out(description: str | None) -> None:
    tool_config = config(tools=[function(description=description, parameters=OBJECT)])
    assert "description" not in tool_config["tools"][0]["toolSpec"]


@pytest.mark.parametrize("fields", [{}, {"parameters": None}, {"parameters": {}}])
def test_a_tool_without_parameters_takes_an_empty_object(fields: dict[str, Any]) -> None:
    spec = config(tools=[function(**fields)])["tools"][0]["toolSpec"]
    assert spec["inputSchema"]["json"]["type"] == "object"


def test_a_schema_goes_out_byte_for_byte() -> None:
    schema = b'{ "type":"object", "properties":{"z":{"maximum":1.0},"a":{"enum":[123456789012345678901234567890]}} }'
    tool = b'{"type":"function","function":{"name":"f","parameters":' + schema + b"}}"
    body = b'{"model":"m","messages":[{"role":"user","content":"Hi"}],"tools":[' + tool + b"]}"
    assert schema in msgspec.json.encode(plan_tools(decode_request(body), CLAUDE, Ignored()).config)


@pytest.mark.parametrize("kind", ["string", "array", ["object", "null"], 5])
def test_a_schema_of_anything_but_an_object_is_rejected(kind: Any) -> None:
    error = rejection(tools=[function(), function("other", parameters={"type": kind})])
    assert error.param == "tools[1].function.parameters.type"


@pytest.mark.parametrize("schema", [5, "object", [], True])
def test_a_schema_that_is_no_object_is_rejected(schema: Any) -> None:
    error = rejection(tools=[function(parameters=schema)])
    assert error.param == "tools[0].function.parameters"
    assert "JSON object" in error.message


def test_two_tools_of_one_name_are_rejected() -> None:
    assert rejection(tools=[function(), function()]).param == "tools[1].function.name"


@pytest.mark.parametrize("name", ["", "a" * 513])
def test_an_invalid_name_is_rejected(name: str) -> None:
    assert rejection(tools=[function(name)]).param == "tools[0].function.name"


def test_tools_of_both_ages_are_rejected() -> None:
    assert rejection(tools=[function()], functions=[{"name": "time"}]).param == "functions"


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"tools": [function()]}, "tools"), ({"functions": [{"name": "f"}]}, "functions")],
)
def test_tools_for_a_family_without_are_rejected(fields: dict[str, Any], param: str) -> None:
    error = rejection(Capabilities(family="old", tools=False), **fields)
    assert (error.param, error.code) == (param, "unsupported_parameter")
    assert "'old'" in error.message


def test_tools_that_must_not_be_called_do_no_harm_there() -> None:
    assert config(Capabilities(tools=False), tools=[function()], tool_choice="none") is None


# Tool choice


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (None, None),
        ("auto", None),
        ("required", {"any": {}}),
        (named("time"), {"tool": {"name": "time"}}),
    ],
)
def test_a_tool_choice_is_sent_in_bedrocks_form(choice: Any, sent: Any) -> None:
    assert config(tools=[function(), function("time")], tool_choice=choice).get("toolChoice") == sent


def test_none_removes_the_tools_because_bedrock_has_no_such_choice() -> None:
    assert config(tools=[function()], tool_choice="none") is None


@pytest.mark.parametrize("choice", [None, "auto", "none"])
def test_a_choice_that_requires_no_call_needs_no_tools(choice: str | None) -> None:
    assert config(tool_choice=choice, tools=[]) is None


@pytest.mark.parametrize("choice", ["required", named("weather")])
def test_a_choice_that_demands_a_call_needs_tools(choice: Any) -> None:
    error = rejection(tool_choice=choice)
    assert (error.param, error.code) == ("tool_choice", "invalid_value")


@pytest.mark.parametrize("choice", ["required", named("weather")])
def test_a_forced_call_is_rejected_where_none_can_be_forced(choice: Any) -> None:
    error = rejection(Capabilities(family="llama", tool_choices=("auto",)), tools=[function()], tool_choice=choice)
    assert (error.param, error.code) == ("tool_choice", "unsupported_value")
    assert "'llama'" in error.message


@pytest.mark.parametrize("choice", [None, "auto", "none"])
def test_all_else_is_taken_there(choice: Any) -> None:
    assert "toolChoice" not in (config(Capabilities(), tools=[function()], tool_choice=choice) or {})


def test_a_named_tool_is_sent_alone_where_only_any_is_supported() -> None:
    sent = config(
        Capabilities(tool_choices=("auto", "any")), tools=[function(), function("time")], tool_choice=named("time")
    )
    assert [tool["toolSpec"]["name"] for tool in sent["tools"]] == ["time"]
    assert sent["toolChoice"] == {"any": {}}


def test_the_only_tool_is_named_where_any_is_not_supported() -> None:
    only_named = Capabilities(tool_choices=("auto", "tool"))
    assert config(only_named, tools=[function()], tool_choice="required")["toolChoice"] == {"tool": {"name": "weather"}}
    assert rejection(only_named, tools=[function(), function("time")], tool_choice="required").param == "tool_choice"


@pytest.mark.parametrize("choice", ["required", named("weather")])
def test_a_forced_call_is_rejected_while_it_reasons(choice: Any) -> None:
    error = rejection(reasoning=True, tools=[function()], tool_choice=choice)
    assert (error.param, error.code) == ("tool_choice", "unsupported_value")
    assert "while it reasons" in error.message
    assert config(reasoning=True, tools=[function()], tool_choice="auto")["tools"]


def test_a_forced_call_is_taken_while_it_reasons_where_the_family_can() -> None:
    able = msgspec.structs.replace(CLAUDE, forced_tools_while_reasoning=True)
    sent = config(able, reasoning=True, tools=[function()], tool_choice="required")
    assert sent["toolChoice"] == {"any": {}}


@pytest.mark.parametrize(
    ("mode", "allowed", "choice"),
    [
        ("auto", ["time", "place"], None),
        ("required", ["time", "place"], {"any": {}}),
        ("required", ["time"], {"any": {}}),
        ("auto", ["time", "time"], None),
    ],
)
def test_of_allowed_tools_only_those_go_out(mode: str, allowed: list[str], choice: Any) -> None:
    body = {"mode": mode, "tools": [named(name) for name in allowed]}
    tools = [function(), function("time"), function("place")]
    sent = config(tools=tools, tool_choice={"type": "allowed_tools", "allowed_tools": body})
    assert [tool["toolSpec"]["name"] for tool in sent["tools"]] == sorted(set(allowed), key=["time", "place"].index)
    assert sent.get("toolChoice") == choice


@pytest.mark.parametrize(
    ("choice", "param"),
    [
        (named("time"), "tool_choice.function.name"),
        ({"type": "custom", "custom": {"name": "weather"}}, "tool_choice.custom.name"),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [named("time")]}},
            "tool_choice.allowed_tools.tools",
        ),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}, "tool_choice.allowed_tools.tools"),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "none", "tools": [named("weather")]}},
            "tool_choice.allowed_tools.mode",
        ),
    ],
    ids=["function", "custom", "allowed", "none allowed", "mode"],
)
def test_a_choice_of_an_unknown_tool_is_rejected(choice: Any, param: str) -> None:
    assert rejection(tools=[function()], tool_choice=choice).param == param


def test_requiring_an_unknown_tool_is_rejected() -> None:
    error = rejection(tools=[function()], tool_choice=named("time"))
    assert error.param == "tool_choice.function.name"
    assert "'time'" in error.message


# A response schema


def test_a_response_schema_becomes_a_tool_that_must_be_called() -> None:
    response_format = json_schema(OBJECT, description="A report.", strict=True)
    spec = {"name": "report", "description": "A report.", "inputSchema": {"json": OBJECT}}
    assert config(response_format=response_format) == {
        "tools": [{"toolSpec": spec}],
        "toolChoice": {"tool": {"name": "report"}},
    }
    assert translate(response_format=response_format).shape.answer_tool == "report"


def test_beside_tools_the_model_must_call_one_of_them_or_the_answer_tool() -> None:
    sent = config(response_format=json_schema(OBJECT), tools=[function()])
    assert [tool["toolSpec"]["name"] for tool in sent["tools"]] == ["weather", "report"]
    assert sent["toolChoice"] == {"any": {}}


@pytest.mark.parametrize("choice", ["required", named("weather")])
def test_a_forced_tool_call_leaves_no_response_to_shape(choice: Any) -> None:
    fields = {"response_format": json_schema(OBJECT), "tools": [function()], "tool_choice": choice}
    assert [tool["toolSpec"]["name"] for tool in config(**fields)["tools"]] == ["weather"]
    assert translate(**fields).shape.answer_tool is None


def test_with_tool_choice_none_only_the_answer_tool_is_left() -> None:
    sent = config(response_format=json_schema(OBJECT), tools=[function()], tool_choice="none")
    assert [tool["toolSpec"]["name"] for tool in sent["tools"]] == ["report"]
    assert sent["toolChoice"] == {"tool": {"name": "report"}}


@pytest.mark.parametrize("description", [None, "", "  "])
def test_an_answer_tool_has_a_description(description: str | None) -> None:
    sent = config(response_format=json_schema(OBJECT, description=description))
    assert sent["tools"][0]["toolSpec"]["description"].strip()


@pytest.mark.parametrize("schema", [None, {}])
def test_a_json_object_without_a_schema_may_be_any_object(schema: Any) -> None:
    sent = config(response_format=json_schema(schema))
    assert sent["tools"][0]["toolSpec"]["inputSchema"]["json"] == {"type": "object"}


def test_a_response_schema_that_is_no_object_is_rejected() -> None:
    error = rejection(response_format=json_schema({"type": "array", "items": {}}))
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
    result = translate(
        response_format=json_schema(OBJECT, name), tools=[function(tool) for tool in taken]
    ).shape.answer_tool
    assert result is not None
    assert result not in taken
    assert re.fullmatch("[a-zA-Z0-9_-]{1,64}", result)


# Names


MCP = "mcp__files/read.text"


def test_a_name_that_bedrock_rejects_is_replaced_and_mapped_back() -> None:
    result = translate(tools=[function(MCP), function()], tool_choice=named(MCP))
    name = result.bedrock_name(MCP)
    assert re.fullmatch("[a-zA-Z0-9_-]{1,64}", name)
    assert result.shape.names == {name: MCP}
    assert result.shape.client_name(name) == MCP
    assert result.shape.client_name("weather") == "weather"
    assert result.config is not None
    sent = json.loads(msgspec.json.encode(result.config))
    assert [tool["toolSpec"]["name"] for tool in sent["tools"]] == [name, "weather"]
    assert sent["toolChoice"] == {"tool": {"name": name}}


def test_a_name_in_the_history_becomes_the_same_with_and_without_its_tool() -> None:
    assert translate(tools=[function(MCP)]).bedrock_name(MCP) == translate().bedrock_name(MCP)


def test_a_name_that_is_like_another_ones_replacement_is_not_confused_with_it() -> None:
    other = translate().bedrock_name(MCP)
    result = translate(tools=[function(MCP), function(other)])
    assert result.bedrock_name(other) == other
    assert result.bedrock_name(MCP) != other


# Custom tools


def custom(name: str = "shell", **fields: Any) -> dict[str, Any]:
    return {"type": "custom", "custom": {"name": name, **fields}}


# Ids


@pytest.mark.parametrize("call_id", ["call_1", "toolu_bdrk_01", "a.b:c-d", "x" * 64])
def test_an_id_that_bedrock_takes_stays(call_id: str) -> None:
    assert bedrock_id(call_id) == call_id


@pytest.mark.parametrize("call_id", ["", "x" * 65, "a/b", "é", "call_1\n", "call 1"])
def test_any_other_id_is_hashed_always_alike(call_id: str) -> None:
    assert re.fullmatch("[a-zA-Z0-9_.:-]{1,64}", bedrock_id(call_id))
    assert bedrock_id(call_id) == bedrock_id(call_id)
    assert bedrock_id(call_id) != bedrock_id(call_id + "x")


def test_a_type_within_the_function_is_reported_as_ignored() -> None:
    """Open WebUI sends it within the function and beside it."""
    function = {"name": "f", "type": "function"}
    assert translate(tools=[{"type": "function", "function": function}]).ignored == ("tools[].function.type",)
    assert translate(functions=[function]).ignored == ("functions[].type",)
    assert translate(tools=[named("f")]).ignored == ()
    assert rejection(tools=[{"type": "function", "function": {**function, "type": "object"}}]).param == (
        "tools[0].function.type"
    )
