"""Fetches images at https URLs through the network's proxy, and from no other addresses than without one.

A proxy looks up the names that it is asked for, and stands where private addresses can be reached: asked for a client's
name, it would lead wherever that name's owner wants. So the worker looks the name up here too, every address has to
pass the guard, and the proxy is asked to CONNECT to one of these addresses. TLS and `Host` have the name.

A URL of http is fetched without the proxy: for such a one, a proxy takes no address in the place of a name.

Invariant: a request goes to an address that the guard allows, or to none; and where a proxy is set but cannot be used,
to none.

Decision: docs/decisions.md, D156.
"""

import logging
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from extproc.net import is_ip
from extproc.proxy import Proxy, ProxyError, proxy_for
from extproc.worker.bounded_http import BoundedConnector

log = logging.getLogger(__name__)


class TunnelError(aiohttp.ClientConnectionError):
    """The proxy gave no connection to an image's server."""


class NoAddressError(aiohttp.ClientConnectionError):
    """A name without an address."""


class TunnelConnector(BoundedConnector):
    """A connector whose CONNECT names the address in its `Host` as well: some proxies go by that."""

    def _update_proxy_auth_header_and_build_proxy_req(self, req: aiohttp.ClientRequest) -> aiohttp.ClientRequest:
        connect = super()._update_proxy_auth_header_and_build_proxy_req(req)
        connect.headers["host"] = str(req.url.host_port_subcomponent)
        return connect


class ImageTunnel:
    """Requests through the proxy of `environ`. Make it inside the loop that uses it, and close it."""

    def __init__(
        self,
        environ: Mapping[str, str],
        resolver: AbstractResolver,
        tls: ssl.SSLContext,
        connections: int,
        **options: Any,
    ) -> None:
        """`resolver` returns addresses that the guard allows, or raises; `options` are those of the session."""
        self._environ = environ
        self._resolver = resolver
        self._session = aiohttp.ClientSession(
            connector=TunnelConnector(limit=connections, force_close=True, ssl=tls), **options
        )

    async def close(self) -> None:
        """Close its connections."""
        await self._session.close()

    def proxy(self, url: URL) -> Proxy | None:
        """Return the proxy for `url`, None if there is none. Raises `TunnelError` if it cannot be used."""
        try:
            return proxy_for(f"{url.scheme}://{url.host_port_subcomponent}", self._environ)
        except ProxyError as error:
            log.error("no image is fetched by https: %s", error)
            raise TunnelError("the proxy cannot be used") from error

    @asynccontextmanager
    async def get(self, url: URL, proxy: Proxy) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request; `url` has passed the guard's checks of what it spells out.

        Raises `TunnelError`, `NoAddressError`, aiohttp's own errors, and the resolver's other than `OSError`.
        """
        host, port = url.raw_host or "", url.port or 443
        address = host if is_ip(host) else await self._address(host, port)
        headers = {"host": str(url.host_port_subcomponent)}
        try:
            async with self._session.get(
                url.with_host(address),
                headers=headers,
                server_hostname=host.rstrip("."),
                allow_redirects=False,
                proxy=str(proxy),
                proxy_headers=proxy.headers,  # a new dict: aiohttp adds to it
            ) as response:
                yield response
        except (aiohttp.ClientHttpProxyError, aiohttp.ClientProxyConnectionError) as error:
            log.warning("the proxy %s gave no connection to %s (%s): %s", proxy, host, address, error)
            raise TunnelError(str(error)) from error

    async def _address(self, host: str, port: int) -> str:
        """Return an address of `host`, one of IPv4 if there is such a one: not every proxy has IPv6."""
        try:
            found = [str(result["host"]) for result in await self._resolver.resolve(host, port)]
        except OSError as error:
            raise NoAddressError(host) from error
        return min(found, key=lambda text: ip_address(text).version)
