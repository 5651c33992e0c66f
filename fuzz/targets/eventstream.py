"""The decoder of event streams (extproc.bedrock.eventstream).

Invariant: whatever bytes come, `feed` gives messages or raises `EventStreamError`, never another exception; the same
bytes give the same messages however they are cut; and what is kept is never more than one unfinished message.

Oracle: botocore's `EventStreamBuffer`. Messages of a stream that is taken whole are botocore's; a stream whose
checksums or lengths botocore rejects is rejected.

The first byte of an input selects how the rest is read: as it is, or as headers and payloads to be framed with right
lengths and checksums, since mutation finds no CRC-32.
"""

import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

from botocore.eventstream import ChecksumMismatch, EventStreamBuffer, ParserError

from extproc.bedrock.eventstream import Decoder, EventStreamError
from fuzz.targets.reading import Choices, single_bytes

WORDS = (
    b":message-type\x07\x00\x05event",
    b":message-type\x07\x00\x09exception",
    b":event-type\x07",
    b":exception-type\x07",
    b":content-type\x07\x00\x10application/json",
    b"\x00\x00\x00\x10\x00\x00\x00\x00",
)

Messages = list[tuple[dict[str, object], bytes]]


def check(data: bytes) -> None:
    """Decode at once and byte by byte, and compare with botocore."""
    stream = data[1:] if data[:1] < b"\x80" else framed(data[1:])
    whole, failed = _decoded([stream])
    assert _decoded(single_bytes(stream)) == (whole, failed), "whole and byte by byte differ"
    theirs, rejected = _of_botocore(stream)
    if not failed:
        assert not rejected, "botocore rejects what was taken"
        assert whole == theirs, "botocore reads other messages"
    else:
        assert whole == theirs[: len(whole)], "botocore reads other messages before the fault"


def framed(data: bytes) -> bytes:
    """Return a stream of messages with right checksums; one in eight gets a wrong length or checksum."""
    choices, stream = Choices(data), b""
    while choices.left:
        damage, headers, payload = choices.byte(), choices.piece(), choices.piece()
        message = bytearray(_message(headers, payload))
        if damage % 8 == 7:
            message[damage // 8 % len(message)] ^= 1 << damage % 3
        stream += message
    return stream


def seeds() -> Iterator[bytes]:
    """Yield a complete response, an exception, and a message with each type of header, as they are and to be framed."""
    events = [
        ("messageStart", {"role": "assistant"}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hi"}}),
        ("messageStop", {"stopReason": "end_turn"}),
        ("metadata", {"usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}}),
    ]
    parts = [(_headers("event", kind), json.dumps(value).encode()) for kind, value in events]
    parts.append((_headers("exception", "throttlingException"), b'{"message":"slow down"}'))
    typed = [b"\x00", b"\x01", b"\x02a", b"\x03ab", b"\x04abcd", b"\x05abcdefgh", b"\x08abcdefgh", b"\x09" + bytes(16)]
    every_type = b"".join(b"\x01" + bytes([97 + at]) + value for at, value in enumerate(typed))
    parts.append((every_type + b"\x01y\x06\x00\x02ab\x01z\x07\x00\x02ab", b""))
    yield b"\x00" + b"".join(_message(*part) for part in parts)
    for headers, payload in parts:
        yield b"\x00" + _message(headers, payload)
        yield b"\x80\x00" + bytes([len(headers)]) + headers + bytes([len(payload)]) + payload
    yield b"\x80\x00" + b"\x02\x00a" + b"\x00"
    yield b""


def _message(headers: bytes, payload: bytes) -> bytes:
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    body = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return body + struct.pack(">I", zlib.crc32(body))


def _headers(message: str, kind: str) -> bytes:
    values = {":message-type": message, f":{message}-type": kind, ":content-type": "application/json"}
    return b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for name, value in values.items()
    )


def _decoded(pieces: list[bytes]) -> tuple[Messages, bool]:
    """Return the messages and whether a fault follows them. Twice 0 bytes are fed too: the next call raises a fault."""
    decoder, messages = Decoder(), Messages()
    try:
        for piece in [*pieces, b""]:
            before = decoder.pending
            messages += [(dict(message.headers), message.payload) for message in decoder.feed(piece)]
            assert decoder.pending <= before + len(piece), "more is kept than came"
    except EventStreamError:
        return messages, True
    return messages, False


def _of_botocore(stream: bytes) -> tuple[Messages, bool]:
    """Return botocore's messages, and whether it rejects what follows them.

    Botocore parses header names and values with plain struct and decode calls, whose errors come out of it as they are.
    """
    messages = Messages()
    buffer: Any = EventStreamBuffer()
    buffer.add_data(stream)
    try:
        messages.extend((message.headers, message.payload) for message in buffer)
    except (ParserError, ChecksumMismatch, UnicodeDecodeError, struct.error, KeyError, IndexError):
        return messages, True
    return messages, False
