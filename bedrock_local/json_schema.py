"""Validation of JSON schemas: each keyword that this package reads has a value of the right kind.

Claude rejects a tool with an invalid schema ("It must match JSON Schema draft 2020-12"). By the standard, keywords that
are not in the table may have any value.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

_TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")


def problems(schema: Any, path: str) -> Iterator[str]:
    """Yield the path of each keyword that has an invalid value."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        yield path
        return
    for key, value in schema.items():
        place = f"{path}.{key}"
        if key in _VALUES and not _VALUES[key](value):
            yield place
        elif key in _SCHEMAS:
            yield from problems(value, place)
        elif key in _LISTS:
            yield from _list_problems(value, place)
        elif key in _MAPPINGS:
            yield from _mapping_problems(value, place)


def _list_problems(value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, list) or not value:
        yield path
        return
    for index, item in enumerate(value):
        yield from problems(item, f"{path}.{index}")


def _mapping_problems(value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield path
        return
    for name, item in value.items():
        yield from problems(item, f"{path}.{name}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_step(value: Any) -> bool:
    return _is_number(value) and value > 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_type(value: Any) -> bool:
    return value in _TYPES if _is_text(value) else _is_names(value) and bool(value) and set(value) <= set(_TYPES)


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


#: Keywords with a plain value, and what that must be.
_VALUES: dict[str, Callable[[Any], bool]] = {
    "type": _is_type,
    "required": _is_names,
    "enum": lambda value: isinstance(value, list),
    "$ref": _is_text,
    "format": _is_text,
    "pattern": _is_text,
    "description": _is_text,
    "title": _is_text,
    "minLength": _is_count,
    "maxLength": _is_count,
    "minItems": _is_count,
    "maxItems": _is_count,
    "minProperties": _is_count,
    "maxProperties": _is_count,
    "minimum": _is_number,
    "maximum": _is_number,
    "exclusiveMinimum": _is_number,
    "exclusiveMaximum": _is_number,
    "multipleOf": _is_step,
    "uniqueItems": lambda value: isinstance(value, bool),
}

#: Keywords that hold a schema, a list of schemas, schemas by name.
_SCHEMAS = ("items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_MAPPINGS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")


def subschemas(schema: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Walk through a schema and all schemas in it that are objects, with their places; `schema` has no `problems`."""
    if not isinstance(schema, dict):
        return
    yield path, schema
    for key, value in schema.items():
        place = f"{path}.{key}"
        if key in _SCHEMAS:
            yield from subschemas(value, place)
        elif key in _LISTS:
            for index, item in enumerate(value):
                yield from subschemas(item, f"{place}.{index}")
        elif key in _MAPPINGS:
            for name, item in value.items():
                yield from subschemas(item, f"{place}.{name}")
