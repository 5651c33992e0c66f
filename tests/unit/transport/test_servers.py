"""Exchanges over both gRPC transports with grpcio's own client as the peer, over a unix socket; the peer plays Envoy.

Both have the same behaviour.
"""

import asyncio
import contextlib
import logging
import socket

import grpc
import grpc.aio
import hyperframe.frame as hf
import pytest
from hpack import Encoder

from extproc.exchange.directives import Abort, Body, Forward, Head, Reply, Wait
from extproc.exchange.events import Idle, RequestBody, RequestHeaders, ResponseBody, ResponseHeaders, Resumed
from extproc.payload import Segments
from extproc.transport import service
from extproc.transport.http2.frames import PREFACE
from extproc.transport.stream import Clock
from tests.unit.transport.served import FORWARD, PROCESS, REPLY, WAITING, Job, send_each

LARGE = Segments([b"a", memoryview(b"y" * (6 << 20))[2:], b"z"])


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
    size = len(LARGE)
    script = {**WAITING, RequestBody: [[Forward("/", "b", (), LARGE)]]}
    async with gateway(script, message_bytes=8 << 20) as running:
        _, response = await send_each(running.process(), envoy.request_headers(), envoy.request_body(b"x" * size))
        assert envoy.read(response)["body"] == bytes(LARGE)
        assert running.exchange.events[-1] == RequestBody(b"x" * size)


@pytest.mark.parametrize("directives", [[Head(200, ()), Body(LARGE, True)], [Reply(200, (), LARGE, "x")]])
async def test_a_response_in_segments_arrives_whole(directives, gateway, envoy):
    script = {**WAITING, ResponseHeaders: [[]], ResponseBody: [directives]}
    async with gateway(script) as running:
        call = running.process()
        await send_each(call, envoy.request_headers(), envoy.request_body())
        await call.write(envoy.response_headers())
        await call.write(envoy.response_body(b"a", end_of_stream=True))
        head, body = [envoy.read(await call.read()) for _ in range(2)]
        assert (head["kind"], body["piece"], body["end_of_stream"]) == ("response_headers", bytes(LARGE), True)


class TestJobsOfServers:
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


class TestIdleServers:
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


@pytest.fixture(autouse=True)
def _caught_logs(caplog):
    caplog.set_level(logging.INFO)
