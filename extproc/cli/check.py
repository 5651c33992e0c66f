"""`oai-extproc check`: a configuration, checked and shown."""

import datetime
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from extproc.cli.parameters import UserError, load_settings, required_config, user_errors
from extproc.cli.settings_tables import issuers_table, tables_of
from extproc.cli.stores import Stored, read_all
from extproc.cli.tables import console as new_console
from extproc.cli.written_files import troubles
from extproc.config import Settings
from extproc.config.faults import printable
from extproc.config.placeholders import placeholders
from extproc.envoy_config.forbidden import UnreadableError, find
from extproc.envoy_config.open_routes import find_open
from extproc.machine.cpus import worker_count

if TYPE_CHECKING:
    from extproc.bedrock.endpoints import Endpoints

MIB = 1024 * 1024

_UNREAD = (
    "It can be read, as a gateway reads it. Its items were not checked: that takes the permission `dynamodb:Scan`."
)

MAX_NAMES = 20
"""Largest number of tokens that a message names."""


@click.command()
@required_config
@click.option(
    "--envoy",
    "envoys",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    multiple=True,
    help="A configuration of your own Envoy, or a manifest with one: search it for settings that the gateway forbids.",
)
@click.option("--roles", "assume", is_flag=True, help="Assume each organisation's role at AWS.")
@click.option("--strict", is_flag=True, help="Fail if there is a warning.")
@click.option(
    "--offline", is_flag=True, help="Read no table, fetch no issuer's keys and ask no Redis: send nothing to anybody."
)
def check(path: Path, envoys: tuple[Path, ...], assume: bool, strict: bool, offline: bool) -> None:
    """Check gateway.yaml, and show the organisations and tokens of it, or of the DynamoDB table that it names.

    Nothing is sent to AWS but the calls that read that table, and those of --roles. The keys of issuers of signed
    tokens (`jwt`) are fetched as Envoy does it, and a Redis is tried as a worker uses it. A valid setting that is
    probably a mistake is a warning; a file that cannot be used is an error, with the path of the key, and so is an
    item of the table, with its key. --strict makes warnings errors, as for CI.

    The exit status is 0 if all is well, 2 if something has to be changed, and 1 if the table, an issuer or the Redis
    does not answer, or throttles: then nothing is known of it.

    With --envoy FILE (which may be repeated) a bootstrap, a dump of Envoy's admin interface or a manifest of a mesh is
    searched for runtime flags with which Envoy crashes under the gateway's calls. A route to Bedrock for requests
    that no worker has signed is a warning.
    """
    from extproc.cli.issuers import count_keys
    from extproc.cli.redis_store import check_store
    from extproc.cli.unpriced_models import unpriced_models

    settings = load_settings(path)
    open_routes = [route for envoy in envoys for route in _check_envoy(envoy)]
    endpoints = _endpoints(settings)
    place, read = _read(settings, path, endpoints.region, offline=offline)
    settings = read.settings
    _reject_mistakes(settings, place, endpoints.region, assume=assume)
    keys, works = (None, []) if offline else (count_keys(settings), check_store(settings.redis))
    now, console = datetime.datetime.now(datetime.UTC), new_console()
    fine = f"{path} is fine: region {endpoints.region}, {endpoints.runtime}, {_workers(settings)}."
    console.print("\n".join([fine, *works]))
    _print_callers(console, settings, place, now, offline=offline)
    if settings.jwt:
        console.print(issuers_table(settings, keys))
    for line in unpriced_models(settings, endpoints.region):
        click.echo(line)
    found = [*read.warnings, *_all_warnings(settings, endpoints, now), *open_routes]
    for warning in found:
        click.echo(f"warning: {warning}", err=True)
    if strict and found:
        raise UserError(f"{len(found)} warning{'s' if len(found) > 1 else ''}, and --strict")


def _endpoints(settings: Settings) -> "Endpoints":
    from extproc.aws.sdk.endpoints import resolve
    from extproc.bedrock.endpoints import EndpointError

    with user_errors(EndpointError):
        return resolve(settings.region, elsewhere=settings.regions)


def _read(settings: Settings, path: Path, region: str, *, offline: bool) -> tuple[Path | str, Stored]:
    """Return where the tokens and organisations are, and the settings with them; raises `UserError`."""
    if settings.directory is None:
        return path, Stored(settings)
    place = f"table {settings.directory.dynamodb.table}"
    read = None if offline else read_all(settings, region)
    if read is None:
        return place, Stored(settings)
    if faults := read.faults:
        shown = [printable(f"{place}: {fault}") for fault in faults[:MAX_NAMES]]
        more = [f"and {len(faults) - MAX_NAMES} more"] if len(faults) > MAX_NAMES else []
        raise UserError("\n".join([*shown, *more]))
    return place, read


