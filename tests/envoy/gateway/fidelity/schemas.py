"""A1: schemas and names of tools that a family does not take as clients send them."""

from typing import Any

from tests.envoy.gateway.fidelity.row import (
    BARE,
    CITY,
    GPT_OSS,
    HAIKU_3,
    HAIKU_4_5,
    LLAMA,
    NOVA,
    NOVA_2,
    NOVA_LITE,
    OMNI,
    OPUS_4_7,
    OPUS_5_5,
    PARAMETERS,
    PARIS,
    RESPONSE_SCHEMA,
    SCHEMA,
    SONNET_4_5,
    SONNET_4_6,
    STRICT,
    Row,
    for_each,
    json_schema,
    tool,
    tools,
)

NOVAS = (
    *(NOVA, NOVA_LITE, "amazon.nova-pro-v1:0", "us.amazon.nova-premier-v1:0", NOVA_2, OMNI),
    "us.amazon.nova-2-pro-preview-20251202-v1:0",
)
CLAUDES = (HAIKU_3, SONNET_4_5, SONNET_4_6, OPUS_4_7, OPUS_5_5)
CLOSED = f"{PARAMETERS}.additionalProperties"
ABOUT = "toolConfig.tools[0].toolSpec.description"

# Nova: three keywords at the root

ROOT = [
    *for_each(
        NOVAS,
        Row(
            entry="A1",
            case="an SDK's strict tool, not called",
            model=NOVA,
            prompt="hi",
            fields=tools(STRICT),
            sent={SCHEMA: BARE},
            got={"message.tool_calls": None, "finish_reason": "stop"},
            ignored=[CLOSED],
        ),
    ),
    *for_each(
        NOVAS,
        Row(
            entry="A1",
            case="an SDK's strict tool, called",
            model=NOVA,
            fields=tools(STRICT, strict=True),
            sent={SCHEMA: BARE, "toolConfig.tools[0].toolSpec.strict": None},
            got={"calls": PARIS, "finish_reason": "tool_calls"},
            ignored=["tools[].function.strict", CLOSED],
        ),
    ),
    *for_each(
        NOVAS,
        Row(
            entry="A1",
            case="the answer tool",
            model=NOVA,
            fields=json_schema(STRICT, strict=True),
            sent={SCHEMA: BARE},
            got={"json": {"city": "Paris"}, "message.tool_calls": None, "finish_reason": "stop"},
            ignored=[f"{RESPONSE_SCHEMA}.additionalProperties"],
        ),
    ),
    Row(
        entry="A1",
        case="a reference at the root",
        model=NOVA,
        fields=tools({"$ref": "#/$defs/W", "$defs": {"W": STRICT}}),
        sent={SCHEMA: BARE},
        got={"calls": PARIS},
        ignored=[CLOSED],
    ),
    Row(
        entry="A1",
        case="two tools, both called",
        model=NOVA,
        prompt="Call get_weather and get_time for Paris.",
        fields={
            "tools": [tool(STRICT), tool({**BARE, "title": "Time", "$comment": "x", "examples": [{}]}, "get_time")]
        },
        sent={"toolConfig.tools[].toolSpec.inputSchema.json": [BARE, BARE]},
        got={"calls[].name": ["get_weather", "get_time"], "calls[0].arguments": {"city": "Paris"}},
        ignored=[CLOSED],
    ),
    Row(
        entry="A1",
        case="definitions of draft 7",
        model=NOVA,
        fields=tools(
            {
                "$schema": "http://json-schema.org/draft-07/schema#",
                "definitions": {"City": CITY},
                "description": "Where.",
                **BARE,
                "properties": {"city": {"$ref": "#/definitions/City"}},
            }
        ),
        sent={SCHEMA: BARE, ABOUT: "Where."},
        got={"calls": PARIS},
    ),
    Row(
        entry="A1",
        case="keywords that constrain",
        model=NOVA,
        fields=tools({**BARE, "minProperties": 1, "patternProperties": {"^x": {}}, "additionalProperties": CITY}),
        sent={SCHEMA: BARE},
        got={"calls": PARIS},
        ignored=[f"{PARAMETERS}.{key}" for key in ("minProperties", "patternProperties", "additionalProperties")],
    ),
    *[
        Row(
            entry="A1",
            case=f"additionalProperties {free}, which constrains nothing",
            model=NOVA,
            fields=tools({**BARE, "additionalProperties": free}),
            sent={SCHEMA: BARE},
            got={"calls": PARIS},
        )
        for free in (True, {})
    ],
    Row(
        entry="A1",
        case="the same keywords below the root",
        model=NOVA,
        prompt='Call get_weather for "Paris".',
        fields=tools({"type": "object", "properties": {"place": {**STRICT, "title": "P", "minProperties": 1}}}),
        sent={f"{SCHEMA}.properties.place": {**STRICT, "title": "P", "minProperties": 1}},
        got={"calls[0].arguments": {"place": {"city": "Paris"}}},
    ),
    *for_each(
        (NOVA, SONNET_4_6, GPT_OSS, LLAMA),
        Row(
            entry="A1",
            case="a schema without keywords",
            model=NOVA,
            fields=tools({}),
            sent={SCHEMA: {"type": "object"}},
            got={"calls[].name": ["get_weather"]},
        ),
    ),
    Row(
        entry="A1",
        case="a legacy function",
        model=NOVA,
        fields={"functions": [{"name": "get_weather", "parameters": STRICT}]},
        sent={SCHEMA: BARE},
        got={"message.function_call.name": "get_weather", "finish_reason": "function_call"},
        ignored=["functions[].parameters.additionalProperties"],
    ),
]

