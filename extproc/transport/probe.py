"""A health check of a worker on a unix socket, without grpcio: for `up`, which forks.

grpcio's threads and a fork do not go together, and one call of gRPC's health protocol is little. The response comes
from the worker's event loop: a worker that is stuck sends none, although its socket takes the connection.

Invariant: `responds` returns within `seconds`, and True only if a health status came.
"""

import asyncio
import contextlib

from extproc.transport.health_protocol import HEALTH, NOT_SERVING, SERVING
from extproc.transport.http2.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADER_BYTES,
    HEADERS,
    PREFACE,
    frame,
    settings,
)

_EMPTY = b"\x00" + bytes(4)
"""A gRPC message without content: not compressed, of length 0."""

_STATUSES = [b"\x00" + len(status).to_bytes(4) + status for status in (SERVING, NOT_SERVING)]

_LONGEST_FRAME = 64 * 1024


def _text(value: str) -> bytes:
    """Encode a string of HPACK (RFC 7541, section 5.2), shorter than 127 bytes."""
    return bytes([len(value)]) + value.encode()


_FIELDS = b"".join(
    (
        b"\x83\x86",  # :method POST, :scheme http
        b"\x04" + _text(f"/{HEALTH}/Check"),  # :path
        b"\x01" + _text("localhost"),  # :authority
        b"\x0f\x10" + _text("application/grpc"),  # content-type
        b"\x00" + _text("te") + _text("trailers"),
    )
)

_CALL = b"".join(
    (PREFACE, settings({}), frame(HEADERS, END_HEADERS, 1, _FIELDS), frame(DATA, END_STREAM, 1, _EMPTY)),
)


async def responds(path: str, seconds: float) -> bool:
    """Return whether the worker at this socket sends a health status, SERVING or not, within `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                writer.write(_CALL)
                return await _status(reader) in _STATUSES
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False


async def _status(reader: asyncio.StreamReader) -> bytes:
    """Return the content of the first DATA frame; empty if the peer does not speak HTTP/2."""
    while True:
        header = await reader.readexactly(HEADER_BYTES)
        length, kind = int.from_bytes(header[:3]), header[3]
        if length > _LONGEST_FRAME:
            return b""
        content = await reader.readexactly(length)
        if kind == DATA:
            return content
