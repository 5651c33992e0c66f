"""The guard of URLs that clients name: allowed addresses, and checks before any lookup. Pure.

The address decides, not the name: `forbidden` returns for each address why it is out of bounds, and a `Guard` is that
with an operator's additions. What a URL spells out is checked here; where its name leads is for `fetcher` to check.

Invariant: `parse` and `check` return a URL or raise `RejectedError`, whatever the text; and a URL that passes has
either an address that passes, in its one usual spelling, or a proper host name, which no resolver takes for an address.
"""

import logging
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from yarl import URL

from extproc.exchange.jobs import FetchCode

log = logging.getLogger(__name__)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Verdict = Callable[[Address], str | None]
"""The kind of an address that is out of bounds, in a word or two; None: it is not."""

PORTS = frozenset({80, 443})
LONGEST_HOST = 253
"""Longest name, in characters (RFC 1035, section 2.3.4: 255 octets with their lengths)."""

LONGEST_URL = 8192
"""Longest URL, in characters; what servers commonly take (RFC 9110 section 4.1 asks for 8000 octets)."""

INSTEAD = "Send a URL that anybody can open, or the image itself as a data: URL with base64."
"""Advice for a client whose URL is not fetched."""


class RejectedError(Exception):
    """An image that is not fetched; `reason`, `code` and `index` as in `FetchFailure`."""

    def __init__(self, reason: str, code: FetchCode, index: int = 0) -> None:
        super().__init__(reason)
        self.reason, self.code, self.index = reason, code, index


def bad_url(what: str) -> RejectedError:
    """Return the error for a URL that must not be fetched, because of `what`."""
    return RejectedError(f"{what} {INSTEAD}", "invalid_image_url")


def not_public(host: str) -> RejectedError:
    """Return the same error for an unknown name and for an internal one: a client must not learn which it is."""
    return bad_url(f"The host '{host}' could not be found on the public internet.")


# Addresses

_KINDS = {
    # AWS (instances, ECS tasks, EKS pods), Google, Azure, Alibaba, Oracle
    "cloud metadata": "169.254.169.254 169.254.170.2 169.254.170.23 fd00:ec2::254 fd00:ec2::23 fd20:ce::254 "
    "168.63.129.16 100.100.100.200 192.0.0.192",
    "unspecified": "0.0.0.0/8 ::",
    "loopback": "127.0.0.0/8 ::1",
    "private": "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7 fec0::/10 64:ff9b:1::/48",
    "carrier-private": "100.64.0.0/10",
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
    """Return the kind of an address that is not on the public internet; None if it is.

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
    """A guard with exceptions to `forbidden`: `deny` is out of bounds too, `allow` is in bounds in any case."""

    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()

    def __call__(self, address: Address) -> str | None:
        """Return the verdict on one address."""
        if any(address in network for network in self.allow):
            return None
        if any(_behind(address) in network for network in self.deny):
            return "denied"
        return forbidden(address)


# URLs

_WELL_FORMED = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_INSIDE = (".localhost", ".local", ".internal", ".home.arpa")
"""Names that are never public: RFC 6761, RFC 6762, ICANN's resolution 2024.07.29.06, RFC 8375.

Kubernetes' `cluster.local` and EC2's `compute.internal` are among them, and in AWS these may have IPv6 addresses that
look public.
"""


def parse(text: str, base: URL | None = None) -> URL:
    """Parse `text` as a URL, relative to `base`. Raises `RejectedError`.

    A well-formed one is kept byte for byte, since it may be signed; any other is quoted as a browser would.
    """
    if len(text) > LONGEST_URL:
        raise bad_url(f"The URL has more than {LONGEST_URL} characters.")
    try:
        _reject_long_host(text)
        url = URL(text, encoded=_WELL_FORMED.fullmatch(text) is not None)
        url = url if base is None else base.join(url)
        _ = url.port  # yarl takes the host and port of a well-formed URL apart only now, and raises only now
    except ValueError as error:
        raise bad_url("This is not a URL that can be read.") from error
    return url


def _reject_long_host(text: str) -> None:
    """Raise a `RejectedError` if `text` has a host of more than `LONGEST_HOST` characters that is not ASCII.

    yarl makes ASCII of it (IDNA), a millisecond for every dozen characters that stand for many. As it is, the text is
    only taken apart. Raises `ValueError` for what is no URL.
    """
    if text.isascii():
        return
    host = URL(text, encoded=True).raw_host or ""
    if len(host) > LONGEST_HOST or len(unicodedata.normalize("NFKC", host)) > LONGEST_HOST:
        raise bad_url(f"The URL's host has more than {LONGEST_HOST} characters.")


def check(url: URL, verdict: Verdict, ports: frozenset[int] = PORTS) -> None:
    """Reject a URL for what it spells out. Raises `RejectedError`."""
    if url.scheme not in ("http", "https"):
        raise bad_url("Only http and https URLs are fetched.")
    if url.raw_user or url.raw_password:
        raise bad_url("A URL with a user name or a password in it is not fetched.")
    if url.port not in ports:
        raise bad_url(f"Images are fetched from port {' or '.join(map(str, sorted(ports)))} only.")
    address = _literal(url.raw_host or "")
    kind = None if address is None else verdict(address)
    if kind is not None:
        log.info("not fetched: %s (%s)", address, kind)
        raise bad_url(f"Images are not fetched from {address} ({kind}).")


def _literal(host: str) -> Address | None:
    """Return the address that `host` is in its usual spelling, or None for a proper name. Raises `RejectedError`.

    127.1, 2130706433, 0x7f.1 and 127.0.0.1. are neither: some resolvers take them for addresses. A last label that is
    a number makes an address (https://url.spec.whatwg.org/#ends-in-a-number-checker).
    """
    labels = host.removesuffix(".").split(".")
    if ":" in host or _NUMBER.fullmatch(labels[-1]):
        try:
            address = ip_address(host)
        except ValueError as error:
            raise bad_url("The URL's host looks like an IP address, but is not a plain one.") from error
        if isinstance(address, IPv6Address) and address.scope_id is not None:
            raise bad_url("Images are not fetched from an address with a zone.")
        return address
    if len(host) > LONGEST_HOST or not all(_LABEL.fullmatch(label) for label in labels):
        raise bad_url("The URL's host is not a proper host name.")
    if len(labels) == 1 or f".{'.'.join(labels)}".lower().endswith(_INSIDE):
        raise not_public(host)
    return None
