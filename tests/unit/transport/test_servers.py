"""Both gRPC transports with grpcio's own client as the peer, over a unix socket; the peer plays Envoy.

Both have the same behaviour.
"""

import asyncio
import contextlib
import logging
import socket
import stat
import subprocess
from dataclasses import dataclass

import grpc
import grpc.aio
import hyperframe.frame as hf
import pytest
from hpack import Encoder

from extproc.exchange.directives import Abort, Body, Continue, Forward, Head, Reply, Wait
from extproc.exchange.events import Idle, RequestBody, RequestHeaders, ResponseBody, ResponseHeaders, Resumed
from extproc.net import Address
from extproc.payload import Segments
from extproc.transport import grpcio, http2, listen, service
from extproc.transport.http2.frames import PREFACE
from extproc.transport.listen import ListenError, Tls
from extproc.transport.service import NOT_SERVING, SERVING, ServerOptions
from extproc.transport.stream import Clock

PROCESS = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
CHECK = "/grpc.health.v1.Health/Check"

FORWARD = Forward("/model/m/converse", "bedrock.local", (), b"{}")
REPLY = Reply(200, (), b"done", "x")
WAITING = {RequestHeaders: [[Continue()]], RequestBody: [[FORWARD]]}


@dataclass(frozen=True)
class Job:
    name: str = "job"


class Jobs:
    """A job runner that finishes on command, and records each job's end."""

    def __init__(self):
        self.requested = []
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.result = asyncio.get_running_loop().create_future()

    async def __call__(self, job, seconds):
        self.requested.append((job, seconds))
        self.started.set()
        try:
            return await asyncio.shield(self.result)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


class Gateway:
    """A server, the exchanges that it makes from one script, and a channel to it."""

    def __init__(self, driver, socket_path, scripted, script, timeout, steady, message_bytes):
        self.exchanges = []
        self.now = 0.0
        self.jobs = Jobs()
        self._make = lambda: scripted(script, timeout)
        clock = Clock(steady=lambda: self.now) if steady is None else Clock(steady=steady)
        self.server = driver(self._new_exchange, self.jobs, ServerOptions(message_bytes, longest_wait=100, clock=clock))
        self.address = Address(path=str(socket_path))

    def _new_exchange(self):
        self.exchanges.append(self._make())
        return self.exchanges[-1]

    @property
    def exchange(self):
        (exchange,) = self.exchanges
        return exchange

    async def __aenter__(self):
        await self.server.start(self.address)
        limits = [("grpc.max_receive_message_length", -1)]
        self.channel = grpc.aio.insecure_channel(f"unix:{self.address.path}", options=limits)
        return self

    async def __aexit__(self, *_):
        await self.channel.close()
        await self.server.stop(0)

    def process(self):
        return self.channel.stream_stream(PROCESS)()

    async def check(self):
        return await self.channel.unary_unary(CHECK)(b"")

    async def gone(self):
        """Wait until no stream is open."""
        async with asyncio.timeout(30):
            while self.server.streams:  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.001)


@pytest.fixture(params=[grpcio.GrpcioServer, http2.Http2Server], ids=["grpcio", "http2"])
def driver(request):
    return request.param


@pytest.fixture
def gateway(driver, socket_path, scripted):
    def build(script=None, timeout=None, steady=None, message_bytes=1 << 20):
        return Gateway(driver, socket_path, scripted, script or WAITING, timeout, steady, message_bytes)

    return build


async def send_each(call, *messages):
    """Send messages one by one, each after the response to the last; return the responses."""
    responses = []
    for message in messages:
        await call.write(message)
        responses.append(await call.read())
    return responses


