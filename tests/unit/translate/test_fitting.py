"""Schemas within a family's limits: what is changed, what is told in the description, and what is loosened."""

import json
from typing import Any

import pytest
from msgspec import Raw

from extproc.openai.errors import ApiError
from extproc.translate import fitting, schema_root
from extproc.translate.fitting import Fitted, Limits, fit
from extproc.translate.schemas import Growth

NOVA = Limits(("definitions",), ("type", "properties", "required"))
CITY = {"city": {"type": "string"}}


def fitted(schema: Any, limits: Limits = NOVA) -> Fitted:
    return fit(Raw(json.dumps(schema).encode()), Raw(b'"absent"'), limits, Growth(), "p")


def schema_of(result: Fitted) -> Any:
    return json.loads(bytes(result.schema))


# Keywords at the root


def test_a_root_of_accepted_keywords_goes_out_byte_for_byte() -> None:
    text = b'{"required": [ ], "type":"object" ,"properties":{"a":{"title":"A","maximum":1.0}}}'
    assert fit(Raw(text), Raw(b""), NOVA, Growth(), "p") == Fitted(Raw(text))


@pytest.mark.parametrize(
    "more",
    [
        {"title": "T", "$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "x", "$comment": "c"},
        {"$defs": {"A": {}}, "definitions": {"B": {}}},
        {"additionalProperties": True},
        {"additionalProperties": {}},
        {"default": {}, "examples": [{}], "x-order": ["city"], "discriminator": {"propertyName": "city"}},
        {"minimum": 3, "items": {"type": "string"}},
    ],
    ids=lambda more: ", ".join(more),
)
def test_keywords_that_constrain_no_object_go_without_a_word(more: dict[str, Any]) -> None:
    result = fitted({"type": "object", "properties": CITY, **more})
    assert (schema_of(result), result.note, result.loosened) == ({"type": "object", "properties": CITY}, "", ())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("minProperties", 1),
        ("patternProperties", {"^x-": {"type": "string"}}),
        ("additionalProperties", {"type": "integer"}),
        ("dependentRequired", {"city": ["country"]}),
        ("not", {"required": ["city"]}),
        ("propertyNames", {"pattern": "^[a-z]+$"}),
    ],
)
def test_constraints_at_the_root_move_to_the_description_and_are_named(key: str, value: Any) -> None:
    result = fitted({"type": "object", "properties": CITY, key: value})
    assert schema_of(result) == {"type": "object", "properties": CITY}
    quoted = json.dumps({key: value}, separators=(",", ":"))
    assert result.note == f"The input must also be valid against this JSON Schema: {quoted}"
    assert result.loosened == (f".{key}",)


def test_that_an_object_is_closed_is_named_but_needs_no_words() -> None:
    result = fitted({"type": "object", "properties": CITY, "additionalProperties": False})
    assert (result.note, result.loosened) == ("", (".additionalProperties",))


def test_a_long_constraint_is_named_but_not_quoted() -> None:
    result = fitted({"type": "object", "enum": [{"a": "x" * 5000}], "minProperties": 1})
    assert result.note == 'The input must also be valid against this JSON Schema: {"minProperties":1}'
    assert result.loosened == (".enum", ".minProperties")


@pytest.mark.parametrize("about", ["", " ", None, 5])
def test_a_root_without_a_description_adds_none(about: Any) -> None:
    assert fitted({"type": "object", "description": about}).note == ""


def test_keywords_below_the_root_stay() -> None:
    below = {"type": "object", "title": "T", "description": "D", "additionalProperties": False, "minProperties": 1}
    result = fitted({"type": "object", "properties": {"a": below}, "title": "R"})
    assert schema_of(result)["properties"]["a"] == below
    assert result.loosened == ()


