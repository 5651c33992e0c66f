"""The fetcher against servers of its own, on loopback addresses that it is told to let through, and on others."""

import asyncio
import gzip
import logging
import socket
import ssl
import subprocess
import threading
from ipaddress import ip_network

import aiohttp
import pytest
import uvloop

from extproc.exchange.jobs import Fetch, Fetched, FetchFailure
from extproc.server.fetcher import REDIRECTS, Fetcher, GuardedConnector, Lookup, trust

SECONDS = 30
HERE, THERE = "127.0.0.1", "127.0.0.2"
"""The address that is let through, standing for the public internet, and one that is not."""

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
IMAGES = [PNG, b"\xff\xd8\xff\xe0" + bytes(20), b"GIF87a" + bytes(20), b"GIF89a" + bytes(20), b"RIFF\1\2\3\4WEBPVP8 "]


def answer(body=PNG, status="200 OK", *headers, length=None):
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body) if length is None else length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunked(*pieces, headers=()):
    lines = ["HTTP/1.1 200 OK", "transfer-encoding: chunked", *headers]
    head = "\r\n".join([*lines, "", ""]).encode()
    return head + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])


def moved(where, status="302 Found"):
    return answer(b"", status, f"location: {where}")


class Site:
    """A server that writes for each path the very bytes it was given, and then closes, or hangs if they end in None."""

    def __init__(self):
        self.answers = {}
        self.connections = 0
        self.heads = []
        self.in_flight = self.most_in_flight = 0
        self.asked = asyncio.Event()
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
            self.asked.set()
            await self.say(head.split(b" ")[1].decode(), reader, writer)
        except asyncio.IncompleteReadError as error:
            self.scraps.append(error.partial)
        except ConnectionError:
            pass
        finally:
            self.in_flight -= 1
            self.ended.set()
            writer.close()

    async def say(self, path, reader, writer):
        for piece in self.answers.get(path, [answer()]):
            if piece is None:
                await reader.read()
                self.left.set()
                return
            writer.write(piece)
            await writer.drain()

    @property
    def paths(self):
        return [head.split(" ")[1] for head in self.heads]

    def url(self, path="/", host=HERE, scheme="http"):
        return f"{scheme}://{host}:{self.port}{path}"


class Names(aiohttp.abc.AbstractResolver):
    """A resolver that knows so many answers for each name, and gives them one after the other; the last remains."""

    def __init__(self, **answers):
        self.answers = {name.replace("_", "."): list(answers) for name, answers in answers.items()}
        self.asked = []
        self.closed = False

    async def resolve(self, host, port=0, family=0):
        self.asked.append(host)
        answers = self.answers.get(host.lower().removesuffix("."))
        if answers is None:
            raise OSError("no such name")
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            {"hostname": host, "host": address, "port": port, "family": family, "proto": 0, "flags": 0}
            for address in addresses
        ]

    async def close(self):
        self.closed = True


@pytest.fixture
async def site():
    site = Site()
    await site.serve(HERE)
    yield site
    site.server.close()


@pytest.fixture
async def inside(site):
    """What must not be reached: it listens at the same port of another address."""
    inside = Site()
    await inside.serve(THERE, site.port)
    yield inside
    inside.server.close()


@pytest.fixture
def names():
    return Names(images_example=[[HERE]], other_example=[[HERE]])


@pytest.fixture
async def fetcher(site, names):
    async with fetching(site, lookup=names) as fetcher:
        yield fetcher


def fetching(site, **options):
    options = {"environ": {}, "ports": frozenset({site.port, 443}), "allow": [ip_network(HERE)], **options}
    return Fetcher(**options)


def job(*urls, max_bytes=1000, total_bytes=10_000, concurrency=4):
    return Fetch(urls, max_bytes, total_bytes, concurrency)


async def failure(fetcher, *urls, code=None, **limits):
    """The failure that fetching comes to; every one tells the client what to do."""
    result = await fetcher.fetch(job(*urls, **limits), SECONDS)
    assert isinstance(result, FetchFailure)
    assert "Send " in result.reason
    assert code is None or result.code == code
    return result


