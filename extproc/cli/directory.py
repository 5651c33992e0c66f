"""`oai-extproc directory`: the table of tokens and organisations."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from extproc import config
from extproc.cli.parameters import UserError, load_settings, required_config, user_errors
from extproc.cli.tenant_table import table_of
from extproc.config.items import KEY, organisation_item, token_item


@click.group()
def directory() -> None:
    """Make and fill the DynamoDB table that gateway.yaml names under `directory`.

    These commands need more permissions than the gateway: it reads single items only.
    """


@directory.command()
@required_config
def init(path: Path) -> None:
    """Make the table, if there is none yet; an existing one stays as it is."""
    from extproc.aws.sdk.table import TableError

    table = table_of(load_settings(path))
    with user_errors(TableError):
        made = table.create()
    where = str(table)
    click.echo(f"Made {where}, which is billed by request." if made else f"There is {where} already: nothing to do.")


@directory.command("import")
@required_config
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="A gateway.yaml with tokens and organisations; its token files count too.",
)
@click.option("--prune", is_flag=True, help="Delete the table's tokens and organisations that the file has not.")
def import_(path: Path, source: Path, prune: bool) -> None:
    """Copy the tokens and organisations of a file into the table.

    Items of the same token or organisation are replaced; all others stay, unless there is --prune. It may be repeated.
    """
    from extproc.aws.sdk.table import TableError

    table, settings = table_of(load_settings(path)), load_settings(source)
    if settings.directory is not None:
        raise UserError(f"{source}: names a table itself; give the file that has the tokens and organisations")
    if prune and not settings.tokens:
        raise UserError(f"{source}: has no tokens, and --prune would delete all of the table's")
    items = list(_items(settings))
    with user_errors(TableError):
        table.write(items)
        pruned = table.prune({item[KEY] for item in items}) if prune else 0
    written = f"{len(settings.organisations)} organisations and {len(settings.tokens)} tokens"
    deleted = f", and deleted {pruned} items" if prune else ""
    click.echo(f"Wrote {written} to {table}{deleted}.")


def _items(settings: config.Settings) -> Iterator[Mapping[str, str]]:
    """Yield the items of a file: the organisations first, so that no token comes before its own."""
    for name, organisation in settings.organisations.items():
        yield organisation_item(name, organisation)
    for token in settings.tokens:
        yield token_item(token)
