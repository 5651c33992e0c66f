"""`oai-extproc envoy-config`: Envoy's bootstrap, or fragments of one, for those who run Envoy themselves."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click
from click.core import ParameterSource

from extproc.cli.parameters import ADDRESS, LISTEN, PLACE, Refusal, load_settings, refusing, required_config
from extproc.config import Settings
from extproc.config.capacity import envoy_memory
from extproc.envoy_config import DEFAULT_FILES, Fragment, Plan, ProcessorTls, SecretKind
from extproc.machine.cpus import worker_count
from extproc.net import Address, is_ip
from extproc.option_types.memory_size import SIZE

if TYPE_CHECKING:
    from extproc.bedrock.endpoints import Endpoint

_BOOTSTRAP_ONLY = {
    "listen": "--listen",
    "admin": "--admin",
    "health": "--health",
    "access_log": "--access-log",
    "memory": "--envoy-memory",
    "files": "--open-files",
}
"""What shapes the bootstrap, and none of its fragments."""


@click.command("envoy-config")
@required_config
@click.option(
    "--listen", type=LISTEN, default="0.0.0.0:8080", show_default=True, help="Where Envoy listens for clients."
)
@click.option(
    "--health",
    type=LISTEN,
    help="Where Envoy answers /healthz and, with --admin, /metrics and /drained.  "
    "[default: nowhere; /healthz is where clients are, too]",
)
@click.option(
    "--processor",
    "processors",
    type=ADDRESS,
    multiple=True,
    help="Where a worker listens, unix:/path or HOST:PORT; once for each.  "
    "[default: unix:/run/oai/w0.sock, w1.sock… for each of `workers`]",
)
@click.option("--processor-ca", type=PLACE, help="Who may vouch for workers on TCP; turns TLS on.")
@click.option("--processor-certificate", type=PLACE, help="What Envoy shows to workers that want a certificate.")
@click.option("--processor-key", type=PLACE, help="The key of --processor-certificate.")
@click.option(
    "--processor-secrets",
    type=PLACE,
    help="Folder of the files of --secret, through which Envoy follows those three.  [default: it reads them once]",
)
@click.option("--processor-name", help="The name in the workers' certificates.  [default: HOST of --processor]")
@click.option(
    "--admin", type=ADDRESS, help="Envoy's own admin interface, as in unix:/run/oai/admin.sock.  [default: none]"
)
@click.option("--ca-file", type=PLACE, help="Who may vouch for Bedrock.  [default: this machine's]")
@click.option("--access-log", is_flag=True, help="A line of JSON on Envoy's standard output for each call.")
@click.option(
    "--envoy-memory",
    "memory",
    type=SIZE,
    help="Envoy's memory limit, as in 1Gi.  [default: what limits.in_flight_bytes takes, if it is a number]",
)
@click.option(
    "--open-files",
    "files",
    type=click.IntRange(512),
    default=DEFAULT_FILES,
    show_default=True,
    help="Files that Envoy may have open there (ulimit -n).",
)
@click.option(
    "--only",
    type=click.Choice(get_args(Fragment)),
    help="A list of this alone, for the bootstrap of an Envoy that you have: see docs/attach.md.",
)
@click.option(
    "--secret",
    "kind",
    type=click.Choice(get_args(SecretKind)),
    help="The file of --processor-secrets for this, and nothing else.",
)
@click.option("--json", "as_json", is_flag=True, help="JSON rather than YAML.")
@click.pass_context
def envoy_config(
    context: click.Context,
    path: Path,
    listen: Address,
    health: Address | None,
    processors: tuple[Address, ...],
    processor_ca: Path | None,
    processor_certificate: Path | None,
    processor_key: Path | None,
    processor_secrets: Path | None,
    processor_name: str | None,
    admin: Address | None,
    ca_file: Path | None,
    access_log: bool,
    memory: int | None,
    files: int,
    only: Fragment | None,
    kind: SecretKind | None,
    as_json: bool,
) -> None:
    """Print the configuration for an Envoy 1.40 that serves this gateway.

    The region comes from gateway.yaml or AWS's settings, and so does the endpoint: AWS_ENDPOINT_URL_BEDROCK_RUNTIME
    counts. All files are paths where Envoy runs. Try it with `envoy --mode validate -c FILE`.
    """
    if kind is not None and (only is not None or as_json):
        raise Refusal("--secret prints a file of its own, as YAML: leave out --only and --json")
    if only is not None or kind is not None:
        _refuse_what_no_fragment_has(context)
    _refuse_open_doors(listen, health, admin)
    settings = load_settings(path)
    workers = processors or _default_processors(worker_count(settings))
    tls = _tls(workers, processor_ca, (processor_certificate, processor_key), processor_secrets, processor_name)
    if kind is not None:
        _print_secret(tls, kind)
        return
    plan = Plan(
        listen=listen,
        processors=workers,
        bedrock=_bedrock(settings),
        settings=settings,
        ca_file=str(ca_file or _authorities()),
        admin=admin,
        access_log=access_log,
        health=health,
        memory=memory or _memory(settings),
        files=files,
        processor_tls=tls,
    )
    _print(plan, only, as_json)


def _print(plan: Plan, only: Fragment | None, as_json: bool) -> None:
    from extproc import envoy_config as rendering

    with _installed():
        click.echo(rendering.render(plan, only=only, as_json=as_json), nl=False)


@contextmanager
def _installed() -> Iterator[None]:
    """Raise `Refusal`, with what to install, if Envoy's typed messages are missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise Refusal(f"{error.name} is not installed: pip install 'oai-extproc[envoy-config]'") from error


