"""The peers of a fetcher: addresses, resolved names, and certificates."""

import asyncio
import logging
import socket
import ssl
import threading
from ipaddress import ip_network

import aiohttp
import pytest

from extproc.worker.image_fetcher import GuardedConnector, trust
from extproc.worker.image_lookup import LOOKUPS, ImageResolver
from tests.certificates import self_signed

HERE, THERE = "127.0.0.1", "127.0.0.2"
"""The address that is let through, standing for the public internet, and one that is not."""

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


class TestAddresses:
    @pytest.mark.parametrize("host", [THERE, "0.0.0.0", "[::1]", "[::ffff:127.0.0.2]", "127.2", "localhost"])
    async def test_an_address_in_a_url_is_guarded(self, host, site, inside, names, fetcher, failure):
        await failure(fetcher, site.url("/a", host), code="invalid_image_url")
        assert (inside.connections, names.requested) == (0, [])

    @pytest.mark.parametrize("addresses", [[THERE], [HERE, THERE], ["10.0.0.1", HERE], ["::ffff:127.0.0.1"], []])
    async def test_every_address_of_a_name_is_guarded(self, addresses, site, inside, names, fetcher, failure):
        names.responses["inside.example"] = [addresses]
        await failure(fetcher, site.url("/a", "inside.example"), code="invalid_image_url")
        assert (site.connections, inside.connections) == (0, 0)

    async def test_a_client_does_not_learn_about_internal_addresses(self, site, names, fetcher, caplog, failure):
        caplog.set_level(logging.INFO)
        names.responses["inside.example"] = [[THERE]]
        known = await failure(fetcher, site.url("/a", "inside.example"))
        unknown = await failure(fetcher, site.url("/a", "nothing.example"))
        assert known.reason.replace("inside.example", "nothing.example") == unknown.reason
        assert "inside.example leads to 127.0.0.2 (loopback)" in caplog.text

    async def test_a_name_is_looked_up_once_for_each_connection(self, site, inside, names, fetcher, failure, image):
        names.responses["rebinding.example"] = [[HERE], [THERE]]
        assert (await image(fetcher, site.url("/a", "rebinding.example"))).data == PNG
        assert names.requested == ["rebinding.example"]
        await failure(fetcher, site.url("/a", "rebinding.example"), code="invalid_image_url")
        assert (site.connections, inside.connections) == (1, 0)

    async def test_rebinding_between_two_hops(self, site, inside, names, fetcher, failure):
        names.responses["rebinding.example"] = [[HERE], [THERE]]
        site.move("/a", "/b")
        await failure(fetcher, site.url("/a", "rebinding.example"), code="invalid_image_url")
        assert (site.paths, inside.connections) == (["/a"], 0)

    async def test_the_next_address_is_taken_where_one_cannot_be_reached(self, site, names, fetching, image):
        names.responses["images.example"] = [["127.0.0.3", HERE]]
        allow = [ip_network("127.0.0.3"), ip_network(HERE)]
        async with fetching(site, lookup=names, allow=allow) as fetcher:
            assert (await image(fetcher, site.url("/a", "images.example"))).data == PNG

    async def test_an_address_on_the_deny_list_is_rejected(self, site, names, fetching, failure):
        async with fetching(site, lookup=names, allow=(), deny=[ip_network("8.8.8.0/24")]) as fetcher:
            failed = await failure(fetcher, site.url("/a", "8.8.8.8"), code="invalid_image_url")
        assert "8.8.8.8 (denied)" in failed.reason


class TestConnector:
    """Rejections of the connector itself, without any earlier check."""

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

    async def test_an_allowed_address_is_connected_to(self, site, names):
        seen = []
        assert await self.get(lambda address: seen.append(str(address)), site.url("/", "images.example"), names) == PNG
        assert seen == [HERE] * 3