def _reject_mistakes(settings: Settings, place: Path | str, region: str, *, assume: bool) -> None:
    """Raise `UserError` for what no type forbids; with `assume`, for roles that cannot be assumed as well."""
    from extproc.cli.alias_warnings import shadowing
    from extproc.cli.roles import role_failures

    _reject_placeholders(settings, place)
    if shadows := list(islice(shadowing(settings), MAX_NAMES)):
        raise UserError("\n".join(f"{place}: {shadow}" for shadow in shadows))
    if assume and (failures := list(role_failures(settings, region))):
        raise UserError("\n".join(printable(f"{place}: {failure}") for failure in failures))


def _reject_placeholders(settings: Settings, path: Path | str) -> None:
    """Raise `UserError` for tokens that were copied from the documentation."""
    append = f"--append {path} " if isinstance(path, Path) else ""
    if names := ", ".join(map(repr, placeholders(settings)[:MAX_NAMES])):
        raise UserError(
            f"{path}: the sha256 of {names} is a placeholder of the documentation, which no token has; make "
            f"a token with `oai-extproc token create {append}--name NAME --organisation ORGANISATION`, and "
            "remove that entry"
        )


def _check_envoy(path: Path) -> list[str]:
    """Return a warning for each open route to Bedrock.

    Raises `UserError` for a configuration of Envoy with a forbidden flag, or one that cannot be searched.
    """
    try:
        text = path.read_text()
        flags, routes = find(text), find_open(text)
    except (UnreadableError, OSError, UnicodeDecodeError) as error:
        raise UserError(printable(f"{path}: {error}")) from error
    if flags:
        raise UserError("\n".join(printable(f"{path}: {flag}") for flag in flags))
    return [
        f"{path}: {printable(route)}: this route leads to Bedrock for requests that no worker has signed: where the "
        "filter is missing or off, callers' tokens go to AWS. Print the fragments again (docs/attach.md)"
        for route in routes
    ]


def _print_callers(
    console: Console, settings: Settings, place: Path | str, now: datetime.datetime, *, offline: bool
) -> None:
    """Print the organisations and tokens, or why they are not known."""
    if isinstance(place, str):
        console.print(f"Tokens and organisations are those of the DynamoDB {place}.")
    if settings.directory is None:
        for table in tables_of(settings, now):
            console.print(table)
    else:
        click.echo("It was not read (--offline)." if offline else _UNREAD)


def _all_warnings(settings: Settings, endpoints: "Endpoints", now: datetime.datetime) -> Iterator[str]:
    """Yield a warning for each thing that is probably a mistake, also as far as AWS's lists show it."""
    from extproc.aws.sdk.endpoints import unknown_region
    from extproc.cli.alias_warnings import alias_warnings
    from extproc.cli.model_warnings import model_warnings

    yield from warnings(settings, now)
    yield from model_warnings(settings, endpoints.region)
    yield from alias_warnings(settings, endpoints.region)
    if unknown := unknown_region(endpoints):
        yield unknown
    yield from troubles(settings)


def warnings(settings: Settings, now: datetime.datetime) -> Iterator[str]:
    """Yield a warning for each valid setting that is probably a mistake."""
    for token in settings.tokens:
        if not token.organisations:
            yield f"token {token.name!r} has no organisation: every call with it gets a 403"
        if token.expires is not None and token.expires <= now:
            yield f"token {token.name!r} expired on {token.expires:%Y-%m-%d}"
    used = {name for token in settings.tokens for name in token.organisations}
    for name in settings.organisations:
        if name not in used and not settings.jwt:
            yield f"organisation {name!r} has no token: no call can be made for it"
    if settings.jwt and not settings.organisations and settings.directory is None:
        yield "there are no organisations: every call with a signed token (`jwt`) gets a 403"
    if not settings.tokens and not settings.jwt and settings.directory is None:
        yield "there are no tokens: every call gets a 401 (make one with `oai-extproc token create`)"


def _workers(settings: Settings) -> str:
    limit = f"bodies up to {settings.limits.request_bytes / MIB:g} MiB"
    workers = worker_count(settings)
    return f"{workers} worker{'s' if workers > 1 else ''}, {limit}"
