"""docs/docker.md, as its reader uses it: every block is run, from top to bottom, in one folder."""

import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.compose.conftest import run as project
from tests.containers import Containers

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "docs" / "docker.md").read_text(), re.DOTALL | re.MULTILINE)

SHOWN = (
    ("docker compose up --detach --wait\n", ()),
    ("export OPENAI_BASE_URL", ('"object":"list"', r"You said: \"Hello!\"")),
    ("docker compose ps --all", ("(healthy)", "Exited (0)", "serving", "is fine", "Converse")),
    ("docker compose down", ()),
    ("mkdir -p my-gateway", ("qc_", "Added the token 'ci'", "is fine", '"object":"list"')),
    ("docker compose logs envoy-config", ("serving on",)),
    ("export AWS_REGION", ()),
    ("make image", ("MB above its base",)),
    ("make sbom", ("valid CycloneDX 1.6",)),
)
"""The first words of each block, and the output that it must show."""

Shell = Callable[[str], str]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def shell(images: str, containers: Containers, checkout: Path) -> Iterator[Shell]:
    """A terminal in a folder with what the blocks need of the project. Its AWS is a port where nothing listens."""
    port = str(free_port())
    theirs = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "OPENAI_", "OAI_"))}
    nowhere = {
        "AWS_ENDPOINT_URL_BEDROCK": "http://127.0.0.1:1",
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "http://127.0.0.1:1",
    }
    settings = {
        "COMPOSE_PROJECT_NAME": f"oai-docs-{os.getpid()}",
        "OAI_PORT": port,
        "OAI_HEALTH_PORT": "",
        "DOCKER_BUILDKIT": "0",
    }
    environment = {**theirs, **nowhere, **settings}

    def run(code: str) -> str:
        if code == "make image\n":
            return images
        if code == "make sbom\n":
            return project("make", "sbom").stdout
        output = sh(code.replace(":8080/", f":{port}/"))
        containers.search()
        return output

    def sh(code: str) -> str:
        if "docker compose down" in code:
            sh("docker compose stop --timeout 20")
            containers.search()
        command = ["sh", "-euc", code]
        done = subprocess.run(
            command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, code + done.stdout + done.stderr
        return done.stdout + done.stderr

    yield run
    sh("docker compose down --volumes --remove-orphans --timeout 20")


def test_every_block_is_run(shell: Shell) -> None:
    assert len(BLOCKS) == len(SHOWN)
    for code, (begins, words) in zip(BLOCKS, SHOWN, strict=True):
        assert code.startswith(begins)
        output = shell(code)
        for word in words:
            assert word in output, f"{code}\n{output}"


def test_the_command_of_each_image_is_the_documented_one(images: str) -> None:
    """`docker build`, as the text has it, is what `make image` ran."""
    builds = re.findall(
        r"`docker build (--target [\w-]+) --tag ([\w-]+) \.`", (ROOT / "docs" / "docker.md").read_text()
    )
    assert sorted(tag for _, tag in builds) == ["oai-extproc", "oai-extproc-bedrock-local"]
    for target, tag in builds:
        assert re.search(rf"^docker build .*{target} --tag {tag}:latest \.$", images, re.MULTILINE)
