"""The small health probe: grpcio's server and the gateway's as the peer, and peers that are no gRPC servers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from extproc.net import Address
from extproc.transport import grpcio
from extproc.transport.http2.frames import PING, PREFACE, frame, settings
from extproc.transport.http2.server import Http2Server
from extproc.transport.probe import responds
from extproc.transport.service import ServerOptions

LONG = 30.0


@pytest.fixture(params=[grpcio.GrpcioServer, Http2Server], ids=["grpcio", "http2"])
async def server(request: Any, socket_path: Path) -> AsyncIterator[Any]:
    server = request.param(lambda: None, lambda job, seconds: None, ServerOptions(1 << 20, longest_wait=100))
    await server.start(Address(path=str(socket_path)))
    yield server
    await server.stop(0)


@pytest.mark.parametrize("serving", [True, False])
async def test_a_worker_responds_whatever_its_status_is(server: Any, serving: bool, socket_path: Path) -> None:
    server.serving = serving
    for _ in range(3):
        assert await responds(str(socket_path), LONG)


async def test_no_server_is_a_failure(socket_path: Path) -> None:
    assert not await responds(str(socket_path), LONG)


@pytest.mark.parametrize("bytes_sent", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 9, b"\0\0\1\0\1\0\0\0\1x"])
async def test_a_stranger_who_closes(bytes_sent: bytes, socket_path: Path) -> None:
    async def reply(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes_sent)
        writer.close()

    async with await asyncio.start_unix_server(reply, socket_path):
        assert not await responds(str(socket_path), LONG)


async def test_one_that_is_stuck_takes_the_connection_and_is_not_waited_for(socket_path: Path) -> None:
    async def never(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await asyncio.Event().wait()

    server = await asyncio.start_unix_server(never, socket_path)
    assert not await responds(str(socket_path), 0.05)
    server.close()


def remove(path: Path) -> None:
    path.unlink()


def put_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


async def pinged(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Return whether the other end of this connection acknowledges a PING."""
    writer.write(frame(PING, 0, 0, b"12345678"))
    async with asyncio.timeout(LONG):
        return b"12345678" in await reader.readuntil(b"12345678")


async def test_a_socket_that_was_removed_is_made_again_and_connections_stay(server: Any, socket_path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(socket_path)
    writer.write(PREFACE + settings({}))
    assert await pinged(reader, writer)
    assert not await server.listen_again()
    remove(socket_path)
    assert not await responds(str(socket_path), LONG)
    assert await server.listen_again()
    assert await responds(str(socket_path), LONG)
    assert not await server.listen_again()
    assert mode(socket_path) == 0o660
    assert await pinged(reader, writer)
    writer.close()
    await server.stop(0)
    assert mode(socket_path) is None


def mode(path: Path) -> int | None:
    return path.stat().st_mode & 0o777 if path.exists() else None


async def test_another_socket_at_a_removed_path_is_left(server: Any, socket_path: Path) -> None:
    put_a_folder(socket_path)
    assert not await server.listen_again()
    assert mode(socket_path) is not None
