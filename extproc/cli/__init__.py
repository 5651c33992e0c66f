"""The command line: `oai-extproc up`, `serve`, `envoy-config`, `drain`, `check`, `health`, `models`,
`token`.

The invariant: what the user can mend is said in one message that names the remedy, never in a traceback. Exit code 0
is success, 2 is a usage or configuration that cannot work, 1 is a gateway that could not keep running.

Each command imports what it needs when it runs, and is itself imported when it is named: a worker, and the health check
that runs every few seconds, are to start at once.
"""

from importlib import import_module

import click

from extproc import __version__
from extproc.telemetry.lines import open_standard_streams

COMMANDS = {
    "up": "up",
    "serve": "serve",
    "envoy-config": "envoy_config",
    "drain": "drain",
    "check": "check",
    "health": "health",
    "models": "check",
    "token": "token",
}
"""The room of each command."""

_EPILOG = "Start with `oai-extproc up`: without any configuration it runs a demo against a local Bedrock."


class _Commands(click.Group):
    """`COMMANDS`, each imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        room = COMMANDS.get(cmd_name)
        if room is None:
            return None
        command: click.Command = getattr(import_module(f"extproc.cli.{room}"), cmd_name.replace("-", "_"))
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EPILOG)
@click.version_option(__version__, package_name="oai-extproc", prog_name="oai-extproc")
def main() -> None:
    """OpenAI's API in front of AWS Bedrock."""
    open_standard_streams()
