"""The asyncio driver: sockets, tasks and the clock around `Session`.

A connection is one `_Peer`. Each read is one turn of its session and one write, or two where there are new calls beside
others. Jobs run as tasks, one at most for a call, and their results are turns of their own; the job of a call that has
gone is cancelled.

New calls that wait are begun in turns of their own: in one turn of the event loop `AT_ONCE` of them, or as many as take
`BEGIN_SECONDS`; the connections take turns. In between, the sockets are read, and calls that go on are handled. Many
connections are one Envoy's, which opens another for each thousand calls.

A client that does not read is not read from: when the socket's buffer is full, `pause_writing` pauses reading too, and
no call that waits is begun. Then only the results of jobs can still add to it, of which each open call has one at most.

Decision: docs/decisions.md, D321.
"""

import asyncio
import contextlib
import logging
import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import cast

from extproc.net import Address
from extproc.transport import listen, service
from extproc.transport.health_protocol import NOT_SERVING, SERVING
from extproc.transport.http2.session import AT_ONCE, GrpcCall, Session
from extproc.transport.large import Message
from extproc.transport.listen import Tls
from extproc.transport.service import RunJob, ServerOptions
from extproc.transport.stream import ExchangeProtocol, ExtProcStream, TimedJob
from extproc.transport.turns import Turn

log = logging.getLogger(__name__)

WRITE_BUFFER_BYTES = 1 << 18
"""Unwritten bytes from which on nothing more is read, and no call that waits is begun: what is written next is behind
these."""

BEGIN_SECONDS = 0.002
"""Seconds after which no further call that waits is begun in the same turn of the event loop."""

BACKLOG = 1024

NOTICE_SECONDS = 1.0
"""Seconds that a client may take to acknowledge our GOAWAY, before it counts as read."""


