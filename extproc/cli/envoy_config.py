"""`oai-extproc envoy-config`: Envoy's bootstrap, or fragments of one, for an Envoy that runs elsewhere."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack, get_args

import click
from click.core import ParameterSource

from extproc.cli.extras import not_installed
from extproc.cli.parameters import (
    ADDRESS,
    LISTEN,
    PLACE,
    UserError,
    bedrock_proxy,
    jwks_proxies,
    load_settings,
    required_config,
    user_errors,
)
from extproc.config import Settings
from extproc.config.capacity import envoy_memory
from extproc.envoy_config import (
    DEFAULT_FILES,
    CallersSecret,
    CallersTls,
    EnvoyPlan,
    Fragment,
    ProcessorTls,
    SecretKind,
)
from extproc.machine.cpus import worker_count
from extproc.net import Address, is_ip
from extproc.option_types.memory_size import SIZE
from extproc.proxy import AUTHORIZATION_VARIABLE

if TYPE_CHECKING:
    from extproc.bedrock.endpoints import Endpoints

_TLS = {"pair": "--tls", "client_ca": "--tls-client-ca", "tls_secrets": "--tls-secrets"}

_BOOTSTRAP_ONLY = {
    "listen": "--listen",
    "admin": "--admin",
    "health": "--health",
    **_TLS,
    "access_log": "--access-log",
    "memory": "--envoy-memory",
    "files": "--open-files",
}
"""Options of the bootstrap without effect on its fragments."""


class _Options(TypedDict):
    """The values of the command's options."""

    path: Path
    listen: Address
    health: Address | None
    pair: tuple[Path, Path] | None
    client_ca: Path | None
    tls_secrets: Path | None
    processors: tuple[Address, ...]
    processor_ca: Path | None
    processor_certificate: Path | None
    processor_key: Path | None
    processor_secrets: Path | None
    processor_name: str | None
    admin: Address | None
    ca_file: Path | None
    access_log: bool
    memory: int | None
    files: int
    only: Fragment | None
    kind: SecretKind | CallersSecret | None
    as_json: bool


@click.command("envoy-config")
@required_config
@click.option(
    "--listen", type=LISTEN, default="0.0.0.0:8080", show_default=True, help="Where Envoy listens for clients."
)
@click.option(
    "--health",
    type=LISTEN,
    help="Where Envoy serves /healthz and, with --admin, /metrics and /drained.  "
    "[default: nowhere; --listen serves /healthz too]",
)
@click.option(
    "--tls",
    "pair",
    type=(PLACE, PLACE),
    metavar="CERT KEY",
    help="Serve callers https with this certificate and key, PEM.  [default: http]",
)
@click.option("--tls-client-ca", "client_ca", type=PLACE, help="Callers must show a certificate of one of these, PEM.")
@click.option(
    "--tls-secrets",
    type=PLACE,
    help="Folder of the files of --secret tls and tls-client-ca, with which Envoy reloads those three.  "
    "[default: it reads them once]",
)
@click.option(
    "--processor",
    "processors",
    type=ADDRESS,
    multiple=True,
    help="A worker's address, unix:/path or HOST:PORT; once for each worker.  "
    "[default: unix:/run/oai/w0.sock, w1.sock… for each of `workers`]",
)
@click.option("--processor-ca", type=PLACE, help="Certificate authorities of workers on TCP; turns TLS on.")
@click.option("--processor-certificate", type=PLACE, help="Envoy's certificate, for workers that require one.")
@click.option("--processor-key", type=PLACE, help="The key of --processor-certificate.")
@click.option(
    "--processor-secrets",
    type=PLACE,
    help="Folder of the files of --secret, with which Envoy reloads those three.  [default: it reads them once]",
)
@click.option("--processor-name", help="The name in the workers' certificates.  [default: HOST of --processor]")
@click.option(
    "--admin", type=ADDRESS, help="Envoy's own admin interface, as in unix:/run/oai/admin.sock.  [default: none]"
)
@click.option("--ca-file", type=PLACE, help="Certificate authorities of Bedrock.  [default: this machine's]")
@click.option("--access-log", is_flag=True, help="A line of JSON on Envoy's standard output for each call.")
@click.option(
    "--envoy-memory",
    "memory",
    type=SIZE,
    help="Envoy's memory limit, as in 1Gi.  [default: derived from limits.in_flight_bytes, if it is a number]",
)
@click.option(
    "--open-files",
    "files",
    type=click.IntRange(512),
    default=DEFAULT_FILES,
    show_default=True,
    help="Limit of Envoy's open files (ulimit -n).",
)
@click.option(
    "--only",
    type=click.Choice(get_args(Fragment)),
    help="Print a list of this fragment only, for the bootstrap of an Envoy that you have: see docs/attach.md.",
)
@click.option(
    "--secret",
    "kind",
    type=click.Choice((*get_args(SecretKind), *get_args(CallersSecret))),
    help="Print only this file: ca and certificate are of --processor-secrets, the others of --tls-secrets.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of YAML.")
