"""Every overlay against the API server's own validation, admission included; nothing is stored."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.test_manifests import is_custom
from tests.kubernetes import page
from tests.kubernetes.cluster import Namespace, cleared, kubectl, read
from tests.kubernetes.overlays import OVERLAYS, PREFIX, change


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    """A namespace with the restricted standard: the server rejects objects of one that is not there."""
    name = f"{PREFIX}objects"
    cleared(name)
    kubectl("create", "namespace", name)
    kubectl("label", "namespace", name, "pod-security.kubernetes.io/warn=restricted")
    yield name
    Namespace(name, Path()).delete()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_server_takes_every_object(overlay: str, overlays: Path, namespace: str) -> None:
    """Custom objects belong to their controllers' tests: `make test-istio`, `make test-envoy-gateway`."""
    folder = overlays / overlay
    before = (folder / "kustomization.yaml").read_text()
    change(folder, "objects", {})
    objects = list(yaml.safe_load_all(kubectl("kustomize", str(folder))))
    (folder / "kustomization.yaml").write_text(before)
    core = [each for each in objects if not is_custom(each)]
    assert core
    assert {kind for each in core if (kind := each["kind"]) == "Deployment"}
    assert {each["metadata"].get("namespace", namespace) for each in core} == {namespace}
    text: Any = yaml.safe_dump_all(core)
    output = kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", stdin=text)
    assert "Warning" not in output
    assert output.count("serverside-applied (server dry run)") == len(core)


def test_the_pages_certificates_become_secrets(root: Path) -> None:
    """The namespace is another one, also for Istio's."""
    name = f"{PREFIX}certificates"
    cleared(name)
    sections = ("With a mesh", "Istio", "Envoy Gateway")
    lines = [line for section in sections for line in page.commands(section) if " apply " not in line]
    secrets = []
    for line in lines:
        line = line.replace("istio-system", "oai-gateway")
        if (created := line.partition("secret generic ")[2].partition(" ")[0]) and created in secrets:
            page.run(f"kubectl -n oai-gateway delete secret {created}", root, name)
        secrets.append(created)
        page.run(line, root, name)
    for secret in set(filter(None, secrets)):
        created = read("-n", name, "get", "secret", secret)
        assert (created["type"], set(created["data"])) == ("kubernetes.io/tls", {"tls.crt", "tls.key", "ca.crt"})
    assert set(filter(None, secrets)) == {"oai-extproc-tls", "oai-extproc-client"}
    Namespace(name, Path()).delete()