async def test_a_whole_exchange_and_a_clean_end_when_envoy_ends_it(gateway, envoy):
    script = {
        **WAITING,
        ResponseHeaders: [[]],
        ResponseBody: [[Head(200, ()), Body(b"1")], [Body(b"2"), Body(b"3", end_of_stream=True)]],
    }
    async with gateway(script) as running:
        call = running.process()
        await send_each(call, envoy.request_headers(), envoy.request_body())
        await call.write(envoy.response_headers())
        await call.write(envoy.response_body(b"a"))
        replies = [envoy.read(await call.read()) for _ in range(2)]
        await call.write(envoy.response_body(b"b", end_of_stream=True))
        replies.append(envoy.read(await call.read()))
        assert [(one["kind"], one.get("piece")) for one in replies] == [
            ("response_headers", None),
            ("response_body", b"1"),
            ("response_body", b"23"),
        ]
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
        assert running.server.streams == 0


async def test_the_stream_stays_open_after_the_last_message(gateway, envoy):
    async with gateway({RequestHeaders: [[REPLY]]}) as running:
        call = running.process()
        await send_each(call, envoy.request_headers())
        assert running.server.streams == 1
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF


async def test_the_exchange_is_closed_once_however_the_stream_ends(gateway, envoy):
    async with gateway() as running:
        clean, left, failed = (running.process() for _ in range(3))
        for call in (clean, left, failed):
            await send_each(call, envoy.request_headers())
        assert [exchange.closed for exchange in running.exchanges] == [0, 0, 0]
        await clean.done_writing()
        assert await clean.read() is grpc.aio.EOF
        left.cancel()
        await failed.write(b"no message")
        assert await failed.code() is grpc.StatusCode.INTERNAL
        await running.gone()
        assert [exchange.closed for exchange in running.exchanges] == [1, 1, 1]
        open_still = running.process()
        await send_each(open_still, envoy.request_headers())
        await running.server.stop(0)
        await running.gone()
        assert running.exchanges[-1].closed == 1


async def test_each_stream_has_its_own_exchange(gateway, envoy):
    async with gateway() as running:
        calls = [running.process() for _ in range(3)]
        for call in calls:
            await send_each(call, envoy.request_headers())
        assert len(running.exchanges) == 3
        for call in calls:
            call.cancel()
        await running.gone()


@pytest.mark.parametrize(
    ("script", "detail", "words"),
    [
        ({RequestHeaders: [[Abort("told to stop")]]}, "AbandonedError", "told to stop"),
        ({RequestHeaders: [ZeroDivisionError("in the exchange")]}, "ZeroDivisionError", "in the exchange"),
        ({RequestHeaders: [[FORWARD]]}, "WireError", "Forward in state ROUTING"),
        ({RequestHeaders: [[]]}, "RuntimeError", "left Envoy waiting"),
    ],
)
async def test_any_exception_ends_the_stream_in_error(script, detail, words, gateway, envoy, caplog):
    async with gateway(script) as running:
        call = running.process()
        await call.write(envoy.request_headers((":path", "/"), ("x-request-id", "abc-1")))
        assert await call.code() is grpc.StatusCode.INTERNAL
        assert await call.details() == detail
        assert "request abc-1: ended" in caplog.text
        assert words in caplog.text
        await running.gone()


async def test_a_bug_is_logged_with_its_traceback(gateway, envoy, caplog):
    async with gateway({RequestHeaders: [ZeroDivisionError()]}) as running:
        call = running.process()
        await call.write(envoy.request_headers())
        await call.code()
    (record,) = [record for record in caplog.records if record.name == service.__name__]
    assert record.exc_info[0] is ZeroDivisionError


async def test_a_message_over_the_limit_ends_the_stream_in_error(gateway, envoy):
    async with gateway(message_bytes=10_000) as running:
        call = running.process()
        await send_each(call, envoy.request_headers())
        await call.write(envoy.request_body(b"x" * 10_001))
        assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_message_over_grpcios_own_limit_passes_both_ways(gateway, envoy):
    size = 6 << 20
    body = Segments([b"a", memoryview(b"y" * size)[2:], b"z"])
    script = {**WAITING, RequestBody: [[Forward("/", "b", (), body)]]}
    async with gateway(script, message_bytes=8 << 20) as running:
        _, response = await send_each(running.process(), envoy.request_headers(), envoy.request_body(b"x" * size))
        assert envoy.read(response)["body"] == bytes(body)
        assert running.exchange.events[-1] == RequestBody(b"x" * size)


