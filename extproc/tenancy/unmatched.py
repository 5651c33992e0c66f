"""Patterns of models that match no model: mistakes, with which a rule permits or forbids less than was intended.

Decisions: docs/decisions.md, D174, D292.
"""

from collections.abc import Iterable, Iterator

from extproc.bedrock.catalogue import PREFIXES
from extproc.config import Models
from extproc.tenancy.policy import matches_none


def names_of_models(ids: Iterable[str]) -> str:
    """Return these ids of models, and that of a profile of each geography, one in each line."""
    return "\n".join(name for model in ids for name in (model, *(f"{each}.{model}" for each in PREFIXES)))


def is_unmatched(key: str, pattern: str, names: str) -> bool:
    """Return whether a pattern of `models.allow` or `models.deny` (`key`) matches none of `names`, one in each line."""
    return matches_none(pattern, names, ignore_case=key == "deny")


def unmatched(models: Models, names: str) -> Iterator[tuple[str, str]]:
    """Yield the key and each pattern that matches none of `names`. ARNs belong to one account, and are not checked."""
    for key, patterns in (("allow", models.allow), ("deny", models.deny)):
        for pattern in patterns:
            if not pattern.startswith("arn:") and is_unmatched(key, pattern, names):
                yield key, pattern
