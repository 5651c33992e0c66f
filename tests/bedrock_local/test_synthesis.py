"""Values made for schemas: Pydantic, which wrote the schema, is the judge; so are the words of the user."""

import datetime
import decimal
import enum
import json
import uuid
from contextlib import suppress
from typing import Annotated, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from bedrock_local.json_schema import problems
from bedrock_local.synthesis import SchemaError, synthesise
from bedrock_local.words import mentioned, names


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Point(BaseModel):
    x: float = Field(ge=1, lt=2)
    y: int = Field(gt=10, multiple_of=7)


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: Annotated[int, Field(le=9)]


class Dog(BaseModel):
    kind: Literal["dog"]


class Node(BaseModel):
    name: str
    children: list["Node"] = []
    parent: "Node | None" = None


class Base(BaseModel):
    model_config = ConfigDict(extra="forbid")
    identifier: uuid.UUID


class Everything(Base):
    text: str = Field(min_length=12, max_length=20)
    short: str = Field(max_length=2)
    code: str = Field(pattern=r"^[A-Z]{3}-\d{3}$")
    digits: str = Field(pattern=r"^\d{5}$")
    colour: Colour
    colours: set[Colour] = Field(min_length=2)
    when: datetime.datetime
    day: datetime.date
    hour: datetime.time
    spell: datetime.timedelta
    price: decimal.Decimal
    flag: bool
    nothing: None
    maybe: int | None
    either: int | str
    point: Point
    points: list[Point] = Field(min_length=3, max_length=4)
    pair: tuple[int, str]
    unique: set[int] = Field(min_length=3)
    mapping: dict[str, int]
    bounded: dict[str, Point] = Field(min_length=2)
    pet: Cat | Dog = Field(discriminator="kind")
    tree: Node
    optional: str = "default"


@pytest.mark.parametrize(
    "kind",
    [Everything, Node, Point, list[Everything], dict[str, Node], Cat | Dog, Colour, Literal[3], tuple[int, ...]],
)
@pytest.mark.parametrize("text", ["", "Ada lives in New York with 3 cats, 14 dogs and 12.5 fish"])
def test_pydantic_accepts_what_its_schema_led_to(kind, text):
    adapter = TypeAdapter(kind)
    schema = adapter.json_schema()
    assert list(problems(schema, "schema")) == []
    value = synthesise(schema, text)
    adapter.validate_json(json.dumps(value))
    assert synthesise(schema, text) == value


def test_optional_properties_are_generated_too():
    assert set(synthesise(Everything.model_json_schema(), "")) == set(Everything.model_fields)


def test_words_and_numbers_of_the_user_fill_it():
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "integer"}, "c": {"type": "number"}},
    }
    assert synthesise(schema, "Take Mont Blanc, 4810 and 1.5") == {"a": "Mont Blanc", "b": 4810, "c": 1.5}
    assert synthesise(schema, 'Take "two words"')["a"] == "two words"
    assert synthesise(schema, "nothing") == {"a": "a", "b": 1, "c": 1}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"const": 3}, 3),
        ({"enum": ["b", "a"]}, "b"),
        ({"anyOf": [{"type": "null"}, {"type": "integer", "minimum": 5}]}, 5),
        ({"type": ["null", "boolean"]}, True),
        ({"type": "array", "items": {"const": 1}, "minItems": 2}, [1, 1]),
        ({"type": "array", "maxItems": 0}, []),
        ({"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}]}, {"a": 1, "b": 2}),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"const": 1}}}, 1),
        ({"type": "object", "required": ["x"]}, {"x": "x"}),
        ({"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 5}, 4),
        ({"type": "integer", "maximum": -7}, -7),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.5}, 0.25),
        ({}, "value"),
        (True, "value"),
        ({"$ref": "#"}, None),
        ({"allOf": [{"$ref": "#/allOf/0"}]}, "value"),
        ({"type": "array", "uniqueItems": True, "minItems": 2, "items": {"$ref": "#/items"}}, [None, None]),
    ],
)
def test_small_schemas(schema, value):
    assert synthesise(schema, "") == value


def test_a_recursion_that_cannot_end_ends():
    schema = {"$ref": "#/$defs/n", "$defs": {"n": {"type": "object", "properties": {}, "required": []}}}
    schema["$defs"]["n"]["properties"] = {name: {"$ref": "#/$defs/n"} for name in "abcd"}
    schema["$defs"]["n"]["required"] = list("abcd")
    assert set(synthesise(schema, "")) == set("abcd")


def test_a_reference_to_nowhere():
    with pytest.raises(SchemaError, match="#/nowhere points nowhere"):
        synthesise({"$ref": "#/nowhere"}, "")


SCHEMAS = st.recursive(
    st.booleans()
    | st.dictionaries(
        st.sampled_from(
            ["type", "enum", "const", "minimum", "maxLength", "minItems", "format", "$ref", "pattern", "multipleOf"]
        ),
        st.sampled_from(["string", "#", "#/items", "object", 3, -1, 0.5, [], ["a"], None, {}, "(", "date"]),
        max_size=3,
    ),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "items": inner,
            "properties": st.dictionaries(st.sampled_from("ab"), inner),
            "anyOf": st.lists(inner, max_size=2),
            "allOf": st.lists(inner, max_size=2),
            "additionalProperties": inner,
            "required": st.lists(st.sampled_from("abc")),
        },
    ),
    max_leaves=6,
)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(SCHEMAS)
def test_whatever_passes_as_a_schema_has_a_value(schema):
    if not list(problems(schema, "schema")):
        with suppress(SchemaError):
            json.dumps(synthesise(schema, "some Words and 7"))


@pytest.mark.parametrize(
    ("text", "called"),
    [
        ("What is the weather?", ["get_weather"]),
        ("weather and stock", ["get_weather", "getStockPrice"]),
        ("please use get_weather for the price", ["get_weather"]),
        ("get the thing", []),
        ("run a search", ["search"]),
        ("weathering", []),
        ("GETSTOCKPRICE", ["getStockPrice"]),
    ],
)
def test_which_tools_a_text_names(text, called):
    assert mentioned(["get_weather", "getStockPrice", "search"], text) == called


def test_names_in_a_text():
    assert names("We go to Rio de Janeiro. Then Paris or the Isle Of Man") == ["Rio", "Janeiro", "Paris", "Isle Of Man"]
    assert names('say "hello there" to `bob` in Rome') == ["hello there", "bob"]
