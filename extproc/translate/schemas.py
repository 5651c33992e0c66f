"""The steps of rewriting a JSON Schema, of which `translate/fitting` takes those that a family of models needs.

Bedrock requires `"type": "object"` at the root of a schema. A root that is only a reference into the schema itself, as
Pydantic writes recursive models, is replaced by its definition (`with_object_root`); everything below the root stays as
it came.

Some families of models do not accept all keywords. For them references are replaced by their definitions (`inlined`),
and a `pattern` with look-around, or one of `patternProperties`, becomes a part of the description
(`without_lookaround`). Neither changes the order of keys or the value of a number.

Decision: docs/decisions.md, D23.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Raw

from extproc.openai.errors import ApiError, invalid
from extproc.openai.limits import MAX_REFERRED_BYTES, MAX_REFERRED_SCHEMAS, MAX_RENAMED_PROPERTIES

_REF = "$ref"
_FAR = 8
"""Most steps of a reference at the root."""
_NODE = 16
"""Bytes that each schema within a definition counts beside its own: an empty one is work, too."""
_REFERENCE = 64
"""Bytes that each reference counts beside the definition that replaces it."""
_STORES = ("$defs", "definitions")
_NAMED_SCHEMAS = ("properties", "patternProperties", "dependentSchemas", "dependencies", *_STORES)
"""Keywords whose members are schemas under names, not keywords."""
_VALUES = ("enum", "const", "default", "examples", "required")
"""Keywords that hold values, not schemas."""
ANNOTATIONS = frozenset(
    {
        *("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"),
        *("$schema", "$id", "$comment", "$anchor", "$dynamicAnchor", "$recursiveAnchor", "$vocabulary"),
    }
)
"""Keywords that constrain no value."""
_DYNAMIC_REFS = ("$dynamicRef", "$recursiveRef")
_LOOKAROUND = ("(?=", "(?!", "(?<=", "(?<!")
"""Look-ahead and look-behind in a regular expression."""
_STEPS = 32
"""Longest path of a reference to a definition, in steps; a longer one is not resolved."""
_LONGEST_REFERENCE = 1_024
"""Characters of the longest reference that is resolved."""


class Rewritten(NamedTuple):
    """A schema after one step."""

    schema: dict[str, Any]
    loosened: bool
    """Whether it accepts values that it rejected before."""


def json_object(text: str | Raw, what: str, param: str) -> Raw:
    """Return `text`, byte for byte, if it is a JSON object. Raises a 400 `ApiError` otherwise."""
    members(text, what, param)
    return Raw(text.encode() if isinstance(text, str) else bytes(text))


def members(text: str | bytes | Raw, what: str, param: str) -> dict[str, Raw]:
    """Return the members of a JSON object. Raises a 400 `ApiError` if `text` is none."""
    try:
        return msgspec.json.decode(text, type=dict[str, Raw])
    except (msgspec.MsgspecError, RecursionError) as error:
        why = str(error).replace("`", "")
        raise invalid(f"{what} must be a JSON object: {why}.", param, "invalid_value") from error


def with_object_root(root: dict[str, Any], param: str) -> dict[str, Any]:
    """Return a schema whose root has `"type": "object"` and is no reference. Raises a 400 `ApiError`."""
    if _REF in root:
        root = _followed(root, param)
    if root.get("type", "object") != "object":
        raise invalid('The schema\'s root must have "type": "object".', f"{param}.type", "invalid_value")
    return root if "type" in root else {"type": "object", **root}


class Growth:
    """The bytes and schemas that may still replace references in the schemas of one request, and names properties."""

    def __init__(self) -> None:
        self.left = MAX_REFERRED_BYTES
        self._schemas = MAX_REFERRED_SCHEMAS
        self._names = MAX_RENAMED_PROPERTIES

    @property
    def spent(self) -> tuple[int, int]:
        """Return the bytes and schemas that were counted."""
        return MAX_REFERRED_BYTES - self.left, MAX_REFERRED_SCHEMAS - self._schemas

    def spend(self, size: int, param: str, schemas: int = 0) -> None:
        """Count `size` bytes and `schemas` that are written. Raises a 400 once there are too many of either."""
        self.left -= size
        self._schemas -= schemas
        if self.left < 0 or self._schemas < 0:
            raise invalid(
                "This model reads no references in schemas, and without them those of this request would be too large: "
                f"{MAX_REFERRED_BYTES:,} bytes, each use of a definition counted, and {MAX_REFERRED_SCHEMAS:,} schemas "
                "may replace references. Use fewer of them, or smaller definitions.",
                param,
                "invalid_value",
            )

    def rename(self, properties: int, param: str) -> None:
        """Count properties whose names are replaced. Raises a 400 once there are too many."""
        self._names -= properties
        if self._names < 0:
            raise invalid(
                f"This model takes no properties with such names, and at most {MAX_RENAMED_PROPERTIES:,} names in all "
                "schemas of a request are replaced. Use names of letters, digits, `_`, `.` and `-`, 64 at most.",
                param,
                "invalid_value",
            )


def has_references(schema: bytes) -> bool:
    """Return whether `schema` may have references or definitions."""
    return b"$" in schema or b'"definitions"' in schema or b"\\u" in schema


def inlined(root: dict[str, Any], param: str, growth: Growth) -> Rewritten:
    """Return a schema with its definitions in place of the references to them.

    A reference within its own definition becomes a description of that, and one without a definition is left out.
    Raises a 400 `ApiError` once `growth`, which all schemas of a request share, is spent.
    """
    inlining = _Inlining(root, param, growth)
    schema = inlining.schema(root)
    return Rewritten(schema, inlining.loosened)


def has_lookaround(schema: bytes) -> bool:
    """Return whether `schema` may have a pattern with look-around."""
    return b"(?" in schema or b"\\u" in schema


def without_lookaround(root: dict[str, Any]) -> Rewritten:
    """Return a schema with each pattern that has look-around in the description beside it."""
    schema = _describe_lookaround(root)
    return Rewritten(schema, schema != root)


def over_schemas(node: Mapping[str, Any], visit: Callable[[Any], Any]) -> dict[str, Any]:
    """Return a schema with `visit` applied to each schema directly below it, in the same order."""
    return {key: _below(key, value, visit) for key, value in node.items()}


def described(node: Mapping[str, Any], notes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema with `notes`, keywords and their values, in its description."""
    if not notes:
        return dict(node)
    text = ", ".join(f"{key}: {msgspec.json.encode(value).decode()}" for key, value in notes.items())
    before = node.get("description")
    return {**node, "description": f"{before} ({text})" if isinstance(before, str) and before else text}