def _bedrock(settings: Settings) -> "Endpoint":
    from extproc.aws.sdk.endpoints import resolve
    from extproc.bedrock.endpoints import EndpointError

    with refusing(EndpointError):
        return resolve(settings.region).runtime


def _memory(settings: Settings) -> int | None:
    """Return Envoy's memory for the bytes in flight; None where those depend on a machine that is not known here."""
    in_flight = settings.limits.in_flight_bytes
    return None if in_flight == "auto" else envoy_memory(in_flight)


def _authorities() -> Path:
    from extproc.net import ca_bundle

    return ca_bundle(os.environ)


def _default_processors(workers: int) -> tuple[Address, ...]:
    return tuple(Address(path=f"/run/oai/w{index}.sock") for index in range(workers))


def _tls(
    workers: tuple[Address, ...],
    ca: Path | None,
    pair: tuple[Path | None, Path | None],
    secrets: Path | None,
    name: str | None,
) -> ProcessorTls | None:
    """TLS towards the workers; a refusal where it is missing, is not whole, or would have no effect."""
    certificate, key = pair
    if ca is None:
        if certificate or key or name or secrets:
            raise Refusal(
                "--processor-certificate, --processor-key, --processor-secrets and --processor-name say nothing "
                "without --processor-ca"
            )
        _refuse_plain_text(workers)
        return None
    if sockets := [str(worker) for worker in workers if worker.path]:
        raise Refusal(f"--processor-ca is for workers at HOST:PORT, and {sockets[0]} is a socket: leave out either")
    if (certificate is None) != (key is None):
        raise Refusal("--processor-certificate and --processor-key belong together: give both or neither")
    return ProcessorTls(str(ca), str(certificate or ""), str(key or ""), name or "", str(secrets or ""))


def _print_secret(tls: ProcessorTls | None, kind: SecretKind) -> None:
    if tls is None or not tls.secrets:
        raise Refusal(f"--secret {kind} is a file of --processor-secrets: name that folder, and --processor-ca")
    if kind == "certificate" and not tls.certificate:
        raise Refusal("--secret certificate is for --processor-certificate and --processor-key: give both")
    from extproc import envoy_config as rendering

    with _installed():
        click.echo(rendering.render_secret(tls, kind), nl=False)


def _refuse_plain_text(workers: tuple[Address, ...]) -> None:
    for worker in workers:
        if not worker.stays_here:
            raise Refusal(
                f"callers' keys would go to {worker} in plain text: give --processor-ca (and the worker --tls, "
                "on which it insists too), or share a unix socket with it"
            )


def _refuse_open_doors(listen: Address, health: Address | None, admin: Address | None) -> None:
    """Whoever reaches the admin interface can stop Envoy, and nobody is asked for a password."""
    if health == listen:
        raise Refusal(f"--health and --listen are both {listen}: callers need an address of their own")
    if admin is not None and not (admin.path or (is_ip(admin.host) and admin.stays_here)):
        raise Refusal(
            f"--admin {admin} would let others on the network stop Envoy: give a socket, as in "
            "unix:/run/oai/admin.sock, or a port of 127.0.0.1"
        )


def _refuse_what_no_fragment_has(context: click.Context) -> None:
    for name, option in _BOOTSTRAP_ONLY.items():
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise Refusal(f"{option} is for the whole bootstrap, without --only and --secret")
