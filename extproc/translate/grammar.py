"""JSON Schemas of the kind that Bedrock compiles into a grammar: for `outputConfig.textFormat` and strict tools.

A grammar supports a part of JSON Schema only, and Bedrock rejects a schema with other keywords. So each keyword is

- kept, if a grammar supports it;
- described in the description beside it, if it only narrows the values (`minimum`, `maxItems`, an unsupported
  `format`…): the model reads it, but nothing enforces it;
- a reason to make no grammar, if without it the message would have another form: an object with free names would
  always be empty, and a recursive schema has no end;
- left out, if it does not concern the value (`$schema`, `discriminator`…).

Every object gets `additionalProperties: false`, and `oneOf` becomes `anyOf`.

Invariant: the grammar enforces every kept keyword, except that several branches of a `oneOf` may match.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html; where it differs from live checks
(minLength and maxLength are taken, exclusiveMinimum and exclusiveMaximum are not) those of pydantic-ai's
providers/bedrock.py, of 2026-05, count. The limits are those of Anthropic's page on structured outputs, and litellm's
for the number of properties.

Decision: docs/decisions.md, D98.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from extproc.translate.schemas import definition, described, unescaped

_TYPES = {"object", "array", "string", "integer", "number", "boolean", "null"}
_KEPT = {"type", "title", "description", "default", "enum", "const", "required", "minLength", "maxLength", "$ref"}
_DESCRIBED = {
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "examples",
}
_SHAPING = {
    "not",
    "if",
    "then",
    "else",
    "prefixItems",
    "additionalItems",
    "contains",
    "minContains",
    "maxContains",
    "patternProperties",
    "propertyNames",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedItems",
    "unevaluatedProperties",
    "$dynamicRef",
    "$recursiveRef",
}
_FORMATS = {"date-time", "date", "time", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
_HARD_PATTERN = re.compile(r"\(\?<?[=!]|\\[bB0-9]|\(\?P=|\\k<")
"""Look-around, word boundaries and back references; for Bedrock any escaped digit is one, `\\0` too."""
_LONG_PATTERN = 4096
"""Longest pattern that is searched for them, in characters; a longer one is only described."""
_ALTERNATIVES = {"anyOf", "oneOf", "allOf"}
_STORES = ("$defs", "definitions")
_Definition = tuple[str, str]
"""A definition's store, `$defs` or `definitions`, and its name."""
_DEEPEST = 64
MAX_OBJECTS = 500
"""Objects of the largest schema of which a grammar is made; none within the limits of `Size` needs as many."""
_OFTEN_SEEN = 4096
"""Bytes of the largest schema that is remembered: 512 of them, with what each becomes, are some megabytes."""


_MAX_PROPERTIES, _MAX_UNIONS, _MAX_OPTIONAL = 64, 16, 24


@dataclass(frozen=True, slots=True)
class Size:
    """The counts that Bedrock limits over all of a request's grammars together."""

    properties: int = 0
    unions: int = 0
    optional: int = 0

    def __add__(self, other: "Size") -> "Size":
        return Size(self.properties + other.properties, self.unions + other.unions, self.optional + other.optional)

    @property
    def fits(self) -> bool:
        """Return whether Bedrock accepts as much."""
        return self.properties <= _MAX_PROPERTIES and self.unions <= _MAX_UNIONS and self.optional <= _MAX_OPTIONAL


class Grammar(NamedTuple):
    """A schema that Bedrock accepts as a grammar."""

    schema: Raw
    size: Size
    unchanged: bool
    """Whether it is the client's schema, byte for byte."""


def grammar(schema: Raw) -> Grammar | None:
    """Return `schema`, a JSON object, as a grammar, or None if Bedrock accepts no grammar for it."""
    written = bytes(schema)
    if objects(schema) > MAX_OBJECTS:
        return None
    return _remembered(written) if len(written) <= _OFTEN_SEEN else _grammar(schema)


def objects(schema: Raw) -> int:
    """Return the number of opening braces in `schema`: at least as many as it has objects."""
    return bytes(schema).count(b"{")


@lru_cache(maxsize=512)
def _remembered(schema: bytes) -> Grammar | None:
    """Cache the grammars: an agent sends the same schemas in every turn."""
    return _grammar(Raw(schema))


def _grammar(schema: Raw) -> Grammar | None:
    try:
        root = msgspec.json.decode(schema, type=dict[str, Any])
        writing = _Writing(root)
        written = writing.schema(root, _DEEPEST)
    except (_NoGrammarError, msgspec.MsgspecError, RecursionError):
        return None
    if _recursive(written):
        return None
    if written == root:
        return Grammar(schema, writing.size, unchanged=True)
    return Grammar(Raw(msgspec.json.encode(written)), writing.size, unchanged=False)


class _NoGrammarError(Exception):
    """A schema for which there is no grammar."""


