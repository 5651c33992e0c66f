"""Bytes in pieces: what is large among them goes out from where it came in, and is copied into nothing on the way.

Invariant: the pieces in their order are the whole, and nobody changes them.
"""

from collections.abc import Sequence


class Pieces:
    """Bytes that do not lie in a row. Its length is theirs; `bytes()` puts them together."""

    __slots__ = ("_length", "parts")

    def __init__(self, parts: Sequence[bytes | memoryview]) -> None:
        self.parts = tuple(parts)
        self._length = sum(map(len, self.parts))

    def __len__(self) -> int:
        return self._length

    def __bytes__(self) -> bytes:
        return b"".join(self.parts)


Payload = bytes | Pieces
"""What is sent: in one piece, unless that would be a copy of something large."""


def parts(payload: Payload) -> Sequence[bytes | memoryview]:
    """Its pieces, of which there may be but one."""
    return payload.parts if isinstance(payload, Pieces) else (payload,)
