"""JSON objects that are sent byte for byte: JSON Schemas and the arguments of tool calls.

Bedrock requires `"type": "object"` at the root of a schema. A root that is only a reference into the schema itself, as
Pydantic writes recursive models, is replaced by its definition; everything below the root stays as it came.

Some families of models do not accept all keywords. For them a schema that has such a keyword is rewritten: references
are replaced by their definitions (`inlined`), and a `pattern` with look-around, or one of `patternProperties`, becomes
a part of the description (`without_lookaround`). Neither changes the order of keys or the value of a number.

Decision: docs/decisions.md, D23.
"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Raw

from extproc.openai.errors import ApiError, invalid
from extproc.openai.limits import MAX_REFERRED_BYTES, MAX_REFERRED_SCHEMAS

_REF = "$ref"
_FAR = 8
"""Most steps of a reference at the root; each reads the schema again."""
_NODE = 16
"""Bytes that each schema within a definition counts beside its own: an empty one is work, too."""
_REFERENCE = 64
"""Bytes that each reference counts beside the definition that replaces it."""
_STORES = ("$defs", "definitions")
_NAMED_SCHEMAS = ("properties", "patternProperties", "dependentSchemas", *_STORES)
"""Keywords whose members are schemas under names, not keywords."""
_VALUES = ("enum", "const", "default", "examples", "required")
"""Keywords that hold values, not schemas."""
_LOOKAROUND = ("(?=", "(?!", "(?<=", "(?<!")
"""Look-ahead and look-behind in a regular expression."""
_STEPS = 32
"""Longest path of a reference to a definition, in steps; a longer one is not resolved."""


def json_object(text: str | Raw, what: str, param: str) -> Raw:
    """Return `text`, byte for byte, if it is a JSON object. Raises a 400 `ApiError` otherwise."""
    _members(text, what, param)
    return Raw(text.encode() if isinstance(text, str) else bytes(text))


def object_schema(schema: Raw, absent: Raw, param: str) -> Raw:
    """Return `schema` with an object as its root, or `absent` if it is null. Raises a 400 `ApiError`."""
    if bytes(schema) == b"null":
        return absent
    root = _members(schema, "A schema", param)
    if _REF in root:
        root = _follow(root, param)
        schema = Raw(msgspec.json.encode(root))
    if "type" not in root:
        return Raw(msgspec.json.encode({"type": "object", **root}))
    if bytes(root["type"]) != b'"object"':
        raise invalid('The schema\'s root must have "type": "object".', f"{param}.type", "invalid_value")
    return schema


class Growth:
    """The bytes and schemas that may still replace references in the schemas of one request."""

    def __init__(self) -> None:
        self.left = MAX_REFERRED_BYTES
        self._schemas = MAX_REFERRED_SCHEMAS

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


def inlined(schema: Raw, param: str, growth: Growth) -> Raw:
    """Return `schema` with its definitions in place of the references to them.

    A reference within its own definition becomes a description of that; one without a definition stays. Raises a 400
    `ApiError` once `growth`, which all schemas of a request share, is spent.
    """
    if not any(b'"%b"' % name.encode() in bytes(schema) for name in (_REF, *_STORES)):
        return schema
    return _rewritten(schema, lambda root: _Inlining(root, param, growth).schema(root), param)


def without_lookaround(schema: Raw, param: str) -> Raw:
    """Move each pattern with look-around into the description beside it. Raises a 400 `ApiError`."""
    if b"(?" not in bytes(schema):
        return schema
    return _rewritten(schema, _describe_lookaround, param)


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


def definition(root: Mapping[str, Any], reference: Any) -> dict[str, Any] | None:
    """Return the schema that a reference such as `#/$defs/Node` points to, or None."""
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return None
    escaped = "%" in reference or "~" in reference
    node: Any = root
    _, *names = reference.split("/", _STEPS)
    for name in names:
        if not isinstance(node, dict):
            return None
        node = node.get(unescaped(name) if escaped else name)
    return node if isinstance(node, dict) else None


def _below(key: str, value: Any, visit: Callable[[Any], Any]) -> Any:
    if key in _VALUES:
        return value
    if key in _NAMED_SCHEMAS and isinstance(value, dict):
        return {name: visit(schema) for name, schema in value.items()}
    return [visit(schema) for schema in value] if isinstance(value, list) else visit(value)


def _rewritten(schema: Raw, rewrite: Callable[[dict[str, Any]], Any], param: str) -> Raw:
    try:
        return Raw(msgspec.json.encode(rewrite(msgspec.json.decode(schema, type=dict[str, Any]))))
    except msgspec.MsgspecError as error:
        why = str(error).replace("`", "")
        raise invalid(f"A schema must be a JSON object: {why}.", param, "invalid_value") from error
    except RecursionError as error:
        raise invalid("The schema is nested too deeply.", param, "invalid_value") from error


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
        self._targets: dict[str, dict[str, Any] | None] = {}
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
        kept = {key: value for key, value in node.items() if key not in _STORES}
        return over_schemas(kept, lambda below: self.schema(below, inside))

    def _reference(self, node: dict[str, Any], inside: tuple[str, ...]) -> Any:
        reference = node[_REF]
        beside = {key: value for key, value in node.items() if key != _REF}
        self._growth.spend(_REFERENCE, self._param)
        if reference in inside:
            self._cuts += 1
            replacement = {"description": f"Again what this is a part of: {reference}"}
        elif (target := self._target(reference)) is None:
            replacement = {_REF: reference}
        else:
            inside = (*inside, reference)
            replacement = self._definition(reference, target, inside)
        return {**replacement, **self.schema(beside, inside)} if beside else replacement

    def _target(self, reference: Any) -> dict[str, Any] | None:
        if not isinstance(reference, str):
            return None
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


def _members(text: str | Raw, what: str, param: str) -> dict[str, Raw]:
    try:
        return msgspec.json.decode(text, type=dict[str, Raw])
    except (msgspec.MsgspecError, RecursionError) as error:
        why = str(error).replace("`", "")
        raise invalid(f"{what} must be a JSON object: {why}.", param, "invalid_value") from error


def _follow(root: dict[str, Raw], param: str) -> dict[str, Raw]:
    """Return `root` with the definition in place of the reference. Raises a 400 `ApiError`."""
    node = root
    for _ in range(_FAR):
        reference = bytes(node.pop(_REF))
        node = {**_definition(root, reference, param), **node}
        if _REF not in node:
            return node
    raise _no_object(reference, param)


def _definition(root: dict[str, Raw], reference: bytes, param: str) -> dict[str, Raw]:
    """Return the object at a JSON pointer such as `"#/$defs/Node"`. Raises a 400 `ApiError`."""
    node = root
    try:
        start, *names = msgspec.json.decode(reference, type=str).split("/", _FAR)
        for name in names:
            node = msgspec.json.decode(node[unescaped(name)], type=dict[str, Raw])
    except (msgspec.MsgspecError, KeyError) as error:
        raise _no_object(reference, param) from error
    if start != "#" or not names:
        raise _no_object(reference, param)
    return node


def unescaped(name: str) -> str:
    """Return a name in a JSON pointer without the escapes of URLs and of pointers."""
    if "%" in name:  # `unquote` starts anew at each letter that is not ASCII: seconds for a long name
        name = unquote_to_bytes(name.encode(errors="surrogatepass")).decode(errors="replace")
    return name.replace("~1", "/").replace("~0", "~")


def _no_object(reference: bytes, param: str) -> ApiError:
    return invalid(
        f"The schema's root refers to {reference.decode()}, which is no object. "
        'Put the definition itself at the root, with "type": "object".',
        f"{param}.{_REF}",
        "invalid_value",
    )
