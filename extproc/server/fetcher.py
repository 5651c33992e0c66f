"""Fetches the images that clients name by URL, and nothing that such a URL should not reach.

A URL is a client's way to make the gateway send a request from inside the operator's network. So:

- The address decides, not the name: `forbidden` says of each address why it is out of bounds. A name is looked up once
  per connection, every address it has must pass, and the connection goes to an address from that very answer; there
  is no second look-up that could say something else (rebinding). Request line, `Host` and SNI carry the name.
- It is asked three times, each enough for itself: of what a URL spells out and a look-up answers, of each socket before
  it connects, and of its peer before a byte is sent. A literal address never sees a resolver, hence the second.
- Redirects are followed by hand, and each hop goes through all of this again.
- A client is not told what a name inside the network resolves to, nor whether it does.

Invariant: whatever the URLs, the resolver and the servers do, a `Fetch` comes to images within its limits, or to one
`FetchFailure`, within its seconds; and no request ever went to an address that the guard forbids.
"""

import asyncio
import functools
import logging
import os
import re
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from types import TracebackType
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import AddrInfoType, Connection
from aiohttp.tracing import Trace
from yarl import URL

from extproc.envoy_config.authorities import ca_bundle
from extproc.exchange.jobs import Fetch, FetchCode, Fetched, FetchFailure, FetchResult

log = logging.getLogger(__name__)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Verdict = Callable[[Address], str | None]
"""Why an address is out of bounds, in a word or two that fit before "address"; None: it is not."""

REDIRECTS = 3
PORTS = frozenset({80, 443})
LONGEST_URL = 8192
CONNECTIONS = 256
LOOKUPS = 32
"""Look-ups at once. They have threads of their own: names that never answer hold up images, and nothing else."""

HEADERS = {
    "user-agent": "oai-extproc",
    "accept": "image/png, image/jpeg, image/gif, image/webp, */*;q=0.1",
    "accept-encoding": "identity",
}

_INSTEAD = "Send a URL that anybody can open, or the image itself as a data: URL with base64."


# Addresses

_KINDS = {
    # AWS (instances, ECS tasks, EKS pods), Google, Azure, Alibaba, Oracle
    "cloud metadata": "169.254.169.254 169.254.170.2 169.254.170.23 fd00:ec2::254 fd00:ec2::23 fd20:ce::254 "
    "168.63.129.16 100.100.100.200 192.0.0.192",
    "unspecified": "0.0.0.0/8 ::",
    "loopback": "127.0.0.0/8 ::1",
    "private": "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7 fec0::/10 64:ff9b:1::/48",
    "carrier's private": "100.64.0.0/10",
    "link-local": "169.254.0.0/16 fe80::/10",
    "multicast": "224.0.0.0/4 ff00::/8",
    # mapped, compatible, translated (RFC 2765), 6to4, Teredo: nobody publishes these, and each hides another address
    "IPv4-in-IPv6": "::ffff:0:0/96 ::/96 ::ffff:0:0:0/96 2002::/16 2001::/32",
    "documentation": "192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 2001:db8::/32 3fff::/20",
    # the last three are all of IPv6 but 2000::/3, the only part that is given out
    "reserved": "192.0.0.0/24 192.88.99.0/24 198.18.0.0/15 240.0.0.0/4 2001::/23 ::/3 4000::/2 8000::/1",
}

_TABLE = tuple((ip_network(network), kind) for kind, networks in _KINDS.items() for network in networks.split())
_NAT64 = IPv6Network("64:ff9b::/96")


def forbidden(address: Address) -> str | None:
    """What kind of address this is if it is none of the public internet's; None if it is one.

    An address of NAT64 is as good as the IPv4 address behind it: where there is no other way to IPv4, resolvers give
    such addresses for every public name (RFC 6147).

    Sources: https://www.iana.org/assignments/iana-ipv4-special-registry/,
    https://www.iana.org/assignments/iana-ipv6-special-registry/ and the clouds' documentation of their metadata.
    """
    address = _behind(address)
    return next((kind for network, kind in _TABLE if address in network), None)


def _behind(address: Address) -> Address:
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else address


@dataclass(frozen=True, slots=True)
class Guard:
    """`forbidden` with exceptions: `deny` is out of bounds too, `allow` is in bounds whatever else is said."""

    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()

    def __call__(self, address: Address) -> str | None:
        if any(address in network for network in self.allow):
            return None
        if any(_behind(address) in network for network in self.deny):
            return "denied"
        return forbidden(address)


