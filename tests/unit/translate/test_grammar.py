"""Schemas that are grammars, and the changes to all others."""

import json
from enum import Enum
from typing import Any, Literal

import pytest
from msgspec import Raw
from openai.lib._pydantic import to_strict_json_schema
from pydantic import BaseModel, Field

from extproc.translate import grammar as module
from extproc.translate.grammar import MAX_OBJECTS, Size, _Writing, grammar
from extproc.translate.schemas import definition

TEXT = {"type": "string"}


def closed(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def written(schema: Any) -> Any:
    """Return the grammar as JSON, or None."""
    result = grammar(Raw(json.dumps(schema).encode()))
    return None if result is None else json.loads(bytes(result.schema))


def size(schema: Any) -> Size:
    result = grammar(Raw(json.dumps(schema).encode()))
    assert result is not None
    return result.size


# Unchanged schemas


def test_a_grammar_goes_out_byte_for_byte() -> None:
    schema = b'{ "type":"object", "additionalProperties" : false, "properties":{"b":{"const":1.0},"a":{"enum":[1e2]}} }'
    result = grammar(Raw(schema))
    assert result is not None
    assert bytes(result.schema) == schema
    assert result.unchanged


@pytest.mark.parametrize(
    "node",
    [
        TEXT,
        {"type": ["string", "null"], "title": "T", "description": "D", "default": None},
        {"type": "string", "minLength": 1, "maxLength": 9, "pattern": "^[a-z]+$", "format": "date-time"},
        {"type": "array", "items": TEXT, "minItems": 1},
        {"enum": ["a", 1, None, True, 1.5]},
        {"const": "a"},
        {"anyOf": [TEXT, {"type": "null"}]},
        closed(deeper=closed()),
        {"type": "object", "additionalProperties": False},
    ],
)
def test_keywords_of_a_grammar_stay(node: dict[str, Any]) -> None:
    schema = closed(a=node)
    assert written(schema) == schema


def test_definitions_and_references_stay() -> None:
    schema = {**closed(a={"$ref": "#/$defs/A", "description": "D"}), "$defs": {"A": {"type": "string"}}}
    assert written(schema) == schema


def test_a_property_may_have_any_name() -> None:
    schema = closed(**{"not": TEXT, "minimum": TEXT, "$ref": TEXT, "oneOf": TEXT})
    assert written(schema) == schema


# Changed schemas


def test_every_object_is_closed() -> None:
    inner = {"type": "object", "properties": {"b": TEXT}}
    result = written({"type": "object", "properties": {"a": inner, "c": {"type": "array", "items": inner}}})
    assert result["additionalProperties"] is False
    assert result["properties"]["a"]["additionalProperties"] is False
    assert result["properties"]["c"]["items"]["additionalProperties"] is False


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("minimum", 1),
        ("maximum", 1.0),
        ("exclusiveMinimum", 0),
        ("exclusiveMaximum", 123456789012345678901234567890),
        ("multipleOf", 5),
        ("maxItems", 3),
        ("minItems", 2),
        ("uniqueItems", True),
        ("examples", ["a"]),
        ("format", "phone"),
        ("format", ["date"]),
        ("format", {}),
        ("pattern", "(?=a)b"),
        ("pattern", r"\bword\b"),
        ("pattern", r"(a)\1"),
        ("pattern", r"a\0"),
    ],
)
def test_narrowing_keywords_move_to_the_description(key: str, value: Any) -> None:
    keyword = f"{key}: {json.dumps(value)}"
    for before, after in ((None, keyword), ("How many.", f"How many. ({keyword})")):
        node = {**TEXT, key: value} if before is None else {**TEXT, key: value, "description": before}
        assert written(closed(a=node)) == closed(a={**TEXT, "description": after})


def test_all_moved_keywords_are_in_one_sentence() -> None:
    node = {"type": "integer", "minimum": 1, "maximum": 9}
    assert written(closed(a=node))["properties"]["a"]["description"] == "minimum: 1, maximum: 9"


