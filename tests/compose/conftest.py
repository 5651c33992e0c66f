"""The images and the stack, on the Docker engine at DOCKER_HOST or at the default socket.

`images` is `make image`, without BuildKit. `stack` is docker-compose.yml with the tokens of the other tests, brought up
by testcontainers, and shared: a test that breaks it restores it. `start_stack` brings up others, by any of the two
commands, each as a project of its own with ports of its own.
"""

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml
from docker.errors import DockerException
from docker.models.containers import Container
from openai import OpenAI
from testcontainers.compose import DockerCompose

from tests.containers import Containers
from tests.scripts import load

ROOT = Path(__file__).parents[2]
LOCAL_PORT = str(Path(__file__).parent / "local-port.yml")

DEADLINE = 120.0
"""Seconds after which what was waited for is not going to happen."""

DEMO_TOKEN = "qc_docker-compose-demo-for-this-machine-only-0"
CLASSIC = {"DOCKER_BUILDKIT": "0"}
"""The builder for everything, so that `docker compose up` finds the layers of `make image` in the cache."""

HELLO: Any = [{"role": "user", "content": "Hello!"}]
NOVA = "amazon.nova-micro-v1:0"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests here: they need an engine."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("compose")


def run(*command: str, env: Mapping[str, str] | None = None, check: bool = True) -> "subprocess.CompletedProcess[str]":
    """Run a command in the project's folder."""
    theirs = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "OPENAI_", "OAI_"))}
    environment = {**theirs, **CLASSIC, **(env or {})}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@dataclass(frozen=True, eq=False)
class Stack:
    """A project that runs: its containers by service, and its address."""

    engine: docker.DockerClient
    project: str
    token: str

    def all(self) -> list[Container]:
        """Every container of the project, also those that ended."""
        listed: list[Container] = self.engine.containers.list(
            all=True, filters={"label": f"com.docker.compose.project={self.project}"}
        )
        return listed

    def services(self) -> set[str]:
        """Return the services that have a container."""
        return {each.labels["com.docker.compose.service"] for each in self.all()}

    def container(self, service: str) -> Container:
        """The service's one container, as it is now."""
        [container] = [each for each in self.all() if each.labels["com.docker.compose.service"] == service]
        return container

    def health(self, service: str) -> str:
        """Docker's word for it: starting, healthy, unhealthy."""
        return str(self.container(service).attrs["State"]["Health"]["Status"])

    def wait_for(self, health: str, *services: str) -> None:
        """Wait until Docker reports this state of them; by default of all."""
        wanted = dict.fromkeys(services or ("bedrock-local", "extproc", "envoy"), health)
        self.until(str(wanted), lambda: {each: self.health(each) for each in wanted} == wanted)

    def until(self, description: str, happened: Callable[[], bool]) -> None:
        """Wait for it."""
        end = time.monotonic() + DEADLINE
        while not happened():
            assert time.monotonic() < end, f"it does not happen: {description}"
            time.sleep(0.1)

    def shell(self, service: str, script: str) -> tuple[int, str]:
        """Exit code and output of a shell's line in the container."""
        code, output = self.container(service).exec_run(["sh", "-c", script])
        return code, output.decode()

    @property
    def url(self) -> str:
        """The API's."""
        return f"http://127.0.0.1:{self._port('envoy', '8080/tcp')}/oai/v1"

    @property
    def local_url(self) -> str:
        """The local Bedrock's, where LOCAL_PORT publishes it."""
        return f"http://127.0.0.1:{self._port('bedrock-local', '9000/tcp')}"

    @contextlib.contextmanager
    def client(self) -> Iterator[OpenAI]:
        """OpenAI's SDK, without retries."""
        with OpenAI(base_url=self.url, api_key=self.token, max_retries=0, timeout=60) as client:
            yield client

    def responds(self) -> bool:
        """Return whether a call is served."""
        with self.client() as client:
            client.chat.completions.create(model=NOVA, messages=HELLO)
        return True

    def _port(self, service: str, port: str) -> str:
        [binding] = self.container(service).attrs["NetworkSettings"]["Ports"][port]
        return str(binding["HostPort"])


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """The engine. Without one there is nothing to test, which is a failure: these tests were selected by name."""
    try:
        client = docker.from_env()
        client.ping()
    except DockerException as error:
        pytest.exit(f"no Docker engine answers ({error}): start one, or let DOCKER_HOST name one", returncode=1)
    yield client
    client.close()


