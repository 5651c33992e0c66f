"""The fetcher against local servers, on loopback addresses that it allows, and on others."""

import asyncio
import gzip

import pytest
import uvloop

from extproc.exchange.jobs import Fetched, FetchFailure
from extproc.openai.errors import invalid
from extproc.worker.image_fetcher import REDIRECTS

SECONDS = 30
HERE, THERE = "127.0.0.1", "127.0.0.2"
"""The address that is let through, standing for the public internet, and one that is not."""

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
IMAGES = [PNG, b"\xff\xd8\xff\xe0" + bytes(20), b"GIF87a" + bytes(20), b"GIF89a" + bytes(20), b"RIFF\1\2\3\4WEBPVP8 "]


def response(body=PNG, status="200 OK", *headers, length=None):
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body) if length is None else length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunked(*pieces, headers=()):
    lines = ["HTTP/1.1 200 OK", "transfer-encoding: chunked", *headers]
    head = "\r\n".join([*lines, "", ""]).encode()
    return head + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])


class TestImages:
    async def test_they_are_in_the_order_of_the_urls(self, site, fetcher, job):
        images = {f"/{index}": PNG + bytes([index]) for index in range(20)}
        site.responses = {path: [response(body)] for path, body in images.items()}
        fetched = await fetcher.fetch(job(*map(site.url, images)), SECONDS)
        assert [one.data for one in fetched] == list(images.values())
        assert sorted(site.paths) == sorted(images)

    async def test_no_urls_are_no_images(self, fetcher, job):
        assert await fetcher.fetch(job(), SECONDS) == ()

    @pytest.mark.parametrize("data", IMAGES)
    async def test_the_bytes_decide_the_image_format_and_not_the_server(self, data, site, fetcher, image):
        site.responses["/a"] = [response(data, "200 OK", "content-type: text/plain; charset=utf-8")]
        assert await image(fetcher, site.url("/a")) == Fetched(data, "text/plain")

    async def test_a_servers_content_type_is_not_parsed(self, site, fetcher, image, failure):
        """The time of aiohttp's parser grows with the square of the quotes."""
        claim = "content-type: Image/PNG ;" + ';"' * 3_000
        site.responses["/a"] = [response(PNG, "200 OK", claim)]
        assert (await image(fetcher, site.url("/a"))).content_type == "image/png"
        site.responses["/b"] = [response(b"no picture at all", "200 OK", claim)]
        assert "its server calls it image/png." in (await failure(fetcher, site.url("/b"))).reason

    async def test_a_servers_content_type_that_is_no_ascii_can_be_quoted_in_an_error(self, site, fetcher, failure):
        """aiohttp makes halves of surrogate pairs of such bytes, which no response can hold."""
        head = b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\ncontent-type: a\xff\r\n\r\n"
        site.responses["/a"] = [head + b"no such"]
        rejected = await failure(fetcher, site.url("/a"))
        assert b"its server calls it a?." in invalid(rejected.reason, code=rejected.code).encode()

    async def test_a_body_without_a_length(self, site, fetcher, image):
        site.responses["/chunked"] = [chunked(PNG[:1], PNG[1:5], PNG[5:])]
        site.responses["/to-the-end"] = [b"HTTP/1.1 200 OK\r\n\r\n", PNG]
        assert (await image(fetcher, site.url("/chunked"))).data == PNG
        assert (await image(fetcher, site.url("/to-the-end"))).data == PNG

    @pytest.mark.parametrize("concurrency", [1, 3, 100])
    async def test_so_many_at_a_time(self, concurrency, site, fetcher, job):
        urls = [site.url(f"/{index}") for index in range(30)]
        assert len(await fetcher.fetch(job(*urls, concurrency=concurrency), SECONDS)) == 30
        assert site.most_in_flight <= concurrency

    async def test_it_works_on_the_loop_that_workers_have(self, names, new_site, fetching, image, failure):
        async def fetch():
            site = new_site()
            await site.serve(HERE)
            async with site.server, fetching(site, lookup=names) as fetcher:
                good = await image(fetcher, site.url("/a", "images.example"))
                bad = await failure(fetcher, site.url("/a", THERE))
            return good, bad.code

        assert await asyncio.to_thread(uvloop.run, fetch()) == (
            Fetched(PNG, "application/octet-stream"),
            "invalid_image_url",
        )


