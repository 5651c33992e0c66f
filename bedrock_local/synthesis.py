"""Make a JSON value that a JSON schema accepts, deterministically.

Constants and the first of an enum are preferred; `$ref`, `anyOf`, `oneOf` and `allOf` are followed; every property of
an object is present, the optional ones too, up to a depth. Strings and numbers are taken from the user's text where
they fit. A `pattern` is met by trying a list of usual strings.

Decision: docs/decisions.md, D24.
"""

import itertools
import json
import math
import re
from collections.abc import Iterator
from typing import Any

from bedrock_local.words import Words

#: From this depth on optional properties are left out, so that recursive schemas end; below _BOTTOM, and after _VALUES
#: values, every value is null.
_SHALLOW = 5
_BOTTOM = 24
_VALUES = 2000

#: Longest string, and most items or keys, that a schema's minimum can demand.
_LONGEST, _MOST = 100_000, 1000

_FORMATS = {
    "date-time": "2026-01-31T12:00:00Z",
    "date": "2026-01-31",
    "time": "12:00:00Z",
    "duration": "PT1H",
    "email": "ada@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "12345678-1234-4234-8234-123456789abc",
    "byte": "bG9jYWw=",
    "binary": "local",
    "decimal": "1.5",
}

_USUAL = (
    "text", "a", "A", "abc", "ABC", "Abc", "1", "1.5", "true", "en", "US", "en-US", "USD", "2026-01-31", "12:00",
    "12:00:00", "2026-01-31T12:00:00Z", "+15550100", "555-0100", "12345", "A1", "A1B2C3", "ABC-123", "abc-123",
    "abc_123", "#a1b2c3", "1.0.0", "v1.0.0", "a@b.co", "https://example.com/", "/path", "user_1", "10%", "$10",
    "12345678-1234-4234-8234-123456789abc",
)  # fmt: skip


class SchemaError(Exception):
    """A schema with a reference to nothing."""


def synthesise(schema: Any, text: str) -> Any:
    """Return a JSON value for `schema`, with words of the user's `text`; raise SchemaError on a bad `$ref`."""
    return _Synthesis(schema, Words(text)).value(schema, "value", 0)


class _Synthesis:
    def __init__(self, root: Any, words: Words) -> None:
        self._root = root
        self._words = words
        self._made = 0

    def value(self, schema: Any, name: str, depth: int) -> Any:
        """Return a value for a subschema; `name` is its property."""
        if not isinstance(schema, dict):
            return name
        self._made += 1
        if depth > _BOTTOM or self._made > _VALUES:
            return None
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][0]
        if "$ref" in schema:
            return self.value(_merge(self._resolve(schema["$ref"]), _without(schema, "$ref")), name, depth + 1)
        if "allOf" in schema:
            return self.value(self._all_of(schema), name, depth + 1)
        for key in ("anyOf", "oneOf"):
            if schema.get(key):
                chosen = self._choose(schema[key], depth)
                return self.value(_merge(_without(schema, key), chosen), name, depth + 1)
        return self._by_type(schema, name, depth)

    def _by_type(self, schema: dict[str, Any], name: str, depth: int) -> Any:
        match _type_of(schema):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, name, depth)
            case "integer":
                return int(self._number(schema, whole=True))
            case "number":
                number = self._number(schema, whole=False)
                return int(number) if float(number).is_integer() else number
            case "boolean":
                return True
            case "null":
                return None
            case _:
                return self._string(schema, name)

    def _resolve(self, reference: str) -> Any:
        target = self._root
        try:
            for step in reference.removeprefix("#").split("/")[1:]:
                step = step.replace("~1", "/").replace("~0", "~")
                target = target[int(step)] if isinstance(target, list) else target[step]
        except (KeyError, IndexError, TypeError, ValueError):
            raise SchemaError(f"The schema's $ref {reference} points nowhere.") from None
        return target

    def _all_of(self, schema: dict[str, Any]) -> Any:
        merged: Any = _without(schema, "allOf")
        for part in schema["allOf"]:
            merged = _merge(merged, self._followed(part))
        return merged

    def _followed(self, schema: Any) -> Any:
        """Return the schema at the end of a chain of references; a cycle of them accepts anything."""
        for _ in range(_BOTTOM):
            if not isinstance(schema, dict) or "$ref" not in schema:
                return schema
            schema = _merge(self._resolve(schema["$ref"]), _without(schema, "$ref"))
        return True

    def _choose(self, options: list[Any], depth: int) -> Any:
        """Return the first schema that is not null; deep down, the first that leads no deeper."""
        if depth >= _SHALLOW:
            return min(options, key=self._weight)
        return next((option for option in options if not _is_null(option)), options[0])

    def _weight(self, option: Any) -> int:
        if _is_null(option):
            return 0
        text = json.dumps(option)
        return 2 if "$ref" in text or '"properties"' in text else 1

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties: dict[str, Any] = schema.get("properties", {})
        required = schema.get("required", [])
        names = [name for name in properties if depth < _SHALLOW or name in required]
        made = {name: self.value(properties[name], name, depth + 1) for name in names}
        for name in required:
            if name not in made:
                made[name] = self.value(schema.get("additionalProperties", {}), name, depth + 1)
        return self._padded(made, schema, depth)

    def _padded(self, made: dict[str, Any], schema: dict[str, Any], depth: int) -> dict[str, Any]:
        more = schema.get("additionalProperties")
        is_mapping = isinstance(more, dict) and not made and depth < _SHALLOW
        least = max(
            min(schema.get("minProperties", 0), _MOST), 1 if is_mapping and schema.get("maxProperties", 1) else 0
        )
        for number in itertools.count(1):
            if len(made) >= least:
                return made
            made[f"key{number}"] = self.value(more, f"value{number}", depth + 1)
        raise AssertionError("count() does not end")

    def _array(self, schema: dict[str, Any], name: str, depth: int) -> list[Any]:
        fixed = [self.value(item, name, depth + 1) for item in schema.get("prefixItems", [])]
        item = schema.get("items", True)
        wanted = 1 if depth < _SHALLOW and item is not False and not fixed else 0
        length = min(max(min(schema.get("minItems", 0), _MOST), wanted), schema.get("maxItems", math.inf))
        made = fixed + [self.value(item, name, depth + 1) for _ in range(int(length) - len(fixed))]
        return self._distinct(made, item) if schema.get("uniqueItems") else made

    def _distinct(self, items: list[Any], schema: Any) -> list[Any]:
        schema = self._followed(schema)
        options = schema.get("enum") if isinstance(schema, dict) else None
        if options:
            return list(options[: len(items)])
        return [_varied(item, number) for number, item in enumerate(items)]

    def _number(self, schema: dict[str, Any], *, whole: bool) -> float:
        least, most, step = _bounds(schema, whole)
        mentioned = self._words.number()
        if mentioned is not None and least <= mentioned <= most and _fits(mentioned, step):
            return mentioned
        start = 1.0 if least == -math.inf else least
        number = math.ceil(start / step) * step if step else start
        return number if number <= most else (math.floor(most / step) * step if step else most)

    def _string(self, schema: dict[str, Any], name: str) -> str:
        if schema.get("format") in _FORMATS:
            return _FORMATS[str(schema["format"])]
        mentioned = self._words.name()
        for candidate in _candidates(mentioned, name):
            if _accepts(schema, candidate):
                return candidate
        return _stretched(mentioned or name or "x", schema)


