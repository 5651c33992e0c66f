"""The job runner against a local server: requests, responses, and failures."""

import asyncio
import gzip
import ssl
from ipaddress import ip_network

import pytest
from aiohttp import web

from extproc.bedrock.endpoints import Endpoint
from extproc.exchange.jobs import (
    Fetch,
    Fetched,
    FetchFailure,
    SideCall,
    SideCalls,
    SideFailure,
    SideIdle,
    SideResponse,
)
from extproc.worker.bounded_http import BoundedResponseHandler
from extproc.worker.http_jobs import TRIES, HttpJobRunner
from extproc.worker.image_fetcher import Fetcher
from tests.certificates import self_signed

SECONDS = 30


class Bedrock:
    """A server that follows a script for each path, and records the requested paths."""

    def __init__(self):
        self.script = {}
        self.paths = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.gone = asyncio.Event()
        self.first_request = asyncio.Event()
        self.transport = None
        self.two_hang = asyncio.Barrier(3)

    async def handle(self, request):
        self.paths.append(request.path)
        self.transport = request.transport
        self.first_request.set()
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            steps = self.script.get(request.path, [200])
            step = steps.pop(0) if len(steps) > 1 else steps[0]
            if step == "when two hang":
                await self.two_hang.wait()
                step = steps[0]
            if step == "hang beside another":
                await self.two_hang.wait()
                step = "hang"
            if step == "hang":
                await asyncio.Event().wait()
            if step == "cut":
                request.transport.close()
                return web.Response()
            if step == "cut in the body":
                response = web.StreamResponse(headers={"content-length": "100"})
                await response.prepare(request)
                await response.write(b"{")
                request.transport.close()
                return response
            await asyncio.sleep(0)
            return web.Response(status=step, body=request.path.encode(), headers={"X-Amzn-RequestId": "r-1"})
        except asyncio.CancelledError:
            self.gone.set()
            raise
        finally:
            self.in_flight -= 1


async def serve(handle, tls=None):
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "localhost", 0, ssl_context=tls)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    return runner, Endpoint("https" if tls else "http", "localhost", port)


@pytest.fixture
async def bedrock():
    bedrock = Bedrock()
    runner, bedrock.endpoint = await serve(bedrock.handle)
    yield bedrock
    await runner.cleanup()


@pytest.fixture
async def run_job(bedrock):
    async with HttpJobRunner(bedrock.endpoint, backoff=lambda attempt: 0) as performer:
        yield performer


def calls(*paths, concurrency=4, idle_seconds=SECONDS):
    return SideCalls(tuple(SideCall(path, (), b"{}") for path in paths), concurrency, idle_seconds)


async def test_the_responses_are_in_the_order_of_the_calls(bedrock, run_job):
    paths = [f"/{index}" for index in range(20)]
    responses = await run_job(calls(*paths), SECONDS)
    assert [reply.body.decode() for reply in responses] == paths
    assert responses[0].status == 200
    assert responses[0].headers["x-amzn-requestid"] == "r-1"
    assert sorted(bedrock.paths) == sorted(paths)


async def test_no_calls_are_no_responses(run_job):
    assert await run_job(calls(), SECONDS) == ()


@pytest.mark.parametrize("concurrency", [1, 3, 100])
async def test_no_more_calls_are_in_flight_than_it_may_have(concurrency, bedrock, run_job):
    await run_job(calls(*(f"/{index}" for index in range(30)), concurrency=concurrency), SECONDS)
    assert bedrock.most_in_flight <= concurrency
    assert len(bedrock.paths) == 30


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_temporary_failure_is_retried(status, bedrock, run_job):
    bedrock.script["/a"] = [status] * (TRIES - 1) + [200]
    (reply,) = await run_job(calls("/a"), SECONDS)
    assert reply.status == 200
    assert len(bedrock.paths) == TRIES


async def test_a_permanent_failure_is_the_result(bedrock, run_job):
    bedrock.script["/a"] = [503]
    reply = await run_job(calls("/a"), SECONDS)
    assert (reply.status, reply.body) == (503, b"/a")
    assert len(bedrock.paths) == TRIES


@pytest.mark.parametrize("status", [201, 302, 400, 403, 404, 408, 424])
async def test_a_permanent_failure_is_not_retried(status, bedrock, run_job):
    bedrock.script["/a"] = [status]
    assert (await run_job(calls("/a"), SECONDS)).status == status
    assert len(bedrock.paths) == 1


async def test_the_first_failure_ends_the_other_calls(bedrock, run_job):
    bedrock.script |= {"/slow": ["hang"], "/bad": [400]}
    result = await run_job(calls("/slow", "/bad", "/never", concurrency=2), SECONDS)
    assert result.status == 400
    assert "/never" not in bedrock.paths
    await bedrock.gone.wait()


