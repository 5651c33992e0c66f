"""The gRPC calls of one connection, without I/O: bytes in, bytes out, and jobs to be run in between.

All that one read brings is one turn. First each call collects its messages; then each that got any is handled once, so
that several pieces of a body found in one read get one response; then everything is written at once. New calls come
last, after what the others led to is written: a call that goes on has a caller who was admitted, and waits for no flood
of those who are going to be rejected. Health checks do not wait for them either.

Few new calls, which is the usual case, are begun in the turn that brings them. Where there are more than `AT_ONCE`, or
others wait, they wait in a queue in which callers take turns, and the driver begins them bit by bit: what has arrived
is read, and so sorted, before many are begun. A call in the queue is one without a stream; when it ends, however, it
is forgotten.

| what happened                     | call             | then                                        |
|-----------------------------------|------------------|---------------------------------------------|
| the client sent bytes             | `receive(data)`  | read `changed()`, write `data_to_send()`    |
| a job has a result, or failed     | `resume`, `fail` | the same                                    |
| now and then                      | `tick()`         | the same                                    |
| calls are `waiting`, soon         | `begin_next()`   | the same                                    |

A call is open until the client resets it, or until we end it: with OK where the client has ended its side, and with
an error in every other case. `grpc-timeout` is ignored: a client that sets one resets the stream when it is over.

Invariant: a call ends with OK only when the client ended it first, in between two messages.

Decisions: docs/decisions.md, D293, D321.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from extproc.exchange.jobs import JobResult
from extproc.payload import Payload
from extproc.transport import service
from extproc.transport.health_protocol import HEALTH
from extproc.transport.http2 import framing
from extproc.transport.http2.connection import Connection
from extproc.transport.http2.events import ConnectionLimits, DataReceived, HeadersReceived
from extproc.transport.http2.fields import RequestFields
from extproc.transport.http2.framing import CallError, Messages, Status
from extproc.transport.large import Message
from extproc.transport.stream import ExtProcStream, TimedJob
from extproc.transport.turns import NOBODYS, FairQueue, Turn

PROCESS = f"/{service.SERVICE}/Process".encode()
CHECK = f"/{HEALTH}/Check".encode()

AT_ONCE: Final = 8
"""New calls that are begun together, at most. Most take 0.1 ms or less."""


class GrpcCall:
    """A gRPC call. `stream` is None for a health check, and for a call that has not begun."""

    __slots__ = (
        "check",
        "ended",
        "error",
        "headers_sent",
        "id",
        "inbox",
        "messages",
        "missing",
        "pending_job",
        "stream",
        "task",
        "turn",
    )

    def __init__(self, stream_id: int, check: bool, message_bytes: int) -> None:
        self.id = stream_id
        self.check = check
        self.messages = Messages(message_bytes)
        self.missing = 0
        """Bytes that were missing of the last message after the turn before."""
        self.inbox: list[Message] = []
        """Messages of this turn."""
        self.stream: ExtProcStream | None = None
        self.turn: Turn | None = None
        """Where it waits in the queue of new calls; None: it does not."""
        self.pending_job: TimedJob | None = None
        """The job that the driver runs for it."""
        self.task: Any = None
        """The driver's task for the job."""
        self.headers_sent = self.ended = False
        self.error: CallError | None = None


