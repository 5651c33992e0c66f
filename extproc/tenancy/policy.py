"""The models that an organisation may call.

A target has several names: the id of the request, the id or ARN that would be called, the profile id inside an
inference-profile ARN, and the foundation model behind it. The rules:

- A target is permitted if *any* of its names matches a pattern of `allow` and *none* matches a pattern of `deny`.
  So `allow: ["anthropic.*"]` admits `anthropic.claude-sonnet-4-6`, `us.anthropic.claude-sonnet-4-6`, and an ARN of
  a profile of that model; and `deny: ["global.*"]` sends a bare id to the profile of the region's geography, or
  forbids it.
- `deny` matches broadly: it also matches each name without the part before its first dot, so that
  `deny: ["anthropic.*"]` holds for a geography that the gateway does not know.
- `deny` fails closed: a target whose foundation model is not known could be any model, and is rejected if `deny`
  has any pattern. That is so for a provisioned, custom or imported model, a prompt, a prompt router and another
  account's application profile, and for an id that AWS does not list and that is no known geography with a known
  model: AWS alone decides which model serves it.
- A token's own rules narrow its organisation's: a target is permitted if both permit it. The first target that both
  permit serves the call.
- Patterns have `*` (any characters, or none) and `?` (one character); every other character means itself, `[` too.
  The whole name must match. `deny` ignores case; in `allow`, case counts.
- Before all that, `geography: strict` leaves out the targets that may be served outside of the region's geography, by
  what the catalogue knows of them, not by their names alone.

Invariant: for any id, the result is a member of `targets` that these rules permit, or None.

Decisions: docs/decisions.md, D58, D191, D216.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from extproc.bedrock.catalogue import Catalogue, Target, profile_id
from extproc.bedrock.model_ids import LONGEST_REMEMBERED
from extproc.config import Models, Organisation
from extproc.value import Value


class Narrowed(Value, frozen=True):
    """The rules of an organisation and those of a token: both have to permit a target."""

    organisation: Models
    token: Models


ModelRules = Models | Narrowed


def choose(models: ModelRules, requested: str, targets: tuple[Target, ...]) -> Target | None:
    """Return the first of `targets` (those that may serve the id `requested`, best first) that `models` permits."""
    if len(requested) > LONGEST_REMEMBERED:
        return _first_permitted(models, requested, targets)
    return _cached(models, requested, targets)


def within(catalogue: Catalogue, organisation: Organisation, targets: tuple[Target, ...]) -> tuple[Target, ...]:
    """Return those targets that the organisation's `geography` permits; `catalogue` is its region's."""
    return targets if organisation.geography == "global" else catalogue.resident(targets)


def matches_none(pattern: str, names: str, *, ignore_case: bool = False) -> bool:
    """Return whether the pattern matches none of the `names`, one in each line."""
    flags = re.MULTILINE | (re.IGNORECASE if ignore_case else 0)
    return re.search(rf"^(?:{_translate(pattern)})$", names, flags) is None


def _first_permitted(models: ModelRules, requested: str, targets: tuple[Target, ...]) -> Target | None:
    return next((target for target in targets if _permitted(models, requested, target)), None)


_cached = lru_cache(maxsize=4096)(_first_permitted)


def matches(pattern: str, names: Sequence[str], *, ignore_case: bool = False) -> bool:
    """Return whether the pattern matches any of the `names`."""
    return _any_matches(_compiled((pattern,), re.IGNORECASE if ignore_case else 0), names)


def _permitted(models: ModelRules, requested: str, target: Target) -> bool:
    if isinstance(models, Narrowed):
        return _permitted(models.organisation, requested, target) and _permitted(models.token, requested, target)
    names = names_of(requested, target)
    if models.deny:
        if target.foundation is None or target.guessed:
            return False
        if _any_matches(_compiled(models.deny, re.IGNORECASE), deniable(names)):
            return False
    return _any_matches(_compiled(models.allow), names)


def deniable(names: Sequence[str]) -> list[str]:
    """Return the names that `deny` is matched with: those of a target, and each without its first part."""
    return [*names, *[name.partition(".")[2] for name in names if not name.startswith("arn:")]]


def names_of(requested: str, target: Target) -> list[str]:
    """Return all names of the target, which `allow` is matched with."""
    names = (requested, target.model_id, profile_id(requested), profile_id(target.model_id), target.foundation)
    return [name for name in names if name]


def _any_matches(patterns: re.Pattern[str], names: Sequence[str]) -> bool:
    match = patterns.fullmatch
    return any(match(name) for name in names)


@lru_cache(maxsize=4096)
def _compiled(patterns: tuple[str, ...], flags: int = 0) -> re.Pattern[str]:
    """Compile the patterns of a list to one expression, once for all requests."""
    return re.compile("|".join(map(_translate, patterns)) or r"(?!)", re.DOTALL | flags)


def _translate(pattern: str) -> str:
    """Translate a glob to a regular expression that takes linear time for any id.

    The text between two `*` is matched at its first place only (an atomic group): a later place could never help, since
    the next `*` matches any characters. `fnmatch` does the same, but gives `[` a meaning.
    """
    first, *rest = ("".join("." if c == "?" else re.escape(c) for c in part) for part in pattern.split("*"))
    if not rest:
        return first
    *middle, last = rest
    return "".join([first, *(f"(?>.*?{part})" for part in middle if part), ".*", last])
