"""Lazy decoding of the URL or base64 in a media part, which may be as long as the whole request.

Invariant: an escape, a line break or a fault changes only the time that decoding takes. A string that is not clean
base64 is decoded like any other string, and checked afterwards.
"""

import re
from typing import NamedTuple

from msgspec import Raw

from extproc.bedrock.converse import MediaSource, Verbatim
from extproc.openai.decoding import decode_at

LONG = 16_384
"""Least characters of base64 that are referred to in place, which keeps the client's whole body; less is copied."""

_HEAD = re.compile(rb"data:[ !#-+\--\[\]-~]{0,255},", re.IGNORECASE)
"""The part of a `data:` URL before its base64, without quotes, backslashes or commas."""
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_CHUNK = 65_536
_QUOTE = ord('"')


class LazyBase64(NamedTuple):
    """A text and, if any, the base64 that follows it: checked, but neither decoded nor copied."""

    text: str
    base64: memoryview | None = None


def decode_string(raw: Raw, path: str) -> LazyBase64:
    """Decode the JSON string `raw`. Raises a 400 `ApiError` at `path` if it is no string."""
    whole = memoryview(raw)
    split = _split(whole[1:-1]) if whole[0] == _QUOTE else None
    if split is not None:
        return split
    text = decode_at(raw, str, path)
    if text.isascii() and len(text) != len(whole) - 2:  # it has escapes
        split = _split(memoryview(text.encode()))
    return split or LazyBase64(text)


def source(base64: memoryview) -> MediaSource:
    """Return checked base64 as Bedrock's media source."""
    return MediaSource(Verbatim(base64) if len(base64) >= LONG else str(base64, "ascii"))


def _split(characters: memoryview) -> LazyBase64 | None:
    """Split off the base64. Returns None if `characters` are neither base64 nor a `data:` URL with it."""
    head = _HEAD.match(characters)
    start = head.end() if head else 0
    base64 = characters[start:]
    return LazyBase64(str(characters[:start], "ascii"), base64) if _is_base64(base64) else None


def _is_base64(characters: memoryview) -> bool:
    """Return whether strict decoding accepts the characters. Checks them in pieces that fit a CPU's cache."""
    if not characters or len(characters) % 4:
        return False
    last = bytes(characters[-2:])
    data = characters[: len(characters) - len(last) + len(last.rstrip(b"="))]
    return not any(
        bytes(data[start : start + _CHUNK]).translate(None, _ALPHABET) for start in range(0, len(data), _CHUNK)
    )
