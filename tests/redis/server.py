"""A real Redis: Debian's, which `make` unpacks."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hiredis
import pytest

from tests.envoy.gateway.proxies import free_port

_ROOT = Path(tempfile.gettempdir()) / "engine" / "redis" / "usr"
_DEADLINE = 60.0


def program() -> str:
    """Return the path of redis-server."""
    found = shutil.which("redis-server") or shutil.which("redis-server", path=str(_ROOT / "bin"))
    if found is None:
        pytest.skip("there is no Redis, which `make test-programs` unpacks on Debian")
    return found


class Redis:
    """A Redis at a port of this machine, with its files in `folder`; further options are redis-server's."""

    def __init__(self, folder: Path, *options: str, port: int = 0, password: str = "") -> None:
        self.port = port or free_port()
        self.folder = folder
        self._password = password
        self._options = options
        folder.mkdir(parents=True, exist_ok=True)
        self.start()

    @property
    def url(self) -> str:
        """Return its URL."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, again if need be, and wait until it replies."""
        command = [program(), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        command += ["--appendonly", "yes", "--save", "", *self._options]
        libraries = str(_ROOT / "lib" / "x86_64-linux-gnu") if str(_ROOT) in command[0] else ""
        if libraries and not Path(libraries).exists():
            libraries = str(next((_ROOT / "lib").glob("*-linux-gnu")))
        environment = {"PATH": os.environ["PATH"], **({"LD_LIBRARY_PATH": libraries} if libraries else {})}
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        end = time.monotonic() + _DEADLINE
        while not self._replies():
            assert self.process.poll() is None, (self.folder / "redis.log").read_text()
            assert time.monotonic() < end, (self.folder / "redis.log").read_text()
            time.sleep(0.02)

    def send(self, *words: str) -> Any:
        """Return the reply to a command."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=_DEADLINE) as connection:
            reader = hiredis.Reader(encoding="utf-8")
            commands: Sequence[tuple[str, ...]] = (words,)
            if self._password:
                commands = (("AUTH", self._password), words)
            connection.sendall(b"".join(hiredis.pack_command(each) for each in commands))  # type: ignore[arg-type]
            replies: list[Any] = []
            while len(replies) < len(commands):
                data = connection.recv(65536)
                assert data, "the connection was closed"
                reader.feed(data)
                while (reply := reader.gets()) is not False:
                    replies.append(reply)
        if isinstance(replies[-1], Exception):
            raise replies[-1]
        return replies[-1]

    def stop(self) -> None:
        """Have it reply to nobody, with its connections open."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """End that."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill it; its files stay."""
        self.process.kill()
        self.process.wait()

    def _replies(self) -> bool:
        try:
            return bool(self.send("PING") == "PONG")
        except (OSError, AssertionError, hiredis.HiredisError):
            return False


class Switch:
    """A port that leads to a server, and then to another, as the name of a store does that fails over."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def to(self, target: int) -> None:
        """Close all connections, and lead the next ones elsewhere."""
        self._target = target
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def close(self) -> None:
        """End it."""
        self._listener.close()
        self.to(0)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    client.close()
                    continue
                self._open += [client, server]
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=_copy, args=pair, daemon=True).start()


def _copy(source: socket.socket, target: socket.socket, passes: threading.Event | None = None) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            if passes is not None:
                passes.wait()
            target.sendall(data)
    for each in (source, target):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


class Gate:
    """A port that leads to a server, and keeps what is sent for as long as a test wants."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._open: list[socket.socket] = []
        self.requests, self.replies = threading.Event(), threading.Event()
        """Whether these pass."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.open()
        threading.Thread(target=self._accept, daemon=True).start()

    def open(self) -> None:
        """Let all pass, also what was kept."""
        self.requests.set()
        self.replies.set()

    def cut(self) -> None:
        """Close all connections, on which what was kept is lost."""
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def close(self) -> None:
        """End it."""
        self._listener.close()
        self.cut()
        self.open()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._open += [client, server]
                for each in (client, server):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for pair in ((client, server, self.requests), (server, client, self.replies)):
                    threading.Thread(target=_copy, args=pair, daemon=True).start()
