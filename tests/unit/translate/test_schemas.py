"""JSON that goes through byte for byte, once it is known to be an object."""

import json
from typing import Any

import pytest
from msgspec import Raw

from extproc.openai.errors import ApiError
from extproc.translate.schemas import json_object, object_schema

OBJECT = {"type": "object", "properties": {"city": {"type": "string"}}}


def rooted(schema: Any) -> Any:
    return json.loads(bytes(object_schema(Raw(json.dumps(schema).encode()), Raw(b'"absent"'), "p")))


@pytest.mark.parametrize("text", ["{}", '{"b":1.0,"a":[1e2,123456789012345678901234567890]}', ' {"a" : "\\u00e9"} '])
def test_an_object_keeps_every_byte(text: str) -> None:
    assert bytes(json_object(text, "Arguments", "p")) == text.encode()


@pytest.mark.parametrize("text", ["", "null", "[]", "5", '"{}"', "{", "{}{}", "{'a':1}", '{"a":' * 5000, '{"a":NaN}'])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        json_object(text, "Arguments", "p")
    assert caught.value.param == "p"
    assert caught.value.message.startswith("Arguments must be a JSON object: ")


def test_a_schema_of_an_object_keeps_every_byte() -> None:
    schema = b'{ "type":"object", "required":[ ], "properties":{"z":{"maximum":1.0},"a":{"enum":[1e2,-0.0]}} }'
    assert bytes(object_schema(Raw(schema), Raw(b""), "p")) == schema


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


def test_what_stands_beside_a_reference_counts_more_than_what_it_refers_to() -> None:
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
        None,
        "#" + "/$defs" * 10_000,
    ],
)
def test_a_reference_that_leads_to_no_object_is_refused(reference: Any) -> None:
    definitions = {f"Chain{n}": {"$ref": f"#/$defs/Chain{n + 1}"} for n in range(100)}
    definitions |= {"Loop": {"$ref": "#/$defs/Pool"}, "Pool": {"$ref": "#/$defs/Loop"}, "Text": {"type": "string"}}
    with pytest.raises(ApiError) as caught:
        rooted({"$ref": reference, "$defs": definitions})
    assert caught.value.param in ("p.$ref", "p.type")
