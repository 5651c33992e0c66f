"""References within a schema that a family does not take: each becomes its definition, within limits."""

import json
import sys
from typing import Any, Literal

import pytest
from msgspec import Raw
from pydantic import BaseModel, Field

from extproc.openai.errors import ApiError
from extproc.openai.limits import MAX_REFERRED_BYTES, MAX_REFERRED_SCHEMAS
from extproc.translate import schemas
from extproc.translate.fitting import fit
from extproc.translate.schemas import Growth, definition, inlined
from tests.unit.translate.test_schemas import INLINED, fitted

# References where they are not read


def flat(schema: Any) -> Any:
    return inlined(schema, "p", Growth()).schema


def test_without_references_every_byte_stays() -> None:
    schema = b'{ "type":"object", "minProperties":1.0 }'
    assert fitted(schema, INLINED) == schema


@pytest.mark.parametrize("store", ["$defs", "definitions"])
def test_references_become_their_definitions(store: str) -> None:
    place = {"type": "object", "properties": {"at": {"$ref": f"#/{store}/Point"}}}
    schema = {
        "type": "object",
        "properties": {"from": {"$ref": f"#/{store}/Place", "description": "Whence."}},
        "items": [{"$ref": f"#/{store}/Point"}],
        store: {"Place": place, "Point": {"type": "number", "maximum": 1.0}},
    }
    point = {"type": "number", "maximum": 1.0}
    whence = {"type": "object", "properties": {"at": point}, "description": "Whence."}
    assert flat(schema) == {"type": "object", "properties": {"from": whence}, "items": [point]}


def test_definitions_that_nothing_refers_to_go_too() -> None:
    assert flat({"type": "object", "$defs": {"A": {"type": "string"}}}) == {"type": "object"}


def test_numbers_and_the_order_of_keys_stay() -> None:
    schema = b'{"z":1.0,"type":"object","a":123456789012345678901234567890,"properties":{"b":{"$ref":"#/$defs/B"}},'
    schema += b'"$defs":{"B":{"y":2.50,"x":1}}}'
    assert fitted(schema, INLINED) == (
        b'{"z":1.0,"type":"object","a":123456789012345678901234567890,"properties":{"b":{"y":2.5,"x":1}}}'
    )


def test_a_recursive_reference_is_described() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}
    again = {"type": "object", "description": "Again what this is a part of: #/$defs/Node"}
    result = flat({"type": "object", "properties": {"first": {"$ref": "#/$defs/Node"}}, "$defs": {"Node": node}})
    assert result["properties"]["first"]["properties"]["next"] == again
    whole = flat({"type": "object", "properties": {"a": {"$ref": "#"}}})
    assert whole["properties"]["a"] == {"type": "object", "description": "Again what this is a part of: #"}


@pytest.mark.parametrize(
    ("reference", "loosened"), [("#/$defs/Node", True), ("#/$defs/Leaf", False), ("#/$defs/Absent", True)]
)
def test_inlining_loosens_recursion_and_references_to_nothing(reference: str, loosened: bool) -> None:
    definitions = {"Node": {"properties": {"next": {"$ref": "#/$defs/Node"}}}, "Leaf": {"type": "string"}}
    schema = {"type": "object", "properties": {"a": {"$ref": reference}}, "$defs": definitions}
    assert inlined(schema, "p", Growth()).loosened is loosened


@pytest.mark.parametrize("reference", ["#/$defs/Absent", "https://example.com/schema", "#anchor", 5, None, "#/type/x"])
def test_a_reference_to_nothing_goes(reference: Any) -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": reference, "title": "A"}}}
    assert flat(schema) == {"type": "object", "properties": {"a": {"title": "A"}}}


@pytest.mark.parametrize("key", ["$dynamicRef", "$recursiveRef"])
def test_a_dynamic_reference_goes_with_the_definitions(key: str) -> None:
    schema = {"type": "object", "properties": {"a": {key: "#node", "type": "object"}}, "$defs": {}}
    assert inlined(schema, "p", Growth()) == ({"type": "object", "properties": {"a": {"type": "object"}}}, True)


@pytest.mark.parametrize(("target", "replacement"), [(True, {}), (False, {"not": {}})])
def test_a_definition_may_be_a_boolean(target: bool, replacement: Any) -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": target}}
    assert inlined(schema, "p", Growth()) == ({"type": "object", "properties": {"a": replacement}}, False)


