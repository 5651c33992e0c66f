"""Requests whose JSON Schemas have many of something, for `bench.shapes`."""

from bench.bodies import Json, Shape, chat, tool

GPT_OSS = "openai.gpt-oss-120b-1:0"
"""Of a family that reads no references in schemas."""
GROK = "xai.grok-4.3"
"""Of a family that reads no look-around in schemas."""


def _schema(schema: Json) -> bytes:
    return chat(tools=[tool("look", parameters=schema, strict=True)])


def _format(schema: Json) -> bytes:
    return chat(
        response_format={"type": "json_schema", "json_schema": {"name": "it", "strict": True, "schema": schema}}
    )


def _object(properties: Json, **more: Json) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
        **more,
    }


def _properties(count: int) -> Json:
    return {f"p{at}": {"type": "string"} for at in range(count)}


def _deep(count: int) -> Json:
    schema: Json = {"type": "string"}
    for _ in range(40):
        schema = _object({"a": schema})
    return _object({f"b{at}": schema for at in range(count)})


def _references(count: int) -> Json:
    """Each reference spells the name of its definition in another way, and every definition is large."""
    letters = [f"{at:016b}".replace("0", "a").replace("1", "%61") for at in range(count)]
    return _object(
        {"x": {"anyOf": [{"$ref": f"#/$defs/{letter}"} for letter in letters]}},
        **{"$defs": {"a" * 16: _object({"y": {"anyOf": [{"type": "string"}] * count}})}},
    )


def _chain(count: int) -> Json:
    definitions = {f"D{at}": _object({"n": {"$ref": f"#/$defs/D{at + 1}"}}) for at in range(count)}
    return _object({"n": {"$ref": "#/$defs/D0"}}, **{"$defs": definitions | {f"D{count}": {"type": "string"}}})


def _doubling(levels: int) -> Json:
    """A small definition that is used 2 ** `levels` times."""
    definitions = {str(at): {"anyOf": [{"$ref": f"#/d/{at + 1}"}] * 2} for at in range(levels)}
    return _object({"p": {"$ref": "#/d/0"}}, d={**definitions, str(levels): {}})


def _empty_definition(count: int) -> Json:
    """An empty definition that is used often, in a schema that is large enough to be checked."""
    return _object({"p": {"anyOf": [{"$ref": "#/d"}] * count}}, d={}, description="a" * 5_000)


def _nested_patterns() -> Json:
    """Look-around within look-around."""
    schema: Json = {"type": "string"}
    for _ in range(12):
        schema = {"patternProperties": {"(?=a)": schema}}
    return schema


def _mutual(count: int) -> Json:
    """Definitions each of which uses all others."""
    every = [{"$ref": f"#/$defs/D{at}"} for at in range(count)]
    return _object({"x": {"anyOf": every}}, **{"$defs": {f"D{at}": {"anyOf": every} for at in range(count)}})


def _root_chain(count: int) -> Json:
    """A root that is a reference to a reference, in an object with many others."""
    chain = {f"C{at}": {"$ref": f"#/$defs/C{at + 1}"} for at in range(7)}
    return {"$ref": "#/$defs/C0", "$defs": {**chain, "C7": {"type": "object"}, **_properties(count)}}


def _one_definition(count: int) -> Json:
    """A definition with a few properties that is used often."""
    return _object({"p": {"anyOf": [{"$ref": "#/$defs/A"}] * count}}, **{"$defs": {"A": _object(_properties(3))}})


def _far(count: int) -> Json:
    """References of many steps each."""
    schema: Json = {"type": "string"}
    for _ in range(60):
        schema = {"a": schema}
    reference = {"$ref": "#/$defs" + "/a" * 60}
    return _object({f"p{at}": {**reference, "title": "It"} for at in range(count)}, **{"$defs": schema})


def _root_far(count: int) -> Json:
    """A root that is a reference to a reference, each of many steps, to an object in which there is much."""
    schema: Json = {"type": "object", **_properties(count), "c7": {"type": "object"}}
    schema |= {f"c{at}": {"$ref": f"#/$defs/a/a/a/a/a/c{at + 1}"} for at in range(7)}
    for _ in range(5):
        schema = {"a": schema}
    return {"$ref": "#/$defs/a/a/a/a/a/c0", "$defs": schema}


