"""Frames to the client: written at once where its windows allow it, and otherwise queued in their order.

Each stream has a queue, and is in `_blocked` while something is in it. Where the connection's own window is what
holds them up, those streams take turns.

Invariant: of no stream more is written than its window and the connection's allowed, its bytes stay in order, and
its last block comes after all of them.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from extproc.transport.http2 import frames
from extproc.transport.http2.events import ConnectionLimits
from extproc.transport.http2.fields import MAX_LIST_BYTES
from extproc.transport.http2.frames import ErrorCode, Http2ConnectionError, Http2StreamError


class Stream:
    """A stream that is not closed. `receive_window` is what the client may still send, `send_window` what we may."""

    __slots__ = ("ended", "id", "last", "length", "missing", "queue", "queued", "receive_window", "send_window")

    def __init__(self, stream_id: int, receive_window: int, send_window: int, length: int | None) -> None:
        self.id = stream_id
        self.receive_window = receive_window
        self.send_window = send_window
        self.length = length
        """Bytes that are missing of its `content-length`; None if it has none."""
        self.missing = 0
        """Bytes that are missing of a message that is kept until it is whole; 0: none is."""
        self.ended = False
        """True once the client has ended its side."""
        self.queue: deque[bytes | memoryview] | None = None
        self.queued = 0
        self.last: bytes | None = None
        """The block that is to end our side, once the queue is empty."""

    def count(self, size: int) -> None:
        """Count data; a request that is not as long as its `content-length` is malformed (section 8.1.1)."""
        if self.length is not None:
            self.length -= size
            if self.length < 0 or (self.ended and self.length):
                raise Http2StreamError(
                    self.id, ErrorCode.PROTOCOL_ERROR, "the data is not as long as its content-length"
                )


class Outgoing:
    """Frames to the client. `closing` is called with each stream whose last block is being written."""

    def __init__(self, closing: Callable[[Stream], None]) -> None:
        self.queued = 0
        """Bytes that wait for the client to open a window."""
        self._closing = closing
        self._out: list[bytes | memoryview] = []
        self._large = False
        """True if part of something large is in `_out`."""
        self._window = self.initial_window = frames.DEFAULT_WINDOW
        self.frame_bytes = frames.DEFAULT_FRAME_BYTES
        self._blocked: dict[int, Stream] = {}

    def write(self, *whole: bytes) -> None:
        """Append frames that no window applies to."""
        self._out += whole

    def extend(self, whole: list[bytes]) -> None:
        """Append frames that no window applies to; none, most of the time."""
        if whole:
            self._out += whole

    def data_to_send(self) -> Sequence[bytes | memoryview]:
        """Return all that may be written now: in one piece, or in many, so that what is large is not copied."""
        out = self._out
        if not out:
            return ()
        self._out = []
        if self._large:
            self._large = False
            return out
        return (b"".join(out),)

    def send_headers(self, stream: Stream, block: bytes) -> None:
        """Write the headers of the response."""
        self.write(frames.frame(frames.HEADERS, frames.END_HEADERS, stream.id, block))

    def send_data(self, stream: Stream, data: bytes | memoryview) -> None:
        """Write more of the response, or queue it."""
        size = len(data)
        if size <= stream.send_window and size <= self._window and size <= self.frame_bytes and not stream.queue:
            stream.send_window -= size
            self._window -= size
            self._out += (frames.header(size, frames.DATA, 0, stream.id), data)
            return
        if stream.queue is None:
            stream.queue = deque()
        stream.queue.append(memoryview(data))
        stream.queued += size
        self.queued += size
        self._blocked[stream.id] = stream
        self.flush(stream)

    def send_trailers(self, stream: Stream, block: bytes) -> None:
        """Send the last block of the response, or the only one, after the data that is queued."""
        stream.last = block
        if not stream.queue:
            self._finish(stream)

    def drop(self, stream: Stream) -> None:
        """Drop what is queued for a closed stream."""
        self.queued -= stream.queued
        self._blocked.pop(stream.id, None)

    def flush(self, stream: Stream) -> None:
        """Write as much of the stream's queue as the windows allow."""
        queue = stream.queue
        while queue and (allowed := min(stream.send_window, self._window, self.frame_bytes)) > 0:
            piece = queue.popleft()
            if len(piece) > allowed:
                queue.appendleft(piece[allowed:])
                piece = piece[:allowed]
            size = len(piece)
            stream.send_window -= size
            self._window -= size
            stream.queued -= size
            self.queued -= size
            self._out += (frames.header(size, frames.DATA, 0, stream.id), piece)
            self._large = True
        if not queue:
            self._blocked.pop(stream.id, None)
            if stream.last is not None:
                self._finish(stream)

    def widen(self, increment: int) -> None:
        """Add to the connection's send window (RFC 9113, section 6.9)."""
        if not increment:
            raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
        self._window += increment
        if self._window > frames.LARGEST:
            raise Http2ConnectionError(ErrorCode.FLOW_CONTROL_ERROR, "WINDOW_UPDATE makes the window too large")
        self._flush_all()

    def widen_stream(self, stream: Stream, increment: int) -> None:
        """Add to a stream's send window."""
        stream.send_window += increment
        if stream.send_window > frames.LARGEST:
            raise Http2StreamError(stream.id, ErrorCode.FLOW_CONTROL_ERROR, "WINDOW_UPDATE makes the window too large")
        if stream.queue:
            self.flush(stream)

    def resize(self, streams: Iterable[Stream], initial_window: int) -> None:
        """Set the initial window, also of open streams, whose window may fall below 0 (6.9.2)."""
        difference = initial_window - self.initial_window
        self.initial_window = initial_window
        for stream in streams:
            stream.send_window += difference
            if stream.send_window > frames.LARGEST:
                raise Http2ConnectionError(ErrorCode.FLOW_CONTROL_ERROR, "SETTINGS make a window too large")
        self._flush_all()

    def _flush_all(self) -> None:
        """Flush the blocked streams; one that stays blocked goes to the end of the row."""
        for stream in list(self._blocked.values()):
            if self._window <= 0:
                return
            del self._blocked[stream.id]
            self._blocked[stream.id] = stream
            self.flush(stream)

    def _finish(self, stream: Stream) -> None:
        """Write the last block; where the client has not ended its side, it need not go on (section 8.1)."""
        assert stream.last is not None
        self.write(frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream.id, stream.last))
        if not stream.ended:
            self.write(frames.reset(stream.id, ErrorCode.NO_ERROR))
        self._closing(stream)


def server_preface(limits: ConnectionLimits) -> bytes:
    """Return our SETTINGS, and the update of the connection's window, which is no setting."""
    wider = limits.connection_window - frames.DEFAULT_WINDOW
    return frames.settings(
        {
            frames.HEADER_TABLE_SIZE: 0,
            frames.MAX_CONCURRENT_STREAMS: limits.streams,
            frames.INITIAL_WINDOW_SIZE: limits.stream_window,
            frames.MAX_FRAME_SIZE: limits.frame_bytes,
            frames.MAX_HEADER_LIST_SIZE: MAX_LIST_BYTES,
        }
    ) + (frames.window_update(0, wider) if wider else b"")
