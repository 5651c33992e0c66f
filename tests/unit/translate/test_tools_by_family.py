"""Tools by the model's capabilities: strict ones, schemas with gaps, cache points, one call at a time."""

import json
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.capability_table import BUILT_IN
from extproc.bedrock.converse import ConverseMessage, ConverseRequest, OutputConfig, TextContent
from extproc.openai.chat import decode_request
from extproc.openai.errors import ApiError
from extproc.translate.grammar import MAX_OBJECTS
from extproc.translate.ignored import Ignored
from extproc.translate.tools import plan_tools
from tests.planned import Planned

MCP = "mcp__files/read.text"
CLAUDE = Capabilities(tool_choices=("auto", "any", "tool"), json_schema=("tool",))


def function(name: str = "weather", **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **fields}}


def custom(name: str = "shell", **fields: Any) -> dict[str, Any]:
    return {"type": "custom", "custom": {"name": name, **fields}}


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


def schema_of(parameters: Any) -> Any:
    return config(tools=[function(parameters=parameters)])["tools"][0]["toolSpec"]["inputSchema"]["json"]


def rejection(capabilities: Capabilities = CLAUDE, /, *, reasoning: bool = False, **fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        translate(capabilities, reasoning=reasoning, **fields)
    assert caught.value.status == 400
    return caught.value


OBJECT = {"type": "object", "properties": {"city": {"type": "string"}}}


# Strict tools

STRICT = Capabilities(tool_choices=("auto", "any", "tool"), strict_tools=True, json_schema=("native",))
CLOSED = {**OBJECT, "required": ["city"], "additionalProperties": False}


def strictly(capabilities: Capabilities, *tools: dict[str, Any], **fields: Any) -> tuple[list[Any], tuple[str, ...]]:
    """Return `strict` of each sent tool, and the ignored fields."""
    result = translate(capabilities, tools=list(tools), **fields)
    specs = json.loads(msgspec.json.encode(result.config))["tools"]
    return [spec["toolSpec"].get("strict") for spec in specs], result.ignored


def test_strict_tools_share_the_objects_of_a_grammar() -> None:
    def alternatives(name: str, count: int) -> dict[str, Any]:
        schema = {"type": "object", "properties": {"a": {"anyOf": [{"type": "string"}] * count}}, "required": ["a"]}
        return function(name, parameters={**schema, "additionalProperties": False}, strict=True)

    large = alternatives("first", MAX_OBJECTS - 100), alternatives("second", 100), alternatives("third", 1)
    assert strictly(STRICT, *large) == ([True, None, None], ("tools[].function.strict",))


@pytest.mark.parametrize(
    ("capabilities", "parameters", "strict", "sent"),
    [
        (STRICT, CLOSED, True, True),
        (STRICT, CLOSED, False, None),
        (STRICT, CLOSED, None, None),
        (STRICT, OBJECT, True, None),
        (STRICT, None, True, None),
        (CLAUDE, CLOSED, True, None),
    ],
    ids=["strict", "not", "unsaid", "open schema", "no schema", "family"],
)
def test_strict_goes_out_where_it_can_be_kept(capabilities: Any, parameters: Any, strict: Any, sent: Any) -> None:
    tool = function(parameters=parameters, strict=strict)
    assert strictly(capabilities, tool) == ([sent], ("tools[].function.strict",) if strict and not sent else ())


def test_twenty_tools_may_be_strict() -> None:
    tools = [function(f"f{number}", parameters=CLOSED, strict=True) for number in range(21)]
    assert strictly(STRICT, *tools) == ([True] * 20 + [None], ("tools[].function.strict",))


def test_strict_tools_and_the_response_schema_are_counted_together() -> None:
    def wide(count: int) -> dict[str, Any]:
        properties = {f"p{number}": {"type": "string"} for number in range(count)}
        return {"type": "object", "properties": properties, "additionalProperties": False}

    tool = function(parameters=wide(10), strict=True)
    assert strictly(STRICT, tool, response_format=json_schema(wide(14)))[0] == [True]
    assert strictly(STRICT, tool, response_format=json_schema(wide(15)))[0] == [None]


# One call at a time


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"parallel_tool_calls": False, "tool_choice": "required"}, {"disable_parallel_tool_use": True}),
        ({"parallel_tool_calls": False, "tool_choice": "none"}, None),
        ({"parallel_tool_calls": True}, None),
        ({}, None),
    ],
)
def test_one_call_at_a_time_is_requested_beside_the_tools(fields: dict[str, Any], sent: Any) -> None:
    able = msgspec.structs.replace(CLAUDE, parallel_tool_switch=True)
    result = translate(able, tools=[function()], **fields)
    assert result.model_fields == ({} if sent is None else {"tool_choice": sent})
    assert result.ignored == ()


@pytest.mark.parametrize("fields", [{}, {"tools": []}, {"response_format": json_schema(OBJECT)}])
def test_without_tools_of_the_clients_there_is_nothing_to_switch(fields: dict[str, Any]) -> None:
    able = msgspec.structs.replace(CLAUDE, parallel_tool_switch=True)
    for capabilities in (CLAUDE, able):
        result = translate(capabilities, parallel_tool_calls=False, **fields)
        assert (result.model_fields, result.ignored) == ({}, ())


def test_a_family_without_the_switch_ignores_it_by_name() -> None:
    result = translate(tools=[function()], parallel_tool_calls=False)
    assert (result.model_fields, result.ignored) == ({}, ("parallel_tool_calls",))


# Schemas, by family


