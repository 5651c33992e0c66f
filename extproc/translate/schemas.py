"""JSON objects that go through byte for byte: JSON Schemas and the arguments of tool calls.

Bedrock wants `"type": "object"` at the root of a schema. A root that is only a reference into the schema itself, as
Pydantic writes recursive models, becomes what it refers to; everything below the root stays as it came.

Some families of models leave gaps, and for them, and only where a schema falls into one, it is rewritten: references
are replaced by what they refer to (`inlined`), and a `pattern` with look-around, or one of `patternProperties`, becomes
a part of the description (`without_lookaround`). Neither changes the order of keys or the value of a number.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

import msgspec
from msgspec import Raw

from extproc.openai.errors import ApiError, invalid

_REF = "$ref"
_FAR = 8
"""Each step of a reference reads the schema again; nobody's goes this far."""
_GROWTH = 1 << 20
"""Bytes that references may be replaced by: twenty definitions that each use the next twice are a million."""
_STORES = ("$defs", "definitions")
_NAMED_SCHEMAS = ("properties", "patternProperties", "dependentSchemas", *_STORES)
"""Keywords that hold schemas under names of the author's own choice, which are no keywords."""
_VALUES = ("enum", "const", "default", "examples", "required")
"""Keywords that hold values, and no schema."""
_LOOKAROUND = re.compile(r"\(\?<?[=!]")
"""Look-ahead and look-behind in a regular expression."""


def json_object(text: str | Raw, what: str, param: str) -> Raw:
    """`text`, byte for byte, once it is known to be a JSON object; raises a 400 that says it is not."""
    _members(text, what, param)
    return Raw(text.encode() if isinstance(text, str) else bytes(text))


def object_schema(schema: Raw, absent: Raw, param: str) -> Raw:
    """`schema` with an object as its root, or `absent` if it is null; raises a 400 where that cannot be."""
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


def inlined(schema: Raw, param: str) -> Raw:
    """`schema` without definitions, and references into itself: each is replaced by what it refers to.

    Where a definition comes back to itself, the inner one only says so. What refers to nothing stays. Raises a 400
    for a schema that would grow beyond all use.
    """
    if not any(b'"%b"' % name.encode() in bytes(schema) for name in (_REF, *_STORES)):
        return schema
    return _rewritten(schema, lambda root: _Inlining(root, param).schema(root), param)


def without_lookaround(schema: Raw, param: str) -> Raw:
    """`schema` with each pattern that looks around in the description beside it instead. Raises a 400."""
    if b"(?" not in bytes(schema):
        return schema
    return _rewritten(schema, _describe_lookaround, param)


def over_schemas(node: Mapping[str, Any], visit: Callable[[Any], Any]) -> dict[str, Any]:
    """A schema with what `visit` makes of each schema right below it, in the same order."""
    return {key: _below(key, value, visit) for key, value in node.items()}


def described(node: Mapping[str, Any], notes: Mapping[str, Any]) -> dict[str, Any]:
    """A schema that says in its description what it does not say in keywords."""
    if not notes:
        return dict(node)
    said = ", ".join(f"{key}: {msgspec.json.encode(value).decode()}" for key, value in notes.items())
    before = node.get("description")
    return {**node, "description": f"{before} ({said})" if isinstance(before, str) and before else said}


def definition(root: Mapping[str, Any], reference: Any) -> dict[str, Any] | None:
    """The schema that a reference such as `#/$defs/Node` points to, or None."""
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return None
    found: Any = root
    for name in reference.split("/")[1:]:
        if not isinstance(found, dict):
            return None
        found = found.get(unescaped(name))
    return found if isinstance(found, dict) else None


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
    """Replaces references; `_left` counts down the bytes that may still come in."""

    def __init__(self, root: dict[str, Any], param: str) -> None:
        self._root = root
        self._param = param
        self._left = _GROWTH
        self._sizes: dict[str, int] = {}

    def schema(self, node: Any, inside: tuple[str, ...] = ("#",)) -> Any:
        """`node` without references; `inside`: those whose definition it is a part of."""
        if not isinstance(node, dict):
            return node
        if _REF in node:
            return self._reference(node, inside)
        kept = over_schemas(node, lambda below: self.schema(below, inside))
        return {key: value for key, value in kept.items() if key not in _STORES}

    def _reference(self, node: dict[str, Any], inside: tuple[str, ...]) -> Any:
        reference = node[_REF]
        beside = {key: value for key, value in node.items() if key != _REF}
        if reference in inside:
            return {"description": f"Again what this is a part of: {reference}", **self.schema(beside, inside)}
        target = definition(self._root, reference)
        if target is None:
            return {_REF: reference, **self.schema(beside, inside)}
        self._pay(reference, target)
        return self.schema({**target, **beside}, (*inside, reference))

    def _pay(self, reference: str, target: dict[str, Any]) -> None:
        if reference not in self._sizes:
            self._sizes[reference] = len(msgspec.json.encode(target))
        self._left -= self._sizes[reference]
        if self._left < 0:
            raise invalid(
                "This model reads no references in schemas, and without them this one would be too large. "
                "Use fewer of them.",
                self._param,
                "invalid_value",
            )


def _describe_lookaround(node: Any) -> Any:
    """Return a schema with its look-around in descriptions.

    A schema that a description quotes is quoted as it came: a description within one would double its escapes with
    each level.
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
    return isinstance(pattern, str) and _LOOKAROUND.search(pattern) is not None


def _members(text: str | Raw, what: str, param: str) -> dict[str, Raw]:
    try:
        return msgspec.json.decode(text, type=dict[str, Raw])
    except (msgspec.MsgspecError, RecursionError) as error:
        why = str(error).replace("`", "")
        raise invalid(f"{what} must be a JSON object: {why}.", param, "invalid_value") from error


def _follow(root: dict[str, Raw], param: str) -> dict[str, Raw]:
    """`root` with what it refers to in place of the reference."""
    found = root
    for _ in range(_FAR):
        reference = bytes(found.pop(_REF))
        found = {**_definition(root, reference, param), **found}
        if _REF not in found:
            return found
    raise _refuse(reference, param)


def _definition(root: dict[str, Raw], reference: bytes, param: str) -> dict[str, Raw]:
    """What a JSON pointer such as `"#/$defs/Node"` points to."""
    found = root
    try:
        start, *names = msgspec.json.decode(reference, type=str).split("/", _FAR)
        for name in names:
            found = msgspec.json.decode(found[unescaped(name)], type=dict[str, Raw])
    except (msgspec.MsgspecError, KeyError) as error:
        raise _refuse(reference, param) from error
    if start != "#" or not names:
        raise _refuse(reference, param)
    return found


def unescaped(name: str) -> str:
    """A name in a JSON pointer, without the escapes of URLs and of pointers."""
    return unquote(name).replace("~1", "/").replace("~0", "~")


def _refuse(reference: bytes, param: str) -> ApiError:
    return invalid(
        f"The schema's root refers to {reference.decode()}, and there is no object there. "
        'Put the definition itself at the root, with "type": "object".',
        f"{param}.{_REF}",
        "invalid_value",
    )
