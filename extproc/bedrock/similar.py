"""The listed model that a wrong id probably means.

Ids are compared by the part that people know: without a geography, the model's maker, the date and the version. An id
of the same model is the best suggestion, then one that is spelled in a similar way: of the few that share most pairs of
letters with it, the one that `difflib`, which takes much longer, finds nearest. What is known of the entries is made
once, as `Names`, with the pairs of letters of each as the bits of a number: that takes many times as long as a search.

Invariant: the result is one of the entries' ids, never `requested` itself, of which only the first `LONGEST` characters
are read.
"""

import difflib
import heapq
import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from extproc.bedrock.catalogue import ORGANISATION, PREFIXES, Entry

LONGEST: Final = 128
"""Characters of an id that are compared."""

CUTOFF: Final = 0.5
"""Least similarity of a suggestion, from 0 to 1, as `difflib` measures it."""

_COMPARED: Final = 8
"""Names that `difflib` compares."""
_PAIRED: Final = 64
"""Characters of a name whose pairs of letters are compared."""

_LAST = r"(?:-[0-9]{8}|-latest)?(?:-v[0-9]+)?(?::[0-9a-z]+)*"
_ID = re.compile(rf"(.*?){_LAST}", re.DOTALL)


class Names:
    """The names of entries, ready to be searched."""

    __slots__ = ("_bits", "_ids", "_makers", "_pairs")

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._ids: dict[str, list[str]] = {}
        self._makers = set(PREFIXES)
        for entry in entries:
            if entry.owned_by == ORGANISATION:
                self._ids.setdefault(_name(_without_makers(entry.id.lower(), self._makers)), []).append(entry.id)
                continue
            foundation = entry.targets[0].foundation
            if foundation is not None:
                self._makers.add(entry.owned_by)
                self._ids.setdefault(_name(foundation.partition(".")[2]), []).append(entry.id)
        self._bits: dict[str, int] = {}
        """The bit of each pair of letters."""
        self._pairs: dict[str, tuple[int, int]] = {}
        """The pairs of each name: their bits, and how many they are."""
        for name in self._ids:
            bits = 0
            for pair in _pairs(name):
                bits |= self._bits.setdefault(pair, 1 << len(self._bits))
            self._pairs[name] = bits, bits.bit_count()

    def similar(self, requested: str) -> str | None:
        """Return the id of the entry that is most like `requested`; None if none is."""
        exact, requested = requested, requested[:LONGEST].lower()
        name = _name(_without_makers(requested, self._makers))
        ids = self._other_ids(name, exact)
        if not ids:
            likely = [each for each in self._likely(name) if self._other_ids(each, exact)]
            nearest = difflib.get_close_matches(name, likely, n=1, cutoff=CUTOFF)
            if not nearest:
                return None
            ids = self._other_ids(nearest[0], exact)
        return _best(requested, ids)

    def _other_ids(self, name: str, exact: str) -> list[str]:
        return [each for each in self._ids.get(name, ()) if each != exact]

    def _likely(self, name: str) -> list[str]:
        """Return the few names that share most pairs of letters with `name`, for their length."""
        pairs = _pairs(name)
        bits, number = 0, len(pairs)
        for pair in pairs:
            bits |= self._bits.get(pair, 0)
        ranks: list[tuple[float, str]] = []
        for each, (theirs, length) in self._pairs.items():
            if shared := (bits & theirs).bit_count():
                ranks.append((shared / (number + length), each))
        return [each for _, each in heapq.nlargest(_COMPARED, ranks)]


def similar(requested: str, entries: Iterable[Entry]) -> str | None:
    """Return the id of the entry that is most like `requested`; None if none is."""
    return Names(entries).similar(requested)


def _pairs(name: str) -> set[str]:
    """Return the pairs of letters that follow each other in a name, as far as it is compared."""
    name = name[:_PAIRED]
    return {one + other for one, other in pairwise(name)}


def _without_makers(requested: str, makers: set[str]) -> str:
    """Return the id without a geography and a maker (`us.anthropic.`, `anthropic/`), and without what precedes `/`."""
    rest = requested.rpartition("/")[2]
    head, dot, below = rest.partition(".")
    while dot and head in makers:
        rest = below
        head, dot, below = rest.partition(".")
    return rest


def _name(model: str) -> str:
    """Return a model's name without date and version."""
    match = _ID.fullmatch(model)
    return (match[1] if match else model).replace(".", "-")


def _best(requested: str, ids: list[str]) -> str:
    """Return the id that has the longest beginning in common with `requested`; of those the shortest, then the last."""
    best, rank = "", (-1, 0, "")
    for each in ids:
        this = (_common(requested, each) if "." in requested else 0, -len(each), each)
        if this > rank:
            best, rank = each, this
    return best


def _common(one: str, other: str) -> int:
    """Return the number of characters that both begin with."""
    length = 0
    while length < min(len(one), len(other)) and one[length] == other[length]:
        length += 1
    return length
