"""Unknown fields that the operator has passed over (`compat.ignore_fields`): removed, and named.

Clients add fields of other services to every request. A path is written as the header names it, from the request's
root and with `[]` for any element of a list. There is something to do only if decoding has found such a field.

Invariant: known fields stay as they came, byte for byte. A path that the request's type knows is never removed.

Decision: docs/decisions.md, D137.
"""

import re
from collections.abc import Collection, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from extproc.openai.decoding import decode
from extproc.openai.errors import ApiError
from extproc.openai.unknown import is_known, is_nothing, objects_in

T = TypeVar("T")

_INDEX = re.compile(r"\[\d+\]")


def decode_without(body: bytes | bytearray, shape: type[T], paths: Collection[str]) -> tuple[T, tuple[str, ...]]:
    """Decode `body` without the unknown fields at `paths`; return these, too. Raises a 400 `ApiError`."""
    try:
        return decode(body, shape), ()
    except ApiError as error:
        if error.code != "unknown_parameter" or _INDEX.sub("[]", error.param or "") not in paths:
            raise
    members: dict[str, Any] = decode(body, dict[str, Raw])
    unknown = [path for path in paths if not is_known(shape, path.split("."))]
    removed = [path for path in unknown if _remove(members, path.split("."))]
    return decode(msgspec.json.encode(members), shape), tuple(removed)


def _remove(members: dict[str, Any], steps: Sequence[str]) -> bool:
    """Remove what is at the end of `steps`; return whether it had a value that means something."""
    first, *rest = steps
    name = first.removesuffix("[]")
    if name not in members:
        return False
    if not rest:
        return not is_nothing(members.pop(name))
    inner = members[name]
    holders = objects_in(inner) if isinstance(inner, Raw) else inner
    if holders is None:  # of another form, which decoding reports
        return False
    members[name] = holders
    each = [holders] if isinstance(holders, dict) else holders
    removed = [_remove(holder, rest) for holder in each]
    return True in removed
