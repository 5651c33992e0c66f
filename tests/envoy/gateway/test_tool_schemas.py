"""Tools' schemas that a family of models rejects as they are, through the gateway to a Bedrock that rejects them.

Each schema is that of a report: what a client or an MCP server really sends. The local Bedrock fails loudly, in AWS's
words, if a schema is outside of the family's limits.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest

NOVA = "amazon.nova-micro-v1:0"
NOVA_2 = "us.amazon.nova-2-lite-v1:0"
CLAUDE = "us.anthropic.claude-sonnet-4-6"
GPT_OSS = "openai.gpt-oss-20b-1:0"

Call = tuple[dict[str, Any], list[str]]
"""The model's message, and the ignored fields."""


def tool(schema: Any, name: str = "get_weather", **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": schema, **fields}}


def buffered(client: Any, fields: dict[str, Any]) -> Call:
    response = client.chat("Call get_weather for Paris.", **fields)
    assert response.status == 200, response
    return response.json()["choices"][0]["message"], ignored(response.headers)


def streamed(client: Any, fields: dict[str, Any]) -> Call:
    """Return the message that a stream's deltas make up."""
    message: dict[str, Any] = {"content": "", "tool_calls": []}
    with client.stream("Call get_weather for Paris.", **fields) as stream:
        *data, done = stream.rest()
        assert done == "[DONE]"
        for delta in (choice["delta"] for chunk in map(json.loads, data) for choice in chunk["choices"]):
            message["content"] += delta.get("content") or ""
            for call in delta.get("tool_calls") or []:
                if "id" in call:
                    message["tool_calls"].append(call)
                elif "function" in call:
                    message["tool_calls"][call["index"]]["function"]["arguments"] += call["function"]["arguments"]
        return message, ignored(stream.headers)


def ignored(headers: Any) -> list[str]:
    return [path for path in headers.get("x-oai-ignored-params", "").split(", ") if path]


Ask = Callable[[Any, dict[str, Any]], Call]
both = pytest.mark.parametrize("ask", [buffered, streamed])


def arguments(message: dict[str, Any]) -> Any:
    [call] = message["tool_calls"]
    return json.loads(call["function"]["arguments"])


def sent(local: Any) -> dict[str, Any]:
    """The first tool of the call that Bedrock has seen."""
    [call] = local.calls()
    specification: dict[str, Any] = call["body"]["toolConfig"]["tools"][0]["toolSpec"]
    return specification


def json_schema(schema: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "get_weather", "schema": schema}}}


CITY = {"type": "string"}
STRICT = {"type": "object", "properties": {"city": CITY}, "required": ["city"], "additionalProperties": False}


# Keywords at the root


@both
@pytest.mark.parametrize("model", [NOVA, NOVA_2])
def test_an_sdks_strict_tool_on_nova(client: Any, local: Any, ask: Ask, model: str) -> None:
    message, named = ask(client, {"model": model, "tools": [tool(STRICT)]})
    assert arguments(message) == {"city": "Paris"}
    assert named == ["tools[].function.parameters.additionalProperties"]
    assert sent(local)["inputSchema"]["json"] == {
        "type": "object",
        "properties": {"city": CITY},
        "required": ["city"],
    }


@both
def test_a_pydantic_model_on_nova(client: Any, local: Any, ask: Ask) -> None:
    place = {"type": "object", "properties": {"city": CITY}, "required": ["city"], "additionalProperties": False}
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$defs": {"Place": place},
        "title": "Weather",
        "description": "Where to look.",
        "type": "object",
        "properties": {"place": {"$ref": "#/$defs/Place"}},
        "required": ["place"],
    }
    message, named = ask(client, {"model": NOVA, "tools": [tool(schema, description="Gives the weather.")]})
    assert arguments(message) == {"place": {"city": "Paris"}}
    assert named == []
    specification = sent(local)
    assert specification["description"] == "Gives the weather.\n\nWhere to look."
    assert specification["inputSchema"]["json"]["properties"] == {"place": place}


@both
def test_a_recursive_schema_on_nova_ends_in_an_object(client: Any, local: Any, ask: Ask) -> None:
    node = {"type": "object", "properties": {"city": CITY, "next": {"$ref": "#/$defs/Node"}}}
    schema = {"type": "object", "properties": {"first": {"$ref": "#/$defs/Node"}}, "$defs": {"Node": node}}
    message, named = ask(client, {"model": NOVA, "tools": [tool(schema)]})
    assert arguments(message)["first"]["city"] == "Paris"
    assert named == ["tools[].function.parameters"]
    first = sent(local)["inputSchema"]["json"]["properties"]["first"]
    assert first["properties"]["next"]["type"] == "object"


@both
def test_the_answer_tool_on_nova(client: Any, local: Any, ask: Ask) -> None:
    schema = {**STRICT, "$defs": {"City": CITY}, "properties": {"city": {"$ref": "#/$defs/City"}}, "description": "D."}
    message, named = ask(client, {"model": NOVA, **json_schema(schema)})
    assert json.loads(message["content"]) == {"city": "Paris"}
    assert named == ["response_format.json_schema.schema.additionalProperties"]
    assert sent(local)["description"].endswith("\n\nD.")