def _empty_schemas(count: int, **more: Json) -> Json:
    return _object({"a": {"type": "string", **more}, "p": {"anyOf": [{}] * count}})


def _digits(body: bytes, count: int) -> bytes:
    """`body` with as many integers of 4,000 digits where it has the text `HERE`."""
    return body.replace(b'"HERE"', b",".join([b"9" * 4_000] * count))


def _raw_deep(count: int) -> Json:
    """Values as deep as is accepted."""
    value: Json = []
    for _ in range(95):
        value = [value]
    return _object({"a": {"enum": [value] * count}})


def _look_around(schema: Json) -> bytes:
    return chat(model=GROK, tools=[tool("t", parameters=schema)])


def _inlined(schema: Json) -> bytes:
    return chat(model=GPT_OSS, tools=[tool("t", parameters=schema)])


def _branches(schemas: list[Json], **more: Json) -> bytes:
    return _schema({"type": "object", "anyOf": schemas, **more})


def _branch_chain(count: int) -> Json:
    """Definitions of which each has the next as a branch, and a property of its own."""
    definitions = {
        f"D{at}": {"anyOf": [{"$ref": f"#/$defs/D{at + 1}"}, {"properties": {f"p{at}": {}}, "required": [f"p{at}"]}]}
        for at in range(count)
    }
    return {"type": "object", "anyOf": [{"$ref": "#/$defs/D0"}], "$defs": {**definitions, f"D{count}": {}}}


def _doubling_branches(count: int) -> Json:
    """Definitions of which each has the next as two branches."""
    definitions = {f"D{at}": {"anyOf": [{"$ref": f"#/$defs/D{at + 1}"}] * 2} for at in range(count)}
    return {"type": "object", "allOf": [{"$ref": "#/$defs/D0"}], "$defs": {**definitions, f"D{count}": {}}}