class TestRequests:
    async def test_the_request_that_is_sent(self, site, fetcher, image):
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

    async def test_no_cookies_and_no_referer_and_no_connection_is_kept(self, site, fetcher, image):
        site.responses["/a"] = [response(b"", "302 Found", "location: /b", "set-cookie: a=b; Path=/")]
        site.responses["/b"] = [response(PNG, "200 OK", "set-cookie: c=d; Path=/", "connection: keep-alive")]
        for _ in range(2):
            await image(fetcher, site.url("/a", "images.example"))
        assert site.paths == ["/a", "/b"] * 2
        assert not any("cookie" in head.lower() or "referer" in head.lower() for head in site.heads)
        assert site.connections == 4

    async def test_no_proxy_of_the_environment(self, site, names, monkeypatch, fetching, image):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9/")
        async with fetching(site, lookup=names) as fetcher:
            assert (await image(fetcher, site.url("/a", "images.example"))).data == PNG


class TestRedirects:
    @pytest.mark.parametrize("status", ["301 A", "302 A", "303 A", "307 A", "308 A"])
    async def test_they_are_followed(self, status, site, names, fetcher, image):
        site.move("/a", "/b?x=%41", status)
        site.move("/b?x=%41", site.url("/c", "other.example"), status)
        assert (await image(fetcher, site.url("/a", "images.example"))).data == PNG
        assert site.paths == ["/a", "/b?x=%41", "/c"]
        assert names.requested == ["images.example", "images.example", "other.example"]

    async def test_so_many_of_them(self, site, fetcher, failure, image):
        for index in range(REDIRECTS + 1):
            site.move(f"/{index}", f"/{index + 1}")
        assert (await image(fetcher, site.url("/1"))).data == PNG
        failed = await failure(fetcher, site.url("/0"), code="failed_to_download_image")
        assert "more than 3 times" in failed.reason

    @pytest.mark.parametrize("where", ["/loop", "", "#x"])
    async def test_a_loop_ends(self, where, site, fetcher, failure):
        site.move("/loop", where)
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
    async def test_each_hop_is_guarded(self, where, site, inside, names, fetcher, failure):
        names.responses["inside.example"] = [[THERE]]
        site.move("/a", where.format(port=site.port))
        await failure(fetcher, site.url("/a"), code="invalid_image_url")
        assert site.connections == 1
        assert inside.connections == 0


class TestLimits:
    @pytest.mark.parametrize("form", [lambda body: response(body), lambda body: chunked(body[:9], body[9:])])
    async def test_the_largest_image(self, form, site, fetcher, failure, image):
        site.responses |= {"/fits": [form(PNG)], "/large": [form(PNG + b"x")]}
        assert (await image(fetcher, site.url("/fits"), max_bytes=len(PNG))).data == PNG
        failed = await failure(fetcher, site.url("/large"), max_bytes=len(PNG), code="image_too_large")
        assert f"more than {len(PNG)} bytes" in failed.reason

    @pytest.mark.parametrize("form", [lambda body: response(body), lambda body: chunked(body[:9], body[9:])])
    async def test_all_images_together(self, form, site, fetcher, job, failure):
        site.responses["/a"] = [form(PNG)]
        urls = [site.url("/a")] * 3
        for concurrency in (1, 3):
            limits = {"total_bytes": 3 * len(PNG), "concurrency": concurrency}
            assert len(await fetcher.fetch(job(*urls, **limits), SECONDS)) == 3
            limits["total_bytes"] -= 1
            failed = await failure(fetcher, *urls, **limits, code="image_too_large")
            assert "together" in failed.reason

    async def test_a_large_one_is_not_read_if_its_length_is_declared(self, site, fetcher, failure):
        site.responses["/a"] = [response(PNG, length=10**15), None]
        await failure(fetcher, site.url("/a"), code="image_too_large")
        await site.left.wait()

    async def test_a_large_one_is_not_read_further_than_the_limit(self, site, fetcher, failure):
        site.responses["/a"] = [b"HTTP/1.1 200 OK\r\n\r\n" + PNG, bytes(1000), None]
        await failure(fetcher, site.url("/a"), code="image_too_large")
        await site.left.wait()

    async def test_less_than_its_length_is_a_failure(self, site, fetcher, failure):
        site.responses["/a"] = [response(PNG, length=len(PNG) + 1)]
        failed = await failure(fetcher, site.url("/a"), code="failed_to_download_image")
        assert "closed the connection" in failed.reason

    async def test_more_than_its_length_is_not_read(self, site, fetcher, job):
        site.responses["/a"] = [response(PNG + bytes(5000), length=len(PNG))]
        result = await fetcher.fetch(job(site.url("/a")), SECONDS)
        if isinstance(result, FetchFailure):  # where the rest came in the same segment, and was seen
            assert result.code == "failed_to_download_image"
        else:
            assert result[0].data == PNG


