"""`oai-extproc models`: the models that callers may use."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from extproc.cli.parameters import UserError, load_settings, required_config, user_errors
from extproc.config import Organisation, Settings
from extproc.config.aliases import effective_aliases

if TYPE_CHECKING:
    from extproc.bedrock.catalogue import Catalogue


@click.command()
@required_config
@click.option("--organisation", help="List only the models of this organisation.")
def models(path: Path, organisation: str | None) -> None:
    """List the models of GET /models.

    In a pipe, the output is one id a line. A bare id that Bedrock serves only through an inference profile is listed
    under its own name, with the profile beside it; aliases come last.
    """
    settings = load_settings(path)
    chosen = _chosen(settings, organisation)
    catalogue = _catalogue(settings)
    listed = [*_permitted(catalogue, chosen), *_aliases(catalogue, settings, chosen)]
    if not sys.stdout.isatty():
        for model_id in dict.fromkeys(row[0] for row in listed):
            click.echo(model_id)
        return
    table = Table("model", "served by", "organisations", box=None)
    for model_id, served_by, names in listed:
        table.add_row(model_id, "" if served_by == model_id else served_by, ", ".join(names))
    Console(highlight=False).print(table)


def _chosen(settings: Settings, name: str | None) -> dict[str, Organisation]:
    """Return the enabled organisations, or the one of this name; raises `UserError` for an unknown name."""
    if settings.directory is not None:
        table = settings.directory.dynamodb.table
        raise UserError(f"the organisations are in the table {table}: ask the gateway with a token, by GET /models")
    if name is not None and name not in settings.organisations:
        known = ", ".join(settings.organisations) or "none"
        raise UserError(f"no organisation {name!r} in the configuration; there are: {known}")
    return {
        each: organisation
        for each, organisation in settings.organisations.items()
        if organisation.enabled and name in (None, each)
    }


def _catalogue(settings: Settings) -> "Catalogue":
    """Return AWS's list of models, or the built-in one if AWS does not return it, as in the gateway."""
    from extproc.aws.catalogue_keeper import ListingDeniedError, ListingError
    from extproc.aws.sdk.endpoints import resolve
    from extproc.aws.sdk.models import fetch
    from extproc.bedrock.endpoints import EndpointError
    from extproc.bedrock.seed import seed

    with user_errors(EndpointError):
        region = resolve(settings.region).region
    try:
        return fetch(region)
    except (ListingDeniedError, ListingError) as error:
        click.echo(f"warning: no list from AWS, this is the built-in one ({error})", err=True)
        return seed(region)


def _permitted(catalogue: "Catalogue", organisations: dict[str, Organisation]) -> Iterator[tuple[str, str, list[str]]]:
    """Yield each model that an organisation may call, the targets that serve it, and the organisations' names."""
    from extproc.tenancy.policy import choose

    for entry in catalogue.entries():
        targets = {
            name: choose(organisation.models, entry.id, entry.targets) for name, organisation in organisations.items()
        }
        served = {name: target.model_id for name, target in targets.items() if target is not None}
        if served:
            yield entry.id, ", ".join(dict.fromkeys(served.values())), list(served)


def _aliases(
    catalogue: "Catalogue", settings: Settings, organisations: dict[str, Organisation]
) -> Iterator[tuple[str, str, list[str]]]:
    """Yield each alias that an organisation may use, the target that serves it, and the organisations' names."""
    from extproc.tenancy.policy import choose

    rows: dict[tuple[str, str], list[str]] = {}
    for name, organisation in organisations.items():
        for alias, model_id in effective_aliases(settings.aliases, organisation.aliases).items():
            target = choose(organisation.models, model_id, catalogue.targets(model_id))
            if target is not None and not catalogue.lists(alias):
                rows.setdefault((alias, target.model_id), []).append(name)
    for alias, served_by in sorted(rows):
        yield alias, served_by, rows[alias, served_by]
