"""Side calls and images through a proxy: what it is asked for, and what becomes of a proxy that fails.

tests/envoy/gateway/test_proxy.py has a real proxy.
"""

import asyncio
import ssl

import pytest
import uvloop
from aiohttp import web

from extproc.bedrock.endpoints import Endpoint
from extproc.exchange.jobs import SideCall, SideCalls, SideFailure, SideResponse
from extproc.proxy import ProxyError
from extproc.worker import http_jobs
from extproc.worker.http_jobs import HttpJobRunner
from extproc.worker.job_runner import JobRunner
from tests.certificates import self_signed

SECONDS = 30
HERE, THERE, BESIDE = "127.0.0.1", "127.0.0.2", "127.0.0.3"
"""The address that images may come from, one that they may not, and the proxy's, which they may not either."""

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
AUTHORIZATION = "Basic dXNlcjpzZWNyZXQ="
"""Of the user `user` with the password `secret`."""


class Proxy:
    """A proxy that records the heads it gets, and answers with a status, with a tunnel (200), or never (None)."""

    def __init__(self):
        self.heads = []
        self.status = 200

    async def serve(self):
        self.server = await asyncio.start_server(self.handle, BESIDE, 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    @property
    def environ(self):
        return {"HTTPS_PROXY": f"http://user:secret@{BESIDE}:{self.port}"}

    @property
    def targets(self):
        return [head[0].split(" ")[1] for head in self.heads]

    async def handle(self, reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head.decode().strip().split("\r\n"))
            if self.status is None:
                await reader.read()
            elif self.status != 200:
                writer.write(f"HTTP/1.1 {self.status} No\r\ncontent-length: 0\r\n\r\n".encode())
            else:
                await self.tunnel(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def tunnel(self, reader, writer):
        host, _, port = self.targets[-1].rpartition(":")
        there_reader, there_writer = await asyncio.open_connection(HERE if host == "localhost" else host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(carry(reader, there_writer), carry(there_reader, writer))


async def carry(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()


@pytest.fixture
async def proxy():
    proxy = await Proxy().serve()
    yield proxy
    proxy.server.close()


@pytest.fixture(scope="module")
def certified(tmp_path_factory):
    """The folder of a certificate for the names of these tests."""
    return self_signed(tmp_path_factory.mktemp("tls"), "images.example", "DNS:localhost", f"IP:{HERE}")


@pytest.fixture(scope="module")
def server_tls(certified):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certified / "cert.pem", certified / "key.pem")
    return context


class TestImages:
    @pytest.fixture
    async def secure(self, new_site, server_tls):
        """A site behind TLS, at an address that images may come from."""
        site = new_site()
        await site.serve(HERE, tls=server_tls)
        yield site
        site.server.close()

    @pytest.fixture
    def environ(self, proxy, certified):
        return {**proxy.environ, "SSL_CERT_FILE": str(certified / "cert.pem")}

    @pytest.fixture
    async def fetcher(self, secure, names, environ, fetching):
        async with fetching(secure, lookup=names, environ=environ) as fetcher:
            yield fetcher

    async def test_the_proxy_is_asked_for_an_address_and_the_server_for_the_name(self, secure, fetcher, proxy, image):
        assert (await image(fetcher, secure.url("/a%2Fb?sig=%2b", "images.example", "https"))).data == PNG
        line, *fields = proxy.heads[0]
        assert line == f"CONNECT {HERE}:{secure.port} HTTP/1.1"
        fields = {name.lower(): value for name, value in (field.split(": ", 1) for field in fields)}
        assert fields["host"] == f"{HERE}:{secure.port}"
        assert fields["proxy-authorization"] == AUTHORIZATION
        line, *fields = secure.heads[0].strip().split("\r\n")
        assert line == "GET /a%2Fb?sig=%2b HTTP/1.1"
        assert f"host: images.example:{secure.port}" in [field.lower() for field in fields]
        assert not any("authorization" in field.lower() for field in fields)

    async def test_an_address_in_the_url(self, secure, fetcher, proxy, image):
        assert (await image(fetcher, secure.url("/", HERE, "https"))).data == PNG
        assert proxy.targets == [f"{HERE}:{secure.port}"]

    @pytest.mark.parametrize("addresses", [[THERE], [HERE, THERE], [BESIDE], ["169.254.169.254"], ["::1"], []])
    async def test_a_name_that_leads_inside_reaches_no_proxy(self, addresses, secure, fetcher, names, proxy, failure):
        names.responses["inside.example"] = [addresses]
        await failure(fetcher, secure.url("/", "inside.example", "https"), code="invalid_image_url")
        await failure(fetcher, secure.url("/", "unknown.example", "https"), code="invalid_image_url")
        assert proxy.heads == []

    @pytest.mark.parametrize("host", [THERE, BESIDE, "localhost", "db.internal", "2130706434"])
    async def test_a_host_that_is_inside_reaches_no_proxy(self, host, secure, fetcher, proxy, failure):
        await failure(fetcher, secure.url("/", host, "https"), code="invalid_image_url")
        assert proxy.heads == []

    async def test_a_redirect_is_checked_again(self, secure, fetcher, names, proxy, failure):
        names.responses["inside.example"] = [[THERE]]
        secure.move("/a", secure.url("/", "inside.example", "https"))
        await failure(fetcher, secure.url("/a", "images.example", "https"), code="invalid_image_url")
        assert proxy.targets == [f"{HERE}:{secure.port}"]

    async def test_a_certificate_for_another_name(self, secure, fetcher, names, failure):
        names.responses["stranger.example"] = [[HERE]]
        failed = await failure(fetcher, secure.url("/", "stranger.example", "https"), code="failed_to_download_image")
        assert "TLS" in failed.reason
        assert secure.heads == []

    async def test_http_goes_without_it(self, site, names, environ, proxy, fetching, image):
        async with fetching(site, lookup=names, environ={**environ, "HTTP_PROXY": environ["HTTPS_PROXY"]}) as fetcher:
            assert (await image(fetcher, site.url("/", "images.example"))).data == PNG
        assert proxy.heads == []

    async def test_an_exempt_host_goes_without_it(self, secure, names, environ, proxy, fetching, image):
        async with fetching(secure, lookup=names, environ={**environ, "NO_PROXY": ".example"}) as fetcher:
            assert (await image(fetcher, secure.url("/", "images.example", "https"))).data == PNG
        assert proxy.heads == []

    @pytest.mark.parametrize("status", [403, 407, 502, "down"])
    async def test_a_proxy_that_rejects(self, status, secure, fetcher, proxy, failure, caplog):
        proxy.status = status
        if status == "down":
            proxy.server.close()
        failed = await failure(fetcher, secure.url("/", "images.example", "https"), code="failed_to_download_image")
        assert "gave no connection to the host 'images.example'" in failed.reason
        assert f"the proxy http://{BESIDE}:{proxy.port} gave no connection to images.example" in caplog.text
        assert str(proxy.port) not in failed.reason
        for text in ("secret", AUTHORIZATION.removeprefix("Basic ")):
            assert text not in caplog.text
        assert secure.connections == 0

    async def test_a_proxy_that_never_responds(self, secure, fetcher, proxy, job):
        proxy.status = None
        failed = await fetcher.fetch(job(secure.url("/", "images.example", "https")), 0.2)
        assert "could not be fetched within 0.2 seconds" in failed.reason

    @pytest.mark.parametrize("value", ["https://u:secret@proxy.example", "http://u:secret/@proxy.example"])
    async def test_a_proxy_that_cannot_be_used(self, value, secure, names, environ, fetching, failure, caplog):
        async with fetching(secure, lookup=names, environ={**environ, "HTTPS_PROXY": value}) as fetcher:
            await failure(fetcher, secure.url("/", "images.example", "https"), code="failed_to_download_image")
        assert "HTTPS_PROXY is not the URL of a proxy" in caplog.text
        assert "secret" not in caplog.text
        assert secure.connections == 0

    async def test_it_works_on_the_loop_that_workers_have(
        self, names, certified, server_tls, new_site, fetching, image
    ):
        async def fetch():
            site, proxy = new_site(), await Proxy().serve()
            await site.serve(HERE, tls=server_tls)
            environ = {**proxy.environ, "SSL_CERT_FILE": str(certified / "cert.pem")}
            async with site.server, proxy.server, fetching(site, lookup=names, environ=environ) as fetcher:
                return await image(fetcher, site.url("/", "images.example", "https")), proxy.targets

        fetched, targets = await asyncio.to_thread(uvloop.run, fetch())
        assert fetched.data == PNG
        assert len(targets) == 1


class TestSideCalls:
    @pytest.fixture
    async def endpoint(self, server_tls):
        """Bedrock behind TLS."""

        async def handle(request):
            return web.Response(body=request.path.encode())

        application = web.Application()
        application.router.add_post("/{path:.*}", handle)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, HERE, 0, ssl_context=server_tls)
        await site.start()
        yield Endpoint("https", "localhost", site._server.sockets[0].getsockname()[1])
        await runner.cleanup()

    @pytest.fixture
    async def runner(self, endpoint, proxy, certified):
        environ = {**proxy.environ, "AWS_CA_BUNDLE": str(certified / "cert.pem")}
        async with HttpJobRunner(endpoint, environ, backoff=lambda _: 0) as runner:
            yield runner

    def calls(self, *paths):
        return SideCalls(tuple(SideCall(path, (("x-a", "b"),), b"{}") for path in paths), 1, SECONDS)

    async def test_they_go_through_it_by_name_and_share_connections(self, endpoint, runner, proxy):
        responses = await runner(self.calls("/a", "/b"), SECONDS)
        assert [response.body for response in responses] == [b"/a", b"/b"]
        assert proxy.targets == [f"localhost:{endpoint.port}"]
        assert f"proxy-authorization: {AUTHORIZATION}" in [
            field.replace("Proxy-A", "proxy-a") for field in proxy.heads[0]
        ]

    @pytest.mark.parametrize("status", [403, 407, 502, "down"])
    async def test_a_proxy_that_rejects(self, status, runner, proxy, caplog):
        proxy.status = status
        if status == "down":
            proxy.server.close()
        failed = await runner(self.calls("/a"), SECONDS)
        assert isinstance(failed, SideFailure)
        assert failed.message.startswith("Bedrock could not be reached: ")
        assert f"the proxy http://{BESIDE}:{proxy.port} gave no connection to Bedrock: " in caplog.text
        assert "secret" not in failed.message + caplog.text
        assert AUTHORIZATION not in failed.message + caplog.text

    async def test_a_proxy_that_never_responds(self, runner, proxy, monkeypatch, caplog):
        monkeypatch.setattr(http_jobs, "TUNNEL_SECONDS", 0.1)
        proxy.status = None
        failed = await runner(self.calls("/a"), SECONDS)
        assert isinstance(failed, SideFailure)
        assert f"the proxy http://{BESIDE}:{proxy.port} gave no connection to Bedrock: " in caplog.text

    async def test_an_exempt_endpoint_goes_without_it(self, endpoint, proxy, certified):
        environ = {**proxy.environ, "AWS_CA_BUNDLE": str(certified / "cert.pem"), "no_proxy": "localhost"}
        async with HttpJobRunner(endpoint, environ) as runner:
            (response,) = await runner(self.calls("/a"), SECONDS)
        assert isinstance(response, SideResponse)
        assert proxy.heads == []

    async def test_a_proxy_that_cannot_be_used_is_an_error_at_the_start(self, endpoint):
        with pytest.raises(ProxyError, match="https_proxy is not the URL of a proxy"):
            async with JobRunner(endpoint, {"https_proxy": "socks5://proxy.example"}):
                pass
