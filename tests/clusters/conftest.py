"""The surroundings of a mesh's Envoy in its controller's network: a worker, and a local Bedrock that has AWS's names.

Names and ports are the real ones. The worker has the command line and the environment of its pod, with the files where
they are here, and AWS's names, which are 127.0.0.1 there, lead to a server with a certificate for them.
"""

import asyncio
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.clusters.__main__ import BEDROCK, SCRIPTS, STRANGER, WORK
from tests.clusters.controller import Controller
from tests.clusters.through_a_mesh import ready, worker_command
from tests.conftest import TOKENS
from tests.deploy.programs import running
from tests.envoy.gateway.conftest import OwnBedrock, bedrock, eventually  # noqa: F401
from tests.envoy.gateway.test_tls import Front
from tests.programs import Program

HOSTS = {"istio": "oai.example.com:8080", "envoy-gateway": "oai.example.com"}
"""Ports for callers. Istio's gateway listens on its Service's target port, which istioctl's chart has as 8080."""

HEALTH_SECONDS = 90.0
"""Envoy checks the health of a cluster without traffic once in 60 s, and Envoy Gateway has no setting for that. The
worker starts after Envoy here; in a cluster a pod has no name before it is ready."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that `python -m tests.clusters` passes."""
    parser.addoption("--mesh", choices=SCRIPTS, help="whose controller runs in this network")


@dataclass(frozen=True)
class Attached:
    """A gateway as the client tests see it."""

    url: str
    local_url: str
    tokens: dict[str, str]
    prompts: None = None
    """No file: this local Bedrock keeps what it received in memory."""


class Amazon(Front):
    """The local Bedrock under AWS's names. `received` is what came through the gateway, in pieces."""

    HOST = "0.0.0.0"
    """Of every address: Envoy's resolver gives all names of one address in /etc/hosts each other's addresses, too."""

    OWN = (b"GET /foundation-models", b"GET /inference-profiles")
    """The worker's own requests, which do not go through a gateway."""

    def __init__(self, folder: Path, target: int) -> None:
        self.received: list[bytes] = []
        self._folder = folder
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._show(BEDROCK[0])
        super().__init__(self._context, target, 443)

    @contextmanager
    def impostor(self) -> Iterator[None]:
        """Show another certificate of the same authority meanwhile, on new connections; there are no others."""
        self._show(STRANGER)
        self._hang_up_all()
        self.received.clear()
        yield
        self._show(BEDROCK[0])

    def _show(self, name: str) -> None:
        self._context.load_cert_chain(self._folder / f"{name}.pem", self._folder / f"{name}-key.pem")

    def _hang_up_all(self) -> None:
        asyncio.run_coroutine_threadsafe(self._hang_up(), self._loop).result()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if writer.get_extra_info("peername")[1] == self._target and not data.startswith(self.OWN):
                    self.received.append(data)
                writer.write(data)
                await writer.drain()
        writer.close()


@pytest.fixture(scope="session")
def mesh(pytestconfig: pytest.Config) -> str:
    """The mesh's name."""
    return str(pytestconfig.getoption("--mesh"))


@pytest.fixture(scope="session")
def controller(mesh: str) -> Controller:
    """The mesh's controller, with the overlay applied."""
    return Controller(mesh, WORK / mesh)


@pytest.fixture(scope="session")
def amazon(mesh: str, bedrock: OwnBedrock) -> Iterator[Amazon]:  # noqa: F811
    """The local Bedrock under AWS's names, on their port."""
    front = Amazon(WORK / mesh / "authority", bedrock.port)
    yield front
    front.close()


@pytest.fixture(scope="session")
def worker(
    mesh: str,
    controller: Controller,
    amazon: Amazon,
    bedrock: OwnBedrock,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], AbstractContextManager[Program]]:
    """Starts a worker on an address, with its pod's command line and environment."""
    (container,) = controller.objects.one("Deployment")["spec"]["template"]["spec"]["containers"]
    environment = {each["name"]: each["value"] for each in container["env"]}
    environment["AWS_CA_BUNDLE"] = str(WORK / mesh / "authority" / "ca.pem")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        environment[name] = bedrock.environment[name]

    @contextmanager
    def start(address: str) -> Iterator[Program]:
        folder = tmp_path_factory.mktemp(mesh)
        command = worker_command(container, folder, WORK / mesh / "certificates", f"{address}:9443")
        with running(command, folder / "worker.log", environment) as program:
            program.wait_for("serving on ")
            yield program
            assert "Traceback" not in program.output()

    return start


@pytest.fixture(scope="session")
def gateway(mesh: str, worker: Any, bedrock: OwnBedrock, eventually: Any) -> Iterator[Attached]:  # noqa: F811
    """The mesh's gateway, once it forwards to the worker."""
    url = f"http://{HOSTS[mesh]}/oai/v1"
    with worker("127.0.0.1"):
        eventually(lambda: ready(url), "the worker is not asked", HEALTH_SECONDS)
        yield Attached(url, bedrock.url, dict(TOKENS))
