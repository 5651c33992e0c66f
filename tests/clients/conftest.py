"""Real SDKs, a real Envoy, the real service, and `bedrock_local` behind it: nothing in between is mocked.

`gateway` and `start_gateway` (tests/conftest.py) are processes. What is here: the SDKs' clients, a look at what arrived
at the local Bedrock, a Node that is new enough for its clients, and a Python for those that cannot be installed
beside us.

Decision: docs/decisions.md, D159.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI

from tests.conftest import Gateway, Starter
from tests.local_bedrock import LocalBedrock
from tests.npm import install

HERE = Path(__file__).parent
NODE = HERE / "node"
VENVS = HERE.parents[1] / ".venv-clients"
UV = str(Path(sys.executable).with_name("uv"))
"""Installs as pip does, in a fifth of the time: it downloads side by side, and compiles nothing."""

OTHERS = ("OPENAI_", "LANGSMITH_", "LANGCHAIN_", "LITELLM_")
"""Prefixes of the variables by which clients find an account that is not ours, or send their traces somewhere."""

DEADLINE = 20.0
"""Seconds after which what was waited for is not going to happen."""


@pytest.fixture(scope="session", autouse=True)
def _without_the_settings_of_whoever_runs_this() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith(OTHERS)]:
            environment.delenv(name)
        yield


@pytest.fixture
def local(gateway: Any) -> Iterator[LocalBedrock]:
    """The local Bedrock, with no call remembered, and none held when the test is over."""
    local = LocalBedrock(gateway.local_url, gateway.prompts)
    local.forget()
    yield local
    local.release()


@pytest.fixture(scope="session")
def token(gateway: Any) -> str:
    """A token of one organisation that may call every model."""
    key: str = gateway.tokens["ci"]
    return key


@pytest.fixture(scope="session")
def client(gateway: Any, token: str) -> Iterator[OpenAI]:
    """OpenAI's SDK as an application has it, but without retries: a test wants to see the first response."""
    with OpenAI(base_url=gateway.url, api_key=token, max_retries=0, timeout=DEADLINE) as client:
        yield client


@pytest.fixture
async def async_client(gateway: Any, token: str) -> AsyncIterator[AsyncOpenAI]:
    """The same, asynchronous."""
    async with AsyncOpenAI(base_url=gateway.url, api_key=token, max_retries=0, timeout=DEADLINE) as client:
        yield client


@pytest.fixture
def weather() -> dict[str, Any]:
    """A tool."""
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    return {"type": "function", "function": {"name": "get_weather", "parameters": parameters}}


@pytest.fixture
def clock() -> dict[str, Any]:
    """A tool that takes nothing."""
    return {"type": "function", "function": {"name": "get_time", "description": "The time."}}


# Responses, which is off by default


@pytest.fixture(scope="session")
def responses_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that serves /responses."""
    starter = Starter(tmp_path_factory.mktemp("responses"))
    yield starter({"endpoints": {"responses": True}})
    starter.end()


@pytest.fixture
def responses_local(responses_gateway: Gateway) -> LocalBedrock:
    """The local Bedrock behind it, with no call remembered."""
    assert responses_gateway.local_url is not None
    local = LocalBedrock(responses_gateway.local_url)
    local.forget()
    return local


# Node

Node = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def node(gateway: Any) -> Node:
    """Runs Node with these arguments in tests/clients/node, as a program of someone who has the token."""
    return _node(gateway)


@pytest.fixture(scope="session")
def responses_node(responses_gateway: Gateway) -> Node:
    """The same for the gateway that serves /responses."""
    return _node(responses_gateway)


def _node(gateway: Any) -> Node:
    program = install(NODE) / "node_modules" / ".bin" / "node"

    def run(*arguments: str, environment: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
        variables = {
            "OPENAI_BASE_URL": gateway.url,
            "OPENAI_API_KEY": gateway.tokens["ci"],
            "LOCAL_BEDROCK_URL": gateway.local_url,
        }
        if gateway.prompts is not None:
            variables["PROMPTS"] = str(gateway.prompts)
        return subprocess.run(
            [str(program), *arguments],
            cwd=NODE,
            env={**os.environ, **variables, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def packages_of_node() -> Callable[[str], list[Path]]:
    """Gives the folders of programs of a folder of packages, tests/clients/<name>, the new enough Node's first."""

    def folders(name: str) -> list[Path]:
        modules = install(HERE / name) / "node_modules"
        binaries = sorted(modules.glob("*-*-*/bin")) + sorted(modules.glob("@*/*-*-*/bin"))
        return [install(NODE) / "node_modules" / ".bin", modules / ".bin", *binaries]

    return folders


# Pythons for clients whose requirements contradict ours


@pytest.fixture(scope="session")
def python_with() -> Callable[[str], Path]:
    """Gives the Python of a venv that holds tests/clients/requirements/<name>.txt and nothing else."""
    return _python_with


def _python_with(name: str) -> Path:
    """Make the venv, unless the one that is there came from these very requirements and this very Python."""
    requirements = HERE / "requirements" / f"{name}.txt"
    venv = VENVS / name
    python, stamp = venv / "bin" / "python", venv / ".sha256"
    with requirements.open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a single installation at a time, also of two test runs
        wanted = hashlib.sha256(sys.version.encode() + lock.read()).hexdigest()
        if not stamp.exists() or stamp.read_text() != wanted:
            _run([sys.executable, "-m", "venv", "--clear", str(venv)])
            _run([UV, "pip", "install", "--quiet", "--no-deps", "--python", str(python), "-r", str(requirements)])
            stamp.write_text(wanted)
    return python


def _run(command: list[str], folder: Path | None = None) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