# URLs


class RefusedError(Exception):
    """An image that is not had; `reason` and `code` as in `FetchFailure`."""

    def __init__(self, reason: str, code: FetchCode, index: int = 0) -> None:
        super().__init__(reason)
        self.reason, self.code, self.index = reason, code, index


_WELL_FORMED = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_INSIDE = (".localhost", ".local", ".internal", ".home.arpa")
"""Names that are never public: RFC 6761, RFC 6762, RFC 8375, ICANN's resolution 2024.07.29.06.

Kubernetes' `cluster.local` and EC2's `compute.internal` are among them, which in AWS may have public IPv6 addresses.
"""


def parse(text: str, base: URL | None = None) -> URL:
    """The URL that `text` is, read in the light of `base` where it is relative. Raises `RefusedError`.

    A well-formed one is kept byte for byte, since it may be signed; any other is quoted as a browser would.
    """
    if len(text) > LONGEST_URL:
        raise RefusedError(f"The URL has more than {LONGEST_URL} characters. {_INSTEAD}", "invalid_image_url")
    try:
        url = URL(text, encoded=_WELL_FORMED.fullmatch(text) is not None)
        return url if base is None else base.join(url)
    except ValueError as error:
        raise RefusedError(f"This is not a URL that can be read. {_INSTEAD}", "invalid_image_url") from error


def check(url: URL, verdict: Verdict, ports: frozenset[int] = PORTS) -> None:
    """Refuse a URL for what it says already. Raises `RefusedError`."""
    if url.scheme not in ("http", "https"):
        raise _no("Only http and https URLs are fetched.")
    if url.raw_user or url.raw_password:
        raise _no("A URL with a user name or a password in it is not fetched.")
    if url.port not in ports:
        raise _no(f"Images are fetched from port {' or '.join(map(str, sorted(ports)))} only.")
    address = _literal(url.raw_host or "")
    kind = None if address is None else verdict(address)
    if kind is not None:
        log.info("not fetched: %s, which is a %s address", address, kind)
        raise _no(f"{address} is not an address that images are fetched from: it is a {kind} one.")


def _literal(host: str) -> Address | None:
    """The address that `host` is in its usual spelling, or None for a proper name. Raises `RefusedError`.

    127.1, 2130706433, 0x7f.1 and 127.0.0.1. are neither: some resolvers take them for addresses.
    """
    labels = host.removesuffix(".").split(".")
    if ":" in host or _NUMBER.fullmatch(labels[-1]):
        try:
            address = ip_address(host)
        except ValueError as error:
            raise _no("The URL's host looks like an IP address, but is not a plain one.") from error
        if isinstance(address, IPv6Address) and address.scope_id is not None:
            raise _no("An address with a zone is not fetched from.")
        return address
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise _no("The URL's host is not a proper host name.")
    if len(labels) == 1 or ("." + ".".join(labels).lower()).endswith(_INSIDE):
        raise _not_public(host)
    return None


def _no(what: str) -> RefusedError:
    return RefusedError(f"{what} {_INSTEAD}", "invalid_image_url")


def _not_public(host: str) -> RefusedError:
    """The same whether a name is unknown or is known inside only: neither is the client's to find out."""
    return _no(f"The host '{host}' could not be found on the public internet.")


# Connections


class ForbiddenAddressError(aiohttp.ClientConnectionError):
    """A name that leads, or a connection that led, to where no request may go."""


class Lookup(AbstractResolver):
    """The system's resolver, in threads of its own, and without the system's search domains."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(LOOKUPS, "image-lookup")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """All addresses of `host`. Raises `OSError`."""
        absolute = host.removesuffix(".") + "."
        ask = functools.partial(socket.getaddrinfo, absolute, port, family, socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        return [
            ResolveResult(hostname=host, host=str(there[0]), port=port, family=family, proto=proto, flags=0)
            for family, _, proto, _, there in found
        ]

    async def close(self) -> None:
        """Forget what waits for a thread; a look-up under way ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class GuardedResolver(AbstractResolver):
    """Another resolver's answers, if every address in them passes."""

    def __init__(self, lookup: AbstractResolver, verdict: Verdict) -> None:
        self._lookup, self._verdict = lookup, verdict

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """All addresses of `host`. Raises `OSError` if it has none, `ForbiddenAddressError`."""
        found = await self._lookup.resolve(host, port, family)
        if not found:
            raise OSError(f"no address for {host}")
        for result in found:
            _insist(self._verdict, result["host"], host)
        return found

    async def close(self) -> None:
        """Close the resolver behind it."""
        await self._lookup.close()