@both
def test_a_custom_tool_on_nova(client: Any, local: Any, ask: Ask) -> None:
    message, named = ask(client, {"model": NOVA, "tools": [{"type": "custom", "custom": {"name": "get_weather"}}]})
    assert [call["type"] for call in message["tool_calls"]] == ["custom"]
    assert named == []


def test_a_legacy_function_on_nova(client: Any) -> None:
    response = client.chat("Call f.", model=NOVA, functions=[{"name": "f", "parameters": STRICT}])
    assert response.json()["choices"][0]["message"]["function_call"]["name"] == "f"
    assert ignored(response.headers) == ["functions[].parameters.additionalProperties"]


# Combinators at the root

EITHER = {
    "type": "object",
    "properties": {"route": {"type": "string"}, "file": {"type": "string"}},
    "anyOf": [{"required": ["route"]}, {"required": ["file"]}],
}


@both
@pytest.mark.parametrize("model", [CLAUDE, "us.anthropic.claude-opus-5-5", NOVA])
def test_alternatives_at_the_root(client: Any, local: Any, ask: Ask, model: str) -> None:
    message, named = ask(client, {"model": model, "tools": [tool(EITHER, description="Reads.")]})
    assert arguments(message).keys() == {"route", "file"}
    assert named == ["tools[].function.parameters.anyOf"]
    specification = sent(local)
    assert specification["inputSchema"]["json"] == {"type": "object", "properties": EITHER["properties"]}
    assert specification["description"].startswith("Reads.\n\n")
    assert '{"required":["route"]}' in specification["description"]


@both
@pytest.mark.parametrize("model", [CLAUDE, NOVA, "us.anthropic.claude-opus-4-7"])
def test_alternatives_at_the_root_of_the_response(client: Any, ask: Ask, model: str) -> None:
    message, named = ask(client, {"model": model, **json_schema(EITHER)})
    assert json.loads(message["content"]).keys() <= {"route", "file"}
    assert named == [] or named == ["response_format.json_schema.schema.anyOf"]


# Names of properties

ACCOUNT = {
    "type": "object",
    "properties": {"Account Number": {"type": "string"}, "filter[name]": {"type": "string"}, "city": CITY},
    "required": ["Account Number", "filter[name]"],
    "additionalProperties": False,
}
OPUS = "us.anthropic.claude-opus-4-7"


@both
@pytest.mark.parametrize("model", [CLAUDE, OPUS, NOVA, GPT_OSS])
def test_names_of_properties_come_back(client: Any, local: Any, ask: Ask, model: str) -> None:
    message, _ = ask(client, {"model": model, "tools": [tool(ACCOUNT)]})
    assert arguments(message).keys() == ACCOUNT["properties"].keys()
    names = sent(local)["inputSchema"]["json"]["properties"].keys()
    assert (names == ACCOUNT["properties"].keys()) is (model in (NOVA, GPT_OSS))


@both
@pytest.mark.parametrize("model", [CLAUDE, OPUS, "us.anthropic.claude-haiku-4-5-20251001-v1:0", NOVA])
def test_names_of_properties_in_the_response(client: Any, ask: Ask, model: str) -> None:
    message, _ = ask(client, {"model": model, **json_schema(ACCOUNT)})
    assert json.loads(message["content"]).keys() == ACCOUNT["properties"].keys()


@both
def test_a_history_has_the_names_that_fit(client: Any, local: Any, ask: Ask) -> None:
    first, _ = ask(client, {"model": CLAUDE, "tools": [tool(ACCOUNT, "get.weather")], "tool_choice": "required"})
    [call] = first["tool_calls"]
    assert call["function"]["name"] == "get.weather"
    assert arguments(first).keys() == ACCOUNT["properties"].keys()
    given = {
        **call,
        "function": {**call["function"], "arguments": '{"Account Number": 1.0, "x": {"filter[name]": []}}'},
    }
    history = [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": None, "tool_calls": [given]},
        {"role": "tool", "tool_call_id": call["id"], "content": "18 degrees"},
    ]
    local.forget()
    message, _ = ask(client, {"model": CLAUDE, "messages": history, "tools": [tool(ACCOUNT, "get.weather")]})
    assert "18 degrees" in message["content"]
    names = list(sent(local)["inputSchema"]["json"]["properties"])
    [seen] = local.calls()
    [use] = [block["toolUse"] for turn in seen["body"]["messages"] for block in turn["content"] if "toolUse" in block]
    assert use["input"] == {names[0]: 1.0, "x": {names[1]: []}}


def test_a_legacy_function_has_its_names(client: Any) -> None:
    fields = {"model": CLAUDE, "functions": [{"name": "f", "parameters": ACCOUNT}], "function_call": {"name": "f"}}
    call = client.chat("Call f.", **fields).json()["choices"][0]["message"]["function_call"]
    assert json.loads(call["arguments"]).keys() == ACCOUNT["properties"].keys()


