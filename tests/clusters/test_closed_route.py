"""Half an installation sends nothing to Bedrock: each mistake is applied, and the real controller acts on it.

A call without a key shows when a mistake is in force: the workers' 401 has become a 503.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.clients import conftest
from tests.clusters.conftest import HEALTH_SECONDS, Amazon, Attached
from tests.clusters.controller import Controller
from tests.clusters.through_a_mesh import HELLO, NOVA, ready
from tests.deploy.conftest import Objects

pytestmark = pytest.mark.mesh

token = conftest.token

PROCESSOR = "oai-extproc"
CHAT = {"model": NOVA, "messages": HELLO}
CALLS = (("POST", "/oai/v1/chat/completions"), ("GET", "/oai/v1/models"), ("POST", "/oai/v1/embeddings"))
BEDROCKS = (
    "/model/amazon.nova-micro-v1%3A0/converse",
    "/model/amazon.nova-micro-v1:0/converse-stream",
    "/model",
    "/oai/v1/../../model/amazon.nova-micro-v1%3A0/converse",
)
FORGED = {
    "authorization": "AWS4-HMAC-SHA256 Credential=AKIATEST/20261128/us-east-1/bedrock/aws4_request",
    "x-forwarded-client-cert": "signed",
    "x-oai-signed": "true",
    "oai": '{"signed": true}',
    "x-envoy-original-path": "/model/amazon.nova-micro-v1:0/converse",
    "x-envoy-peer-metadata": "oai.signed=true",
    "host": "bedrock-runtime.us-east-1.amazonaws.com",
}


def without(objects: Objects, *kinds: str) -> Objects:
    """The objects but for those of these kinds."""
    return Objects(each for each in objects if each["kind"] not in kinds)


def patches(objects: Objects) -> Any:
    return objects.one("EnvoyFilter")["spec"]["configPatches"]


# Istio


def no_envoy_filter(objects: Objects) -> Objects:
    return without(objects, "EnvoyFilter")


def envoy_filter_of_another_gateway(objects: Objects) -> Objects:
    objects.one("EnvoyFilter")["spec"]["workloadSelector"]["labels"] = {"istio": "another"}
    return objects


def no_filter_in_the_chain(objects: Objects) -> Objects:
    patches(objects)[:] = [each for each in patches(objects) if each["applyTo"] != "HTTP_FILTER"]
    return objects


def filter_of_another_port(objects: Objects) -> Objects:
    (match,) = (each["match"] for each in patches(objects) if each["applyTo"] == "HTTP_FILTER")
    match["listener"]["portNumber"] = 9999
    return objects


def never_turned_on(objects: Objects) -> Objects:
    for each in patches(objects):
        each["patch"]["value"].pop("typed_per_filter_config", None)
    return objects


def another_name(objects: Objects) -> Objects:
    (patch,) = (each["patch"] for each in patches(objects) if each["applyTo"] == "HTTP_FILTER")
    patch["value"]["name"] = "another"
    return objects


def no_processing(objects: Objects) -> Objects:
    (patch,) = (each["patch"] for each in patches(objects) if each["applyTo"] == "HTTP_FILTER")
    sides = [f"{side}_{part}_mode" for side in ("request", "response") for part in ("header", "trailer")]
    patch["value"]["typed_config"]["processing_mode"] = dict.fromkeys(sides, "SKIP")
    return objects


# Both


def processor(objects: Objects) -> Any:
    """Return the workers' Backend, or their cluster in the EnvoyFilter."""
    backends = [each["spec"] for each in objects.of("Backend", PROCESSOR)]
    if backends:
        return backends[0]
    clusters = (each["patch"]["value"] for each in patches(objects) if each["applyTo"] == "CLUSTER")
    (cluster,) = (each for each in clusters if each["name"] == PROCESSOR)
    return cluster


def no_client_certificate(objects: Objects) -> Objects:
    """Envoy does not prove itself to the workers."""
    for each in objects.of("Backend"):
        del each["spec"]["tls"]["clientCertificateRef"]
    if "transport_socket" in processor(objects):
        tls = processor(objects)["transport_socket"]["typed_config"]["common_tls_context"]
        del tls["tls_certificate_sds_secret_configs"]
    return objects


