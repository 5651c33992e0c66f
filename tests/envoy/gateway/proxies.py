"""A real proxy: Debian's tinyproxy, which `make` unpacks."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

USER, PASSWORD = "gate-way", "pass.word-of-the-proxy"
URL_OF_USER = "gate%2Dway:pass%2Eword%2Dof%2Dthe%2Dproxy"
"""The same as a URL may have them. tinyproxy's configuration takes no characters for which a URL needs that."""

_UNPACKED = Path(tempfile.gettempdir()) / "engine" / "tinyproxy" / "usr" / "bin" / "tinyproxy"
_STARTING_SECONDS = 30.0


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class TinyProxy:
    """A tinyproxy that connects to `targets`, ports of this machine, and to nothing else (403)."""

    def __init__(self, folder: Path, *targets: int, password: bool = False) -> None:
        program = shutil.which("tinyproxy") or (str(_UNPACKED) if _UNPACKED.is_file() else "")
        if not program:
            pytest.skip("there is no tinyproxy, which `make test-programs` unpacks on Debian")
        folder.mkdir(parents=True, exist_ok=True)
        self.port, self._log = free_port(), folder / "tinyproxy.log"
        lines = [f"Port {self.port}", "Listen 127.0.0.1", "Timeout 60", "MaxClients 100", "Allow 127.0.0.1"]
        lines += [f'LogFile "{self._log}"', "LogLevel Info", *(f"ConnectPort {port}" for port in targets or [1])]
        lines += [f"BasicAuth {USER} {PASSWORD}"] if password else []
        (folder / "tinyproxy.conf").write_text("\n".join(lines) + "\n")
        command = [program, "-d", "-c", str(folder / "tinyproxy.conf")]
        environment = {"PATH": os.environ["PATH"]}
        self._process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._wait()

    @property
    def url(self) -> str:
        """Its URL without a user."""
        return f"http://127.0.0.1:{self.port}"

    def connects(self) -> list[str]:
        """Return what it was asked to CONNECT to, so far."""
        return re.findall(r"CONNECT (\S+) HTTP", self._log.read_text())

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    def _wait(self) -> None:
        end = time.monotonic() + _STARTING_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except ConnectionRefusedError:
                assert self._process.poll() is None, "tinyproxy has ended"
                assert time.monotonic() < end, "tinyproxy does not listen"
                time.sleep(0.02)
            else:
                return
