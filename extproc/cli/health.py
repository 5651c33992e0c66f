"""`oai-extproc health`: the check for an image's HEALTHCHECK and a Kubernetes exec probe.

Decision: docs/decisions.md, D29.
"""

import click

from extproc.cli.parameters import ADDRESS
from extproc.net import Address

DEFAULT = "unix:/run/oai/w0.sock"


@click.command()
@click.argument("addresses", type=ADDRESS, nargs=-1, metavar="[ADDRESS]...")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=3.0,
    show_default=True,
    help="Seconds to wait for each worker.",
)
def health(addresses: tuple[Address, ...], timeout: float) -> None:
    """Check the health of workers, by gRPC's health protocol.

    ADDRESS is a worker's, unix:/path or HOST:PORT (plain text); by default unix:/run/oai/w0.sock. Exit code 0: each
    responds SERVING. 1: one does not, and standard error has its response.
    """
    from extproc.transport.health import UnhealthyError, check

    for address in addresses or (ADDRESS.convert(DEFAULT, None, None),):
        try:
            check(address, timeout)
        except UnhealthyError as error:
            raise click.ClickException(str(error)) from error
        click.echo(f"{address}: serving")
