"""What `check` reports of aliases: those that shadow a model, and those that nobody can use.

As for patterns, the built-in list is what is known of models here; ARNs are an account's own, and are not judged.

Decision: docs/decisions.md, D183.
"""

from collections.abc import Iterator, Mapping

from extproc.bedrock.seed import seed, seed_date
from extproc.bedrock.similar import similar
from extproc.cli.model_warnings import KnownModels, known_names
from extproc.config import Settings
from extproc.config.aliases import effective_aliases

MAX_COMPARED = 5_000
"""Most aliases of organisations that are compared with the organisations' rules."""


def shadowing(settings: Settings) -> Iterator[str]:
    """Yield an error for each alias that has the name of a model: the model would be called, not what it stands for."""
    names = set(known_names().splitlines())
    for where, aliases in _places(settings):
        for alias in aliases:
            if alias in names:
                yield f"{where}.{alias}: this is the id of a model, which an alias cannot replace; choose another name"


def alias_warnings(settings: Settings, region: str) -> Iterator[str]:
    """Yield a warning for each alias of an unknown model, and for each that may not be used where it is meant for."""
    catalogue, names, known = seed(region), set(known_names().splitlines()), KnownModels(region)
    for where, aliases in _places(settings):
        for alias, target in aliases.items():
            if target not in names and not target.startswith("arn:"):
                meant = similar(target, catalogue.entries())
                hint = f", did you mean `{meant}`?" if meant else ""
                yield f"{where}.{alias}: `{target}` is no model of the built-in list ({seed_date()}){hint}"
    yield from _forbidden_to_all(settings, known)
    yield from _forbidden_to_one(settings, known)
    yield from _defaults(settings, known)


def _places(settings: Settings) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield each mapping of aliases, and its path."""
    yield "aliases", settings.aliases
    for name, organisation in settings.organisations.items():
        if organisation.aliases:
            yield f"organisations.{name}.aliases", organisation.aliases


def _forbidden_to_all(settings: Settings, known: KnownModels) -> Iterator[str]:
    """Yield a warning for each alias of all that no organisation may use."""
    rules = {(own.models, own.region, own.geography): own for own in settings.organisations.values() if own.enabled}
    for alias, target in settings.aliases.items():
        if rules and not any(known.permits(own, target) for own in list(rules.values())[:MAX_COMPARED]):
            yield (
                f"aliases.{alias}: no organisation may call `{target}`; permit it in an organisation's `models`, or "
                "remove the alias"
            )


def _forbidden_to_one(settings: Settings, known: KnownModels) -> Iterator[str]:
    """Yield a warning for each alias of an organisation that this organisation may not use."""
    compared = 0
    for name, organisation in settings.organisations.items():
        compared += len(organisation.aliases)
        if compared > MAX_COMPARED:
            yield (
                f"the file has more than {MAX_COMPARED:,} aliases of organisations: those from organisation {name!r} "
                "on were not compared with the rules"
            )
            return
        for alias, target in organisation.aliases.items():
            if not known.permits(organisation, target):
                yield (
                    f"organisations.{name}.aliases.{alias}: the organisation may not call `{target}`; permit it in "
                    f"`organisations.{name}.models`, or remove the alias"
                )


def _defaults(settings: Settings, known: KnownModels) -> Iterator[str]:
    """Yield a warning for each default model that its organisation may not call."""
    for name, organisation in settings.organisations.items():
        model = organisation.default_model
        if model is not None:
            target = effective_aliases(settings.aliases, organisation.aliases).get(model, model)
            if not known.permits(organisation, target):
                yield (
                    f"organisations.{name}.default_model: the organisation may not call `{target}`; permit it in "
                    f"`organisations.{name}.models`, or choose another"
                )
