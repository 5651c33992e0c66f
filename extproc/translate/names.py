"""Names as Bedrock takes them: of tools, and of the properties of their schemas.

Converse takes tool names of 1 to 64 of `[a-zA-Z0-9_-]`, and a family may take less (`tool_names` in the table). Clients
of MCP servers have longer ones, with dots and slashes. A name that fits is kept. Where a hyphen is all that does not
fit, it becomes an underscore; any other name is cut and escaped, with a part of its hash at the end. The result depends
on the name alone (or the prompt cache would miss), unless another tool of the request has that name already.

Invariant: different names of one request become different names.
"""

import hashlib
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

CONVERSE = "[a-zA-Z0-9_-]{1,64}"
"""The names that Converse takes."""
_DIGITS = 8


class _Rule(NamedTuple):
    """A pattern such as `[a-z]{1,64}`, taken apart."""

    fits: re.Pattern[str]
    misfit: re.Pattern[str]
    longest: int


@lru_cache(maxsize=64)
def _rule(pattern: str) -> _Rule:
    letters, _, most = pattern.partition("{1,")
    return _Rule(re.compile(pattern), re.compile(f"[^{letters[1:]}"), int(most[:-1]))


def fits(name: str, pattern: str) -> bool:
    """Return whether Bedrock accepts a name."""
    return _rule(pattern).fits.fullmatch(name) is not None


def bedrock_name(name: str, pattern: str = CONVERSE) -> str:
    """Return `name`, or one derived from it that Bedrock accepts; always the same one."""
    rule = _rule(pattern)
    for like in (name, name.replace("-", "_")):
        if rule.fits.fullmatch(like):
            return like
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    return f"{rule.misfit.sub('_', name[: rule.longest - _DIGITS - 1])}_{digest}"


def bedrock_names(names: Iterable[str], pattern: str = CONVERSE) -> dict[str, str]:
    """Return the name at Bedrock for each different name of one request."""
    client_names = tuple(names)
    mapping = {name: name for name in client_names if fits(name, pattern)}
    free = FreeNames(mapping, pattern)
    for name in client_names:
        if name not in mapping:
            mapping[name] = free.take(bedrock_name(name, pattern))
    return mapping


class FreeNames:
    """The names of one request, or of one schema, that no other has: Bedrock rejects two tools of one name.

    No number is tried twice, so that the time is linear in the names, whatever they are.
    """

    def __init__(self, taken: Iterable[str], pattern: str = CONVERSE) -> None:
        self._taken = set(taken)
        self._longest = _rule(pattern).longest
        self._number = 1

    def take(self, wanted: str) -> str:
        """Return `wanted`, or one derived from it that is free; it is taken from then on."""
        name = wanted
        while name in self._taken:
            self._number += 1
            suffix = f"_{self._number}"
            name = wanted[: self._longest - len(suffix)] + suffix
        self._taken.add(name)
        return name
