"""Fetches the images that clients name by URL, and nothing that such a URL should not reach.

A URL is a client's way to make the gateway send a request from inside the operator's network. `guard` decides where one
may lead, and checks three times, each enough for itself: what a URL spells out and what a lookup returns; each
socket before it connects (a literal address never sees a resolver); and its peer before a request is sent.

A name is looked up once per connection, every address it has must pass, and the connection goes to an address from that
very lookup: there is no second one with another result (rebinding). `Host` and SNI carry the name.
Redirects are followed by hand, and each hop goes through all of this again.

Invariant: whatever the URLs, the resolver and the servers do, a `Fetch` results in images within its limits, or in one
`FetchFailure`, within its seconds; and no request ever goes to an address that the guard forbids.

Decision: docs/decisions.md, D62.
"""

import asyncio
import errno
import logging
import os
import socket
import ssl
from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from ipaddress import ip_address
from types import TracebackType
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import AddrInfoType, Connection
from aiohttp.tracing import Trace
from yarl import URL

from extproc.bedrock.image_formats import SIGNATURE_BYTES, image_format
from extproc.exchange.jobs import Fetch, Fetched, FetchedImages, FetchFailure, FetchResult
from extproc.net import ca_bundle
from extproc.worker.bounded_http import BoundedConnector, BoundedTls, OverheadError, media_type
from extproc.worker.fair_slots import FairSlots, on_behalf_of
from extproc.worker.image_lookup import ImageResolver
from extproc.worker.image_tunnel import ImageTunnel, NoAddressError, TunnelError
from extproc.worker.loop_turns import BesideOthers, alone
from extproc.worker.url_guard import (
    INSTEAD,
    PORTS,
    Guard,
    Network,
    RejectedError,
    Verdict,
    bad_url,
    check,
    not_public,
    parse,
)

log = logging.getLogger(__name__)

REDIRECTS = 3
CONNECTIONS = 256
"""Connections of one worker, all jobs together; further requests wait for one, fairly by organisation."""

HEADERS = {
    "user-agent": "oai-extproc",
    "accept": "image/png, image/jpeg, image/gif, image/webp, */*;q=0.1",
    "accept-encoding": "identity",
}


