"""What a part brings, a URL or base64, read only as far as it must be: it may be as long as a request may be.

Invariant: an escape, a line break or a fault makes no difference but time: what is not base64 as it stands is decoded
as any other string is, and judged then.
"""

import re
from typing import NamedTuple

from msgspec import Raw

from extproc.bedrock.converse import MediaSource, Verbatim
from extproc.openai.decoding import decode_at

LONG = 16_384
"""Characters from which on base64 stays where it is, and holds the client's whole body; what is shorter is copied."""

_HEAD = re.compile(rb"data:[ !#-+\--\[\]-~]{0,255},", re.IGNORECASE)
"""What stands before the base64 of a `data:` URL: no quotes, backslashes or commas."""
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_CHUNK = 65_536
_QUOTE = ord('"')


class LazyBase64(NamedTuple):
    """A text, and the base64 that follows it as it came, if it does: checked, neither decoded nor copied."""

    text: str
    base64: memoryview | None = None


def decode_string(raw: Raw, path: str) -> LazyBase64:
    """The string that `raw` is; `path` is where it stands, for the 400 `ApiError` where it is none."""
    whole = memoryview(raw)
    found = _taken_apart(whole[1:-1]) if whole[0] == _QUOTE else None
    if found is not None:
        return found
    text = decode_at(raw, str, path)
    if text.isascii() and len(text) != len(whole) - 2:  # it has escapes
        found = _taken_apart(memoryview(text.encode()))
    return found or LazyBase64(text)


def source(base64: memoryview) -> MediaSource:
    """Base64 that has been checked, for Bedrock."""
    return MediaSource(Verbatim(base64) if len(base64) >= LONG else str(base64, "ascii"))


def _taken_apart(characters: memoryview) -> LazyBase64 | None:
    """If they are base64, or a `data:` URL with it."""
    head = _HEAD.match(characters)
    start = head.end() if head else 0
    base64 = characters[start:]
    return LazyBase64(str(characters[:start], "ascii"), base64) if _is_base64(base64) else None


def _is_base64(characters: memoryview) -> bool:
    """Whether they are some base64 that strict decoding takes: it is looked at in pieces that fit a CPU's cache."""
    if not characters or len(characters) % 4:
        return False
    last = bytes(characters[-2:])
    data = characters[: len(characters) - len(last) + len(last.rstrip(b"="))]
    return not any(
        bytes(data[start : start + _CHUNK]).translate(None, _ALPHABET) for start in range(0, len(data), _CHUNK)
    )
