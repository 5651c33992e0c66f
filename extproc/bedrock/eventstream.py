"""A decoder of AWS's binary event stream (`application/vnd.amazon.eventstream`), in which Bedrock streams responses.

A message, big-endian throughout:

    total length u32 | headers length u32 | CRC-32 of these 8 bytes | headers | payload | CRC-32 of all that

A header is a name (u8 length), a type (u8) and a value. The bytes of messages arrive cut and joined anywhere.

Invariant: for any bytes, `feed` returns messages or raises `EventStreamError`, never another exception; the same bytes
give the same messages however they are cut; and the buffer holds at most one incomplete message, of a length that is
known to be allowed.

Source: https://docs.aws.amazon.com/transcribe/latest/dg/event-stream.html (the format is the same for all
services); the limit of headers and their types as in botocore's eventstream.py.

Decision: docs/decisions.md, D294.
"""

import struct
from collections.abc import Mapping
from struct import Struct
from types import MappingProxyType
from typing import Final
from zlib import crc32

from extproc.value import Value

MAX_HEADERS: Final = 128 * 1024
MAX_PAYLOAD: Final = 8 * 1024 * 1024
"""Longest payload of a message, in bytes: as much as a whole response may have (botocore's limit is 24 MiB)."""
_CACHED_HEADERS: Final = 1024
"""Longest block of headers that is cached, in bytes: Bedrock's have 90, the same for every event of a type."""

_PRELUDE: Final = 12
"""Bytes before the headers."""
_CRC: Final = 4
"""Bytes of a checksum."""
_LENGTH = Struct(">H")
_NUMBERS = {2: Struct(">b"), 3: Struct(">h"), 4: Struct(">i"), 5: Struct(">q"), 8: Struct(">q")}
_TRUE, _FALSE, _BYTES, _STRING, _UUID = 0, 1, 6, 7, 9

HeaderValue = bool | int | str | bytes
"""Integers of any width and timestamps (milliseconds since 1970) are `int`, byte arrays and UUIDs `bytes`."""


class EventStreamError(Exception):
    """The bytes are not an event stream, or were damaged in transit."""


class Message(Value, frozen=True):
    """A message. Bedrock's headers are strings: `:message-type`, `:event-type` or `:exception-type`, …"""

    headers: Mapping[str, HeaderValue]
    payload: bytes


class Decoder:
    """A decoder of one stream: bytes in, messages out."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._needed = _PRELUDE
        self._failure: str | None = None

    @property
    def pending(self) -> int:
        """Return the number of bytes of an incomplete message; 0 at the end of a whole stream."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages that `data` completes.

        Raises `EventStreamError` for bytes that cannot be decoded: at once, or, if `data` has messages before them,
        from the next call, so that no message is lost. After an error, every further call raises it again.
        """
        if self._failure is not None:
            raise EventStreamError(self._failure)
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._needed:
                return []  # before any work: a large message in many small parts must not cost its length for each
            data = bytes(self._buffer)
            self._buffer.clear()
        return self._decode(data)

    def close(self) -> None:
        """End the stream. Raises `EventStreamError` after an error, and if the stream ends within a message."""
        if self._failure is not None:
            raise EventStreamError(self._failure)
        if self._buffer:
            raise EventStreamError(f"the stream ended within a message, after {len(self._buffer)} bytes of it")

    def _decode(self, data: bytes) -> list[Message]:
        messages: list[Message] = []
        start = 0
        try:
            while True:
                self._needed, headers = _lengths(data, start)
                if len(data) - start < self._needed:
                    break
                messages.append(_message(data, start, start + self._needed, headers))
                start += self._needed
        except EventStreamError as error:
            self._failure = str(error)
            if not messages:
                raise
        else:
            if start < len(data):
                self._buffer += data[start:]
        return messages


def _lengths(data: bytes, start: int) -> tuple[int, int]:
    """Return the total length of the message at `start` and of its headers; of the prelude until that is complete."""
    if len(data) - start < _PRELUDE:
        return _PRELUDE, 0
    if crc32(data[start : start + 8]) != _u32(data, start + 8):
        raise EventStreamError("the checksum of a prelude does not match")
    total, headers = _u32(data, start), _u32(data, start + 4)
    payload = total - headers - _PRELUDE - _CRC
    if headers > MAX_HEADERS or not 0 <= payload <= MAX_PAYLOAD:
        raise EventStreamError(f"impossible lengths: message {total}, headers {headers}")
    return total, headers


def _u32(data: bytes, at: int) -> int:
    """Return the number at `at`; compiled, this takes less than a `Struct`."""
    return data[at] << 24 | data[at + 1] << 16 | data[at + 2] << 8 | data[at + 3]


def _message(data: bytes, start: int, end: int, length: int) -> Message:
    """Decode the message between `start` and `end`, whose prelude has been checked, with headers of `length`."""
    headers_end = start + _PRELUDE + length
    head, payload = data[start:headers_end], data[headers_end : end - _CRC]
    if crc32(payload, crc32(head)) != _u32(data, end - _CRC):
        raise EventStreamError("the checksum of a message does not match")
    block = head[_PRELUDE:]
    headers = _known.get(block)
    if headers is None:
        headers = _headers(block)
        if len(_known) < _KNOWN_BLOCKS and length <= _CACHED_HEADERS:
            _known[block] = headers
    return Message(headers, payload)


def _headers(block: bytes) -> Mapping[str, HeaderValue]:
    """Decode a block of headers. The mapping is read-only, because messages share it."""
    headers: dict[str, HeaderValue] = {}
    at = 0
    try:
        while at < len(block):
            raw_name, at = _cut(block, at + 1, block[at])
            name = raw_name.decode()
            if name in headers:
                raise EventStreamError(f"header {name!r} is repeated")
            headers[name], at = _value(block, at)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise EventStreamError(f"malformed headers: {error}") from error
    return MappingProxyType(headers)


_KNOWN_BLOCKS: Final = 256
_known: Final[dict[bytes, Mapping[str, HeaderValue]]] = {}
"""Blocks of headers that have come before. `lru_cache` costs five times as much; types of events are few, and where
others fill this, blocks are decoded each time."""


def _value(block: bytes, at: int) -> tuple[HeaderValue, int]:
    """Decode the typed value at `at`; return it and its end."""
    kind = block[at]
    at += 1
    if number := _NUMBERS.get(kind):
        return int(number.unpack_from(block, at)[0]), at + number.size
    if kind in (_TRUE, _FALSE):
        return kind == _TRUE, at
    if kind == _UUID:
        return _cut(block, at, 16)
    if kind not in (_BYTES, _STRING):
        raise EventStreamError(f"unknown header type {kind}")
    value, end = _cut(block, at + _LENGTH.size, _LENGTH.unpack_from(block, at)[0])
    return (value.decode() if kind == _STRING else value), end


def _cut(block: bytes, start: int, length: int) -> tuple[bytes, int]:
    """Return `length` bytes from `start`, and their end."""
    end = start + length
    if end > len(block):
        raise EventStreamError(f"malformed headers: {end - len(block)} bytes are missing")
    return block[start:end], end
