"""The bootstrap as Envoy takes it: every rendering passes its check, and its own responses have OpenAI's shape."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from extproc.bedrock.endpoints import Endpoint
from extproc.config import CorsSettings, Settings
from extproc.config.jwt import JwtIssuer, jwks_endpoint
from extproc.envoy_config import CallersTls, EnvoyPlan, ProcessorTls, render
from extproc.net import Address, ca_bundle
from extproc.proxy import proxy_for
from tests.certificates import self_signed

HTTPS = Endpoint("https", "bedrock-runtime.us-east-1.amazonaws.com", 443)
HTTP = Endpoint("http", "127.0.0.1", 9000)
SIX = Endpoint("https", "::1", 8443)


def unix(count: int) -> tuple[Address, ...]:
    return tuple(Address(path=f"/run/oai/w{index}.sock") for index in range(count))


def tcp(count: int) -> tuple[Address, ...]:
    return tuple(Address("127.0.0.1", 9001 + index) for index in range(count))


PLANS = [
    (*plan, bool(index & 1), bool(index & 2), bool(index & 4))
    for index, plan in enumerate(itertools.product((HTTPS, HTTP, SIX), (unix, tcp), (1, 2, 3)))
]
"""Endpoint, kind and number of workers in every combination, and with them access log, admin and JSON in turn."""


@pytest.mark.parametrize(("bedrock", "workers", "count", "access_log", "admin", "as_json"), PLANS)
def test_every_rendering_passes(
    validate: Callable[..., None],
    ca_file: str,
    bedrock: Endpoint,
    workers: Callable[[int], tuple[Address, ...]],
    count: int,
    access_log: bool,
    admin: bool,
    as_json: bool,
) -> None:
    plan = EnvoyPlan(
        listen=Address("127.0.0.1", 8080),
        processors=workers(count),
        bedrock=bedrock,
        settings=Settings(),
        ca_file=ca_file,
        admin=Address(path="/run/oai/admin.sock") if admin else None,
        access_log=access_log,
        health=Address("127.0.0.1", 8081) if as_json else None,
    )
    validate(render(plan, as_json=as_json), "envoy.json" if as_json else "envoy.yaml")


@pytest.mark.parametrize("bedrock", [HTTPS, SIX])
@pytest.mark.parametrize("proxy", ["proxy.example:3128", "[::1]:3128", "user:secret@10.0.0.1"])
def test_a_way_through_a_proxy_passes(
    validate: Callable[..., None], ca_file: str, bedrock: Endpoint, proxy: str
) -> None:
    through = proxy_for(str(bedrock), {"HTTPS_PROXY": proxy})
    validate(render(EnvoyPlan(Address("0.0.0.0", 8080), unix(1), bedrock, Settings(), ca_file, proxy=through)))


@pytest.mark.parametrize("uri", ["https://login.example.com/keys", "https://[2001:db8::1]:8443/keys", "http://[::1]:9"])
@pytest.mark.parametrize("proxied", [False, True])
def test_issuers_of_signed_tokens_pass(validate: Callable[..., None], ca_file: str, uri: str, proxied: bool) -> None:
    issuers = (JwtIssuer("https://a/", ("api",), uri, "org"), JwtIssuer("b", ("x", "y"), uri, "org", "scp", 5.5))
    origin = str(jwks_endpoint(uri))
    through = proxy_for(origin, {"HTTPS_PROXY": "user:secret@proxy.example"}) if proxied else None
    proxies = {origin: through} if through else {}
    plan = EnvoyPlan(Address("0.0.0.0", 80), unix(1), HTTPS, Settings(jwt=issuers), ca_file, jwks_proxies=proxies)
    validate(render(plan))
    validate(render(replace(plan, proxy=through)))


def test_workers_by_name_pass(validate: Callable[..., None], ca_file: str) -> None:
    validate(render(EnvoyPlan(Address("::", 80), (Address("localhost", 9001),), HTTPS, Settings(), ca_file)))


@pytest.mark.parametrize(
    "plan",
    [
        {"health": Address("0.0.0.0", 8081)},
        {"health": Address("::", 8081), "admin": Address("127.0.0.1", 9901)},
        {"health": Address("0.0.0.0", 8081), "admin": Address(path="/run/oai/admin.sock")},
    ],
)
def test_health_on_its_own_listener_passes(validate: Callable[..., None], ca_file: str, plan: dict[str, Any]) -> None:
    validate(render(EnvoyPlan(Address("0.0.0.0", 8080), unix(1), HTTPS, Settings(), ca_file, **plan)))


@pytest.mark.parametrize("name", ["", "worker.test"])
def test_tls_to_workers_passes(validate: Callable[..., None], ca_file: str, name: str) -> None:
    for workers in (tcp(2), (Address("worker.test", 9001), Address("other.test", 9001))):
        plan = EnvoyPlan(Address("0.0.0.0", 8080), workers, HTTPS, Settings(), ca_file)
        validate(render(replace(plan, processor_tls=ProcessorTls(ca_file, name=name))))


@pytest.mark.parametrize("client_ca", [False, True])
def test_tls_of_callers_passes(validate: Callable[..., None], ca_file: str, tmp_path: Path, client_ca: bool) -> None:
    folder = self_signed(tmp_path)
    tls = CallersTls(str(folder / "cert.pem"), str(folder / "key.pem"), ca_file if client_ca else "")
    plan = EnvoyPlan(Address("0.0.0.0", 8443), unix(1), HTTPS, Settings(), ca_file, callers_tls=tls)
    validate(render(plan))


def test_cors_passes(validate: Callable[..., None], ca_file: str) -> None:
    for origins in (("*",), ("https://chat.example.com", "app://notes")):
        settings = Settings(cors=CorsSettings(origins=origins))
        validate(render(EnvoyPlan(Address("0.0.0.0", 8080), unix(1), HTTPS, settings, ca_file)))


@pytest.fixture(scope="session")
def ca_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A bundle that is there whatever the machine."""
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    path.write_bytes(ca_bundle({}, []).read_bytes())
    return str(path)


