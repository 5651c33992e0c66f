"""What is around a mesh's Envoy, in its controller's network: a worker, and a local Bedrock that has AWS's names.

Names and ports are the real ones. The worker has the command line and the environment of its pod, with the files where
they are here, and AWS's names, which are 127.0.0.1 there, lead to a server with a certificate for them.
"""

import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from tests.clusters.__main__ import BEDROCK, SCRIPTS, WORK
from tests.conftest import TOKENS
from tests.deploy.conftest import Objects
from tests.deploy.programs import running
from tests.deploy.through_a_mesh import ready, worker_command
from tests.envoy.gateway.conftest import OwnBedrock, bedrock, eventually  # noqa: F401
from tests.envoy.gateway.test_tls import Front

HOSTS = {"istio": "oai.example.com:8080", "envoy-gateway": "oai.example.com"}
"""Where callers come in. Istio's gateway listens on its Service's target port, which istioctl's chart has as 8080."""

HEALTH_SECONDS = 90.0
"""Envoy asks for the health of a cluster without traffic once in 60 s, and Envoy Gateway has no setting for that. The
worker starts after Envoy here; in a cluster a pod has no name before it is ready."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Said by `python -m tests.clusters`."""
    parser.addoption("--mesh", choices=SCRIPTS, help="whose controller runs in this network")


@dataclass(frozen=True)
class Attached:
    """What the client tests know of a gateway."""

    url: str
    local_url: str
    tokens: dict[str, str]


@pytest.fixture(scope="session")
def mesh(pytestconfig: pytest.Config) -> str:
    """The mesh's name."""
    return str(pytestconfig.getoption("--mesh"))


@pytest.fixture(scope="session")
def objects(mesh: str) -> Objects:
    """The objects that the controller was given."""
    return Objects(yaml.safe_load_all((WORK / mesh / "objects.yaml").read_text()))


@pytest.fixture(scope="session")
def amazon(mesh: str, bedrock: OwnBedrock) -> Iterator[None]:  # noqa: F811
    """The local Bedrock under AWS's names, on their port."""
    folder = WORK / mesh / "authority"
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / f"{BEDROCK[0]}.pem", folder / f"{BEDROCK[0]}-key.pem")
    front = Front(context, bedrock.port, 443)
    yield
    front.close()


@pytest.fixture(scope="session")
def gateway(
    mesh: str,
    objects: Objects,
    amazon: None,
    bedrock: OwnBedrock,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
    eventually: Any,  # noqa: F811
) -> Iterator[Attached]:
    """The mesh's gateway, once the worker is asked."""
    folder = tmp_path_factory.mktemp(mesh)
    (container,) = objects.one("Deployment")["spec"]["template"]["spec"]["containers"]
    environment = {each["name"]: each["value"] for each in container["env"]}
    environment["AWS_CA_BUNDLE"] = str(WORK / mesh / "authority" / "ca.pem")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        environment[name] = bedrock.environment[name]
    command = worker_command(container, folder, WORK / mesh / "certificates")
    url = f"http://{HOSTS[mesh]}/oai/v1"
    with ExitStack() as stack:
        program = stack.enter_context(running(command, folder / "worker.log", environment))
        program.wait_for("serving on ")
        eventually(lambda: ready(url), "the worker is not asked", HEALTH_SECONDS)
        yield Attached(url, bedrock.url, dict(TOKENS))
        assert "Traceback" not in program.said()
