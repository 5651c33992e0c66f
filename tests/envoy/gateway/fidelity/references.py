"""A1, further: references and patterns that a family does not read, and `null` in schemas."""

from tests.envoy.gateway.fidelity.row import (
    BARE,
    CITY,
    GPT_OSS,
    KIMI_K2_5,
    LLAMA,
    NOVA,
    OPUS_5_5,
    PARAMETERS,
    PARIS,
    QWEN,
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

RECURSIVE = {"type": "object", "properties": {"first": {"$ref": "#/$defs/Node"}}}
NODE = {"type": "object", "properties": {"city": CITY, "next": {"$ref": "#/$defs/Node"}}, "required": ["city"]}
BACK = {**STRICT, "properties": {"city": {"type": "string", "pattern": "^[^\\0]*$"}}}

REFERENCES = [
    *for_each(
        (GPT_OSS, NOVA),
        Row(
            entry="A1",
            case="references to a boolean and to nothing",
            model=GPT_OSS,
            fields=tools(
                {
                    **BARE,
                    "properties": {"city": CITY, "any": {"$ref": "#/$defs/Any"}, "lost": {"$ref": "#/$defs/Lost"}},
                    "$defs": {"Any": True},
                }
            ),
            sent={SCHEMA: {**BARE, "properties": {"city": CITY, "any": {}, "lost": {}}}},
            got={"calls[0].arguments.city": "Paris"},
            ignored=[PARAMETERS],
        ),
    ),
    *for_each(
        (GPT_OSS, NOVA),
        Row(
            entry="A1",
            case="a definition within itself",
            model=GPT_OSS,
            fields=tools(
                {"type": "object", "properties": {"first": {"$ref": "#/$defs/Node"}}, "$defs": {"Node": NODE}}
            ),
            sent={f"{SCHEMA}.properties.first.properties.next.type": "object", f'{SCHEMA}."$defs"': None},
            got={"calls[0].arguments.first.city": "Paris"},
            ignored=[PARAMETERS],
        ),
    ),
    *for_each(
        (GPT_OSS, NOVA),
        Row(
            entry="A1",
            case="a reference to the root",
            model=GPT_OSS,
            fields=tools({**BARE, "properties": {"city": CITY, "more": {"$ref": "#"}}}),
            sent={f"{SCHEMA}.properties.city": CITY},
            got={"calls[0].arguments.city": "Paris"},
            ignored=[PARAMETERS],
        ),
    ),
    *for_each(
        (GPT_OSS, NOVA),
        Row(
            entry="A1",
            case="references in a schema of the response",
            model=GPT_OSS,
            fields=json_schema({**BARE, "properties": {"city": {"$ref": "#/$defs/C"}}, "$defs": {"C": CITY}}),
            sent={SCHEMA: BARE},
            got={"json": {"city": "Paris"}},
        ),
    ),
    *for_each(
        (SONNET_4_5, OPUS_5_5, QWEN, KIMI_K2_5, GPT_OSS),
        Row(
            entry="A1",
            case="an escaped digit in a pattern of the response",
            model=SONNET_4_5,
            fields=json_schema(BACK),
            got={"json": {"city": "Paris"}},
        ),
    ),
    *for_each(
        (SONNET_4_5, QWEN),
        Row(
            entry="A1",
            case="an escaped digit in a pattern of a strict tool",
            model=SONNET_4_5,
            fields=tools(BACK, strict=True),
            sent={SCHEMA: BACK, "toolConfig.tools[0].toolSpec.strict": None},
            got={"calls": PARIS},
            ignored=["tools[].function.strict"],
        ),
    ),
]

NULLS = [
    {"type": "object", "properties": None, "required": None},
    {"type": "object", "properties": {"a": {"type": "array", "items": None, "description": None}}},
    {"type": "object", "properties": {"a": None, "b": {"type": ["string", None], "enum": None}}, "description": None},
    {"type": None, "properties": {}, "anyOf": [None], "additionalProperties": None, "$defs": None},
    None,
]
NULL = [
    *[
        Row(
            entry="A1",
            case=f"null, number {number}",
            model=model,
            fields=tools(schema, description=None),
            sent={"contains(to_string(toolConfig), 'null')": False},
            got={"calls[].name": ["get_weather"]},
        )
        for model in (NOVA, SONNET_4_6, GPT_OSS, LLAMA)
        for number, schema in enumerate(NULLS)
        if number != 2
    ],
    *for_each(
        (NOVA, SONNET_4_6, GPT_OSS),
        Row(
            entry="A1",
            case="null for a property and among types",
            model=NOVA,
            fields=tools(NULLS[2]),
            sent={f"{SCHEMA}.properties": {"a": {}, "b": {"type": ["string", "null"]}}},
            got={"calls[].name": ["get_weather"]},
        ),
    ),
    *for_each(
        (NOVA, SONNET_4_6, SONNET_4_5, OPUS_5_5, GPT_OSS, QWEN, LLAMA),
        Row(
            entry="A1",
            case="null in a schema of the response",
            model=NOVA,
            fields=json_schema({**BARE, "description": None, "properties": {"city": {"type": "string", "enum": None}}}),
            got={"json.city": "Paris"},
        ),
    ),
    *for_each(
        (NOVA, SONNET_4_6),
        Row(
            entry="A1",
            case="no parameters at all, beside a tool that has some",
            model=NOVA,
            prompt="Call get_weather and get_time for Paris.",
            fields={"tools": [tool(BARE), {"type": "function", "function": {"name": "get_time"}}]},
            sent={"toolConfig.tools[1].toolSpec.inputSchema.json": {"type": "object", "properties": {}}},
            got={"calls": [*PARIS, {"name": "get_time", "arguments": {}}]},
        ),
    ),
]