# Envoy's own responses


HOST = b"host: x\r\nconnection: close\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"garbage\r\n\r\n", 400),
        (b"GET /oai/v1/models HTTP/1.1\r\n\r\n", 400),
        (b"GET /oai/v1/models HTTP/1.1\r\n" + HOST + b"bad header: x\r\n\r\n", 400),
        (b"GET /oai/v1/models#fragment HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"POST /oai/v1/chat/completions HTTP/1.1\r\n" + HOST + b"content-length: x\r\n\r\n", 400),
        (
            b"POST /oai/v1/chat/completions HTTP/1.1\r\n" + HOST
            + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (b"GET /oai/v1/models HTTP/1.0\r\n\r\n", 401),
        (b"GET /elsewhere HTTP/1.0\r\n\r\n", 404),
        (b"GET /oai/v1/models HTTP/1.1\r\n" + HOST + b"big: " + b"x" * 70_000 + b"\r\n\r\n", 431),
        (b"GET /oai/v1/models HTTP/1.1\r\n" + HOST + b"x: y\r\n" * 200 + b"\r\n", 431),
        (b"GET /elsewhere HTTP/1.1\r\n" + HOST + b"\r\n", 404),
        (b"GET /oai/v1/../../etc/passwd HTTP/1.1\r\n" + HOST + b"\r\n", 404),
        (b"GET /oai/v10/models HTTP/1.1\r\n" + HOST + b"\r\n", 404),
        (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", 404),
        (b"CONNECT x:443 HTTP/1.1\r\nhost: x\r\n\r\n", 404),
        (b"GET /oai/v1/models HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", 403),
    ],
)  # fmt: skip
def test_envoys_own_responses(gateway: Any, exchange: Any, request_bytes: bytes, status: int) -> None:
    response = exchange(gateway, request_bytes)
    assert response.status == status
    assert response.error["type"] == "invalid_request_error"
    assert response.error["message"]
    assert len(response.headers["x-request-id"]) == 36
    assert response.headers["server"] == "oai-extproc"


def test_a_body_over_the_limit(start_gateway: Any, exchange: Any) -> None:
    gateway = start_gateway({"limits": {"request_bytes": 1024}})
    head = (
        b"POST /oai/v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n"
    )
    head += f"authorization: Bearer {gateway.tokens['ci']}\r\n".encode()
    for size in (1025, 5000, 50_000):
        response = exchange(gateway, head + f"content-length: {size}\r\n\r\n".encode(), b"x" * size)
        assert response.status == 413
        assert "1024 bytes" in response.error["message"]


def test_the_clients_request_id_is_not_believed(gateway: Any, exchange: Any) -> None:
    response = exchange(gateway, b"GET /elsewhere HTTP/1.1\r\n" + HOST + b"x-request-id: mine\r\n\r\n")
    assert response.headers["x-request-id"] != "mine"


async def test_a_health_check_costs_the_worker_nothing(gateway: Any, counter: Any) -> None:
    started = "cluster.processor.upstream_rq_total"
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{gateway.origin}/elsewhere") as response:
            assert response.status == 404
        before = await counter(gateway, started)
        for _ in range(20):
            async with session.get(f"{gateway.origin}/healthz") as response:
                assert response.status == 200
        assert await counter(gateway, started) == before
        async with session.get(f"{gateway.url}/models") as response:
            assert response.status == 401
        assert await counter(gateway, started) == before + 1


async def test_nothing_of_envoys_leaves_for_bedrock(gateway: Any) -> None:
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {gateway.tokens['ci']}"}) as session:
        body = {"model": "amazon.nova-micro-v1:0", "messages": [{"role": "user", "content": "marked"}]}
        spoofed = {"x-forwarded-for": "203.0.113.9", "x-envoy-max-retries": "9", "cookie": "secret=1"}
        async with session.post(f"{gateway.url}/chat/completions", json=body, headers=spoofed) as response:
            assert response.status == 200
            assert not [name for name in response.headers if name.lower().startswith("x-envoy")]
        async with session.get(f"{gateway.local_url}/_local/calls") as response:
            call = (await response.json())[-1]
    assert "marked" in str(call["body"])
    sent = {name.lower() for name in call["headers"]}
    assert not {name for name in sent if name.startswith(("x-forwarded", "x-envoy", "cookie"))}