@click.pass_context
def envoy_config(context: click.Context, **options: Unpack[_Options]) -> None:
    """Print the configuration for an Envoy 1.40 that serves this gateway.

    The region comes from gateway.yaml or AWS's settings, and so does the endpoint: AWS_ENDPOINT_URL_BEDROCK_RUNTIME
    counts. All files are paths on Envoy's machine. Try it with `envoy --mode validate -c FILE`.

    Callers' tokens cross the network as --listen has them: give --tls, or put TLS in front of Envoy.

    With HTTPS_PROXY, where NO_PROXY does not exempt the endpoint, Envoy calls Bedrock through that proxy. A user and a
    password in its URL are not printed: Envoy needs OAI_PROXY_AUTHORIZATION in its environment, see docs/operations.md.
    """
    only, kind = options["only"], options["kind"]
    if kind is not None and (only is not None or options["as_json"]):
        raise UserError("--secret prints a file of its own, as YAML: leave out --only and --json")
    if only is not None or kind is not None:
        _reject_bootstrap_options(context, kind)
    _reject_open_ports(options["listen"], options["health"], options["admin"])
    settings = load_settings(options["path"])
    workers = options["processors"] or _default_processors(worker_count(settings))
    tls = _tls(workers, options)
    of_callers = _callers_tls(options["pair"], options["client_ca"], options["tls_secrets"])
    if kind is not None:
        click.echo(_secret(tls, of_callers, kind), nl=False)
    else:
        _print(_plan(options, settings, workers, tls, of_callers), only, options["as_json"])


def _plan(
    options: _Options,
    settings: Settings,
    workers: tuple[Address, ...],
    tls: ProcessorTls | None,
    of_callers: CallersTls | None,
) -> EnvoyPlan:
    """Return what to render; raises `UserError`."""
    endpoints = _endpoints(settings)
    return EnvoyPlan(
        listen=options["listen"],
        processors=workers,
        bedrock=endpoints.runtime,
        settings=settings,
        ca_file=str(options["ca_file"] or _authorities()),
        admin=options["admin"],
        access_log=options["access_log"],
        health=options["health"],
        memory=options["memory"] or _memory(settings),
        files=options["files"],
        processor_tls=tls,
        callers_tls=of_callers,
        proxy=bedrock_proxy(endpoints),
        elsewhere=endpoints.elsewhere,
        jwks_proxies=jwks_proxies(settings),
    )


def _print(plan: EnvoyPlan, only: Fragment | None, as_json: bool) -> None:
    """Print the rendering; raises `UserError` for the tunnel of a plan without a proxy."""
    from extproc import envoy_config as rendering

    if only == "tunnel" and plan.any_proxy is None:
        raise UserError(f"--only tunnel is for a proxy, and HTTPS_PROXY names none for {plan.bedrock}: leave it out")
    if plan.any_proxy and plan.any_proxy.authorization:
        note = (
            f"note: the proxy {plan.any_proxy} wants a password: give Envoy {AUTHORIZATION_VARIABLE} in its environment"
        )
        click.echo(f"{note} (docs/operations.md)", err=True)
    with _installed():
        click.echo(rendering.render(plan, only=only, as_json=as_json), nl=False)


