"""JSON that is passed on byte for byte once it is known to be an object."""

import json
from typing import Any
from urllib.parse import unquote

import pytest
from msgspec import Raw

from extproc.openai.errors import ApiError
from extproc.translate.fitting import Limits, fit
from extproc.translate.schemas import Growth, json_object, unescaped, without_lookaround

OBJECT = {"type": "object", "properties": {"city": {"type": "string"}}}


NONE, INLINED, PLAIN = Limits(), Limits(("definitions",)), Limits(("lookaround",))


def fitted(schema: bytes, limits: Limits = NONE) -> bytes:
    return bytes(fit(Raw(schema), Raw(b'"absent"'), limits, Growth(), "p").schema)


def rooted(schema: Any) -> Any:
    return json.loads(fitted(json.dumps(schema).encode()))


@pytest.mark.parametrize("text", ["{}", '{"b":1.0,"a":[1e2,123456789012345678901234567890]}', ' {"a" : "\\u00e9"} '])
def test_an_object_keeps_every_byte(text: str) -> None:
    assert bytes(json_object(text, "Arguments", "p")) == text.encode()


@pytest.mark.parametrize("text", ["", "null", "[]", "5", '"{}"', "{", "{}{}", "{'a':1}", '{"a":' * 5000, '{"a":NaN}'])
def test_a_value_that_is_no_object_is_rejected(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        json_object(text, "Arguments", "p")
    assert caught.value.param == "p"
    assert caught.value.message.startswith("Arguments must be a JSON object: ")


def test_a_schema_of_an_object_keeps_every_byte() -> None:
    schema = b'{ "type":"object", "required":[ ], "properties":{"z":{"maximum":1.0},"a":{"enum":[1e2,-0.0]}} }'
    assert fitted(schema) == schema


def test_a_schema_that_is_null_is_absent() -> None:
    assert rooted(None) == "absent"


def test_a_schema_without_a_type_is_one_of_an_object() -> None:
    assert rooted({"anyOf": [{"required": ["a"]}]}) == {"type": "object", "anyOf": [{"required": ["a"]}]}


def test_a_root_that_refers_to_a_definition_becomes_that_definition() -> None:
    """Pydantic writes recursive models so."""
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}
    assert rooted({"$ref": "#/$defs/Node", "$defs": {"Node": node}}) == {**node, "$defs": {"Node": node}}


@pytest.mark.parametrize(
    ("reference", "definitions"),
    [
        ("#/definitions/A", {"definitions": {"A": OBJECT}}),
        ("#/$defs/A/B", {"$defs": {"A": {"B": OBJECT}}}),
        ("#/$defs/a~1b~0c%20d", {"$defs": {"a/b~c d": OBJECT}}),
        ("#/$defs/A", {"$defs": {"A": {"$ref": "#/$defs/B"}, "B": OBJECT}}),
    ],
    ids=["definitions", "deeper", "escaped", "twice removed"],
)
def test_any_reference_within_the_schema_is_followed(reference: str, definitions: dict[str, Any]) -> None:
    assert rooted({"$ref": reference, **definitions}) == {**OBJECT, **definitions}


def test_keywords_beside_a_reference_override_its_definition() -> None:
    schema = {"$ref": "#/$defs/A", "title": "Mine", "$defs": {"A": {**OBJECT, "title": "Theirs"}}}
    assert rooted(schema)["title"] == "Mine"


@pytest.mark.parametrize(
    "reference",
    [
        "#/$defs/Absent",
        "#/$defs/Loop",
        "#/$defs/Chain0",
        "#/$defs/Text",
        "#/$defs/Text/type",
        "#/$defs/~2",
        "#",
        "https://example.com/schema",
        "",
        5,
        "#" + "/$defs" * 10_000,
    ],
)
def test_a_reference_that_leads_to_no_object_is_rejected(reference: Any) -> None:
    definitions = {f"Chain{n}": {"$ref": f"#/$defs/Chain{n + 1}"} for n in range(100)}
    definitions |= {"Loop": {"$ref": "#/$defs/Pool"}, "Pool": {"$ref": "#/$defs/Loop"}, "Text": {"type": "string"}}
    with pytest.raises(ApiError) as caught:
        rooted({"$ref": reference, "$defs": definitions})
    assert caught.value.param in ("p.$ref", "p.type")


# Look-around where the family rejects it


@pytest.mark.parametrize("pattern", ["(?=a)", "(?!a)", "(?<=a)b", "(?<!a)b"])
def test_look_around_moves_to_the_description(pattern: str) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": pattern, "description": "D."}}}
    result = without_lookaround(schema).schema
    described = {"type": "string", "description": f'D. (pattern: "{pattern}")'}
    assert result["properties"]["a"] == described


@pytest.mark.parametrize(
    "node", [{"pattern": "(?:a)"}, {"pattern": "(?P<n>a)"}, {"pattern": 5}, {"enum": ["(?=a)"]}, {"const": "(?=a)"}]
)
def test_all_else_stays(node: dict[str, Any]) -> None:
    schema = {"type": "object", "properties": {"a": node, "pattern": {"type": "string", "title": "(?=a)"}}}
    assert without_lookaround(schema).schema == schema


def test_look_around_in_the_names_of_properties_is_described_too() -> None:
    text = {"type": "string", "pattern": "(?=b)"}
    schema = {"type": "object", "patternProperties": {"^a": text, "^(?!a)": text}, "description": "D."}
    described = {"type": "string", "description": 'pattern: "(?=b)"'}
    assert without_lookaround(schema).schema == {
        "type": "object",
        "patternProperties": {"^a": described},
        "description": 'D. (patternProperties: {"^(?!a)":{"type":"string","pattern":"(?=b)"}})',
    }


def test_nested_look_around_is_described_once() -> None:
    """A description within a description would have its quotes escaped once more with each level."""
    schema: Any = {"type": "string", "pattern": "(?=b)"}
    for _ in range(12):
        schema = {"patternProperties": {"(?=a)": schema}}
    whole = {"type": "object", **schema}
    assert len(json.dumps(without_lookaround(whole).schema)) < 2 * len(json.dumps(whole))


def test_without_look_around_every_byte_stays() -> None:
    schema = b'{ "type":"object", "pattern":"a" , "minimum":1.0}'
    assert fitted(schema, PLAIN) == schema


@pytest.mark.parametrize(
    "name", ["a", "é%C3%A9", "%C3é%A9", "%e2%82%ac%", "%zz%41é", "~1%7E1~0%25", "a%00b", "日%E6%9C%AC"]
)
def test_a_name_in_a_pointer_is_unquoted_like_the_standard_library(name: str) -> None:
    assert unescaped(name) == unquote(name).replace("~1", "/").replace("~0", "~")
