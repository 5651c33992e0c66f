"""Istio's and Envoy Gateway's attachments, run: they provide what the client tests want.

For each, the real Envoy with what the mesh would send it (`istio`, `envoy_gateway`), the real worker with the command
line of its pod, over TCP with TLS on both sides (processor/make-certificates), and a local Bedrock behind
TLS: the tests of tests/clients/ that start no gateway of their own are collected here once more. Only the name of
Bedrock's host differs (it is `localhost`, with a port).
"""

import copy
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI

from tests.clients import (
    conftest,
)
from tests.conftest import TOKENS
from tests.deploy import envoy_gateway, istio, meshes
from tests.deploy.conftest import KUBERNETES, Objects
from tests.deploy.programs import envoy, free_ports, running
from tests.deploy.through_a_mesh import HELLO, NOVA, collect, ready, worker_command
from tests.envoy.conftest import validate  # noqa: F401
from tests.envoy.gateway.conftest import Authority, OwnBedrock, bedrock, eventually  # noqa: F401
from tests.envoy.gateway.test_tls import Front

BEDROCK = "bedrock-runtime.us-east-1.amazonaws.com"
PROCESSOR = "oai-extproc.oai-gateway.svc.cluster.local"
HOST = "oai.example.com"

ATTACHMENTS: dict[str, Callable[[Objects, meshes.Surroundings], meshes.Proto]] = {
    "istio": istio.gateway,
    "envoy-gateway": envoy_gateway.gateway,
}


client, async_client, local, token = conftest.client, conftest.async_client, conftest.local, conftest.token
weather, clock = conftest.weather, conftest.clock


@dataclass(frozen=True)
class Attached:
    """A gateway as the client tests see it."""

    url: str
    local_url: str
    tokens: dict[str, str]
    bootstrap: meshes.Proto

    @property
    def clusters(self) -> tuple[meshes.Proto, meshes.Proto]:
        """The workers' and Bedrock's."""
        both = [each for each in self.bootstrap["static_resources"]["clusters"] if "load_assignment" in each]
        processor, outside = sorted(both, key=lambda cluster: "health_checks" not in cluster)
        return processor, outside


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    subprocess.run([str(KUBERNETES / "processor" / "make-certificates"), str(folder)], check=True, timeout=60)
    return folder


@pytest.fixture(scope="session")
def amazon(tmp_path_factory: pytest.TempPathFactory, bedrock: OwnBedrock) -> Iterator[tuple[int, Path]]:  # noqa: F811
    """Bedrock's port, where it shows a certificate for `localhost`, and the authority that vouches for it."""
    authority = Authority(tmp_path_factory.mktemp("amazon"))
    front = Front(authority.certify("localhost"), bedrock.port)
    yield front.port, authority.certificate
    front.close()