@contextmanager
def _installed() -> Iterator[None]:
    """Raise `UserError`, with the package to install, if Envoy's typed messages are missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise not_installed(str(error.name), "envoy-config") from error


def _endpoints(settings: Settings) -> "Endpoints":
    from extproc.aws.sdk.endpoints import resolve
    from extproc.bedrock.endpoints import EndpointError

    with user_errors(EndpointError):
        return resolve(settings.region, elsewhere=settings.regions)


def _memory(settings: Settings) -> int | None:
    """Return Envoy's memory for the bytes in flight; None if those depend on the memory of Envoy's machine."""
    in_flight = settings.limits.in_flight_bytes
    return None if in_flight == "auto" else envoy_memory(in_flight)


def _authorities() -> Path:
    from extproc.net import ca_bundle

    return ca_bundle(os.environ)


def _default_processors(workers: int) -> tuple[Address, ...]:
    return tuple(Address(path=f"/run/oai/w{index}.sock") for index in range(workers))


def _tls(workers: tuple[Address, ...], options: _Options) -> ProcessorTls | None:
    """Return the TLS settings of workers; raises `UserError` if they are missing, incomplete, or without effect."""
    ca, certificate, key = options["processor_ca"], options["processor_certificate"], options["processor_key"]
    secrets, name = options["processor_secrets"], options["processor_name"]
    if ca is None:
        if certificate or key or name or secrets:
            raise UserError(
                "--processor-certificate, --processor-key, --processor-secrets and --processor-name have no "
                "effect without --processor-ca: give it too"
            )
        _reject_plain_text(workers)
        return None
    if sockets := [str(worker) for worker in workers if worker.path]:
        raise UserError(f"--processor-ca is for workers at HOST:PORT, and {sockets[0]} is a socket: leave out either")
    if (certificate is None) != (key is None):
        raise UserError("--processor-certificate and --processor-key belong together: give both or neither")
    return ProcessorTls(str(ca), str(certificate or ""), str(key or ""), name or "", str(secrets or ""))


def _callers_tls(pair: tuple[Path, Path] | None, client_ca: Path | None, secrets: Path | None) -> CallersTls | None:
    """Return the TLS settings of callers; raises `UserError` for options without effect."""
    if pair is None:
        if client_ca or secrets:
            raise UserError("--tls-client-ca and --tls-secrets have no effect without --tls: give it too")
        return None
    certificate, key = pair
    return CallersTls(str(certificate), str(key), str(client_ca or ""), str(secrets or ""))


def _secret(tls: ProcessorTls | None, of_callers: CallersTls | None, kind: SecretKind | CallersSecret) -> str:
    """Return a file of secrets; raises `UserError` if the options do not have what it contains."""
    from extproc import envoy_config as rendering

    match kind:
        case "ca" | "certificate":
            known = _with_secret(tls, kind)
            with _installed():
                return rendering.render_secret(known, kind)
        case "tls" | "tls-client-ca":
            if of_callers is None or not of_callers.secrets:
                raise UserError(f"--secret {kind} is a file of --tls-secrets: name that folder, and --tls")
            if kind == "tls-client-ca" and not of_callers.client_ca:
                raise UserError("--secret tls-client-ca is for --tls-client-ca: give it")
            with _installed():
                return rendering.render_callers_secret(of_callers, kind)


def _with_secret(tls: ProcessorTls | None, kind: SecretKind) -> ProcessorTls:
    """Return the TLS settings of workers if they have this secret; raises `UserError` if not."""
    if tls is None or not tls.secrets:
        raise UserError(f"--secret {kind} is a file of --processor-secrets: name that folder, and --processor-ca")
    if kind == "certificate" and not tls.certificate:
        raise UserError("--secret certificate is for --processor-certificate and --processor-key: give both")
    return tls


def _reject_plain_text(workers: tuple[Address, ...]) -> None:
    for worker in workers:
        if not worker.stays_here:
            raise UserError(
                f"callers' keys would go to {worker} in plain text: give --processor-ca (and the worker --tls, "
                "which it requires too), or share a unix socket with it"
            )


def _reject_open_ports(listen: Address, health: Address | None, admin: Address | None) -> None:
    """Reject public addresses: the admin interface can stop Envoy, and has no password."""
    if health == listen:
        raise UserError(f"--health and --listen are both {listen}: callers need an address of their own")
    if admin is not None and not (admin.path or (is_ip(admin.host) and admin.stays_here)):
        raise UserError(
            f"--admin {admin} lets others on the network stop Envoy: give a socket, as in "
            "unix:/run/oai/admin.sock, or a port of 127.0.0.1"
        )


def _reject_bootstrap_options(context: click.Context, kind: SecretKind | CallersSecret | None) -> None:
    """Reject options of the bootstrap without effect on a fragment or a secret; raises `UserError`."""
    needed = _TLS if kind in get_args(CallersSecret) else {}
    for name, option in _BOOTSTRAP_ONLY.items():
        if name not in needed and context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise UserError(f"{option} is for the whole bootstrap, without --only and --secret")
