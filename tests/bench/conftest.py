"""The benchmark's load generator against servers that misbehave in known ways."""

import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bench import native

DEADLINE = 20.0


@pytest.fixture(scope="session", autouse=True)
def _compiler() -> None:
    if shutil.which("cc") is None:
        pytest.skip("the benchmark's programs are written in C, and there is no cc")


class CannedServer:
    """A server that returns the same bytes to every request, in these pieces, and then closes if so configured."""

    def __init__(self, pieces: list[bytes], close: bool) -> None:
        self._pieces = pieces
        self._close = close
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection, suppress(OSError):
            while connection.recv(65536):
                for piece in self._pieces:
                    connection.sendall(piece)
                if self._close:
                    return


@pytest.fixture
def serve() -> Iterator[Callable[..., int]]:
    """Start such servers, and return their ports."""
    servers: list[CannedServer] = []

    def start(*pieces: bytes, close: bool = False) -> int:
        servers.append(CannedServer(list(pieces), close))
        return servers[-1].port

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Run the load generator for a moment, and return its last line."""

    def run(
        port: int, *, expected: int = 1, end: str = "", request: bytes = b"GET / HTTP/1.1\r\n\r\n"
    ) -> dict[str, Any]:
        (tmp_path / "request").write_bytes(request)
        command = [native.program("load"), port, tmp_path / "request", 2, 0, 100, 0, "tick", "tock", end, expected]
        done = subprocess.run([str(each) for each in command], capture_output=True, timeout=DEADLINE, check=True)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert [line["event"] for line in lines] == ["begin", "end", "done"]
        last: dict[str, Any] = lines[-1]
        return last

    return run
