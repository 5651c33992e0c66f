"""A1, further: names of properties and of tools."""

from tests.envoy.gateway.fidelity.row import (
    BARE,
    CITY,
    GPT_OSS,
    HAIKU_3,
    HAIKU_4_5,
    LLAMA,
    MISTRAL,
    NOVA,
    OPUS_4_7,
    OPUS_5_5,
    SCHEMA,
    SONNET_4_5,
    SONNET_4_6,
    Row,
    for_each,
    json_schema,
    past_call,
    result,
    tool,
    tools,
    user,
)
from tests.envoy.gateway.fidelity.schemas import CLAUDES, NOVAS

NAME = "toolConfig.tools[].toolSpec.name"

# Claude: names of properties

ACCOUNT = {
    "type": "object",
    "properties": {"Account Number": CITY, "filter[name]": CITY},
    "required": ["Account Number"],
}
ODD = ("a b", "a_b", "Größe", "x" * 70, "", "$id", "a/b")
NAMES = [
    *for_each(
        (*CLAUDES, NOVA),
        Row(
            entry="A1",
            case="names with blanks and brackets",
            model=HAIKU_3,
            fields=tools(ACCOUNT),
            got={"sort(keys(calls[0].arguments))": ["Account Number", "filter[name]"]},
        ),
    ),
    *for_each(
        CLAUDES,
        Row(
            entry="A1",
            case="names in every odd form",
            model=HAIKU_3,
            fields=tools({"type": "object", "properties": dict.fromkeys(ODD, CITY), "required": [*ODD]}),
            sent={f"{SCHEMA}.properties.a_b": CITY, f"length(keys({SCHEMA}.properties))": len(ODD)},
            got={"sort(keys(calls[0].arguments))": sorted(ODD)},
        ),
    ),
    Row(
        entry="A1",
        case="names below the root, which are not checked",
        model=SONNET_4_6,
        fields=tools({"type": "object", "properties": {"where": ACCOUNT}}),
        sent={f"{SCHEMA}.properties.where": ACCOUNT},
        got={"keys(calls[0].arguments.where)": ["Account Number", "filter[name]"]},
    ),
    *for_each(
        (SONNET_4_6, HAIKU_4_5, SONNET_4_5, OPUS_4_7, OPUS_5_5, NOVA),
        Row(
            entry="A1",
            case="names in the response",
            model=SONNET_4_6,
            fields=json_schema(ACCOUNT),
            got={"sort(keys(json))": ["Account Number", "filter[name]"]},
        ),
    ),
    Row(
        entry="A1",
        case="names in two tools, one of them with the substitute's name",
        model=SONNET_4_6,
        prompt="Call get_weather and get_time for Paris.",
        fields={"tools": [tool(ACCOUNT), tool({"type": "object", "properties": {"Account_Number": CITY}}, "get_time")]},
        got={
            "sort(keys(calls[0].arguments))": ["Account Number", "filter[name]"],
            "keys(calls[1].arguments)": ["Account_Number"],
        },
    ),
    Row(
        entry="A1",
        case="names in a strict tool",
        model=SONNET_4_6,
        fields=tools({**ACCOUNT, "required": [*ACCOUNT["properties"]], "additionalProperties": False}, strict=True),
        sent={"toolConfig.tools[0].toolSpec.strict": True},
        got={"sort(keys(calls[0].arguments))": ["Account Number", "filter[name]"]},
    ),
]

# Nova: names of tools

HYPHENS = "weather-api_get-forecast"
CALL_HYPHENS = f"Call {HYPHENS} for Paris."
HISTORY = [user("Weather?"), past_call('{"city":"Paris"}', HYPHENS), result()]
HYPHENATED = [
    *for_each(
        NOVAS,
        Row(
            entry="A1",
            case="a hyphen in a tool's name",
            model=NOVA,
            prompt=CALL_HYPHENS,
            fields={**tools(BARE, HYPHENS), "tool_choice": {"type": "function", "function": {"name": HYPHENS}}},
            sent={NAME: ["weather_api_get_forecast"], "toolConfig.toolChoice.tool.name": "weather_api_get_forecast"},
            got={"calls": [{"name": HYPHENS, "arguments": {"city": "Paris"}}]},
        ),
    ),
    Row(
        entry="A1",
        case="two names that become one",
        model=NOVA,
        prompt="Call get_weather for Paris.",
        fields={"tools": [tool(BARE, "get-weather"), tool(BARE, "get_weather")]},
        sent={"toolConfig.tools[1].toolSpec.name": "get_weather", f"length({NAME})": 2},
        got={"calls[-1].name": "get_weather"},
    ),
    Row(
        entry="A1",
        case="allowed tools with hyphens",
        model=NOVA,
        prompt=CALL_HYPHENS,
        fields={
            "tools": [tool(BARE, HYPHENS), tool(BARE, "an-other")],
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": HYPHENS}}]},
            },
        },
        sent={NAME: ["weather_api_get_forecast"]},
        got={"calls[].name": [HYPHENS]},
    ),
    Row(
        entry="A1",
        case="a custom tool with a hyphen",
        model=NOVA,
        fields={"tools": [{"type": "custom", "custom": {"name": "get-weather"}}], "tool_choice": "required"},
        sent={NAME: ["get_weather"]},
        got={"calls[].name": ["get-weather"], "message.tool_calls[0].type": "custom"},
    ),
    Row(
        entry="A1",
        case="a legacy function with a hyphen",
        model=NOVA,
        fields={"functions": [{"name": "get-weather", "parameters": BARE}], "function_call": {"name": "get-weather"}},
        sent={NAME: ["get_weather"]},
        got={"message.function_call.name": "get-weather"},
    ),
    Row(
        entry="A1",
        case="a history of a tool with a hyphen",
        model=NOVA,
        fields={**tools(BARE, HYPHENS), "messages": HISTORY},
        sent={"messages[1].content[0].toolUse.name": "weather_api_get_forecast"},
        got={"contains(message.content, '18 degrees')": True},
    ),
    *for_each(
        (SONNET_4_6, LLAMA, GPT_OSS, MISTRAL),
        Row(
            entry="A1",
            case="a hyphen where it is taken",
            model=SONNET_4_6,
            prompt=CALL_HYPHENS,
            fields=tools(BARE, HYPHENS),
            sent={NAME: [HYPHENS]},
            got={"calls[].name": [HYPHENS]},
        ),
    ),
]
