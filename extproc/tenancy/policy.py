"""The models that an organisation may call.

A target has several names: the id or ARN that would be called, the profile id inside an inference-profile ARN, the
foundation model behind it, and the id of the request. The rules:

- A target is permitted if *any* of its names matches a pattern of `allow` and *none* matches a pattern of `deny`.
  So `allow: ["anthropic.*"]` admits `anthropic.claude-sonnet-4-6`, `us.anthropic.claude-sonnet-4-6`, and an ARN of
  a profile of that model; and `deny: ["global.*"]` sends a bare id to the profile of the region's geography, or
  forbids it.
- `allow` matches no text that a caller may choose: it sees what would be called, and not how that was asked for. An id
  that resolves to another one is permitted by that one's names alone; an id with text around a model's that is no
  geography by the model's; and the ARN of a foundation model or of a system profile by the ids in it. ARNs as such are
  matched with patterns that begin with `arn:`, those that name no model (a provisioned model) with all; those of other
  regions, which are called as they are, with `*` only. What `allow` has in full is permitted in that spelling: its
  operator wrote it.
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

Decisions: docs/decisions.md, D58, D191, D216, D326.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from extproc.bedrock.catalogue import PREFIXES, Catalogue, Target, names_model, profile_id
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
    if models.deny:
        if target.foundation is None or target.guessed:
            return False
        if _any_matches(_compiled(models.deny, re.IGNORECASE), deniable(requested, target)):
            return False
    return allows(models.allow, requested, target)


def deniable(requested: str, target: Target) -> list[str]:
    """Return the names that `deny` is matched with: all of the target's, and each without its first part."""
    each = (requested, target.model_id, profile_id(requested), profile_id(target.model_id), target.foundation)
    names = [name for name in each if name]
    return [*names, *[name.partition(".")[2] for name in names if not name.startswith("arn:")]]


def allows(patterns: tuple[str, ...], requested: str, target: Target) -> bool:
    """Return whether a pattern of `allow` matches the target, or is the very id that was asked for."""
    if requested in patterns or _any_matches(_compiled(patterns), allowable(target)):
        return True
    if target.arn is None:
        return False
    return _any_matches(_compiled(tuple([each for each in patterns if each.startswith("arn:")])), (target.arn,))


def allowable(target: Target) -> list[str]:
    """Return the names that each pattern of `allow` is matched with: what is called, without text of the caller's.

    An ARN without any has an empty one, which `*` matches.
    """
    is_arn = target.model_id[:4].lower() == "arn:"
    called = target.arn if is_arn else target.model_id
    if called and names_model(called):
        called = None
    called = called or profile_id(target.model_id)
    if called and target.foundation:
        called = _without_text(called, target.foundation, target.guessed)
    return [name for name in (called, target.foundation) if name] or [""] * is_arn


def _without_text(called: str, foundation: str, guessed: bool) -> str | None:
    """Return an id or ARN as far as AWS has it: none of the text around a model's id that is no geography."""
    head = called.partition(".")[0]
    if called == foundation or head == called or head[:4] == "arn:":
        return called
    if head in PREFIXES:
        return f"{head}.{foundation}"
    return None if guessed or called != f"{head}.{foundation}" else called


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