def definition(root: Mapping[str, Any], reference: Any) -> dict[str, Any] | bool | None:
    """Return the schema that a reference such as `#/$defs/Node` points to, or None."""
    if not isinstance(reference, str) or not reference.startswith("#/") or len(reference) > _LONGEST_REFERENCE:
        return None
    escaped = "%" in reference or "~" in reference
    node: Any = root
    _, *names = reference.split("/", _STEPS)
    for name in names:
        if not isinstance(node, dict):
            return None
        node = node.get(unescaped(name) if escaped else name)
    return node if isinstance(node, dict | bool) else None


def _below(key: str, value: Any, visit: Callable[[Any], Any]) -> Any:
    if key in _VALUES:
        return value
    if key in _NAMED_SCHEMAS and isinstance(value, dict):
        return {name: visit(schema) for name, schema in value.items()}
    return [visit(schema) for schema in value] if isinstance(value, list) else visit(value)


class _Inlining:
    """Replaces the references of one schema.

    A definition without recursion has the same replacement wherever it is used, and is written once; each use counts as
    much as the first.
    """

    def __init__(self, root: dict[str, Any], param: str, growth: Growth) -> None:
        self._root = root
        self._param = param
        self._growth = growth
        self._cuts = 0
        self.loosened = False
        self._targets: dict[str, dict[str, Any] | bool | None] = {}
        """References that have been resolved."""
        self._sizes: dict[str, int] = {}
        self._written: dict[str, tuple[dict[str, Any], int]] = {}
        """Definitions without references, and the bytes that each use of them counts."""

    def schema(self, node: Any, inside: tuple[str, ...] = ("#",)) -> Any:
        """Return `node` without references; `inside` has the references whose definitions contain it."""
        if not isinstance(node, dict):
            return node
        if len(inside) > 1:
            self._growth.spend(_NODE, self._param, schemas=1)
        if _REF in node:
            return self._reference(node, inside)
        kept = {key: value for key, value in node.items() if key not in (*_STORES, *_DYNAMIC_REFS)}
        self.loosened = self.loosened or any(key in node for key in _DYNAMIC_REFS)
        return over_schemas(kept, lambda below: self.schema(below, inside))

    def _reference(self, node: dict[str, Any], inside: tuple[str, ...]) -> Any:
        reference = node[_REF]
        beside = {key: value for key, value in node.items() if key != _REF}
        self._growth.spend(_REFERENCE, self._param)
        replacement = self._replacement(reference, inside)
        return with_beside(replacement, self.schema(beside, inside)) if beside else replacement

    def _replacement(self, reference: Any, inside: tuple[str, ...]) -> dict[str, Any]:
        target = self._target(reference)
        if reference in inside:
            self._cuts += 1
            self.loosened = True
            kind = target.get("type") if isinstance(target, dict) else None
            again = {"description": f"Again what this is a part of: {reference}"}
            return {"type": kind, **again} if isinstance(kind, str) else again
        if target is None:
            self.loosened = True
            return {}
        if isinstance(target, bool):
            return {} if target else {"not": {}}
        return self._definition(reference, target, (*inside, reference))

    def _target(self, reference: Any) -> dict[str, Any] | bool | None:
        if not isinstance(reference, str):
            return None
        if reference == "#":
            return self._root
        if reference not in self._targets:
            self._targets[reference] = definition(self._root, reference)
        return self._targets[reference]

    def _definition(self, reference: str, target: dict[str, Any], within: tuple[str, ...]) -> dict[str, Any]:
        if reference in self._written:
            known, size = self._written[reference]
            self._growth.spend(size, self._param)
            return known
        before, cuts = self._growth.left, self._cuts
        if reference not in self._sizes:
            self._sizes[reference] = len(msgspec.json.encode(target))
        self._growth.spend(self._sizes[reference], self._param)
        inlined_target: dict[str, Any] = self.schema(target, within)
        if cuts == self._cuts:
            self._written[reference] = (inlined_target, before - self._growth.left)
        return inlined_target


