"""Warnings of `check` about models: patterns that match nothing, and organisations and tokens that may call nothing.

What AWS offers is not asked: the built-in list is what is known here. ARNs are an account's own, and are not judged.

Decision: docs/decisions.md, D174.
"""

from collections.abc import Iterator

from extproc.bedrock.catalogue import PREFIXES, Catalogue
from extproc.bedrock.seed import seed, seed_date, seed_ids
from extproc.config import Models, Settings
from extproc.config.faults import printable
from extproc.tenancy.policy import choose, matches_none

MAX_COMPARED = 5_000
"""Most patterns that are compared with the built-in list: each takes up to 3 ms."""


def model_warnings(settings: Settings, region: str) -> Iterator[str]:
    """Yield a warning for each pattern without a known model, and for who may call no model."""
    catalogue, names = seed(region), known_names()
    reasons: dict[Models, list[str]] = {}
    compared = 0
    for name, models in _named(settings):
        if models not in reasons:
            compared += len(models.allow) + len(models.deny)
            if compared > MAX_COMPARED:
                yield (
                    f"the file has more than {MAX_COMPARED:,} patterns of models: those from {name} on "
                    "were not compared with the built-in list"
                )
                return
            reasons[models] = [*_unmatched(models, names), *_permits_nothing(models, catalogue)]
        for reason in reasons[models]:
            yield f"{name} {reason}"


def _named(settings: Settings) -> Iterator[tuple[str, Models]]:
    """Yield the models of each organisation and of each token that has some, by their names."""
    for name, organisation in settings.organisations.items():
        yield f"organisation {name!r}", organisation.models
    for token in settings.tokens:
        if token.models is not None:
            yield f"token {token.name!r}", token.models


def known_names() -> str:
    """Return every id in the built-in list, and that of a profile of each geography, one in each line."""
    return "\n".join(name for model in seed_ids() for name in (model, *(f"{each}.{model}" for each in PREFIXES)))


def _unmatched(models: Models, names: str) -> Iterator[str]:
    for key, patterns in (("allow", models.allow), ("deny", models.deny)):
        for pattern in patterns:
            if not pattern.startswith("arn:") and _matches_none(key, pattern, names):
                hint = _hint(key, pattern, names)
                yield (
                    f"has the pattern `{printable(pattern)}` in `models.{key}`, which no model of the built-in list "
                    f"({seed_date()}) matches{hint}"
                )


def _matches_none(key: str, pattern: str, names: str) -> bool:
    return matches_none(pattern, names, ignore_case=key == "deny")


def _hint(key: str, pattern: str, names: str) -> str:
    """Return a suggestion: model ids begin with their maker, and patterns match whole ids."""
    for better in (f"*.{pattern}", f"{pattern}*", f"*{pattern}*"):
        if not _matches_none(key, better, names):
            return f", did you mean `{printable(better)}`?"
    return ""


def _permits_nothing(models: Models, catalogue: Catalogue) -> Iterator[str]:
    """Yield a reason if these rules permit no known model of the region."""
    if not models.allow:
        yield "allows no model: `models.allow` is empty"
    elif not any(pattern.startswith("arn:") for pattern in models.allow) and not any(
        choose(models, entry.id, entry.targets) for entry in catalogue.entries()
    ):
        yield f"may call nothing: its patterns permit no known model of {catalogue.region}"