class _Writing:
    """A writer of one schema as a grammar, which counts its size."""

    def __init__(self, root: dict[str, Any]) -> None:
        self.size = Size()
        self._root = root
        self._defined: dict[str, bool] = {}
        """Whether each reference has a definition."""

    def schema(self, node: Any, depth: int) -> dict[str, Any]:
        _need(isinstance(node, dict) and depth > 0 and not _SHAPING & node.keys())
        _need(len(_ALTERNATIVES & node.keys()) <= 1)
        written: dict[str, Any] = {}
        notes: dict[str, Any] = {}
        for key, value in node.items():
            if key in _KEPT:
                written[key] = value
            elif key in _DESCRIBED or _is_described(key, value):
                notes[key] = value
            elif (rewritten := self._keyword(key, value, depth - 1)) is not None:
                written[rewritten[0]] = rewritten[1]
        self._check(written)
        if "properties" in written or "object" in _types(written):
            self._close(written, node)
        return described(written, notes)

    def _keyword(self, key: str, value: Any, depth: int) -> tuple[str, Any] | None:
        """Rewrite a keyword that holds schemas, or that grammars support with some values only; None for any other."""
        if key in _ALTERNATIVES:
            return "anyOf", self._alternatives(key, value, depth)
        if key in _STORES or key == "properties":
            _need(isinstance(value, dict) and (key != "properties" or len(value) <= _MAX_PROPERTIES))
            return key, {name: self.schema(below, depth) for name, below in value.items()}
        if key == "items":
            return key, self.schema(value, depth)
        return (key, value) if key in ("format", "pattern", "minItems") else None

    def _alternatives(self, key: str, value: Any, depth: int) -> list[Any]:
        """Rewrite alternatives. `allOf` may have one branch only, as older versions of Pydantic write references."""
        _need(isinstance(value, list) and bool(value) and (key != "allOf" or len(value) == 1))
        self._grow(Size(unions=1))
        return [self.schema(below, depth) for below in value]

    def _check(self, written: dict[str, Any]) -> None:
        """Check that the type of the value is known and that grammars support it."""
        types = _types(written)
        _need(bool(types) or bool({"$ref", "anyOf", "enum", "const"} & written.keys()))
        _need(types <= _TYPES and ("array" not in types or "items" in written))
        _need("$ref" not in written or self._is_defined(written["$ref"]))
        values = [*_list(written.get("enum", [])), written.get("const")]
        _need(not any(isinstance(value, dict | list) for value in values))
        if isinstance(written.get("type"), list):
            self._grow(Size(unions=1))

    def _grow(self, more: Size) -> None:
        """Count, and stop at a schema that is too large."""
        self.size += more
        _need(self.size.fits)

    def _is_defined(self, reference: Any) -> bool:
        if not isinstance(reference, str):
            return False
        known = self._defined.get(reference)
        if known is None:
            path = reference.split("/", 3)
            known = len(path) == 3 and path[1] in _STORES and definition(self._root, reference) is not None
            self._defined[reference] = known
        return known

    def _close(self, written: dict[str, Any], node: dict[str, Any]) -> None:
        """An object has the properties that it names, and no others; one that names none may be anything."""
        properties, required = written.get("properties"), _list(written.get("required", []))
        _need(node.get("additionalProperties", False) is False)
        _need(properties is not None or "additionalProperties" in node)
        names = properties or {}
        _need(all(isinstance(name, str) and name in names for name in required))
        self._grow(Size(properties=len(names), optional=len(names.keys() - set(required))))
        written["additionalProperties"] = False


def _need(condition: bool) -> None:
    if not condition:
        raise _NoGrammarError


def _list(value: Any) -> list[Any]:
    _need(isinstance(value, list))
    items: list[Any] = value
    return items


def _types(node: Mapping[str, Any]) -> set[str]:
    value = node.get("type", [])
    types = _list([value] if isinstance(value, str) else value)
    _need(all(isinstance(name, str) for name in types))
    return set(types)


def _is_described(key: str, value: Any) -> bool:
    """Return whether grammars support this keyword, but not with this value."""
    match key:
        case "format":
            return not isinstance(value, str) or value not in _FORMATS
        case "pattern":
            return not isinstance(value, str) or _is_hard(value)
        case "minItems":
            return value not in (0, 1)
    return False


def _is_hard(pattern: str) -> bool:
    return len(pattern) > _LONG_PATTERN or _HARD_PATTERN.search(pattern) is not None


def _recursive(root: dict[str, Any]) -> bool:
    """Return whether a definition refers to itself, directly or through others."""
    leads: dict[_Definition, set[_Definition]] = {}
    waiting = _references(root)
    while waiting:
        store, name = definition_key = waiting.pop()
        if definition_key not in leads:
            leads[definition_key] = _references(root.get(store, {}).get(name, {}))
            waiting.update([target for target in leads[definition_key] if target not in leads])
    try:
        TopologicalSorter(leads).prepare()
    except CycleError:
        return True
    return False


def _references(schema: Mapping[str, Any]) -> set[_Definition]:
    """Return the definitions that a schema refers to: a name may be spelt in many ways, and is one."""
    references: set[str] = set()
    _collect_references(schema, references)
    paths = [reference.split("/") for reference in references]
    return {(store, unescaped(name)) for _, store, name in paths}


def _collect_references(schema: Mapping[str, Any], references: set[str]) -> None:
    """Add the references of a written schema to `references`; its properties may have the names of keywords."""
    for key, below in schema.items():
        if key == "$ref":
            references.add(below)
        elif key == "properties" or key in _STORES:
            for one in below.values():
                _collect_references(one, references)
        elif key == "anyOf":
            for one in below:
                _collect_references(one, references)
        elif key == "items":
            _collect_references(below, references)