def test_one_of_becomes_any_of() -> None:
    assert written(closed(a={"oneOf": [TEXT, {"type": "null"}]})) == closed(a={"anyOf": [TEXT, {"type": "null"}]})


def test_all_of_one_is_any_of_one() -> None:
    assert written(closed(a={"allOf": [TEXT], "description": "D"})) == closed(a={"anyOf": [TEXT], "description": "D"})


@pytest.mark.parametrize("key", ["$schema", "$id", "$comment", "discriminator", "deprecated", "x-order"])
def test_annotations_of_a_value_are_left_out(key: str) -> None:
    assert written({**closed(a=TEXT), key: "x"}) == closed(a=TEXT)


# Schemas that are no grammar


@pytest.mark.parametrize(
    "node",
    [
        True,
        {},
        {"type": "object"},
        {"type": "object", "additionalProperties": True, "properties": {}},
        {"type": "object", "additionalProperties": TEXT},
        {"type": "object", "patternProperties": {"^a": TEXT}, "additionalProperties": False},
        {"type": "object", "properties": {"a": TEXT}, "required": ["b"]},
        {"type": "object", "properties": {"a": TEXT}, "required": [["a"]]},
        {"type": "object", "properties": [TEXT]},
        {"type": "array"},
        {"type": "array", "prefixItems": [TEXT], "items": TEXT},
        {"type": "array", "items": [TEXT]},
        {"type": "any"},
        {"type": 5},
        {"type": [["string"]]},
        {"enum": [{"a": 1}]},
        {"enum": "a"},
        {"const": []},
        {"not": TEXT},
        {"if": TEXT, "then": TEXT, "type": "string"},
        {"allOf": [TEXT, {"minLength": 1}]},
        {"anyOf": []},
        {"anyOf": TEXT},
        {"anyOf": [TEXT], "oneOf": [TEXT]},
        {"$ref": "#/$defs/Absent"},
        {"$ref": "#/$defs/A/properties/a"},
        {"$ref": "#/properties/b"},
        {"$ref": "#"},
        {"$ref": "https://example.com/schema"},
        {"$ref": 5},
    ],
)
def test_keywords_that_change_the_form_are_no_grammar(node: Any) -> None:
    assert written({**closed(a=node, b=TEXT), "$defs": {"A": closed(a=TEXT)}}) is None


