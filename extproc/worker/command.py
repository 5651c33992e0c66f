"""The command line of a worker: `oai-extproc serve` and `up` start it.

AWS's code takes as long to load as all of ours, so it begins first, in its own process (`extproc.aws.lookup`), and
this imports the rest meanwhile.
"""

from pathlib import Path

import click

from extproc.aws.lookup import AwsLookupError, AwsLookups
from extproc.option_types.memory_size import SIZE
from extproc.option_types.seconds import SECONDS
from extproc.telemetry import log as log_setup
from extproc.telemetry.lines import open_standard_streams

NOTICE_SECONDS = 1.5
"""Two of Envoy's health check intervals, and half a second: a worker that stops sooner is still sent requests."""

GRACE_SECONDS = 300.0

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--config", type=click.Path(path_type=Path), required=True, help="gateway.yaml")
@click.option("--listen", required=True, help="unix:/path, or HOST:PORT")
@click.option(
    "--last-good",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Keep the settings in force in this file, and start with them where gateway.yaml is broken. Remove it when "
    "you print Envoy's configuration anew.",
)
@click.option("--health", help="A socket for probes, unix:/path, where TLS or certificates keep them from --listen.")
@click.option("--notice", type=SECONDS, default=NOTICE_SECONDS, show_default=True, help="NOT_SERVING before the end.")
@click.option("--grace", type=SECONDS, default=GRACE_SECONDS, show_default=True, help="What open streams then have.")
@click.option("--envoy-memory", type=SIZE, help="Envoy's memory limit, as in 1Gi.  [default: it shares this process's]")
@click.option(
    "--tls", type=(_FILE, _FILE), help="The server's certificate chain and its key, PEM; read again when they change."
)
@click.option(
    "--tls-client-ca", type=_FILE, help="PEM, read again too; clients must have a certificate of one of these."
)
@click.option(
    "--mark-by-header",
    is_flag=True,
    help="Mark signed requests by the header x-forwarded-client-cert, too, for an Envoy whose routes match headers and "
    "no metadata (Envoy Gateway's).",
)
@click.option("--patterns-told", is_flag=True, hidden=True, help="`up` has told which patterns match no model.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text")
def main(
    config: Path,
    listen: str,
    last_good: Path | None,
    health: str | None,
    notice: float,
    grace: float,
    envoy_memory: int | None,
    tls: tuple[Path, Path] | None,
    tls_client_ca: Path | None,
    mark_by_header: bool,
    patterns_told: bool,
    log_level: str,
    log_format: log_setup.Format,
) -> None:
    """Run one worker; `oai-extproc up` starts one for each of `workers`."""
    open_standard_streams()
    log_setup.setup(log_level, log_format)
    lookups = _start_lookups()
    from extproc.bedrock.endpoints import EndpointError
    from extproc.config import ConfigError
    from extproc.proxy import ProxyError
    from extproc.transport.listen import ListenError
    from extproc.worker.process import ServeOptions, Stopping, serve
    from extproc.worker.tls import read_tls
    from extproc.worker.trust import TrustError

    _check_health(health)
    try:
        files = read_tls(listen, tls, tls_client_ca)
        stopping = Stopping(notice, grace)
        options = ServeOptions(
            config, listen, stopping, files, last_good, health, envoy_memory, mark_by_header, patterns_told
        )
        serve(options, lookups)
    except (ConfigError, EndpointError, ListenError, ProxyError, TrustError) as error:
        raise click.UsageError(str(error)) from error


def _start_lookups() -> AwsLookups:
    """Have AWS's code load; raises `click.ClickException` if it cannot."""
    try:
        return AwsLookups()
    except AwsLookupError as error:
        raise click.ClickException(str(error)) from error


def _check_health(health: str | None) -> None:
    """Raise `click.UsageError` for an address that is no socket."""
    if health is not None and not health.startswith("unix:"):
        raise click.UsageError(
            f"--health {health} is no socket: write unix: and a path, as in unix:/run/oai/health.sock"
        )


if __name__ == "__main__":
    main()
