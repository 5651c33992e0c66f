"""Which models an organisation may call.

A model goes by several names at once: the id that was asked for, the id or ARN that would be called, the profile
id inside an inference-profile ARN, and the foundation model behind it all. The rules:

- A target is permitted if *any* of its names matches a pattern of `allow` and *none* matches a pattern of `deny`.
  So `allow: ["anthropic.*"]` admits `anthropic.claude-sonnet-4-6`, `us.anthropic.claude-sonnet-4-6`, and an ARN of
  a profile of that model; and `deny: ["global.*"]` makes a bare id go to the profile of the region's geography, or
  nowhere.
- `deny` is read broadly: it also sees each name without what stands before its first dot, so that
  `deny: ["anthropic.*"]` holds for a geography that the gateway has never heard of.
- `deny` fails closed: a target whose foundation model is not known could be any model, and is rejected as soon as
  `deny` has a pattern at all. That is so for a provisioned, custom or imported model, a prompt, a prompt router and
  somebody else's application profile, and for an id that neither AWS lists nor a known geography and a known model
  make up: what AWS would take it for is AWS's to decide.
- Patterns know `*` (any characters, also none) and `?` (one character); everything else means itself, `[` too.
  The whole name must match. `deny` ignores case; in `allow`, case counts.

Invariant: whatever is asked for, the result is a member of `targets` that these rules permit, or None.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from extproc.bedrock.catalogue import Target, profile_id
from extproc.bedrock.model_ids import LONGEST_REMEMBERED
from extproc.config import Models


def choose(models: Models, asked: str, targets: tuple[Target, ...]) -> Target | None:
    """Return the first of `targets` (what `asked` may be served by, best first) that `models` permits."""
    if len(asked) > LONGEST_REMEMBERED:
        return _first_permitted(models, asked, targets)
    return _remembered(models, asked, targets)


def _first_permitted(models: Models, asked: str, targets: tuple[Target, ...]) -> Target | None:
    return next((target for target in targets if _permitted(models, asked, target)), None)


_remembered = lru_cache(maxsize=4096)(_first_permitted)


def _permitted(models: Models, asked: str, target: Target) -> bool:
    names = _names(asked, target)
    if models.deny:
        if target.foundation is None or target.guessed:
            return False
        behind = [name.partition(".")[2] for name in names if not name.startswith("arn:")]
        if _any_matches(_compiled(models.deny, re.IGNORECASE), [*names, *behind]):
            return False
    return _any_matches(_compiled(models.allow), names)


def _names(asked: str, target: Target) -> list[str]:
    """All that the target goes by."""
    names = (asked, target.model_id, profile_id(asked), profile_id(target.model_id), target.foundation)
    return [name for name in names if name]


def _any_matches(patterns: re.Pattern[str], names: Sequence[str]) -> bool:
    match = patterns.fullmatch
    return any(match(name) for name in names)


@lru_cache(maxsize=4096)
def _compiled(patterns: tuple[str, ...], flags: int = 0) -> re.Pattern[str]:
    """One expression for all patterns of a list: compiled once, however many requests there are."""
    return re.compile("|".join(map(_translate, patterns)) or r"(?!)", re.DOTALL | flags)


def _translate(pattern: str) -> str:
    """A glob as a regular expression that takes linear time, whatever id a caller makes up.

    What stands between two `*` is looked for at its first place only (an atomic group): a later place could never
    help, since the next `*` takes up any characters. `fnmatch` does the same, but gives `[` a meaning.
    """
    first, *rest = ("".join("." if c == "?" else re.escape(c) for c in part) for part in pattern.split("*"))
    if not rest:
        return first
    *middle, last = rest
    return "".join([first, *(f"(?>.*?{part})" for part in middle if part), ".*", last])
