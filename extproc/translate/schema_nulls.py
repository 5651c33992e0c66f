"""`null` in a JSON Schema where a keyword takes a list, a text or a schema: it counts as not given.

Clients that serialise every field send it, as in `"required": null`. A `null` that is a value (`const`, `default`, an
element of `enum`) stays. Among the types of a list it is the type `null`, as YAML writes it.
"""

import re
from typing import Any

_MAY_BE_NULL = re.compile(rb"[:,\[]\s*null")
_VALUES = frozenset({"const", "default"})
"""Keywords that `null` is a value of."""
_NOT_SCHEMAS = frozenset({"const", "default", "enum", "examples"})
_NAMED_SCHEMAS = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"})
_BRANCHES = frozenset({"anyOf", "oneOf", "allOf"})
_TEXTS = frozenset({"required", "type"})
_KEYWORDS = (
    _NOT_SCHEMAS
    | _NAMED_SCHEMAS
    | _BRANCHES
    | _TEXTS
    | {
        *("title", "description", "deprecated", "readOnly", "writeOnly", "format", "pattern", "minLength", "maxLength"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "items", "prefixItems"),
        *("additionalItems", "unevaluatedItems", "contains", "minContains", "maxContains", "minItems", "maxItems"),
        *("uniqueItems", "additionalProperties", "unevaluatedProperties", "propertyNames", "minProperties"),
        *("maxProperties", "dependentRequired", "dependencies", "not", "if", "then", "else", "contentEncoding"),
        *("contentMediaType", "contentSchema", "$ref", "$dynamicRef", "$recursiveRef", "$id", "$schema", "$comment"),
        *("$anchor", "$dynamicAnchor", "$vocabulary"),
    }
) - _VALUES
"""Keywords that never take `null`."""


def has_nulls(schema: bytes) -> bool:
    """Return whether `schema` may have a `null`."""
    return b"null" in schema and _MAY_BE_NULL.search(schema) is not None


def without_nulls(node: Any) -> Any:
    """Return a schema without each `null` that is no value."""
    if not isinstance(node, dict):
        return node
    kept: dict[str, Any] = {}
    for key, value in node.items():
        if value is None:
            kept |= {} if key in _KEYWORDS else {key: None}
        elif key in _BRANCHES and isinstance(value, list) and None in value:
            branches = [without_nulls(branch) for branch in value if branch is not None]
            kept |= {key: branches} if branches else {}
        else:
            kept[key] = _below(key, value)
    return kept


def _below(key: str, value: Any) -> Any:
    if key in _NOT_SCHEMAS:
        return value
    if key in _NAMED_SCHEMAS and isinstance(value, dict):
        return {name: {} if schema is None else without_nulls(schema) for name, schema in value.items()}
    if not isinstance(value, list):
        return without_nulls(value)
    if key == "type":
        return ["null" if name is None else name for name in value]
    if key == "required":
        return [name for name in value if name is not None]
    return [{} if schema is None else without_nulls(schema) for schema in value]
