"""Schemas of tools for every family's limits; the oracle for JSON Schema is the package jsonschema.

Whatever schema a client sends, what goes out is within the family's limits, and every value that is valid against it
is, put back, valid against the client's schema, unless the result names what it had to loosen.
"""

import json
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from msgspec import Raw
from referencing.exceptions import Unresolvable

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.capability_table import BUILT_IN
from extproc.openai.errors import ApiError
from extproc.translate.fitting import Fitted, fit, tool_limits
from extproc.translate.renaming import renamed
from extproc.translate.schemas import Growth, over_schemas

FAMILIES = tuple({tool_limits(family): family for family in BUILT_IN.families.values()}.values())
"""A family of each kind of limits."""
COMBINATORS = ("anyOf", "oneOf", "allOf")
LOOKAROUND = re.compile(r"\(\?<?[=!]")

NAMES = ("a", "b", "a b", "c[d]", "Größe")
SCALARS = (None, True, 0, 1, 2.5, "", "a", "a b")
REFERENCES = ("#", "#/$defs/A", "#/$defs/B", "#/definitions/C", "#/properties/a", "#/properties/a%20b")
TYPES = ("object", "object", "string", "integer", "array", ["string", "null"])


class Making:
    """Makes schemas and values of a seed: drawn piece by piece they would take a hundred times as long."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def _one(self, of: Sequence[Any]) -> Any:
        return self._random.choice(of)

    def _some(self, of: Sequence[Any]) -> list[Any]:
        return self._random.sample(of, self._random.randint(0, 2))

    def instance(self) -> dict[str, Any]:
        """Return an object."""
        return {name: self.value(3) for name in self._some(NAMES)}

    def value(self, depth: int) -> Any:
        """Return any JSON value."""
        kind = self._random.randint(0, 5) if depth else 0
        if kind == 4:
            return [self.value(depth - 1) for _ in range(self._random.randint(0, 2))]
        return {name: self.value(depth - 1) for name in self._some(NAMES)} if kind == 5 else self._one(SCALARS)

    def root(self) -> dict[str, Any]:
        """Return the schema of an object."""
        return {**self._object(4, 6), "type": "object"}

    def schema(self, depth: int) -> Any:
        """Return any JSON Schema."""
        if self._random.random() < 0.1:
            return self._one((True, False))
        return self._object(depth, 3)

    def _object(self, depth: int, most: int) -> dict[str, Any]:
        keys = self._random.sample([*self._plain(), *(self._structures(depth) if depth else ())], most)
        made = {**self._plain(), **self._structures(depth)}
        return {key: made[key]() for key in keys[: self._random.randint(0, most)]}

    def _plain(self) -> dict[str, Callable[[], Any]]:
        return {
            "type": lambda: self._one(TYPES),
            "required": lambda: self._some(NAMES),
            "const": lambda: self._one(SCALARS),
            "enum": lambda: [self.value(2), self.instance()],
            "minProperties": lambda: self._one((0, 1, 2)),
            "minLength": lambda: self._one((0, 1)),
            "minimum": lambda: self._one((0, 1)),
            "pattern": lambda: self._one(("^a", "^(?!a)")),
            "dependentRequired": lambda: {name: self._some(NAMES) for name in self._some(NAMES)},
            "additionalProperties": lambda: self._one((True, False)),
            "description": lambda: "D",
            "$ref": lambda: self._one(REFERENCES),
        }

    def _structures(self, depth: int) -> dict[str, Callable[[], Any]]:
        def below() -> Any:
            return self.schema(depth - 1)

        def branches() -> list[Any]:
            return [below() for _ in range(self._random.randint(1, 2))]

        return {
            "properties": lambda: {name: below() for name in self._some(NAMES)},
            "patternProperties": lambda: {self._one(("^a", "^(?!a)")): below()},
            "propertyNames": lambda: self._one(({"pattern": "^a"}, {"maxLength": 1}, {"enum": ["a", "a b"]})),
            "dependentSchemas": lambda: {name: below() for name in self._some(NAMES)},
            **dict.fromkeys(("items", "not", "if", "then", "else", "unevaluatedProperties"), below),
            **dict.fromkeys(("anyOf", "oneOf", "allOf"), branches),
            "$defs": lambda: {"A": below(), "B": below()},
            "definitions": lambda: {"C": below()},
        }


SEEDS = st.integers(0, 2**64 - 1)


def fitted(schema: Any, family: Capabilities) -> Fitted:
    return fit(Raw(json.dumps(schema).encode()), Raw(b'{"type":"object"}'), tool_limits(family), Growth(), "p")


def is_valid(instance: Any, schema: Any) -> bool:
    """Return the oracle's word; a schema with a reference to nothing, or without end, has none."""
    try:
        return bool(Draft202012Validator(schema).is_valid(instance))
    except (Unresolvable, RecursionError):
        assume(False)
        raise


