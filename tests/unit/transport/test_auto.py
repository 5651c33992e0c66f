"""The choice of a server by its address and TLS."""

import pytest

from extproc.transport import grpcio, listen
from extproc.transport.auto import new_server
from extproc.transport.http2.server import Http2Server
from extproc.transport.listen import ListenError, Tls
from extproc.transport.service import ServerOptions


class TestAuto:
    @pytest.mark.parametrize(
        ("choice", "address", "chosen"),
        [
            ("auto", "unix:/run/oai/w0.sock", Http2Server),
            ("auto", "127.0.0.1:50051", grpcio.GrpcioServer),
            ("http2", "127.0.0.1:50051", Http2Server),
            ("grpcio", "unix:/run/oai/w0.sock", grpcio.GrpcioServer),
        ],
    )
    async def test_it_is_our_own_on_a_unix_socket(self, choice, address, chosen):
        server = new_server(choice, listen.parse(address), None, None, ServerOptions(1, 1))
        assert type(server) is chosen

    async def test_with_tls_it_is_grpcio(self):
        options = ServerOptions(1, 1, tls=Tls(b"", b""))
        for address in ("unix:/run/oai/w0.sock", "0.0.0.0:50051"):
            assert type(new_server("auto", listen.parse(address), None, None, options)) is grpcio.GrpcioServer

    async def test_our_own_transport_with_tls_is_rejected(self):
        with pytest.raises(ListenError, match="set `transport` to grpcio"):
            new_server("http2", listen.parse("0.0.0.0:1"), None, None, ServerOptions(1, 1, tls=Tls(b"", b"")))
