"""The life of a server on either transport: where it listens, what it reports, how it stops, and TLS."""

import asyncio
import contextlib
import stat

import grpc
import grpc.aio
import pytest

from extproc.transport import grpcio, listen
from extproc.transport.health_protocol import NOT_SERVING, SERVING
from extproc.transport.listen import ListenError, Tls
from extproc.transport.service import ServerOptions
from tests.certificates import self_signed
from tests.unit.transport.served import CHECK, Jobs, send_each


class TestHealthOfServers:
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


class TestServersWithTls:
    """TLS of grpcio's server only."""

    @pytest.fixture
    def driver(self):
        return grpcio.GrpcioServer

    @pytest.fixture(scope="class")
    @staticmethod
    def pem(tmp_path_factory):
        """Return a certificate for localhost, and its key."""
        folder = self_signed(tmp_path_factory.mktemp("tls"))
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