def test_a_root_that_is_a_reference_is_followed() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}, "title": "Node"}
    result = fitted({"$ref": "#/$defs/Node", "$defs": {"Node": node}})
    assert schema_of(result)["properties"]["next"]["properties"]["next"]["type"] == "object"
    assert result.loosened == ("",)


@pytest.mark.parametrize("properties", [[], "x", 5])
def test_what_is_no_schema_goes_out_as_it_is(properties: Any) -> None:
    schema = {"type": "object", "properties": properties, "required": {"a": 1}}
    assert fitted(schema) == Fitted(Raw(json.dumps(schema).encode()))


# Combinators at the root

CLAUDE = Limits(("root_combinators",))
WHERE = {"route": {"type": "string"}, "file": {"type": "string"}}
EITHER = {"type": "object", "properties": WHERE, "anyOf": [{"required": ["route"]}, {"required": ["file"]}]}
THIS_SCHEMA = "The input must also be valid against this JSON Schema: "


@pytest.mark.parametrize("limits", [CLAUDE, NOVA])
def test_branches_that_only_require_go_to_the_description(limits: Limits) -> None:
    result = fitted(EITHER, limits)
    assert schema_of(result) == {"type": "object", "properties": WHERE}
    assert result.note == THIS_SCHEMA + '{"anyOf":[{"required":["route"]},{"required":["file"]}]}'
    assert result.loosened == (".anyOf",)


def test_the_root_has_the_properties_of_all_branches_and_requires_what_all_require() -> None:
    circle = {"properties": {"kind": {"const": "circle"}, "radius": {"type": "number"}}, "required": ["kind", "radius"]}
    square = {"properties": {"kind": {"const": "square"}, "side": {"type": "number"}}, "required": ["kind", "side"]}
    result = fitted({"type": "object", "title": "Shape", "oneOf": [circle, square], "required": ["id"]}, CLAUDE)
    assert schema_of(result) == {
        "type": "object",
        "title": "Shape",
        "properties": {
            "kind": {"anyOf": [{"const": "circle"}, {"const": "square"}]},
            "radius": {"type": "number"},
            "side": {"type": "number"},
        },
        "required": ["id", "kind"],
    }


def test_branches_may_be_references_and_have_branches() -> None:
    schema = {
        "$defs": {
            "A": {"type": "object", "properties": {"a": {}}, "required": ["a", "k"]},
            "B": {
                "anyOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}, {"properties": {"b": {}}, "required": ["k"]}]
            },
        },
        "anyOf": [{"$ref": "#/$defs/B"}, {"$ref": "#/$defs/A"}, {"$ref": "#/$defs/Absent"}, True],
    }
    result = schema_of(fitted(schema, CLAUDE))
    assert result["properties"] == {"a": {}, "b": {}}
    assert "required" not in result
    del schema["anyOf"][2:]  # type: ignore[arg-type]
    assert schema_of(fitted(schema, CLAUDE)).get("required", []) in ([], ["k"])


def test_a_reference_of_many_branches_is_resolved_once(monkeypatch: pytest.MonkeyPatch) -> None:
    resolved: list[str] = []
    definition = schema_root.definition

    def counted(root: Any, reference: Any) -> Any:
        resolved.append(reference)
        return definition(root, reference)

    monkeypatch.setattr(schema_root, "definition", counted)
    branches = [{"$ref": "#/$defs/A"}] * 900
    names = {"A": {"allOf": [{"$ref": "#/$defs/B"}] * 20}, "B": {"required": ["b"], "properties": {"b": {}}}}
    result = fitted({"type": "object", "oneOf": branches, "$defs": names}, Limits(("root_combinators",)))
    assert schema_of(result)["properties"] == {"b": {}}
    assert sorted(resolved) == ["#/$defs/A", "#/$defs/B"]


def _spelled(name: str, count: int) -> list[str]:
    """Return references to one definition whose name is of tildes, each of which may be escaped or not."""
    return ["#/$defs/" + "".join("~0" if at >> bit & 1 else "~" for bit in range(len(name))) for at in range(count)]


