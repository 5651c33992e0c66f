"""The http2 transport and a client that does not read, over a unix socket."""

import asyncio

import hyperframe.frame as hf
import pytest
from hpack import Encoder

from extproc.exchange.directives import Body, Continue, Forward, Head
from extproc.exchange.events import RequestBody, RequestHeaders, ResponseBody, ResponseHeaders
from extproc.net import Address
from extproc.transport.http2 import framing
from extproc.transport.http2.frames import (
    DATA,
    END_HEADERS,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LARGEST,
    PING,
    PREFACE,
    SETTINGS_ACK,
    frame,
    settings,
    window_update,
)
from extproc.transport.http2.server import WRITE_BUFFER_BYTES, Http2Server
from extproc.transport.http2.session import PROCESS
from extproc.transport.service import ServerOptions

ONE_READ = 256 * 1024
"""uvloop's, and asyncio's."""

RESPONSE = b"y" * 10_000
SCRIPT = {
    RequestHeaders: [[Continue()]],
    RequestBody: [[Forward("/", "b", (), b"{}")]],
    ResponseHeaders: [[Head(200, ())]],
    ResponseBody: [[Body(RESPONSE)]],
}


class InspectedServer(Http2Server):
    """A server whose last connection can be inspected."""

    peer = None

    def peer_connected(self, peer):
        super().peer_connected(peer)
        self.peer = peer

    @property
    def transport(self):
        return self.peer._transport


@pytest.fixture
async def server(scripted, socket_path):
    server = InspectedServer(lambda: scripted(SCRIPT), None, ServerOptions(1 << 20, 100))
    await server.start(Address(path=str(socket_path)))
    yield server
    await server.stop(0)


async def until(condition):
    """Wait for the other side of a socket."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - a socket has no event for it
            await asyncio.sleep(0.001)


def opening(stream_id):
    encoder = Encoder()
    encoder.header_table_size = 0
    fields = [(":method", "POST"), (":scheme", "http"), (":path", PROCESS), ("content-type", "application/grpc")]
    return frame(HEADERS, END_HEADERS, stream_id, encoder.encode(fields))


def message(stream_id, data):
    return frame(DATA, 0, stream_id, framing.prefix(len(data)) + data)


async def test_a_peer_that_does_not_read_is_not_read_from(server, socket_path, envoy):
    calls, pieces = range(1, 201, 2), 14  # no more than their windows allow
    reader, writer = await asyncio.open_unix_connection(str(socket_path))
    writer.write(PREFACE + settings({INITIAL_WINDOW_SIZE: LARGEST}) + window_update(0, LARGEST - 65_535) + SETTINGS_ACK)
    begun = (envoy.request_headers(), envoy.request_body(), envoy.response_headers())
    for call in calls:
        writer.write(opening(call) + b"".join(message(call, each) for each in begun))
        writer.write(message(call, envoy.response_body(b"z" * 9_000)) * pieces)
    await until(lambda: server.peer is not None and not server.transport.is_reading())
    held = server.transport.get_write_buffer_size()
    assert WRITE_BUFFER_BYTES <= held <= WRITE_BUFFER_BYTES + 2 * ONE_READ
    # Once it reads, everything comes.
    body, rest = 0, b""
    while body < len(calls) * pieces * len(RESPONSE):
        rest += await reader.read(1 << 20)
        body, rest = body + rest.count(b"y"), rest[-9:].replace(b"y", b"")
    writer.close()
    await until(lambda: not server._peers)


async def test_a_flood_is_cut_off(server, socket_path):
    reader, writer = await asyncio.open_unix_connection(str(socket_path))
    writer.write(PREFACE + settings({}) + frame(PING, 0, 0, bytes(8)) * 1_500)
    received = await reader.read()
    assert len(received) < 1_100 * 17
    last = received.rindex(bytes([0x07, 0, 0, 0, 0, 0])) - 3
    frame_, length = hf.Frame.parse_frame_header(memoryview(received[last : last + 9]))
    frame_.parse_body(memoryview(received[last + 9 : last + 9 + length]))
    assert isinstance(frame_, hf.GoAwayFrame)
    assert frame_.error_code == 11
    await until(lambda: not server._peers)
    writer.close()


async def test_a_peer_that_speaks_http_1_gets_an_error_and_is_closed(server, socket_path):
    reader, writer = await asyncio.open_unix_connection(str(socket_path))
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    assert b"this is not HTTP/2" in await reader.read()
    writer.close()


async def test_a_socket_that_another_server_has_made_in_the_meantime_is_left(server, socket_path, scripted):
    socket_path.unlink()
    other = Http2Server(lambda: scripted(SCRIPT), None, ServerOptions(1 << 20, 100))
    await other.start(Address(path=str(socket_path)))
    await server.stop(0)
    assert socket_path.is_socket()
    await other.stop(0)
    assert not socket_path.exists()
