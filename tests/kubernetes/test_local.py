"""The unchanged overlays/local: the page's first steps, and the ends of the only pod."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import TOKENS
from tests.kubernetes import overlays as places
from tests.kubernetes import page
from tests.kubernetes.cluster import Namespace, port_forward, read, until
from tests.kubernetes.conftest import DEMO, everywhere, ready
from tests.kubernetes.figures import Figures
from tests.kubernetes.load import Load

GATEWAY = "oai-gateway"
CLIENT_TESTS = ("chat", "streaming")

TWO_CPUS = 2000
"""Of a small node, in thousandths."""


def test_the_pages_curl_gets_a_message(local: Namespace, root: Path) -> None:
    lines = page.commands("Try it with kind")
    (forward,) = (page.here(line, local.name) for line in lines if " port-forward " in line)
    (curl,) = (line for line in lines if line.startswith("curl "))
    assert forward.endswith(" 8080:80")
    with port_forward(forward.replace(" 8080:80", " :80").split()) as address:
        output = page.run(curl.replace("127.0.0.1:8080", address), root, local.name)
    assert "Hello!" in json.loads(output)["choices"][0]["message"]["content"]


def test_pods_keep_to_the_restricted_standard(local: Namespace, restricted: Callable[[Namespace], None]) -> None:
    restricted(local)


@pytest.fixture
def load(local: Namespace) -> Iterator[Load]:
    """Callers of the Service, with the page's token."""
    with Load(f"http://{local.address(GATEWAY)}/oai/v1", DEMO) as load:
        yield load


def thousandths(quantity: str) -> int:
    """Return a quantity of CPU in thousandths."""
    return int(quantity[:-1]) if quantity.endswith("m") else 1000 * int(quantity)


def requested(pod: Any) -> int:
    """Return what the scheduler reserves for a pod: its containers and sidecars together, or an init container more."""
    spec, stays, largest = pod["spec"], 0, 0
    for each in spec.get("initContainers", []):
        cpu = thousandths(each["resources"]["requests"]["cpu"])
        if each.get("restartPolicy") == "Always":
            stays += cpu
        else:
            largest = max(largest, stays + cpu)
    stays += sum(thousandths(each["resources"]["requests"]["cpu"]) for each in spec["containers"])
    return max(largest, stays)


def test_a_roll_out_ends_on_two_cpus_and_loses_no_call(local: Namespace, load: Load, figures: Figures) -> None:
    """The new pod is there beside the old one."""
    before = local.names(GATEWAY)
    pods = read("-n", local.name, "get", "pods")["items"]
    (gateway,) = (pod for pod in pods if pod["metadata"]["name"] in before)
    assert sum(map(requested, pods)) + requested(gateway) < TWO_CPUS - 500, "the cluster's own pods need some, too"
    with load.phase() as phase:
        load.goes_on()
        local.kubectl("rollout", "restart", f"deployment/{GATEWAY}")
        local.rolled_out(GATEWAY)
        local.gone(GATEWAY, before)
    assert phase.failures == {}
    figures.calls["restart-one"] = phase.calls


def test_the_only_pod_is_deleted_and_no_call_is_lost(local: Namespace, load: Load, figures: Figures) -> None:
    (pod,) = ready(local)
    with load.phase() as phase:
        load.goes_on()
        local.kubectl("delete", "pod", pod["metadata"]["name"])
    assert phase.failures == {}
    figures.calls["delete-only"] = phase.calls


def test_the_client_tests_pass_with_their_tokens(local: Namespace, client_tests: Callable[..., None]) -> None:
    """A reader changes the two files, and applies them."""
    (entry,) = yaml.safe_load((local.folder / "tokens.yaml").read_text())["tokens"]
    organisations = yaml.safe_load(places.settings())["organisations"]
    (local.folder / "gateway.yaml").write_text(places.settings(organisations={**organisations, "demo": {}}))
    (local.folder / "tokens.yaml").write_text(places.tokens(entry))
    local.apply()
    until("the tokens are accepted", lambda: everywhere(local, TOKENS["ci"]) == {200})
    assert everywhere(local, DEMO) == {200}
    client_tests(f"http://{local.address(GATEWAY)}/oai/v1", f"http://{local.address('bedrock-local')}", *CLIENT_TESTS)
