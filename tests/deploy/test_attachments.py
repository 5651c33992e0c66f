"""Istio's and Envoy Gateway's attachments, run: what the client tests want is what they give.

For each, the real Envoy with what the mesh would tell it (`istio`, `envoy_gateway`), the real worker with the command
line of its pod, over TCP with TLS on both sides (processor/make-certificates), and a local Bedrock behind
TLS: the tests of tests/clients/ that start no gateway of their own are collected here once more. Only the name of
Bedrock's host is another (it is `localhost`, with a port).
"""

import base64
import copy
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import yaml
from openai import OpenAI

from tests.clients import (
    conftest,
    test_chat,
    test_embeddings,
    test_errors,
    test_models,
    test_streaming,
    test_structured_output,
    test_tools,
)
from tests.conftest import CONFIG, TOKENS
from tests.deploy import envoy_gateway, istio, meshes
from tests.deploy.conftest import KUBERNETES, Objects
from tests.deploy.programs import OAI_EXTPROC, envoy, free_ports, running
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

NOVA = "amazon.nova-micro-v1:0"
HELLO: Any = [{"role": "user", "content": "Hello!"}]

client, async_client, local, token = conftest.client, conftest.async_client, conftest.local, conftest.token
weather, clock = conftest.weather, conftest.clock


OTHERWISE = {"test_the_headers_of_an_answer"}
"""What is not so with a mesh: neither lets the worker say how long its answers are, so they come in chunks."""


def collect(*modules: ModuleType) -> dict[str, Any]:
    """The tests of these modules that are about the gateway that is there."""
    return {
        f"{module.__name__.rpartition('.')[2]}_{name.removeprefix('test_')}": each
        for module in modules
        for name, each in vars(module).items()
        if name.startswith("test_") and name not in OTHERWISE and "start_gateway" not in each.__code__.co_varnames
    }


@dataclass(frozen=True)
class Attached:
    """What the client tests know of a gateway."""

    url: str
    local_url: str
    tokens: dict[str, str]
    bootstrap: meshes.Proto

    @property
    def clusters(self) -> tuple[meshes.Proto, meshes.Proto]:
        """The workers' and Bedrock's."""
        both = self.bootstrap["static_resources"]["clusters"]
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
    for route in here.of("HTTPRoute"):
        (rewrite,) = (each["urlRewrite"] for each in route["spec"]["rules"][0]["filters"] if "urlRewrite" in each)
        rewrite["hostname"] = f"localhost:{amazon[0]}"
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
        command = worker_command(objects, folder, certificates)
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
        assert "Traceback" not in worker.said()


def worker_command(objects: Objects, folder: Path, certificates: Path) -> list[str]:
    """The container's own, with the files where they are here; organisations and tokens are those of all tests."""
    (container,) = objects.one("Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["oai-extproc"]
    settings = {key: value for key, value in CONFIG.items() if key != "tokens"}
    for name in ("config", "tokens", "run"):
        (folder / name).mkdir()
    (folder / "config" / "gateway.yaml").write_text(yaml.safe_dump({**settings, "tokens_from": "../tokens"}))
    (folder / "tokens" / "tokens.yaml").write_text(yaml.safe_dump({"tokens": CONFIG["tokens"]}))
    places = {
        "/etc/oai/config": str(folder / "config"),
        "/etc/oai/tls": str(certificates / "server"),
        "/run/oai": str(folder / "run"),
        "0.0.0.0:9443": "127.0.0.1:0",
    }
    words = list(container["args"])
    for old, new in places.items():
        words = [word.replace(old, new) for word in words]
    return [*OAI_EXTPROC, *words]


def ready(url: str) -> bool:
    """Whether a caller without a key is told so, by the worker."""
    try:
        return httpx.get(f"{url}/models").status_code == 401
    except httpx.HTTPError:
        return False


globals().update(
    collect(test_chat, test_streaming, test_tools, test_structured_output, test_embeddings, test_models, test_errors)
)


# What is another with a mesh


def test_envoy_takes_the_configuration_without_a_warning(gateway: Attached, validate: Any) -> None:  # noqa: F811
    validate(meshes.text(gateway.bootstrap), "envoy.json")


def test_a_connection_opens_one_request_in_a_turn_of_the_event_loop(gateway: Attached) -> None:
    """Otherwise a flood of requests and resets takes gigabytes of Envoy."""
    layers = gateway.bootstrap["layered_runtime"]["layers"]
    flags = {name: value for layer in layers for name, value in layer["static_layer"].items()}
    assert str(flags["http.max_requests_per_io_cycle"]) == "1"


def test_answers_have_no_length_and_are_whole(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model=NOVA, messages=HELLO)
    assert raw.headers["x-request-id"] == raw.parse()._request_id
    assert raw.headers["content-type"] == "application/json"
    assert raw.headers["transfer-encoding"] == "chunked"
    assert not [name for name in raw.headers if name.startswith("x-amz")]


def picture(size: int) -> str:
    """A PNG with this many bytes behind its head."""
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * size).decode()


