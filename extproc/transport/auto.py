"""The choice of driver: grpcio, which has TLS and serves any peer, or our own for Envoy on a unix socket.

Both serve the same exchanges by the same interface. A driver is imported when it is chosen: a worker without grpcio
starts sooner and is smaller.

Decision: docs/decisions.md, D41.
"""

from collections.abc import Callable
from typing import Literal, Protocol

from extproc.net import Address
from extproc.transport.listen import NO_TLS, ListenError, Tls
from extproc.transport.service import RunJob, ServerOptions
from extproc.transport.stream import ExchangeProtocol

Choice = Literal["auto", "http2", "grpcio"]


class TransportServer(Protocol):
    """A server of the streams of one address. Create and use it inside a running event loop."""

    serving: bool
    """Health status: SERVING if true, else NOT_SERVING."""

    @property
    def streams(self) -> int:
        """Number of open streams."""

    async def start(self, address: Address) -> Address:
        """Listen; return the address with its real port. Raises `ListenError`."""

    async def listen_again(self) -> bool:
        """Make the socket anew where its file was removed; return whether it was. Raises `ListenError` or `OSError`."""

    async def renew(self, tls: Tls) -> None:
        """Use this certificate and these client authorities for new connections; open ones go on.

        Raises `ListenError` if it cannot be used; then everything stays as it is.
        """

    async def drain(self, notice: float, grace: float) -> None:
        """Report NOT_SERVING for `notice` seconds, take no new streams, give open ones `grace` seconds, then stop."""

    async def stop(self, grace: float | None = None) -> None:
        """Take no new streams, give open ones `grace` seconds, then end them."""


def new_server(
    choice: Choice,
    address: Address,
    new_exchange: Callable[[], ExchangeProtocol],
    run_job: RunJob,
    options: ServerOptions,
) -> TransportServer:
    """Create a server for `address`; `auto` is http2 on a unix socket and grpcio elsewhere. Raises `ListenError`."""
    if choice == "http2" and options.tls is not None:
        raise ListenError(f"{address}: {NO_TLS}")
    if choice == "http2" or (choice == "auto" and address.path and options.tls is None):
        from extproc.transport.http2.server import Http2Server

        return Http2Server(new_exchange, run_job, options)
    from extproc.transport import grpcio

    return grpcio.GrpcioServer(new_exchange, run_job, options)
