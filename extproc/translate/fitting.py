"""A client's JSON Schema -> the schema that a family's models accept for a tool, and the way back.

`fit` takes the steps that the family needs (`translate/schemas`, `translate/schema_nulls`, `translate/schema_root`).
A schema that needs none is sent byte for byte. What a step had to loosen is named to the client; constraints at the
root that have no place in the schema become a part of the tool's description.

Results are remembered by the schema's bytes: an agent sends the same schemas in every turn.

Invariant: the result is within the family's limits, and a value that is valid against it is valid against the client's
schema, unless `loosened` names a part of it.

Decision: docs/decisions.md, D120.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from extproc.bedrock.capabilities import Capabilities, SchemaGap
from extproc.openai.errors import ApiError, invalid
from extproc.openai.limits import check_schema
from extproc.translate.property_names import misfits, substitutes, with_names
from extproc.translate.schema_nulls import has_nulls, without_nulls
from extproc.translate.schema_root import COMBINATORS, folded, note, restricted
from extproc.translate.schemas import (
    Growth,
    has_lookaround,
    has_references,
    inlined,
    members,
    with_object_root,
    without_lookaround,
)

_OFTEN_SEEN = 8_192
"""Bytes of the largest schema that is remembered."""
_LARGEST_REMEMBERED = 16_384
"""Bytes of the largest result that is remembered: 512 of them are some megabytes."""

NO_NAMES: Mapping[str, str] = {}


class Limits(NamedTuple):
    """The limits of a family's schemas; by default none."""

    gaps: tuple[SchemaGap, ...] = ()
    root_keys: tuple[str, ...] = ()
    property_names: str | None = None


class Fitted(NamedTuple):
    """A schema within a family's limits."""

    schema: Raw
    note: str = ""
    """What the tool's description has to add: the description at the schema's root, and constraints that it lost."""
    loosened: tuple[str, ...] = ()
    """What is not enforced, by the paths from the schema's root; empty for the schema, or a part further down."""
    names: Mapping[str, str] = NO_NAMES
    """Bedrock's names of properties by the client's, where the two differ."""
    bytes_referred: int = 0
    schemas_referred: int = 0


def tool_limits(capabilities: Capabilities) -> Limits:
    """Return the limits of a tool's schema."""
    return Limits(capabilities.schema_gaps, capabilities.schema_root_keys, capabilities.property_names)


def response_limits(capabilities: Capabilities) -> Limits:
    """Return the limits of a schema for the response: those of its root do not apply."""
    return Limits(tuple(gap for gap in capabilities.schema_gaps if gap != "root_combinators"))


def fit(schema: Raw, absent: Raw, limits: Limits, growth: Growth, param: str) -> Fitted:
    """Return `schema`, or `absent` if it is null, within these limits. Raises a 400 `ApiError`.

    `growth` is shared by all schemas of a request.
    """
    check_schema(schema, param)
    text = bytes(schema)
    if text == b"null":
        return Fitted(absent)
    try:
        fitted = (_remembered(text, limits) if len(text) <= _OFTEN_SEEN else None) or _fit(text, limits)
    except ApiError as error:
        raise invalid(error.message, f"{param}{error.param or ''}", error.code) from error
    growth.spend(fitted.bytes_referred, param, fitted.schemas_referred)
    growth.rename(len(fitted.names), param)
    return fitted


@lru_cache(maxsize=512)
def _remembered(schema: bytes, limits: Limits) -> Fitted | None:
    """Cache the results that are small enough; None for a larger one."""
    fitted = _fit(schema, limits)
    return fitted if len(bytes(fitted.schema)) + len(fitted.note) <= _LARGEST_REMEMBERED else None


def _fit(schema: bytes, limits: Limits) -> Fitted:
    if not _needs_change(schema, limits):
        return Fitted(Raw(schema))
    try:
        return _changed(schema, limits)
    except msgspec.MsgspecError as error:
        why = str(error).replace("`", "")
        raise invalid(f"A schema must be a JSON object: {why}.", "", "invalid_value") from error
    except RecursionError as error:
        raise invalid("The schema is nested too deeply.", "", "invalid_value") from error


def _needs_change(schema: bytes, limits: Limits) -> bool:
    """Return whether a step may change the schema, which is not decoded for that but at its root."""
    root = members(schema, "A schema", "")
    return (
        bytes(root.get("type", b"")) != b'"object"'
        or "$ref" in root
        or has_nulls(schema)
        or ("definitions" in limits.gaps and has_references(schema))
        or ("lookaround" in limits.gaps and has_lookaround(schema))
        or ("root_combinators" in limits.gaps and any(key in root for key in COMBINATORS))
        or (bool(limits.root_keys) and any(key not in limits.root_keys for key in root))
        or (limits.property_names is not None and bool(misfits(_properties(root), limits.property_names)))
    )


def _properties(root: Mapping[str, Raw]) -> dict[str, Raw]:
    """Return the properties at the root; none if they are no object."""
    properties = bytes(root.get("properties", b"{}"))
    return msgspec.json.decode(properties, type=dict[str, Raw]) if properties.startswith(b"{") else {}


def _changed(schema: bytes, limits: Limits) -> Fitted:
    decoded = msgspec.json.decode(schema, type=dict[str, Any])
    root = with_object_root(without_nulls(decoded) if has_nulls(schema) else decoded, "")
    loosened, removed = dict[str, None](), dict[str, Any]()
    growth = Growth()
    if "definitions" in limits.gaps and has_references(schema):
        root, changed = inlined(root, "", growth)
        loosened |= {"": None} if changed else {}
    if "lookaround" in limits.gaps and has_lookaround(schema):
        root, changed = without_lookaround(root)
        loosened |= {"": None} if changed else {}
    if _rejects_combinators(limits):
        root, lost = folded(root)
        removed |= lost
    about = ""
    if limits.root_keys:
        about = root.get("description", "")
        root, lost = restricted(root, limits.root_keys)
        removed |= lost
    loosened |= {f".{key}": None for key in removed}
    names = substitutes({**root, **removed}, limits.property_names) if limits.property_names else NO_NAMES
    if names:
        root, changed = with_names(root, names)
        removed = with_names(removed, names).schema
        loosened |= {"": None} if changed else {}
    written = Raw(schema) if root == decoded else Raw(msgspec.json.encode(root))
    notes = [text for text in (about, note(removed)) if isinstance(text, str) and text.strip()]
    return Fitted(written, "\n\n".join(notes), tuple(loosened), names, *growth.spent)


def _rejects_combinators(limits: Limits) -> bool:
    return "root_combinators" in limits.gaps or bool(limits.root_keys and not {*COMBINATORS} & {*limits.root_keys})
