"""The arguments of earlier tool calls -> the JSON objects that Bedrock requires.

Arguments are a text that a model wrote, and "the model does not always generate valid JSON" (OpenAI's reference): one
that was cut off by the limit of tokens comes back in every later request of its conversation. So none is rejected:

- a JSON object is sent as it is, byte for byte;
- several in a row, which some models write and clients that join streamed calls wrongly make, are several inputs;
- an object that ends too early, alone or as the last of several, is closed after its last whole member;
- anything else, whether JSON or not, becomes the member `input` of an object, as a custom tool has it.

Invariant: for any text at least one JSON object, in time linear in the text's length; and `exact` only if the objects
are the text.

Decision: docs/decisions.md, D125.
"""

import json
import re
from typing import NamedTuple

import msgspec
from msgspec import Raw

from extproc.openai.limits import MAX_TOOL_CALLS

_SCAN = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)
"""Finds the end of a value; the decoded value is not used."""
_NO_SPACE = re.compile(r"[^ \t\r\n]")
_STRING = r'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+'
"""A string up to its closing quote."""
_TOKEN = re.compile(rf'[ \t\r\n]*+({_STRING}"|[-+.0-9A-Za-z]++|[{{}}\[\]:,])')
_REST = re.compile(rf"[ \t\r\n]*+(?:{_STRING}(?:\\(?:u[0-9a-fA-F]{{0,3}}+)?)?)?\Z")
"""The rest of a text that was cut off: nothing, or the beginning of a string."""
_LITERALS = ("true", "false", "null")
_DEEPEST = 500
"""Most levels of an object that is closed; no model writes that many, and each level takes time."""
_OPEN = {"{": "}", "[": "]"}


class PastArguments(NamedTuple):
    """The inputs of one call, usually one, and whether they are all of its arguments."""

    inputs: list[Raw]
    exact: bool


def read_arguments(arguments: str) -> PastArguments:
    """Return the inputs of one call; blank arguments are an empty object.

    There is at most one more than `MAX_TOOL_CALLS`: of more, the rest is not read.
    """
    arguments = arguments.strip() or "{}"
    whole = _object(arguments)
    if whole is not None:
        return PastArguments([whole], exact=True)
    return _in_a_row(arguments) or PastArguments([_as_input(arguments)], exact=False)


def _in_a_row(text: str) -> PastArguments | None:
    """Return the objects that follow one another in `text`; None if there is anything else."""
    inputs: list[Raw] = []
    start = 0
    while start < len(text) and len(inputs) <= MAX_TOOL_CALLS:
        try:
            _, end = _SCAN.raw_decode(text, start)
        except (ValueError, RecursionError):
            last = _closed(text, start)
            return None if last is None else PastArguments([*inputs, last], exact=False)
        value = _object(text[start:end])
        if value is None:
            return None
        inputs.append(value)
        following = _NO_SPACE.search(text, end)
        start = following.start() if following else len(text)
    return PastArguments(inputs, exact=True)


def _closed(text: str, start: int) -> Raw | None:
    """Return the object that begins at `start` without what follows its last whole member, and closed there.

    None if it has no whole member, or if the end of the text is not what is wrong with it.
    """
    opened: list[str] = []
    before, position = "", start
    end = depth = 0  # where the last whole member ends, and how many objects and arrays are open there
    while (token := _TOKEN.match(text, position)) is not None:
        position, mark = token.end(), token[1]
        if not _may_follow(mark, before, opened) or len(opened) > _DEEPEST:
            return None
        if mark in _OPEN:
            opened.append(mark)
        elif mark in ("}", "]"):
            opened.pop()
        if not opened:
            return None
        if mark in _OPEN or mark in (",", ":"):
            before = mark
        elif before in ("{", ",") and opened[-1] == "{" and mark[0] == '"':
            before = "key"
        elif position < len(text) or mark[0] in '"}]' or mark in _LITERALS:  # at the end a number may be cut
            before, end, depth = "value", position, len(opened)
    if not end or _REST.match(text, position) is None:
        return None
    return _object(text[start:end] + "".join(_OPEN[mark] for mark in reversed(opened[:depth])))


def _may_follow(mark: str, before: str, opened: list[str]) -> bool:
    """Return whether JSON may have the token `mark` here; `before` is the one before it, `key` or `value`."""
    if not opened:
        return mark == "{"
    inside = opened[-1]
    if mark == ":":
        return before == "key"
    if mark == ",":
        return before == "value"
    if mark in ("}", "]"):
        return mark == _OPEN[inside] and before in ("value", inside)
    if inside == "{" and before in ("{", ","):
        return mark[0] == '"'
    return before in (":", "[", ",")


def _as_input(text: str) -> Raw:
    """Return an object whose member `input` is the text, or the value that it is in JSON."""
    value = text.encode() if _is_json(text) else msgspec.json.encode(text)
    return Raw(b'{"input":' + value + b"}")


def _object(text: str) -> Raw | None:
    """Return `text`, byte for byte, if it is a JSON object."""
    return Raw(text.encode()) if text.startswith("{") and _is_json(text) else None


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text, type=Raw)
    except (msgspec.MsgspecError, RecursionError):
        return False
    return True
