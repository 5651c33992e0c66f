"""Bedrock's addresses: the runtime (`bedrock-runtime`) and the control plane (`bedrock`) of one region.

Plain data; `extproc.aws.sdk.endpoints` finds them.
"""

from dataclasses import dataclass
from typing import Literal

Scheme = Literal["http", "https"]

DEFAULT_PORTS: dict[Scheme, int] = {"http": 80, "https": 443}


class EndpointError(Exception):
    """AWS's settings do not say where Bedrock is, or say it in a way that cannot work; the message has the remedy."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One service's address. `host` is a name or an IP address, an IPv6 one without its brackets."""

    scheme: Scheme
    host: str
    port: int

    @property
    def authority(self) -> str:
        """What the Host header carries: the port is left out when it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Both endpoints of Bedrock, and the region whose name signatures carry."""

    region: str
    runtime: Endpoint
    control: Endpoint
