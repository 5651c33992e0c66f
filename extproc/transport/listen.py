"""Where a transport listens: `unix:/path`, or `host:port` in plain text on the loopback and with TLS elsewhere.

Invariant: nothing is served in plain text to another machine. Envoy sends callers' keys over this connection.
"""

import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path

SOCKET_MODE = 0o660
"""Envoy may run as another user of the same group."""

MAX_SOCKET_PATH = 107
"""What fits `sun_path` of Linux with its final NUL."""


class ListenError(Exception):
    """The address cannot be listened on; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Tls:
    """The server's certificate chain and key, and the CAs whose client certificates are required (PEM)."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed address: `path` for a unix socket, else `host` and `port` (0: any free one)."""

    path: Path | None = None
    host: str = ""
    port: int = 0

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect."""
        if self.path is not None or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse(text: str) -> Address:
    """The address that `text` names; raises `ListenError`."""
    if text.startswith("unix:"):
        return _unix(text.removeprefix("unix:"))
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ListenError(f"{text!r} is no address; write unix:/path or HOST:PORT")
    return Address(host=host.removeprefix("[").removesuffix("]"), port=int(port))


def _unix(name: str) -> Address:
    path = Path(name)
    if not path.is_absolute():
        raise ListenError(f"unix:{name}: the path of a socket must be absolute")
    if len(str(path).encode()) > MAX_SOCKET_PATH:
        raise ListenError(f"unix:{name}: longer than {MAX_SOCKET_PATH} bytes; choose a shorter path")
    return Address(path=path)


def check(address: Address, tls: Tls | None) -> None:
    """Refuse plain text that could leave the machine; raises `ListenError`."""
    if tls is None and not address.loopback:
        raise ListenError(f"{address}: plain text leaves this machine; give a certificate and key, or listen on unix:")


def clear_stale(path: Path) -> None:
    """Remove the socket of a process that is gone; raises `ListenError` when it lives, or is no socket."""
    if not path.exists():
        return
    if not path.is_socket():
        raise ListenError(f"unix:{path}: exists and is no socket; remove it or choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if probe.connect_ex(str(path)) == 0:
            raise ListenError(f"unix:{path}: another process is listening there; stop it or choose another path")
    path.unlink(missing_ok=True)
