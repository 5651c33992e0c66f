"""Names of properties that a family does not take: replaced, within limits, and nowhere confused."""

import json
from re import fullmatch
from typing import Any

import pytest
from msgspec import Raw

from extproc.openai.errors import ApiError
from extproc.openai.limits import MAX_RENAMED_PROPERTIES
from extproc.translate.fitting import Fitted, Limits, fit
from extproc.translate.names import bedrock_name
from extproc.translate.schemas import Growth
from tests.unit.translate.test_fitting import fitted, schema_of

# Names of properties

NAMED = Limits(("root_combinators",), property_names="[a-zA-Z0-9_.-]{1,64}")


def test_names_that_fit_stay_byte_for_byte() -> None:
    text = b'{ "type":"object", "properties":{"a.b-C_9":{"properties":{"a b":{}}}, "' + b"x" * 64 + b'":{}} }'
    assert fit(Raw(text), Raw(b""), NAMED, Growth(), "p") == Fitted(Raw(text))


@pytest.mark.parametrize("name", ["Account Number", "filter[name]", "x" * 65, "Größe", "", "a/b~c%d", "$ref", "a\\"])
def test_a_name_that_does_not_fit_is_replaced_wherever_it_is_a_property(name: str) -> None:
    pointer = name.replace("~", "~0").replace("/", "~1").replace("%", "%25")
    schema = {
        "type": "object",
        "properties": {name: {"type": "string", "title": name}, "b": {"$ref": f"#/properties/{pointer}"}},
        "required": ["b", name],
        "dependentRequired": {"b": [name], name: ["b"]},
        "dependentSchemas": {name: {"required": [name]}},
        "if": {"properties": {name: {"const": name}}},
        "then": {"not": {"properties": {"c": {"properties": {name: {}}}}}},
        "enum": [{name: [{name: name}]}],
    }
    result = fitted(schema, NAMED)
    new = result.names[name]
    assert fullmatch(NAMED.property_names or "", new)
    assert schema_of(result) == {
        "type": "object",
        "properties": {new: {"type": "string", "title": name}, "b": {"$ref": f"#/properties/{new}"}},
        "required": ["b", new],
        "dependentRequired": {"b": [new], new: ["b"]},
        "dependentSchemas": {new: {"required": [new]}},
        "if": {"properties": {new: {"const": name}}},
        "then": {"not": {"properties": {"c": {"properties": {new: {}}}}}},
        "enum": [{new: [{new: name}]}],
    }
    assert result.loosened == ()


def test_a_substitute_is_a_name_that_the_schema_has_nowhere() -> None:
    wanted = bedrock_name("a b")
    schema = {"type": "object", "properties": {"a b": {}, "c": {"properties": {wanted: {}}}}, "required": [wanted]}
    assert fitted(schema, NAMED).names == {"a b": f"{wanted}_2"}


def test_properties_of_branches_are_renamed_too_and_the_description_has_their_new_names() -> None:
    result = fitted({"type": "object", "anyOf": [{"properties": {"a b": {}}, "required": ["a b"]}]}, NAMED)
    new = result.names["a b"]
    assert schema_of(result) == {"type": "object", "properties": {new: {}}, "required": [new]}
    assert json.dumps({"required": [new]}, separators=(",", ":"))[1:-1] in result.note
    assert "a b" not in result.note


@pytest.mark.parametrize("more", [{"propertyNames": {"pattern": "^a b$"}}, {"patternProperties": {"^a b": {}}}])
def test_rules_about_names_beside_a_new_name_are_loosened(more: dict[str, Any]) -> None:
    result = fitted({"type": "object", "properties": {"a b": {}}, **more}, NAMED)
    assert result.loosened == ("",)
    assert "propertyNames" not in schema_of(result)
    assert fitted({"type": "object", "properties": {"a": {}}, **more}, NAMED).loosened == ()


@pytest.mark.parametrize("properties", [[], "x", ["a b"], 5])
def test_properties_that_are_none_stay(properties: Any) -> None:
    assert fitted({"type": "object", "properties": properties}, NAMED).names == {}


def test_the_names_that_are_replaced_in_a_request_have_a_limit_in_all() -> None:
    limits = Limits(property_names="[a-z]{1,64}")
    growth, half = Growth(), MAX_RENAMED_PROPERTIES // 2
    text = Raw(json.dumps({"type": "object", "properties": {f"a {at}": True for at in range(half)}}).encode())
    for _ in range(2):
        assert len(fit(text, Raw(b""), limits, growth, "p").names) == half
    with pytest.raises(ApiError, match=f"{MAX_RENAMED_PROPERTIES:,} names") as caught:
        fit(
            Raw(b'{"type":"object","properties":{"b c":true}}'),
            Raw(b""),
            limits,
            growth,
            "tools[2].function.parameters",
        )
    assert (caught.value.status, caught.value.param) == (400, "tools[2].function.parameters")