def test_a_property_may_be_named_like_a_keyword() -> None:
    properties = {"$ref": {"type": "string"}, "definitions": {"type": "string"}, "a": {"$ref": "#/$defs/A"}}
    result = flat({"type": "object", "properties": properties, "$defs": {"A": {"enum": [{"$ref": "#/$defs/A"}]}}})
    assert result["properties"] == {**properties, "a": {"enum": [{"$ref": "#/$defs/A"}]}}


def test_a_schema_that_would_grow_exponentially_is_rejected() -> None:
    """Thirty definitions that each use the next twice would be a thousand million."""
    definitions: dict[str, Any] = {
        f"D{n}": {"properties": {side: {"$ref": f"#/$defs/D{n + 1}"} for side in "ab"}} for n in range(30)
    }
    with pytest.raises(ApiError) as caught:
        flat({"type": "object", "properties": {"a": {"$ref": "#/$defs/D0"}}, "$defs": definitions})
    assert caught.value.param == "p"
    assert "too large" in caught.value.message


def doubling(levels: int, leaf: Any) -> Any:
    """Return a definition that is used 2 ** `levels` times."""
    definitions = {str(at): {"anyOf": [{"$ref": f"#/$defs/{at + 1}"}] * 2} for at in range(levels)}
    return {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/0"}},
        "$defs": {**definitions, str(levels): leaf},
    }


@pytest.mark.parametrize("leaf", [{}, {"enum": ["a" * 5000]}, {"anyOf": [{}] * 500}])
def test_a_rejected_schema_is_no_more_work_than_an_accepted_one(leaf: Any) -> None:
    schema, visited = doubling(16, leaf), 0

    def count(frame: Any, event: str, _: object) -> None:
        nonlocal visited
        visited += event == "call" and frame.f_code.co_name == "over_schemas"

    sys.setprofile(count)
    try:
        with pytest.raises(ApiError):
            inlined(schema, "p", Growth())
    finally:
        sys.setprofile(None)
    assert visited < MAX_REFERRED_BYTES / 16


def test_a_definition_is_written_out_once_however_often_it_is_used() -> None:
    schema, visited = doubling(9, {"type": "string"}), 0

    def count(frame: Any, event: str, _: object) -> None:
        nonlocal visited
        visited += event == "call" and frame.f_code.co_name == "over_schemas"

    sys.setprofile(count)
    try:
        result = inlined(schema, "p", Growth()).schema
    finally:
        sys.setprofile(None)
    assert json.dumps(result).count('"string"') == 2**9
    assert visited < 50


def test_a_recursive_definition_depends_on_the_definitions_around_it() -> None:
    """The result of a definition depends on those around it, if it refers to one of them."""
    tree = {"type": "object", "properties": {"leaf": {"$ref": "#/$defs/Leaf"}}}
    leaf = {"type": "object", "properties": {"tree": {"$ref": "#/$defs/Tree"}}}
    fields = {"leaf": {"$ref": "#/$defs/Leaf"}, "tree": {"$ref": "#/$defs/Tree"}}
    result = flat({"type": "object", "properties": fields, "$defs": {"Tree": tree, "Leaf": leaf}})["properties"]
    again = "Again what this is a part of: #/$defs/"
    assert result["leaf"]["properties"]["tree"]["properties"]["leaf"] == {
        "type": "object",
        "description": f"{again}Leaf",
    }
    assert result["tree"]["properties"]["leaf"]["properties"]["tree"] == {
        "type": "object",
        "description": f"{again}Tree",
    }


def test_keywords_beside_a_reference_do_not_stay_with_the_definition() -> None:
    fields = {"a": {"$ref": "#/$defs/A", "title": "Mine", "type": "number"}, "b": {"$ref": "#/$defs/A"}}
    schema = {"type": "object", "properties": fields, "$defs": {"A": {"type": "string", "minLength": 1}}}
    result = flat(schema)["properties"]
    assert result == {
        "a": {"title": "Mine", "type": "number", "allOf": [{"type": "string", "minLength": 1}]},
        "b": {"type": "string", "minLength": 1},
    }


def test_all_schemas_of_a_request_share_their_growth_limit() -> None:
    growth, text = Growth(), Raw(json.dumps(doubling(6, {"enum": ["a" * 2500]})).encode())
    fit(text, Raw(b""), INLINED, growth, "p")
    with pytest.raises(ApiError) as caught:
        fit(text, Raw(b""), INLINED, growth, "q")
    assert caught.value.param == "q"
    assert f"{MAX_REFERRED_BYTES:,} bytes" in caught.value.message


