"""After `git pull`, neither command runs the images of yesterday's source in silence."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.compose.conftest import CLASSIC
from tests.containers import Containers

Compose = Callable[..., "subprocess.CompletedProcess[str]"]

PROJECT = f"oai-test-{os.getpid()}-pulled"
SERVICES = ("envoy-config", "extproc", "bedrock-local")


@pytest.fixture
def compose(images: str, checkout: Path, containers: Containers) -> Iterator[Compose]:
    """Either command, in a checkout."""
    settings = {**CLASSIC, "COMPOSE_PROJECT_NAME": PROJECT, "OAI_PORT": "", "OAI_REVISION": "yesterday"}

    def run(command: str, *words: str) -> "subprocess.CompletedProcess[str]":
        if shutil.which(command.split()[0]) is None:
            pytest.skip(f"there is no {command}")
        whole = [*command.split(), *words]
        environment = {**os.environ, **settings}
        return subprocess.run(whole, cwd=checkout, env=environment, capture_output=True, text=True, check=False)

    yield run
    with contextlib.suppress(OSError):
        run("docker compose", "stop", "--timeout", "20")
    containers.search()
    run("docker compose", "down", "--volumes", "--timeout", "20")


def pull(checkout: Path) -> None:
    """Change the source, in a file that the build reads last: the packages need not be compiled again."""
    with (checkout / "deploy/docker/sbom.py").open("a") as file:
        file.write("# changed\n")


def sources(engine: docker.DockerClient) -> set[str]:
    """The digests that the images of the project's containers contain."""
    listed = engine.containers.list(all=True, filters={"label": f"com.docker.compose.project={PROJECT}"})
    used = {each.image.id for each in listed if each.labels["com.docker.compose.service"] in SERVICES}
    record = "/opt/oai/share/oai-extproc/source"
    read = [engine.containers.run(each, entrypoint=["cat"], command=[record], remove=True) for each in used]
    return {each.decode().strip() for each in read}


def test_docker_compose_up_builds_again(
    compose: Compose, checkout: Path, source: Any, engine: docker.DockerClient
) -> None:
    started = compose("docker compose", "up", "--detach")
    assert started.returncode == 0, started.stderr
    yesterday = source.of_folder(checkout)
    assert sources(engine) == {yesterday}
    label = "org.opencontainers.image.revision"
    assert engine.images.get("oai-extproc:compose").labels[label] == "yesterday"

    pull(checkout)
    again = compose("docker compose", "up", "--detach")
    assert again.returncode == 0, again.stderr
    assert sources(engine) == {source.of_folder(checkout)} != {yesterday}


def test_docker_compose_1_29_does_not_start(
    compose: Compose, checkout: Path, source: Any, engine: docker.DockerClient
) -> None:
    first = compose("docker-compose", "up", "--detach", "--build")
    assert first.returncode == 0, first.stderr
    assert compose("docker-compose", "stop", "--timeout", "20").returncode == 0

    pull(checkout)
    stale = compose("docker-compose", "up", "--detach")
    assert stale.returncode != 0
    output = compose("docker-compose", "logs", "envoy-config").stdout
    assert "the image was built from another source" in output
    assert "docker-compose build" in output

    built = compose("docker-compose", "up", "--detach", "--build")
    assert built.returncode == 0, built.stderr
    assert sources(engine) == {source.of_folder(checkout)}
