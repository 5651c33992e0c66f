"""The http2 transport with many new calls at once: whose turn it is, over a unix socket."""

import asyncio
import contextlib

import pytest
from hpack import Encoder

from extproc.exchange.directives import Reply
from extproc.exchange.events import RequestHeaders
from extproc.net import Address
from extproc.transport.http2 import framing
from extproc.transport.http2.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LARGEST,
    PREFACE,
    RST_STREAM,
    SETTINGS_ACK,
    frame,
    settings,
    window_update,
)
from extproc.transport.http2.server import WRITE_BUFFER_BYTES, Http2Server
from extproc.transport.http2.session import AT_ONCE, PROCESS
from extproc.transport.service import ServerOptions

RESPONSE = b"y" * 10_000
ROUND = 2 * AT_ONCE
"""Calls that may be begun before the first of somebody else: those at once, and those of the turn that has begun."""


@pytest.fixture
async def server(scripted, socket_path):
    """Return a server that records whose calls it begins, in their order."""

    def new_exchange():
        exchange = scripted({RequestHeaders: [[Reply(200, (), RESPONSE, "x")]]})
        exchanges.append(exchange)
        return exchange

    def turn_of(headers):
        return headers.headers["x-organisation"], ""

    exchanges = []
    server = Http2Server(new_exchange, None, ServerOptions(1 << 20, 100, turn_of=turn_of))
    server.begun = lambda: [exchange.events[0].headers["x-organisation"] for exchange in exchanges]
    server.closed = lambda: [exchange.closed for exchange in exchanges]
    await server.start(Address(path=str(socket_path)))
    yield server
    await server.stop(0)


def opening(stream_id):
    encoder = Encoder()
    encoder.header_table_size = 0
    fields = [(":method", "POST"), (":scheme", "http"), (":path", PROCESS), ("content-type", "application/grpc")]
    return frame(HEADERS, END_HEADERS, stream_id, encoder.encode(fields))


class Client:
    """A connection whose client opens many calls at once."""

    def __init__(self, streams, envoy):
        self._reader, self._writer = streams
        self._envoy = envoy
        self._out = PREFACE + settings({INITIAL_WINDOW_SIZE: LARGEST}) + window_update(0, LARGEST - 65_535)
        self._out += SETTINGS_ACK
        self._next = 1

    def call(self, organisation, reset=False):
        """Queue a call."""
        stream_id, self._next = self._next, self._next + 2
        message = self._envoy.request_headers((":method", "GET"), ("x-organisation", organisation))
        data = framing.prefix(len(message)) + message
        self._out += opening(stream_id) + frame(DATA, END_STREAM, stream_id, data)
        if reset:
            self._out += frame(RST_STREAM, 0, stream_id, bytes(4))

    def send(self):
        """Send what is queued, all at once."""
        out, self._out = self._out, b""
        self._writer.write(out)

    async def read(self, responses):
        """Read so many whole responses."""
        count = 0
        async with asyncio.timeout(60):
            while count < responses * len(RESPONSE):
                data = await self._reader.read(1 << 20)
                assert data, "the connection was closed"
                count += data.count(b"y")

    async def close(self):
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


@pytest.fixture
async def connect(server, socket_path, envoy):
    clients = []

    async def connect():
        client = Client(await asyncio.open_unix_connection(str(socket_path)), envoy)
        client.send()
        clients.append(client)
        await until(lambda: len(server._peers) == len(clients))
        return client

    yield connect
    for client in clients:
        await client.close()


async def until(condition):
    """Wait for the other side of a socket."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - a socket has no event for it
            await asyncio.sleep(0.001)


async def test_a_call_of_somebody_else_is_begun_within_a_round(server, connect):
    client = await connect()
    for _ in range(300):
        client.call("flood")
    client.call("acme")
    client.send()
    await client.read(301)
    assert server.begun().index("acme") < ROUND


async def test_connections_take_turns(server, connect):
    """Envoy opens another connection for each thousand calls, so a flood has many."""
    clients = [await connect() for _ in range(3)]
    for client in clients[:2]:
        for _ in range(300):
            client.call("flood")
    for _ in range(AT_ONCE + 1):
        clients[2].call("acme")
    for client in clients:
        client.send()
    for client, responses in zip(clients, (300, 300, AT_ONCE + 1), strict=True):
        await client.read(responses)
    begun = server.begun()
    last = max(place for place, organisation in enumerate(begun) if organisation == "acme")
    assert last < (AT_ONCE + 1) * 3 + 2 * ROUND


async def test_while_the_client_does_not_read_no_call_that_waits_is_begun(server, connect):
    client = await connect()
    for _ in range(400):
        client.call("flood")
    client.send()
    [peer] = server._peers
    await until(lambda: not peer._transport.is_reading())
    begun = len(server.begun())
    assert begun < 400
    assert peer._transport.get_write_buffer_size() <= WRITE_BUFFER_BYTES + (AT_ONCE + 1) * len(RESPONSE)
    assert peer.session.waiting == 400 - begun
    await client.read(400)
    assert len(server.begun()) == 400


async def test_calls_that_were_reset_are_never_begun(server, connect):
    client = await connect()
    for _ in range(400):
        client.call("flood", reset=True)
    client.call("acme")
    client.send()
    await client.read(1)
    assert server.begun() == ["acme"]


@pytest.mark.parametrize("end", ["stopped", "lost"])
async def test_with_calls_that_wait_a_connection_ends_as_any_other(end, server, connect):
    client = await connect()
    for _ in range(400):
        client.call("flood")
    client.send()
    [peer] = server._peers
    await until(lambda: not peer._transport.is_reading())
    begun = len(server.begun())
    if end == "stopped":
        await server.stop(0)
    else:
        await client.close()
    await until(lambda: not server._peers)
    assert (peer.session.waiting, server.streams, len(server.begun())) == (0, 0, begun)
    assert server.closed() == [1] * begun
    assert not server._ready


async def test_what_waits_is_served_before_the_server_stops(server, connect):
    client = await connect()
    for _ in range(300):
        client.call("flood")
    client.send()
    await until(lambda: server.streams)
    stopped = asyncio.create_task(server.stop(3600))
    await client.read(300)
    await stopped
    assert len(server.begun()) == 300
