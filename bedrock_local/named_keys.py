"""The keys that instructions in words name for a JSON object: `with the keys city and "population"`, or an example."""

import json
import re
from typing import Any

#: Longest instructions that are searched, in characters, and most keys that are found.
_LONGEST, _MOST = 20_000, 50

_LIST = re.compile(
    r"\b(?:keys|key|fields|field|properties|property|attributes)\b(?: named| called| are|:|\s)*", re.IGNORECASE
)
_NAME = re.compile(r"""\s*(?:,|;|and\b|or\b|&|-|\*)*\s*(?:["'`]([^"'`\n]{1,64})["'`]|([A-Za-z_][A-Za-z0-9_]{0,63}))""")
_NO_NAMES = frozenset(
    "a an and are as each for from in is must of only or that the to with".split()  # noqa: SIM905 - easier to read
)


def schema_of(instructions: str) -> dict[str, Any] | None:
    """Return a JSON schema with the keys of an example, or with those that are named; None if there are none."""
    example = _example(instructions[:_LONGEST])
    if example:
        return {"type": "object", "properties": {key: _schema(value) for key, value in example.items()}}
    return schema_of_keys(instructions)


def schema_of_keys(text: str) -> dict[str, Any] | None:
    """Return a JSON schema with the keys that are named; None if there are none."""
    text = text[:_LONGEST]
    for start in _LIST.finditer(text):
        keys = _names(text, start.end())
        if keys:
            return {"type": "object", "properties": {key: {"type": "string"} for key in keys}}
    return None


def _example(text: str) -> dict[str, Any] | None:
    """Return the first JSON object in the text; only the first `{` of each line is tried."""
    for line in re.finditer(r"^[^{\n]*(?=\{)", text, re.MULTILINE):
        try:
            value, _ = json.JSONDecoder().raw_decode(text, line.end())
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            return dict(list(value.items())[:_MOST])
    return None


def _schema(value: Any) -> dict[str, Any]:
    """Return the schema of a value like the example's."""
    match value:
        case bool():
            return {"type": "boolean"}
        case int() | float():
            return {"type": "number"}
        case list():
            return {"type": "array", "items": _schema(value[0]) if value else {"type": "string"}}
        case dict():
            return {"type": "object", "properties": {key: _schema(below) for key, below in value.items()}}
        case _:
            return {"type": "string"}


def _names(text: str, position: int) -> list[str]:
    """Return the names of a list that begins at `position`; a word that is no name ends it, or one without quotes."""
    names: list[str] = []
    quoted = False
    while len(names) < _MOST and (match := _NAME.match(text, position)):
        if (quoted and not match[1]) or (match[2] and match[2].lower() in _NO_NAMES):
            break
        quoted = bool(match[1])
        names.append(match[1] or match[2])
        position = match.end()
        if not re.match(r"\s*(?:,|;|&|and\b|or\b|\n\s*[-*])", text[position : position + 32]):
            break
    return names