@pytest.mark.parametrize("before", [(), ("/before",)])
@pytest.mark.parametrize("step", ["cut", "cut in the body"])
async def test_a_call_that_may_have_begun_is_not_tried_again(step, before, bedrock, run_job):
    bedrock.script["/a"] = [step, 200]
    await run_job(calls(*before), SECONDS)  # its connection is used again
    result = await run_job(calls("/a"), SECONDS)
    assert isinstance(result, SideFailure)
    assert (result.timed_out, result.begun) == (False, (0,))
    assert bedrock.paths == [*before, "/a"]


async def test_a_pooled_connection_that_was_closed_meanwhile_is_no_failure(bedrock, run_job, monkeypatch):
    closed = asyncio.Event()
    lose = BoundedResponseHandler.connection_lost
    monkeypatch.setattr(BoundedResponseHandler, "connection_lost", lambda *of: (lose(*of), closed.set()))
    await run_job(calls("/before"), SECONDS)
    bedrock.transport.close()
    await closed.wait()
    assert [reply.status for reply in await run_job(calls("/a"), SECONDS)] == [200]
    assert bedrock.paths == ["/before", "/a"]


async def test_a_connection_that_closes_before_the_request_is_sent_is_replaced(bedrock, run_job, monkeypatch):
    connections = []

    def closing_once(protocol, **params):
        ready(protocol, **params)
        if not connections:
            protocol.transport.close()
        connections.append(protocol)

    ready = BoundedResponseHandler.set_response_params
    monkeypatch.setattr(BoundedResponseHandler, "set_response_params", closing_once)
    assert [reply.status for reply in await run_job(calls("/a"), SECONDS)] == [200]
    assert len(connections) == 2
    assert bedrock.paths == ["/a"]


async def test_a_server_that_is_not_there_is_a_failure(bedrock):
    runner, endpoint = await serve(bedrock.handle)
    await runner.cleanup()
    async with HttpJobRunner(endpoint, backoff=lambda attempt: 0) as run_job:
        result = await run_job(calls("/a"), SECONDS)
    assert isinstance(result, SideFailure)
    assert not result.timed_out
    assert result.begun == ()
    assert "could not be reached" in result.message


async def test_a_job_has_so_many_seconds(bedrock, run_job):
    bedrock.script["/a"] = ["hang"]
    failure = SideFailure(True, "Bedrock did not respond within 0.5 seconds", begun=(0,))
    assert await run_job(calls("/a"), 0.5) == failure
    await bedrock.gone.wait()


async def test_a_failure_names_the_calls_that_were_sent_and_have_no_response(bedrock, run_job):
    bedrock.script |= {"/bad": ["when two hang", 400], "/slow": ["hang beside another"]}
    result = await run_job(calls("/bad", "/slow", "/slow", "/never", concurrency=3), SECONDS)
    assert (result.status, result.begun) == (400, (1, 2))
    assert bedrock.paths.count("/slow") == 2


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_call_that_waits_for_another_try_is_none_that_was_sent(status, bedrock):
    bedrock.script |= {"/again": [status], "/slow": ["hang"]}
    async with HttpJobRunner(bedrock.endpoint, backoff=lambda attempt: 3600) as run_job:
        result = await run_job(calls("/again", "/slow", "/a", concurrency=3), 0.5)
    assert (result.timed_out, result.begun) == (True, (1, 2))


async def test_a_timeout_names_the_calls_that_were_sent(bedrock, run_job):
    bedrock.script["/b"] = ["hang"]
    result = await run_job(calls("/a", "/b", "/never", concurrency=1), 0.5)
    assert (result.timed_out, result.begun) == (True, (0, 1))
    await bedrock.gone.wait()


async def test_a_server_that_hangs_ends_the_job_without_a_retry(bedrock, run_job):
    bedrock.script["/a"] = ["hang"]
    assert await run_job(calls("/a", "/b", idle_seconds=0.05), SECONDS) == SideIdle(0.05, begun=(0, 1))
    assert bedrock.paths.count("/a") == 1
    await bedrock.gone.wait()


async def test_waiting_for_another_try_counts(bedrock):
    bedrock.script["/a"] = [503]
    async with HttpJobRunner(bedrock.endpoint, backoff=lambda attempt: 3600) as run_job:
        assert (await run_job(calls("/a"), 0.05)).timed_out


async def test_cancelling_it_ends_its_calls(bedrock, run_job):
    bedrock.script["/a"] = ["hang"]
    job = asyncio.create_task(run_job(calls("/a"), SECONDS))
    await bedrock.first_request.wait()
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    await bedrock.gone.wait()


class Endless:
    """A server that goes on sending a body until its connection is closed."""

    def __init__(self, head):
        self.head, self.sent, self.calls = head, 0, 0
        self.closed = asyncio.Event()

    async def handle(self, reader, writer):
        self.calls += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(self.head)
        try:
            while True:
                writer.write(bytes(16_384))
                self.sent += 16_384
                await writer.drain()
        except ConnectionError:
            self.closed.set()


