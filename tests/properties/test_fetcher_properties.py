"""No URL, no resolver and no server brings the fetcher to where it must not go, or to anything but a result."""

import asyncio
import ipaddress
import re
import socket
from ipaddress import IPv4Address, IPv6Address, ip_network
from itertools import pairwise
from urllib.parse import quote

import pytest
from aiohttp.abc import AbstractResolver
from hypothesis import assume, example, given
from hypothesis import strategies as st

from extproc.exchange.jobs import Fetch, Fetched, FetchFailure
from extproc.worker.image_fetcher import Fetcher, ForbiddenAddressError, GuardedResolver
from extproc.worker.url_guard import PORTS, RejectedError, check, forbidden, parse

NAT64 = ip_network("64:ff9b::/96")

STRICTER = [ip_network(each) for each in ("168.63.129.16", "192.0.0.0/24", "192.88.99.0/24")]
STRICTER += [ip_network(each) for each in ("2002::/16", "2001::/23", "3fff::/20")]
"""Addresses that some versions of `ipaddress` call global and the guard forbids: a cloud's, or unassigned."""

SPECIAL = [
    *ipaddress._IPv4Constants._private_networks,
    *ipaddress._IPv6Constants._private_networks,
    *ipaddress._IPv6Constants._reserved_networks,
    *STRICTER,
    NAT64,
]

LAST = {4: 2**32 - 1, 6: 2**128 - 1}

addresses = st.one_of(
    st.ip_addresses(v=4),
    st.ip_addresses(v=6),
    st.sampled_from(SPECIAL).flatmap(lambda network: st.ip_addresses(network=network)),
    st.sampled_from(SPECIAL).flatmap(lambda network: st.sampled_from([network[0], network[-1]])),
    st.sampled_from(SPECIAL)
    .map(lambda network: network[-1])
    .filter(lambda last: int(last) < LAST[last.version])
    .map(lambda last: last + 1),
)


def public(address):
    """Return the opinion of `ipaddress`, which ignores NAT64."""
    if address in NAT64:
        address = IPv4Address(int(address) & 0xFFFFFFFF)
    not_public = (
        address.is_private,
        address.is_loopback,
        address.is_link_local,
        address.is_multicast,
        address.is_reserved,
        address.is_unspecified,
        getattr(address, "is_site_local", False),
    )
    return address.is_global and not any(not_public)


@given(addresses)
def test_nothing_is_let_through_that_ipaddress_has_not_for_public(address):
    if forbidden(address) is None:
        assert public(address)


@given(addresses)
def test_nothing_else_is_forbidden(address):
    if forbidden(address) is not None:
        inner = IPv4Address(int(address) & 0xFFFFFFFF) if address in NAT64 else address
        assert not public(address) or any(inner in network for network in STRICTER)


@given(st.ip_addresses(v=4))
def test_an_address_within_another_is_no_way_round(v4):
    low = int(v4)
    mapped, compatible = IPv6Address(0xFFFF << 32 | low), IPv6Address(low)
    six_to_four = IPv6Address(0x2002 << 112 | low << 80 | 1)
    teredo = IPv6Address(0x20010000 << 96 | (low ^ 0xFFFFFFFF))
    assert (mapped.ipv4_mapped, six_to_four.sixtofour, teredo.teredo[1]) == (v4, v4, v4)
    assert None not in [forbidden(address) for address in (mapped, compatible, six_to_four, teredo)]
    assert forbidden(IPv6Address(int(NAT64[0]) | low)) == forbidden(v4)


hosts = st.one_of(
    st.from_regex(r"[a-z0-9.:%_\[\]x-]{1,20}", fullmatch=True),
    st.lists(st.one_of(st.integers(0, 300), st.integers(0, 2**32 + 5)), min_size=1, max_size=5).flatmap(
        lambda parts: st.tuples(*(st.sampled_from([f"{n}", f"{n:#x}", f"0{n:o}", f"0{n}"]) for n in parts)).map(
            ".".join
        )
    ),
    addresses.map(lambda address: f"[{address}]" if address.version == 6 else str(address)),
    addresses.map(str).map(lambda text: f"[{text}]"),
    st.text(max_size=20),
)
prefixes = st.sampled_from(
    ["http://", "https://", "HTTP:\\\\", "http:", "//", "", "ftp://", "http://a@", "http://a:b@"]
)
suffixes = st.one_of(
    st.sampled_from(["", "/", ".", "./", ":80/", ":443", ":22/", "#@8.8.8.8/", "?x"]), st.text(max_size=9)
)
urls = st.one_of(st.tuples(prefixes, hosts, suffixes).map("".join), st.text())


@given(urls, st.none() | st.sampled_from(["http://images.example/a/b", "https://8.8.8.8/"]))
@example("http://127.1/", None)
@example("http://①②⑦.1/", None)
@example("//0x7f.1", "http://images.example/a/b")
def test_a_url_passes_with_a_proper_name_or_a_public_address_or_is_rejected(text, base):
    try:
        url = parse(text, base and parse(base))
        check(url, forbidden)
    except RejectedError:
        return
    assert url.scheme in ("http", "https")
    assert url.port in PORTS
    assert url.user is None
    assert re.fullmatch(r"[ -~]*", url.raw_path_qs), "fit for a request line"
    host = url.raw_host
    for means in (numeric, lambda host: socket.inet_pton(socket.AF_INET6, host)):
        try:
            address = ipaddress.ip_address(means(host))
        except OSError:
            continue
        assert public(address)
        return
    assert re.fullmatch(r"[A-Za-z0-9_.-]+", host)
    assert "." in host.rstrip(".")