@pytest.fixture(scope="session")
def all_containers(engine: docker.DockerClient) -> Containers:
    """The containers of this run: those of projects, whoever brings them up."""
    return Containers(engine, (f"oai-test-{os.getpid()}", f"oai-docs-{os.getpid()}"))


@pytest.fixture(autouse=True)
def containers(all_containers: Containers) -> Iterator[Containers]:
    """No container crashes in a test's time, and Docker starts none again."""
    yield all_containers
    all_containers.check()


@pytest.fixture(scope="session")
def images(engine: docker.DockerClient) -> str:
    """Both images, built by the classic builder, and the output of `make image`."""
    return run("make", "image").stdout


@pytest.fixture(scope="session")
def source() -> Any:
    """deploy/docker/source.py."""
    return load(ROOT / "deploy" / "docker" / "source.py")


@pytest.fixture
def checkout(source: Any, tmp_path: Path) -> Path:
    """A folder with what `docker compose up` needs of the project."""
    for name in (".dockerignore", "docker-compose.yml", "docker-compose.aws.yml", *source.FILES):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("deploy/compose", *source.FOLDERS):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    tmp_path.chmod(0o755)
    return tmp_path


@pytest.fixture(scope="session")
def stack(
    engine: docker.DockerClient,
    images: str,
    all_containers: Containers,
    gateway_config: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    """docker-compose.yml, with tokens for every test, and the local Bedrock's port published."""
    folder = tmp_path_factory.mktemp("etc-oai")
    (folder / "gateway.yaml").write_text(yaml.safe_dump(gateway_config))
    folder.chmod(0o755)
    project = f"oai-test-{os.getpid()}"
    settings = {
        "COMPOSE_PROJECT_NAME": project,
        "OAI_PORT": "",
        "OAI_HEALTH_PORT": "",
        "OAI_CONFIG": str(folder),
        **CLASSIC,
    }
    with pytest.MonkeyPatch.context() as environment:
        for name, value in settings.items():
            environment.setenv(name, value)
        compose = DockerCompose(ROOT, compose_file_name=["docker-compose.yml", LOCAL_PORT], wait=True)
        with compose:
            yield Stack(engine, project, f"qc_{'ci':_<43}")
            compose.stop(down=False)
            all_containers.check()


@pytest.fixture
def start_stack(engine: docker.DockerClient, images: str, containers: Containers) -> Iterator[Callable[..., Stack]]:
    """Bring up a project by `docker compose` or `docker-compose`, with these files and this environment."""
    with contextlib.ExitStack() as cleanup:

        def start(
            command: Sequence[str], *files: str, env: Mapping[str, str] | None = None, token: str = DEMO_TOKEN
        ) -> Stack:
            project = f"oai-test-{os.getpid()}-more"
            settings = {"COMPOSE_PROJECT_NAME": project, "OAI_PORT": "", "OAI_HEALTH_PORT": "", **(env or {})}
            compose = [*command, *(word for file in files for word in ("--file", file))]
            cleanup.callback(run, *compose, "down", "--volumes", "--timeout", "20", env=settings)
            cleanup.callback(containers.search)
            cleanup.callback(run, *compose, "stop", "--timeout", "20", env=settings)
            run(*compose, "up", "--detach", env=settings)
            started = Stack(engine, project, token)
            started.wait_for("healthy", "extproc", "envoy")
            return started

        yield start


@pytest.fixture(autouse=True)
def _logs_of_a_failure(request: pytest.FixtureRequest) -> Iterator[None]:
    """Show the logs of the containers of a failed test."""
    before = request.session.testsfailed
    yield
    used = [each for each in request.node.funcargs.values() if isinstance(each, Stack)]
    if request.session.testsfailed > before:
        for container in (each for stack in used for each in stack.all()):
            print(f"--- {container.name}\n{container.logs(tail=40).decode()}")


@pytest.fixture(scope="session")
def inspect(engine: docker.DockerClient, images: str) -> Callable[[str], dict[str, Any]]:
    """Return the metadata of an image."""

    def inspected(name: str) -> dict[str, Any]:
        attributes: dict[str, Any] = json.loads(run("docker", "image", "inspect", name).stdout)[0]
        return attributes

    return inspected
