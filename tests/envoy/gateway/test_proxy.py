"""A network with a proxy: every call to AWS goes through it. One that fails is an error, with its name in the log.

The proxy is tinyproxy, and Bedrock is behind TLS.
"""

import asyncio
import base64
import subprocess
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from extproc.proxy import AUTHORIZATION_VARIABLE
from tests.envoy.gateway.proxies import PASSWORD, URL_OF_USER, USER, TinyProxy, free_port
from tests.envoy.gateway.servers import Front, ThreadedServer

CALLS: dict[str, Callable[[Any], Any]] = {
    "chat": lambda client: client.chat("Hello!"),
    "stream": lambda client: client.rejected_stream("Hello!"),
    "one embedding": lambda client: client.embed("x"),
    "embeddings": lambda client: client.embed(["x", "y"]),
}
UNREACHABLE = "bedrock_unreachable"
SECRETS = (PASSWORD, URL_OF_USER, base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode())


@pytest.fixture(scope="module")
def front(authority: Any, bedrock: Any) -> Iterator[Front]:
    front = Front(authority.certify("localhost"), bedrock.port)
    yield front
    front.close()


Behind = Callable[..., Any]


@pytest.fixture(scope="module")
def behind(start_shared: Any, bedrock: Any, authority: Any, front: Front) -> Behind:
    """Start a gateway whose Bedrock has TLS, with variables of a proxy."""

    def start(variables: Mapping[str, str]) -> Any:
        env = {name: value for name, value in bedrock.environment.items() if "ENDPOINT" not in name}
        env |= {"AWS_ENDPOINT_URL": f"https://localhost:{front.port}", "AWS_CA_BUNDLE": str(authority.certificate)}
        return start_shared(env={**env, **variables}, args=["--upstream", "aws", "--access-log"])

    return start


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, front: Front) -> Iterator[TinyProxy]:
    """A proxy that wants a password."""
    proxy = TinyProxy(tmp_path_factory.mktemp("proxy"), front.port, password=True)
    yield proxy
    proxy.close()


@pytest.fixture(scope="module")
def gateway_behind(behind: Behind, proxy: TinyProxy) -> Any:
    return behind({"HTTPS_PROXY": f"http://{URL_OF_USER}@127.0.0.1:{proxy.port}"})


@pytest.fixture(scope="module")
def client_behind(gateway_behind: Any, client_of: Any) -> Any:
    return client_of(gateway_behind)


def test_every_kind_of_call_goes_through(client_behind: Any, proxy: TinyProxy, front: Front) -> None:
    """Envoy and the worker each make connections of their own, and name Bedrock's host rather than an address."""
    before = len(proxy.connects())
    assert client_behind.chat("Hello!").status == 200
    by_envoy = len(proxy.connects())
    assert client_behind.embed(["x", "y"]).status == 200
    by_the_worker = len(proxy.connects())
    assert before < by_envoy < by_the_worker
    assert {*proxy.connects()} == {f"localhost:{front.port}"}


def test_a_stream_comes_piece_by_piece(client_behind: Any, bedrock: Any, local_of: Any) -> None:
    local = local_of(bedrock.url)
    with client_behind.stream("Count to 9. [[local: hold]]") as stream:
        assert stream.delta() == "1"
        local.release()
        assert stream.rest()[-1] == "[DONE]"


def test_the_models_are_listed_through_it(client_behind: Any) -> None:
    """The profile of an application is in no built-in list."""
    listed = [model["id"] for model in client_behind.exchange("GET", "/oai/v1/models").json()["data"]]
    assert any("application-inference-profile" in name for name in listed)


def test_a_large_request_goes_through(client_behind: Any) -> None:
    assert client_behind.chat("Hello! " * 50_000).status == 200


