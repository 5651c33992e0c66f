"""The chart as Helm renders it. Helm is the program that HELM names, which `make test-helm` builds."""

import functools
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.deploy.conftest import ROOT, Objects
from tests.deploy.conftest import crd as crd

CHART = ROOT / "deploy" / "helm" / "oai-extproc"
EXAMPLES = {"aws": "oai-gateway", "local": "oai-gateway", "istio": "oai-extproc", "envoy-gateway": "oai-extproc"}
"""The value files of the chart, each named as the overlay that it equals, and the release that each is for."""

NAMESPACE = "oai-gateway"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the users of these fixtures: they need Helm, and belong to `make test-helm`."""
    for item in items:
        here = Path(__file__).parent in item.path.parents
        if here and {"helm", "template", "cluster"} & {*getattr(item, "fixturenames", ())}:
            item.add_marker("helm")


Helm = Callable[..., "subprocess.CompletedProcess[str]"]
Template = Callable[..., Objects]


@functools.cache
def run_helm(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run Helm without a cluster."""
    program = os.environ.get("HELM", "helm")
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="session")
def helm() -> Helm:
    """Run Helm without a cluster, with the chart behind the command: `helm("lint", "--strict")`."""
    return lambda command, *arguments: run_helm(command, *arguments)


@pytest.fixture(scope="session")
def template() -> Template:
    """The objects of the chart with an example's values, or with its defaults, and with more of Helm's options."""

    def render(example: str | None = None, *options: str, release: str | None = None) -> Objects:
        values = [f"--values={CHART / 'examples' / f'{example}.yaml'}"] if example else []
        name = release or EXAMPLES.get(example or "", "oai-gateway")
        done = run_helm("template", name, str(CHART), "--namespace", NAMESPACE, *values, *options)
        assert done.returncode == 0, done.stderr
        return Objects(each for each in yaml.safe_load_all(done.stdout) if each)

    return render
