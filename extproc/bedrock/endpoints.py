"""The endpoints of Bedrock in one region: the runtime (`bedrock-runtime`) and the control plane (`bedrock`).

Plain data; `extproc.aws.sdk.endpoints` resolves them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Scheme = Literal["http", "https"]

DEFAULT_PORTS: dict[Scheme, int] = {"http": 80, "https": 443}


class EndpointError(Exception):
    """AWS's settings name no usable endpoint or region; the message names the remedy."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint of one service. `host` is a name or an IP address, an IPv6 one without its brackets."""

    scheme: Scheme
    host: str
    port: int

    @property
    def authority(self) -> str:
        """Return the Host header: the port is left out when it is the scheme's default."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Both endpoints of Bedrock, and the region that signatures name.

    `elsewhere` are the runtime endpoints of the other regions that organisations may name.
    """

    region: str
    runtime: Endpoint
    control: Endpoint
    elsewhere: Mapping[str, Endpoint] = field(default_factory=dict)