@pytest.mark.parametrize("size", [40_000, 300_000, 3_000_000])
def test_an_image_is_larger_than_a_meshs_usual_buffer(client: OpenAI, local: Any, size: int) -> None:
    content: Any = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": picture(size)}},
    ]
    answer = client.chat.completions.create(
        model="anthropic.claude-sonnet-4-6", messages=[{"role": "user", "content": content}]
    )
    assert answer.choices[0].message.content
    assert local.call()["state"] == "finished"


def test_a_body_above_the_limit_is_a_413_in_openais_words(gateway: Attached, token: str) -> None:
    body = b'{"model": "' + b"x" * (42 * 1024 * 1024) + b'"}'
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    answer = httpx.post(f"{gateway.url}/chat/completions", content=body, headers=headers, timeout=60)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"


def test_an_arn_with_escaped_slashes_is_one_model(gateway: Attached, token: str) -> None:
    arn = "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aprovisioned-model%2Fnone"
    headers = {"authorization": f"Bearer {token}"}
    answer = httpx.get(f"{gateway.url}/models/{arn}", headers=headers)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


def test_bedrock_sees_neither_the_callers_key_nor_his_address(client: OpenAI, local: Any, token: str) -> None:
    told = {"x-forwarded-for": "192.0.2.1", "x-envoy-max-retries": "7"}
    client.chat.completions.create(model=NOVA, messages=HELLO, extra_headers=told)
    (call,) = local.calls()
    assert token not in json.dumps(call)
    assert call["headers"]["host"].startswith("localhost:")
    assert not call["headers"].keys() & {"x-forwarded-for", "x-forwarded-proto", "x-envoy-external-address", *told}


def test_the_workers_request_stays_on_the_meshs_route(gateway: Attached) -> None:
    """The route leads by `/oai/v1`, and the worker writes another path: Envoy must not look for the route again."""
    written = json.dumps(gateway.bootstrap)
    assert "route_cache_action" not in written


def test_nothing_but_the_apis_path_is_asked_about(gateway: Attached) -> None:
    answer = httpx.get(gateway.url.removesuffix("/oai/v1") + "/elsewhere")
    assert answer.status_code == 404
    assert answer.content == b""


# What each part of it is for: another Envoy, without it, before the same worker


@pytest.fixture
def status(gateway: Attached, token: str, tmp_path: Path, eventually: Any) -> Iterator[Callable[..., int]]:  # noqa: F811
    """What a call gets from an Envoy with another bootstrap."""
    with ExitStack() as stack:
        (port,) = stack.enter_context(free_ports(1))

        def ask(bootstrap: meshes.Proto, size: int = 5) -> int:
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

        yield ask


def connects(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/elsewhere").status_code == 404
    except httpx.HTTPError:
        return False


@pytest.fixture
def changed(gateway: Attached) -> Attached:
    """The same, to be changed."""
    return replace(gateway, bootstrap=copy.deepcopy(gateway.bootstrap))


def test_without_a_worker_nothing_gets_through(changed: Attached, local: Any, status: Callable[..., int]) -> None:
    address(changed.clusters[0])["port_value"] = 1
    assert status(changed.bootstrap) == 503
    assert local.calls() == []


def test_workers_talk_to_nobody_without_a_certificate(
    changed: Attached, local: Any, status: Callable[..., int]
) -> None:
    common = changed.clusters[0]["transport_socket"]["typed_config"]["common_tls_context"]
    for name in ("tls_certificates", "tls_certificate_sds_secret_configs"):
        common.pop(name, None)
    assert status(changed.bootstrap) == 503
    assert local.calls() == []


def test_bedrock_has_to_prove_its_name(changed: Attached, local: Any, status: Callable[..., int]) -> None:
    common = changed.clusters[1]["transport_socket"]["typed_config"]["common_tls_context"]
    (name,) = common["validation_context"]["match_typed_subject_alt_names"]
    name["matcher"]["exact"] = "bedrock.test"
    assert status(changed.bootstrap) == 503
    assert local.calls() == []


def test_the_buffer_has_to_be_raised(attachment: str, changed: Attached, status: Callable[..., int]) -> None:
    """Istio's route has a limit of bodies of its own; Envoy Gateway has the listener's alone."""
    (listener,) = changed.bootstrap["static_resources"]["listeners"]
    listener["per_connection_buffer_limit_bytes"] = 32768
    assert status(changed.bootstrap, size=100_000) == (200 if attachment == "istio" else 413)


def test_envoy_gateways_route_has_to_say_the_host(
    attachment: str, changed: Attached, status: Callable[..., int]
) -> None:
    """The one that the worker says is ignored there, so the signature would be for another."""
    if attachment != "envoy-gateway":
        assert "mutation_rules" in json.dumps(changed.bootstrap)
        return
    assert "mutation_rules" not in json.dumps(changed.bootstrap)
    (listener,) = changed.bootstrap["static_resources"]["listeners"]
    manager = listener["default_filter_chain"]["filters"][0]["typed_config"]
    route = manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"]
    del route["host_rewrite_literal"]
    assert status(changed.bootstrap) == 502


def address(cluster: meshes.Proto) -> Any:
    return cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