def test_the_proxy_is_announced_and_its_password_is_nowhere(gateway_behind: Any, proxy: TinyProxy) -> None:
    log = gateway_behind.log()
    assert f"\n  proxy       {proxy.url}, for calls to AWS\n" in log
    assert f" through the proxy {proxy.url} in us-east-1" in log
    commands = subprocess.run(["ps", "-A", "-ww", "-o", "args="], capture_output=True, text=True, check=True).stdout
    written = [path for path in gateway_behind.run_directory.rglob("*") if path.is_file()]
    assert "envoy.yaml" in [path.name for path in written]
    for secret in SECRETS:
        assert secret not in log
        assert secret not in commands
        assert not [path for path in written if secret in path.read_text(errors="replace")]


def test_the_password_is_in_no_dump_of_envoys_configuration(gateway_behind: Any) -> None:
    socket = str(Path(gateway_behind.run_directory) / "admin.sock")
    command = ["curl", "--silent", "--unix-socket", socket, "http://envoy/config_dump"]
    dump = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert f"%ENVIRONMENT({AUTHORIZATION_VARIABLE})%" in dump
    assert not [secret for secret in SECRETS if secret in dump]


# A proxy that fails


async def _say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while await reader.read(65536):
            pass
    writer.close()


@pytest.fixture(scope="module")
def silent() -> Iterator[int]:
    server = ThreadedServer(_say_nothing)
    yield server.port
    server.close()


@pytest.fixture(scope="module")
def rejecting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A proxy that does not connect to Bedrock's port."""
    proxy = TinyProxy(tmp_path_factory.mktemp("rejecting"))
    yield proxy.port
    proxy.close()


@pytest.fixture(scope="module")
def ports(proxy: TinyProxy, rejecting: int, silent: int) -> dict[str, int]:
    return {"down": free_port(), "407": proxy.port, "403": rejecting, "silent": silent}


REASONS = {"down": "refused", "407": "tunnel_response:407", "403": "tunnel_response:403", "silent": ""}
"""Proxies -> what Envoy's log says that they did."""


@pytest.mark.parametrize("kind", REASONS)
def test_a_proxy_that_fails_is_an_error_and_in_the_log(
    behind: Behind, client_of: Any, ports: dict[str, int], kind: str
) -> None:
    user = "" if kind == "407" else "gate:wrong-password@"
    gateway = behind({"https_proxy": f"http://{user}127.0.0.1:{ports[kind]}"})
    client = client_of(gateway)
    names = ("chat", "embeddings") if kind == "silent" else CALLS
    with ThreadPoolExecutor(len(CALLS)) as pool:  # a silent proxy takes all the time that each of them has
        responses = list(pool.map(lambda name: CALLS[name](client), names))
    for response in responses:
        assert response.status == 503
        assert response.error["code"] == UNREACHABLE
        assert response.error["message"] == "Bedrock could not be reached. Try again."
    line = gateway.wait_for(rf"envoy.*the proxy http://127\.0\.0\.1:{ports[kind]} gave no connection to localhost:.*")[
        0
    ]
    assert REASONS[kind] in line
    gateway.wait_for(rf"worker-0.*the proxy http://127\.0\.0\.1:{ports[kind]} gave no connection to Bedrock: .*")
    assert "wrong-password" not in gateway.log()


# Without one


def test_no_proxy_exempts_bedrock(behind: Behind, client_of: Any, ports: dict[str, int]) -> None:
    gateway = behind({"HTTPS_PROXY": f"http://127.0.0.1:{ports['down']}", "NO_PROXY": "example.com, localhost"})
    assert "  proxy  " not in gateway.log()
    assert [CALLS[name](client_of(gateway)).status for name in ("chat", "embeddings")] == [200, 200]


def test_the_local_bedrock_needs_no_proxy(start_gateway: Any, client_of: Any, ports: dict[str, int]) -> None:
    dead = f"http://127.0.0.1:{ports['down']}"
    gateway = start_gateway(env=dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"), dead))
    client = client_of(gateway)
    assert client.embed(["x", "y"]).status == 200
    listed = [model["id"] for model in client.exchange("GET", "/oai/v1/models").json()["data"]]
    assert any("application-inference-profile" in name for name in listed)
