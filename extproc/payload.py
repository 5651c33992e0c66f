"""Bytes in segments: large values go out from the memory that they came in, and are not copied on the way.

Invariant: the segments in their order are the whole, and nobody changes them.

Decision: docs/decisions.md, D47.
"""

from collections.abc import Sequence
from typing import Final

LARGE: Final = 16_384
"""Smallest part, in bytes, that is not copied behind the bytes before it."""


class Segments:
    """Bytes that are not contiguous. `len()` is their length; `bytes()` joins them."""

    __slots__ = ("_length", "parts")

    def __init__(self, parts: Sequence[bytes | memoryview]) -> None:
        self.parts = tuple(parts)
        self._length = sum(map(len, self.parts))

    def __len__(self) -> int:
        return self._length

    def __bytes__(self) -> bytes:
        return b"".join(self.parts)


Payload = bytes | Segments
"""A body: contiguous, unless that would be a copy of something large."""


def segments(payload: Payload) -> Sequence[bytes | memoryview]:
    """Return the segments of a payload: one if it is contiguous."""
    return payload.parts if isinstance(payload, Segments) else (payload,)


def joined(payloads: Sequence[Payload]) -> Payload:
    """Return these payloads as one: in segments if one of them is, and otherwise copied."""
    for payload in payloads:
        if type(payload) is Segments:
            return Segments([part for each in payloads for part in segments(each)])
    return b"".join(payloads)  # type: ignore[arg-type]  # none of them is Segments
