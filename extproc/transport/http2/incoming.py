"""Bytes to frames (RFC 9113, sections 3.4 and 4.1): the preface, and then a header of nine bytes before each payload.

Invariant: however the bytes are cut, the frames are the same; of a frame that is not whole yet, only its bytes are
kept, and nothing is parsed again until it is. What follows it in a read is not copied for its sake.
"""

from extproc.transport.http2.frames import HEADER_BYTES, PREFACE, ErrorCode, Http2ConnectionError


class Incoming:
    """A parser of what one client sends, in frames of at most `limit` bytes: `feed` it, then call `next` until False.

    The frame that was read last is in attributes: compiled, a generator of tuples takes six times as much.
    """

    def __init__(self, limit: int) -> None:
        self.kind = self.flags = self.stream_id = 0
        self.payload = b""
        self._limit = limit
        self._preface_read = False
        self._data = b""
        """The bytes that are being read, from `_position` on."""
        self._position = 0
        self._completed: bytes | None = None
        """The frame before these that was not whole in the reads before."""
        self._rest = bytearray()
        self._needed = 0
        """Number of bytes without which nothing can be parsed."""

    def feed(self, data: bytes) -> None:
        """Take the bytes of one read; the frames of the read before have been read."""
        self._data, self._position = data, 0
        if self._rest:
            self._continue(data)

    def next(self) -> bool:
        """Read the next frame that is whole, if there is one. Raises `Http2ConnectionError`."""
        if self._completed is not None:
            self._read(self._completed, 0, len(self._completed))
            self._completed = None
            return True
        data = self._data
        if not self._preface_read:
            self._position = self._read_preface(data)
        position, end = self._position, len(data)
        if end - position < HEADER_BYTES or not self._preface_read:
            return self._keep(HEADER_BYTES if self._preface_read else 0)
        size = data[position] << 16 | data[position + 1] << 8 | data[position + 2]
        if size > self._limit:
            raise Http2ConnectionError(ErrorCode.FRAME_SIZE_ERROR, "a frame is larger than SETTINGS_MAX_FRAME_SIZE")
        stop = position + HEADER_BYTES + size
        if stop > end:
            return self._keep(HEADER_BYTES + size)
        self._read(data, position, stop)
        self._position = stop
        return True

    def _continue(self, data: bytes) -> None:
        """Put `data` behind the bytes that were left."""
        missing = self._needed - len(self._rest)
        if len(data) < missing:
            self._rest += data
            self._position = len(data)
        elif self._needed > HEADER_BYTES and self._preface_read:
            self._rest += memoryview(data)[:missing]
            self._completed = bytes(self._rest)
            self._rest.clear()
            self._position = missing
        else:
            self._data = bytes(self._rest + data)
            self._rest.clear()

    def _read(self, data: bytes, at: int, stop: int) -> None:
        """Read the whole frame between `at` and `stop`. Compiled, this takes less than a `Struct`."""
        self.kind, self.flags = data[at + 3], data[at + 4]
        high = data[at + 5] & 0x7F  # the first bit is reserved
        self.stream_id = high << 24 | data[at + 6] << 16 | data[at + 7] << 8 | data[at + 8]
        self.payload = data[at + HEADER_BYTES : stop]

    def _read_preface(self, data: bytes) -> int:
        """Read the preface; return where the frames begin."""
        if not PREFACE.startswith(data[: len(PREFACE)]):
            raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "this is not HTTP/2")
        self._preface_read = len(data) >= len(PREFACE)
        return len(PREFACE) if self._preface_read else 0

    def _keep(self, needed: int) -> bool:
        """Keep what is left until there are so many bytes; return False: no further frame is whole."""
        data, position = self._data, self._position
        if position < len(data):
            self._rest += memoryview(data)[position:]
            self._needed = needed
        self._data, self._position = b"", 0
        return False
