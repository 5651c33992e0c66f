"""The server's side of one HTTP/2 connection (RFC 9113), without I/O: bytes in, events out; calls in, bytes out.

There is one state machine per stream, and two small ones for the connection. The client moves a stream with frames,
we move it with `send_data`, `send_trailers` and `reset`; a stream that is not in the table below is not remembered.

| state  | the client sends               | next   | we call              | next                                    |
|--------|--------------------------------|--------|----------------------|-----------------------------------------|
| idle   | HEADERS                        | open   |                      |                                         |
| idle   | HEADERS with END_STREAM        | ended  |                      |                                         |
| open   | DATA                           | open   | `send_data`          | open                                    |
| open   | DATA or HEADERS, END_STREAM    | ended  | `send_trailers`, then NO_ERROR | closed by us                  |
| ended  | DATA, HEADERS: STREAM_CLOSED   | closed by us | `send_data`    | ended                                   |
| ended  |                                |        | `send_trailers`      | closed by both                          |
| any    | RST_STREAM                     | closed by the client | `reset` | closed by us                           |
| closed by us     | anything             | the same: it was on its way, and counts for the connection only |
| closed otherwise | DATA: a stream error STREAM_CLOSED; HEADERS: a connection error; the rest is nothing      |

The connection begins with the preface, whose first frame is SETTINGS; within a header block nothing but its
CONTINUATION may come (`_due`). It ends with a connection error, or with a graceful shutdown: GOAWAY with the largest id
there is, then, when the client has acknowledged a PING and so has read that, GOAWAY with the last id that it used;
then the open streams end.

The awkward case is `send_trailers` while the window is closed: the trailers wait behind the data, and the stream stays
what it is until they are out. If the client resets it before, they are dropped with the data.

Bounds, all without a clock. A client may have `ConnectionLimits.streams` streams and one header block of
`ConnectionLimits.header_bytes`. What it may send is bounded by windows (`receive_window`), and frames without use by a
budget (`flood`), on which nothing draws that a caller behind Envoy can cause.

Invariant: whatever bytes come, in whatever pieces, the events are the same; an error of the client's leads to a frame
with its code and never to an exception.

Decision: docs/decisions.md, D46.
"""

from collections.abc import Callable, Sequence

from extproc.transport.http2 import fields, frames
from extproc.transport.http2.events import ConnectionLimits, DataReceived, Event, HeadersReceived, StreamReset
from extproc.transport.http2.fields import MalformedError, RequestFields
from extproc.transport.http2.flood import FLOOD_BUDGET, USEFUL_INCREMENT, FloodBudget
from extproc.transport.http2.frames import ErrorCode, Http2ConnectionError, Http2StreamError
from extproc.transport.http2.incoming import Incoming
from extproc.transport.http2.outgoing import Outgoing, Stream, server_preface
from extproc.transport.http2.receive_window import ReceiveWindows

DRAINING = b"draining"
"""Payload of the PING whose acknowledgement proves that our first GOAWAY has been read."""

MAX_REMEMBERED = 256
"""Number of closed streams of which it is known how they closed."""


