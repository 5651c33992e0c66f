"""Limits of the bytes around a body: the fetcher and the job runner against servers that send without end.

The servers have threads of their own, so that they go on sending while the event loop is blocked, and they stop after
`MOST` bytes, so that a test ends all the same. Single bytes of a body are the exception: each is sent after the event
loop had turns to read the one before. On a busy machine many would arrive as one segment, which is no flood.
"""

import asyncio
import itertools
import socket
import ssl
import threading
import time
from contextlib import contextmanager, suppress

import aiohttp.client_proto
import aiohttp.http_parser
import pytest
import uvloop

from extproc.bedrock.endpoints import Endpoint
from extproc.exchange.jobs import SideCall, SideCalls, SideFailure
from extproc.worker.bounded_http import INFORMATIONAL, OVERHEAD, SEGMENTS
from extproc.worker.http_jobs import HttpJobRunner
from tests.certificates import self_signed

SECONDS = 60
HERE = "127.0.0.1"
MOST = 64 * 1024 * 1024
SOON = 8 * 1024 * 1024
"""Bytes that the sockets and one read may hold, generously: a server that was cut has sent no more."""

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
OK = b"HTTP/1.1 200 OK\r\n"
GOOD = OK + b"content-length: %d\r\n\r\n" % len(PNG) + PNG
HINT = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


def chunk(data, extension=b""):
    return b"%x%s\r\n%s\r\n" % (len(data), extension, data)


START = CHUNKED + chunk(PNG)

FLOODS = {
    "informational, in bursts": (b"", HINT * 2000),
    "informational, one by one": (b"", HINT),
    "informational, as short as they get": (b"", b"HTTP/1.1 100\n\n" * 5000),
    "headers": (OK, b"".join(b"x%d: %s\r\n" % (number, b"a" * 50) for number in range(1000))),
    "a header": (OK + b"x: ", b"a" * 65_536),
    "a reason": (b"HTTP/1.1 200 ", b"a" * 65_536),
    "empty lines": (b"", b"\r\n" * 10_000),
    "chunks of one byte": (START, chunk(b"A") * 10_000),
    "chunks of one byte, one by one": (START, chunk(b"A")),
    "chunks with zeros before their sizes": (START, (b"0" * 200 + chunk(b"A")) * 100),
    "a chunk's extension": (START + b"5;", b"a" * 65_536),
    "extensions": (START, chunk(b"A", b";" + b"x" * 4000) * 20),
    "trailers": (START + b"0\r\n", b"".join(b"t%d: %s\r\n" % (number, b"a" * 50) for number in range(1000))),
    "bytes of a body, one by one": (OK + b"content-length: 4000000\r\n\r\n" + PNG, b"a"),
}


class EndlessServer:
    """A server that sends the beginning configured for each path, and then its rest again and again."""

    def __init__(self, responses, tls=None):
        self.responses, self.tls = responses, tls
        self.sent = self.calls = self.turns = 0
        self.listener = socket.create_server((HERE, 0), backlog=100)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        connection.settimeout(SECONDS)
        with suppress(OSError):
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            while self.respond(connection):
                pass
        connection.close()

    def respond(self, connection):
        head = b""
        while b"\r\n\r\n" not in head:
            piece = connection.recv(65_536)
            if not piece:
                return False
            head += piece
        self.calls += 1
        beginning, rest = self.responses[head.split(b" ")[1].decode()]
        for piece in beginning if isinstance(beginning, list) else [beginning]:
            connection.sendall(piece)
        start = self.sent
        while rest and self.sent - start < MOST:
            connection.sendall(rest)
            self.sent += len(rest)
            if len(rest) == 1:
                self.await_turns(3)
        return True

    def await_turns(self, count):
        """Wait until the event loop has had so many turns, or its test has ended."""
        last = self.turns + count
        while self.turns < last and self.listener.fileno() >= 0:
            time.sleep(0)


@contextmanager
def flooding(responses, tls=None):
    server = EndlessServer(responses, tls)
    yield server
    server.listener.close()


@contextmanager
def ticking(server):
    """Measure the most that a server sends between two turns of the event loop."""
    gaps = [0]

    async def tick():
        last = server.sent
        while True:
            await asyncio.sleep(0)
            gaps.append(server.sent - last)
            last = server.sent
            server.turns += 1

    task = asyncio.get_running_loop().create_task(tick())
    yield gaps
    task.cancel()