class Fetcher:
    """A runner of `Fetch` jobs. Use it as an async context manager, inside the loop that uses it.

    `deny` is for what is inside and has addresses that look public, such as the pods and instances of a VPC with IPv6.
    `allow` is for tests: what it holds is fetched from, whatever it is.
    """

    def __init__(
        self,
        environ: Mapping[str, str] = os.environ,
        *,
        ports: frozenset[int] = PORTS,
        deny: Iterable[Network] = (),
        allow: Iterable[Network] = (),
        lookup: AbstractResolver | None = None,
        beside_others: BesideOthers = alone,
    ) -> None:
        self._environ = environ
        self._ports = ports
        self._guard = Guard(tuple(allow), tuple(deny))
        self._lookup = lookup or ImageResolver()
        self._slots = FairSlots(CONNECTIONS, beside_others)
        self._session: aiohttp.ClientSession | None = None
        self._tunnel: ImageTunnel | None = None

    async def __aenter__(self) -> "Fetcher":
        options: dict[str, Any] = {
            "timeout": aiohttp.ClientTimeout(total=None),
            "cookie_jar": aiohttp.DummyCookieJar(),
            "headers": HEADERS,
            "auto_decompress": False,
            "trust_env": False,
        }
        tls, resolver = trust(self._environ), GuardedResolver(self._lookup, self._guard)
        self._session = aiohttp.ClientSession(connector=GuardedConnector(self._guard, self._lookup, tls), **options)
        self._tunnel = ImageTunnel(self._environ, resolver, tls, CONNECTIONS, **options)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None and self._tunnel is not None:
            await self._tunnel.close()
            await self._session.close()
        await self._lookup.close()

    async def fetch(self, job: Fetch, seconds: float) -> FetchResult:
        """Run `job` within `seconds`; nothing of it is in flight any more when it returns."""
        basket = _Basket(job)
        try:
            with on_behalf_of(job.organisation):
                async with asyncio.timeout(seconds):
                    failure = await self._all(basket)
        except TimeoutError:
            failure = basket.late(seconds)
        return failure or FetchedImages(basket.fetched[index] for index in range(len(job.urls)))

    async def _all(self, basket: "_Basket") -> FetchFailure | None:
        """Fetch all the images: so many lanes take URL after URL from one queue. The first failure ends the others."""
        failure: FetchFailure | None = None
        try:
            async with asyncio.TaskGroup() as lanes:
                for _ in range(min(basket.job.concurrency, len(basket.job.urls))):
                    lanes.create_task(self._lane(basket))
        except* RejectedError as group:
            failure = _first(group)
        return failure

    async def _lane(self, basket: "_Basket") -> None:
        for index, text in basket.queue:
            try:
                basket.fetched[index] = await self._follow(text, basket)
            except RejectedError as rejected:
                rejected.index = index
                raise

    async def _follow(self, text: str, basket: "_Basket") -> Fetched:
        """Return the image that `text` leads to, through redirects. Raises `RejectedError`."""
        url = parse(text)
        for _ in range(REDIRECTS + 1):
            check(url, self._guard, self._ports)
            outcome = await self._get(url, basket)
            if isinstance(outcome, Fetched):
                return outcome
            if (url.scheme, outcome.scheme) == ("https", "http"):
                raise bad_url("The URL redirects from https to http.")
            url = outcome
        raise _failed(f"The URL redirects more than {REDIRECTS} times.")

    async def _get(self, url: URL, basket: "_Basket") -> Fetched | URL:
        """Return the image at `url`, or the URL of a redirect. `url` has been checked. Raises `RejectedError`."""
        try:
            async with self._slots.slot(), self._request(url) as response:
                if response.status in (301, 302, 303, 307, 308):
                    return parse(response.headers.get("location", ""), url)
                _check_head(response)
                return await basket.read(response)
        except (aiohttp.ClientError, OSError) as error:
            raise _explained(error, url.raw_host or "") from error

    def _request(self, url: URL) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Return the request for `url`, through the proxy if there is one for it. Raises `TunnelError`."""
        assert self._session is not None
        assert self._tunnel is not None
        proxy = self._tunnel.proxy(url)
        return self._tunnel.get(url, proxy) if proxy else self._session.get(url, allow_redirects=False)


class _Basket:
    """The images of a job: those still to fetch, those fetched, and the bytes that are left."""

    def __init__(self, job: Fetch) -> None:
        self.job = job
        self.queue = iter(enumerate(job.urls))
        self.fetched: dict[int, Fetched] = {}
        self._left = job.total_bytes

    def late(self, seconds: float) -> FetchFailure | None:
        """Return the timeout of the first image that is missing; None if none is: the last came at the last moment."""
        failed = _failed(f"The image could not be fetched within {seconds:g} seconds.")
        missing = (index for index in range(len(self.job.urls)) if index not in self.fetched)
        return next((FetchFailure(index, failed.reason, failed.code) for index in missing), None)

    async def read(self, response: aiohttp.ClientResponse) -> Fetched:
        """Return the image in the response's body, counted while it arrives; a claimed length only saves time.

        Raises `RejectedError`, and aiohttp's own errors.
        """
        claimed = response.content_length or 0
        self._fit(claimed, claimed)
        data = bytearray(await _beginning(response))
        self._take(len(data), len(data))
        while piece := await response.content.readany():
            data += piece
            self._take(len(piece), len(data))
        return Fetched(bytes(data), media_type(response))

    def _take(self, more: int, size: int) -> None:
        self._fit(more, size)
        self._left -= more

    def _fit(self, more: int, size: int) -> None:
        """Reject an image of `size` bytes, of which `more` are not counted yet, if that is too much."""
        if size > self.job.max_bytes:
            raise _too_large("The image has", self.job.max_bytes)
        if more > self._left:
            raise _too_large("The images of this request together have", self.job.total_bytes)


def _check_head(response: aiohttp.ClientResponse) -> None:
    """Reject a response for its status, or for its encoding: compressed bytes may grow, so none were requested."""
    if response.status != 200:
        raise _failed(f"The URL's server answered with status {response.status}, not with the image.")
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise _failed("The URL's server sent the image compressed, although the request accepts only identity.")


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """Return the first bytes of the body, if an image begins so. Raises `RejectedError`, and aiohttp's own errors."""
    try:
        beginning = await response.content.readexactly(SIGNATURE_BYTES)
    except asyncio.IncompleteReadError as error:
        beginning = error.partial
    if not beginning:
        raise RejectedError(f"The URL's server sent an empty file. {INSTEAD}", "empty_image_file")
    if image_format(beginning) is None:
        what = f"The URL gives no PNG, JPEG, GIF or WebP image; its server calls it {media_type(response)}."
        raise RejectedError(f"{what} {INSTEAD}", "invalid_image_format")
    return beginning


