"""Rewriting of JSON schemas (extproc.translate.schemas, grammar, tools).

Invariants: a schema becomes a JSON object, or one `ApiError` with status 400, never another exception; what needs no
rewriting goes through byte for byte; an inlined schema has no reference left that leads anywhere and no definitions; a
schema without look-around has no pattern that looks around; a grammar is a fixed point of `grammar`.

Oracle: the standard library's json reads what is written, and every object that is taken.

The first byte of an input selects the family that is offered the schema as a tool; the rest is the schema.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Raw

from extproc.bedrock.capability_table import BUILT_IN
from extproc.openai.chat import decode_request
from extproc.openai.errors import ApiError
from extproc.openai.limits import MAX_REFERRED_BYTES
from extproc.translate.fitting import Limits, fit
from extproc.translate.grammar import grammar
from extproc.translate.ignored import Ignored
from extproc.translate.schemas import Growth, definition, json_object, over_schemas
from extproc.translate.tools import plan_tools

FAMILIES = tuple(family for _, family in sorted(BUILT_IN.families.items()) if family.converse)
ABSENT = Raw(b'{"type":"object"}')
GROWTH = 8 * MAX_REFERRED_BYTES
"""Bytes by which references may enlarge a schema, with what escapes add."""
WRITTEN = 64
"""Bytes of what is written to a schema that says nothing: its type, and that it has no properties."""
STORES = ("$defs", "definitions")
LOOKAROUND = re.compile(r"\(\?<?[=!]")

WORDS = tuple(
    word.encode()
    for word in (
        '"$ref"',
        '"#"',
        '"#/$defs/A"',
        '"#/definitions/A"',
        '"#/properties/a"',
        '"#/$defs/A/properties/a"',
        '"$defs"',
        '"definitions"',
        '"properties"',
        '"patternProperties"',
        '"dependentSchemas"',
        '"items"',
        '"prefixItems"',
        '"anyOf"',
        '"oneOf"',
        '"allOf"',
        '"not"',
        '"enum"',
        '"const"',
        '"default"',
        '"required"',
        '"pattern"',
        '"(?=a)"',
        '"(?<!a)"',
        '"additionalProperties"',
        '"type"',
        '"object"',
        '"array"',
        '"string"',
        '"description"',
        '"format"',
        '"minimum"',
        "true",
        "false",
        "null",
        "1e400",
        "~0",
        "~1",
        "%24",
        '"\\\\ud800"',
        '{"a":',
        "[[[[[[[[",
    )
)


def check(data: bytes) -> None:
    """Rewrite the schema in every way, and offer it as a tool."""
    takes, schema = FAMILIES[(data[0] if data else 0) % len(FAMILIES)], data[1:]
    if not _is_utf8(schema):  # `openai.decoding` rejects such bodies
        return
    known = _object(lambda: json_object(Raw(schema), "A schema", "p"))
    if known is None:
        return
    assert bytes(json_object(Raw(schema), "A schema", "p")) == schema
    _check_rewriting(schema, known)
    _check_grammar(schema)
    before = b'{"model":"m","messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":'
    body = before + b'{"name":"f","strict":true,"parameters":%b}}]}' % schema
    try:
        plan_tools(decode_request(body), takes, Ignored())
    except ApiError as error:
        assert error.status == 400, error.status


def seeds() -> Iterator[bytes]:
    """Yield a schema for each keyword that is rewritten, alone and within others."""
    leaf = {"type": "string", "pattern": "^(?=a)", "description": "D."}
    defs = {"A": {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}}, "B": leaf}
    schemas: list[dict[str, Any]] = [
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        {"$ref": "#/$defs/A", "$defs": defs},
        {
            "type": "object",
            "properties": {"a": {"$ref": "#/$defs/A"}, "b": {"$ref": "#/$defs/B", "title": "t"}},
            "$defs": defs,
        },
        {"type": "object", "patternProperties": {"(?!x)": leaf, "y": True}, "additionalProperties": False},
        {"type": "object", "properties": {"a": {"anyOf": [leaf, {"type": "null"}]}, "b": {"enum": [1, None, "c"]}}},
        {"type": "object", "properties": {"a": {"type": ["string", "null"], "format": "date", "minLength": 1}}},
        {"type": "object", "properties": {"a": {"type": "array", "items": {"oneOf": [leaf]}, "maxItems": 3}}},
        {"type": "object", "properties": {"$ref": {"type": "string"}, "not": {"not": {}}}, "definitions": {"A": {}}},
        {"type": "object", "properties": {"a": {"allOf": [{"$ref": "#"}], "const": {"$ref": "#/x"}}}},
        {
            "type": "object",
            "additionalProperties": {"$ref": "#/properties/a"},
            "properties": {"a": {"type": "integer"}},
        },
    ]
    for at, schema in enumerate(schemas):
        yield bytes([at]) + json.dumps(schema).encode()
        yield (
            bytes([at + 10])
            + json.dumps({"type": "object", "properties": {"p": schema}}, separators=(",", ":")).encode()
        )
    yield b"\0{}"
    yield b"\0null"
    yield b"\0[]"


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _object(make: Callable[[], Raw]) -> dict[str, Any] | None:
    """Return what was made, read by the standard library; None where it was rejected."""
    try:
        raw = bytes(make())
    except ApiError as error:
        assert error.status == 400, error.status
        return None
    decoded = json.loads(raw)
    assert isinstance(decoded, dict)
    return decoded


def _check_rewriting(schema: bytes, known: dict[str, Any]) -> None:
    rooted = _object(lambda: _fitted(schema, Limits()))
    assert rooted is None or rooted["type"] == "object"
    flat = _object(lambda: _fitted(schema, Limits(("definitions",))))
    if flat is not None:
        assert len(json.dumps(flat)) <= len(schema) * 8 + GROWTH, "it grows without a bound"
        assert not any(_leads_somewhere(node, known) for node in _nodes(flat)), "a reference is left"
    plain = _object(lambda: _fitted(schema, Limits(("lookaround",))))
    if plain is not None:
        assert len(json.dumps(plain)) <= len(schema) * 8 + WRITTEN, "it grows beyond its own size"
        assert not any(_looks_around(node) for node in _nodes(plain)), "a pattern that looks around is left"


def _fitted(schema: bytes, limits: Limits) -> Raw:
    return fit(Raw(schema), ABSENT, limits, Growth(), "p").schema


def _check_grammar(schema: bytes) -> None:
    constraint = grammar(Raw(schema))
    if constraint is None:
        return
    again = grammar(constraint.schema)
    assert again is not None, "a grammar has no grammar"
    assert json.loads(bytes(again.schema)) == json.loads(bytes(constraint.schema)), "a grammar is no fixed point"


def _nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield the schema and every schema below it; what a `$ref` that is no string holds is none."""
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            over_schemas({key: value for key, value in node.items() if key != "$ref"}, waiting.append)


def _leads_somewhere(node: dict[str, Any], root: dict[str, Any]) -> bool:
    return "$ref" in node and definition(root, node["$ref"]) is not None


def _looks_around(node: dict[str, Any]) -> bool:
    named = node.get("patternProperties")
    patterns = [node.get("pattern"), *(named if isinstance(named, dict) else ())]
    return any(isinstance(one, str) and LOOKAROUND.search(one) for one in patterns)
