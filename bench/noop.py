"""The floor: an ext_proc server that does nothing, on the least HTTP/2 that Envoy accepts.

It sends "continue" for every message, and returns every chunk of a response body unchanged, in the processing mode
of the gateway: what an Envoy with this configuration costs when its processor costs next to nothing. One write for
each read. It decodes no header block, keeps no window of its peer's (a response body must not outgrow Envoy's, which
the gateway's configuration has at 1 MiB a stream) and checks nothing: for the benchmark's upstream only.

    python -m bench.noop /path/of/the.sock

Decision: docs/decisions.md, D52.
"""

import asyncio
import sys
from pathlib import Path
from typing import cast

import uvloop

DATA, HEADERS, RST_STREAM, SETTINGS, PING = 0, 1, 3, 4, 6
ACK = END_STREAM = 1
PREFACE = 24
FRAME_HEAD = 9
LARGEST_FRAME = 16_384
LARGEST_WINDOW = 2**31 - 1
FIRST_WINDOW = 65_535
REFILL = 2**20


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of RFC 9113, section 4.1."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def refill(size: int) -> bytes:
    """A WINDOW_UPDATE of the connection."""
    return frame(8, 0, 0, size.to_bytes(4, "big"))


GREETING = frame(
    SETTINGS, 0, 0, b"\x00\x03" + (10**6).to_bytes(4, "big") + b"\x00\x04" + LARGEST_WINDOW.to_bytes(4, "big")
) + refill(LARGEST_WINDOW - FIRST_WINDOW)
ANSWER_HEADERS = b"\x88\x0f\x10\x10application/grpc"
"""`:status: 200` of HPACK's static table, and `content-type` with its name from there."""
TRAILERS = b"\x00\x0bgrpc-status\x010"

_CONTINUE = {2: b"\x0a\x00", 3: b"\x12\x00", 4: b"\x1a\x00", 6: b"\x2a\x00", 7: b"\x32\x00"}
"""ProcessingRequest's member -> the empty ProcessingResponse for it."""
_RESPONSE_BODY = 5


def varint(value: int) -> bytes:
    """Protobuf's variable-length integer."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def nested(field: int, content: bytes) -> bytes:
    """A length-delimited field of protobuf's."""
    return bytes((field << 3 | 2,)) + varint(len(content)) + content


def reply(message: bytes) -> bytes:
    """The `ProcessingResponse` to a `ProcessingRequest`, whose first field is always the event."""
    member = message[0] >> 3
    if member != _RESPONSE_BODY:
        return _CONTINUE[member]
    size, at, shift = 0, 1, 0
    while message[at] > 127:
        size |= (message[at] & 127) << shift
        at, shift = at + 1, shift + 7
    size |= message[at] << shift
    body = message[at + 1 : at + 1 + size]  # HttpBody has the fields of StreamedBodyResponse
    return nested(4, nested(1, nested(3, nested(3, body))))


class Noop(asyncio.Protocol):
    """A connection from Envoy."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._in = bytearray()
        self._skip = PREFACE
        self._unread: dict[int, bytearray] = {}
        self._consumed = 0
        self._out: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say our settings."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(GREETING)

    def data_received(self, data: bytes) -> None:
        """Answer all that is complete, with one write."""
        assert self._transport is not None
        self._in += data
        if self._skip and len(self._in) >= self._skip:
            del self._in[: self._skip]
            self._skip = 0
        if not self._skip:
            self._take_frames()
        if self._consumed > REFILL:
            self._out.append(refill(self._consumed))
            self._consumed = 0
        if self._out:
            self._transport.write(b"".join(self._out))
            self._out.clear()

    def _take_frames(self) -> None:
        data, at = bytes(self._in), 0
        while len(data) - at >= FRAME_HEAD:
            end = at + FRAME_HEAD + int.from_bytes(data[at : at + 3], "big")
            if end > len(data):
                break
            stream = int.from_bytes(data[at + 5 : at + FRAME_HEAD], "big")
            self._frame(data[at + 3], data[at + 4], stream, data[at + FRAME_HEAD : end])
            at = end
        del self._in[:at]

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == DATA:
            self._data(flags, stream, payload)
        elif kind == HEADERS:
            self._unread[stream] = bytearray()
            self._out.append(frame(HEADERS, 4, stream, ANSWER_HEADERS))
        elif kind == RST_STREAM:
            self._unread.pop(stream, None)
        elif kind in (SETTINGS, PING) and not flags & ACK:
            self._out.append(frame(kind, ACK, 0, payload if kind == PING else b""))

    def _data(self, flags: int, stream: int, payload: bytes) -> None:
        self._consumed += len(payload)
        unread = self._unread.get(stream)
        if unread is None:
            return
        unread += payload
        while len(unread) >= 5 and len(unread) >= (end := 5 + int.from_bytes(unread[1:5], "big")):
            self._send(stream, reply(bytes(unread[5:end])))
            del unread[:end]
        if flags & END_STREAM:
            del self._unread[stream]
            self._out.append(frame(HEADERS, 4 | END_STREAM, stream, TRAILERS))

    def _send(self, stream: int, message: bytes) -> None:
        data = b"\x00" + len(message).to_bytes(4, "big") + message
        for at in range(0, len(data), LARGEST_FRAME):
            self._out.append(frame(DATA, 0, stream, data[at : at + LARGEST_FRAME]))


async def serve(path: Path) -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_unix_server(Noop, path)
    print(f"serving on {path}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1])))
