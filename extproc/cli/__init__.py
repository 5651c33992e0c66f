"""The command line: `oai-extproc up`, `init`, `serve`, `envoy-config`, `drain`, `check`, `directory`, `health`,
`models`, `token`, `usage`.

Invariant: an error that the user can correct is one message with the remedy, never a traceback. Exit code 0 is success,
2 an unusable command line or configuration, 1 a gateway that could not keep running.

A command's module is imported when the command is named, and imports heavy modules when it runs, so that a worker, and
the health check that runs every few seconds, start at once.
"""

from importlib import import_module

import click

from extproc import __version__
from extproc.build import commit, compiled
from extproc.telemetry.lines import open_standard_streams

COMMANDS = ("up", "init", "serve", "envoy-config", "drain", "check", "directory", "health", "models", "token", "usage")
"""The commands. Each is a function in a module of its own name, with `_` for `-`."""

_EPILOG = (
    "Start with `oai-extproc up`: without any configuration it runs a demo. `oai-extproc init` writes a configuration."
)


class _Commands(click.Group):
    """`COMMANDS`, each imported when it is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(import_module(f"extproc.cli.{name}"), name)
        return command


def _show_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Print the version, the commit and the kind of this copy, and end."""
    if wanted and not context.resilient_parsing:
        kind = "compiled" if compiled() else "interpreted"
        click.echo(f"oai-extproc, version {__version__} (commit {commit()}; {kind})")
        context.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EPILOG)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version, the commit and the kind of build, and exit.",
)
def main() -> None:
    """OpenAI's API in front of AWS Bedrock."""
    open_standard_streams()
