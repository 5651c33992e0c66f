"""Error messages for a document: the path of its first fault, and the expected value.

msgspec's own message lacks the path inside a mapping with free keys (`organisations[...]`), and describes values in
terms of Python and regular expressions. So once msgspec has rejected a document, this module walks it along the types,
and describes the first fault in the words of the type's `Meta(description=…)`.
"""

import datetime
import difflib
from collections.abc import Iterable
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from msgspec import Meta

_FEW = 30
"""Largest number of keys that a message lists."""


def fault(value: object, kind: Any, path: str) -> str | None:
    """Return the first fault in `value`, which should be a `kind`, as `path: message`; None if there is none."""
    base = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if get_origin(base) is UnionType and get_args(base)[1:] == (NoneType,):
        return None if value is None else fault(value, get_args(base)[0], path)
    if isinstance(base, type) and issubclass(base, msgspec.Struct):
        return _struct(value, base, path)
    if get_origin(base) is dict:
        key_kind, value_kind = get_args(base)
        return _mapping(value, key_kind, value_kind, path)
    if get_origin(base) is tuple:
        return _list(value, get_args(base)[0], path)
    if _fits(value, kind):
        return None
    other = "other " if described(value) == "text" and (base is str or get_origin(base) is Literal) else ""
    return f"{path}: expected {description(kind)}; found {other}{described(value)}"


def _struct(value: object, struct: type[msgspec.Struct], path: str) -> str | None:
    """Return the first fault in a mapping with fixed keys."""
    if not isinstance(value, dict):
        return f"{path}: expected a mapping; found {described(value)}"
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    for key in value:
        if not isinstance(key, str):
            return _not_text(path, key)
        if key not in fields:
            known = f"known here: {', '.join(fields)}" if len(fields) <= _FEW else "docs/configuration.md has all"
            return f"{_join(path, key)}: unknown key{nearest(key, fields)}; {known}"
    for name, field in fields.items():
        below = _join(path, name)
        if name not in value and field.required:
            return f"{below}: missing; expected {description(field.type)}"
        below_it = fault(value[name], field.type, below) if name in value else None
        if below_it:
            return below_it
    return None


def _mapping(value: object, key_kind: Any, value_kind: Any, path: str) -> str | None:
    """Return the first fault in a mapping with free keys."""
    if not isinstance(value, dict):
        return f"{path}: expected a mapping; found {described(value)}"
    for key, item in value.items():
        if not isinstance(key, str):
            return _not_text(path, key)
        below = _join(path, key)
        if not _fits(key, key_kind):
            return f"{below}: expected {description(key_kind)} as the key"
        below_it = None if _fits(item, value_kind) else fault(item, value_kind, below)
        if below_it:
            return below_it
    return None


def _list(value: object, kind: Any, path: str) -> str | None:
    """Return the first fault in a list."""
    if not isinstance(value, list):
        return f"{path}: expected a list; found {described(value)}"
    faults = (fault(item, kind, f"{path}[{index}]") for index, item in enumerate(value) if not _fits(item, kind))
    return next(filter(None, faults), None)


def _fits(value: object, kind: Any) -> bool:
    """Return whether msgspec converts `value` to a `kind`."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def description(kind: Any) -> str:
    """Return the description of a type, or of one of its alternatives."""
    for part in (*getattr(kind, "__metadata__", ()), *get_args(kind)):
        text = part.description if isinstance(part, Meta) else description(part)
        if text:
            return str(text)
    return ""


def described(value: object) -> str:
    """Describe `value` for a message. Text is not quoted: it may be a secret in the wrong place."""
    if value is None or isinstance(value, bool):
        return "nothing" if value is None else str(value).lower()
    if isinstance(value, float) or (isinstance(value, int) and abs(value) < 10**18):
        return f"the number {value!r}"
    if isinstance(value, str):
        return "the token itself" if value.startswith("qc_") else "text"
    if isinstance(value, datetime.datetime):
        return "a time" if value.tzinfo else "a time without a zone"
    kinds = {int: "a huge number", dict: "a mapping", list: "a list"}
    return kinds.get(type(value), f"a {type(value).__name__}")


def printable(text: str) -> str:
    """Return `text` with each character that a terminal does not show as itself (ESC, newlines) as Python writes it."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _not_text(path: str, key: object) -> str:
    """Return the message for a key such as `on` or `2`, which YAML does not read as text."""
    return f"{path or 'top level'}: a key is read as {described(key)}, not as text; put it in quotes"


def _join(path: str, key: str) -> str:
    """Return the path of `key` below `path`."""
    if key.isprintable() and " " not in key:
        return f"{path}.{key}" if path else key
    return f"{path}[{key!r}]"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a suggestion: the known name that is most similar."""
    guesses = difflib.get_close_matches(name[:100], list(known), n=1)
    return f", did you mean `{guesses[0]}`?" if guesses else ""