class Http2Server:
    """A server of the streams of one address. Create and use it inside a running event loop."""

    def __init__(self, new_exchange: Callable[[], ExchangeProtocol], run_job: RunJob, options: ServerOptions) -> None:
        self.serving = False
        """Health status: SERVING if true, else NOT_SERVING."""
        self._new_exchange = new_exchange
        self._run = run_job
        self._options = options
        self._peers: set[_Peer] = set()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._ready: OrderedDict[_Peer, None] = OrderedDict()
        """Connections with calls to begin, in the order of their turns."""
        self._beginning = False
        """True if the event loop is about to call `_begin_some`."""
        self._listener: asyncio.Server | None = None
        self._socket: tuple[Path, int] | None = None
        """The socket that we made, and its inode."""
        self._ticker: asyncio.Task[None] | None = None

    @property
    def streams(self) -> int:
        """Number of open streams."""
        return sum(peer.session.calls for peer in self._peers)

    async def start(self, address: Address) -> Address:
        """Listen; return the address with its real port. Raises `ListenError`."""
        listen.check(address, None)
        listen.clear_stale(address)
        try:
            self._listener = await self._bind(address)
        except OSError as error:
            raise listen.ListenError(f"{address}: {error.strerror or error}") from error
        self._ticker = asyncio.create_task(service.tick_for_ever(self.tick))
        if address.path:
            self._take_socket(address)
            return address
        return Address(host=address.host, port=self._listener.sockets[0].getsockname()[1])

    async def listen_again(self) -> bool:
        """Make the socket anew where its file was removed; return whether it was. Connections are not touched.

        Raises `OSError`.
        """
        if self._listener is None or self._socket is None:
            return False
        old, address = self._listener, Address(path=str(self._socket[0]))
        if not listen.removed(address):
            return False
        self._listener = await self._bind(address)
        self._take_socket(address)
        old.close()
        return True

    async def renew(self, tls: Tls) -> None:
        """Raise `ListenError`: there is no TLS here."""
        raise listen.ListenError(listen.NO_TLS)

    async def drain(self, notice: float, grace: float) -> None:
        """Report NOT_SERVING for `notice` seconds, take no new streams, give open ones `grace` seconds, then stop.

        `notice` must be longer than two of Envoy's health check intervals: streams that it opens after the
        stop fail.
        """
        self.serving = False
        await asyncio.sleep(notice)
        await self.stop(grace)

    async def stop(self, grace: float | None = None) -> None:
        """Take no new streams, give open ones `grace` seconds, then end them."""
        self._close_listener()
        for peer in self._peers:
            peer.begin_shutdown()
        with contextlib.suppress(TimeoutError):
            await self._wait_for_peers(grace or 0.0)
        for peer in list(self._peers):
            peer.end_calls()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(NOTICE_SECONDS):
                await self._quiet.wait()
        for peer in list(self._peers):
            peer.abort()
        if self._ticker is not None:
            self._ticker.cancel()

    def tick(self) -> None:
        """Send `Idle` to the exchanges of idle streams; called every `TICK_SECONDS`."""
        for peer in list(self._peers):
            peer.guarded(peer.tick)

    def new_stream(self) -> ExtProcStream:
        """Create the stream of one call."""
        return ExtProcStream(self._new_exchange(), self._options.clock, self._options.longest_wait)

    def turn_of(self, message: Message) -> Turn:
        """Return whose turn a stream is that begins with this message."""
        return service.turn_of(message, self._options.turn_of)

    def begin_soon(self, peer: "_Peer") -> None:
        """Begin the calls that wait on this connection, bit by bit."""
        if peer not in self._ready:
            self._ready[peer] = None
            self._schedule()

    def begin_none(self, peer: "_Peer") -> None:
        """Begin no more calls of this connection for now."""
        self._ready.pop(peer, None)

    def health(self) -> bytes:
        """Return the response to a health check."""
        return SERVING if self.serving else NOT_SERVING

    def peer_connected(self, peer: "_Peer") -> None:
        """Add a connection."""
        self._peers.add(peer)
        self._quiet.clear()

    def peer_disconnected(self, peer: "_Peer") -> None:
        """Remove a connection."""
        self._peers.discard(peer)
        if not self._peers:
            self._quiet.set()

    def _schedule(self) -> None:
        if self._ready and not self._beginning:
            self._beginning = True
            asyncio.get_running_loop().call_soon(self._begin_some)

    def _begin_some(self) -> None:
        """Begin a few calls, one of each connection in turn; and more in the next turn of the event loop."""
        self._beginning = False
        begun: dict[_Peer, None] = {}
        steady = self._options.clock.steady
        end = steady() + BEGIN_SECONDS
        for _ in range(AT_ONCE):
            if not self._ready:
                break
            peer, _ = self._ready.popitem(last=False)
            if peer.session.waiting:  # else its calls have ended meanwhile
                begun[peer] = None
                peer.guarded(peer.session.begin_next)
            if peer.session.waiting:
                self._ready[peer] = None
            if steady() > end:
                break
        for peer in begun:
            peer.guarded(peer.settle)
        self._schedule()

    async def _bind(self, address: Address) -> asyncio.Server:
        loop = asyncio.get_running_loop()

        def new_peer() -> _Peer:
            return _Peer(self, self._run, self._options.message_bytes)

        if address.path:
            return await loop.create_unix_server(new_peer, address.path, backlog=BACKLOG)
        return await loop.create_server(new_peer, address.host, address.port, backlog=BACKLOG)

    def _take_socket(self, address: Address) -> None:
        """Let Envoy connect to the socket that we have just made, and remember its inode."""
        listen.share(address)
        self._socket = (Path(address.path), os.stat(address.path).st_ino)

    def _close_listener(self) -> None:
        """Stop listening, and remove the socket unless another process's has taken its place."""
        if self._listener is not None:
            self._listener.close()
        if self._socket is not None:
            path, inode = self._socket
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_ino == inode:
                    path.unlink()

    async def _wait_for_peers(self, grace: float) -> None:
        """Wait for the connections to end; one without a call need not have acknowledged our GOAWAY."""
        async with asyncio.timeout(grace):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(NOTICE_SECONDS):
                    await self._quiet.wait()
            for peer in list(self._peers):
                peer.finish_shutdown()
            await self._quiet.wait()


