"""gRPC over HTTP/2: messages in DATA frames, statuses in trailers.

A message is a flag (compressed or not), its length in four bytes, and itself; DATA frames cut such a sequence
anywhere. A call ends with the trailers `grpc-status` and `grpc-message`; one without messages ends with its
headers, and those hold both ("Trailers-Only").

Invariant: however the bytes are cut, `Messages` returns the same messages and the same error.

Decision: docs/decisions.md, D44.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Final

from extproc.payload import Payload, segments
from extproc.transport.http2 import fields
from extproc.transport.large import Message

PREFIX_BYTES: Final = 5

CONTENT_TYPE = "application/grpc"

_SMALL: Final = 16_384
"""Longest part, in bytes, that is copied behind its prefix."""


class Status(IntEnum):
    """Statuses that calls end with."""

    OK = 0
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


class CallError(Exception):
    """A call that cannot go on; it ends with this status, whose message is the exception's."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status


class Messages:
    """The messages of one call, of at most `limit` bytes each. One that comes in pieces is put together in place."""

    __slots__ = ("_limit", "_message", "_prefix", "missing")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._prefix = b""
        """Bytes of a prefix that is not whole yet."""
        self._message: bytearray | None = None
        """A message whose prefix is whole, and itself is not. It grows as bytes come."""
        self.missing = 0
        """Bytes that are missing of `_message`."""

    @property
    def partial(self) -> bool:
        """True within a message."""
        return self._message is not None or bool(self._prefix)

    def feed(self, data: bytes, into: list[Message]) -> None:
        """Append the messages that `data` completes to `into`. Raises `CallError`; those before are appended."""
        if self._message is not None:
            data = self._fill(self._message, data, into)
        elif self._prefix:
            data = self._prefix + data
            self._prefix = b""
        start, end = 0, len(data)
        while end - start >= PREFIX_BYTES:
            stop = start + PREFIX_BYTES + self._length(data, start)
            if stop > end:
                break
            into.append(data[start + PREFIX_BYTES : stop])
            start = stop
        if start < end:
            self._keep(data[start:])

    def _fill(self, message: bytearray, data: bytes, into: list[Message]) -> bytes:
        """Append `data` to the message; return what is still to be read."""
        missing = self.missing
        if len(data) < missing:
            message += data
            self.missing = missing - len(data)
            return b""
        message += data[:missing]
        self._message, self.missing = None, 0
        into.append(message)
        return data[missing:]

    def _length(self, data: bytes, start: int) -> int:
        """Return the length of the message whose prefix is at `start`."""
        if data[start]:
            raise CallError(Status.UNIMPLEMENTED, "compressed messages are not supported")
        length = data[start + 1] << 24 | data[start + 2] << 16 | data[start + 3] << 8 | data[start + 4]
        if length > self._limit:
            raise CallError(Status.RESOURCE_EXHAUSTED, f"a message of {length} bytes; the limit is {self._limit}")
        return length

    def _keep(self, rest: bytes) -> None:
        if len(rest) < PREFIX_BYTES:
            self._prefix = rest
            return
        self.missing = PREFIX_BYTES + self._length(rest, 0) - len(rest)
        self._message = bytearray(memoryview(rest)[PREFIX_BYTES:])


def prefix(length: int) -> bytes:
    """Encode the prefix of a message that is not compressed. Compiled, a `Struct` takes longer."""
    return length.to_bytes(PREFIX_BYTES, "big")


def framed(messages: Sequence[Payload]) -> Sequence[bytes | memoryview]:
    """Return the pieces of DATA for these messages, as few as possible without copying large ones."""
    if len(messages) == 1 and isinstance(message := messages[0], bytes) and len(message) <= _SMALL:
        return (prefix(len(message)) + message,)
    pieces: list[bytes | memoryview] = []
    small: list[bytes | memoryview] = []
    for message in messages:
        small.append(prefix(len(message)))
        for part in segments(message):
            if len(part) <= _SMALL:
                small.append(part)
            else:
                pieces += (b"".join(small), part)
                small = []
    if small:
        pieces.append(b"".join(small))
    return pieces


HEAD = fields.block((":status", "200"), ("content-type", CONTENT_TYPE))
"""The headers of every response."""

OK_TRAILERS = fields.block(("grpc-status", "0"))

NOT_GRPC = fields.block((":status", "415"))
NOT_POST = fields.block((":status", "405"), ("allow", "POST"))


def trailers(status: Status, message: str) -> bytes:
    """Encode the block that ends a call."""
    if status is Status.OK:
        return OK_TRAILERS
    encodings = (("grpc-accept-encoding", "identity"),) if status is Status.UNIMPLEMENTED else ()
    return fields.block(("grpc-status", str(int(status))), ("grpc-message", percent_encoded(message)), *encodings)


def percent_encoded(message: str) -> str:
    """Return `message` as `grpc-message` has it: what is not printable, and `%`, as `%XX` of its UTF-8 bytes."""
    return "".join(
        chr(byte) if 0x20 <= byte <= 0x7E and byte != 0x25 else f"%{byte:02X}"
        for byte in message.encode("utf-8", "replace")
    )
