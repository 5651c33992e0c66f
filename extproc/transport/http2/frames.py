"""HTTP/2's frames (RFC 9113, sections 4 and 6): their names, their layout, and how to encode those that we send.

Where a peer breaks a rule, one of two errors is raised: one ends a stream, the other the connection.
"""

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Final

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""The client's connection preface (section 3.4)."""

# Types, flags and settings; each `Final`, because compiled code then has the number itself.
DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITISED: Final = 0x20

HEADER_TABLE_SIZE: Final = 1
ENABLE_PUSH: Final = 2
MAX_CONCURRENT_STREAMS: Final = 3
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5
MAX_HEADER_LIST_SIZE: Final = 6

HEADER_BYTES: Final = 9
DEFAULT_WINDOW: Final = 65_535
DEFAULT_FRAME_BYTES: Final = 16_384
LARGEST: Final = 2**31 - 1
"""The largest window, and the largest stream id."""

_SETTING = struct.Struct(">HL")
_LONG = struct.Struct(">L")


class ErrorCode(IntEnum):
    """Error codes of RST_STREAM and GOAWAY (section 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class Http2ConnectionError(Exception):
    """A connection error: the connection cannot go on (section 5.4.1)."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Http2StreamError(Exception):
    """A stream error: only this stream ends (section 5.4.2)."""

    def __init__(self, stream_id: int, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.stream_id = stream_id
        self.code = code


def header(size: int, kind: int, flags: int, stream_id: int) -> bytes:
    """Encode a frame's header: its length in 24 bits, type, flags and stream. Compiled, a `Struct` takes longer."""
    return (size << 48 | kind << 40 | flags << 32 | stream_id).to_bytes(HEADER_BYTES, "big")


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Encode a whole frame."""
    return header(len(payload), kind, flags, stream_id) + payload


def settings(values: dict[int, int]) -> bytes:
    """Encode a SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(name, value) for name, value in values.items()))


def window_update(stream_id: int, increment: int) -> bytes:
    """Encode a WINDOW_UPDATE frame."""
    return frame(WINDOW_UPDATE, 0, stream_id, _LONG.pack(increment))


def reset(stream_id: int, code: ErrorCode) -> bytes:
    """Encode a RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream_id, _LONG.pack(code))


def go_away(last_stream_id: int, code: ErrorCode, reason: str = "") -> bytes:
    """Encode a GOAWAY frame."""
    return frame(GOAWAY, 0, 0, _LONG.pack(last_stream_id) + _LONG.pack(code) + reason.encode())


SETTINGS_ACK = frame(SETTINGS, ACK, 0)


def parse_uint31(payload: bytes) -> int:
    """Parse the 31-bit number of a WINDOW_UPDATE or a RST_STREAM, without its reserved bit."""
    if len(payload) != 4:
        raise Http2ConnectionError(ErrorCode.FRAME_SIZE_ERROR, "the frame has not 4 bytes")
    number: int = _LONG.unpack(payload)[0]
    return number & LARGEST


def parse_settings(payload: bytes) -> Iterator[tuple[int, int]]:
    """Yield names and values of a SETTINGS frame; raises `Http2ConnectionError` (section 6.5.2) on a bad value."""
    if len(payload) % _SETTING.size:
        raise Http2ConnectionError(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS that end within a setting")
    for name, value in _SETTING.iter_unpack(payload):
        if name == ENABLE_PUSH and value > 1:
            raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "ENABLE_PUSH is neither 0 nor 1")
        if name == INITIAL_WINDOW_SIZE and value > LARGEST:
            raise Http2ConnectionError(ErrorCode.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE is too large")
        if name == MAX_FRAME_SIZE and not DEFAULT_FRAME_BYTES <= value < 2**24:
            raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "MAX_FRAME_SIZE is out of range")
        yield name, value


def unpadded(payload: bytes) -> bytes:
    """Remove padding; raises `Http2ConnectionError` (sections 6.1, 6.2) on padding that fills the frame."""
    if not payload or payload[0] >= len(payload):
        raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "padding is longer than its frame")
    return payload[1 : len(payload) - payload[0]]