@pytest.fixture(params=["C", "Python"])
def parser(request, monkeypatch):
    one = {"C": aiohttp.http_parser.HttpResponseParserC, "Python": aiohttp.http_parser.HttpResponseParserPy}
    monkeypatch.setattr(aiohttp.client_proto, "HttpResponseParser", one[request.param])


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    return self_signed(tmp_path_factory.mktemp("tls"), "images.example", "IP:127.0.0.1")


@pytest.fixture
def tls(pem):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem / "cert.pem", pem / "key.pem")
    return context


@pytest.mark.parametrize("flood", FLOODS)
class TestFloodsOfBytes:
    async def test_an_image(self, flood, parser, fetching, image, failure):
        with flooding({"/flood": FLOODS[flood], "/good": (GOOD, b"")}) as server, ticking(server) as gaps:
            async with fetching(server) as fetcher:
                url = f"http://{HERE}:{server.port}"
                failed, good = await asyncio.gather(
                    failure(fetcher, f"{url}/flood", max_bytes=4_000_000, total_bytes=4_000_000),
                    image(fetcher, f"{url}/good"),
                )
        assert failed.code == "failed_to_download_image"
        assert good.data == PNG
        assert server.sent < SOON
        assert max(gaps) < SOON

    async def test_an_image_over_tls_on_the_loop_that_workers_have(self, flood, pem, tls, names, fetching, failure):
        async def fetch():
            with flooding({"/flood": FLOODS[flood]}, tls) as server, ticking(server) as gaps:
                environ = {"SSL_CERT_FILE": str(pem / "cert.pem")}
                async with fetching(server, lookup=names, environ=environ) as fetcher:
                    url = f"https://images.example:{server.port}/flood"
                    failed = await failure(fetcher, url, max_bytes=4_000_000, total_bytes=4_000_000)
            return failed.code, server.sent < SOON, max(gaps) < SOON

        assert await asyncio.to_thread(uvloop.run, fetch()) == ("failed_to_download_image", True, True)

    async def test_a_side_call(self, flood, parser):
        with flooding({"/flood": FLOODS[flood]}) as server, ticking(server) as gaps:
            async with HttpJobRunner(Endpoint("http", HERE, server.port), {}, lambda attempt: 0) as run_job:
                call = SideCall("/flood", (), b"{}", 4_000_000)
                result = await run_job(SideCalls((call,), 1, SECONDS), SECONDS)
        assert isinstance(result, SideFailure)
        assert not result.timed_out
        assert server.sent < SOON
        assert max(gaps) < SOON


class Records(EndlessServer):
    """A server that sends all of a response at once, in TLS records of so many bytes."""

    def __init__(self, response, size, tls):
        self.response, self.size = response, size
        super().__init__({}, tls)

    def serve(self, connection):
        connection.settimeout(SECONDS)
        received, to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = self.tls.wrap_bio(received, to_send, server_side=True)
        with suppress(OSError):
            for step in (session.do_handshake, lambda: session.read(65_536)):
                while True:
                    try:
                        step()
                        break
                    except ssl.SSLWantReadError:
                        connection.sendall(to_send.read())
                        received.write(connection.recv(65_536))
            for start in range(0, len(self.response), self.size):
                session.write(self.response[start : start + self.size])
            connection.sendall(to_send.read())
            connection.recv(1)
        connection.close()


@pytest.mark.parametrize(("size", "good"), [(1, False), (100, False), (300, True), (16_000, True)])
async def test_an_image_in_tls_records_of_so_many_bytes(size, good, pem, tls, names, fetching, job):
    body = PNG + bytes(400_000 - len(PNG))

    async def fetch():
        server = Records(OK + b"content-length: %d\r\n\r\n" % len(body) + body, size, tls)
        async with fetching(server, lookup=names, environ={"SSL_CERT_FILE": str(pem / "cert.pem")}) as fetcher:
            url = f"https://images.example:{server.port}/"
            result = await fetcher.fetch(job(url, max_bytes=len(body), total_bytes=len(body)), SECONDS)
        server.listener.close()
        return result

    for run in (asyncio.run, uvloop.run):
        result = await asyncio.to_thread(run, fetch())
        if good:
            assert result[0].data == body
        else:
            assert result.code == "failed_to_download_image"


