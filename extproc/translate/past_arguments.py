"""The arguments of earlier tool calls -> the JSON objects that Bedrock requires.

Arguments are a text that a model wrote, and "the model does not always generate valid JSON" (OpenAI's reference): one
that was cut off by the limit of tokens comes back in every later request of its conversation. So none is rejected:

- a JSON object is sent as it is, byte for byte;
- several in a row, which some models write and clients that join streamed calls wrongly make, are several inputs;
- an object that ends too early, alone or as the last of several, is closed after its last whole member;
- anything else, whether JSON or not, becomes the member `input` of an object, as a custom tool has it.

Invariant: for any text at least one JSON object, in time linear in the text's length; and `exact` only if the objects
are the text.

Decisions: docs/decisions.md, D125, D323.
"""

import re
from typing import NamedTuple

import msgspec
from msgspec import Raw

from extproc.openai.limits import MAX_TOOL_CALLS

_TRAILING = re.compile(r"trailing characters \(byte ([0-9]+)\)")
"""msgspec's message for a value that something else follows, of which the first byte is counted from 1."""
_BLANKS = " \t\r\n"
_STRING = r'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+'
"""A string up to its closing quote."""
_TOKEN = re.compile(rf'[ \t\r\n]*+({_STRING}"|[-+.0-9A-Za-z]++|[{{}}\[\]:,])')
_REST = re.compile(rf"[ \t\r\n]*+(?:{_STRING}(?:\\(?:u[0-9a-fA-F]{{0,3}}+)?)?)?\Z")
"""The rest of a text that was cut off: nothing, or the beginning of a string."""
_LITERALS = ("true", "false", "null")
_DEEPEST = 500
"""Most levels of an object that is closed; no model writes that many, and each level takes time."""
_OPEN = {"{": "}", "[": "]"}
_NO_BRACKETS = bytes(set(range(256)) - set(b"{}[]"))
_FLAT = 4
"""Levels of objects and arrays, from the innermost, that are taken out of a text at once."""


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
    data = memoryview(text.encode())
    inputs: list[Raw] = []
    start = 0
    while start < len(data) and len(inputs) <= MAX_TOOL_CALLS:
        size = _length(data[start:])
        if size is None:
            last = _closed(text, len(str(data[:start], "utf-8")))
            return None if last is None else PastArguments([*inputs, last], exact=False)
        value = _object(str(data[start : start + size], "utf-8").rstrip(_BLANKS))
        if value is None:
            return None
        inputs.append(value)
        start += size
    return PastArguments(inputs, exact=True)


def _length(data: memoryview) -> int | None:
    """Return the length of the JSON value at the beginning of `data`, with the blanks behind it; None without one."""
    try:
        msgspec.json.decode(data, type=Raw)
    except msgspec.MsgspecError as error:
        trailing = _TRAILING.search(str(error))
        return int(trailing[1]) - 1 if trailing else None
    except RecursionError:
        return None
    return len(data)


def _closed(text: str, start: int) -> Raw | None:
    """Return the object that begins at `start` without what follows its last whole member, and closed there.

    None if it has no whole member, or if the end of the text is not what is wrong with it. Only what follows the last
    comma is read token by token: what is before it is whole, or no JSON, which shows once the object is closed.
    """
    outside, comma = _before_last_comma(text, start)
    opened = _unclosed(outside)
    if opened is None or (comma >= 0 and not opened):
        return None
    end = _last_whole(text, start, comma, opened)
    whole = text[start:end].rstrip(_BLANKS)
    if not end or whole[-1] in _OPEN:  # a comma in the place of a first member
        return None
    return _object(whole + "".join(_OPEN[mark] for mark in reversed(opened)))


def _last_whole(text: str, start: int, comma: int, opened: list[str]) -> int:
    """Return where the last whole member of an object ends that is cut off; 0 if none is, or if it is no JSON.

    `opened` are the objects and arrays that are open at the comma, and then those at that end.
    """
    before, position, end = ("", start, 0) if comma < 0 else (",", comma + 1, comma)
    depth = len(opened)
    while (token := _TOKEN.match(text, position)) is not None:
        position, mark = token.end(), token[1]
        if not _may_follow(mark, before, opened) or len(opened) > _DEEPEST:
            return 0
        if mark in _OPEN:
            opened.append(mark)
        elif mark in ("}", "]"):
            opened.pop()
        if not opened:
            return 0
        if mark in _OPEN or mark in (",", ":"):
            before = mark
        elif before in ("{", ",") and opened[-1] == "{" and mark[0] == '"':
            before = "key"
        elif position < len(text) or mark[0] in '"}]' or mark in _LITERALS:  # at the end a number may be cut
            before, end, depth = "value", position, len(opened)
    del opened[depth:]
    return 0 if _REST.match(text, position) is None else end


def _before_last_comma(text: str, start: int) -> tuple[str, int]:
    """Return what is outside of strings before the last comma of a JSON text, and where that comma is.

    An empty text and -1 without one. It takes no step of Python's for each token, of which a text may have a million.
    """
    parts = text[start:].replace("\\\\", "  ").replace('\\"', "  ").split('"')
    for at in range((len(parts) - 1) // 2 * 2, -1, -2):  # every second part is inside a string
        comma = parts[at].rfind(",")
        if comma >= 0:
            following = sum(map(len, parts[at:])) + len(parts) - 1 - at
            return "".join(parts[:at:2]) + parts[at][:comma], len(text) - following + comma
    return "", -1


def _unclosed(outside: str) -> list[str] | None:
    """Return the brackets that are open at the end of a JSON text without strings; None if one is closed by another."""
    brackets = outside.encode().translate(None, _NO_BRACKETS)
    for _ in range(_FLAT):
        brackets = brackets.replace(b"{}", b"").replace(b"[]", b"")
    opened: list[str] = []
    for mark in brackets.decode():
        if mark in _OPEN:
            opened.append(mark)
        elif not opened or _OPEN[opened.pop()] != mark:
            return None
    return opened


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
