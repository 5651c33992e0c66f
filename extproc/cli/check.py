"""`oai-extproc check`, what a configuration comes to; `oai-extproc models`, what its callers may use."""

import datetime
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from extproc.cli.parameters import Refusal, load_settings, refusing, required_config
from extproc.config import Organisation, Settings, Token
from extproc.config.faults import nearest, printable
from extproc.envoy_config.forbidden import UnreadableError, find
from extproc.envoy_config.open_routes import find_open
from extproc.machine.cpus import worker_count

if TYPE_CHECKING:
    from extproc.bedrock.catalogue import Catalogue, Entry
    from extproc.bedrock.endpoints import Endpoints

MIB = 1024 * 1024

MAX_ROWS = 1000
"""Largest number of organisations, and of tokens, that `check` lists: the table takes longer than the file."""


@click.command()
@required_config
@click.option(
    "--envoy",
    "envoys",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    multiple=True,
    help="A configuration of your own Envoy, or a manifest that has one: search it for what the gateway forbids.",
)
def check(path: Path, envoys: tuple[Path, ...]) -> None:
    """Check gateway.yaml and show what it comes to.

    AWS is not asked anything. What could be meant but looks like a mistake is shown as a warning; a file that
    cannot be used is refused, with the path of the key.

    With --envoy FILE (which may be repeated) a bootstrap, a dump of Envoy's admin interface or a manifest of a mesh is
    searched for runtime flags with which Envoy crashes under the gateway's calls. A route that leads to Bedrock for
    requests that no worker has signed is shown as a warning.
    """
    from extproc.aws.sdk.endpoints import resolve
    from extproc.bedrock.endpoints import EndpointError

    settings = load_settings(path)
    open_routes = [route for envoy in envoys for route in _check_envoy(envoy)]
    with refusing(EndpointError):
        endpoints = resolve(settings.region)
    now = datetime.datetime.now(datetime.UTC)
    console = Console(highlight=False)
    console.print(f"{path} is fine: region {endpoints.region}, {endpoints.runtime}, {_workers(settings)}.")
    console.print(_organisations(settings))
    console.print(_tokens(settings, now))
    for warning in (*_unknown_region(endpoints), *warnings(settings, now), *open_routes):
        click.echo(f"warning: {warning}", err=True)


@click.command()
@required_config
@click.option("--organisation", help="Only what this organisation may call.")
def models(path: Path, organisation: str | None) -> None:
    """List the models that GET /models would show.

    In a pipe there is one id a line and nothing else. A bare id that Bedrock serves through an inference profile
    only is listed under its own name; the profile is shown beside it.
    """
    settings = load_settings(path)
    chosen = _chosen(settings, organisation)
    listed = list(_permitted(_catalogue(settings), chosen))
    if not sys.stdout.isatty():
        for entry, _, _ in listed:
            click.echo(entry.id)
        return
    table = Table("model", "served by", "organisations", box=None)
    for entry, served_by, names in listed:
        table.add_row(entry.id, "" if served_by == entry.id else served_by, ", ".join(names))
    Console(highlight=False).print(table)


def _check_envoy(path: Path) -> list[str]:
    """Return a warning for each open route to Bedrock.

    Raises `Refusal` for a configuration of Envoy with a forbidden flag, or one that cannot be searched.
    """
    try:
        text = path.read_text()
        found, routes = find(text), find_open(text)
    except (UnreadableError, OSError, UnicodeDecodeError) as error:
        raise Refusal(printable(f"{path}: {error}")) from error
    if found:
        raise Refusal("\n".join(printable(f"{path}: {finding}") for finding in found))
    return [
        f"{path}: {printable(route)}: this route leads to Bedrock for requests that no worker has signed: where the "
        "filter is missing or off, callers' tokens go to AWS. Print the fragments again (docs/attach.md)"
        for route in routes
    ]