@pytest.mark.parametrize(
    "definitions",
    [
        {"A": closed(a={"$ref": "#/$defs/A"})},
        {"A": {"anyOf": [{"$ref": "#/$defs/B"}]}, "B": {"type": "array", "items": {"$ref": "#/$defs/A"}}},
        {"A": closed(default={"$ref": "#/$defs/A"})},
        {"A": closed(enum={"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]})},
    ],
)
def test_a_recursive_schema_is_no_grammar(definitions: Any) -> None:
    assert written({**closed(a={"$ref": "#/$defs/A"}), "$defs": definitions}) is None


def test_a_schema_that_is_nested_too_deeply_is_no_grammar() -> None:
    schema: Any = TEXT
    for _ in range(300):
        schema = {"type": "array", "items": schema}
    assert written(closed(a=schema)) is None


@pytest.mark.parametrize("text", [b"[]", b"null", b"{", b'{"type":"object","properties":' * 5000])
def test_an_invalid_schema_is_no_grammar(text: bytes) -> None:
    assert grammar(Raw(text)) is None


# Sizes


@pytest.mark.parametrize(
    ("node", "counted"),
    [
        (TEXT, Size(1, 0, 0)),
        ({"type": ["string", "null"]}, Size(1, 1, 0)),
        ({"anyOf": [TEXT, {"type": "null"}]}, Size(1, 1, 0)),
        ({"anyOf": [TEXT]}, Size(1, 1, 0)),
        ({"type": ["string"]}, Size(1, 1, 0)),
        ({"type": "object", "properties": {"a": TEXT, "b": TEXT}, "required": ["b"]}, Size(3, 0, 1)),
    ],
)
def test_properties_unions_and_optional_ones_are_counted(node: Any, counted: Size) -> None:
    assert size(closed(a=node)) == counted


@pytest.mark.parametrize(
    ("total", "fits"),
    [
        (Size(64, 16, 24), True),
        (Size(65, 0, 0), False),
        (Size(0, 17, 0), False),
        (Size(0, 0, 25), False),
    ],
)
def test_there_is_an_end_to_each(total: Size, fits: bool) -> None:
    assert total.fits is fits


# The openai package's schemas of Pydantic models


class Mood(Enum):
    GOOD = "good"
    BAD = "bad"


class Place(BaseModel):
    """A place by its coordinates."""

    name: str = Field(description="As on a map.")
    latitude: float = Field(ge=-90, le=90)


class Report(BaseModel):
    place: Place = Field(description="Where.")
    again: Place | None
    mood: Mood
    kind: Literal["a", "b"] = "a"
    tags: list[str] = Field(max_length=5)


class Link(BaseModel):
    next: "Link | None"


class Scores(BaseModel):
    scores: dict[str, int]


def test_schemas_of_openais_package_are_grammars() -> None:
    result = written(to_strict_json_schema(Report))
    assert result["$defs"]["Place"]["properties"]["latitude"] == {
        "title": "Latitude",
        "type": "number",
        "description": "maximum: 90, minimum: -90",
    }
    assert result["properties"]["tags"]["description"] == "maxItems: 5"
    assert size(to_strict_json_schema(Report)).fits


@pytest.mark.parametrize("model", [Link, Scores])
def test_recursive_models_and_open_dictionaries_are_not(model: type[BaseModel]) -> None:
    assert written({**model.model_json_schema(), "title": "T"}) is None


# Cost


def counted(monkeypatch: pytest.MonkeyPatch, schema: Any) -> tuple[Any, int]:
    """Return the grammar, and the number of schemas written for it."""
    writing, calls = _Writing.schema, 0

    def counting(self: _Writing, node: Any, depth: int) -> dict[str, Any]:
        nonlocal calls
        calls += 1
        return writing(self, node, depth)

    monkeypatch.setattr(_Writing, "schema", counting)
    return written(schema), calls


def test_writing_ends_where_more_is_counted_than_bedrock_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    unions = closed(a={"anyOf": [{"anyOf": [TEXT]}] * 100})
    result, calls = counted(monkeypatch, unions)
    assert (result, calls) == (None, 33)  # the root, `a`, and up to the 17th union two for each but the first
    result, calls = counted(monkeypatch, closed(**{f"p{at}": TEXT for at in range(65)}))
    assert (result, calls) == (None, 1)


def test_a_schema_of_too_many_objects_is_not_even_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    fitting = closed(a={"anyOf": [TEXT] * (MAX_OBJECTS - 3)})
    result, calls = counted(monkeypatch, fitting)
    assert (result, calls) == (fitting, MAX_OBJECTS - 1)
    assert counted(monkeypatch, closed(a={"anyOf": [TEXT] * (MAX_OBJECTS - 2)})) == (None, 0)


def test_a_reference_is_resolved_once_however_often_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = list[Any]()

    def counting(root: Any, reference: Any) -> Any:
        resolved.append(reference)
        return definition(root, reference)

    monkeypatch.setattr(module, "definition", counting)
    schema = {**closed(a={"anyOf": [{"$ref": "#/$defs/A"}] * 300}), "$defs": {"A": TEXT}}
    assert written(schema) == schema
    assert resolved == ["#/$defs/A"]


def test_a_long_pattern_moves_to_the_description_unsearched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HARD_PATTERN", None)
    result = written(closed(a={"type": "string", "pattern": "a" * 4097}))
    assert result["properties"]["a"] == {"type": "string", "description": f'pattern: "{"a" * 4097}"'}