async def image(fetcher, url, **limits):
    (fetched,) = await fetcher.fetch(job(url, **limits), SECONDS)
    return fetched


class TestImages:
    async def test_they_are_in_the_order_of_the_urls(self, site, fetcher):
        images = {f"/{index}": PNG + bytes([index]) for index in range(20)}
        site.answers = {path: [answer(body)] for path, body in images.items()}
        fetched = await fetcher.fetch(job(*map(site.url, images)), SECONDS)
        assert [one.data for one in fetched] == list(images.values())
        assert sorted(site.paths) == sorted(images)

    async def test_no_urls_are_no_images(self, fetcher):
        assert await fetcher.fetch(job(), SECONDS) == ()

    @pytest.mark.parametrize("data", IMAGES)
    async def test_the_bytes_say_what_an_image_is_and_not_the_server(self, data, site, fetcher):
        site.answers["/a"] = [answer(data, "200 OK", "content-type: text/plain; charset=utf-8")]
        assert await image(fetcher, site.url("/a")) == Fetched(data, "text/plain")

    async def test_a_body_without_a_length(self, site, fetcher):
        site.answers["/chunked"] = [chunked(PNG[:1], PNG[1:5], PNG[5:])]
        site.answers["/to-the-end"] = [b"HTTP/1.1 200 OK\r\n\r\n", PNG]
        assert (await image(fetcher, site.url("/chunked"))).data == PNG
        assert (await image(fetcher, site.url("/to-the-end"))).data == PNG

    @pytest.mark.parametrize("concurrency", [1, 3, 100])
    async def test_so_many_at_a_time(self, concurrency, site, fetcher):
        urls = [site.url(f"/{index}") for index in range(30)]
        assert len(await fetcher.fetch(job(*urls, concurrency=concurrency), SECONDS)) == 30
        assert site.most_in_flight <= concurrency

    async def test_it_works_on_the_loop_that_workers_have(self):
        async def fetch():
            site = Site()
            await site.serve(HERE)
            async with site.server, fetching(site, lookup=Names(images_example=[[HERE]])) as fetcher:
                good = await image(fetcher, site.url("/a", "images.example"))
                bad = await failure(fetcher, site.url("/a", THERE))
            return good, bad.code

        assert await asyncio.to_thread(uvloop.run, fetch()) == (
            Fetched(PNG, "application/octet-stream"),
            "invalid_image_url",
        )


class TestRequests:
    async def test_what_goes_out(self, site, fetcher):
        await image(fetcher, site.url("/a%2Fb?sig=%2b#part", "Images.example"))
        line, *fields = site.heads[0].strip().split("\r\n")
        assert line == "GET /a%2Fb?sig=%2b HTTP/1.1"
        assert sorted(field.lower() for field in fields) == sorted(
            [
                f"host: images.example:{site.port}",
                "user-agent: oai-extproc",
                "accept: image/png, image/jpeg, image/gif, image/webp, */*;q=0.1",
                "accept-encoding: identity",
                "connection: close",
            ]
        )

    async def test_no_cookies_and_no_referer_and_no_connection_is_kept(self, site, fetcher):
        site.answers["/a"] = [answer(b"", "302 Found", "location: /b", "set-cookie: a=b; Path=/")]
        site.answers["/b"] = [answer(PNG, "200 OK", "set-cookie: c=d; Path=/", "connection: keep-alive")]
        for _ in range(2):
            await image(fetcher, site.url("/a", "images.example"))
        assert site.paths == ["/a", "/b"] * 2
        assert not any("cookie" in head.lower() or "referer" in head.lower() for head in site.heads)
        assert site.connections == 4

    async def test_no_proxy_of_the_environment(self, site, names, monkeypatch):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9/")
        async with fetching(site, lookup=names) as fetcher:
            assert (await image(fetcher, site.url("/a", "images.example"))).data == PNG