def test_branches_that_spell_one_large_definition_in_many_ways_are_rejected() -> None:
    names = {"~" * 6: {"properties": {"a": {"description": "d" * 1_000}}}}
    few, many = ([{"$ref": reference} for reference in _spelled("~" * 6, count)] for count in (2, 8))
    assert schema_of(fitted({"type": "object", "anyOf": few, "$defs": names}, CLAUDE))["properties"].keys() == {"a"}
    with pytest.raises(ApiError, match="again and again") as caught:
        fitted({"type": "object", "anyOf": many, "$defs": names}, CLAUDE)
    assert caught.value.param == "p"


def test_branches_that_repeat_each_other_are_rejected() -> None:
    schema: dict[str, Any] = {"properties": {"p": {"description": "d" * 1_000}}}
    for _ in range(6):
        schema = {"properties": {"p": schema}}
    branches = [{"$ref": "#/$defs/A" + "/properties/p" * depth} for depth in range(6)]
    with pytest.raises(ApiError, match="again and again"):
        fitted({"type": "object", "anyOf": branches, "$defs": {"A": schema}}, CLAUDE)
    assert len(schema_of(fitted({"type": "object", "anyOf": branches[:2], "$defs": {"A": schema}}, CLAUDE))) == 3


def test_a_reference_longer_than_any_is_not_resolved() -> None:
    names = {"a" * 1_016: {"properties": {"a": {}}}, "b" * 1_017: {"properties": {"b": {}}}}
    branches = [{"$ref": f"#/$defs/{name}"} for name in names]
    result = fitted({"type": "object", "anyOf": branches, "$defs": names}, Limits(("root_combinators",)))
    assert schema_of(result)["properties"] == {"a": {}}


def test_every_part_of_all_of_requires() -> None:
    parts = [{"required": ["b"]}, {"required": ["a"], "properties": {"a": {"type": "integer"}}}]
    result = schema_of(fitted({"type": "object", "allOf": parts, "required": ["b"]}, CLAUDE))
    assert result == {"type": "object", "required": ["b", "a"], "properties": {"a": {"type": "integer"}}}


def test_the_roots_own_property_stays() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "anyOf": [{"properties": {"a": {"minLength": 1}}}],
    }
    assert schema_of(fitted(schema, CLAUDE))["properties"] == {"a": {"type": "string"}}


@pytest.mark.parametrize(
    ("more", "closed"),
    [
        ({"anyOf": [{"additionalProperties": False}, {"properties": {"a": {}}, "additionalProperties": False}]}, True),
        ({"anyOf": [{"additionalProperties": False}, {"properties": {"a": {}}}]}, False),
        ({"allOf": [{"additionalProperties": False}, {"properties": {"a": {}}}]}, True),
        ({"oneOf": [{"$ref": "#/$defs/A"}], "$defs": {"A": {"additionalProperties": False}}}, True),
        ({"anyOf": [{"additionalProperties": False, "patternProperties": {"a": {}}}]}, False),
        ({"anyOf": [{"additionalProperties": False}], "patternProperties": {"a": {}}}, False),
    ],
    ids=str,
)
def test_the_root_is_closed_where_the_branches_are(more: dict[str, Any], closed: bool) -> None:
    assert ("additionalProperties" in schema_of(fitted({"type": "object", **more}, CLAUDE))) is closed


def test_combinators_below_the_root_and_for_other_families_stay() -> None:
    text = json.dumps({"type": "object", "properties": {"a": EITHER}}).encode()
    assert fit(Raw(text), Raw(b""), CLAUDE, Growth(), "p") == Fitted(Raw(text))
    assert schema_of(fitted(EITHER, Limits())) == EITHER


@pytest.mark.parametrize("branches", [[], {}, "x", [5], None, [None], [[]]])
def test_branches_that_are_none_go(branches: Any) -> None:
    assert schema_of(fitted({"type": "object", "anyOf": branches}, CLAUDE)) == {"type": "object"}