class GuardedConnector(aiohttp.TCPConnector):
    """A connection for each request, to an address that passes, and closed after it."""

    def __init__(self, verdict: Verdict, resolver: AbstractResolver, tls: ssl.SSLContext) -> None:
        super().__init__(
            resolver=GuardedResolver(resolver, verdict),
            use_dns_cache=False,
            force_close=True,
            limit=CONNECTIONS,
            ssl=tls,
            socket_factory=self._socket,
        )
        self._verdict = verdict

    def _socket(self, there: AddrInfoType) -> socket.socket:
        """The socket that is about to connect: every connection of the connector begins here."""
        family, kind, protocol, _, where = there
        _insist(self._verdict, where[0])
        return socket.socket(family, kind, protocol)

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        """A connection whose peer passes as well. Raises `ForbiddenAddressError`, and aiohttp's own errors."""
        connection = await super().connect(req, traces, timeout)
        try:
            _insist(self._verdict, _peer(connection))
        except aiohttp.ClientError:
            connection.close()
            raise
        return connection


def _peer(connection: Connection) -> str:
    name: Any = connection.transport and connection.transport.get_extra_info("peername")
    if not name:
        raise aiohttp.ServerDisconnectedError
    return str(name[0])


def _insist(verdict: Verdict, address: str, host: str = "") -> None:
    kind = verdict(ip_address(address))
    if kind is not None:
        log.info("not fetched: %s, which is a %s address", f"{host} at {address}" if host else address, kind)
        raise ForbiddenAddressError(f"{address} is a {kind} address")


def trust(environ: Mapping[str, str]) -> ssl.SSLContext:
    """Whom to trust on the public internet: SSL_CERT_FILE, or what the operating system trusts; not AWS_CA_BUNDLE.

    Raises `OSError` when the file cannot be read.
    """
    return ssl.create_default_context(cafile=environ.get("SSL_CERT_FILE") or ca_bundle({}))


# Images