def around(*pieces):
    """Return chunks of 8 KiB with these pieces first."""
    body = PNG + bytes(3_750_000 - len(PNG))
    chunks = [chunk(bytes(body[start : start + 8192])) for start in range(0, len(body), 8192)]
    return b"".join([*pieces, *chunks, b"0\r\n\r\n"]), body


class TestAcceptedResponses:
    @pytest.mark.parametrize("hints", range(INFORMATIONAL + 2))
    async def test_so_many_informational_responses(self, hints, parser, fetching, job):
        with flooding({"/a": (HINT * hints + GOOD, b"")}) as server:
            async with fetching(server) as fetcher:
                result = await fetcher.fetch(job(f"http://{HERE}:{server.port}/a"), SECONDS)
        if hints <= INFORMATIONAL:
            assert result[0].data == PNG
        else:
            assert "too much beside the image" in result.reason

    async def test_a_large_image_in_chunks(self, parser, fetching, image):
        response, body = around(HINT, CHUNKED)
        with flooding({"/a": (response, b"")}) as server:
            async with fetching(server) as fetcher:
                limits = {"max_bytes": len(body), "total_bytes": len(body)}
                assert (await image(fetcher, f"http://{HERE}:{server.port}/a", **limits)).data == body

    async def test_a_large_image_over_tls(self, pem, tls, names, fetching, image):
        response, body = around(CHUNKED)
        with flooding({"/a": (response, b"")}, tls) as server:
            environ = {"SSL_CERT_FILE": str(pem / "cert.pem")}
            async with fetching(server, lookup=names, environ=environ) as fetcher:
                limits = {"max_bytes": len(body), "total_bytes": len(body)}
                assert (await image(fetcher, f"https://images.example:{server.port}/a", **limits)).data == body

    async def test_chunks_of_128_bytes(self, parser, fetching, image):
        body = PNG + bytes(1_000_000 - len(PNG))
        chunks = [chunk(body[start : start + 128]) for start in range(0, len(body), 128)]
        with flooding({"/a": (b"".join([CHUNKED, *chunks, b"0\r\n\r\n"]), b"")}) as server:
            async with fetching(server) as fetcher:
                limits = {"max_bytes": len(body), "total_bytes": len(body)}
                assert (await image(fetcher, f"http://{HERE}:{server.port}/a", **limits)).data == body

    async def test_a_small_response_in_single_bytes(self, parser, fetching, image):
        assert len(GOOD) < SEGMENTS
        with flooding({"/a": ([bytes([byte]) for byte in GOOD], b"")}) as server:
            async with fetching(server) as fetcher:
                assert (await image(fetcher, f"http://{HERE}:{server.port}/a")).data == PNG


class TestConnectionsThatAreKept:
    """Calls to Bedrock share connections: the count starts anew with each response, and nothing may come between."""

    async def test_each_response_may_have_so_much(self, parser):
        head = OK + b"x: %s\r\n" % (b"x" * 8000) * 3 + b"content-length: 2\r\n\r\nok"
        assert len(head) < OVERHEAD < 2 * len(head)
        with flooding({"/a": (HINT * INFORMATIONAL + head, b"")}) as server:
            async with HttpJobRunner(Endpoint("http", HERE, server.port), {}, lambda attempt: 0) as run_job:
                call = SideCall("/a", (), b"{}")
                responses = await run_job(SideCalls((call,) * 20, 1, SECONDS), SECONDS)
        assert [reply.body for reply in responses] == [b"ok"] * 20

    @pytest.mark.parametrize(
        "more", [HINT, HINT * 2000, b"\r\n", OK + b"content-length: 4\r\n\r\nevil", b"\0" * 65_536]
    )
    async def test_bytes_after_a_response_never_reach_another_call(self, more, parser):
        count = itertools.count()
        with flooding({"/a": (b"", b"")}) as server:
            good = server.respond

            def reply(connection):
                server.responses["/a"] = (OK + b"content-length: 2\r\n\r\n%02d" % next(count) + more, b"")
                return good(connection)

            server.respond = reply
            async with HttpJobRunner(Endpoint("http", HERE, server.port), {}, lambda attempt: 0) as run_job:
                call = SideCall("/a", (), b"{}")
                responses = await run_job(SideCalls((call,) * 5, 1, SECONDS), SECONDS)
        if not isinstance(responses, SideFailure):  # as where it came in the same segment, and is no HTTP, or too much
            assert len({reply.body for reply in responses}) == 5
            assert all(reply.body.isdigit() for reply in responses)