class _Peer(asyncio.Protocol):
    """A connection."""

    def __init__(self, server: Http2Server, run_job: RunJob, message_bytes: int) -> None:
        self.session = Session(server.new_stream, server.health, message_bytes, turn_of=server.turn_of)
        self._server = server
        self._run = run_job
        self._transport: asyncio.Transport | None = None
        self._full = False
        """True while the client does not read."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send our preface."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not of that class
        self._transport.set_write_buffer_limits(WRITE_BUFFER_BYTES)
        self._server.peer_connected(self)
        self.settle()

    def data_received(self, data: bytes) -> None:
        """Take one turn."""
        self.session.receive(data, self.settle)
        self.settle()
        if self.session.waiting and not self._full:
            self._server.begin_soon(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop all calls, and cancel their jobs."""
        self._transport = None
        self._server.begin_none(self)
        self.session.drop_all()
        self.settle()
        self._server.peer_disconnected(self)

    def pause_writing(self) -> None:
        """Stop reading, and begin nothing: the client does not read."""
        self._full = True
        self._server.begin_none(self)
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Read again, and begin the calls that wait."""
        self._full = False
        if self.session.waiting:
            self._server.begin_soon(self)
        if self._transport is not None:
            self._transport.resume_reading()

    def tick(self) -> None:
        """Send `Idle` to the exchanges of idle calls."""
        self.session.tick()
        self.settle()

    def begin_shutdown(self) -> None:
        """Ask the client to open no more streams here."""
        self.session.connection.begin_shutdown()
        self.settle()

    def finish_shutdown(self) -> None:
        """Close when the last call is over."""
        self.session.connection.finish_shutdown()
        self.settle()

    def end_calls(self) -> None:
        """End all calls with a status, and close."""
        self.session.end_all()
        self.settle()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close without statuses, because the client does not read."""
        if self._transport is not None:
            self._transport.abort()

    def settle(self) -> None:
        """Start and cancel jobs, and write what the turn led to."""
        for call in self.session.changed():
            self._follow(call)
        if self._transport is None:
            return
        pieces = self.session.data_to_send()
        if len(pieces) == 1:
            self._transport.write(pieces[0])
        elif pieces:
            self._transport.writelines(pieces)
        if self.session.connection.closed:
            self._transport.close()

    def _follow(self, call: GrpcCall) -> None:
        """Run the job that the call has now, and no other."""
        if call.task is not None:
            call.task.cancel()
        call.task = None if call.pending_job is None else asyncio.create_task(self._run_job(call, call.pending_job))

    def guarded(self, turn: Callable[[], None]) -> None:
        """Take a turn that asyncio does not watch. A bug in it ends the connection, as it does in `data_received`."""
        try:
            turn()
        except Exception:
            log.exception("a bug ended a connection")
            self.abort()

    async def _run_job(self, call: GrpcCall, pending_job: TimedJob) -> None:
        """Run the job, and resume the call with its result; on any failure, end the call."""
        try:
            result = await self._run(pending_job.job, pending_job.seconds)
        except asyncio.CancelledError:
            if service.is_cancelled():
                raise  # the call has another job, or is gone
            self._failed(call, service.StrayCancellationError())
        except Exception as error:
            self._failed(call, error)
        else:
            call.task = None
            self.guarded(lambda: self.session.resume(call, result))
            self.guarded(self.settle)

    def _failed(self, call: GrpcCall, error: Exception) -> None:
        call.task = None
        self.guarded(lambda: self.session.fail(call, error))
        self.guarded(self.settle)