class TestRedirects:
    @pytest.mark.parametrize("status", ["301 A", "302 A", "303 A", "307 A", "308 A"])
    async def test_they_are_followed(self, status, site, names, fetcher):
        site.answers["/a"] = [moved("/b?x=%41", status)]
        site.answers["/b?x=%41"] = [moved(site.url("/c", "other.example"), status)]
        assert (await image(fetcher, site.url("/a", "images.example"))).data == PNG
        assert site.paths == ["/a", "/b?x=%41", "/c"]
        assert names.asked == ["images.example", "images.example", "other.example"]

    async def test_so_many_of_them(self, site, fetcher):
        site.answers |= {f"/{index}": [moved(f"/{index + 1}")] for index in range(REDIRECTS + 1)}
        assert (await image(fetcher, site.url("/1"))).data == PNG
        failed = await failure(fetcher, site.url("/0"), code="failed_to_download_image")
        assert "more than 3 times" in failed.reason

    @pytest.mark.parametrize("where", ["/loop", "", "#x"])
    async def test_a_loop_ends(self, where, site, fetcher):
        site.answers["/loop"] = [moved(where)]
        await failure(fetcher, site.url("/loop"), code="failed_to_download_image")
        assert len(site.paths) == REDIRECTS + 1

    @pytest.mark.parametrize(
        "where",
        [
            "http://127.0.0.2:{port}/",
            "//127.0.0.2:{port}/",
            "http://127.2:{port}/",
            "http://2130706434:{port}/",
            "http://0x7f.2:{port}/",
            "http://[::ffff:127.0.0.2]:{port}/",
            "http://inside.example:{port}/",
            "http://localhost:{port}/",
            "http://user:secret@images.example:{port}/",
            "http://images.example:22/",
            "http://169.254.169.254/latest/meta-data/iam/",
            "file:///etc/passwd",
            "ftp://images.example/",
            "http://[",
        ],
    )
    async def test_each_hop_is_guarded(self, where, site, inside, names, fetcher):
        names.answers["inside.example"] = [[THERE]]
        site.answers["/a"] = [moved(where.format(port=site.port))]
        await failure(fetcher, site.url("/a"), code="invalid_image_url")
        assert site.connections == 1
        assert inside.connections == 0


class TestAddresses:
    @pytest.mark.parametrize("host", [THERE, "0.0.0.0", "[::1]", "[::ffff:127.0.0.2]", "127.2", "localhost"])
    async def test_what_a_url_spells_out_is_guarded(self, host, site, inside, names, fetcher):
        await failure(fetcher, site.url("/a", host), code="invalid_image_url")
        assert (inside.connections, names.asked) == (0, [])

    @pytest.mark.parametrize("addresses", [[THERE], [HERE, THERE], ["10.0.0.1", HERE], ["::ffff:127.0.0.1"], []])
    async def test_every_address_of_a_name_is_guarded(self, addresses, site, inside, names, fetcher):
        names.answers["inside.example"] = [addresses]
        await failure(fetcher, site.url("/a", "inside.example"), code="invalid_image_url")
        assert (site.connections, inside.connections) == (0, 0)

    async def test_a_client_does_not_learn_what_is_inside(self, site, names, fetcher, caplog):
        caplog.set_level(logging.INFO)
        names.answers["inside.example"] = [[THERE]]
        known = await failure(fetcher, site.url("/a", "inside.example"))
        unknown = await failure(fetcher, site.url("/a", "nothing.example"))
        assert known.reason.replace("inside.example", "nothing.example") == unknown.reason
        assert "inside.example leads to 127.0.0.2 (loopback)" in caplog.text

    async def test_a_name_is_looked_up_once_for_each_connection(self, site, inside, names, fetcher):
        names.answers["rebinding.example"] = [[HERE], [THERE]]
        assert (await image(fetcher, site.url("/a", "rebinding.example"))).data == PNG
        assert names.asked == ["rebinding.example"]
        await failure(fetcher, site.url("/a", "rebinding.example"), code="invalid_image_url")
        assert (site.connections, inside.connections) == (1, 0)

    async def test_rebinding_between_two_hops(self, site, inside, names, fetcher):
        names.answers["rebinding.example"] = [[HERE], [THERE]]
        site.answers["/a"] = [moved("/b")]
        await failure(fetcher, site.url("/a", "rebinding.example"), code="invalid_image_url")
        assert (site.paths, inside.connections) == (["/a"], 0)

    async def test_the_next_address_is_taken_where_one_cannot_be_reached(self, site, names):
        names.answers["images.example"] = [["127.0.0.3", HERE]]
        allow = [ip_network("127.0.0.3"), ip_network(HERE)]
        async with fetching(site, lookup=names, allow=allow) as fetcher:
            assert (await image(fetcher, site.url("/a", "images.example"))).data == PNG

    async def test_what_is_denied(self, site, names):
        async with fetching(site, lookup=names, allow=(), deny=[ip_network("8.8.8.0/24")]) as fetcher:
            failed = await failure(fetcher, site.url("/a", "8.8.8.8"), code="invalid_image_url")
        assert "8.8.8.8 (denied)" in failed.reason