class Session:
    """The calls of one connection.

    `new_stream` makes the stream of a call, `health` returns the health status, and `turn_of` whose a first message is.
    """

    def __init__(
        self,
        new_stream: Callable[[], ExtProcStream],
        health: Callable[[], bytes],
        message_bytes: int,
        limits: ConnectionLimits | None = None,
        turn_of: Callable[[Message], Turn] = lambda message: NOBODYS,
    ) -> None:
        self.connection = Connection(limits)
        self._new_stream = new_stream
        self._health = health
        self._message_bytes = message_bytes
        self._calls: dict[int, GrpcCall] = {}
        self._changed: dict[GrpcCall, None] = {}
        self._turn_of = turn_of
        self._queue: FairQueue[GrpcCall] = FairQueue()

    @property
    def waiting(self) -> int:
        """Number of calls to begin."""
        return len(self._queue)

    @property
    def calls(self) -> int:
        """Number of open calls of `Process`."""
        return sum(not call.check for call in self._calls.values())

    def receive(self, data: bytes, between: Callable[[], None] | None = None) -> None:
        """Handle the client's bytes; `between` writes what there is before new calls, if there are other ones too."""
        turn: dict[GrpcCall, None] = {}
        for event in self.connection.receive(data):
            if type(event) is DataReceived:
                call = self._calls.get(event.stream_id)
                if call is not None:
                    _collect(call, event)
                    turn[call] = None
            elif type(event) is HeadersReceived:
                self._open(event.stream_id, event.request)
            else:
                self._drop(event.stream_id)
        if self.connection.fault is not None:  # nothing more is sent but GOAWAY
            self.drop_all()
        new: list[GrpcCall] = []
        for call in turn:
            if call.stream is None and not call.check:
                new.append(call)
            else:
                self._take_turn(call)
        if between is not None and 0 < len(new) < len(turn):
            between()
        self._begin(new)

    def begin_next(self) -> None:
        """Begin the call whose turn it is."""
        call = self._queue.take()
        call.turn = None
        self._take_turn(call)

    def resume(self, call: GrpcCall, result: JobResult) -> None:
        """Continue `call` with the result of its job."""
        if call.stream is not None and call.id in self._calls:
            self._attempt(call, lambda stream: stream.resume(result))

    def fail(self, call: GrpcCall, error: Exception) -> None:
        """End `call`, whose job met a bug."""
        if call.id in self._calls:
            self._end_in_error(call, error)

    def tick(self) -> None:
        """Send `Idle` to the exchanges of idle calls, except of those whose data the client does not read."""
        self.connection.restore_flood_budget()
        for call in list(self._calls.values()):
            if call.stream is not None and not self.connection.blocked(call.id):
                self._attempt(call, _tick)

    def changed(self) -> list[GrpcCall]:
        """Return the calls whose job is another than before, or None; each is returned once."""
        if not self._changed:
            return []
        changed = list(self._changed)
        self._changed.clear()
        return changed

    def data_to_send(self) -> Sequence[bytes | memoryview]:
        """Return what is to be written, in order."""
        return self.connection.data_to_send()

    def drop_all(self) -> None:
        """Forget all calls: the connection is gone."""
        for stream_id in list(self._calls):
            self._drop(stream_id)

    def end_all(self) -> None:
        """End all calls in error, and the connection."""
        for call in list(self._calls.values()):
            self._end(call, Status.UNAVAILABLE, "the worker stops")
        self.connection.finish_shutdown()

    def _open(self, stream_id: int, request: RequestFields) -> None:
        error_response = _error_response(request)
        if error_response is not None:
            self.connection.send_trailers(stream_id, error_response)
        else:
            self._calls[stream_id] = GrpcCall(stream_id, request.path == CHECK, self._message_bytes)

    def _begin(self, new: list[GrpcCall]) -> None:
        """Begin new calls, if they are few and none wait; otherwise those with a message wait for their turns."""
        if not new:
            return
        at_once = len(new) <= AT_ONCE and not len(self._queue)
        for call in new:
            if at_once or not call.inbox:
                self._take_turn(call)
            elif call.turn is None and call.id in self._calls:
                call.turn = self._turn_of(call.inbox[0])
                self._queue.put(call.turn, call)

    def _take_turn(self, call: GrpcCall) -> None:
        if call.id in self._calls:
            self._handle_messages(call)
            self._reserve(call)

    def _handle_messages(self, call: GrpcCall) -> None:
        """Handle the messages of this turn; then end the call if it is over."""
        if call.inbox:
            if call.check:
                self._send(call, (self._health(),))
                self._end(call, Status.OK, "")
                return
            if call.stream is None:
                call.stream = self._new_stream()
            messages, error = call.stream.receive_all(call.inbox)
            self._respond(call, messages, error)
        if call.id not in self._calls:
            return
        if call.error is not None:
            self._end(call, call.error.status, str(call.error))
        elif call.ended:
            whole = not call.messages.partial
            self._end(call, Status.OK if whole else Status.INTERNAL, "" if whole else "the last message is cut off")

    def _reserve(self, call: GrpcCall) -> None:
        """Reserve a receive window for the rest of a message."""
        if call.missing != call.messages.missing:
            call.missing = call.messages.missing
            self.connection.reserve(call.id, call.missing)

    def _attempt(self, call: GrpcCall, work: Callable[[ExtProcStream], list[Payload]]) -> None:
        assert call.stream is not None
        try:
            messages = work(call.stream)
        except Exception as error:  # a bug, or a WireError
            self._respond(call, (), error)
        else:
            self._respond(call, messages, None)

    def _respond(self, call: GrpcCall, messages: Sequence[Payload], error: Exception | None) -> None:
        """Send the messages of a stream; end it where it failed."""
        if messages:
            self._send(call, messages)
        if error is not None:
            self._end_in_error(call, error)
            return
        assert call.stream is not None
        if call.stream.pending_job is not call.pending_job:
            call.pending_job = call.stream.pending_job
            self._changed[call] = None

    def _send(self, call: GrpcCall, messages: Sequence[Payload]) -> None:
        if not call.headers_sent:
            call.headers_sent = True
            self.connection.send_headers(call.id, framing.HEAD)
        for piece in framing.framed(messages):
            self.connection.send_data(call.id, piece)

    def _end_in_error(self, call: GrpcCall, error: Exception) -> None:
        """End a call with INTERNAL. The status names the kind of error only: it goes to Envoy's access log."""
        assert call.stream is not None
        service.report(call.stream.request_id, error)
        self._end(call, Status.INTERNAL, type(error).__name__)

    def _end(self, call: GrpcCall, status: Status, message: str) -> None:
        trailers = framing.trailers(status, message)
        self.connection.send_trailers(call.id, trailers if call.headers_sent else framing.HEAD + trailers)
        self._drop(call.id)

    def _drop(self, stream_id: int) -> None:
        call = self._calls.pop(stream_id, None)
        if call is None:
            return
        if call.turn is not None:
            self._queue.discard(call.turn, call)
            call.turn = None
        if call.pending_job is not None:
            call.pending_job = None
            self._changed[call] = None
        if call.stream is not None:
            call.stream.close()


def _tick(stream: ExtProcStream) -> list[Payload]:
    return stream.tick() if stream.is_idle else []


def _collect(call: GrpcCall, event: DataReceived) -> None:
    """Append the messages in these bytes to the call's inbox."""
    if call.error is None:
        try:
            call.messages.feed(event.data, call.inbox)
        except CallError as error:
            call.error = error
    call.ended = event.ended


def _error_response(request: RequestFields) -> bytes | None:
    """Return the block that rejects a request that is no gRPC call, or a call of an unknown method; else None."""
    if request.method != b"POST":
        return framing.NOT_POST
    if not request.content_type.startswith(b"application/grpc"):
        return framing.NOT_GRPC
    if request.path not in (PROCESS, CHECK):
        path = request.path.decode("latin-1")
        return framing.HEAD + framing.trailers(Status.UNIMPLEMENTED, f"there is no method {path}")
    if request.encoding not in (b"", b"identity"):
        return framing.HEAD + framing.trailers(Status.UNIMPLEMENTED, "compressed messages are not supported")
    return None
