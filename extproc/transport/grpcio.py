"""The gRPC transport by grpcio: one server, one address, one stream per HTTP exchange.

Invariant: a stream ends cleanly only when Envoy ended it. Every other end is a status of INTERNAL, because
Envoy takes a clean end for "pass everything that follows as it is", the client's key included.

A call has up to three tasks: the handler, which reads; the job, while the exchange waits for one; and a tick,
when it is idle. They take turns by the call's lock, so that the exchange gets one event at a time and messages
go out in the order in which they were made. Only the handler can end a call: a task that fails leaves its error
and cancels the handler, which otherwise is cancelled by grpcio alone, when Envoy has gone.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

import grpc
import grpc.aio

from extproc.net import Address
from extproc.payload import Payload
from extproc.transport import listen, service
from extproc.transport.health_protocol import HEALTH, NOT_SERVING, SERVING
from extproc.transport.listen import Tls
from extproc.transport.service import SERVICE, RunJob, ServerOptions, report
from extproc.transport.stream import ExchangeProtocol, ExtProcStream, TimedJob

Context = grpc.aio.ServicerContext[bytes, bytes]

_UNLIMITED = 2**31 - 1


class GrpcioServer:
    """A server of the streams of one address, on grpcio. Create and use it inside a running event loop."""

    def __init__(self, new_exchange: Callable[[], ExchangeProtocol], run_job: RunJob, options: ServerOptions) -> None:
        self.serving = False
        """Health status: SERVING if true, else NOT_SERVING."""
        self._new_exchange = new_exchange
        self._run = run_job
        self._options = options
        self._tls = self._offered = options.tls
        """The version for new connections, and the one that grpcio has."""
        self._calls: set[_Call] = set()
        self._ticker: asyncio.Task[None] | None = None
        self._address: Address | None = None
        self._grpc = self._new_server()
        self._former: list[grpc.aio.Server] = []
        """Servers whose socket was removed: their connections go on."""

    @property
    def streams(self) -> int:
        """Number of open streams."""
        return len(self._calls)

    async def start(self, address: Address) -> Address:
        """Listen; return the address with its real port. Raises `ListenError`."""
        bound = self._address = self._bind(address)
        await self._grpc.start()
        self._ticker = asyncio.create_task(service.tick_for_ever(self.tick))
        return bound

    async def listen_again(self) -> bool:
        """Make the socket anew where its file was removed; return whether it was. Connections are not touched.

        Raises `ListenError`.
        """
        address = self._address
        if address is None or not listen.removed(address):
            return False
        former, self._grpc = self._grpc, self._new_server()
        try:
            self._bind(address)
        except listen.ListenError:
            self._grpc = former
            raise
        self._former.append(former)
        await self._grpc.start()
        return True

    async def renew(self, tls: Tls) -> None:
        """Use this certificate and these client authorities for new connections; open ones go on.

        Raises `ListenError` if gRPC cannot use it; then everything stays as it is.
        """
        await _check_certificate(tls)
        self._tls = tls

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
        self._address = None
        await asyncio.gather(*(server.stop(grace) for server in (self._grpc, *self._former)))
        if self._ticker is not None:
            self._ticker.cancel()

    def tick(self) -> None:
        """Send `Idle` to the exchanges of idle streams; called every `TICK_SECONDS`."""
        for call in self._calls:
            call.tick()

    def _new_server(self) -> grpc.aio.Server:
        server = grpc.aio.server(options=_channel_options(self._options.message_bytes))
        server.add_generic_rpc_handlers((self._process_service(), self._health_service()))
        return server

    def _bind(self, address: Address) -> Address:
        """Take the address; return it with its real port."""
        listen.check(address, self._options.tls)
        listen.clear_stale(address)
        try:
            port = self._add_port(str(address))
        except RuntimeError as error:
            raise listen.ListenError(
                f"{address}: cannot be listened on. It is taken by another program, or no address of this machine, or "
                "gRPC cannot use the certificate and its key: choose another address, or fix those"
            ) from error
        listen.share(address)
        return address if address.path else Address(host=address.host, port=port)

    def _add_port(self, address: str) -> int:
        tls = self._tls
        if tls is None:
            return self._grpc.add_insecure_port(address)
        renewed = cast("Callable[[], grpc.ServerCertificateConfiguration]", self._renewed)  # None is not in the stubs
        credentials = grpc.dynamic_ssl_server_credentials(
            _certificates(tls), renewed, require_client_authentication=tls.client_ca is not None
        )
        return self._grpc.add_secure_port(address, credentials)

    def _renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the certificate of the last `renew`, None if grpcio has it; called by its threads at handshakes."""
        tls = self._tls
        if tls is None or tls is self._offered:
            return None
        self._offered = tls
        return _certificates(tls)

    def _process_service(self) -> "grpc.GenericRpcHandler[bytes, bytes]":
        handler = grpc.stream_stream_rpc_method_handler(self._process)
        return grpc.method_handlers_generic_handler(SERVICE, {"Process": handler})

    def _health_service(self) -> "grpc.GenericRpcHandler[bytes, bytes]":
        """Return the health service. It has no `Watch`: UNIMPLEMENTED is what the protocol tells clients to expect."""
        handler = grpc.unary_unary_rpc_method_handler(self._check)
        return grpc.method_handlers_generic_handler(HEALTH, {"Check": handler})

    async def _check(self, _request: bytes, _context: Context) -> bytes:
        return SERVING if self.serving else NOT_SERVING

    async def _process(self, _messages: object, context: Context) -> None:
        stream = ExtProcStream(self._new_exchange(), self._options.clock, self._options.longest_wait)
        call = _Call(stream, context, self._run)
        self._calls.add(call)
        try:
            await call.run()
        except asyncio.CancelledError:
            # grpcio reads it as the end of a call that is over, and would leave an open one without an end.
            if service.is_cancelled() or context.done():
                raise
            await call.abort(service.StrayCancellationError())
        finally:
            self._calls.discard(call)
            stream.close()