class TestJobs:
    SECONDS = 30

    @pytest.fixture
    def script(self):
        return {**WAITING, RequestBody: [[Wait(Job(), self.SECONDS)]], Resumed: [[REPLY]]}

    async def test_envoy_gets_a_longer_timeout_and_then_the_response(self, script, gateway, envoy):
        async with gateway(script) as running:
            call = running.process()
            _, wait = await send_each(call, envoy.request_headers(), envoy.request_body())
            assert envoy.read(wait)["more_time"] == 100
            await running.jobs.started.wait()
            running.jobs.result.set_result("result")
            assert envoy.read(await call.read())["kind"] == "immediate_response"
            assert running.exchange.events[-1] == Resumed("result")
            assert running.jobs.requested == [(Job(), self.SECONDS)]

    async def test_a_job_may_lead_to_another(self, script, gateway, envoy):
        script[Resumed] = [[Wait(Job("second"), 5)], [REPLY]]
        async with gateway(script) as running:
            call = running.process()
            await send_each(call, envoy.request_headers(), envoy.request_body())
            running.jobs.result.set_result("result")
            assert envoy.read(await call.read())["kind"] == "immediate_response"
            assert [job.name for job, _ in running.jobs.requested] == ["job", "second"]

    @pytest.mark.parametrize("end", ["cancel", "done_writing"])
    async def test_a_client_that_leaves_ends_its_job(self, end, script, gateway, envoy):
        async with gateway(script) as running:
            call = running.process()
            await send_each(call, envoy.request_headers(), envoy.request_body())
            await running.jobs.started.wait()
            ended = getattr(call, end)()
            if asyncio.iscoroutine(ended):
                await ended
            await running.jobs.cancelled.wait()
            await running.gone()

    async def test_a_response_by_envoy_itself_ends_the_job(self, script, gateway, envoy):
        async with gateway({**script, ResponseHeaders: [[REPLY]]}) as running:
            call = running.process()
            await send_each(call, envoy.request_headers(), envoy.request_body())
            await running.jobs.started.wait()
            (head,) = await send_each(call, envoy.response_headers(504, details="stream_idle_timeout"))
            assert envoy.read(head)["kind"] == "immediate_response"
            await running.jobs.cancelled.wait()
            call.cancel()
            await running.gone()

    async def test_a_job_runner_that_fails_ends_the_stream_in_error(self, script, gateway, envoy):
        async with gateway(script) as running:
            call = running.process()
            await send_each(call, envoy.request_headers(), envoy.request_body())
            running.jobs.result.set_exception(TypeError("no such job"))
            assert await call.code() is grpc.StatusCode.INTERNAL
            assert await call.details() == "TypeError"
            await running.gone()


async def test_streams_that_end_while_we_write_are_no_bugs(gateway, envoy, caplog):
    script = {**WAITING, ResponseHeaders: [[Head(200, ())]], ResponseBody: [[Body(b"x" * 10_000)]]}
    async with gateway(script) as running:
        for _ in range(20):
            call = running.process()
            await send_each(call, envoy.request_headers(), envoy.request_body(), envoy.response_headers())
            for _ in range(5):
                await call.write(envoy.response_body(b"x"))
            call.cancel()
        await running.gone()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def opening(count):
    """Encode frames of a client that open `count` streams at once."""
    encoder = Encoder()
    names = [(":method", "POST"), (":scheme", "http"), (":path", PROCESS), (":authority", "envoy"), ("te", "trailers")]
    encoded = [encoder.encode([*names, ("content-type", "application/grpc")]) for _ in range(count)]
    opened = [hf.HeadersFrame(1 + 2 * at, block, flags=["END_HEADERS"]) for at, block in enumerate(encoded)]
    return PREFACE + b"".join(frame.serialize() for frame in (hf.SettingsFrame(0), *opened))


