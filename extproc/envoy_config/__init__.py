"""Settings -> Envoy's bootstrap as one file, or its fragments for an Envoy that exists already.

The invariant: whatever `EnvoyPlan` is given, the rendering passes `envoy --mode validate` (1.40), and is the same for
the same plan: nothing here reads the environment, a clock or a socket.

It is built from envoy-data-plane's typed messages, so that a misspelt field is a type error rather than a start
that fails. They take a third of a second to import: `render` loads them when it is called, and nothing else does.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

from extproc.bedrock.endpoints import Endpoint
from extproc.config import Settings
from extproc.net import Address
from extproc.proxy import Proxy

BEDROCK = "bedrock"
"""The cluster of Bedrock's runtime endpoint."""

UNPROCESSED = "unprocessed"
"""The cluster of the API's own route, without an endpoint: a request that no worker has signed goes there, and ends."""

PROCESSOR = "processor"
"""The cluster of the ext_proc workers."""

STAT_PREFIX = "oai"
"""Prefix of Envoy's statistics of the listener for callers, `http.oai.…`; nothing else is counted there."""

DEFAULT_FILES = 65_536
"""Open files that an Envoy on an unknown machine must be allowed."""

Fragment = Literal["filter", "cluster", "route", "reply", "metrics", "tunnel"]
"""A part of the configuration for an Envoy that exists already: HTTP filters, clusters, routes, local reply mappers,
access loggers that count usage, or the listener of the way through a proxy."""

SecretKind = Literal["ca", "certificate"]
"""A part of Envoy's TLS towards workers: the authority that it trusts, or the certificate that it shows."""


@dataclass(frozen=True, slots=True)
class ProcessorTls:
    """TLS between Envoy and workers on TCP. All files are where Envoy runs."""

    ca: str
    """The authorities that vouch for the workers."""
    certificate: str = ""
    key: str = ""
    """Envoy's certificate and key for workers that require one; both or neither."""
    name: str = ""
    """The name that a worker's certificate must bear; without one, the host that it is reached at."""
    secrets: str = ""
    """Folder of the files that `render_secret` prints; with it Envoy reads the files above again when they are
    replaced."""

    def secret_file(self, kind: SecretKind) -> str:
        """Return the path of the file for this secret."""
        return str(PurePosixPath(self.secrets) / f"{secret_name(kind)}.yaml")


CallersSecret = Literal["tls", "tls-client-ca"]
"""A part of Envoy's TLS towards callers: the certificate that it shows, or the authorities of theirs."""


@dataclass(frozen=True, slots=True)
class CallersTls:
    """TLS between callers and Envoy. All files are where Envoy runs."""

    certificate: str
    key: str
    client_ca: str = ""
    """The authorities that vouch for callers; without any, callers show no certificate."""
    secrets: str = ""
    """Folder of the files that `render_callers_secret` prints; with it Envoy reads the files above again when something
    is moved into their folder."""
    watched: str = ""
    """Folder to watch in place of the files' own."""

    def secret_file(self, kind: CallersSecret) -> str:
        """Return the path of the file for this secret."""
        return str(PurePosixPath(self.secrets) / f"{kind}.yaml")


@dataclass(frozen=True, slots=True)
class EnvoyPlan:
    """The inputs of one Envoy's configuration. `admin` is a socket; without it Envoy has no admin interface."""

    listen: Address
    processors: tuple[Address, ...]
    bedrock: Endpoint
    settings: Settings
    ca_file: str = "/etc/ssl/certs/ca-certificates.crt"
    """The authorities that vouch for Bedrock; unused when the endpoint is plain http."""
    admin: Address | None = None
    access_log: bool = False
    health: Address | None = None
    """Address of the listener for health, metrics and the end of a drain, away from callers."""
    processor_tls: ProcessorTls | None = None
    callers_tls: CallersTls | None = None
    """TLS of `listen`; without it callers' tokens come in plain text."""
    memory: int | None = None
    """Bytes of memory that Envoy may use; None: Envoy does not watch its memory."""
    files: int = DEFAULT_FILES
    """Files that Envoy may have open, from which the limit of callers' connections is derived."""
    proxy: Proxy | None = None
    """The proxy between Envoy and Bedrock; None: there is none."""
    elsewhere: Mapping[str, Endpoint] = field(default_factory=dict)
    """Bedrock's runtime endpoints in the regions that organisations may name (`regions`), by region."""
    jwks_proxies: Mapping[str, Proxy] = field(default_factory=dict)
    """The proxy between Envoy and issuers' keys, by the origins of their URLs (`jwks_endpoint`)."""

    @property
    def any_proxy(self) -> Proxy | None:
        """Return the network's proxy, if anything is called through it; there is one at most."""
        return self.proxy or next(iter(self.jwks_proxies.values()), None)

    def upstreams(self) -> list["Upstream"]:
        """Return Bedrock's runtime in each region, that of the gateway's own last."""
        others = [Upstream(f"{BEDROCK}-{region}", endpoint, region) for region, endpoint in self.elsewhere.items()]
        return [*others, Upstream(BEDROCK, self.bedrock)]


@dataclass(frozen=True, slots=True)
class Upstream:
    """Bedrock's runtime in one region: the name of its cluster and its route, and its endpoint."""

    name: str
    endpoint: Endpoint
    region: str = ""
    """The mark of requests that were signed for this region; empty for the gateway's own region."""


def load() -> None:
    """Import the modules that the functions below need. They call this themselves; an earlier call saves time later."""
    if f"{__name__}.bootstrap" in sys.modules:
        return
    from extproc.envoy_config.plain_messages import plain_messages

    with plain_messages():
        from extproc.envoy_config import bootstrap  # noqa: F401  (it loads envoy-data-plane)


def drain_socket(admin: Address) -> Address | None:
    """Return the socket of `oai-extproc drain --announce`, beside the admin socket; None where that is no socket."""
    return Address(path=str(PurePosixPath(admin.path).with_name("drain.sock"))) if admin.path else None


def render(plan: EnvoyPlan, *, only: Fragment | None = None, as_json: bool = False) -> str:
    """Render the bootstrap, or a list of `only` one kind of its parts, as YAML for people or as JSON.

    `envoy -c` reads either (by the file's ending).
    """
    load()
    from extproc.envoy_config import bootstrap

    return bootstrap.to_json(plan, only) if as_json else bootstrap.to_yaml(plan, only)


def secret_name(kind: SecretKind) -> str:
    """Return the name by which Envoy knows this secret."""
    return f"processor-{kind}"


def render_secret(tls: ProcessorTls, kind: SecretKind) -> str:
    """Return the file of `ProcessorTls.secrets` for one secret, as YAML; Envoy's own format for SDS from files."""
    load()
    from extproc.envoy_config import bootstrap

    return bootstrap.secret_to_yaml(tls, kind)


def render_callers_secret(tls: CallersTls, kind: CallersSecret) -> str:
    """Return the file of `CallersTls.secrets` for one secret, as YAML."""
    load()
    from extproc.envoy_config import bootstrap

    return bootstrap.callers_secret_to_yaml(tls, kind)


def render_tls_check(tls: CallersTls) -> str:
    """Render a configuration for `envoy --mode validate`, which loads the files of `tls` as a listener would."""
    load()
    from extproc.envoy_config import bootstrap

    return bootstrap.tls_check_to_yaml(tls)
