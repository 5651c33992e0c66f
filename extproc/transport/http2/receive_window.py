"""Receive windows: what the client may still send, on its streams and on the connection, updated once a turn.

A stream may send a window of data unasked, and as much again once that was handed on; but not while the client leaves
unread what it is sent: a window of it on the stream, or `ConnectionLimits.queue_bytes` on all. A message that is not
whole cannot be handed on, so one that is larger needs a larger window. Such a message is queued, and granted a window
for all that is missing, while the granted ones make no more than `ConnectionLimits.held_bytes` together. One may
always be granted, whatever its size: so each comes to its end.

(To hold the connection's own window back instead would not do: messages that come in turns, none of them whole yet,
would use it up, and wait for each other for ever.)

Invariant: of messages that are not whole, the client can have sent no more than a window for each stream, and
`ConnectionLimits.held_bytes` or one message.

Decision: docs/decisions.md, D45.
"""

from extproc.transport.http2 import frames
from extproc.transport.http2.events import ConnectionLimits
from extproc.transport.http2.outgoing import Stream


class ReceiveWindows:
    """The receive windows of one connection; `connection_window` is what the client may still send on all streams."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.connection_window = limits.connection_window
        self._limits = limits
        self._scheduled: dict[int, Stream] = {}
        """Streams whose window may have to be updated."""
        self._queue: dict[int, Stream] = {}
        """Streams with a message that waits for a grant, in order."""
        self._granted: dict[int, int] = {}
        """Bytes granted, by stream."""
        self._reserved = 0
        """The sum of `_granted`."""

    def schedule(self, stream: Stream) -> None:
        """Check the stream's window this turn: the client has used some of it, or has read what it was sent."""
        if stream.missing or stream.receive_window * 2 < self._limits.stream_window:
            self._scheduled[stream.id] = stream

    def reserve(self, stream: Stream, missing: int) -> None:
        """Record the bytes that are missing of a message that is kept until it is whole; 0: none is kept."""
        stream.missing = missing
        if not missing:
            self._release(stream)
        self._scheduled[stream.id] = stream

    def release(self, stream: Stream) -> None:
        """Forget a stream that is closed, or whose data is not kept any more."""
        stream.missing = 0
        self._scheduled.pop(stream.id, None)
        self._release(stream)

    def window_updates(self, queued: int) -> list[bytes]:
        """Return the WINDOW_UPDATE frames of this turn; `queued` bytes wait for the client to read."""
        updates: list[bytes] = []
        for stream in self._scheduled.values():
            self._update(stream, updates)
        self._scheduled.clear()
        self._grant(updates)
        window = self._limits.connection_window
        if self.connection_window * 2 < window and queued <= self._limits.queue_bytes:
            updates.append(frames.window_update(0, window - self.connection_window))
            self.connection_window = window
        return updates

    def _update(self, stream: Stream, updates: list[bytes]) -> None:
        window = self._limits.stream_window
        if stream.ended:
            return
        if stream.missing > stream.receive_window:
            if stream.id in self._granted:  # with padding, a message takes more than it is long
                _widen(stream, stream.missing, updates)
            else:
                self._queue[stream.id] = stream
        elif stream.receive_window * 2 < window and stream.queued <= window:
            _widen(stream, window, updates)

    def _grant(self, updates: list[bytes]) -> None:
        """Grant a window to the next streams in the queue, while `held_bytes` allows."""
        while self._queue:
            stream = next(iter(self._queue.values()))
            if self._granted and self._reserved + stream.missing > self._limits.held_bytes:
                break
            del self._queue[stream.id]
            self._granted[stream.id] = stream.missing
            self._reserved += stream.missing
            _widen(stream, stream.missing, updates)

    def _release(self, stream: Stream) -> None:
        self._queue.pop(stream.id, None)
        self._reserved -= self._granted.pop(stream.id, 0)


def _widen(stream: Stream, window: int, updates: list[bytes]) -> None:
    updates.append(frames.window_update(stream.id, window - stream.receive_window))
    stream.receive_window = window
