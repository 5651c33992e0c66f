"""Encoding `application/vnd.amazon.eventstream`, big-endian, with string headers only.

    u32 total length | u32 headers length | u32 CRC of these 8 bytes | headers | payload | u32 CRC of all before it

Both checksums are CRC-32 as in zlib. A header is `u8 name length, name, u8 type 7, u16 value length, value`.
Source: the Amazon Event Stream specification (Smithy); botocore's parser is the oracle in the tests.
"""

import struct
import zlib
from collections.abc import Iterable

_STRING = 7
_OVERHEAD = 16


def encode(headers: Iterable[tuple[str, str]], payload: bytes) -> bytes:
    """Encode one message. Headers keep their order, which readers must not rely on."""
    block = b"".join(_header(name.encode(), value.encode()) for name, value in headers)
    prelude = struct.pack("!II", _OVERHEAD + len(block) + len(payload), len(block))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + block + payload
    return message + struct.pack("!I", zlib.crc32(message))


def corrupted(message: bytes) -> bytes:
    """Return the message with a wrong checksum."""
    return message[:-1] + bytes([message[-1] ^ 0xFF])


def _header(name: bytes, value: bytes) -> bytes:
    return struct.pack("!B", len(name)) + name + struct.pack("!BH", _STRING, len(value)) + value