SCHEMA_SHAPES: dict[str, Shape] = {
    "schema, wide": Shape(lambda n: _schema(_object(_properties(n))), 9_900),
    "schema, wide, as the format": Shape(lambda n: _format(_object(_properties(n))), 9_900),
    "schema, deep": Shape(lambda n: _schema(_deep(n)), 80),
    "schema, deep, as the format": Shape(lambda n: _format(_deep(n)), 80),
    "schema, enum": Shape(lambda n: _format(_object({"a": {"enum": [f"v{at}" for at in range(n)]}})), 100_000),
    "schema, alternatives": Shape(lambda n: _format(_object({"a": {"anyOf": [{"type": "string"}] * n}})), 19_900),
    "schema, definitions": Shape(lambda n: _format(_chain(n)), 2_800),
    "schema, references": Shape(lambda n: _format(_references(n)), 9_900),
    "schema, references, nested": Shape(
        lambda n: chat(model=GPT_OSS, tools=[tool(f"t{at}", parameters=_doubling(12)) for at in range(n)]), 128
    ),
    "schema, references, empty": Shape(
        lambda n: chat(model=GPT_OSS, tools=[tool("t", parameters=_empty_definition(n))]), 2_600
    ),
    "schema, references, mutual": Shape(
        lambda n: chat(model=GPT_OSS, tools=[tool(f"t{at}", parameters=_mutual(20), strict=True) for at in range(n)]),
        128,
    ),
    "schema, references, escaped": Shape(
        lambda n: chat(model=GPT_OSS, tools=[tool("t", parameters=_object({"p": {"$ref": "#/" + "%41" * n}}))])
    ),
    "schema, patterns, nested": Shape(
        lambda n: chat(
            model=GROK, tools=[tool("t", parameters=_object({f"p{at}": _nested_patterns() for at in range(n)}))]
        ),
        640,
    ),
    "schema, branches": Shape(lambda n: _branches([{"required": [f"p{at}"]} for at in range(n)]), 19_900),
    "schema, branches, one property": Shape(
        lambda n: _branches([{"properties": {"kind": {"const": f"v{at}"}}} for at in range(n)]), 6_600
    ),
    "schema, branches, one reference": Shape(
        lambda n: _branches([{"$ref": "#/$defs/A"}] * n, **{"$defs": {"A": _object(_properties(100))}}), 19_000
    ),
    "schema, branches, in a chain": Shape(lambda n: _schema(_branch_chain(n)), 2_800),
    "schema, branches, nested": Shape(lambda n: _schema(_doubling_branches(n)), 4_000),
    "schema, names that do not fit": Shape(lambda n: _schema(_object({f"p {at}": {} for at in range(n)})), 9_900),
    "schema, null": Shape(lambda n: _schema(_object({f"p{at}": {"items": None} for at in range(n)})), 9_900),
    "schema, root reference, in steps": Shape(lambda n: _schema(_root_chain(n)), 9_900),
    "schema, patterns": Shape(
        lambda n: _format(_object({f"p{at}": {"type": "string", "pattern": "^(?!a)b"} for at in range(n)})),
        6_600,
    ),
    "schema, root reference": Shape(
        lambda n: _format({"$ref": "#/$defs/A", "$defs": {"A": _object(_properties(n))}}), 9_900
    ),
    "schema, references, one definition": Shape(lambda n: _inlined(_one_definition(n)), 800),
    "schema, references, in a chain": Shape(lambda n: _inlined(_chain(n)), 64),
    "schema, references, of each tool": Shape(
        lambda n: chat(model=GPT_OSS, tools=[tool(f"t{at}", parameters=_chain(8)) for at in range(n)]), 128
    ),
    "schema, references, far": Shape(lambda n: _inlined(_far(n)), 2_000),
    "schema, root reference, far": Shape(lambda n: _schema(_root_far(n)), 9_900),
    "schema, objects without references": Shape(lambda n: _inlined(_empty_schemas(n) | {"$defs": {"A": {}}}), 19_900),
    "schema, objects without look-around": Shape(lambda n: _look_around(_empty_schemas(n, pattern="(?=a)")), 19_900),
    "schema, enum beside look-around": Shape(
        lambda n: _look_around(_object({"a": {"enum": [f"v{at}" for at in range(n)], "pattern": "(?=a)"}})), 100_000
    ),
    "schema, numbers": Shape(lambda n: _digits(_format(_object({"a": {"enum": ["HERE"]}})), n)),
    "schema, numbers beside look-around": Shape(
        lambda n: _digits(_look_around(_object({"a": {"enum": ["HERE"], "pattern": "(?=a)"}})), n)
    ),
    "schema, numbers of each tool": Shape(
        lambda n: _digits(
            chat(tools=[tool(f"t{at}", parameters=_object({"a": {"const": "HERE"}}), strict=True) for at in range(n)]),
            1,
        ),
        128,
    ),
    "schema, one long pattern": Shape(lambda n: _look_around(_object({"a": {"pattern": "(?=a)" * n}}))),
    "schema, one long pattern, as the format": Shape(
        lambda n: _format(_object({"a": {"type": "string", "pattern": "(?" * n}}))
    ),
    "schema, named patterns": Shape(
        lambda n: _look_around({"type": "object", "patternProperties": {f"(?=a){at}": {} for at in range(n)}}), 19_900
    ),
    "schema, long names": Shape(
        lambda n: _format(_object({f"{'p' * 200}{at}": {"type": "string"} for at in range(n)})), 9_900
    ),
    "schema, minima": Shape(
        lambda n: _format(_object({f"p{at}": {"type": "integer", "minimum": at, "maximum": at} for at in range(n)})),
        3_900,
    ),
    "schema, brackets": Shape(lambda n: _format(_object({"a": {"enum": [[]] * n}}))),
    "schema, brackets in brackets": Shape(lambda n: chat(tools=[tool("t", parameters=_raw_deep(n))])),
    "strict tools": Shape(
        lambda n: chat(tools=[tool(f"t{at}", parameters=_object(_properties(60)), strict=True) for at in range(n)]), 128
    ),
    "tools with a schema": Shape(
        lambda n: chat(tools=[tool(f"t{at}", parameters=_object(_properties(60))) for at in range(n)]), 128
    ),
}
"""By their names."""
