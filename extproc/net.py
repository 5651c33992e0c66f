"""Addresses that something listens on, and the certificate authorities that vouch for Bedrock.

The CA bundle is the file that Envoy and the workers trust: AWS's own setting first, as in boto3; then the operating
system's; then the one that comes with botocore. It is never empty: without a file Envoy would trust any certificate.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

SYSTEM_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine, Arch
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Fedora, RHEL, Amazon Linux
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # macOS, BSD
)


def ca_bundle(environ: Mapping[str, str], system: Iterable[str] = SYSTEM_FILES) -> Path:
    """Return the CA bundle: the path in `AWS_CA_BUNDLE` or `REQUESTS_CA_BUNDLE`, as in boto3, or an existing file."""
    named = environ.get("AWS_CA_BUNDLE") or environ.get("REQUESTS_CA_BUNDLE")
    if named:
        return Path(named)
    for name in system:
        if Path(name).is_file():
            return Path(name)
    return Path(str(files("botocore") / "cacert.pem"))


@dataclass(frozen=True, slots=True)
class Address:
    """An address to listen on or connect to: a unix socket (`path`), or `host` and `port`."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def stays_here(self) -> bool:
        """Return whether traffic to it cannot leave this machine."""
        if self.path or self.host == "localhost":
            return True
        return is_ip(self.host) and ipaddress.ip_address(self.host).is_loopback


_TCP = re.compile(r"^(?:\[(?P<v6>[^\]]+)\]|(?P<host>[^\[\]:]+)):(?P<port>\d{1,5})$")


def parse_address(text: str) -> Address:
    """Parse `unix:/path`, `127.0.0.1:8080`, `[::1]:8080` or `name:8080`; raises `ValueError` with an example."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if path.startswith("//"):  # gRPC's other spelling, unix:///path
            path = path.removeprefix("//")
        if not path.startswith("/"):
            raise ValueError(f"{text!r} is not a socket: write unix: and an absolute path, as in unix:/run/oai/w0.sock")
        return Address(path=path)
    match = _TCP.match(text)
    if match is None or int(match["port"]) > 65535:
        socket = text if text.startswith("/") else "/path"
        raise ValueError(
            f"{text!r} is not an address: write HOST:PORT, as in 127.0.0.1:8080 or [::1]:8080, or unix:{socket}"
        )
    return Address(host=match["v6"] or match["host"], port=int(match["port"]))


def is_ip(host: str) -> bool:
    """Return whether `host` is an IP address rather than a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
