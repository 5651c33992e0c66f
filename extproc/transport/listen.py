"""The address of a transport: `unix:/path`, or `host:port` in plain text on the loopback and with TLS elsewhere.

Invariant: nothing is served in plain text to another machine. Envoy sends callers' keys over this connection.

Decision: docs/decisions.md, D73.
"""

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from extproc.net import Address, parse_address

SOCKET_MODE = 0o660

MAX_SOCKET_PATH = 107
"""Longest path that fits `sun_path` of Linux with its final NUL, in bytes."""


NO_TLS = "the transport http2 has no TLS; set `transport` to grpcio or auto"


class ListenError(Exception):
    """An address that cannot be listened on; the message names the reason and the remedy."""


@dataclass(frozen=True, slots=True)
class Tls:
    """The server's certificate chain and key, and the CAs whose client certificates are required (PEM)."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None = None


def parse(text: str) -> Address:
    """Parse `unix:/path` or `host:port`; raises `ListenError`."""
    try:
        address = parse_address(text)
    except ValueError as error:
        raise ListenError(str(error)) from error
    if len(address.path.encode()) > MAX_SOCKET_PATH:
        raise ListenError(f"{address}: longer than {MAX_SOCKET_PATH} bytes; choose a shorter path")
    return address


def check(address: Address, tls: Tls | None) -> None:
    """Reject plain text that could leave the machine; raises `ListenError`."""
    if tls is None and not address.stays_here:
        raise ListenError(f"{address}: plain text leaves this machine; give a certificate and key, or listen on unix:")


def clear_stale(address: Address) -> None:
    """Remove the socket of a process that is gone.

    Raises `ListenError` if the process lives, if another kind of file is there, and if the folder is missing.
    """
    path = Path(address.path)
    if address.path and not path.parent.is_dir():
        raise ListenError(f"{address}: there is no folder {path.parent}; make it, or choose another path")
    if not address.path or not path.exists():
        return
    if not path.is_socket():
        raise ListenError(f"{address}: exists and is no socket; remove it or choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if probe.connect_ex(address.path) == 0:
            raise ListenError(f"{address}: another process is listening there; stop it or choose another path")
    path.unlink(missing_ok=True)


def removed(address: Address) -> bool:
    """Return whether the file of a socket is gone, with nothing in its place."""
    return bool(address.path) and not os.path.lexists(address.path)


def share(address: Address) -> None:
    """Let another user of the same group (Envoy's, in a pod) connect to the socket."""
    if address.path:
        Path(address.path).chmod(SOCKET_MODE)
