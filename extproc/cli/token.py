"""`oai-extproc token`: the life of an API key in gateway.yaml, its token files, or the table that it names."""

import datetime
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from extproc.cli.parameters import UserError, required_config
from extproc.cli.tables import console
from extproc.cli.token_options import DURATION, MOMENT, SEVERAL, now
from extproc.cli.token_store import changing, load_tokens
from extproc.cli.token_table import row, table
from extproc.config import kinds
from extproc.config.faults import fault
from extproc.config.features import NAMES, Feature
from extproc.config.token_entries import entry_lines
from extproc.tenancy.api_keys import PREFIX, digest, new_token
from extproc.tenancy.token_accounts import original_name


@click.group()
def token() -> None:
    """Make, list, revoke and replace API keys.

    A token is shown once, for its caller; gateway.yaml, its token files and the table that it may name contain only its
    SHA-256. Running gateways reload a changed file, and look up again what is in a table.
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
@click.option("--expires", type=MOMENT, help="2027-01-01, 2027-01-01T12:00:00Z, or 90d from now.")
@click.option(
    "--models",
    type=SEVERAL,
    help='Patterns of models, as in "anthropic.*,amazon.nova-*", if the token may call fewer than its organisation.',
)
@click.option(
    "--scopes",
    type=SEVERAL,
    help="What it may call, if not everything: chat, embeddings, models, responses, usage, with commas between them.",
)
@click.option(
    "--features",
    type=SEVERAL,
    help=f"What its requests may use, if less than its organisation's: {', '.join(NAMES)}, with commas between them.",
)
@click.option(
    "--append",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Add the entry to this gateway.yaml, its token file or its table; comments stay. Standard output has "
    "the token only.",
)
def create(
    name: str,
    organisations: tuple[str, ...],
    expires: datetime.datetime | None,
    models: tuple[str, ...] | None,
    scopes: tuple[str, ...] | None,
    features: tuple[str, ...] | None,
    path: Path | None,
) -> None:
    """Make a token, show it once, and show the lines for gateway.yaml or add them.

    A gateway.yaml without `tokens` that names one token file in `tokens_from` has its new tokens there; one that names
    a table in `directory`, in the table.
    """
    fresh, entry = fresh_entry(name, organisations, expires, models, scopes, features)
    _warn_of_past(expires)
    if path is not None:
        with changing(path) as store:
            place = store.add(entry)
        click.echo(f"Added the token {name!r} to {place}; {store.notice}. It is shown this once:", err=True)
        click.echo(fresh)
        return
    click.echo(f"The token, shown this once:\n\n  {fresh}\n")
    click.echo("Add this to `tokens` in gateway.yaml (running gateways reload it):\n")
    click.echo(entry_lines(entry))


token.add_command(create, "new")


def fresh_entry(
    name: str,
    organisations: tuple[str, ...],
    expires: datetime.datetime | None = None,
    models: tuple[str, ...] | None = None,
    scopes: tuple[str, ...] | None = None,
    features: tuple[str, ...] | None = None,
) -> tuple[str, dict[str, object]]:
    """Return a new token, and its entry for gateway.yaml; raises `UserError` for values that it does not accept."""
    faults = [fault(name, kinds.TokenName, "--name")]
    faults += [fault(organisation, kinds.MachineName, "--organisation") for organisation in organisations]
    faults += [fault(pattern, kinds.Pattern, "--models") for pattern in models or ()]
    faults += [fault(scope, kinds.Scope, "--scopes") for scope in scopes or ()]
    faults += [fault(feature, Feature, "--features") for feature in features or ()]
    if message := next(filter(None, faults), None):
        raise UserError(message)
    fresh = new_token()
    entry: dict[str, object] = {"name": name, "sha256": digest(fresh), "organisations": list(organisations)}
    if models is not None:
        entry["models"] = {"allow": list(models)}
    if scopes is not None:
        entry["scopes"] = list(scopes)
    if features is not None:
        entry["features"] = list(features)
    return fresh, entry if expires is None else {**entry, "expires": expires}


def _warn_of_past(expires: datetime.datetime | None) -> None:
    if expires is not None and expires <= now():
        click.echo(
            f"warning: --expires {expires:%Y-%m-%d %H:%M} UTC is past: every call with this token gets a 401", err=True
        )


@token.command("list")
@required_config
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, with every token.")
def list_(path: Path, as_json: bool) -> None:
    """List the tokens: names, organisations, models, scopes, features, expiry, state, and first digits of the SHA-256.

    Where gateway.yaml has `last_used_in`, or `last_used` of a table, also the minute in which each was used last.
    """
    store = load_tokens(path)
    last_used = store.last_used()
    rows = [row(each, store.settings, now(), last_used) for each in store.settings.tokens]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    console().print(table(rows, with_use=last_used is not None))


@token.command()
@click.argument("name")
@required_config
def revoke(name: str, path: Path) -> None:
    """Remove the token NAME from the file, or from the table, that has it.

    Running gateways reject it once they have read the file again, within a few seconds, or within a minute where it was
    in a table; calls that have begun are finished.
    """
    with changing(path) as store:
        earlier = [
            each.name
            for each in store.settings.tokens
            if each.name != name and original_name(each.name) == name and (each.expires is None or each.expires > now())
        ]
        place = store.remove(name)
    click.echo(f"Removed the token {name!r} from {place}; {store.notice}.", err=True)
    if earlier:
        names = ", ".join(map(repr, earlier))
        click.echo(f"warning: its earlier keys work until their ends: {names}; revoke them by these names", err=True)


@token.command()
@click.argument("name")
@required_config
@click.option(
    "--overlap",
    type=DURATION,
    required=True,
    help="How long the old key works beside the new one: 7d, 12h or 30m; 0d ends it at once.",
)
@click.option("--expires", type=MOMENT, help="The new key's end: 2027-01-01, 2027-01-01T12:00:00Z, or 90d from now.")
def rotate(name: str, path: Path, overlap: datetime.timedelta, expires: datetime.datetime | None) -> None:
    """Make a new key for the token NAME, and let the old one end.

    The new key has the name and all that the old one may do, and goes on with what is spent of its budgets. The old one
    is NAME-until-DATE from now on, so that logs show who still calls with it. Standard output has the new token only.
    """
    _warn_of_past(expires)
    with changing(path) as store:
        before = store.token(name)
        if before.expires is not None and expires is None:
            raise UserError(f"the token {name!r} expires; give the new key an end of its own with --expires, as in 90d")
        end = min(now() + overlap, before.expires or datetime.datetime.max.replace(tzinfo=datetime.UTC))
        renamed = _name_of_old(name, end, [each.name for each in store.settings.tokens])
        fresh = new_token()
        old, new = {"name": renamed, "expires": end}, {"sha256": digest(fresh), "expires": expires}
        place = store.succeed(name, old, new)
    click.echo(
        f"The token {name!r} has a new key in {place}; the old one is {renamed!r} and works until "
        f"{end:%Y-%m-%d %H:%M %Z}; {store.notice}. The new key is shown this once:",
        err=True,
    )
    click.echo(fresh)


def _name_of_old(name: str, end: datetime.datetime, taken: Sequence[str]) -> str:
    """Return a name for the old key; raises `UserError` if it would be too long."""
    first = f"{name}-until-{end:%Y-%m-%d}"
    names = itertools.chain([first], (f"{first}-{number}" for number in itertools.count(2)))
    chosen = next(each for each in names if each not in taken)
    if message := fault(chosen, kinds.TokenName, chosen):
        raise UserError(f"{message}; rename the token first")
    return chosen


@token.command("hash")
def hash_() -> None:
    """Read a token from standard input and print its SHA-256, for `tokens[].sha256`."""
    interactive = sys.stdin.isatty()
    text: str = click.prompt("Token", hide_input=True, err=True) if interactive else sys.stdin.read()
    text = text.strip()
    if not text.startswith(PREFIX) or len(text.split()) != 1:
        raise UserError(f"this is not a token: send one line that starts with {PREFIX}")
    click.echo(digest(text))