def _candidates(mentioned: str | None, name: str) -> Iterator[str]:
    if mentioned:
        yield mentioned
    yield name
    yield from _USUAL
    for length in range(1, 33):
        for character in "0aA":
            yield character * length


def _stretched(text: str, schema: dict[str, Any]) -> str:
    """Return the text, repeated or cut to the schema's length."""
    least: int = min(schema.get("minLength", 0), _LONGEST)
    most: int = schema.get("maxLength", len(text))
    return (text * (least // len(text) + 1))[: max(least, min(len(text), most))]


def _accepts(schema: dict[str, Any], text: str) -> bool:
    if not schema.get("minLength", 0) <= len(text) <= schema.get("maxLength", math.inf):
        return False
    try:
        return "pattern" not in schema or re.search(schema["pattern"], text) is not None
    except re.error:
        return True


def _bounds(schema: dict[str, Any], whole: bool) -> tuple[float, float, float]:
    """Return the smallest and the largest allowed value, and the step between values (0: none)."""
    step = schema.get("multipleOf", 1 if whole else 0)
    nudge = step or 0.5
    least, most = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    above, below = schema.get("exclusiveMinimum", -math.inf), schema.get("exclusiveMaximum", math.inf)
    if below <= above + nudge:
        nudge = (below - above) / 2
    return max(least, above + nudge), min(most, below - nudge), step


def _fits(number: float, step: float) -> bool:
    return not step or math.isclose(number / step, round(number / step))


def _varied(item: Any, number: int) -> Any:
    if number == 0 or isinstance(item, bool):
        return item if number == 0 else not item
    if isinstance(item, str):
        return f"{item}{number + 1}"
    if isinstance(item, int | float):
        return item + number
    if isinstance(item, dict) and item:
        first = next(iter(item))
        return {**item, first: _varied(item[first], number)}
    return item


def _type_of(schema: dict[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if kind is None:
        kind = next((guess for key, guess in _GUESSES if key in schema), "string")
    return str(kind)


#: The type of a schema without one, by its keywords.
_GUESSES = (
    ("properties", "object"),
    ("additionalProperties", "object"),
    ("required", "object"),
    ("items", "array"),
    ("prefixItems", "array"),
    ("minimum", "number"),
    ("maximum", "number"),
)


def _is_null(schema: Any) -> bool:
    return isinstance(schema, dict) and (
        schema.get("type") == "null" or ("const" in schema and schema["const"] is None)
    )


def _without(schema: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != key}


def _merge(base: Any, more: Any) -> Any:
    """Return both schemas in one: properties and required are joined, other keywords are the later one's."""
    if not isinstance(base, dict) or not isinstance(more, dict):
        return more if isinstance(more, dict) else base
    merged = {**base, **more}
    if "properties" in base and "properties" in more:
        merged["properties"] = {**base["properties"], **more["properties"]}
    if "required" in base and "required" in more:
        merged["required"] = [*base["required"], *more["required"]]
    return merged