def _describe_lookaround(node: Any) -> Any:
    """Return a schema with its look-around in descriptions.

    A description quotes a schema as it came: a description within a description would double its escapes with each
    level.
    """
    if not isinstance(node, dict):
        return node
    kept, notes = dict(node), dict[str, Any]()
    if _looks_around(node.get("pattern")):
        notes["pattern"] = kept.pop("pattern")
    named = node.get("patternProperties")
    if isinstance(named, dict) and any(map(_looks_around, named)):
        kept["patternProperties"] = {name: schema for name, schema in named.items() if not _looks_around(name)}
        notes["patternProperties"] = {name: schema for name, schema in named.items() if _looks_around(name)}
    return described(over_schemas(kept, _describe_lookaround), notes)


def _looks_around(pattern: Any) -> bool:
    return isinstance(pattern, str) and any(opening in pattern for opening in _LOOKAROUND)


def with_beside(schema: Mapping[str, Any], beside: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema that a definition and the keywords beside its reference constrain both."""
    if not schema or all(key in ANNOTATIONS or key in _STORES for key in beside):
        return {**schema, **beside}
    others = beside.get("allOf", [])
    return {**beside, "allOf": [dict(schema), *(others if isinstance(others, list) else [])]}


def _followed(root: dict[str, Any], param: str) -> dict[str, Any]:
    """Return `root` with the definition in place of the reference. Raises a 400 `ApiError`."""
    node, all_beside = root, list[dict[str, Any]]()
    while _REF in node:
        reference = node[_REF]
        target = definition(root, reference)
        if not isinstance(target, dict) or len(all_beside) == _FAR:
            raise _no_object(reference, param)
        all_beside.append({key: value for key, value in node.items() if key != _REF})
        node = target
    if node.get("type", "object") != "object":
        raise _no_object(reference, param)
    for beside in reversed(all_beside):
        node = with_beside(node, beside)
    return node


def unescaped(name: str) -> str:
    """Return a name in a JSON pointer without the escapes of URLs and of pointers."""
    if "%" in name:  # `unquote` starts anew at each letter that is not ASCII: seconds for a long name
        name = unquote_to_bytes(name.encode(errors="surrogatepass")).decode(errors="replace")
    return name.replace("~1", "/").replace("~0", "~")


def _no_object(reference: Any, param: str) -> ApiError:
    return invalid(
        f"The schema's root refers to {msgspec.json.encode(reference).decode()}, which is no object. "
        'Put the definition itself at the root, with "type": "object".',
        f"{param}.{_REF}",
        "invalid_value",
    )
