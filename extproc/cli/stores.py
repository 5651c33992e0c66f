"""The tokens and organisations in force, for commands: those of gateway.yaml, or of the table that it names.

Decision: docs/decisions.md, D223.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
import msgspec

from extproc.cli.parameters import TemporaryError, UserError, user_errors
from extproc.config import ConfigError, Organisation, Settings, Token
from extproc.config.faults import nearest, printable
from extproc.config.items import ORGANISATION, TOKEN, read_organisation, read_token
from extproc.config.regions import check_region

if TYPE_CHECKING:
    from extproc.aws.sdk.table_reader import TableProblemError, TableReader

_PROBE = f"{TOKEN}{'0' * 64}"
"""A key that no token has: no text has this SHA-256 that anybody knows."""


@dataclass(frozen=True, slots=True)
class Stored:
    """The settings with the table's tokens and organisations in them, and what is wrong with its items."""

    settings: Settings
    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def read_organisation_of(settings: Settings, name: str, region: str) -> Organisation | None:
    """Return an organisation of the table, None if there is none; `region` is the gateway's.

    Raises `UserError`, or `TemporaryError`.
    """
    from extproc.aws.sdk.table_reader import TableProblemError

    reader = _reader(settings, region)
    key = ORGANISATION + name
    try:
        text = reader.get(key)
    except TableProblemError as problem:
        raise _error(problem, reader, region) from problem
    with user_errors(ConfigError):
        return None if text is None else read_organisation(key, text)


def read_all(settings: Settings, region: str) -> Stored | None:
    """Return the settings with all that the table has, None where only single items may be read.

    The table is read as a gateway does it, first, and then as a whole, once. Raises `UserError`, or `TemporaryError`.
    """
    from extproc.aws.sdk.table_reader import DENIED, TableProblemError

    reader = _reader(settings, region)
    try:
        reader.get(_PROBE)
        items = list(reader.scan())
    except TableProblemError as problem:
        if problem.code == DENIED and "dynamodb:Scan" in str(problem):
            return None
        raise _error(problem, reader, region) from problem
    return stored(settings, items, region)


def stored(settings: Settings, items: Iterable[tuple[str, str]], region: str) -> Stored:
    """Return the settings with the tokens and organisations among the keys and texts of a table's items.

    `region` is the gateway's.
    """
    known = {region, *settings.regions}
    organisations: dict[str, Organisation] = {}
    there: set[str] = set()
    tokens: list[Token] = []
    faults: list[str] = []
    for key, text in items:
        if key.startswith(ORGANISATION):
            there.add(key.removeprefix(ORGANISATION))
        try:
            if key.startswith(ORGANISATION):
                organisation = read_organisation(key, text)
                organisations[key.removeprefix(ORGANISATION)] = organisation
                check_region(key, organisation.region, known)
            elif key.startswith(TOKEN):
                tokens.append(read_token(key, text))
        except ConfigError as error:
            faults.append(f"{error}: its callers get a 503")
    missing = list(_undefined(tokens, there))
    tokens.sort(key=lambda token: token.name)
    whole = msgspec.structs.replace(
        settings, organisations=dict(sorted(organisations.items())), tokens=tuple(tokens), directory=None
    )
    return Stored(whole, (*faults, *missing), tuple(_repeated(tokens)))


def _undefined(tokens: Iterable[Token], organisations: Collection[str]) -> Iterator[str]:
    """Yield a fault for each organisation of a token that the table has not; `organisations` are those it has."""
    for token in tokens:
        for name in token.organisations:
            if name not in organisations:
                yield (
                    f"{TOKEN}{token.sha256}: the token {token.name!r} is for the organisation `{name}`, which the "
                    f"table has not{nearest(name, organisations)}: its calls get a 403; write `{ORGANISATION}{name}`, "
                    "or take it from the token"
                )


def _repeated(tokens: Iterable[Token]) -> Iterator[str]:
    """Yield a warning for each name that several tokens have."""
    seen: set[str] = set()
    told: set[str] = set()
    for token in tokens:
        if token.name in seen and token.name not in told:
            told.add(token.name)
            yield f"several tokens have the name {printable(token.name)!r}: logs cannot tell them apart"
        seen.add(token.name)


def _reader(settings: Settings, region: str) -> "TableReader":
    from extproc.aws.sdk.table_reader import TableReader

    assert settings.directory is not None
    table = settings.directory.dynamodb
    return TableReader(table.table, table.region or region)


def _error(problem: "TableProblemError", reader: "TableReader", region: str) -> click.ClickException:
    """Return the problem as an error of the command, with the region that was probably meant."""
    elsewhere = _elsewhere(problem, reader, region)
    kind = TemporaryError if problem.temporary and not elsewhere else UserError
    return kind(f"{problem}{elsewhere}")


def _elsewhere(problem: "TableProblemError", reader: "TableReader", region: str) -> str:
    from extproc.aws.sdk.endpoints import nearest_region
    from extproc.aws.sdk.table_reader import MISSING, TableProblemError, TableReader

    if not problem.code:
        return nearest_region(reader.region)
    if problem.code != MISSING or reader.region == region:
        return ""
    try:
        TableReader(reader.name, region).get(_PROBE)
    except TableProblemError:
        return ""
    return f". There is one of this name in {region}, the gateway's own region"
