"""The objects of deploy/kubernetes as `kubectl` renders them, and what judges them.

There is no cluster in these tests. Objects are held against the API's own schemas, and what is in them (command lines,
configuration, secrets) is run: the same programs with the same arguments, but for folders, ports and addresses.
"""

import functools
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
CRDS = Path(os.environ.get("CRDS") or ROOT.parent / "shared" / "crds")
"""The OpenAPI schemas of custom resources, as GROUP_VERSION_KIND.json."""

Object = dict[str, Any]


@functools.cache
def render(folder: str) -> str:
    """Return what `kubectl kustomize` makes of a folder below deploy/kubernetes."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed: it renders deploy/kubernetes")
    command = [kubectl, "kustomize", str(KUBERNETES / folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    return done.stdout


class Objects(list[Object]):
    """Rendered objects."""

    def of(self, kind: str, name: str | None = None) -> Iterator[Object]:
        """Return the objects of a kind, and of a name if one is passed."""
        for each in self:
            if each["kind"] == kind and name in (None, each["metadata"]["name"]):
                yield each

    def one(self, kind: str, name: str | None = None) -> Object:
        """The one such object."""
        (item,) = self.of(kind, name)
        return item


@pytest.fixture(scope="session")
def objects_of() -> Callable[[str], Objects]:
    """The objects of a folder below deploy/kubernetes."""
    return lambda folder: Objects(yaml.safe_load_all(render(folder)))


@pytest.fixture(scope="session")
def crd() -> Callable[[str, str], Mapping[str, Any]]:
    """Return a custom resource's schema, by apiVersion and kind; unknown fields are rejected, as by `kubectl apply`."""
    if not CRDS.is_dir():
        pytest.skip(f"there are no schemas of custom resources in {CRDS}; set CRDS to a folder that has them")

    def schema(api_version: str, kind: str) -> Mapping[str, Any]:
        path = CRDS / f"{api_version.replace('/', '_')}_{kind}.json"
        assert path.exists(), f"{CRDS} has no schema of {api_version} {kind}"
        return closed(json.loads(path.read_text()), top=True)

    return schema


def closed(schema: Any, *, top: bool = False) -> Any:
    """Return the schema without anything that it does not declare."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    new = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        new.setdefault("additionalProperties", False)
    if top:
        new["properties"] |= {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
        }
    return new
