"""The root of a tool's schema, for families that accept only some keywords there.

Branches of `anyOf`, `oneOf` and `allOf` at the root are folded into `properties` (`folded`): the root then has the
properties of all branches, and requires what every branch requires. Keywords that may not be at the root are left out
(`restricted`). What these keywords demanded, the model reads in the tool's description (`note`), but nothing enforces
it.

Decisions: docs/decisions.md, D121, D177.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import msgspec

from extproc.openai.errors import invalid
from extproc.translate.schemas import definition

COMBINATORS = ("allOf", "anyOf", "oneOf")
_CONSTRAINTS = (
    *("minProperties", "maxProperties", "patternProperties", "additionalProperties", "propertyNames"),
    *("dependentRequired", "dependentSchemas", "dependencies", "unevaluatedProperties", "enum", "const"),
    *("not", "if", "then", "else", "$ref", "$dynamicRef", "$recursiveRef", "properties", "required", *COMBINATORS),
)
"""Keywords that constrain objects."""
_LONGEST_NOTE = 4_000
"""Longest keyword that a description quotes, in bytes."""
_DEEPEST = 16
"""Most branches within branches whose required properties are examined."""
_EXAMINED = 20_000
"""Most branches and required properties that are examined; the others count as not required."""
_REPEATED = 2
"""Times its own bytes that a schema's branches may have in properties: each definition once, and some of them again."""


class Root(NamedTuple):
    """A schema whose root was changed."""

    schema: dict[str, Any]
    removed: dict[str, Any]
    """The constraints that it lost, by their keywords."""


def folded(root: dict[str, Any]) -> Root:
    """Return a schema with the branches of its combinators at the root folded into its properties.

    Raises a 400 `ApiError` for branches that refer to the same properties again and again.
    """
    removed = {key: root[key] for key in COMBINATORS if key in root}
    if not removed:
        return Root(root, {})
    kept = {key: value for key, value in root.items() if key not in removed}
    folding = _Folding(root)
    properties = {**_mapping(root.get("properties")), **folding.properties()}
    if properties:
        kept["properties"] = properties
    if required := folding.required():
        kept["required"] = required
    if folding.closed():
        kept["additionalProperties"] = False
    return Root(kept, removed)


def restricted(root: dict[str, Any], allowed: Collection[str]) -> Root:
    """Return a schema with only the `allowed` keywords at its root."""
    kept = {key: value for key, value in root.items() if key in allowed}
    removed = {key: value for key, value in root.items() if key not in allowed and _constrains(key, value)}
    return Root(kept, removed)


def note(removed: Mapping[str, Any]) -> str:
    """Return a sentence for the tool's description about constraints that its schema lost; empty if there are none.

    That no further properties are allowed needs no mention, since the model uses those that it knows.
    """
    texts = {key: msgspec.json.encode(value).decode() for key, value in removed.items() if value is not False}
    quoted = [f'"{key}":{text}' for key, text in texts.items() if len(text) <= _LONGEST_NOTE]
    return f"The input must also be valid against this JSON Schema: {{{','.join(quoted)}}}" if quoted else ""


def _constrains(key: str, value: Any) -> bool:
    """Return whether a keyword at the root rejects any object."""
    if key == "additionalProperties":
        return value is not True and value != {}
    return key in _CONSTRAINTS


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


class _Folding:
    """The branches at the root of one schema."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._left = _EXAMINED
        self._bytes_left = _REPEATED * len(msgspec.json.encode(root))
        self._definitions: dict[str, dict[str, Any] | bool | None] = {}
        """References that have been resolved."""

    def properties(self) -> dict[str, Any]:
        """Return the properties that only branches have; one that differs between them may be as in any of them."""
        own = _mapping(self._root.get("properties"))
        found: dict[str, dict[bytes, Any]] = {}
        for branch in self._branches():
            for name, schema in _mapping(branch.get("properties")).items():
                if name not in own:
                    found.setdefault(name, {})[self._counted(schema)] = schema
        return {name: _any_of(list(schemas.values())) for name, schemas in found.items()}

    def _counted(self, schema: Any) -> bytes:
        """Encode a property. References that overlap, or spell one definition in many ways, repeat it each time."""
        encoded = msgspec.json.encode(schema)
        self._bytes_left -= len(encoded)
        if self._bytes_left < 0:
            raise invalid(
                "The branches at the schema's root refer to the same properties again and again. Refer to each "
                "definition once, always in the same spelling.",
                "",
                "invalid_value",
            )
        return encoded

    def required(self) -> list[str]:
        """Return what the root requires, and what every branch requires."""
        own = [name for name in _list(self._root.get("required")) if isinstance(name, str)]
        return [*own, *sorted(self._required(self._root, _DEEPEST) - set(own))]

    def closed(self) -> bool:
        """Return whether the branches allow no properties but their own, and the root leaves that open."""
        if "additionalProperties" in self._root or "patternProperties" in self._root:
            return False
        alternatives = [_list(self._root.get(key)) for key in ("anyOf", "oneOf")]
        closed = (bool(branches) and all(map(self._is_closed, branches)) for branches in alternatives)
        return any(closed) or any(map(self._is_closed, _list(self._root.get("allOf"))))

    def _is_closed(self, branch: Any) -> bool:
        target = self._target(branch)
        return target.get("additionalProperties") is False and "patternProperties" not in target

    def _branches(self) -> list[dict[str, Any]]:
        """Return all branches, those within branches too, and each definition once."""
        found: list[dict[str, Any]] = []
        seen: set[str] = set()
        waiting = [self._root]
        while waiting:
            node = waiting.pop()
            below = [branch for key in COMBINATORS for branch in _list(node.get(key))]
            reference = node.get("$ref")
            if isinstance(reference, str) and reference not in seen:
                seen.add(reference)
                below.append(self._definition(reference))
            branches = [branch for branch in below if isinstance(branch, dict)]
            found += branches
            waiting += reversed(branches)
        return found

    def _target(self, branch: Any) -> dict[str, Any]:
        """Return the definition that a branch refers to, or the branch."""
        node = _mapping(branch)
        target = self._definition(node["$ref"]) if "$ref" in node else None
        return target if isinstance(target, dict) else node

    def _definition(self, reference: Any) -> dict[str, Any] | bool | None:
        if not isinstance(reference, str):
            return None
        if reference not in self._definitions:
            self._definitions[reference] = definition(self._root, reference)
        return self._definitions[reference]

    def _required(self, node: Any, depth: int) -> set[str]:
        """Return the properties that every object of a schema has."""
        self._left -= 1
        if not isinstance(node, dict) or depth == 0 or self._left < 0:
            return set()
        names = {name for name in _list(node.get("required")) if isinstance(name, str)}
        self._left -= len(names)
        if "$ref" in node:
            names |= self._required(self._definition(node["$ref"]), depth - 1)
        for branch in _list(node.get("allOf")):
            names |= self._required(branch, depth - 1)
        for key in ("anyOf", "oneOf"):
            branches = [self._required(branch, depth - 1) for branch in _list(node.get(key)) if branch is not False]
            names |= set.intersection(*branches) if branches else set()
        return names


def _any_of(schemas: list[Any]) -> Any:
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