class TestLookup:
    async def test_it_resolves_the_name_itself_in_a_separate_thread(self, monkeypatch):
        lookups = []

        def getaddrinfo(host, port, *rest, flags):
            lookups.append((host, port, threading.current_thread().name))
            v4 = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))
            return [v4, (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", port, 0, 0))]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        lookup = ImageResolver()
        for host in ("images.example", "images.example."):
            assert [resolved["host"] for resolved in await lookup.resolve(host, 443)] == ["192.0.2.1", "2001:db8::1"]
        await lookup.close()
        assert {(host, port) for host, port, _ in lookups} == {("images.example.", 443)}
        assert all(name.startswith("image-lookup") for _, _, name in lookups)

    async def test_a_lookup_that_cannot_begin_releases_its_slot(self, monkeypatch):
        """No thread can be started, for example."""
        lookup = ImageResolver()

        def no_thread(*_):
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(lookup._threads, "submit", no_thread)
            for _ in range(2 * LOOKUPS):
                with pytest.raises(OSError, match="no thread"):
                    await asyncio.wait_for(lookup.resolve("images.example"), 60)
        await lookup.close()

    async def test_a_name_that_is_not_there_is_a_failure(self, site, monkeypatch, fetching, failure):
        def getaddrinfo(*args, **options):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        async with fetching(site) as fetcher:
            await failure(fetcher, site.url("/a", "nothing.example"), code="invalid_image_url")

    async def test_it_is_closed_with_the_fetcher(self, site, names, fetching):
        async with fetching(site, lookup=names):
            assert not names.closed
        assert names.closed


class TestGuardWithTls:
    @pytest.fixture(scope="class")
    @staticmethod
    def pem(tmp_path_factory):
        return self_signed(tmp_path_factory.mktemp("tls"), "images.example")

    @pytest.fixture
    async def secure(self, pem, new_site):
        self.sni = []
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pem / "cert.pem", pem / "key.pem")
        context.sni_callback = lambda connection, name, context: self.sni.append(name)
        site = new_site()
        await site.serve(HERE, tls=context)
        yield site
        site.server.close()

    @pytest.fixture
    async def trusting(self, secure, site, names, pem, fetching):
        options = {"environ": {"SSL_CERT_FILE": str(pem / "cert.pem")}, "ports": frozenset({secure.port, site.port})}
        async with fetching(site, lookup=names, **options) as fetcher:
            yield fetcher

    async def test_the_requested_host_is_the_name(self, secure, trusting, image):
        url = secure.url("/a", "images.example.", "https")
        assert (await image(trusting, url)).data == PNG
        assert self.sni == ["images.example"]
        assert f"host: images.example:{secure.port}" in secure.heads[0].lower()

    @pytest.mark.parametrize("host", ["other.example", HERE])
    async def test_the_certificate_must_be_for_the_name(self, host, secure, trusting, failure):
        failed = await failure(trusting, secure.url("/a", host, "https"), code="failed_to_download_image")
        assert "TLS" in failed.reason
        assert secure.heads == []

    async def test_a_stranger_is_not_trusted(self, secure, names, fetching, failure):
        environ = {"AWS_CA_BUNDLE": "/nowhere.pem"}
        async with fetching(secure, lookup=names, environ=environ) as fetcher:
            failed = await failure(fetcher, secure.url("/a", "images.example", "https"))
        assert "TLS" in failed.reason

    async def test_a_redirect_leads_to_https_and_not_back(self, secure, site, trusting, failure, image):
        site.move("/up", secure.url("/a", "images.example", "https"))
        secure.move("/down", site.url("/a", "images.example"))
        assert (await image(trusting, site.url("/up"))).data == PNG
        url = secure.url("/down", "images.example", "https")
        failed = await failure(trusting, url, code="invalid_image_url")
        assert "from https to http" in failed.reason
        assert site.paths == ["/up"]

    def test_a_bundle_that_is_not_there_is_an_error(self):
        with pytest.raises(OSError):
            trust({"SSL_CERT_FILE": "/nowhere.pem"})