class TestConnector:
    """What the connector refuses by itself, were nothing checked before."""

    async def get(self, verdict, url, names):
        connector = GuardedConnector(verdict, names, trust({}))
        async with aiohttp.ClientSession(connector=connector) as session, session.get(url) as response:
            return await response.read()

    async def test_a_literal_address_meets_no_resolver_but_the_guard(self, site, names):
        with pytest.raises(aiohttp.ClientConnectorError) as error:
            await self.get(lambda address: "loopback", site.url(), names)
        assert isinstance(error.value.os_error, PermissionError)
        assert site.connections == 0

    async def test_nothing_is_sent_to_a_peer_that_does_not_pass(self, site, names):
        verdicts = iter([None, "loopback"])
        with pytest.raises(aiohttp.ClientConnectionError, match="loopback"):
            await self.get(lambda address: next(verdicts), site.url(), names)
        await site.ended.wait()
        assert (site.connections, site.heads, site.scraps) == (1, [], [b""])

    async def test_what_passes_is_connected_to(self, site, names):
        seen = []
        assert await self.get(lambda address: seen.append(str(address)), site.url("/", "images.example"), names) == PNG
        assert seen == [HERE] * 3


class TestLookup:
    async def test_it_asks_for_the_name_itself_in_a_thread_of_its_own(self, monkeypatch):
        asked = []

        def getaddrinfo(host, port, *rest, flags):
            asked.append((host, port, threading.current_thread().name))
            v4 = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))
            return [v4, (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", port, 0, 0))]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        lookup = Lookup()
        for host in ("images.example", "images.example."):
            assert [found["host"] for found in await lookup.resolve(host, 443)] == ["192.0.2.1", "2001:db8::1"]
        await lookup.close()
        assert {(host, port) for host, port, _ in asked} == {("images.example.", 443)}
        assert all(name.startswith("image-lookup") for _, _, name in asked)

    async def test_a_name_that_is_not_there_is_a_failure(self, site, monkeypatch):
        def getaddrinfo(*args, **options):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        async with fetching(site) as fetcher:
            await failure(fetcher, site.url("/a", "nothing.example"), code="invalid_image_url")

    async def test_it_is_closed_with_the_fetcher(self, site, names):
        async with fetching(site, lookup=names):
            assert not names.closed
        assert names.closed


class TestLimits:
    @pytest.mark.parametrize("form", [lambda body: answer(body), lambda body: chunked(body[:9], body[9:])])
    async def test_the_largest_image(self, form, site, fetcher):
        site.answers |= {"/fits": [form(PNG)], "/large": [form(PNG + b"x")]}
        assert (await image(fetcher, site.url("/fits"), max_bytes=len(PNG))).data == PNG
        failed = await failure(fetcher, site.url("/large"), max_bytes=len(PNG), code="image_too_large")
        assert f"more than {len(PNG)} bytes" in failed.reason

    @pytest.mark.parametrize("form", [lambda body: answer(body), lambda body: chunked(body[:9], body[9:])])
    async def test_all_images_together(self, form, site, fetcher):
        site.answers["/a"] = [form(PNG)]
        urls = [site.url("/a")] * 3
        for concurrency in (1, 3):
            limits = {"total_bytes": 3 * len(PNG), "concurrency": concurrency}
            assert len(await fetcher.fetch(job(*urls, **limits), SECONDS)) == 3
            limits["total_bytes"] -= 1
            failed = await failure(fetcher, *urls, **limits, code="image_too_large")
            assert "together" in failed.reason

    async def test_a_large_one_is_not_read_if_its_length_is_told(self, site, fetcher):
        site.answers["/a"] = [answer(PNG, length=10**15), None]
        await failure(fetcher, site.url("/a"), code="image_too_large")
        await site.left.wait()

    async def test_a_large_one_is_not_read_further_than_the_limit(self, site, fetcher):
        site.answers["/a"] = [b"HTTP/1.1 200 OK\r\n\r\n" + PNG, bytes(1000), None]
        await failure(fetcher, site.url("/a"), code="image_too_large")
        await site.left.wait()

    async def test_less_than_its_length_is_a_failure(self, site, fetcher):
        site.answers["/a"] = [answer(PNG, length=len(PNG) + 1)]
        failed = await failure(fetcher, site.url("/a"), code="failed_to_download_image")
        assert "broke off" in failed.reason

    async def test_more_than_its_length_is_not_read(self, site, fetcher):
        site.answers["/a"] = [answer(PNG + bytes(5000), length=len(PNG))]
        result = await fetcher.fetch(job(site.url("/a")), SECONDS)
        if isinstance(result, FetchFailure):  # where the rest came in the same segment, and was seen
            assert result.code == "failed_to_download_image"
        else:
            assert result[0].data == PNG


class TestSeconds:
    @pytest.mark.parametrize("said", [[], [b"HTTP/1.1 200"], [b"HTTP/1.1 100 Continue\r\n\r\n"], [answer(length=500)]])
    async def test_a_job_has_so_many(self, said, site, fetcher):
        site.answers["/slow"] = [*said, None]
        result = await fetcher.fetch(job(site.url("/slow")), 0.05)
        assert (result.index, result.code) == (0, "failed_to_download_image")
        assert "within 0.05 seconds" in result.reason
        if site.connections:
            await site.ended.wait()

    async def test_the_first_that_is_missing_is_named(self, site, fetcher):
        site.answers["/slow"] = [None]
        urls = [site.url("/fast"), site.url("/slow"), site.url("/slow")]
        assert (await fetcher.fetch(job(*urls), 1)).index == 1

    async def test_looking_up_counts(self, site):
        class Never(Names):
            async def resolve(self, host, port=0, family=0):
                await asyncio.Event().wait()

        async with fetching(site, lookup=Never()) as fetcher:
            result = await fetcher.fetch(job(site.url("/a", "images.example")), 0.05)
        assert result.code == "failed_to_download_image"

    async def test_cancelling_it_ends_its_requests(self, site, fetcher):
        site.answers["/slow"] = [None]
        task = asyncio.create_task(fetcher.fetch(job(site.url("/slow")), SECONDS))
        await site.asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await site.left.wait()


class TestFailures:
    async def test_the_first_one_ends_the_others(self, site, fetcher):
        site.answers |= {"/slow": [None], "/bad": [answer(b"", "404 Not Found")]}
        urls = [site.url("/slow"), site.url("/bad"), site.url("/never")]
        result = await failure(fetcher, *urls, concurrency=2, code="failed_to_download_image")
        assert result.index == 1
        assert "status 404" in result.reason
        assert "/never" not in site.paths
        await site.left.wait()

    @pytest.mark.parametrize(
        "status", ["201 A", "204 A", "206 A", "300 A", "304 A", "401 A", "403 A", "500 A", "999 A"]
    )
    async def test_any_other_status(self, status, site, fetcher):
        site.answers["/a"] = [answer(b"" if status[:3] in ("204", "304") else PNG, status)]
        failed = await failure(fetcher, site.url("/a"), code="failed_to_download_image")
        assert f"status {status[:3]}" in failed.reason

    async def test_a_compressed_body(self, site, fetcher):
        site.answers["/a"] = [answer(gzip.compress(PNG), "200 OK", "content-encoding: gzip")]
        failed = await failure(fetcher, site.url("/a"), code="failed_to_download_image")
        assert "compressed" in failed.reason
        site.answers["/a"] = [answer(PNG, "200 OK", "content-encoding: Identity")]
        assert (await image(fetcher, site.url("/a"))).data == PNG

    @pytest.mark.parametrize("body", [b"<html><body>Log in", PNG[:7], b"\xff\xd8", b"RIFF\1\2\3\4WAVEfmt ", b"x"])
    async def test_what_is_not_an_image(self, body, site, fetcher):
        site.answers["/a"] = [answer(body, "200 OK", "content-type: image/png")]
        failed = await failure(fetcher, site.url("/a"), code="invalid_image_format")
        assert "image/png" in failed.reason

    async def test_an_empty_file(self, site, fetcher):
        site.answers["/a"] = [answer(b"")]
        await failure(fetcher, site.url("/a"), code="empty_image_file")

    @pytest.mark.parametrize(
        "said",
        [
            b"",
            b"\r\n\r\n",
            b"hello",
            b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n" + PNG,
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n" + PNG,
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 200 OK\r\nx: " + b"x" * 100_000 + b"\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n",
            b"HTTP/1.1 302 Found\r\nlocation: http://images.example:x/\r\n\r\n",
            b"HTTP/1.1 302 Found\r\nlocation: \xff\xfe\r\n\r\n",
            b"HTTP/2 200\r\n\r\n",
        ],
    )
    async def test_what_is_not_http(self, said, site, fetcher):
        site.answers["/a"] = [said]
        await failure(fetcher, site.url("/a"))

    async def test_a_host_that_cannot_be_reached(self, site, fetcher):
        site.server.close()
        failed = await failure(fetcher, site.url("/a", "images.example"), code="failed_to_download_image")
        assert "'images.example' could not be reached" in failed.reason


class TestTls:
    @pytest.fixture(scope="class")
    @staticmethod
    def pem(tmp_path_factory):
        folder = tmp_path_factory.mktemp("tls")
        subject = ["-subj", "/CN=images.example", "-addext", "subjectAltName=DNS:images.example"]
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
        subprocess.run(["openssl", "req", "-x509", *key, *subject, *files], check=True, capture_output=True)
        return folder

    @pytest.fixture
    async def secure(self, pem):
        self.sni = []
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pem / "cert.pem", pem / "key.pem")
        context.sni_callback = lambda connection, name, context: self.sni.append(name)
        site = Site()
        await site.serve(HERE, tls=context)
        yield site
        site.server.close()

    @pytest.fixture
    async def trusting(self, secure, site, names, pem):
        options = {"environ": {"SSL_CERT_FILE": str(pem / "cert.pem")}, "ports": frozenset({secure.port, site.port})}
        async with fetching(site, lookup=names, **options) as fetcher:
            yield fetcher

    async def test_the_name_is_what_is_asked_for(self, secure, trusting):
        url = secure.url("/a", "images.example.", "https")
        assert (await image(trusting, url)).data == PNG
        assert self.sni == ["images.example"]
        assert f"host: images.example:{secure.port}" in secure.heads[0].lower()

    @pytest.mark.parametrize("host", ["other.example", HERE])
    async def test_the_name_is_what_must_be_certified(self, host, secure, trusting):
        failed = await failure(trusting, secure.url("/a", host, "https"), code="failed_to_download_image")
        assert "TLS" in failed.reason
        assert secure.heads == []

    async def test_a_stranger_is_not_trusted(self, secure, names):
        environ = {"AWS_CA_BUNDLE": "/nowhere.pem"}
        async with fetching(secure, lookup=names, environ=environ) as fetcher:
            failed = await failure(fetcher, secure.url("/a", "images.example", "https"))
        assert "TLS" in failed.reason

    async def test_a_redirect_leads_to_https_and_not_back(self, secure, site, trusting):
        site.answers["/up"] = [moved(secure.url("/a", "images.example", "https"))]
        secure.answers["/down"] = [moved(site.url("/a", "images.example"))]
        assert (await image(trusting, site.url("/up"))).data == PNG
        url = secure.url("/down", "images.example", "https")
        failed = await failure(trusting, url, code="invalid_image_url")
        assert "from https to http" in failed.reason
        assert site.paths == ["/up"]

    def test_a_bundle_that_is_not_there_is_an_error(self):
        with pytest.raises(OSError):
            trust({"SSL_CERT_FILE": "/nowhere.pem"})
