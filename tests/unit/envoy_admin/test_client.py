"""Whatever listens at Envoy's addresses, a question to it has an answer or none, and raises nothing."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from socket import AF_UNIX
from socket import socket as UnixSocket  # noqa: N812 - the fixture has its name

import pytest

from extproc.envoy_admin import client
from extproc.envoy_admin.client import Admin, healthy
from extproc.net import Address

NAME = "cluster.processor.membership_healthy"
OK = b"HTTP/1.1 200 OK\r\nconnection: close\r\n"

RESPONSES = {
    "of a known length": (OK + b"content-length: 40\r\n\r\n" + f"{NAME}: 2\n".encode(), 2),
    "in chunks": (OK + b"transfer-encoding: chunked\r\n\r\n28\r\n" + f"{NAME}: 2\n".encode() + b"\r\n0\r\n\r\n", 2),
    "until the end": (OK + f"\r\n{NAME}: 12\n".encode(), 12),
    "without the value": (OK + b"content-length: 0\r\n\r\n", None),
    "no number": (OK + f"\r\n{NAME}: No recorded values\n".encode(), None),
    "cut off": (OK + b"content-length: 100\r\n\r\n" + f"{NAME}: 2\n".encode(), None),
    "cut off in a chunk": (OK + b"transfer-encoding: chunked\r\n\r\n28\r\nclus", None),
    "an error": (b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", None),
    "no HTTP": (b"220 mail.example.com ESMTP\r\n", None),
    "nothing": (b"", None),
}


@pytest.fixture
def socket() -> Iterator[Path]:
    """Return a path that is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="admin-") as name:
        yield Path(name, "s")


def unix_socket() -> UnixSocket:
    """Return a socket whose calls do not wait."""
    made = UnixSocket(AF_UNIX)
    made.setblocking(False)
    return made


@contextlib.asynccontextmanager
async def listening(path: Path, response: bytes) -> AsyncIterator[list[bytes]]:
    """Send this to every client, and close its connection; the requests are collected."""
    requests: list[bytes] = []

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(response)
        writer.close()

    async with await asyncio.start_unix_server(respond, path):
        yield requests


@pytest.mark.parametrize("shape", RESPONSES)
async def test_a_gauge_is_read_from_any_complete_response(socket: Path, shape: str) -> None:
    response, value = RESPONSES[shape]
    async with listening(socket, response) as requests:
        assert await Admin(socket).gauge(NAME) == value
    [head] = requests
    assert head.startswith(b"GET /stats?filter=^cluster[.]processor[.]membership_healthy$ HTTP/1.1\r\nhost: envoy\r\n")


async def test_nobody_listens(socket: Path) -> None:
    admin = Admin(socket)
    assert not await admin.present()
    assert not await admin.ready()
    assert await admin.responds(60) is None
    assert await admin.gauge(NAME) is None
    assert not await healthy(Address("127.0.0.1", 1))


async def test_one_that_never_responds_counts_as_away(socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_SECONDS", 0.05)
    held: list[asyncio.StreamWriter] = []
    async with await asyncio.start_unix_server(lambda _, writer: held.append(writer), socket):
        assert not await Admin(socket).fail_health_checks()
        held[0].close()


@pytest.mark.parametrize("shape", RESPONSES)
async def test_any_response_is_one(socket: Path, shape: str) -> None:
    """A 503, which Envoy sends while it is drained, shows as well as a 200 that its main thread runs."""
    async with listening(socket, RESPONSES[shape][0]) as requests:
        assert await Admin(socket).responds(60) is True
    [head] = requests
    assert head.startswith(b"GET /ready HTTP/1.1\r\nhost: envoy\r\n")


async def test_silence_is_no_response(socket: Path) -> None:
    held: list[asyncio.StreamWriter] = []
    async with await asyncio.start_unix_server(lambda _, writer: held.append(writer), socket):
        assert await Admin(socket).responds(0.05) is False
        held[0].close()


async def test_neither_is_a_queue_of_connections_that_is_full(socket: Path) -> None:
    """Readers of /metrics fill the queue of an Envoy whose main thread takes none of them."""
    with contextlib.ExitStack() as stack:
        stuck = stack.enter_context(unix_socket())
        stuck.bind(str(socket))
        stuck.listen(1)
        with contextlib.suppress(BlockingIOError):
            for _ in range(10):
                stack.enter_context(unix_socket()).connect(str(socket))
        with pytest.raises(BlockingIOError):
            stack.enter_context(unix_socket()).connect(str(socket))
        assert await Admin(socket).responds(60) is False


async def test_a_socket_whose_program_is_gone_is_nobodys(socket: Path) -> None:
    with unix_socket() as left_behind:
        left_behind.bind(str(socket))
    assert await Admin(socket).responds(60) is None


@pytest.mark.parametrize(("status", "expected"), [(b"200 OK", True), (b"503 Service Unavailable", False)])
async def test_callers_are_served_where_healthz_says_so(status: bytes, expected: bool) -> None:
    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1:")
        writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
        assert await healthy(Address("127.0.0.1", server.sockets[0].getsockname()[1])) is expected
