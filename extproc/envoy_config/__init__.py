"""Settings -> Envoy's bootstrap: the whole of what Envoy is told, as one file; or the fragments for somebody else's.

The invariant: whatever `EnvoyPlan` is given, the rendering passes `envoy --mode validate` (1.40), and says the same for
the same plan: nothing here reads the environment, a clock or a socket (`extproc.net.ca_bundle` looks for
a CA file, and is asked by the command line only).

It is built from envoy-data-plane's typed messages, so that a misspelt field is a type error rather than a start
that fails. They take most of a second to import: `render` loads them when it is called, and nobody else does.
"""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from extproc.bedrock.endpoints import Endpoint
from extproc.config import Settings
from extproc.net import Address

BEDROCK = "bedrock"
"""The cluster of Bedrock's runtime endpoint."""

UNPROCESSED = "unprocessed"
"""The cluster of the API's own route, without an endpoint: a request that no worker has signed goes there, and ends."""

PROCESSOR = "processor"
"""The cluster of the ext_proc workers."""

STAT_PREFIX = "oai"
"""Envoy's statistics of the listener for callers are named `http.oai.…`; nothing else is counted there."""

DEFAULT_FILES = 65_536
"""Open files that an Envoy must be allowed whose machine is not known."""

Fragment = Literal["filter", "cluster", "route", "reply"]
"""What an Envoy that runs already needs of ours: HTTP filters, clusters, routes, and mappers of local replies."""

SecretKind = Literal["ca", "certificate"]
"""A part of Envoy's TLS towards workers: the authority that it trusts, or the certificate that it shows."""


@dataclass(frozen=True, slots=True)
class ProcessorTls:
    """How Envoy and workers on TCP prove themselves to each other. All files are where Envoy runs."""

    ca: str
    """Who may vouch for the workers."""
    certificate: str = ""
    key: str = ""
    """What Envoy shows to workers that ask for a certificate; both or neither."""
    name: str = ""
    """The name that a worker's certificate must bear; without one, the host that it is reached at."""
    secrets: str = ""
    """Folder of what `render_secret` prints; with it Envoy reads the files above again when they are replaced."""

    def secret_file(self, kind: SecretKind) -> str:
        """Return the path of the file for this secret."""
        return str(PurePosixPath(self.secrets) / f"{secret_name(kind)}.yaml")


@dataclass(frozen=True, slots=True)
class EnvoyPlan:
    """What one Envoy is for. `admin` is a socket of Envoy's own, without which it has no admin interface."""

    listen: Address
    processors: tuple[Address, ...]
    bedrock: Endpoint
    settings: Settings
    ca_file: str = "/etc/ssl/certs/ca-certificates.crt"
    """The authorities that may vouch for Bedrock; of no account when the endpoint is plain http."""
    admin: Address | None = None
    access_log: bool = False
    health: Address | None = None
    """Where health, metrics and the end of a drain are asked for, away from callers."""
    processor_tls: ProcessorTls | None = None
    memory: int | None = None
    """Bytes of memory that Envoy may use; without it Envoy does not look at what it uses."""
    files: int = DEFAULT_FILES
    """Files that Envoy may have open, from which the limit of callers' connections is derived."""


def drain_socket(admin: Address) -> Address | None:
    """Where `oai-extproc drain --announce` is expected: beside the admin socket; None where that is no socket."""
    return Address(path=str(PurePosixPath(admin.path).with_name("drain.sock"))) if admin.path else None


def render(plan: EnvoyPlan, *, only: Fragment | None = None, as_json: bool = False) -> str:
    """The bootstrap, or a list of `only` one kind of its parts, as YAML for people or as JSON.

    `envoy -c` reads either (by the file's ending).
    """
    from extproc.envoy_config import bootstrap  # it loads envoy-data-plane

    return bootstrap.to_json(plan, only) if as_json else bootstrap.to_yaml(plan, only)


def secret_name(kind: SecretKind) -> str:
    """Return the name by which Envoy knows this secret."""
    return f"processor-{kind}"


def render_secret(tls: ProcessorTls, kind: SecretKind) -> str:
    """Return the file of `ProcessorTls.secrets` for one secret, as YAML; Envoy's own format for SDS from files."""
    from extproc.envoy_config import bootstrap  # it loads envoy-data-plane

    return bootstrap.secret_to_yaml(tls, kind)