def test_a_reference_is_resolved_once_however_often_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = list[Any]()

    def counting(root: Any, reference: Any) -> Any:
        resolved.append(reference)
        return definition(root, reference)

    monkeypatch.setattr(schemas, "definition", counting)
    result = flat({"anyOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}] * 500, "$defs": {"A": {}, "B": {}}})
    assert result == {"anyOf": [{}] * 1000}
    assert resolved == ["#/$defs/A", "#/$defs/B"]


def test_the_schemas_that_replace_references_have_a_limit() -> None:
    """Where definitions come back to each other, each use is written anew; here most schemas have two bytes."""
    every = [{"$ref": f"#/$defs/D{at}"} for at in range(5)] + [{}] * 100
    schema = {"$ref": "#/$defs/D0", "$defs": {f"D{at}": {"anyOf": every} for at in range(5)}}
    growth = Growth()
    with pytest.raises(ApiError, match=f"{MAX_REFERRED_SCHEMAS:,} schemas") as caught:
        inlined(schema, "p", growth)
    assert caught.value.param == "p"
    assert growth.left >= 0


@pytest.mark.parametrize("steps", [32, 33])
def test_a_reference_of_many_steps_leads_nowhere(steps: int) -> None:
    target: Any = {"type": "string"}
    for _ in range(steps - 1):
        target = {"a": target}
    reference = {"$ref": "#/$defs" + "/a" * (steps - 1)}
    assert flat({"items": reference, "$defs": target})["items"] == ({"type": "string"} if steps == 32 else {})


def test_definitions_that_nothing_refers_to_cost_nothing() -> None:
    schema = {**doubling(30, {}), "properties": {}}
    assert flat(schema) == {"type": "object", "properties": {}}


class Address(BaseModel):
    """The address of a person."""

    street: str = Field(description="Street and number, as on a letter.")
    city: str
    country: Literal["de", "fr", "it"] = "de"


class Person(BaseModel):
    """A person with an address."""

    name: str
    home: Address
    office: Address | None = None
    manager: "Person | None" = None
    reports: list["Person"] = []


class Order(BaseModel):
    """An order of a person."""

    buyer: Person
    recipient: Person
    ship_to: Address
    bill_to: Address
    items: list[dict[str, int]]


def test_the_schemas_of_pydantic_are_far_from_too_large() -> None:
    """128 tools with models within models, one of them recursive."""
    growth, text = Growth(), Raw(json.dumps(Order.model_json_schema()).encode())
    for _ in range(20):
        result = bytes(fit(text, Raw(b""), INLINED, growth, "p").schema)
    properties = json.loads(result)["properties"]
    assert properties["ship_to"]["properties"]["country"]["enum"] == ["de", "fr", "it"]
    assert properties["buyer"]["properties"]["manager"]["anyOf"][0]["description"].startswith("Again what this is")
    assert b"$ref" not in result


def test_many_models_that_use_each_other_are_not_too_large() -> None:
    """Forty definitions, each of which uses the next and a common one."""
    common = {"type": "object", "properties": {"id": {"type": "string", "description": "An identifier. " * 3}}}
    definitions: dict[str, Any] = {
        f"Model{at}": {
            "type": "object",
            "properties": {
                "id": {"$ref": "#/$defs/Common"},
                "kind": {"type": "string", "enum": ["one", "two", "three"]},
                **({"next": {"$ref": f"#/$defs/Model{at + 1}"}} if at % 8 < 7 else {}),
            },
        }
        for at in range(40)
    }
    properties = {name: {"$ref": f"#/$defs/{name}"} for name in definitions}
    result = flat({"type": "object", "properties": properties, "$defs": {**definitions, "Common": common}})
    assert result["properties"]["Model0"]["properties"]["id"] == common


def test_references_in_a_row_without_end_are_rejected() -> None:
    definitions = {f"D{n}": {"properties": {"a": {"$ref": f"#/$defs/D{n + 1}"}}} for n in range(1000)}
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/D0"}}, "$defs": definitions}
    with pytest.raises(ApiError) as caught:
        fitted(json.dumps(schema).encode(), INLINED)
    assert "nested too deeply" in caught.value.message