def warnings(settings: Settings, now: datetime.datetime) -> Iterator[str]:
    """What gateway.yaml may say but hardly means."""
    for token in settings.tokens:
        if not token.organisations:
            yield f"token {token.name!r} has no organisation: every call with it is answered with 403"
        if token.expires is not None and token.expires <= now:
            yield f"token {token.name!r} expired on {token.expires:%Y-%m-%d}"
    used = {name for token in settings.tokens for name in token.organisations}
    for name, organisation in settings.organisations.items():
        if name not in used:
            yield f"organisation {name!r} has no token: nobody can call for it"
        if not organisation.models.allow:
            yield f"organisation {name!r} allows no model: `models.allow` is empty"
    if not settings.tokens:
        yield "there are no tokens: every call is answered with 401 (make one with `oai-extproc token new`)"


def _unknown_region(endpoints: "Endpoints") -> Iterator[str]:
    """A region that botocore has never heard of: a slip of the pen, or newer than botocore."""
    import boto3

    session, region = boto3.Session(), endpoints.region
    partitions = session.get_available_partitions()
    known = {name for partition in partitions for name in session.get_available_regions("ec2", partition)}
    if region not in known and region in endpoints.runtime.host:
        yield f"no AWS region {region!r} is known here{nearest(region, known)}"


def _workers(settings: Settings) -> str:
    limit = f"bodies up to {settings.limits.request_bytes / MIB:g} MiB"
    workers = worker_count(settings)
    return f"{workers} worker{'s' if workers > 1 else ''}, {limit}"


def _organisations(settings: Settings) -> Table:
    table = Table("organisation", "allow", "deny", "", box=None)
    for name, organisation in islice(settings.organisations.items(), MAX_ROWS):
        allow, deny = organisation.models.allow, organisation.models.deny
        state = "" if organisation.enabled else "disabled"
        _add_row(table, name, ", ".join(allow), ", ".join(deny), state)
    _add_rest(table, len(settings.organisations))
    return table


def _tokens(settings: Settings, now: datetime.datetime) -> Table:
    table = Table("token", "organisations", "expires", box=None)
    for token in settings.tokens[:MAX_ROWS]:
        _add_row(table, token.name, ", ".join(token.organisations), _expiry(token, now))
    _add_rest(table, len(settings.tokens))
    return table


def _add_row(table: Table, *cells: str) -> None:
    """Add a row with text of the file, which is no markup and has nothing that moves the cursor."""
    table.add_row(*(Text(printable(cell)) for cell in cells))


def _add_rest(table: Table, count: int) -> None:
    """Say how many of `count` rows are not shown."""
    if count > MAX_ROWS:
        table.add_row(f"… and {count - MAX_ROWS} more")


def _expiry(token: Token, now: datetime.datetime) -> str:
    if token.expires is None:
        return "never"
    return f"{token.expires:%Y-%m-%d %H:%M %Z}" + (" (expired)" if token.expires <= now else "")


def _chosen(settings: Settings, name: str | None) -> dict[str, Organisation]:
    """The organisations in question, those that may call at all."""
    if name is not None and name not in settings.organisations:
        known = ", ".join(settings.organisations) or "none"
        raise Refusal(f"no organisation {name!r} in the configuration; there are: {known}")
    return {
        each: organisation
        for each, organisation in settings.organisations.items()
        if organisation.enabled and name in (None, each)
    }


def _catalogue(settings: Settings) -> "Catalogue":
    """AWS's list of models; where AWS does not give it, the built-in one, as in the gateway."""
    from extproc.aws.catalogue_keeper import ListingDeniedError, ListingError
    from extproc.aws.sdk.endpoints import resolve
    from extproc.aws.sdk.models import fetch
    from extproc.bedrock.endpoints import EndpointError
    from extproc.bedrock.seed import seed

    with refusing(EndpointError):
        region = resolve(settings.region).region
    try:
        return fetch(region)
    except (ListingDeniedError, ListingError) as error:
        click.echo(f"warning: no list from AWS, this is the built-in one ({error})", err=True)
        return seed(region)


def _permitted(
    catalogue: "Catalogue", organisations: dict[str, Organisation]
) -> Iterator[tuple["Entry", str, list[str]]]:
    """Each model that one of the organisations may call, what serves it, and which organisations those are."""
    from extproc.tenancy.policy import choose

    for entry in catalogue.entries():
        targets = {
            name: choose(organisation.models, entry.id, entry.targets) for name, organisation in organisations.items()
        }
        served = {name: target.model_id for name, target in targets.items() if target is not None}
        if served:
            yield entry, ", ".join(dict.fromkeys(served.values())), list(served)