async def ended(reader):
    """Read until the server ends a stream or the connection; return the frame that does, or None at the end."""
    with contextlib.suppress(asyncio.IncompleteReadError):
        while True:
            one, length = hf.Frame.parse_frame_header(memoryview(await reader.readexactly(9)))
            await reader.readexactly(length)
            if isinstance(one, hf.HeadersFrame | hf.RstStreamFrame | hf.GoAwayFrame):
                return one


async def test_a_burst_of_new_streams_ends_none_of_them(gateway):
    """By its defaults grpcio ends new streams at random where more than 1,000 wait for the event loop."""
    async with gateway() as running, contextlib.AsyncExitStack() as stack:
        sockets = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(4)]
        for connection in sockets:
            connection.connect(running.address.path)
        for connection in sockets:
            connection.sendall(opening(1_000))
        connections = [await asyncio.open_connection(sock=connection) for connection in sockets]
        ends = [asyncio.create_task(ended(reader)) for reader, _ in connections]
        async with asyncio.timeout(60):
            while running.server.streams < 4_000 and not any(end.done() for end in ends):  # noqa: ASYNC110 - as in `gone`
                await asyncio.sleep(0.001)
        assert [end.result() for end in ends if end.done()] == []
        for _, writer in connections:
            writer.close()
        await running.gone()
        await asyncio.gather(*ends)


class TestIdle:
    async def test_an_idle_stream_gets_an_idle_event_and_sends_a_keep_alive(self, gateway, envoy):
        script = {**WAITING, ResponseHeaders: [[]], ResponseBody: [[Head(200, ())]], Idle: [[Body(b": \n\n")]]}
        async with gateway(script, timeout=15) as running:
            call = running.process()
            await send_each(call, envoy.request_headers(), envoy.request_body())
            await call.write(envoy.response_headers())
            await send_each(call, envoy.response_body(b"x"))
            running.now += 15
            running.server.tick()
            assert envoy.read(await call.read())["piece"] == b": \n\n"
            assert running.exchange.events[-1] == Idle(15)

    async def test_the_server_ticks_by_itself(self, gateway, envoy):
        script = {**WAITING, ResponseHeaders: [[]], ResponseBody: [[Head(200, ())]], Idle: [[Body(b": \n\n")]]}
        async with gateway(script, timeout=0.01, steady=Clock().steady) as running:
            call = running.process()
            await send_each(call, envoy.request_headers(), envoy.request_body())
            await call.write(envoy.response_headers())
            await send_each(call, envoy.response_body(b"x"))
            assert envoy.read(await call.read())["piece"] == b": \n\n"

    async def test_an_exception_while_idle_ends_the_stream_in_error(self, gateway, envoy):
        async with gateway({**WAITING, Idle: [ZeroDivisionError()]}, timeout=15) as running:
            call = running.process()
            await send_each(call, envoy.request_headers(), envoy.request_body())
            running.now += 15
            running.server.tick()
            assert await call.code() is grpc.StatusCode.INTERNAL
            await running.gone()


class TestHealth:
    async def test_the_health_service_reports_the_status_that_was_set(self, gateway):
        async with gateway() as running:
            assert await running.check() == NOT_SERVING
            running.server.serving = True
            assert await running.check() == SERVING

    async def test_watching_is_not_offered(self, gateway):
        async with gateway() as running:
            call = running.channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
            assert await call.code() is grpc.StatusCode.UNIMPLEMENTED

    async def test_draining_reports_not_serving_and_serves_during_its_notice(self, gateway, envoy):
        async with gateway() as running:
            running.server.serving = True
            drain = asyncio.create_task(running.server.drain(notice=3600, grace=0))
            while await running.check() == SERVING:
                pass
            call = running.process()
            await send_each(call, envoy.request_headers())
            assert not drain.done()
            drain.cancel()
            call.cancel()

    async def test_stopping_lets_streams_finish(self, gateway, envoy):
        async with gateway() as running:
            call = running.process()
            await send_each(call, envoy.request_headers())
            stopped = asyncio.create_task(running.server.drain(notice=0, grace=3600))
            (response,) = await send_each(call, envoy.request_body())
            assert envoy.read(response)["kind"] == "request_body"
            assert not stopped.done()
            await call.done_writing()
            assert await call.code() is grpc.StatusCode.OK
            await stopped

    async def test_after_its_grace_a_stream_is_ended_in_error(self, gateway, envoy):
        async with gateway() as running:
            call = running.process()
            await send_each(call, envoy.request_headers())
            await running.server.drain(notice=0, grace=0.01)
            assert await call.code() is not grpc.StatusCode.OK


