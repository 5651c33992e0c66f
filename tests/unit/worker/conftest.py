"""Servers on loopback addresses that a fetcher allows or denies, and names that resolve to them."""

import asyncio
from ipaddress import ip_network

import aiohttp
import pytest

from extproc.exchange.jobs import Fetch, FetchFailure
from extproc.worker.image_fetcher import Fetcher

SECONDS = 30
HERE, THERE = "127.0.0.1", "127.0.0.2"
"""The address that is let through, standing for the public internet, and one that is not."""

PICTURE = b"HTTP/1.1 200 OK\r\ncontent-length: 108\r\n\r\n\x89PNG\r\n\x1a\n" + bytes(100)


class CannedSite:
    """A server that writes the raw bytes configured for each path, and then closes, or hangs if they end in None."""

    def __init__(self):
        self.responses = {}
        self.connections = 0
        self.heads = []
        self.in_flight = self.most_in_flight = 0
        self.requested = asyncio.Event()
        self.left = asyncio.Event()
        self.ended = asyncio.Event()
        self.scraps = []

    async def serve(self, host, port=0, tls=None):
        self.server = await asyncio.start_server(self.handle, host, port, ssl=tls)
        self.port = self.server.sockets[0].getsockname()[1]

    async def handle(self, reader, writer):
        self.connections += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head.decode())
            self.requested.set()
            await self.write_response(head.split(b" ")[1].decode(), reader, writer)
        except asyncio.IncompleteReadError as error:
            self.scraps.append(error.partial)
        except ConnectionError:
            pass
        finally:
            self.in_flight -= 1
            self.ended.set()
            writer.close()

    async def write_response(self, path, reader, writer):
        for piece in self.responses.get(path, [PICTURE]):
            if piece is None:
                await reader.read()
                self.left.set()
                return
            writer.write(piece)
            await writer.drain()

    def move(self, path, where, status="302 Found"):
        """Redirect `path` to another URL from now on."""
        head = f"HTTP/1.1 {status}\r\ncontent-length: 0\r\nlocation: {where}\r\n\r\n"
        self.responses[path] = [head.encode()]

    @property
    def paths(self):
        return [head.split(" ")[1] for head in self.heads]

    def url(self, path="/", host=HERE, scheme="http"):
        return f"{scheme}://{host}:{self.port}{path}"


class Names(aiohttp.abc.AbstractResolver):
    """A resolver that returns the configured responses of each name one after the other; the last remains."""

    def __init__(self, **lookups):
        self.responses = {name.replace("_", "."): list(lookups) for name, lookups in lookups.items()}
        self.requested = []
        self.closed = False

    async def resolve(self, host, port=0, family=0):
        self.requested.append(host)
        lookups = self.responses.get(host.lower().removesuffix("."))
        if lookups is None:
            raise OSError("no such name")
        addresses = lookups.pop(0) if len(lookups) > 1 else lookups[0]
        return [
            {"hostname": host, "host": address, "port": port, "family": family, "proto": 0, "flags": 0}
            for address in addresses
        ]

    async def close(self):
        self.closed = True


@pytest.fixture
async def site():
    site = CannedSite()
    await site.serve(HERE)
    yield site
    site.server.close()


@pytest.fixture
async def inside(site):
    """Start a server that must not be reached, at the same port of another address."""
    inside = CannedSite()
    await inside.serve(THERE, site.port)
    yield inside
    inside.server.close()


@pytest.fixture
def names():
    return Names(images_example=[[HERE]], other_example=[[HERE]])


@pytest.fixture
async def fetcher(site, names):
    async with _fetching(site, lookup=names) as fetcher:
        yield fetcher


@pytest.fixture(scope="session")
def new_site():
    return CannedSite


def _fetching(site, **options):
    options = {"environ": {}, "ports": frozenset({site.port, 443}), "allow": [ip_network(HERE)], **options}
    return Fetcher(**options)


def _job(*urls, max_bytes=1000, total_bytes=10_000, concurrency=4):
    return Fetch(urls, max_bytes, total_bytes, concurrency)


async def _failure(fetcher, *urls, code=None, **limits):
    """Return the failure of a fetch; each names what the client has to do."""
    result = await fetcher.fetch(_job(*urls, **limits), SECONDS)
    assert isinstance(result, FetchFailure)
    assert "Send " in result.reason
    assert code is None or result.code == code
    return result


async def _image(fetcher, url, **limits):
    (fetched,) = await fetcher.fetch(_job(url, **limits), SECONDS)
    return fetched


@pytest.fixture(scope="session")
def fetching():
    """Return a function that makes a fetcher for this site, or with other options."""
    return _fetching


@pytest.fixture(scope="session")
def job():
    """Return a function that makes a job for URLs of the site."""
    return _job


@pytest.fixture(scope="session")
def failure():
    """Return a function that fetches and returns the failure."""
    return _failure


@pytest.fixture(scope="session")
def image():
    """Return a function that fetches one image."""
    return _image
