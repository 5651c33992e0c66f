"""The command line: `oai-extproc up`, `serve`, `envoy-config`, `check`, `health`, `models`, `token`.

The invariant: what the user can mend is said in one message that names the remedy, never in a traceback. Exit code 0
is success, 2 is a usage or configuration that cannot work, 1 is a gateway that could not keep running.

Each command imports what it needs when it runs, so that `--help` is there at once.
"""

import click

from extproc import __version__
from extproc.cli.draining import drain
from extproc.cli.health import health
from extproc.cli.inspection import check, models
from extproc.cli.rendering import envoy_config
from extproc.cli.running import serve, up
from extproc.cli.token import token

_EPILOG = "Start with `oai-extproc up`: without any configuration it runs a demo against a local Bedrock."


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EPILOG)
@click.version_option(__version__, package_name="oai-extproc", prog_name="oai-extproc")
def main() -> None:
    """OpenAI's API in front of AWS Bedrock."""


for _command in (up, serve, envoy_config, drain, check, health, models, token):
    main.add_command(_command)
