"""What the client may still send: the windows of its streams and of the connection, opened again once a turn.

Of each stream it may send a window of data unasked, and as much again once that was handed on; but not while it does
not take what it is sent, a window of it on the stream or `Limits.queue_bytes` on all. A message that is not whole
cannot be handed on, so one that is larger is sent for: with a window for all that is missing, while those that are
sent for make no more than `Limits.held_bytes` together, and otherwise in its turn. One may always be sent for,
whatever its size: so each comes to its end.

(To hold the connection's own window back instead would not do: messages that come in turns, none of them whole yet,
would use it up, and wait for each other for ever.)

Invariant: of messages that are not whole, the client can have sent no more than a window for each stream, and
`Limits.held_bytes` or one message.
"""

from extproc.transport.http2 import frames
from extproc.transport.http2.events import Limits
from extproc.transport.http2.outgoing import Stream


class Intake:
    """Of one connection; `credit` is what the client may still send on all streams together."""

    def __init__(self, limits: Limits) -> None:
        self.credit = limits.connection_window
        self._limits = limits
        self._looked_at: dict[int, Stream] = {}
        """Streams whose window may have to be opened."""
        self._row: dict[int, Stream] = {}
        """Streams with a message to be sent for, when it is their turn."""
        self._sent_for: dict[int, int] = {}
        """Bytes, by stream."""
        self._total = 0
        """Of these."""

    def look_at(self, stream: Stream) -> None:
        """The client has used up some of its window, or has taken what it was sent."""
        if stream.missing or stream.credit * 2 < self._limits.stream_window:
            self._looked_at[stream.id] = stream

    def hold(self, stream: Stream, missing: int) -> None:
        """So many bytes are missing of a message that is being kept until it is whole; 0: none is."""
        stream.missing = missing
        if not missing:
            self._let_go(stream)
        self._looked_at[stream.id] = stream

    def drop(self, stream: Stream) -> None:
        """The stream is no more, or nothing that comes of it will be kept."""
        stream.missing = 0
        self._looked_at.pop(stream.id, None)
        self._let_go(stream)

    def openings(self, queued: int) -> list[bytes]:
        """The frames that open the windows, while so many bytes wait for the client to take them."""
        found: list[bytes] = []
        for stream in self._looked_at.values():
            self._open(stream, found)
        self._looked_at.clear()
        self._send_for(found)
        window = self._limits.connection_window
        if self.credit * 2 < window and queued <= self._limits.queue_bytes:
            found.append(frames.window_update(0, window - self.credit))
            self.credit = window
        return found

    def _open(self, stream: Stream, found: list[bytes]) -> None:
        window = self._limits.stream_window
        if stream.ended:
            return
        if stream.missing > stream.credit:
            if stream.id in self._sent_for:  # with padding, a message takes more than it is long
                _widen(stream, stream.missing, found)
            else:
                self._row[stream.id] = stream
        elif stream.credit * 2 < window and stream.queued <= window:
            _widen(stream, window, found)

    def _send_for(self, found: list[bytes]) -> None:
        """The next ones in the row, as far as they go."""
        while self._row:
            stream = next(iter(self._row.values()))
            if self._sent_for and self._total + stream.missing > self._limits.held_bytes:
                break
            del self._row[stream.id]
            self._sent_for[stream.id] = stream.missing
            self._total += stream.missing
            _widen(stream, stream.missing, found)

    def _let_go(self, stream: Stream) -> None:
        self._row.pop(stream.id, None)
        self._total -= self._sent_for.pop(stream.id, 0)


def _widen(stream: Stream, window: int, found: list[bytes]) -> None:
    found.append(frames.window_update(stream.id, window - stream.credit))
    stream.credit = window
