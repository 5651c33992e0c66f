"""Reads a token file in the form that `oai-extproc token create` writes, without YAML's parser.

libyaml takes two seconds for 100,000 tokens, whatever is made of its events. A file that consists of nothing but
entries in that form, in any order of their keys, comments and blank lines is read line by line here; every other file
is left to YAML.

Invariant: for any bytes, `read_regular_tokens` returns what YAML's reader returns, or None.

Decision: docs/decisions.md, D192.
"""

import re
from datetime import UTC, datetime

_WORD = r"[A-Za-z][A-Za-z0-9._*-]*+(?: [A-Za-z0-9][A-Za-z0-9._*-]*+)*+"
_ITEM = rf"(?:{_WORD}|'[ -&(-~]*'|\"[ !#-\[\]-~]*\")"
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:Z|[+-][0-9]{2}:[0-9]{2}))?"

_HEAD = re.compile(r"(?:#[ -~]*+\n|\n)*+tokens:\n")
_COMMENT = re.compile(r"(?: *+#[ -~]*+\n|\n)++")
_LINE = re.compile(
    rf"( *)(- |  )(?:(name): ({_ITEM})|(sha256): (\"[0-9a-fA-F]{{64}}\"|'[0-9a-fA-F]{{64}}'|[0-9a-fA-F]{{64}})"
    rf"|(organisations|scopes|features|allow|deny): \[((?:{_ITEM}(?:, {_ITEM})*+)?)\]|(expires): ({_TIME})|(models):)\n"
)
_ITEMS = re.compile(_ITEM)

_NO_TEXT = frozenset({"yes", "no", "true", "false", "on", "off", "null", "y", "n"})
"""Words without quotes that YAML may read as something else."""


class _IrregularError(Exception):
    """A file that is left to YAML."""


def read_regular_tokens(text: bytes) -> dict[object, object] | None:
    """Return the document in `text` if it is a token file of the usual form, None for any other."""
    if b"tokens:" not in text[:10_000] or not text.isascii():
        return None
    lines = text.decode("ascii")
    head = _HEAD.match(lines)
    if head is None:
        return None
    try:
        return {"tokens": _entries(lines, head.end())}
    except (_IrregularError, ValueError):
        return None


def _entries(lines: str, position: int) -> list[object]:
    """Return the entries from `position` to the end."""
    entries: list[object] = []
    entry: dict[str, object] = {}
    models: dict[str, object] | None = None
    first = _LINE.match(lines, position) or _LINE.match(lines, _after_comments(lines, position))
    indent = first[1] if first else ""
    while position < len(lines):
        match = _LINE.match(lines, position)
        if match is None:
            position = _after_comments(lines, position)
            continue
        position = match.end()
        key, value = _pair(match)
        if match[1] == indent and match[2] == "- " and key not in ("allow", "deny"):
            entry, models = {}, None
            entries.append(entry)
        elif key in ("allow", "deny"):
            if match[1] != indent + "  " or match[2] != "  " or models is None or key in models:
                raise _IrregularError
            models[key] = value
            continue
        elif match[1] != indent or match[2] != "  " or key in entry or not entries:
            raise _IrregularError
        models = value if isinstance(value, dict) else None
        entry[key] = value
    if not entries or any("models" in each and not each["models"] for each in entries if isinstance(each, dict)):
        raise _IrregularError
    return entries


def _after_comments(lines: str, position: int) -> int:
    """Return the index behind comments and blank lines; raises `_IrregularError` if there are none."""
    match = _COMMENT.match(lines, position)
    if match is None:
        raise _IrregularError
    return match.end()


def _pair(match: re.Match[str]) -> tuple[str, object]:
    """Return the key and the value of a line."""
    if match[3]:
        return "name", _text(match[4])
    if match[5]:
        return "sha256", _digest(match[6])
    if match[7]:
        return match[7], [_text(item) for item in _ITEMS.findall(match[8])]
    if match[9]:
        return "expires", _time(match[10])
    return "models", {}


def _text(item: str) -> str:
    """Return the text of a scalar."""
    if item[0] in "'\"":
        return item[1:-1]
    if item.lower() in _NO_TEXT:
        raise _IrregularError
    return item


def _digest(item: str) -> str:
    """Return a SHA-256; YAML reads one of decimal or binary digits alone, without quotes, as a number."""
    if item[0] in "'\"":
        return item[1:-1]
    if item.isdigit() or (item.startswith("0b") and not item[2:].strip("01")):
        raise _IrregularError
    return item


def _time(item: str) -> datetime:
    """Return a time; a date alone is the start of that day in UTC. Raises `ValueError`."""
    moment = datetime.fromisoformat(item)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