# Null

NOT_GIVEN = [
    ({"type": "object", "properties": None}, {"type": "object"}),
    ({"type": "object", "required": None, "description": None, "additionalProperties": None}, {"type": "object"}),
    ({"type": None, "properties": {}}, {"type": "object", "properties": {}}),
    ({"type": "object", "$ref": None, "$defs": None}, {"type": "object"}),
    ({"type": "object", "anyOf": [None, {"required": ["a"]}], "oneOf": [None], "allOf": None},
     {"type": "object", "anyOf": [{"required": ["a"]}]}),
    ({"type": "object", "required": ["a", None]}, {"type": "object", "required": ["a"]}),
]  # fmt: skip

BELOW = [
    ({"type": "array", "items": None}, {"type": "array"}),
    ({"prefixItems": [None, {"type": "string"}]}, {"prefixItems": [{}, {"type": "string"}]}),
    ({"type": ["string", None]}, {"type": ["string", "null"]}),
    (None, {}),
    ({"enum": None, "format": None, "title": None, "minimum": None, "examples": None}, {}),
    ({"not": None, "properties": {"const": None}}, {"properties": {"const": {}}}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        *NOT_GIVEN,
        *(({"type": "object", "properties": {"a": a}}, {"type": "object", "properties": {"a": b}}) for a, b in BELOW),
    ],
    ids=str,
)
def test_null_counts_as_not_given_for_every_family(schema: Any, expected: Any) -> None:
    for limits in (Limits(), Limits(("definitions", "lookaround"))):
        result = fitted(schema, limits)
        assert (schema_of(result), result.loosened) == (expected, ())


@pytest.mark.parametrize(
    "below",
    [
        {"const": None},
        {"default": None},
        {"enum": ["a", None]},
        {"examples": [None]},
        {"x-more": None},
        {"enum": [{"type": None}]},
    ],
    ids=str,
)
def test_null_as_a_value_stays(below: Any) -> None:
    text = json.dumps({"type": "object", "properties": {"a": below}}).encode()
    assert bytes(fit(Raw(text), Raw(b""), Limits(), Growth(), "p").schema) == text


# Errors and the cache


@pytest.mark.parametrize("schema", ["[]", "5", '"{}"', "{", '{"type":"string"}', '{"$ref":"#/$defs/A"}'])
@pytest.mark.parametrize("limits", [Limits(), NOVA])
def test_an_error_names_the_clients_field(schema: str, limits: Limits) -> None:
    with pytest.raises(ApiError) as caught:
        fit(Raw(schema.encode()), Raw(b""), limits, Growth(), "tools[3].function.parameters")
    assert caught.value.status == 400
    assert (caught.value.param or "").startswith("tools[3].function.parameters")


def test_null_is_absent() -> None:
    assert fitted(None) == Fitted(Raw(b'"absent"'))


def test_the_references_of_a_remembered_schema_count_each_time() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"enum": ["a" * 5000]}}}
    growth, text = Growth(), Raw(json.dumps(schema).encode())
    for _ in range(50):
        fit(text, Raw(b""), NOVA, growth, "p")
    with pytest.raises(ApiError, match="too large"):
        [fit(text, Raw(b""), NOVA, growth, "p") for _ in range(3)]


def test_a_large_result_is_not_remembered() -> None:
    fitting._remembered.cache_clear()
    uses = {f"p{at}": {"$ref": "#/$defs/A"} for at in range(20)}
    schema = {"type": "object", "properties": uses, "$defs": {"A": {"enum": ["a" * 5000]}}}
    first, second = fitted(schema), fitted(schema)
    assert first == second
    assert len(bytes(first.schema)) > 100_000
    assert fitting._remembered(json.dumps(schema).encode(), NOVA) is None