def no_worker(objects: Objects) -> Objects:
    """Nothing listens where the workers should be."""
    if list(objects.of("Backend")):
        processor(objects)["endpoints"][0]["fqdn"]["port"] = 1
        return objects
    (place,) = processor(objects)["load_assignment"]["endpoints"][0]["lb_endpoints"]
    place["endpoint"]["address"]["socket_address"]["port_value"] = 1
    return objects


# Envoy Gateway


def no_extension_policy(objects: Objects) -> Objects:
    return without(objects, "EnvoyExtensionPolicy")


def neither_extension_nor_listener_policy(objects: Objects) -> Objects:
    return without(objects, "EnvoyExtensionPolicy", "ClientTrafficPolicy")


def no_policy_at_all(objects: Objects) -> Objects:
    return without(objects, "EnvoyExtensionPolicy", "ClientTrafficPolicy", "BackendTrafficPolicy")


def policy_of_another_route(objects: Objects) -> Objects:
    other = copy.deepcopy(objects.one("HTTPRoute"))
    other["metadata"]["name"] = "other"
    for rule in other["spec"]["rules"]:
        rule["matches"][0]["path"]["value"] = "/other" + rule["matches"][0]["path"]["value"]
    objects.append(other)
    objects.one("EnvoyExtensionPolicy")["spec"]["targetRefs"][0]["name"] = "other"
    return objects


def empty_extension_policy(objects: Objects) -> Objects:
    del objects.one("EnvoyExtensionPolicy")["spec"]["extProc"]
    return objects


def fails_open(objects: Objects) -> Objects:
    """Without a worker, requests go on as they came in; with the overlay's mode of bodies, the API rejects that."""
    (policy,) = no_worker(objects).one("EnvoyExtensionPolicy")["spec"]["extProc"]
    policy["failOpen"] = True
    policy["processingMode"]["response"]["body"] = "Streamed"
    return objects


def fails_open_in_full_duplex(objects: Objects) -> Objects:
    objects.one("EnvoyExtensionPolicy")["spec"]["extProc"][0]["failOpen"] = True
    return objects


def no_processing_mode(objects: Objects) -> Objects:
    del objects.one("EnvoyExtensionPolicy")["spec"]["extProc"][0]["processingMode"]
    return objects


MISTAKES: dict[str, list[Callable[[Objects], Objects]]] = {
    "istio": [
        no_envoy_filter,
        envoy_filter_of_another_gateway,
        no_filter_in_the_chain,
        filter_of_another_port,
        never_turned_on,
        another_name,
        no_processing,
    ],
    "envoy-gateway": [
        no_extension_policy,
        neither_extension_nor_listener_policy,
        no_policy_at_all,
        policy_of_another_route,
        empty_extension_policy,
        no_processing_mode,
        fails_open,
    ],
}

REJECTED: dict[str, list[tuple[Callable[[Objects], Objects], str]]] = {
    "envoy-gateway": [(fails_open_in_full_duplex, "FailOpen must be false")],
}
"""Mistakes that the custom resources' own rules reject, which `kubectl apply` and Envoy Gateway's files share."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The mistakes are those that can be made with the mesh that is there."""
    if "mistake" in metafunc.fixturenames:
        mesh = str(metafunc.config.getoption("--mesh", None))
        metafunc.parametrize("mistake", MISTAKES.get(mesh, []), ids=lambda mistake: mistake.__name__)
    if "rejected" in metafunc.fixturenames:
        mesh = str(metafunc.config.getoption("--mesh", None))
        metafunc.parametrize("rejected", REJECTED.get(mesh, []), ids=lambda rejected: rejected[0].__name__)


@pytest.fixture
def whole(controller: Controller, gateway: Attached, eventually: Any) -> Iterator[None]:
    """Afterwards all of it is there again."""
    yield
    controller.apply(controller.objects)
    eventually(lambda: ready(gateway.url), "the worker is not asked", HEALTH_SECONDS)


