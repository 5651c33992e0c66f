"""Bytes to frames (RFC 9113, sections 3.4 and 4.1): the preface, and then a header of nine bytes before each payload.

Invariant: however the bytes are cut, the frames are the same; of a frame that is not whole yet, only its bytes are
kept, and nothing is parsed again until it is. What follows it in a read is not copied for its sake.
"""

from collections.abc import Iterator

from extproc.transport.http2.frames import HEADER, HEADER_BYTES, LARGEST, PREFACE, ErrorCode, Http2ConnectionError

Frame = tuple[int, int, int, bytes]
"""Type, flags, stream, payload."""


class Incoming:
    """A parser of what one client sends, in frames of at most `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._preface_read = False
        self._rest = bytearray()
        self._needed = 0
        """Number of bytes without which nothing can be parsed."""

    def frames(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that these bytes complete. Raises `Http2ConnectionError` after those before the error."""
        position = 0
        if self._rest:
            missing = self._needed - len(self._rest)
            if len(data) < missing:
                self._rest += data
                return
            if self._needed > HEADER_BYTES and self._preface_read:
                self._rest += memoryview(data)[:missing]
                yield self._completed()
                position = missing
            else:
                data = bytes(self._rest + data)
                self._rest.clear()
        if not self._preface_read:
            position = self._read_preface(data)
        end = len(data)
        while end - position >= HEADER_BYTES and self._preface_read:
            high, low, kind, flags, stream_id = HEADER.unpack_from(data, position)
            size = high << 8 | low
            if size > self._limit:
                raise Http2ConnectionError(ErrorCode.FRAME_SIZE_ERROR, "a frame is larger than SETTINGS_MAX_FRAME_SIZE")
            start = position + HEADER_BYTES
            if start + size > end:
                self._keep(data, position, HEADER_BYTES + size)
                return
            position = start + size
            yield kind, flags, stream_id & LARGEST, data[start:position]
        self._keep(data, position, HEADER_BYTES if self._preface_read else 0)

    def _completed(self) -> Frame:
        """Return the frame that was not whole in the reads before."""
        whole = bytes(self._rest)
        self._rest.clear()
        _, _, kind, flags, stream_id = HEADER.unpack_from(whole)
        return kind, flags, stream_id & LARGEST, whole[HEADER_BYTES:]

    def _read_preface(self, data: bytes) -> int:
        """Read the preface; return where the frames begin."""
        if not PREFACE.startswith(data[: len(PREFACE)]):
            raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "this is not HTTP/2")
        self._preface_read = len(data) >= len(PREFACE)
        return len(PREFACE) if self._preface_read else 0

    def _keep(self, data: bytes, position: int, needed: int) -> None:
        if position < len(data):
            self._rest += memoryview(data)[position:]
        self._needed = needed