def numeric(host):
    """Return the IPv4 address that C libraries read, in any spelling."""
    return socket.inet_aton(host.rstrip("."))


@given(st.ip_addresses(v=4), st.data())
def test_no_spelling_of_a_forbidden_address_passes(address, data):
    assume(forbidden(address))
    a, b, c, d = address.packed
    forms = [(a, b, c, d), (a, b, c << 8 | d), (a, b << 16 | c << 8 | d), (int(address),)]
    numbers = data.draw(st.sampled_from(forms))
    text = ".".join(data.draw(st.sampled_from([f"{n}", f"{n:#x}", f"{n:#X}", f"0{n:o}"])) for n in numbers)
    assert socket.inet_aton(text) == address.packed
    wide = text.translate({ord("0") + digit: 0xFF10 + digit for digit in range(10)})
    for host in (text, text + ".", quote(text), wide, text.replace(".", "。")):
        with pytest.raises(RejectedError):
            check(parse(f"http://{host}/"), forbidden)


class StaticResolver(AbstractResolver):
    def __init__(self, addresses):
        self.addresses = addresses

    async def resolve(self, host, port=0, family=0):
        return [
            {"hostname": host, "host": str(address), "port": port, "family": family, "proto": 0, "flags": 0}
            for address in self.addresses
        ]

    async def close(self):
        pass


@given(st.lists(addresses, min_size=1, max_size=5))
def test_a_name_passes_if_all_its_addresses_do(resolved_addresses):
    resolve = GuardedResolver(StaticResolver(resolved_addresses), forbidden).resolve("images.example", 80)
    if all(map(public, resolved_addresses)) and not any(
        address in network for address in resolved_addresses for network in STRICTER
    ):
        assert [resolved["host"] for resolved in asyncio.run(resolve)] == [
            str(address) for address in resolved_addresses
        ]
    else:
        with pytest.raises(ForbiddenAddressError):
            asyncio.run(resolve)


PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(40))


class RawServer:
    """A server that sends the configured chunks to every client, and then nothing."""

    pieces = ()

    async def handle(self, reader, writer):
        try:
            await reader.readuntil(b"\r\n\r\n")
            for piece in self.pieces:
                writer.write(piece)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture(scope="module")
def fetch():
    """Return a function that fetches from a server that sends these chunks."""
    with asyncio.Runner() as loop:
        server = RawServer()
        listening = loop.run(asyncio.start_server(server.handle, "127.0.0.1", 0))
        port = listening.sockets[0].getsockname()[1]
        fetcher = Fetcher({}, ports=frozenset({port}), allow=[ip_network("127.0.0.1")], lookup=StaticResolver([]))
        loop.run(fetcher.__aenter__())

        def fetch(pieces, limit=100):
            server.pieces = pieces
            return loop.run(fetcher.fetch(Fetch((f"http://127.0.0.1:{port}/",), limit, limit, 1), 30))

        yield fetch
        loop.run(fetcher.__aexit__(None, None, None))
        listening.close()


def cut(data, places):
    places = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


GOOD = b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: %d\r\n\r\n%s" % (len(PNG), PNG)
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(PNG), PNG)
MOVED = b"HTTP/1.1 302 Found\r\nlocation: http://10.0.0.1/\r\ncontent-length: 0\r\n\r\n"

changes = st.tuples(st.integers(0, 300), st.integers(0, 3), st.binary(max_size=5))
raw_responses = st.one_of(
    st.binary(max_size=300),
    st.tuples(st.sampled_from([GOOD, CHUNKED, MOVED]), changes).map(
        lambda drawn: drawn[0][: drawn[1][0]] + drawn[1][2] + drawn[0][drawn[1][0] + drawn[1][1] :]
    ),
)


@given(raw_responses)
def test_any_response_of_a_server_is_an_image_or_a_failure(fetch, chunks):
    result = fetch([chunks])
    if isinstance(result, FetchFailure):
        assert result.reason
    else:
        (fetched,) = result
        assert isinstance(fetched, Fetched)
        assert 0 < len(fetched.data) <= 100


@given(st.sampled_from([GOOD, CHUNKED]), st.lists(st.integers(0, 300), max_size=5))
def test_whole_and_in_pieces_is_the_same(fetch, chunks, places):
    assert [fetched.data for fetched in fetch(cut(chunks, places))] == [PNG]


@given(st.sampled_from([GOOD, CHUNKED]), st.integers(1, len(PNG) - 1), st.lists(st.integers(0, 300), max_size=5))
def test_more_than_the_limit_is_a_failure_in_any_pieces(fetch, chunks, limit, places):
    result = fetch(cut(chunks, places), limit)
    assert (result.index, result.code) == (0, "image_too_large")