class _Call:
    """A stream on grpcio."""

    def __init__(self, stream: ExtProcStream, context: Context, run_job: RunJob) -> None:
        self._stream = stream
        self._context = context
        self._run = run_job
        self._turn = asyncio.Lock()
        self._timed_job: TimedJob | None = None
        self._job: asyncio.Task[None] | None = None
        self._tick: asyncio.Task[None] | None = None
        self._handler = asyncio.current_task()
        self._error: Exception | None = None

    async def run(self) -> None:
        """Exchange messages until Envoy ends the stream; on any error end it with INTERNAL."""
        try:
            await self._read()
        except asyncio.CancelledError:
            if self._error is None or self._handler is None:
                raise
            self._handler.uncancel()  # that was `_fail`; another one is grpcio's
            await self.abort(self._error)
        except Exception as error:  # a bug, or a WireError
            await self.abort(error)
        finally:
            for task in (self._job, self._tick):
                if task is not None:
                    task.cancel()

    def tick(self) -> None:
        """Start a task that sends `Idle`, if it is due and no other task has the turn."""
        if self._turn.locked():
            return
        try:
            is_idle = self._stream.is_idle
        except Exception as error:
            self._fail(error)
            return
        if is_idle:
            self._tick = asyncio.create_task(self._guarded(self._report_idle))

    async def _read(self) -> None:
        while isinstance(data := await self._context.read(), bytes):  # otherwise it is grpc.aio.EOF
            async with self._turn:
                await self._send(self._stream.receive(data))
                self._follow_job()

    def _follow_job(self) -> None:
        """Run the job that the stream has now, and no other. Call it with the turn taken."""
        if self._stream.pending_job is self._timed_job:
            return
        if self._job is not None:
            self._job.cancel()
        self._timed_job = self._stream.pending_job
        if self._timed_job is not None:
            self._job = asyncio.create_task(self._guarded(self._run_jobs))

    async def _run_jobs(self) -> None:
        while (pending_job := self._stream.pending_job) is not None:
            self._timed_job = pending_job
            result = await self._run(pending_job.job, pending_job.seconds)
            async with self._turn:
                await self._send(self._stream.resume(result))

    async def _report_idle(self) -> None:
        async with self._turn:
            if self._stream.is_idle:
                await self._send(self._stream.tick())

    async def _send(self, messages: list[Payload]) -> None:
        for message in messages:
            try:
                await self._context.write(bytes(message))
            except Exception as error:
                if not self._context.done():
                    raise
                raise asyncio.CancelledError from error  # Envoy has gone; grpcio is about to cancel

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work`; when it fails, or is cancelled by something in it, have the handler end the call."""
        try:
            await work()
        except asyncio.CancelledError:
            if service.is_cancelled():
                raise
            self._fail(service.StrayCancellationError())
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if self._error is None and self._handler is not None:
            self._error = error
            self._handler.cancel()

    async def abort(self, error: Exception) -> None:
        """End the call with INTERNAL. The status names the kind of error only: it goes to Envoy's access log."""
        self._error = error  # one that follows must not cancel the handler: the status would not go out
        report(self._stream.request_id, error)
        if self._context.done():
            raise asyncio.CancelledError from error
        await self._context.abort(grpc.StatusCode.INTERNAL, type(error).__name__)


def _certificates(tls: Tls) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(tls.key, tls.certificate)], tls.client_ca)


async def _check_certificate(tls: Tls) -> None:
    """Start a server with this certificate, which serves nothing; raises `ListenError` if gRPC cannot use it.

    grpcio does not report whether it could use what `_renewed` returned, and has fewer algorithms than Python's ssl.
    """
    server = grpc.aio.server()
    pairs = [(tls.key, tls.certificate)]
    credentials = grpc.ssl_server_credentials(pairs, tls.client_ca, require_client_auth=tls.client_ca is not None)
    try:
        server.add_secure_port("localhost:0", credentials)
    except RuntimeError as error:
        raise listen.ListenError(
            "gRPC cannot use the certificate, its key or the client authorities: make keys of RSA or of curve P-256"
        ) from error
    finally:
        await server.start()  # one that was never started would keep its port when it is stopped
        await server.stop(None)


def _channel_options(message_bytes: int) -> list[tuple[str, int]]:
    """Return grpcio's settings, where its defaults are not for a server whose one client is Envoy."""
    return [
        ("grpc.max_receive_message_length", message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", _UNLIMITED),
        # Where 1,000 new streams wait for the event loop, its default is to end some of them at random, whosever they
        # are. Envoy bounds how many there can be.
        ("grpc.server.max_pending_requests", _UNLIMITED),
        ("grpc.server.max_pending_requests_hard_limit", _UNLIMITED),
        # Bytes that Envoy may send ahead of one call: megabytes with the probe, also where the caller reads nothing.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", 65_536),
        ("grpc.so_reuseport", 0),  # two workers on one port would share it unnoticed, and unevenly
        ("grpc.http2.max_ping_strikes", 0),  # Envoy's connection_keepalive sends PINGs
        ("grpc.enable_channelz", 0),
    ]
