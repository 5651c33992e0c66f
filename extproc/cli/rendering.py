"""`oai-extproc envoy-config`: Envoy's bootstrap, for those who run Envoy themselves."""

import os
from pathlib import Path

import click

from extproc.cli.parameters import ADDRESS, LISTEN, Refusal, load_settings, refusing, required_config
from extproc.envoy_config import Address


@click.command("envoy-config")
@required_config
@click.option(
    "--listen", type=LISTEN, default="0.0.0.0:8080", show_default=True, help="Where Envoy listens for clients."
)
@click.option(
    "--processor",
    "processors",
    type=ADDRESS,
    multiple=True,
    help="Where a worker listens, unix:/path or HOST:PORT; once for each.  "
    "[default: unix:/run/oai/w0.sock, w1.sock… for each of `workers`]",
)
@click.option(
    "--admin", type=ADDRESS, help="Envoy's own admin interface, as in unix:/run/oai/admin.sock.  [default: none]"
)
@click.option(
    "--ca-file",
    type=click.Path(path_type=Path),
    help="Who may vouch for Bedrock, a path where Envoy runs.  [default: this machine's]",
)
@click.option("--access-log", is_flag=True, help="A line of JSON on Envoy's standard output for each call.")
@click.option("--json", "as_json", is_flag=True, help="JSON rather than YAML.")
def envoy_config(
    path: Path,
    listen: Address,
    processors: tuple[Address, ...],
    admin: Address | None,
    ca_file: Path | None,
    access_log: bool,
    as_json: bool,
) -> None:
    """Print the configuration for an Envoy 1.40 that serves this gateway.

    The region comes from gateway.yaml or AWS's settings, and so does the endpoint: AWS_ENDPOINT_URL_BEDROCK_RUNTIME
    counts. Try it with `envoy --mode validate -c FILE`.
    """
    from extproc import envoy_config as rendering
    from extproc.bedrock.endpoints import EndpointError, resolve
    from extproc.envoy_config.authorities import ca_bundle

    settings = load_settings(path)
    with refusing(EndpointError):
        endpoint = resolve(settings.region).runtime
    plan = rendering.Plan(
        listen=listen,
        processors=processors or _default_processors(settings.workers),
        bedrock=endpoint,
        settings=settings,
        ca_file=str(ca_file or ca_bundle(os.environ)),
        admin=admin,
        access_log=access_log,
    )
    try:
        click.echo(rendering.render(plan, as_json=as_json), nl=False)
    except ModuleNotFoundError as error:
        raise Refusal(f"{error.name} is not installed: pip install 'oai-extproc[envoy]'") from error


def _default_processors(workers: int) -> tuple[Address, ...]:
    return tuple(Address(path=f"/run/oai/w{index}.sock") for index in range(workers))
