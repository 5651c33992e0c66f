"""The log of patterns of models that match nothing, once AWS has listed its models for the first time.

`up` has its own, from the built-in list, before it starts a worker. Here a pattern is a mistake only where it matches
neither that list nor AWS's, which has newer models.

Decision: docs/decisions.md, D292.
"""

import logging
from collections.abc import Iterator
from itertools import islice

from extproc.bedrock.catalogue import Catalogue
from extproc.bedrock.seed import seed_date, seed_ids
from extproc.config import Models, Settings
from extproc.config.faults import printable
from extproc.tenancy.unmatched import names_of_models, unmatched

log = logging.getLogger(__name__)

MOST_COMPARED = 100
"""Most patterns that are compared: each takes up to 3 ms of a start. `check` compares all."""

MOST_LINES = 20


def tell(settings: Settings, catalogue: Catalogue, region: str) -> None:
    """Log each pattern of an organisation and of a token that matches no model, once, if there are not many."""
    names = f"{names_of_models(seed_ids())}\n{_names(catalogue)}"
    for who, key, pattern in islice(_unmatched(settings, names), MOST_LINES):
        log.warning(
            "%s has the pattern `%s` in `models.%s`, which no model matches: none of AWS's list in %s, and none of the "
            "built-in list (%s)",
            who,
            printable(pattern),
            key,
            region,
            seed_date(),
        )


def _unmatched(settings: Settings, names: str) -> Iterator[tuple[str, str, str]]:
    compared, seen = 0, set()
    for who, models in _rules(settings):
        compared += len(models.allow) + len(models.deny)
        if compared > MOST_COMPARED:
            return
        for key, pattern in unmatched(models, names):
            if (who, key, pattern) not in seen:
                seen.add((who, key, pattern))
                yield who, key, pattern


def _rules(settings: Settings) -> Iterator[tuple[str, Models]]:
    for name, organisation in settings.organisations.items():
        yield f"organisation {name!r}", organisation.models
    for token in settings.tokens:
        if token.models is not None:
            yield f"token {token.name!r}", token.models


def _names(catalogue: Catalogue) -> str:
    """Return the names of the models in AWS's list, one in each line: entries, what they call, what is behind."""
    targets = {target for entry in catalogue.entries() for target in entry.targets}
    names = {entry.id for entry in catalogue.entries()} | {target.model_id for target in targets}
    return "\n".join(sorted(names | {target.foundation for target in targets if target.foundation}))