def nodes(schema: Any) -> Iterator[dict[str, Any]]:
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            over_schemas(node, waiting.append)


def check_limits(schema: dict[str, Any], family: Capabilities) -> None:
    assert schema["type"] == "object"
    assert not family.schema_root_keys or schema.keys() <= set(family.schema_root_keys)
    if "root_combinators" in family.schema_gaps:
        assert not schema.keys() & set(COMBINATORS)
    if family.property_names is not None:
        assert all(re.fullmatch(family.property_names, name) for name in schema.get("properties", {}))
    for node in nodes(schema):
        assert "definitions" not in family.schema_gaps or not node.keys() & {"$ref", "$defs", "definitions"}
        assert "lookaround" not in family.schema_gaps or not LOOKAROUND.search(str(node.get("pattern", "")))


def put_back(instance: Any, names: Mapping[str, str]) -> Any:
    """Return arguments as the client gets them."""
    return json.loads(renamed(json.dumps(instance), {there: here for here, there in names.items()}))


def as_model(instance: Any, names: Mapping[str, str]) -> Any:
    """Return a value with the names of properties that the model knows."""
    return json.loads(renamed(json.dumps(instance), names))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.family)
@given(SEEDS)
def test_what_goes_out_is_within_the_limits_and_what_comes_back_is_valid(family: Capabilities, seed: int) -> None:
    making = Making(seed)
    schema, instances = making.root(), [making.instance() for _ in range(8)]
    try:
        result = fitted(schema, family)
    except ApiError:
        return
    sent = json.loads(bytes(result.schema))
    Draft202012Validator.check_schema(sent)
    check_limits(sent, family)
    if result.loosened:
        return
    for instance in instances:
        model = as_model(instance, result.names)
        if is_valid(model, sent):
            back = put_back(model, result.names)
            assert back == instance
            assert is_valid(back, schema)


ANYTHING = st.sampled_from([None, 5, "a b", [], [None], {}, {"a b": None}, {"$ref": "#/x"}, [{"required": 5}, 5]])


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.family)
@given(st.dictionaries(st.sampled_from(["properties", "required", "anyOf", "allOf", "items", "$defs", "x"]), ANYTHING))
def test_any_object_is_within_the_limits_of_the_root(family: Capabilities, schema: dict[str, Any]) -> None:
    """What is no JSON Schema goes out as well, but for what the family rejects at the root."""
    sent = json.loads(bytes(fitted({**schema, "type": "object"}, family).schema))
    assert not family.schema_root_keys or sent.keys() <= set(family.schema_root_keys)
    assert "root_combinators" not in family.schema_gaps or not sent.keys() & set(COMBINATORS)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.family)
@given(SEEDS)
def test_a_schema_within_the_limits_is_not_changed_again(family: Capabilities, seed: int) -> None:
    try:
        once = fitted(Making(seed).root(), family)
    except ApiError:
        return
    again = fitted(json.loads(bytes(once.schema)), family)
    assert json.loads(bytes(again.schema)) == json.loads(bytes(once.schema))
    assert (again.names, again.loosened) == ({}, ())


@given(SEEDS)
def test_the_schemas_are_json_schemas(seed: int) -> None:
    Draft202012Validator.check_schema(Making(seed).root())
