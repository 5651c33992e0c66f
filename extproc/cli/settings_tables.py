"""Tables of the organisations, aliases, tokens and issuers of a configuration, as `check` prints them."""

import datetime
from collections.abc import Iterator, Sequence
from itertools import islice

from rich.table import Table
from rich.text import Text

from extproc.config import Settings, Token
from extproc.config.faults import printable

MAX_ROWS = 1000
"""Largest number of rows of a table: to print one takes longer than to read the file."""


def tables_of(settings: Settings, now: datetime.datetime) -> Iterator[Table]:
    """Yield the tables of organisations, of aliases if there are any, and of tokens."""
    yield _organisations(settings)
    if settings.aliases or any(own.aliases for own in settings.organisations.values()):
        yield _aliases(settings)
    yield _tokens(settings, now)


def _organisations(settings: Settings) -> Table:
    table = Table("organisation", "allow", "deny", "", box=None)
    for name, organisation in islice(settings.organisations.items(), MAX_ROWS):
        allow, deny = organisation.models.allow, organisation.models.deny
        state = "" if organisation.enabled else "disabled"
        _add_row(table, name, ", ".join(allow), ", ".join(deny), state)
    _add_rest(table, len(settings.organisations))
    return table


def _aliases(settings: Settings) -> Table:
    table = Table("alias", "stands for", "of", box=None)
    rows = [(alias, target, "all") for alias, target in settings.aliases.items()]
    for name, own in settings.organisations.items():
        rows += [(alias, target, name) for alias, target in own.aliases.items()]
    for row in rows[:MAX_ROWS]:
        _add_row(table, *row)
    _add_rest(table, len(rows))
    return table


def _tokens(settings: Settings, now: datetime.datetime) -> Table:
    table = Table("token", "organisations", "expires", box=None)
    for token in settings.tokens[:MAX_ROWS]:
        _add_row(table, token.name, ", ".join(token.organisations), _expiry(token, now))
    _add_rest(table, len(settings.tokens))
    return table


def issuers_table(settings: Settings, keys: Sequence[int] | None) -> Table:
    """Return the issuers, each with the number of its keys; None where these were not fetched."""
    table = Table("issuer", "audiences", "organisation", "scopes", "keys", box=None)
    for index, each in enumerate(settings.jwt):
        count = "not fetched" if keys is None else str(keys[index])
        _add_row(table, each.issuer, ", ".join(each.audiences), each.organisation, each.scopes or "all", count)
    return table


def _add_row(table: Table, *cells: str) -> None:
    """Add a row with text of the file, without markup and control characters."""
    table.add_row(*(Text(printable(cell)) for cell in cells))


def _add_rest(table: Table, count: int) -> None:
    """Add a row with the number of rows that are not shown."""
    if count > MAX_ROWS:
        table.add_row(f"… and {count - MAX_ROWS} more")


def _expiry(token: Token, now: datetime.datetime) -> str:
    if token.expires is None:
        return "never"
    return f"{token.expires:%Y-%m-%d %H:%M %Z}" + (" (expired)" if token.expires <= now else "")