# Connections


class ForbiddenAddressError(aiohttp.ClientConnectionError):
    """A name that leads, or a connection that led, to where no request may go."""


class GuardedResolver(AbstractResolver):
    """A resolver that returns another's addresses, if every one of them passes."""

    def __init__(self, lookup: AbstractResolver, verdict: Verdict) -> None:
        self._lookup, self._verdict = lookup, verdict

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return all addresses of `host`. Raises `OSError` if it has none, and `ForbiddenAddressError`."""
        addresses = await self._lookup.resolve(host, port, family)
        if not addresses:
            raise OSError(errno.ENOENT, f"{host} has no address")
        for result in addresses:
            _insist(self._verdict, result["host"], host)
        return addresses

    async def close(self) -> None:
        """Close the resolver behind it."""
        await self._lookup.close()


class GuardedConnector(BoundedConnector):
    """A connection for each request, to an address that passes, and closed after it."""

    def __init__(self, verdict: Verdict, lookup: AbstractResolver, tls: ssl.SSLContext) -> None:
        tls.sslobject_class = BoundedTls
        super().__init__(
            resolver=GuardedResolver(lookup, verdict),
            use_dns_cache=False,
            force_close=True,
            limit=CONNECTIONS,
            ssl=tls,
            socket_factory=self._socket,
        )
        self._verdict = verdict

    def _socket(self, there: AddrInfoType) -> socket.socket:
        """Return the socket that is about to connect to `there`: every connection of a connector begins here.

        Raises `PermissionError`, since aiohttp expects nothing but an `OSError` here.
        """
        family, kind, protocol, _, where = there
        try:
            _insist(self._verdict, where[0])
        except ForbiddenAddressError as error:
            raise PermissionError(errno.EACCES, str(error)) from error
        return socket.socket(family, kind, protocol)

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's own signature
    ) -> Connection:
        """Return a connection whose peer passes as well. Raises `ForbiddenAddressError`, and aiohttp's own errors."""
        connection = await super().connect(req, traces, timeout)
        try:
            _insist(self._verdict, _peer(connection))
        except aiohttp.ClientError:
            connection.close()
            raise
        return connection


def _peer(connection: Connection) -> str:
    transport = connection.transport
    name: Any = None if transport is None else transport.get_extra_info("peername")
    if name is None:
        raise aiohttp.ServerDisconnectedError
    return str(name[0])


def _insist(verdict: Verdict, address: str, host: str = "a connection") -> None:
    kind = verdict(ip_address(address))
    if kind is not None:
        log.info("not fetched: %s leads to %s (%s)", host, address, kind)
        raise ForbiddenAddressError(f"{address} ({kind})")


def trust(environ: Mapping[str, str]) -> ssl.SSLContext:
    """Return TLS for the public internet: SSL_CERT_FILE, or what the operating system trusts; not AWS_CA_BUNDLE.

    Raises `OSError` when the file cannot be read.
    """
    return ssl.create_default_context(cafile=environ.get("SSL_CERT_FILE") or ca_bundle({}))


# Failures


def _failed(what: str) -> RejectedError:
    return RejectedError(f"{what} {INSTEAD}", "failed_to_download_image")


def _too_large(what: str, limit: int) -> RejectedError:
    return RejectedError(f"{what} more than {limit} bytes. Send less, or smaller ones.", "image_too_large")


def _explained(error: Exception, host: str) -> RejectedError:
    """Return the client's error for a failed request to `host`."""
    match error:
        case ForbiddenAddressError() | NoAddressError() | aiohttp.ClientConnectorDNSError():
            return not_public(host)
        case TunnelError():
            return _failed(f"The proxy of the gateway's network gave no connection to the host '{host}'.")
        case aiohttp.ClientSSLError():
            return _failed(f"A trusted TLS connection to the host '{host}' could not be made.")
        case aiohttp.ClientConnectorError():
            return _failed(f"The host '{host}' could not be reached.")
        case OverheadError():
            return _failed(f"The host '{host}' sent too much beside the image, or in too small pieces.")
    return _failed(f"The host '{host}' closed the connection, or sent no valid HTTP response.")


def _first(group: BaseExceptionGroup[RejectedError]) -> FetchFailure:
    """Return the first failure; others came while its siblings were being cancelled."""
    rejected = group.exceptions[0]
    assert isinstance(rejected, RejectedError)
    return FetchFailure(rejected.index, rejected.reason, rejected.code)
