"""`oai-extproc token`: making API keys, and hashing those there are."""

import datetime
import re
import sys

import click
import yaml

from extproc import config
from extproc.cli.parameters import Refusal
from extproc.config.faults import fault
from extproc.tenancy.api_keys import PREFIX, digest, new_token

_DAYS = re.compile(r"^(\d{1,4})d$")


class _Moment(click.ParamType[datetime.datetime]):
    """`2027-01-01`, `2027-01-01T12:00:00Z`, or `90d` from now."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime.datetime:
        """The moment, in UTC, or a usage error."""
        if isinstance(value, datetime.datetime):
            return value
        days = _DAYS.match(str(value))
        if days:
            now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
            return now + datetime.timedelta(days=int(days[1]))
        try:
            moment = datetime.datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no time: write 2027-01-01, 2027-01-01T12:00:00Z, or 90d", param, ctx)
        return moment.replace(tzinfo=moment.tzinfo or datetime.UTC).astimezone(datetime.UTC)


@click.group()
def token() -> None:
    """Make API keys for gateway.yaml.

    A token is given to a caller once; gateway.yaml only ever holds its SHA-256.
    """


@token.command()
@click.option("--name", required=True, help="What the logs will call it, as in: ci.")
@click.option(
    "--organisation",
    "organisations",
    multiple=True,
    required=True,
    help="Whose it is; give it several times for a token of several organisations.",
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
    click.echo("Add this to `tokens` in gateway.yaml (running gateways notice by themselves):\n")
    click.echo(_indented(yaml.safe_dump([entry], sort_keys=False, default_flow_style=None, width=200)))


@token.command("hash")
def hash_() -> None:
    """Read a token from standard input and print its SHA-256, for `tokens[].sha256`."""
    interactive = sys.stdin.isatty()
    text: str = click.prompt("Token", hide_input=True, err=True) if interactive else sys.stdin.read()
    text = text.strip()
    if not text.startswith(PREFIX) or len(text.split()) != 1:
        raise Refusal(f"that is no token: one line that starts with {PREFIX} was expected")
    click.echo(digest(text))


def _check(name: str, organisations: tuple[str, ...]) -> None:
    """What gateway.yaml would refuse is refused here."""
    found = [fault(name, config.TokenName, "--name")]
    found += [fault(organisation, config.MachineName, "--organisation") for organisation in organisations]
    if wrong := next(filter(None, found), None):
        raise Refusal(wrong)


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())