# Claude: no combinators at the root

EITHER = {
    "type": "object",
    "properties": {"route": CITY, "file": CITY},
    "anyOf": [{"required": ["route"]}, {"required": ["file"]}],
}
BRANCHES = [
    {"type": "object", "properties": {"city": CITY, "kind": {"const": "now"}}, "required": ["city", "kind"]},
    {"type": "object", "properties": {"city": CITY, "day": CITY}, "required": ["city", "day"]},
]


def union(key: str) -> dict[str, Any]:
    """Return a union as pydantic writes it, whose branches are definitions."""
    definitions = dict(zip("AB", BRANCHES, strict=True))
    return {"type": "object", key: [{"$ref": f"#/$defs/{name}"} for name in definitions], "$defs": definitions}


COMBINATORS = [
    *for_each(
        (*CLAUDES, NOVA),
        Row(
            entry="A1",
            case="a choice of what is required",
            model=HAIKU_3,
            fields=tools(EITHER),
            sent={SCHEMA: {"type": "object", "properties": EITHER["properties"]}},
            got={"calls[].name": ["get_weather"], "length(keys(calls[0].arguments))": 2},
            ignored=[f"{PARAMETERS}.anyOf"],
        ),
    ),
    *[
        Row(
            entry="A1",
            case=f"a union by {key}, of definitions",
            model=model,
            fields=tools(union(key)),
            sent={
                f"{SCHEMA}.{key}": None,
                f"{SCHEMA}.required": required,
                f"sort(keys({SCHEMA}.properties))": ["city", "day", "kind"],
                f"contains({ABOUT}, '\"{key}\":')": True,
            },
            got={"calls[0].arguments.city": "Paris"},
            ignored=[f"{PARAMETERS}.{key}"],
        )
        for model in (SONNET_4_6, OPUS_5_5)
        for key, required in (("anyOf", ["city"]), ("oneOf", ["city"]), ("allOf", ["city", "day", "kind"]))
    ],
    Row(
        entry="A1",
        case="alternatives below the root",
        model=SONNET_4_6,
        fields=tools({**BARE, "properties": {"city": {"anyOf": [CITY, {"type": "null"}]}}}),
        sent={f"{SCHEMA}.properties.city": {"anyOf": [CITY, {"type": "null"}]}},
        got={"calls": PARIS},
    ),
    Row(
        entry="A1",
        case="one tool of two with alternatives",
        model=SONNET_4_6,
        prompt="Call get_weather and get_time for Paris.",
        fields={"tools": [tool(BARE), tool(EITHER, "get_time")]},
        sent={SCHEMA: BARE, "toolConfig.tools[1].toolSpec.inputSchema.json.anyOf": None},
        got={"calls[].name": ["get_weather", "get_time"]},
        ignored=[f"{PARAMETERS}.anyOf"],
    ),
    *for_each(
        (SONNET_4_6, HAIKU_4_5, SONNET_4_5, OPUS_4_7, NOVA),
        Row(
            entry="A1",
            case="alternatives at the root of the response",
            model=SONNET_4_6,
            fields=json_schema(union("anyOf")),
            sent={f"{SCHEMA}.required": ["city"]},
            got={"json.city": "Paris", "message.tool_calls": None},
            ignored=[f"{RESPONSE_SCHEMA}.anyOf"],
        ),
    ),
    Row(
        entry="A1",
        case="alternatives at the root of the response, in words",
        model=OPUS_5_5,
        fields=json_schema(union("anyOf")),
        sent={"toolConfig": None, "outputConfig": None, "contains(system[-1].text, '\"anyOf\"')": True},
        got={"json.city": "Paris"},
    ),
]
