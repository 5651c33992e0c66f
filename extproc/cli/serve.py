"""`oai-extproc serve`: one worker, for an Envoy that runs elsewhere."""

import click

from extproc.worker import command as worker


@click.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def serve(arguments: tuple[str, ...]) -> None:
    """Run one ext_proc worker, for an Envoy that runs elsewhere.

    That Envoy's configuration is what `oai-extproc envoy-config` prints. The worker's own command line is this one,
    options and help included.
    """
    worker.main(list(arguments), prog_name="oai-extproc serve")