# References and patterns


@both
@pytest.mark.parametrize("model", [GPT_OSS, NOVA])
def test_references_to_booleans_and_to_nothing(client: Any, local: Any, ask: Ask, model: str) -> None:
    properties = {"city": CITY, "any": {"$ref": "#/$defs/Any"}, "lost": {"$ref": "#/$defs/Lost"}}
    schema = {"type": "object", "properties": properties, "required": ["city"], "$defs": {"Any": True}}
    message, named = ask(client, {"model": model, "tools": [tool(schema)]})
    assert arguments(message)["city"] == "Paris"
    assert named == ["tools[].function.parameters"]
    assert sent(local)["inputSchema"]["json"]["properties"] == {"city": CITY, "any": {}, "lost": {}}


@both
@pytest.mark.parametrize("model", [CLAUDE, "moonshotai.kimi-k2.5"])
def test_an_escaped_digit_in_a_pattern(client: Any, ask: Ask, model: str) -> None:
    schema = {**STRICT, "properties": {"city": {"type": "string", "pattern": "^[^\\0]*$"}}}
    message, _ = ask(client, {"model": model, **json_schema(schema)})
    assert json.loads(message["content"]) == {"city": "Paris"}


# Null


@both
@pytest.mark.parametrize("model", [NOVA, CLAUDE, GPT_OSS])
@pytest.mark.parametrize(
    "nulls",
    [
        {"type": "object", "properties": None, "required": None},
        {"type": "object", "properties": {"a": {"type": "array", "items": None, "description": None}}},
        None,
    ],
)
def test_null_counts_as_not_given(client: Any, local: Any, ask: Ask, model: str, nulls: Any) -> None:
    message, named = ask(client, {"model": model, "tools": [tool(nulls, description=None)]})
    assert isinstance(arguments(message), dict)
    assert named == []
    assert "null" not in json.dumps(sent(local))


@both
@pytest.mark.parametrize("model", [NOVA, CLAUDE, GPT_OSS])
def test_null_in_a_schema_of_the_response(client: Any, ask: Ask, model: str) -> None:
    schema = {**STRICT, "description": None, "properties": {"city": {"type": "string", "enum": None}}}
    message, _ = ask(client, {"model": model, **json_schema(schema)})
    assert json.loads(message["content"]) == {"city": "Paris"}


# Names of tools


HYPHENS = "weather-api_get-forecast"


@both
@pytest.mark.parametrize("model", [NOVA, NOVA_2])
def test_a_tool_with_hyphens_on_nova(client: Any, local: Any, ask: Ask, model: str) -> None:
    fields = {"model": model, "tools": [tool(STRICT, HYPHENS)], "tool_choice": "required"}
    message, _ = ask(client, fields)
    [call] = message["tool_calls"]
    assert call["function"]["name"] == HYPHENS
    assert sent(local)["name"] == "weather_api_get_forecast"
    assert arguments(message) == {"city": "Paris"}


@both
def test_a_history_of_tools_with_hyphens_on_nova(client: Any, local: Any, ask: Ask) -> None:
    """The second tool is no longer offered."""
    history: list[Any] = [{"role": "user", "content": "Weather?"}]
    for name in (HYPHENS, "old-tool"):
        call = {"id": name, "type": "function", "function": {"name": name, "arguments": "{}"}}
        history += [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": name, "content": "18 degrees"},
        ]
    message, _ = ask(client, {"model": NOVA, "messages": history, "tools": [tool(STRICT, HYPHENS)]})
    assert "18 degrees" in message["content"]
    [call] = local.calls()
    blocks = [block for turn in call["body"]["messages"] for block in turn["content"] if "toolUse" in block]
    assert [block["toolUse"]["name"] for block in blocks] == ["weather_api_get_forecast", "old_tool"]


@both
@pytest.mark.parametrize(("model", "name"), [(NOVA, "my_answer"), (CLAUDE, "my-answer")])
def test_the_answer_tool_has_a_name_that_fits(client: Any, ask: Ask, local: Any, model: str, name: str) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "my-answer", "schema": STRICT}}
    message, _ = ask(client, {"model": model, "response_format": wanted, "tools": [tool(STRICT, "a-b")]})
    assert message["content"] or message["tool_calls"]
    [call] = local.calls()
    names = [entry["toolSpec"]["name"] for entry in call["body"].get("toolConfig", {"tools": []})["tools"]]
    assert model == CLAUDE or names == ["a_b", name]


def test_another_family_gets_the_same_schema_byte_for_byte(client: Any, local: Any) -> None:
    for model in (CLAUDE, "us.meta.llama3-3-70b-instruct-v1:0"):
        local.forget()
        assert ignored(client.chat("Hi", model=model, tools=[tool(STRICT)]).headers) == []
        assert sent(local)["inputSchema"]["json"] == STRICT
