"""gRPC over HTTP/2: messages in DATA frames, statuses in trailers.

A message is a flag (compressed or not), its length in four bytes, and itself; DATA frames cut such a sequence
anywhere. A call ends with the trailers `grpc-status` and `grpc-message`; one that says nothing else ends with its
headers, and those hold both ("trailers-only").

Invariant: however the bytes are cut, `Messages` gives the same messages and the same fault.
"""

import struct
from collections.abc import Sequence
from enum import IntEnum

from extproc.transport.http2 import fields

PREFIX = struct.Struct(">BL")
PREFIX_BYTES = 5

CONTENT_TYPE = "application/grpc"

_SMALL = 16_384
"""A message of up to so many bytes is copied behind its prefix; a larger one is not worth copying."""


class Status(IntEnum):
    """The statuses that we end calls with."""

    OK = 0
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


class CallError(Exception):
    """The call cannot go on; it ends with this status, whose message is the exception's."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status


class Messages:
    """The messages of one call, of at most `limit` bytes each."""

    __slots__ = ("_limit", "_missing", "_parts", "_prefixed")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] | None = None
        """What is there of a message that is not whole yet: of its prefix, or once that is whole, of itself."""
        self._prefixed = False
        self._missing = 0
        """So many bytes more until something can be done: the prefix is whole, or the message is."""

    @property
    def partial(self) -> bool:
        """It stands within a message."""
        return self._parts is not None

    def feed(self, data: bytes, into: list[bytes]) -> None:
        """Append the messages that `data` completes to `into`. Raises `CallError`; those before are appended."""
        if self._parts is not None:
            if len(data) < self._missing:
                self._parts.append(data)
                self._missing -= len(data)
                return
            data = self._complete(self._parts, data, into)
        start, end = 0, len(data)
        while end - start >= PREFIX_BYTES:
            stop = start + PREFIX_BYTES + self._length(data, start)
            if stop > end:
                break
            into.append(data[start + PREFIX_BYTES : stop])
            start = stop
        if start < end:
            self._keep(data[start:])

    def _complete(self, parts: list[bytes], data: bytes, into: list[bytes]) -> bytes:
        """Put together what was waited for; gives what is still to be read. A message is copied once."""
        self._parts = None
        if not self._prefixed:
            return b"".join((*parts, data))
        parts.append(data[: self._missing])
        into.append(b"".join(parts))
        return data[self._missing :]

    def _length(self, data: bytes, start: int) -> int:
        compressed, length = PREFIX.unpack_from(data, start)
        if compressed:
            raise CallError(Status.UNIMPLEMENTED, "compressed messages are not understood")
        if length > self._limit:
            raise CallError(Status.RESOURCE_EXHAUSTED, f"a message of {length} bytes; at most {self._limit} are taken")
        return int(length)

    def _keep(self, rest: bytes) -> None:
        self._prefixed = len(rest) >= PREFIX_BYTES
        if self._prefixed:
            self._missing = PREFIX_BYTES + self._length(rest, 0) - len(rest)
            self._parts = [rest[PREFIX_BYTES:]]
        else:
            self._missing = PREFIX_BYTES - len(rest)
            self._parts = [rest]


def framed(messages: Sequence[bytes]) -> list[bytes]:
    """The pieces of DATA that these make, as few as can be had without copying what is large."""
    if len(messages) == 1 and len(messages[0]) <= _SMALL:
        return [PREFIX.pack(0, len(messages[0])) + messages[0]]
    pieces: list[bytes] = []
    small: list[bytes] = []
    for message in messages:
        small.append(PREFIX.pack(0, len(message)))
        if len(message) <= _SMALL:
            small.append(message)
        else:
            pieces += (b"".join(small), message)
            small = []
    if small:
        pieces.append(b"".join(small))
    return pieces


HEAD = fields.block((":status", "200"), ("content-type", CONTENT_TYPE))
"""The headers of every answer."""

OK_TRAILERS = fields.block(("grpc-status", "0"))

NOT_GRPC = fields.block((":status", "415"))
NOT_POST = fields.block((":status", "405"), ("allow", "POST"))


def trailers(status: Status, message: str) -> bytes:
    """The block that ends a call."""
    if status is Status.OK:
        return OK_TRAILERS
    encodings = (("grpc-accept-encoding", "identity"),) if status is Status.UNIMPLEMENTED else ()
    return fields.block(("grpc-status", str(int(status))), ("grpc-message", percent_encoded(message)), *encodings)


def percent_encoded(message: str) -> str:
    """`message` in ASCII, as `grpc-message` has it: what is not printable, and `%`, as `%XX` of its UTF-8 bytes."""
    return "".join(
        chr(byte) if 0x20 <= byte <= 0x7E and byte != 0x25 else f"%{byte:02X}"
        for byte in message.encode("utf-8", "replace")
    )
