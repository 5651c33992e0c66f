"""Other names for the members of JSON objects, in a text that comes in pieces: a tool call's arguments.

Names of properties that Bedrock does not take go out replaced (`translate/property_names`), and are put back in calls.
Everything but the names stays byte for byte. A name is held back until it is complete, or longer than all that have
another and than `_SHORT_NAME`; values are passed on at once.

A text that is no JSON is passed on as well; what is between quotes where a name could be is one.

Invariant: the pieces of a text, however it is cut, become the same text.

Decision: docs/decisions.md, D323.
"""

import re
from collections.abc import Mapping

import msgspec

_OUTSIDE = re.compile(r'[^"{}\[\],]*')
_INSIDE = re.compile(r'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
"""Possessive: otherwise `re` keeps 120 bytes for each escape, a gigabyte for the longest request."""
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_COLON = rb"[ \t\r\n]*+:"
_NEXT_NAME = re.compile(rb'[^"]*+(?:%b(?!%b)[^"]*+)*+(%b)(?=%b)' % (_STRING, _COLON, _STRING, _COLON), re.DOTALL)
"""The next string in front of a colon in a text that is JSON, and all before it."""
_MOST_KNOWN, _SHORT_KNOWN = 1_024, 128
"""Names of a whole text that are looked up once, and the bytes that one may have."""
_LONG_NAME = 65_536
"""Bytes of a name that is not looked up if it is longer than all that have another."""
_LONGEST_ESCAPE = 12
"""Characters of a character that JSON escapes, two surrogates at most."""
_SHORT_NAME = 1_024
"""Characters of a name that is held back whatever the names are: their length is not asked for each short text."""
_MOST_LEVELS = 1_000
"""Levels of nested objects and arrays that are kept apart; beyond them nothing is replaced."""
_MOST_MARKS = 100_000
"""Strings, brackets and commas that are read, at about 1 µs each; behind them nothing is replaced."""


class Renamer:
    """Replaces the names of members in one text."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self._levels: list[str] = []
        self._lost = False
        self._marks = 0
        self._name_is_due = False
        self._inside = ""
        """`name` or `value` within a string."""
        self._held: list[str] = []
        """The pieces of a name that has not ended."""
        self._held_length = 0
        self._longest = 0
        """Most characters of a name that is replaced, as JSON may write it; found out once a name is long."""
        self._escape = ""
        """A backslash at the end of a piece."""

    def feed(self, piece: str) -> str:
        """Return what can be passed on once `piece` has come."""
        text, self._escape = self._escape + piece, ""
        written: list[str] = []
        at = 0
        while at < len(text):
            if self._inside:
                at = self._string(text, at, written)
            elif self._marks < _MOST_MARKS:
                at = self._structure(text, at, written)
            else:
                written.append(text[at:])
                break
        return "".join(written)

    def end(self) -> str:
        """Return the rest of a text that ends within a name."""
        rest = "".join(self._held) + self._escape
        self._held, self._escape = [], ""
        return rest

    def _structure(self, text: str, at: int, written: list[str]) -> int:
        """Read up to the next quote, bracket or comma outside of strings, and that."""
        match = _OUTSIDE.match(text, at)
        end = match.end() if match else at
        written.append(text[at:end])
        if end == len(text):
            return end
        mark = text[end]
        self._marks += 1
        if mark == '"':
            self._inside = "name" if self._name_is_due else "value"
        if self._inside == "name":
            self._held.append(mark)
        else:
            written.append(mark)
        self._place(mark)
        return end + 1

    def _place(self, mark: str) -> None:
        """Note whether a name is due after a quote, bracket or comma."""
        if mark in "{[" and not self._lost:
            self._levels.append(mark)
            self._lost = len(self._levels) > _MOST_LEVELS
        elif mark in "}]" and self._levels:
            self._levels.pop()
        in_object = bool(self._levels) and self._levels[-1] == "{" and not self._lost
        self._name_is_due = in_object and mark in "{,"

    def _string(self, text: str, at: int, written: list[str]) -> int:
        """Read up to the end of the string, and its quote."""
        match = _INSIDE.match(text, at)
        end = match.end() if match else at
        if self._inside == "name":
            self._hold(text[at:end], written)
        else:
            written.append(text[at:end])
        if end == len(text):
            return end
        if text[end] == "\\":  # the only character that is left: the piece ends within an escape
            self._escape = text[end]
            return len(text)
        if self._inside == "name":
            written.append(self._renamed("".join(self._held) + '"'))
            self._held, self._held_length = [], 0
        else:
            written.append('"')
        self._inside = ""
        return end + 1

    def _hold(self, piece: str, written: list[str]) -> None:
        """Hold a piece of a name; one that is too long to be replaced is passed on like a value."""
        self._held.append(piece)
        self._held_length += len(piece)
        if self._held_length > _SHORT_NAME and self._held_length > self._longest_name():
            written += self._held
            self._held, self._held_length = [], 0
            self._inside = "value"

    def _longest_name(self) -> int:
        if not self._longest:
            self._longest = _LONGEST_ESCAPE * max(map(len, self._names), default=0)
        return self._longest

    def _renamed(self, quoted: str) -> str:
        name = _decoded(quoted) if "\\" in quoted else quoted[1:-1]
        replacement = self._names.get(name)
        return quoted if replacement is None else msgspec.json.encode(replacement).decode()


def _decoded(quoted: str) -> str:
    try:
        return msgspec.json.decode(quoted, type=str)
    except (msgspec.MsgspecError, UnicodeEncodeError):
        return quoted


def renamed(text: str, names: Mapping[str, str]) -> str:
    """Return a whole text with other names."""
    if not names:
        return text
    renamer = Renamer(names)
    return renamer.feed(text) + renamer.end()


def renamed_json(text: bytes, names: Mapping[str, str]) -> bytes:
    """Return whole JSON in UTF-8 with other names: a string in front of a colon is one.

    It takes no step of Python's but for names, of which a request may have a million, and stays in UTF-8: one character
    of four bytes makes a `str` of it, and each copy, four times as long.
    """
    written = bytearray()
    known: dict[bytes, bytes] = {}
    at = copied = 0
    while (found := _NEXT_NAME.match(text, at)) is not None:
        at, quoted = found.end(), found[1]
        other = known.get(quoted)
        if other is None:
            other = _other(quoted, names)
            if len(known) < _MOST_KNOWN and len(quoted) <= _SHORT_KNOWN:
                known[quoted] = other
        if other != quoted:
            written += text[copied : at - len(quoted)]
            written += other
            copied = at
    written += text[copied:]
    return bytes(written)


def _other(quoted: bytes, names: Mapping[str, str]) -> bytes:
    """Return the other name for a quoted one, quoted; itself where it has none."""
    if len(quoted) > _LONG_NAME and len(quoted) > _LONGEST_ESCAPE * max(map(len, names), default=0):
        return quoted
    name = _decoded(quoted.decode()) if b"\\" in quoted else quoted[1:-1].decode()
    replacement = names.get(name)
    return quoted if replacement is None else msgspec.json.encode(replacement)