class TestListening:
    async def test_the_socket_is_for_owner_and_group(self, gateway, socket_path):
        async with gateway():
            assert stat.S_IMODE(socket_path.stat().st_mode) == 0o660

    async def test_a_second_server_does_not_take_the_socket(self, gateway):
        async with gateway():
            with pytest.raises(ListenError, match="another process"):
                await gateway().server.start(gateway().address)

    async def test_tcp_on_the_loopback_reports_its_port(self, gateway):
        server = gateway().server
        address = await server.start(listen.parse("127.0.0.1:0"))
        assert address.port > 0
        async with grpc.aio.insecure_channel(str(address)) as channel:
            assert await channel.unary_unary(CHECK)(b"") == NOT_SERVING
        await server.stop(0)

    async def test_a_port_that_is_taken_is_an_error(self, gateway):
        first, second = gateway().server, gateway().server
        address = await first.start(listen.parse("127.0.0.1:0"))
        with pytest.raises(ListenError, match=rf"{address.port}: .*(taken by another|in use)"):
            await second.start(address)
        await first.stop(0)
        with contextlib.suppress(Exception):
            await second.stop(0)

    async def test_plain_text_is_not_offered_to_other_machines(self, gateway):
        with pytest.raises(ListenError, match="plain text"):
            await gateway().server.start(listen.parse("0.0.0.0:0"))


class TestTls:
    """TLS of grpcio's server only."""

    @pytest.fixture
    def driver(self):
        return grpcio.GrpcioServer

    @pytest.fixture(scope="class")
    @staticmethod
    def pem(tmp_path_factory):
        """Return a self-signed certificate for localhost, and its key."""
        folder = tmp_path_factory.mktemp("tls")
        subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
        subprocess.run(["openssl", "req", "-x509", *key, *subject, *files], check=True, capture_output=True)
        return (folder / "cert.pem").read_bytes(), (folder / "key.pem").read_bytes()

    @pytest.fixture
    async def port(self, pem, gateway):
        certificate, key = pem
        options = ServerOptions(1 << 20, longest_wait=100, tls=Tls(certificate, key, client_ca=certificate))
        server = grpcio.GrpcioServer(gateway()._new_exchange, Jobs(), options)
        yield (await server.start(listen.parse("localhost:0"))).port
        await server.stop(0)

    async def test_a_client_with_a_certificate_is_served(self, pem, port):
        certificate, key = pem
        credentials = grpc.ssl_channel_credentials(certificate, key, certificate)
        async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
            assert await channel.unary_unary(CHECK)(b"") == NOT_SERVING

    async def test_a_client_without_one_is_not(self, pem, port):
        credentials = grpc.ssl_channel_credentials(pem[0])
        async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
            with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE"):
                await channel.unary_unary(CHECK)(b"")

    async def test_a_key_that_is_none_is_an_error(self, pem, gateway):
        options = ServerOptions(1 << 20, longest_wait=100, tls=Tls(pem[0], b"no key"))
        with pytest.raises(ListenError, match="localhost"):
            await grpcio.GrpcioServer(gateway()._new_exchange, Jobs(), options).start(listen.parse("localhost:0"))


@pytest.fixture(autouse=True)
def _caught_logs(caplog):
    caplog.set_level(logging.INFO)