class TestSeconds:
    @pytest.mark.parametrize("raw", [[], [b"HTTP/1.1 200"], [b"HTTP/1.1 100 Continue\r\n\r\n"], [response(length=500)]])
    async def test_a_job_has_so_many(self, raw, site, fetcher, job):
        site.responses["/slow"] = [*raw, None]
        result = await fetcher.fetch(job(site.url("/slow")), 0.05)
        assert (result.index, result.code) == (0, "failed_to_download_image")
        assert "within 0.05 seconds" in result.reason
        if site.connections:
            await site.ended.wait()

    async def test_the_first_that_is_missing_is_named(self, site, fetcher, job):
        site.responses["/slow"] = [None]
        urls = [site.url("/fast"), site.url("/slow"), site.url("/slow")]
        assert (await fetcher.fetch(job(*urls), 1)).index == 1

    async def test_looking_up_counts(self, site, names, monkeypatch, fetching, job):
        async def never(host, port=0, family=0):
            await asyncio.Event().wait()

        monkeypatch.setattr(names, "resolve", never)

        async with fetching(site, lookup=names) as fetcher:
            result = await fetcher.fetch(job(site.url("/a", "images.example")), 0.05)
        assert result.code == "failed_to_download_image"

    async def test_cancelling_it_ends_its_requests(self, site, fetcher, job):
        site.responses["/slow"] = [None]
        task = asyncio.create_task(fetcher.fetch(job(site.url("/slow")), SECONDS))
        await site.requested.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await site.left.wait()


class TestFailures:
    async def test_the_first_one_ends_the_others(self, site, fetcher, failure):
        site.responses |= {"/slow": [None], "/bad": [response(b"", "404 Not Found")]}
        urls = [site.url("/slow"), site.url("/bad"), site.url("/never")]
        result = await failure(fetcher, *urls, concurrency=2, code="failed_to_download_image")
        assert result.index == 1
        assert "status 404" in result.reason
        assert "/never" not in site.paths
        await site.left.wait()

    @pytest.mark.parametrize(
        "status", ["201 A", "204 A", "206 A", "300 A", "304 A", "401 A", "403 A", "500 A", "999 A"]
    )
    async def test_any_other_status(self, status, site, fetcher, failure):
        site.responses["/a"] = [response(b"" if status[:3] in ("204", "304") else PNG, status)]
        failed = await failure(fetcher, site.url("/a"), code="failed_to_download_image")
        assert f"status {status[:3]}" in failed.reason

    async def test_a_compressed_body(self, site, fetcher, failure, image):
        site.responses["/a"] = [response(gzip.compress(PNG), "200 OK", "content-encoding: gzip")]
        failed = await failure(fetcher, site.url("/a"), code="failed_to_download_image")
        assert "compressed" in failed.reason
        site.responses["/a"] = [response(PNG, "200 OK", "content-encoding: Identity")]
        assert (await image(fetcher, site.url("/a"))).data == PNG

    @pytest.mark.parametrize("body", [b"<html><body>Log in", PNG[:7], b"\xff\xd8", b"RIFF\1\2\3\4WAVEfmt ", b"x"])
    async def test_bytes_that_are_no_image_are_rejected(self, body, site, fetcher, failure):
        site.responses["/a"] = [response(body, "200 OK", "content-type: image/png")]
        failed = await failure(fetcher, site.url("/a"), code="invalid_image_format")
        assert "image/png" in failed.reason

    async def test_an_empty_file(self, site, fetcher, failure):
        site.responses["/a"] = [response(b"")]
        await failure(fetcher, site.url("/a"), code="empty_image_file")

    @pytest.mark.parametrize(
        "raw",
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
    async def test_a_response_that_is_not_http_is_a_failure(self, raw, site, fetcher, failure):
        site.responses["/a"] = [raw]
        await failure(fetcher, site.url("/a"))

    async def test_a_host_that_cannot_be_reached(self, site, fetcher, failure):
        site.server.close()
        failed = await failure(fetcher, site.url("/a", "images.example"), code="failed_to_download_image")
        assert "'images.example' could not be reached" in failed.reason
