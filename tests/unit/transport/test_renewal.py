"""Another certificate while a server runs: new connections get it and are held to its authorities, open ones go on."""

import asyncio
import contextlib
import socket
import ssl

import grpc
import grpc.aio
import pytest

from extproc.exchange.directives import Continue, Forward
from extproc.exchange.events import RequestBody, RequestHeaders
from extproc.transport import grpcio, listen
from extproc.transport.health_protocol import NOT_SERVING
from extproc.transport.http2.server import Http2Server
from extproc.transport.listen import ListenError, Tls
from extproc.transport.service import ServerOptions
from tests.certificates import TimedAuthority

LOOPBACK = "127.0.0.1"
"""Not `localhost`: under the other of its two addresses another process may hold the same port."""

PROCESS = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
CHECK = "/grpc.health.v1.Health/Check"
SCRIPT = {RequestHeaders: [[Continue()]], RequestBody: [[Forward("/model/m/converse", "bedrock.local", (), b"{}")]]}


@pytest.fixture(scope="module")
def authorities(tmp_path_factory):
    folder = tmp_path_factory.mktemp("authorities")
    return [TimedAuthority(folder / name) for name in ("one", "two")]


@pytest.fixture(scope="module")
def pairs(authorities):
    return [authorities[0].issue() for _ in range(3)]


@pytest.fixture(scope="module")
def clients(authorities):
    """Return a client's pair of each authority."""
    return [authority.issue("envoy") for authority in authorities]


async def run_job(job, seconds):
    raise AssertionError("nothing here asks for a job")


class RenewingServer:
    """A server with TLS, and connections to it: each channel is a connection of its own."""

    def __init__(self, scripted, tls, trusted, folder):
        self.server = grpcio.GrpcioServer(lambda: scripted(SCRIPT, None), run_job, ServerOptions(1 << 20, 100, tls=tls))
        self._trusted, self._folder = trusted, folder
        self._end = contextlib.AsyncExitStack()

    async def __aenter__(self):
        self.port = (await self.server.start(listen.parse(f"{LOOPBACK}:0"))).port
        self._end.push_async_callback(self.server.stop, 0)
        return self

    async def __aexit__(self, *_):
        await self._end.aclose()

    async def connect(self, client):
        credentials = grpc.ssl_channel_credentials(self._trusted, client and client.key, client and client.certificate)
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.ssl_target_name_override", "localhost")]
        channel = grpc.aio.secure_channel(f"{LOOPBACK}:{self.port}", credentials, options=options)
        return await self._end.enter_async_context(channel)

    async def shown(self, client):
        """Return the certificate that a new connection gets."""
        context = self.context(client)
        _, writer = await asyncio.open_connection(LOOPBACK, self.port, ssl=context, server_hostname="localhost")
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return ssl.DER_cert_to_PEM_cert(der).encode()

    def context(self, client):
        """Return the TLS context of a client other than gRPC's."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self._trusted.decode())
        context.set_alpn_protocols(["h2"])
        pem = self._folder / "client.pem"
        pem.write_bytes(client.certificate + client.key)
        context.load_cert_chain(pem)
        return context

    def resume(self, context, session=None):
        """Return the session of a new connection, and true if it resumes `session`."""
        with (
            socket.create_connection((LOOPBACK, self.port), timeout=60) as plain,
            context.wrap_socket(plain, server_hostname="localhost", session=session) as connection,
        ):
            return connection.session, connection.session_reused


async def check(channel):
    return await channel.unary_unary(CHECK)(b"", timeout=60)


@pytest.fixture
def running(scripted, authorities, pairs, tmp_path):
    trusted = b"".join(authority.certificate for authority in authorities)

    def build(client_ca=authorities[0].certificate):
        return RenewingServer(scripted, Tls(*pairs[0], client_ca), trusted, tmp_path)

    return build


async def test_new_connections_get_the_new_one(running, pairs, clients, authorities):
    async with running() as it:
        assert await it.shown(clients[0]) == pairs[0].certificate
        for pair in pairs[1:]:
            await it.server.renew(Tls(*pair, authorities[0].certificate))
            assert await it.shown(clients[0]) == pair.certificate
            assert await it.shown(clients[0]) == pair.certificate


async def test_open_connections_and_streams_go_on(running, pairs, clients, authorities, envoy):
    """Open calls go on even if the client's authority is no longer trusted."""
    async with running() as it:
        channel = await it.connect(clients[0])
        call = channel.stream_stream(PROCESS)()
        await call.write(envoy.request_headers())
        assert await call.read()
        await it.server.renew(Tls(*pairs[1], authorities[1].certificate))
        assert await check(await it.connect(clients[1])) == NOT_SERVING
        assert await check(channel) == NOT_SERVING
        await call.write(envoy.request_body())
        assert await call.read()
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


async def test_new_connections_are_held_to_the_new_authorities(running, pairs, clients, authorities):
    async with running() as it:
        await it.server.renew(Tls(*pairs[0], authorities[1].certificate))
        for nobody in (clients[0], None):
            channel = await it.connect(nobody)
            with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE"):
                await check(channel)
        assert await check(await it.connect(clients[1])) == NOT_SERVING


async def test_a_session_from_before_is_no_way_around_them(running, pairs, clients, authorities):
    """A client that resumes a session sends no certificate."""
    async with running() as it:
        context = it.context(clients[0])
        context.maximum_version = ssl.TLSVersion.TLSv1_2  # later ones hand sessions out after the handshake
        session, _ = await asyncio.to_thread(it.resume, context)
        _, resumed = await asyncio.to_thread(it.resume, context, session)
        assert resumed
        await it.server.renew(Tls(*pairs[0], authorities[1].certificate))
        with pytest.raises(OSError):  # ssl.SSLError is one
            await asyncio.to_thread(it.resume, context, session)


async def test_both_authorities_serve_while_they_are_rotated(running, pairs, clients, authorities):
    async with running() as it:
        both = authorities[0].certificate + authorities[1].certificate
        await it.server.renew(Tls(*pairs[0], both))
        for client in clients:
            assert await check(await it.connect(client)) == NOT_SERVING


async def test_without_authorities_everybody_is_served_before_and_after(running, pairs):
    async with running(None) as it:
        await it.server.renew(Tls(*pairs[1]))
        assert await check(await it.connect(None)) == NOT_SERVING


async def test_a_certificate_that_grpc_cannot_use_changes_nothing(running, pairs, clients, authorities):
    """Python's ssl accepts the first of these, and rejects the others before gRPC gets them."""
    curve = authorities[0].issue(curve="secp256k1")
    authority = authorities[0].certificate
    async with running() as it:
        for tls in (
            Tls(*curve, authority),
            Tls(pairs[1].certificate, pairs[2].key, authority),
            Tls(b"", b"", authority),
        ):
            with pytest.raises(ListenError, match="gRPC cannot use"):
                await it.server.renew(tls)
            assert await it.shown(clients[0]) == pairs[0].certificate


async def test_our_own_transport_has_none(scripted, pairs):
    server = Http2Server(lambda: scripted(SCRIPT, None), run_job, ServerOptions(1 << 20, 100))
    with pytest.raises(ListenError, match="set `transport` to grpcio"):
        await server.renew(Tls(*pairs[0]))
