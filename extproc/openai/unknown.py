"""Unknown fields of a request's messages: removed, and named.

Clients send back the messages of other services too, so an unknown member of a message does not reject the request: it
is removed and its path is reported. There is something to do here only if decoding has already found one.

Invariant: known members stay as they came, byte for byte. A member that is not of the declared form stays too, for
decoding to reject.

Decision: docs/decisions.md, D48.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import Raw, inspect

T = TypeVar("T")

MOST = 20
"""Number of paths that are reported; the rest is one path that ends in `*`."""

_NAME = re.compile(r"[A-Za-z0-9_$-]{1,64}")
"""Names that are reported as they are; others become `*`: they may be anything, and a header may not."""
_EMPTY = (Raw(b"null"), Raw(b"[]"), Raw(b"{}"))
"""Values that mean nothing, so that nothing is lost with them."""

_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_OBJECTS = msgspec.json.Decoder(list[dict[str, Raw]])
_TAG = msgspec.json.Decoder(str)


class _Place(NamedTuple):
    """A place for objects, by themselves or in a list."""

    tag_field: str | None
    structs: Mapping[str | int | None, Mapping[str, "_Place | None"]]
    """Members by the tag of their struct, each with its own place, if it has one."""


def without_unknown(value: Raw, shape: object, path: str) -> tuple[Any, tuple[str, ...]]:
    """Return `value` without what `shape` does not know, ready to be encoded, and the paths of what was removed.

    The paths begin with `path` and have `[]` for any element of a list, as in `messages[].annotations`; they contain
    nothing that a header could not carry.
    """
    removed: set[str] = set()
    place = _place_of(shape)
    known = value if place is None else _known(value, place, path, removed)
    names = sorted(removed)
    return known, tuple(names if len(names) <= MOST else [*names[:MOST], f"{path}[].*"])


def is_known(shape: object, steps: Sequence[str]) -> bool:
    """Return whether `shape` knows the field at the end of `steps`, such as `("tools[]", "function")`.

    What is below a field of free JSON is known, too.
    """
    return _knows(_place_of(shape), steps)


def _knows(place: _Place | None, steps: Sequence[str]) -> bool:
    if place is None or not steps:
        return True
    name = steps[0].removesuffix("[]")
    inner = [struct[name] for struct in place.structs.values() if name in struct]
    return name == place.tag_field or any(_knows(one, steps[1:]) for one in inner)


def is_nothing(value: object) -> bool:
    """Return whether nothing is lost with this value."""
    return value in _EMPTY


def objects_in(value: Raw) -> dict[str, Raw] | list[dict[str, Raw]] | None:
    """Decode an object, or a list of objects; None if it is neither."""
    return _read(_OBJECT, value) if bytes(memoryview(value)[:1]) == b"{" else _read(_OBJECTS, value)


def _known(value: Raw, place: _Place, path: str, removed: set[str]) -> Any:
    match bytes(memoryview(value)[:1]):
        case b"{":
            members = _read(_OBJECT, value)
            return value if members is None else _members(members, place, path, removed)
        case b"[":
            objects = _read(_OBJECTS, value)
            return value if objects is None else [_members(members, place, f"{path}[]", removed) for members in objects]
    return value


def _members(members: dict[str, Raw], place: _Place, path: str, removed: set[str]) -> dict[str, Any]:
    """Return the object without the members that its struct does not know."""
    tag = members.get(place.tag_field) if place.tag_field else None
    struct = place.structs.get(None if tag is None else _read(_TAG, tag))
    known: dict[str, Any] = {}
    for name, value in members.items():
        if struct is None or name == place.tag_field:
            known[name] = value
        elif name in struct:
            inner = struct[name]
            known[name] = value if inner is None else _known(value, inner, f"{path}.{name}", removed)
        elif value not in _EMPTY:
            removed.add(member_path(path, name))
    return known


def member_path(path: str, name: str) -> str:
    """Return the path of a member whose name is the client's; it contains nothing that a header could not carry."""
    return f"{path}.{name if _NAME.fullmatch(name) else '*'}"


@cache
def _place_of(shape: object) -> _Place | None:
    return _place(inspect.type_info(shape))


def _place(kind: inspect.Type) -> _Place | None:
    structs = _structs(kind)
    if not structs:
        return None
    members = {struct.tag: {field.encode_name: _place(field.type) for field in struct.fields} for struct in structs}
    return _Place(structs[0].tag_field, members)


def _structs(kind: inspect.Type) -> list[inspect.StructType]:
    """Return the structs that may stand here, by themselves or in a list."""
    match kind:
        case inspect.UnionType(types=kinds):
            return [struct for one in kinds for struct in _structs(one)]
        case inspect.ListType(item_type=item):
            return _structs(item)
        case inspect.StructType():
            return [kind]
    return []


def _read(decoder: msgspec.json.Decoder[T], value: Raw) -> T | None:
    """Decode `value`; None if it has another form, which decoding reports."""
    try:
        return decoder.decode(value)
    except (msgspec.MsgspecError, RecursionError):
        return None
