"""Protobuf's wire format, as much of it as responses to Envoy need: fields of bytes, one inside the other.

The messages that are sent for every request are written by hand, because header mutations and metadata are most of
what transport does for a request, and most of them are the same again and again. Parsing, and rare messages, are
left to protobuf. The tests parse with protobuf what this module writes.

A tag is a field's number and its wire type, in one byte: every field has a number below 16.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5
"""Wire types."""

_SMALL: Final = tuple(bytes([number]) for number in range(128))
_MORE: Final = tuple(bytes([number | 0x80]) for number in range(128))
"""Seven bits of a number, after which there are more."""


def tag(number: int, kind: int = BYTES) -> bytes:
    """Return a field's tag."""
    return _SMALL[number << 3 | kind]


def varint(number: int) -> bytes:
    """Encode a number from 0 on."""
    if number < 128:
        return _SMALL[number]
    out = b""
    while number >= 128:
        out += _MORE[number & 0x7F]
        number >>= 7
    return out + _SMALL[number]


def read_varint(message: bytes, at: int) -> tuple[int, int]:
    """Return the number at `at` and the index after it. Raises `IndexError` if it does not end within four bytes."""
    number = shift = 0
    while shift < 28:
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
    raise IndexError("a number of more than four bytes")


def field(before: bytes, data: bytes) -> bytes:
    """Encode a field of bytes, text or a message; `before` is its tag."""
    return before + varint(len(data)) + data


def heads(tags: tuple[bytes, ...], size: int) -> bytes:
    """Encode tags and lengths before `size` bytes in a field within a field within…; the outermost tag comes first."""
    out = b""
    for before in reversed(tags):
        out = before + varint(size + len(out)) + out
    return out


def nested(tags: tuple[bytes, ...], *parts: bytes) -> bytes:
    """Encode a field within a field within…, and in the innermost these parts, each of which is copied once."""
    size = 0
    for part in parts:
        size += len(part)
    return b"".join((heads(tags, size), *parts))


def names(before: bytes, texts: Iterable[str]) -> bytes:
    """Encode a repeated field of texts."""
    return b"".join([field(before, text.encode()) for text in texts])


@lru_cache(maxsize=256)
def own_name(before: bytes, text: str) -> bytes:
    """Encode a field with a name of the gateway's own, of which there are dozens. Not for names that others choose."""
    return field(before, text.encode())