class Connection:
    """A client. Give `receive` what it sent; write `data_to_send`; stop reading and writing when `closed`."""

    def __init__(self, limits: ConnectionLimits | None = None) -> None:
        self.closed = False
        """True if nothing more is to be read, and nothing written after the next `data_to_send`."""
        self.fault: Http2ConnectionError | None = None
        """The client's error, if that is why it is closed."""
        self._limits = limits = limits or ConnectionLimits()
        self._reader = fields.Reader()
        self._incoming = Incoming(limits.frame_bytes)
        self._out = Outgoing(self._closing)
        self._streams: dict[int, Stream] = {}
        self._closed: dict[int, ErrorCode] = {}
        """How recent streams closed: CANCEL by the client's reset, NO_ERROR by us, STREAM_CLOSED by both."""
        self._last = 0
        self._final: int | None = None
        """The last stream that our GOAWAY names, once we shut down."""
        self._events: list[Event] = []
        self._due: int | None = frames.SETTINGS
        """The only type of frame that may come next, if there is but one."""
        self._block: tuple[int, int, list[bytes]] | None = None
        """A header block without its end: stream, flags, pieces."""
        self._receive_windows = ReceiveWindows(limits)
        self._budget = FloodBudget()
        self._handlers: dict[int, Callable[[int, int, bytes], None]] = {  # of all others than DATA
            frames.HEADERS: self._headers,
            frames.PRIORITY: self._priority,
            frames.RST_STREAM: self._reset,
            frames.SETTINGS: self._settings,
            frames.PUSH_PROMISE: self._push_promise,
            frames.PING: self._ping,
            frames.GOAWAY: self._goaway,
            frames.WINDOW_UPDATE: self._window_update,
            frames.CONTINUATION: self._continuation,
        }
        self._out.write(server_preface(limits))

    @property
    def queued(self) -> int:
        """Bytes that wait for the client to open a window."""
        return self._out.queued

    def blocked(self, stream_id: int) -> bool:
        """Return whether data of this stream waits for the client to open a window."""
        stream = self._streams.get(stream_id)
        return stream is not None and bool(stream.queue)

    # Calls of the driver and of the session

    def receive(self, data: bytes) -> list[Event]:
        """Return the events of these bytes."""
        if self.closed:
            return []
        events = self._events = []
        try:
            incoming = self._incoming
            incoming.feed(data)
            while not self.closed and incoming.next():
                self._frame(incoming.kind, incoming.flags, incoming.stream_id, incoming.payload)
        except Http2ConnectionError as fault:
            self.fault = fault
            self._out.write(frames.go_away(self._last, fault.code, str(fault)))
            self.closed = True
        return events

    def send_headers(self, stream_id: int, block: bytes) -> None:
        """Send the headers of the response. This and what follows does nothing for a stream that is gone."""
        stream = self._streams.get(stream_id)
        if stream is not None and stream.last is None:
            self._out.send_headers(stream, block)

    def send_data(self, stream_id: int, data: bytes | memoryview) -> None:
        """Send more of the response, as soon as the windows allow."""
        stream = self._streams.get(stream_id)
        if stream is not None and stream.last is None:
            self._out.send_data(stream, data)

    def send_trailers(self, stream_id: int, block: bytes) -> None:
        """Send the last block of the response, or the only one."""
        stream = self._streams.get(stream_id)
        if stream is not None and stream.last is None:
            self._receive_windows.release(stream)
            self._out.send_trailers(stream, block)

    def reserve(self, stream_id: int, missing: int) -> None:
        """Record the bytes that are missing of a message of this stream that is kept until it is whole; 0: none."""
        stream = self._streams.get(stream_id)
        if stream is not None and stream.last is None:
            self._receive_windows.reserve(stream, missing)

    def begin_shutdown(self) -> None:
        """Ask the client to open no more streams here; those that it opens until it has read that are served."""
        if self._final is None and not self.closed:
            self._out.write(
                frames.go_away(frames.LARGEST, ErrorCode.NO_ERROR), frames.frame(frames.PING, 0, 0, DRAINING)
            )

    def finish_shutdown(self) -> None:
        """Take no more streams, and close when the last is over."""
        if self._final is None and not self.closed:
            self._final = self._last
            self._out.write(frames.go_away(self._last, ErrorCode.NO_ERROR))
            self.closed = not self._streams

    def restore_flood_budget(self) -> None:
        """Restore the flood budget: some time has passed."""
        self._budget.restore()

    def data_to_send(self) -> Sequence[bytes | memoryview]:
        """Return what is to be written, in order; see `Outgoing.data_to_send`."""
        if not self.closed:
            self._out.extend(self._receive_windows.window_updates(self._out.queued))
        return self._out.data_to_send()

    # Frames to events

    def _frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if self._due is not None and kind != self._due:
            raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "a frame of another type was due")
        try:
            if kind == frames.DATA:  # nearly all of them
                self._data(flags, stream_id, payload)
            elif (handler := self._handlers.get(kind)) is not None:
                handler(flags, stream_id, payload)
            else:  # section 4.1: unknown types are ignored
                self._budget.spend()
        except Http2StreamError as fault:
            self._budget.spend()
            self._abandon(fault.stream_id, fault.code)

    def _data(self, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        self._receive_windows.connection_window -= size
        if self._receive_windows.connection_window < 0:
            raise Http2ConnectionError(ErrorCode.FLOW_CONTROL_ERROR, "more data than the connection's window")
        stream = self._streams.get(stream_id)
        if stream is None:
            self._stray(stream_id, size)
            return
        if stream.ended:
            raise Http2StreamError(stream_id, ErrorCode.STREAM_CLOSED, "data after the end")
        stream.receive_window -= size
        if stream.receive_window < 0:
            raise Http2StreamError(stream_id, ErrorCode.FLOW_CONTROL_ERROR, "more data than the stream's window")
        if flags & frames.PADDED:
            payload = frames.unpadded(payload)
        ended = bool(flags & frames.END_STREAM)
        if payload:
            if self._budget.left < FLOOD_BUDGET:
                self._budget.pay_back()
        elif not ended:
            self._budget.spend()
        stream.ended = ended
        stream.count(len(payload))
        self._receive_windows.schedule(stream)
        self._events.append(DataReceived(stream_id, payload, ended))

    def _stray(self, stream_id: int, size: int) -> None:
        """Handle DATA on a stream that is not open (sections 5.1, 6.1); what its window had allowed costs nothing."""
        self._not_idle(stream_id)
        if self._closed.get(stream_id) is not ErrorCode.NO_ERROR:
            raise Http2StreamError(stream_id, ErrorCode.STREAM_CLOSED, "data on a closed stream")
        if not size:
            self._budget.spend()

    def _headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id & 1:
            raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "a client's streams have odd ids")
        if flags & frames.PADDED:
            payload = frames.unpadded(payload)
        if flags & frames.PRIORITISED:
            if len(payload) < 5:
                raise Http2ConnectionError(ErrorCode.FRAME_SIZE_ERROR, "HEADERS are shorter than their priority")
            payload = payload[5:]
        if flags & frames.END_HEADERS:
            self._fields(flags, stream_id, payload)
        else:
            self._due = frames.CONTINUATION
            self._block = (stream_id, flags, [payload])

    def _continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        """Add a piece to a block; with its size and the frames that it takes, a flood is bounded."""
        if self._block is None or self._block[0] != stream_id:
            raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")
        _, first_flags, pieces = self._block
        self._budget.spend()
        pieces.append(payload)
        if sum(map(len, pieces)) > self._limits.header_bytes or len(pieces) > 64:
            raise Http2ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, "a header block is too large")
        if flags & frames.END_HEADERS:
            self._due = self._block = None
            self._fields(first_flags, stream_id, b"".join(pieces))

    def _fields(self, flags: int, stream_id: int, block: bytes) -> None:
        """Handle a whole block: it opens a stream, or it is trailers. It is always decoded, for the table's sake."""
        try:
            if stream_id > self._last:
                self._last = stream_id
                self._open(flags, stream_id, self._reader.request(block))
            else:
                self._trailers(flags, stream_id, self._reader.trailers(block))
        except MalformedError as error:
            raise Http2StreamError(stream_id, ErrorCode.PROTOCOL_ERROR, str(error)) from error

    def _open(self, flags: int, stream_id: int, request: RequestFields) -> None:
        if self._budget.left < FLOOD_BUDGET:
            self._budget.pay_back()
        if self._final is not None:  # section 6.8: our GOAWAY excluded it
            self._remember(stream_id, ErrorCode.NO_ERROR)
            return
        if len(self._streams) >= self._limits.streams:
            raise Http2StreamError(stream_id, ErrorCode.REFUSED_STREAM, "too many streams")
        stream = Stream(stream_id, self._limits.stream_window, self._out.initial_window, request.length)
        stream.ended = bool(flags & frames.END_STREAM)
        stream.count(0)
        self._streams[stream_id] = stream
        self._events.append(HeadersReceived(stream_id, request))
        if stream.ended:
            self._events.append(DataReceived(stream_id, b"", True))

    def _trailers(self, flags: int, stream_id: int, trailers: list[tuple[bytes, bytes]]) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            closed = self._closed.get(stream_id)
            if closed is None:  # section 5.1.1
                raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "the stream id is below one that was used")
            if closed is not ErrorCode.NO_ERROR:
                raise Http2ConnectionError(ErrorCode.STREAM_CLOSED, "headers on a closed stream")
            return
        if stream.ended:
            raise Http2StreamError(stream_id, ErrorCode.STREAM_CLOSED, "headers after the end")
        if not flags & frames.END_STREAM:
            raise Http2StreamError(stream_id, ErrorCode.PROTOCOL_ERROR, "trailers without an end")
        fields.check_trailers(trailers)
        stream.ended = True
        stream.count(0)
        self._events.append(DataReceived(stream_id, b"", True))

    def _priority(self, _flags: int, stream_id: int, payload: bytes) -> None:
        """Check the frame; it has no effect (section 5.3.2)."""
        self._budget.spend()
        if not stream_id:
            raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "PRIORITY of no stream")
        if len(payload) != 5:
            raise Http2StreamError(stream_id, ErrorCode.FRAME_SIZE_ERROR, "PRIORITY has not 5 bytes")

    def _reset(self, _flags: int, stream_id: int, payload: bytes) -> None:
        code = frames.parse_uint31(payload)
        self._not_idle(stream_id)
        stream = self._streams.get(stream_id)
        if stream is None:
            self._budget.spend()
        else:
            self._forget(stream, ErrorCode.CANCEL)
            self._events.append(StreamReset(stream_id, code))

    def _settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "SETTINGS of a stream")
        if flags & frames.ACK:
            if payload:
                raise Http2ConnectionError(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS with ACK and a payload")
            if self._due is not None:
                raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "an acknowledgement instead of SETTINGS")
            self._reader.forbid_table()
            return
        self._due = None
        self._budget.spend()
        values = dict(frames.parse_settings(payload))
        self._out.write(frames.SETTINGS_ACK)  # first: the client may hold us to the old ones until it has read this
        self._out.frame_bytes = values.get(frames.MAX_FRAME_SIZE, self._out.frame_bytes)
        if frames.INITIAL_WINDOW_SIZE in values:
            self._out.resize(self._streams.values(), values[frames.INITIAL_WINDOW_SIZE])

    def _push_promise(self, _flags: int, _stream_id: int, _payload: bytes) -> None:
        raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "a client cannot push")

    def _ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "PING of a stream")
        if len(payload) != 8:
            raise Http2ConnectionError(ErrorCode.FRAME_SIZE_ERROR, "PING has not 8 bytes")
        self._budget.spend()
        if not flags & frames.ACK:
            self._out.write(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif payload == DRAINING:
            self.finish_shutdown()

    def _goaway(self, _flags: int, stream_id: int, payload: bytes) -> None:
        """Ignore the client's GOAWAY: we open no streams, and it closes when it likes."""
        self._budget.spend()
        if stream_id:
            raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "GOAWAY of a stream")
        if len(payload) < 8:
            raise Http2ConnectionError(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY is shorter than 8 bytes")

    def _window_update(self, _flags: int, stream_id: int, payload: bytes) -> None:
        increment = frames.parse_uint31(payload)
        if increment < USEFUL_INCREMENT:
            self._budget.spend()
        if not stream_id:
            self._out.widen(increment)
            return
        self._not_idle(stream_id)
        if not increment:
            raise Http2StreamError(stream_id, ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._out.widen_stream(stream, increment)
            self._receive_windows.schedule(stream)

    def _not_idle(self, stream_id: int) -> None:
        if not stream_id & 1 or stream_id > self._last:
            raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "a frame of a stream that was never opened")

    # Ends of streams and of the connection

    def _abandon(self, stream_id: int, code: ErrorCode) -> None:
        """Reset a stream after a stream error; the stream need not be one that we know."""
        self._out.write(frames.reset(stream_id, code))
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._forget(stream, ErrorCode.NO_ERROR)
            self._events.append(StreamReset(stream_id, code))
        elif stream_id not in self._closed:
            self._remember(stream_id, ErrorCode.NO_ERROR)

    def _closing(self, stream: Stream) -> None:
        self._forget(stream, ErrorCode.STREAM_CLOSED if stream.ended else ErrorCode.NO_ERROR)

    def _forget(self, stream: Stream, how: ErrorCode) -> None:
        del self._streams[stream.id]
        self._out.drop(stream)
        self._receive_windows.release(stream)
        self._remember(stream.id, how)
        if self._final is not None and not self._streams:
            self.closed = True

    def _remember(self, stream_id: int, how: ErrorCode) -> None:
        self._closed[stream_id] = how
        if len(self._closed) > MAX_REMEMBERED:
            del self._closed[next(iter(self._closed))]