def test_references_are_replaced_only_where_they_are_not_read() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "string"}}}
    blind = Capabilities(schema_gaps=("definitions",))
    assert config(blind, tools=[function(parameters=schema)])["tools"][0]["toolSpec"]["inputSchema"]["json"] == {
        "type": "object",
        "properties": {"a": {"type": "string"}},
    }
    assert schema_of(schema) == schema


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": 70}, "tools[4].function.parameters"),
        ({"functions": 70}, "functions[4].parameters"),
        ({"tools": 4, "response_format": True}, "response_format.json_schema.schema"),
    ],
    ids=str,
)
def test_all_schemas_of_a_request_share_the_limit_of_inlined_references(fields: dict[str, Any], param: str) -> None:
    blind = Capabilities(schema_gaps=("definitions",), tool_choices=("auto", "any"), json_schema=("tool",))
    large = {"type": "string", "enum": ["a" * 6000]}
    schema = {
        "type": "object",
        "properties": {name: {"$ref": "#/$defs/A"} for name in "abcdefghij"},
        "$defs": {"A": large},
    }
    sent: dict[str, Any] = {"response_format": json_schema(schema)} if "response_format" in fields else {}
    if "tools" in fields:
        sent["tools"] = [function(f"f{at}", parameters=schema) for at in range(fields["tools"])]
    if "functions" in fields:
        sent["functions"] = [{"name": f"f{at}", "parameters": schema} for at in range(fields["functions"])]
    with pytest.raises(ApiError) as caught:
        translate(blind, **sent)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_look_around_is_described_only_where_the_family_rejects_it() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(?!x)"}}}
    strange = Capabilities(schema_gaps=("lookaround",))
    sent = config(strange, tools=[function(parameters=schema)])["tools"][0]["toolSpec"]["inputSchema"]["json"]
    assert sent["properties"]["a"] == {"type": "string", "description": 'pattern: "^(?!x)"'}
    assert schema_of(schema) == schema


# The prompt cache

CACHING = Capabilities(cache=("system", "messages", "tools"), cache_ttls=("5m", "1h"))
MARK = {"cache_control": {"type": "ephemeral"}}


def cached(capabilities: Capabilities, *tools: dict[str, Any]) -> tuple[list[Any], tuple[str, ...]]:
    """Return the sent tools by name, with cache points between them, and the ignored fields."""
    result = translate(capabilities, tools=list(tools))
    entries = json.loads(msgspec.json.encode(result.config))["tools"]
    return [entry.get("cachePoint") or entry["toolSpec"]["name"] for entry in entries], result.ignored


@pytest.mark.parametrize("tool", [{**function("a"), **MARK}, function("a", **MARK), {**custom("a"), **MARK}])
def test_a_cache_point_follows_its_tool(tool: dict[str, Any]) -> None:
    assert cached(CACHING, tool, function()) == (["a", {"type": "default"}, "weather"], ())


@pytest.mark.parametrize(
    ("ttl", "capabilities", "point", "ignored"),
    [
        ("1h", CACHING, {"type": "default", "ttl": "1h"}, ()),
        ("5m", CACHING, {"type": "default", "ttl": "5m"}, ()),
        ("1h", Capabilities(cache=("tools",)), {"type": "default"}, ("tools[].cache_control.ttl",)),
        ("5m", Capabilities(cache=("tools",)), {"type": "default"}, ()),
    ],
)
def test_a_cache_point_lasts_as_long_as_the_family_has_it(
    ttl: Any, capabilities: Any, point: Any, ignored: Any
) -> None:
    tool = {**function("a"), "cache_control": {"type": "ephemeral", "ttl": ttl}}
    assert cached(capabilities, tool) == (["a", point], ignored)


def test_a_family_without_cache_points_for_tools_ignores_them_by_name() -> None:
    nova = Capabilities(cache=("system", "messages"))
    assert cached(nova, {**function("a"), **MARK}) == (["a"], ("tools[].cache_control",))


def test_of_too_many_cache_points_the_last_remain() -> None:
    tools = [{**function(f"f{number}"), **MARK} for number in range(5)]
    point = {"type": "default"}
    assert cached(CACHING, *tools)[0] == ["f0", "f1", point, "f2", point, "f3", point, "f4", point]


# Validation by botocore


@pytest.mark.parametrize("family", sorted(BUILT_IN.families))
@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{**function(MCP, parameters=CLOSED, strict=True, description=""), **MARK}, custom()]},
        {"tools": [function("x" * 300)], "response_format": json_schema(CLOSED, "Page[int]")},
        {"response_format": json_schema(CLOSED, description=" ")},
        {"functions": [{"name": "f"}], "parallel_tool_calls": False},
    ],
    ids=["tools", "both", "schema", "functions"],
)
def test_botocore_accepts_the_tool_config(read_converse: Any, family: str, fields: dict[str, Any]) -> None:
    capabilities = BUILT_IN.families[family]
    if not capabilities.tools and ("tools" in fields or "functions" in fields):
        assert rejection(capabilities, **fields).param in ("tools", "functions")
        return
    result = translate(capabilities, **fields)
    body = ConverseRequest(
        messages=[ConverseMessage("user", [TextContent("Hi")])],
        system=[TextContent(result.instruction)] if result.instruction else UNSET,
        tool_config=result.config or UNSET,
        output_config=OutputConfig(result.output) if result.output else UNSET,
        additional_model_request_fields=dict(result.model_fields) or UNSET,
    )
    read_converse(body.encode())
