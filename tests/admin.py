"""Envoy's admin interface on its unix socket."""

import http.client
import socket
from pathlib import Path

DEADLINE = 60.0


class AdminConnection(http.client.HTTPConnection):
    """HTTP over Envoy's admin socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("envoy", timeout=DEADLINE)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(DEADLINE)
        self.sock.connect(self._path)


def admin(path: Path, target: str, method: str = "GET") -> bytes:
    """Return the body of a response."""
    connection = AdminConnection(path)
    try:
        connection.request(method, target)
        return connection.getresponse().read()
    finally:
        connection.close()
