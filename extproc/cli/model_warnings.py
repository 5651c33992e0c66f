"""Warnings of `check` about models: patterns that match nothing, and organisations and tokens that may call nothing.

AWS is not called: the models are those of the built-in list. ARNs belong to one account, and are not checked.

Decisions: docs/decisions.md, D174, D292.
"""

from collections.abc import Iterator

from extproc.bedrock.catalogue import Catalogue
from extproc.bedrock.seed import seed, seed_date, seed_ids
from extproc.config import Models, Organisation, Settings
from extproc.config.faults import printable
from extproc.tenancy.policy import choose, within
from extproc.tenancy.unmatched import is_unmatched, names_of_models, unmatched

MAX_COMPARED = 5_000
"""Most patterns that are compared with the built-in list: each takes up to 3 ms."""


class KnownModels:
    """The built-in list as each organisation's region has it; `region` is the gateway's own."""

    def __init__(self, region: str) -> None:
        self._region = region
        self._seeds: dict[str, Catalogue] = {}

    def of(self, organisation: Organisation) -> Catalogue:
        """Return the list of an organisation's region."""
        region = organisation.region or self._region
        if region not in self._seeds:
            self._seeds[region] = seed(region)
        return self._seeds[region]

    def permits(self, organisation: Organisation, model_id: str, models: Models | None = None) -> bool:
        """Return whether the organisation may call a model, by its own rules or by `models`."""
        catalogue = self.of(organisation)
        targets = within(catalogue, organisation, catalogue.targets(model_id))
        return choose(models or organisation.models, model_id, targets) is not None


_ANYBODY = Organisation()


def model_warnings(settings: Settings, region: str, most: int | None = None) -> Iterator[str]:
    """Yield a warning for each pattern without a known model, and for who may call no model.

    `most` is how many patterns to compare, by default `MAX_COMPARED`.
    """
    most = MAX_COMPARED if most is None else most
    known, names = KnownModels(region), known_names()
    reasons: dict[tuple[Models, str | None, str], list[str]] = {}
    compared = 0
    for name, models, own in _named(settings):
        key = (models, own.region, own.geography)
        if key not in reasons:
            compared += len(models.allow) + len(models.deny)
            if compared > most:
                yield (
                    f"the file has more than {most:,} patterns of models: those from {name} on "
                    "were not compared with the built-in list"
                )
                return
            reasons[key] = [*_unmatched(models, names), *_permits_nothing(models, own, known)]
        for reason in reasons[key]:
            yield f"{name} {reason}"


def _named(settings: Settings) -> Iterator[tuple[str, Models, Organisation]]:
    """Yield the models of each organisation and of each token that has some, by their names.

    The region and the geography of a token are those of its organisation, if it has one only.
    """
    for name, organisation in settings.organisations.items():
        yield f"organisation {name!r}", organisation.models, organisation
    for token in settings.tokens:
        if token.models is not None:
            only = token.organisations[0] if len(token.organisations) == 1 else ""
            yield f"token {token.name!r}", token.models, settings.organisations.get(only, _ANYBODY)


def known_names() -> str:
    """Return every id in the built-in list, and that of a profile of each geography, one in each line."""
    return names_of_models(seed_ids())


def _unmatched(models: Models, names: str) -> Iterator[str]:
    for key, pattern in unmatched(models, names):
        yield (
            f"has the pattern `{printable(pattern)}` in `models.{key}`, which no model of the built-in list "
            f"({seed_date()}) matches{_hint(key, pattern, names)}"
        )


def _hint(key: str, pattern: str, names: str) -> str:
    """Return a suggestion: model ids begin with their maker, and patterns match whole ids."""
    for better in (f"*.{pattern}", f"{pattern}*", f"*{pattern}*"):
        if not is_unmatched(key, better, names):
            return f", did you mean `{printable(better)}`?"
    return ""


def _permits_nothing(models: Models, own: Organisation, known: KnownModels) -> Iterator[str]:
    """Yield a reason if these rules permit no known model of the region."""
    if not models.allow:
        yield "allows no model: `models.allow` is empty"
    elif not any(pattern.startswith("arn:") for pattern in models.allow) and not any(
        known.permits(own, entry.id, models) for entry in known.of(own).entries()
    ):
        stays = ", and `geography: strict` leaves out what may leave its geography" if own.geography == "strict" else ""
        yield f"may call nothing: its patterns permit no known model of {known.of(own).region}{stays}"