def code(url: str) -> str | None:
    """Return the error code that a caller without a key gets."""
    try:
        return str(httpx.get(f"{url}/models").json()["error"]["code"])
    except (httpx.HTTPError, ValueError, LookupError, TypeError):
        return None


def test_bedrock_has_to_prove_its_name(gateway: Attached, amazon: Amazon, token: str) -> None:
    with amazon.impostor():
        headers = {"authorization": f"Bearer {token}"}
        response = httpx.post(f"{gateway.url}/chat/completions", headers=headers, json=CHAT, timeout=30)
        assert (response.status_code, response.json()["error"]["code"]) == (503, "bedrock_unreachable")
        assert amazon.received == []
    response = httpx.post(f"{gateway.url}/chat/completions", headers=headers, json=CHAT, timeout=30)
    assert response.status_code == 200


@pytest.mark.usefixtures("whole")
def test_half_an_installation_sends_nothing_to_bedrock(
    controller: Controller,
    gateway: Attached,
    amazon: Amazon,
    token: str,
    eventually: Any,
    mistake: Callable[[Objects], Objects],
) -> None:
    controller.apply(mistake(controller.objects))
    eventually(lambda: code(gateway.url) == "processor_unavailable", "the mistake is not in force", HEALTH_SECONDS)
    amazon.received.clear()
    root, own = gateway.url.removesuffix("/oai/v1"), {"authorization": f"Bearer {token}"}
    for method, path in CALLS:
        for headers in (own, {**FORGED, "host": httpx.URL(root).netloc.decode()}):
            response = httpx.request(method, root + path, headers=headers, json=CHAT if method == "POST" else None)
            assert (response.status_code, response.headers["content-type"]) == (503, "application/json")
            error = response.json()["error"]
            assert error.keys() == {"message", "type", "param", "code"}
            assert (error["type"], error["code"]) == ("server_error", "processor_unavailable")
    forged(root, own)
    assert amazon.received == []


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize("fault", [no_client_certificate, no_worker], ids=lambda fault: fault.__name__)
def test_workers_that_do_not_respond_are_a_503(
    controller: Controller,
    gateway: Attached,
    amazon: Amazon,
    token: str,
    eventually: Any,
    fault: Callable[[Objects], Objects],
) -> None:
    controller.apply(fault(controller.objects))
    eventually(lambda: httpx.get(f"{gateway.url}/models").status_code == 503, "it is served", HEALTH_SECONDS)
    amazon.received.clear()
    for method, path in CALLS:
        url, body = gateway.url.removesuffix("/oai/v1") + path, CHAT if method == "POST" else None
        assert httpx.request(method, url, headers={"authorization": f"Bearer {token}"}, json=body).status_code == 503
    assert amazon.received == []


@pytest.mark.usefixtures("whole")
def test_a_mistake_that_breaks_a_rule_of_the_api_changes_nothing(
    controller: Controller, gateway: Attached, eventually: Any, rejected: tuple[Callable[[Objects], Objects], str]
) -> None:
    mistake, rule = rejected
    before = controller.run("log").count(rule)
    controller.write(mistake(controller.objects))
    eventually(lambda: controller.run("log").count(rule) > before, "the rule is not applied", HEALTH_SECONDS)
    assert ready(gateway.url)


def forged(root: str, own: dict[str, str]) -> None:
    """Callers who use Bedrock's paths, and headers that would look signed."""
    host = httpx.URL(root).netloc.decode()
    for path in BEDROCKS:
        for headers in (own, {**own, "x-forwarded-client-cert": "signed"}, FORGED, {**FORGED, "host": host}):
            request = httpx.Request("POST", root, headers=headers, json=CHAT, extensions={"target": path.encode()})
            with httpx.Client() as client:
                assert client.send(request).status_code == 404


def test_no_caller_opens_the_route(gateway: Attached, amazon: Amazon, token: str) -> None:
    amazon.received.clear()
    forged(gateway.url.removesuffix("/oai/v1"), {"authorization": f"Bearer {token}"})
    assert amazon.received == []