@pytest.fixture(scope="session", params=ATTACHMENTS)
def attachment(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def objects(attachment: str, objects_of: Any, amazon: tuple[int, Path]) -> Objects:
    """The overlay's objects, for the host that there is here; AWS's has no port in its name, and this one has."""
    written = json.dumps(objects_of(f"overlays/{attachment}")).replace(BEDROCK, "localhost").replace(HOST, "*")
    here = Objects(json.loads(written))
    for each in here.of("EnvoyFilter"):
        (route,) = (
            patch["patch"]["value"]["route"]
            for patch in each["spec"]["configPatches"]
            if patch["patch"]["value"].get("name") == "oai-extproc-bedrock"
        )
        route["host_rewrite_literal"] = f"localhost:{amazon[0]}"
    return here


@pytest.fixture(scope="session")
def gateway(
    attachment: str,
    objects: Objects,
    amazon: tuple[int, Path],
    bedrock: OwnBedrock,  # noqa: F811
    certificates: Path,
    tmp_path_factory: pytest.TempPathFactory,
    eventually: Any,  # noqa: F811
) -> Iterator[Attached]:
    folder = tmp_path_factory.mktemp(attachment)
    env = {
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": f"https://localhost:{amazon[0]}",
        "AWS_ENDPOINT_URL_BEDROCK": bedrock.url,
        "AWS_CA_BUNDLE": str(amazon[1]),
        "AWS_ACCESS_KEY_ID": bedrock.environment["AWS_ACCESS_KEY_ID"],
        "AWS_SECRET_ACCESS_KEY": bedrock.environment["AWS_SECRET_ACCESS_KEY"],
    }
    with free_ports(1) as (port,), ExitStack() as stack:
        (container,) = objects.one("Deployment")["spec"]["template"]["spec"]["containers"]
        env |= {each["name"]: each["value"] for each in container["env"]}
        command = worker_command(container, folder, certificates, "127.0.0.1:0")
        worker = stack.enter_context(running(command, folder / "worker.log", env))
        processor = int(worker.wait_for(r"serving on 127\.0\.0\.1:(\d+)")[1])
        around = meshes.Surroundings(
            port=port,
            places={"localhost": ("127.0.0.1", amazon[0]), PROCESSOR: ("127.0.0.1", processor)},
            secrets={"oai-extproc-client": certificates / "client"},
            authorities=amazon[1],
        )
        bootstrap = ATTACHMENTS[attachment](objects, around)
        (folder / "envoy.json").write_text(meshes.text(bootstrap))
        command = [envoy(), "-c", str(folder / "envoy.json"), "--disable-hot-restart", "--concurrency", "2"]
        stack.enter_context(running([*command, "--log-level", "warning"], folder / "envoy.log", {}))
        url = f"http://127.0.0.1:{port}/oai/v1"
        eventually(lambda: ready(url))
        yield Attached(url, bedrock.url, dict(TOKENS), bootstrap)
        assert "Traceback" not in worker.output()


globals().update(collect())


# Differences with a mesh


def test_envoy_takes_the_configuration_without_a_warning(gateway: Attached, validate: Any) -> None:  # noqa: F811
    validate(meshes.text(gateway.bootstrap), "envoy.json")


def test_a_connection_opens_one_request_in_a_turn_of_the_event_loop(gateway: Attached) -> None:
    """Otherwise a flood of requests and resets takes gigabytes of Envoy."""
    layers = gateway.bootstrap["layered_runtime"]["layers"]
    flags = {name: value for layer in layers for name, value in layer["static_layer"].items()}
    assert str(flags["http.max_requests_per_io_cycle"]) == "1"


def test_bedrock_sees_neither_the_callers_key_nor_his_address(client: OpenAI, local: Any, token: str) -> None:
    caller_headers = {"x-forwarded-for": "192.0.2.1", "x-envoy-max-retries": "7"}
    client.chat.completions.create(model=NOVA, messages=HELLO, extra_headers=caller_headers)
    (call,) = local.calls()
    assert token not in json.dumps(call)
    assert call["headers"]["host"].startswith("localhost:")
    assert not call["headers"].keys() & {
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-envoy-external-address",
        *caller_headers,
    }


@pytest.fixture
def status(gateway: Attached, token: str, tmp_path: Path, eventually: Any) -> Iterator[Callable[..., int]]:  # noqa: F811
    """Return the status that a call gets from an Envoy with another bootstrap."""
    with ExitStack() as stack:
        (port,) = stack.enter_context(free_ports(1))

        def status_of(bootstrap: meshes.Proto, size: int = 5) -> int:
            (listener,) = bootstrap["static_resources"]["listeners"]
            listener["address"]["socket_address"]["port_value"] = port
            (tmp_path / "envoy.json").write_text(meshes.text(bootstrap))
            command = [envoy(), "-c", str(tmp_path / "envoy.json"), "--disable-hot-restart", "--concurrency", "1"]
            program = stack.enter_context(running(command, tmp_path / "envoy.log", {}))
            program.wait_for("starting workers|all dependencies initialized")
            body = {"model": NOVA, "messages": [{"role": "user", "content": "x" * size}]}
            headers = {"authorization": f"Bearer {token}"}
            eventually(lambda: connects(port))
            url = f"http://127.0.0.1:{port}/oai/v1/chat/completions"
            return httpx.post(url, json=body, headers=headers, timeout=60).status_code

        yield status_of


def connects(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/elsewhere").status_code == 404
    except httpx.HTTPError:
        return False


@pytest.fixture
def changed(gateway: Attached) -> Attached:
    """The same, to be changed."""
    return replace(gateway, bootstrap=copy.deepcopy(gateway.bootstrap))


def test_without_the_filter_nothing_gets_through(changed: Attached, local: Any, status: Callable[..., int]) -> None:
    """With the real controllers, and for callers who send what a worker would: tests/clusters/test_closed_route.py."""
    filters = manager(changed)["http_filters"]
    (ours,) = (each for each in filters if "ExternalProcessor" in each["typed_config"]["@type"])
    filters.remove(ours)
    assert status(changed.bootstrap) == 503
    assert local.calls() == []


def test_without_a_worker_nothing_gets_through(changed: Attached, local: Any, status: Callable[..., int]) -> None:
    address(changed.clusters[0])["port_value"] = 1
    assert status(changed.bootstrap) == 503
    assert local.calls() == []


def test_workers_reject_peers_without_a_certificate(changed: Attached, local: Any, status: Callable[..., int]) -> None:
    common = changed.clusters[0]["transport_socket"]["typed_config"]["common_tls_context"]
    for name in ("tls_certificates", "tls_certificate_sds_secret_configs"):
        common.pop(name, None)
    assert status(changed.bootstrap) == 503
    assert local.calls() == []


def test_bedrock_has_to_prove_its_name(
    changed: Attached, certificates: Path, local: Any, status: Callable[..., int]
) -> None:
    common = changed.clusters[1]["transport_socket"]["typed_config"]["common_tls_context"]
    common["validation_context"]["trusted_ca"]["filename"] = str(certificates / "client" / "ca.crt")
    assert status(changed.bootstrap) == 503
    assert local.calls() == []


def test_the_buffer_has_to_be_raised(attachment: str, changed: Attached, status: Callable[..., int]) -> None:
    """Istio's route has a limit of bodies of its own; Envoy Gateway has the listener's alone."""
    (listener,) = changed.bootstrap["static_resources"]["listeners"]
    listener["per_connection_buffer_limit_bytes"] = 32768
    assert status(changed.bootstrap, size=100_000) == (200 if attachment == "istio" else 413)


def test_envoy_gateways_route_has_to_write_the_host(
    attachment: str, changed: Attached, status: Callable[..., int]
) -> None:
    """The one that the worker writes is ignored there, so the signature would be for another."""
    if attachment != "envoy-gateway":
        assert "mutation_rules" in json.dumps(changed.bootstrap)
        return
    assert "mutation_rules" not in json.dumps(changed.bootstrap)
    del manager(changed)["route_config"]["virtual_hosts"][0]["routes"][0]["route"]["host_rewrite_literal"]
    assert status(changed.bootstrap) == 502


def manager(gateway: Attached) -> Any:
    (listener,) = gateway.bootstrap["static_resources"]["listeners"]
    chain = listener.get("default_filter_chain") or listener["filter_chains"][0]
    return chain["filters"][0]["typed_config"]


def address(cluster: meshes.Proto) -> Any:
    return cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
