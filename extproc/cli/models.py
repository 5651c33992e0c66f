"""`oai-extproc models`: the models that callers may use."""

import datetime
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from extproc.cli.parameters import UserError, load_settings, required_config, user_errors
from extproc.cli.stores import read_all, read_organisation_of
from extproc.config import Organisation, Settings, Token
from extproc.config.aliases import effective_aliases
from extproc.config.faults import nearest, printable
from extproc.config.roles import RoleSettings

if TYPE_CHECKING:
    from extproc.bedrock.catalogue import Catalogue, Target
    from extproc.tenancy.policy import ModelRules


@click.command()
@required_config
@click.option("--organisation", help="List only the models of this organisation.")
@click.option("--token", "token_name", help="List only what the token of this name may call.")
@click.option("--missing", is_flag=True, help="List what is not in the list of --organisation or --token, and why.")
def models(path: Path, organisation: str | None, token_name: str | None, missing: bool) -> None:
    """List the models of GET /models, from AWS's list and the organisations of gateway.yaml or of its table.

    In a pipe, the output is one id a line, or with --missing an id, a tab and the reason. A bare id that Bedrock serves
    only through an inference profile is listed under its own name, with the profile beside it; aliases come last. On a
    terminal, --organisation and --token show both lists.
    """
    one = organisation is not None or token_name is not None
    if missing and not one:
        raise UserError("--missing is about one caller: add --organisation NAME or --token NAME")
    settings = load_settings(path)
    known = _Catalogues(settings)
    callers = _callers(settings, known.region, organisation, token_name)
    terminal = sys.stdout.isatty()
    if not missing:
        _print_listed(known, callers, terminal)
    if one and (missing or terminal):
        for caller in callers.values():
            _print_missing(known, caller, terminal)


@dataclass(frozen=True, slots=True)
class _Caller:
    """An organisation, or a token of it: the rules for its models, its aliases, and its own settings."""

    rules: "ModelRules"
    aliases: Mapping[str, str]
    own: Organisation

    def choose(self, catalogue: "Catalogue", model_id: str) -> "Target | None":
        """Return the target that serves this caller's calls of a model, None if there is none."""
        from extproc.tenancy.policy import choose, within

        return choose(self.rules, model_id, within(catalogue, self.own, catalogue.targets(model_id)))


class _Catalogues:
    """The lists of models of the callers' regions and roles, each asked for once."""

    def __init__(self, settings: Settings) -> None:
        """Raises `UserError` where AWS's settings name no region."""
        from extproc.aws.sdk.endpoints import resolve
        from extproc.bedrock.endpoints import EndpointError

        with user_errors(EndpointError):
            self.region = resolve(settings.region).region
        self._known: dict[tuple[str, RoleSettings | None], tuple[Catalogue, bool]] = {}

    def of(self, own: Organisation) -> "tuple[Catalogue, bool]":
        """Return the list for an organisation, and whether it is AWS's."""
        key = (own.region or self.region, own.role)
        if key not in self._known:
            self._known[key] = _catalogue(*key)
        return self._known[key]


def _print_listed(known: _Catalogues, callers: Mapping[str, _Caller], terminal: bool) -> None:
    listed = [*_permitted(known, callers), *_aliases(known, callers)]
    if not terminal:
        for model_id in dict.fromkeys(row[0] for row in listed):
            click.echo(model_id)
        return
    table = Table("model", "served by", "organisations", box=None)
    for model_id, served_by, names in listed:
        table.add_row(model_id, "" if served_by == model_id else served_by, ", ".join(names))
    Console(highlight=False).print(table)


def _print_missing(known: _Catalogues, caller: _Caller, terminal: bool) -> None:
    from extproc.cli.missing_models import missing

    catalogue, by_aws = known.of(caller.own)
    rows = missing(catalogue, caller.rules, caller.aliases, caller.own, listed_by_aws=by_aws)
    if not terminal:
        for name, reason in rows:
            click.echo(f"{name}\t{reason}")
        return
    table = Table("not in the list", "why", box=None)
    for name, reason in rows:
        table.add_row(Text(printable(name)), Text(reason))
    Console(highlight=False).print(table)


def _callers(settings: Settings, region: str, organisation: str | None, token_name: str | None) -> dict[str, _Caller]:
    """Return the callers whose models are listed, by the names of their organisations; raises `UserError`."""
    settings = _stored(settings, region, organisation, token_name)
    token = None if token_name is None else _token(settings, token_name)
    chosen = _chosen(settings, organisation if token is None else _organisation_of(token, organisation))
    return {name: _caller(settings, each, token) for name, each in chosen.items()}


