"""Names of properties that a family's models do not take, in a tool's schema: each gets a name that fits.

AWS checks the names at the root of a tool's schema. A name that does not fit there is replaced wherever it is the name
of a property, in the schema and in values, since other keywords at the root, and definitions, may name it too. Its
substitute occurs nowhere else in the schema, so that arguments can be put back (`translate/renaming`).

Decision: docs/decisions.md, D122.
"""

from collections.abc import Mapping
from typing import Any

from extproc.translate.names import FreeNames, bedrock_name, fits
from extproc.translate.schemas import Rewritten, described, unescaped

_VALUES = ("enum", "const", "default", "examples")
_BY_PROPERTY = ("properties", "dependentSchemas", "dependentRequired", "dependencies")
"""Keywords whose members are named like properties."""
_BY_NAME = ("$defs", "definitions", "patternProperties")
_REFERENCES = ("$ref", "$dynamicRef")


def misfits(properties: Any, pattern: str) -> list[str]:
    """Return the names among `properties`, an object, that do not fit."""
    return [name for name in properties if not fits(name, pattern)] if isinstance(properties, dict) else []


def substitutes(root: Mapping[str, Any], pattern: str) -> dict[str, str]:
    """Return a name that fits for each property at the root whose own does not."""
    wanted = misfits(root.get("properties"), pattern)
    if not wanted:
        return {}
    free = FreeNames(_texts(root), pattern)
    return {name: free.take(bedrock_name(name, pattern)) for name in wanted}


def _texts(root: Mapping[str, Any]) -> set[str]:
    """Return all strings of a schema, those of keys too."""
    texts: set[str] = set()
    waiting: list[Any] = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, str):
            texts.add(node)
        elif isinstance(node, Mapping):
            texts.update(node)
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
    return texts


def with_names(node: dict[str, Any], names: Mapping[str, str]) -> Rewritten:
    """Return a schema with the substitutes for its properties' names."""
    renaming = _Renaming(names)
    return Rewritten(renaming.schema(node), renaming.loosened)


class _Renaming:
    """Replaces the names of properties in one schema."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self.loosened = False

    def schema(self, node: Any) -> Any:
        if not isinstance(node, dict):
            return node
        kept, notes = dict(node), dict[str, Any]()
        if self._renames(node.get("properties")):
            self.loosened = self.loosened or "propertyNames" in node or "patternProperties" in node
            notes = {key: kept.pop(key) for key in ("propertyNames",) if key in node}
        return described({key: self._keyword(key, value) for key, value in kept.items()}, notes)

    def _keyword(self, key: str, value: Any) -> Any:
        if key in _VALUES:
            return self._value(value)
        if key == "required":
            return self._strings(value)
        if key in _REFERENCES:
            return self._reference(value)
        if key in _BY_PROPERTY and isinstance(value, dict):
            return {self._names.get(name, name): self._dependent(below) for name, below in value.items()}
        if key in _BY_NAME and isinstance(value, dict):
            return {name: self.schema(below) for name, below in value.items()}
        return [self.schema(below) for below in value] if isinstance(value, list) else self.schema(value)

    def _renames(self, properties: Any) -> bool:
        return isinstance(properties, dict) and not self._names.keys().isdisjoint(properties)

    def _dependent(self, value: Any) -> Any:
        """Replace names in a schema, or in a list of properties that depend on another."""
        return self._strings(value) if isinstance(value, list) else self.schema(value)

    def _strings(self, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return [self._names.get(name, name) if isinstance(name, str) else name for name in value]

    def _value(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {self._names.get(name, name): self._value(below) for name, below in value.items()}
        return [self._value(below) for below in value] if isinstance(value, list) else value

    def _reference(self, value: Any) -> Any:
        """Replace names in a pointer such as `#/properties/Account%20Number`."""
        if not isinstance(value, str) or "/properties/" not in value:
            return value
        steps = value.split("/")
        pairs = zip(["", *steps], steps, strict=False)
        return "/".join(self._step(before, step) for before, step in pairs)

    def _step(self, before: str, step: str) -> str:
        return self._names.get(unescaped(step), step) if before == "properties" else step
