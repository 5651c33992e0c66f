"""`oai-extproc token`: new API keys, and the hashes of existing ones."""

import datetime
import re
import sys

import click
import yaml

from extproc import config
from extproc.cli.parameters import UserError
from extproc.config.faults import fault
from extproc.tenancy.api_keys import PREFIX, digest, new_token

_DAYS = re.compile(r"^(\d{1,4})d$")


class _Moment(click.ParamType[datetime.datetime]):
    """`2027-01-01`, `2027-01-01T12:00:00Z`, or `90d` from now."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime.datetime:
        """Convert to a time in UTC; a failure is a usage error."""
        if isinstance(value, datetime.datetime):
            return value
        days = _DAYS.match(str(value))
        if days:
            now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
            return now + datetime.timedelta(days=int(days[1]))
        try:
            moment = datetime.datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a time: write 2027-01-01, 2027-01-01T12:00:00Z, or 90d", param, ctx)
        return moment.replace(tzinfo=moment.tzinfo or datetime.UTC).astimezone(datetime.UTC)


@click.group()
def token() -> None:
    """Make API keys for gateway.yaml.

    A token is shown once, for its caller; gateway.yaml contains only its SHA-256.
    """


@token.command()
@click.option("--name", required=True, help="The token's name in logs, as in: ci.")
@click.option(
    "--organisation",
    "organisations",
    multiple=True,
    required=True,
    help="The token's organisation; repeat it for several.",
)
@click.option("--expires", type=_Moment(), help="2027-01-01, 2027-01-01T12:00:00Z, or 90d from now.")
def new(name: str, organisations: tuple[str, ...], expires: datetime.datetime | None) -> None:
    """Make a token, show it once, and show the lines for gateway.yaml."""
    fresh = new_token()
    entry: dict[str, object] = {"name": name, "sha256": digest(fresh), "organisations": list(organisations)}
    if expires is not None:
        entry["expires"] = expires
    _check(name, organisations)
    click.echo(f"The token, shown this once:\n\n  {fresh}\n")
    click.echo("Add this to `tokens` in gateway.yaml (running gateways reload it):\n")
    click.echo(_indented(yaml.safe_dump([entry], sort_keys=False, default_flow_style=None, width=200)))


@token.command("hash")
def hash_() -> None:
    """Read a token from standard input and print its SHA-256, for `tokens[].sha256`."""
    interactive = sys.stdin.isatty()
    text: str = click.prompt("Token", hide_input=True, err=True) if interactive else sys.stdin.read()
    text = text.strip()
    if not text.startswith(PREFIX) or len(text.split()) != 1:
        raise UserError(f"this is not a token: send one line that starts with {PREFIX}")
    click.echo(digest(text))


def _check(name: str, organisations: tuple[str, ...]) -> None:
    """Reject names that gateway.yaml does not accept."""
    faults = [fault(name, config.TokenName, "--name")]
    faults += [fault(organisation, config.MachineName, "--organisation") for organisation in organisations]
    if message := next(filter(None, faults), None):
        raise UserError(message)


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())