def _stored(settings: Settings, region: str, organisation: str | None, token_name: str | None) -> Settings:
    """Return the settings with the organisations, and the tokens where they are needed, of the table if it has them."""
    if settings.directory is None:
        return settings
    table = settings.directory.dynamodb.table
    if organisation is not None and token_name is None:
        found = read_organisation_of(settings, organisation, region)
        if found is None:
            raise UserError(f"no organisation {organisation!r} in the table {table}")
        return _replaced(settings, {organisation: found})
    whole = read_all(settings, region)
    if whole is None:
        raise UserError(
            f"table {table}: to find {'a token by its name' if token_name else 'all organisations'} takes "
            "the permission `dynamodb:Scan`; give it to these credentials, or name one --organisation"
        )
    for fault in whole.faults:
        click.echo(f"warning: {fault}", err=True)
    return whole.settings


def _replaced(settings: Settings, organisations: dict[str, Organisation]) -> Settings:
    return msgspec.structs.replace(settings, organisations=organisations, directory=None)


def _token(settings: Settings, name: str) -> Token:
    """Return the token of this name, with a warning if its list of models is an error; raises `UserError`."""
    token = next((each for each in settings.tokens if each.name == name), None)
    if token is None:
        raise UserError(f"no token {name!r}{nearest(name, [each.name for each in settings.tokens])}")
    if token.expires is not None and token.expires <= datetime.datetime.now(datetime.UTC):
        click.echo(f"warning: the token {name!r} has expired: every call with it gets a 401", err=True)
    if token.scopes is not None and "models" not in token.scopes:
        click.echo(f"warning: the token {name!r} has not the scope `models`: GET /models is a 403", err=True)
    return token


def _organisation_of(token: Token, name: str | None) -> str:
    """Return the organisation that the token is used for; raises `UserError`."""
    names = ", ".join(token.organisations)
    if name is None and len(token.organisations) != 1:
        raise UserError(f"the token {token.name!r} is for {names or 'no organisation'}: name one by --organisation")
    if name is not None and name not in token.organisations:
        raise UserError(f"the token {token.name!r} is not for the organisation {name!r}; it is for: {names or 'none'}")
    return name or token.organisations[0]


def _caller(settings: Settings, organisation: Organisation, token: Token | None) -> _Caller:
    from extproc.tenancy.policy import Narrowed

    aliases = effective_aliases(settings.aliases, organisation.aliases)
    if token is None or token.models is None:
        return _Caller(organisation.models, aliases, organisation)
    return _Caller(Narrowed(organisation.models, token.models), aliases, organisation)


def _chosen(settings: Settings, name: str | None) -> dict[str, Organisation]:
    """Return the enabled organisations, or the one of this name; raises `UserError` for an unknown name."""
    if name is not None and name not in settings.organisations:
        known = ", ".join(settings.organisations) or "none"
        raise UserError(f"no organisation {name!r} in the configuration; there are: {known}")
    if name is not None and not settings.organisations[name].enabled:
        click.echo(f"warning: the organisation {name!r} is disabled: every call for it gets a 403", err=True)
    return {
        each: organisation
        for each, organisation in settings.organisations.items()
        if organisation.enabled and name in (None, each)
    }


def _catalogue(region: str, role: RoleSettings | None) -> "tuple[Catalogue, bool]":
    """Return AWS's list of models, or the built-in one if AWS does not return it, and whether it is AWS's."""
    from extproc.aws.catalogue_keeper import ListingDeniedError, ListingError
    from extproc.aws.credentials import NoCredentialsError
    from extproc.aws.sdk.models import fetch
    from extproc.aws.sdk.roles import fetch_as
    from extproc.bedrock.seed import seed

    try:
        return fetch(region) if role is None else fetch_as(role, region), True
    except (ListingDeniedError, ListingError, NoCredentialsError) as error:
        click.echo(f"warning: no list from AWS for {region}, this is the built-in one ({error})", err=True)
        return seed(region), False


def _permitted(known: _Catalogues, callers: Mapping[str, _Caller]) -> Iterator[tuple[str, str, list[str]]]:
    """Yield each model that an organisation may call, the targets that serve it, and the organisations' names."""
    rows: dict[str, dict[str, str]] = {}
    for name, caller in callers.items():
        catalogue, _ = known.of(caller.own)
        for entry in catalogue.entries():
            target = caller.choose(catalogue, entry.id)
            if target is not None:
                rows.setdefault(entry.id, {})[name] = target.model_id
    for model_id in sorted(rows):
        yield model_id, ", ".join(dict.fromkeys(rows[model_id].values())), list(rows[model_id])


def _aliases(known: _Catalogues, callers: Mapping[str, _Caller]) -> Iterator[tuple[str, str, list[str]]]:
    """Yield each alias that an organisation may use, the target that serves it, and the organisations' names."""
    rows: dict[tuple[str, str], list[str]] = {}
    for name, caller in callers.items():
        catalogue, _ = known.of(caller.own)
        for alias, model_id in caller.aliases.items():
            target = caller.choose(catalogue, model_id)
            if target is not None and not catalogue.lists(alias):
                rows.setdefault((alias, target.model_id), []).append(name)
    for alias, served_by in sorted(rows):
        yield alias, served_by, rows[alias, served_by]
