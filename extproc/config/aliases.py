"""Aliases: names that an operator gives to models, for everybody or for an organisation.

An alias stands for the id or ARN of a model, never for another alias: so no chain has to be followed for a request, and
there are no circles.

Invariant: after `check_aliases`, no target of an organisation's aliases is an alias itself.

Decision: docs/decisions.md, D183.
"""

from collections.abc import Mapping

from extproc.bedrock.model_ids import is_model_id
from extproc.config.document import ConfigError

MAX_ALIASES = 500
"""Most aliases in one place: `GET /models` compares each with the organisation's patterns."""


def effective_aliases(common: Mapping[str, str], own: Mapping[str, str]) -> Mapping[str, str]:
    """Return the aliases of an organisation: those of all, and its own, which have priority."""
    return {**common, **own} if own else common


def check_aliases(common: Mapping[str, str], organisations: Mapping[str, Mapping[str, str]]) -> None:
    """Check the aliases of all, and those of each organisation by its name; raises `ConfigError`."""
    _check_each(common, "aliases")
    _check_chains(common, "aliases", common)
    for name, own in organisations.items():
        if own:
            where = f"organisations.{name}.aliases"
            _check_each(own, where)
            _check_chains(common, where, own)


def _check_each(aliases: Mapping[str, str], where: str) -> None:
    """Check what can be seen of an alias alone."""
    if len(aliases) > MAX_ALIASES:
        raise ConfigError(f"{where}: {len(aliases):,} aliases, at most {MAX_ALIASES} are accepted")
    for alias, target in aliases.items():
        if alias.startswith("arn:"):
            raise ConfigError(f"{where}.{alias}: an alias cannot look like an ARN; choose another name")
        if target not in aliases and not is_model_id(target):
            raise ConfigError(f"{where}.{alias}: `{target}` has not the form of a model's id or ARN")


def _check_chains(common: Mapping[str, str], where: str, own: Mapping[str, str]) -> None:
    """Check that no alias stands for an alias, as the organisation (or everybody) with the aliases `own` has them."""
    aliases = effective_aliases(common, own)
    for alias, target in aliases.items():
        if target in aliases:
            place = f"{where}.{alias}" if alias in own else f"{where}: `{alias}` of `aliases`"
            raise ConfigError(f"{place}: {_chain(alias, aliases)}")


def _chain(alias: str, aliases: Mapping[str, str]) -> str:
    """Return what is wrong with an alias of an alias, and what to write instead."""
    names = [alias]
    following = aliases[alias]
    while following in aliases and following not in names:
        names.append(following)
        following = aliases[following]
    if following in names:
        circle = " -> ".join([f"`{name}`" for name in (*names, following)])
        return f"{circle} is a circle; write the id of a model"
    return f"`{aliases[alias]}` is an alias too; write the id that it stands for, `{following}`"