class Fetcher:
    """Does `Fetch` jobs. Use it as an async context manager, inside the loop that uses it.

    `allow` and `deny` are as in `Guard`. `deny` is for what is inside and has public addresses, such as the pods and
    instances of a VPC with IPv6. `allow` is for tests.
    """

    def __init__(
        self,
        environ: Mapping[str, str] = os.environ,
        *,
        ports: frozenset[int] = PORTS,
        deny: Iterable[Network] = (),
        allow: Iterable[Network] = (),
        lookup: AbstractResolver | None = None,
    ) -> None:
        self._environ = environ
        self._ports = ports
        self._guard = Guard(tuple(allow), tuple(deny))
        self._lookup = lookup
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Fetcher":
        self._lookup = self._lookup or Lookup()
        self._session = aiohttp.ClientSession(
            connector=GuardedConnector(self._guard, self._lookup, trust(self._environ)),
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=HEADERS,
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
        if self._lookup is not None:
            await self._lookup.close()

    async def fetch(self, job: Fetch, seconds: float) -> FetchResult:
        """Do `job` within `seconds`; nothing of it is in flight any more when it returns."""
        basket = _Basket(job)
        try:
            async with asyncio.timeout(seconds):
                failure = await self._all(basket)
        except TimeoutError:
            reason = f"The image could not be fetched within {seconds:g} seconds. {_INSTEAD}"
            failure = FetchFailure(basket.first_missing(), reason, "failed_to_download_image")
        return failure or tuple(basket.fetched[index] for index in range(len(job.urls)))

    async def _all(self, basket: "_Basket") -> FetchFailure | None:
        """All the images: so many lanes take URL after URL from one queue. The first failure ends the others."""
        failure: FetchFailure | None = None
        try:
            async with asyncio.TaskGroup() as lanes:
                for _ in range(min(basket.job.concurrency, len(basket.job.urls))):
                    lanes.create_task(self._lane(basket))
        except* RefusedError as group:
            failure = _first(group)
        return failure

    async def _lane(self, basket: "_Basket") -> None:
        for index, text in basket.queue:
            try:
                basket.fetched[index] = await self._follow(text, basket)
            except RefusedError as refused:
                refused.index = index
                raise

    async def _follow(self, text: str, basket: "_Basket") -> Fetched:
        url = parse(text)
        for _ in range(REDIRECTS + 1):
            check(url, self._guard, self._ports)
            answer = await self._get(url, basket)
            if isinstance(answer, Fetched):
                return answer
            if (url.scheme, answer.scheme) == ("https", "http"):
                raise _no("The URL redirects from https to http.")
            url = answer
        raise _failed(f"The URL redirects more than {REDIRECTS} times.")

    async def _get(self, url: URL, basket: "_Basket") -> Fetched | URL:
        """The image at `url`, or where it is instead. `url` has been checked."""
        assert self._session is not None
        try:
            async with self._session.get(url, allow_redirects=False) as response:
                if response.status in (301, 302, 303, 307, 308):
                    return parse(response.headers.get("location", ""), url)
                _check_head(response)
                return await basket.read(response)
        except (aiohttp.ClientError, OSError) as error:
            raise _explained(error, url.raw_host or "") from error


class _Basket:
    """What a job still has to fetch, what it has, and how many bytes it may still have."""

    def __init__(self, job: Fetch) -> None:
        self.job = job
        self.queue = iter(enumerate(job.urls))
        self.fetched: dict[int, Fetched] = {}
        self._left = job.total_bytes

    def first_missing(self) -> int:
        return next(index for index in range(len(self.job.urls)) if index not in self.fetched)

    async def read(self, response: aiohttp.ClientResponse) -> Fetched:
        """The image in the response's body, counted while it arrives; the server's word for its length only saves time.

        Raises `RefusedError`, and aiohttp's own errors.
        """
        self._fit(response.content_length or 0, response.content_length or 0)
        data = bytearray(await _beginning(response))
        self._take(len(data), len(data))
        while piece := await response.content.readany():
            data += piece
            self._take(len(piece), len(data))
        return Fetched(bytes(data), response.content_type)

    def _take(self, more: int, size: int) -> None:
        self._fit(more, size)
        self._left -= more

    def _fit(self, more: int, size: int) -> None:
        """Refuse an image of `size` bytes, of which `more` are not counted yet, if that is too large."""
        if size > self.job.max_bytes:
            reason = f"The image has more than {self.job.max_bytes} bytes. Send a smaller one."
            raise RefusedError(reason, "image_too_large")
        if more > self._left:
            reason = (
                f"The images of this request have more than {self.job.total_bytes} bytes. Send fewer, or smaller ones."
            )
            raise RefusedError(reason, "image_too_large")


def _check_head(response: aiohttp.ClientResponse) -> None:
    """Refuse an answer for its status or its encoding: compressed bytes may grow, so they were not asked for."""
    if response.status != 200:
        raise _failed(f"The URL's server answered with status {response.status}, not with the image.")
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise _failed("The URL's server sent the image compressed, which it was told not to do.")


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """The first bytes of the body, if an image begins so. Raises `RefusedError`, and aiohttp's own errors."""
    try:
        beginning = await response.content.readexactly(_BEGINNING)
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            raise RefusedError(f"The URL's server sent an empty file. {_INSTEAD}", "empty_image_file") from error
        beginning = error.partial
    if not (beginning.startswith(_MAGIC) or (beginning[:4], beginning[8:]) == (b"RIFF", b"WEBP")):
        reason = f"The URL gives no PNG, JPEG, GIF or WebP image; its server calls it {response.content_type[:80]}."
        raise RefusedError(f"{reason} {_INSTEAD}", "invalid_image_format")
    return beginning


_BEGINNING = 12
_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")


def _failed(what: str) -> RefusedError:
    return RefusedError(f"{what} {_INSTEAD}", "failed_to_download_image")


def _explained(error: Exception, host: str) -> RefusedError:
    """What the client is told of a request to `host` that came to nothing."""
    match error:
        case ForbiddenAddressError() | aiohttp.ClientConnectorDNSError():
            return _not_public(host)
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return _failed(f"The host '{host}' has no TLS certificate that is trusted.")
        case aiohttp.ClientConnectorError():
            return _failed(f"The host '{host}' could not be reached.")
    return _failed(f"The host '{host}' broke off, or gave no proper HTTP answer.")


def _first(group: BaseExceptionGroup[RefusedError]) -> FetchFailure:
    """The failure to tell of: the first; others came while its siblings were being cancelled."""
    refused = group.exceptions[0]
    assert isinstance(refused, RefusedError)
    return FetchFailure(refused.index, refused.reason, refused.code)