@pytest.mark.parametrize(
    ("head", "begun"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", (0,)),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n", (0,)),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", ()),
    ],
)
async def test_a_response_is_read_no_further_than_it_may_be_long(head, begun):
    endless = Endless(head)
    server = await asyncio.start_server(endless.handle, "127.0.0.1", 0)
    endpoint = Endpoint("http", "127.0.0.1", server.sockets[0].getsockname()[1])
    async with server, HttpJobRunner(endpoint, backoff=lambda attempt: 0) as run_job:
        result = await run_job(SideCalls((SideCall("/a", (), b"{}", 100_000),), 1, SECONDS), SECONDS)
        await endless.closed.wait()
    assert result == SideFailure(False, "Bedrock sent more than 100000 bytes", too_large=True, begun=begun)
    assert endless.calls == 1


async def test_a_response_may_be_just_so_long(bedrock, run_job):
    path = "/" + "a" * 99
    (reply,) = await run_job(SideCalls((SideCall(path, (), b"{}", 100),), 1, SECONDS), SECONDS)
    assert reply.body == path.encode()
    result = await run_job(SideCalls((SideCall(path + "b", (), b"{}", 100),), 1, SECONDS), SECONDS)
    assert result.too_large


async def test_a_compressed_response_is_not_expanded():
    async def handle(request):
        return web.Response(body=gzip.compress(bytes(1_000_000)), headers={"content-encoding": "gzip"})

    runner, endpoint = await serve(handle)
    async with HttpJobRunner(endpoint) as run_job:
        (reply,) = await run_job(SideCalls((SideCall("/a", (), b"{}", 10_000),), 1, SECONDS), SECONDS)
    await runner.cleanup()
    assert len(reply.body) < 10_000


async def test_a_call_goes_out_byte_for_byte_as_it_was_signed():
    seen = asyncio.get_running_loop().create_future()

    async def reply(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        seen.set_result(head + await reader.readexactly(4))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(reply, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    path = "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ax%2Fy%20z/invoke"
    headers = (("authorization", "AWS4-HMAC-SHA256 x"), ("content-type", "application/json"))
    async with server, HttpJobRunner(Endpoint("http", "127.0.0.1", port)) as run_job:
        job = SideCalls((SideCall(path, headers, b"{ \n}"),), 1, SECONDS)
        assert await run_job(job, SECONDS) == (SideResponse(200, {"content-length": "2"}, b"ok"),)
    head, body = (await seen).split(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    assert line == f"POST {path} HTTP/1.1"
    assert sorted(field.lower() for field in fields) == sorted(
        [
            f"host: 127.0.0.1:{port}",
            "authorization: aws4-hmac-sha256 x",
            "content-type: application/json",
            "content-length: 4",
        ]
    )
    assert body == b"{ \n}"


class TestFetches:
    PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)

    @pytest.fixture
    async def images(self):
        async def handle(request):
            return web.Response(body=self.PNG, content_type="image/png")

        runner, endpoint = await serve(handle)
        yield f"http://127.0.0.1:{endpoint.port}/a.png", endpoint.port
        await runner.cleanup()

    async def test_images_are_fetched_beside_the_calls(self, bedrock, images):
        url, port = images
        fetcher = Fetcher({}, ports=frozenset({port}), allow=[ip_network("127.0.0.1")])
        async with HttpJobRunner(bedrock.endpoint, fetcher=fetcher) as run_job:
            fetched, responses = await asyncio.gather(
                run_job(Fetch((url, url), 100, 1000, 2), SECONDS), run_job(calls("/a"), SECONDS)
            )
        assert fetched == (Fetched(self.PNG, "image/png"),) * 2
        assert [reply.status for reply in responses] == [200]
        assert bedrock.paths == ["/a"]

    async def test_nothing_inside_is_fetched_unless_allowed(self, images, run_job):
        url, port = images
        for each in (url, url.replace(f":{port}", "")):
            result = await run_job(Fetch((each,), 100, 1000, 2), SECONDS)
            assert isinstance(result, FetchFailure)
            assert result.code == "invalid_image_url"


class TestJobsWithTls:
    @pytest.fixture(scope="class")
    @staticmethod
    def pem(tmp_path_factory):
        return self_signed(tmp_path_factory.mktemp("tls"))

    @pytest.fixture
    async def endpoint(self, pem, bedrock):
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pem / "cert.pem", pem / "key.pem")
        runner, endpoint = await serve(bedrock.handle, context)
        yield endpoint
        await runner.cleanup()

    @pytest.mark.parametrize("name", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
    async def test_awss_own_settings_select_the_trusted_authorities(self, name, endpoint, pem):
        async with HttpJobRunner(endpoint, {name: str(pem / "cert.pem")}) as run_job:
            assert [reply.status for reply in await run_job(calls("/a"), SECONDS)] == [200]

    async def test_a_stranger_is_not_trusted(self, endpoint):
        async with HttpJobRunner(endpoint, {}, backoff=lambda attempt: 0) as run_job:
            result = await run_job(calls("/a"), SECONDS)
        assert "CERTIFICATE_VERIFY_FAILED" in result.message
