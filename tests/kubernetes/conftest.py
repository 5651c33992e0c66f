"""The overlays on a cluster that `python -m tests.kubernetes` has started: applied by the page's own commands."""

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.deploy.conftest import ROOT
from tests.kubernetes import overlays as places
from tests.kubernetes import page
from tests.kubernetes.__main__ import IMAGES
from tests.kubernetes.cluster import Namespace, cleared, kubectl, read, until
from tests.kubernetes.figures import Figures
from tests.logs import CRASH

DEMO = "qc_kubernetes-demo-for-trying-it-out-only-00000"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that `python -m tests.kubernetes` passes."""
    parser.addoption("--figures", type=Path, help="where to write what was measured")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests here: they need a cluster."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("kubernetes")


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> Iterator[Figures]:
    """The measured figures, with the versions of what they are measured with."""
    (node,) = read("get", "nodes")["items"]
    info = node["status"]["nodeInfo"]
    containerd = info["containerRuntimeVersion"].rpartition("/")[2]
    versions = {"Kubernetes": info["kubeletVersion"].removeprefix("v"), "containerd": containerd.partition("~")[0]}
    measured = Figures({**versions, "Envoy": IMAGES[2].rpartition(":v")[2]})
    yield measured
    if path := pytestconfig.getoption("--figures"):
        measured.save(path)


@pytest.fixture(scope="session")
def overlays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The overlays of a copy of deploy/kubernetes."""
    return places.copied(tmp_path_factory.mktemp("reader"))


@pytest.fixture(scope="session")
def root(overlays: Path) -> Path:
    """The folder in which the page's lines are run."""
    return overlays.parents[2]


def checked(namespace: Namespace) -> None:
    """Fail if a container that is there has crashed, or if a worker has logged a traceback."""
    for pod in namespace.read("get", "pods")["items"]:
        for each in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]:
            text = namespace.kubectl("logs", pod["metadata"]["name"], "-c", each["name"], check=False)
            assert "Traceback" not in text, text
            assert not CRASH.search(text), text


@pytest.fixture(scope="session")
def local(overlays: Path, root: Path) -> Iterator[Namespace]:
    """overlays/local, by the page's commands; the images were loaded before."""
    cleared(f"{places.PREFIX}local")
    namespace = places.local(overlays)
    image, load, *rest = page.commands("Try it with kind")
    assert image == "make image"
    assert load.split() == ["kind", "load", "docker-image", *IMAGES[:2]]
    try:
        for line in (line for line in rest if " port-forward " not in line and not line.startswith("curl ")):
            page.run(line, root, namespace.name)
        yield namespace
        checked(namespace)
    finally:
        namespace.delete()


def load_image(name: str) -> None:
    """Give the node an image, as pushing and pulling does."""
    subprocess.run([os.environ["KUBE_ENGINE"], "load", name], check=True, timeout=300)


@pytest.fixture(scope="session")
def mine(overlays: Path, root: Path) -> Iterator[tuple[Namespace, str]]:
    """overlays/mine, by the page's commands, once two pods are ready; and the token that the page has a reader make."""
    cleared(f"{places.PREFIX}mine")
    tag, push, copy, token, apply = page.commands("With the real Bedrock")
    page.run(tag, root, "")
    assert push == f"docker push {places.IMAGE}"
    load_image(places.IMAGE)
    page.run(copy, root, "")
    namespace = places.mine(overlays)
    printed = page.run(token, root, "")
    secret = re.search(r"^  (qc_\S+)$", printed, re.MULTILINE)
    entry = yaml.safe_load(textwrap.dedent(printed[printed.index("  - name") :]))
    assert secret is not None
    (namespace.folder / "tokens.yaml").write_text(places.tokens(*({**each, "name": "made"} for each in entry)))
    try:
        page.run(apply, root, namespace.name)
        until("two pods are ready", lambda: len(ready(namespace)) == 2)
        yield namespace, secret[1]
        checked(namespace)
    finally:
        namespace.delete()


@pytest.fixture(scope="session")
def sidecar(overlays: Path) -> Iterator[Namespace]:
    """overlays/sidecar with an application."""
    cleared(f"{places.PREFIX}sidecar")
    subprocess.run(["docker", "tag", IMAGES[1], places.APPLICATION], check=True)
    subprocess.run(["docker", "tag", IMAGES[0], places.IMAGE], check=True)
    for name in (places.APPLICATION, places.IMAGE):
        load_image(name)
    namespace = places.sidecar(overlays)
    try:
        assert "Warning" not in namespace.apply()
        namespace.rolled_out("shop")
        yield namespace
        checked(namespace)
    finally:
        namespace.delete()


def ready(namespace: Namespace, application: str = "oai-gateway") -> list[Any]:
    """Return the pods of an application that are ready."""
    return [
        pod
        for pod in namespace.pods(application)
        for condition in pod["status"].get("conditions", [])
        if condition["type"] == "Ready" and condition["status"] == "True"
    ]


def models(address: str, token: str) -> int:
    """Return the status of a list of models; 0 if there is no response."""
    try:
        headers = {"authorization": f"Bearer {token}"}
        return httpx.get(f"http://{address}/oai/v1/models", headers=headers, timeout=10, trust_env=False).status_code
    except httpx.HTTPError:
        return 0


def everywhere(namespace: Namespace, token: str) -> set[int]:
    """Return the statuses of the ready pods, each called by its own address."""
    return {models(f"{pod['status']['podIP']}:8080", token) for pod in ready(namespace)}


@pytest.fixture(scope="session")
def client_tests() -> Callable[..., None]:
    """Runs files of tests/clients against a gateway."""

    def run(url: str, bedrock: str, *names: str) -> None:
        files = [f"tests/clients/test_{name}.py" for name in names]
        assert all((ROOT / file).exists() for file in files)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
        command += ["--gateway", url, "--local-bedrock", bedrock]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr

    return run


@pytest.fixture(scope="session")
def restricted() -> Callable[[Namespace], None]:
    """Checks that a namespace enforces the restricted standard."""

    def check(namespace: Namespace) -> None:
        labels = read("get", "namespace", namespace.name)["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
        rejected = kubectl(
            "-n", namespace.name, "run", "loose", "--image=none", "--privileged", "--dry-run=server", check=False
        )
        assert 'violates PodSecurity "restricted' in rejected

    return check
