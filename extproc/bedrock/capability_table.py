"""The table of capabilities by family of models. No other code tests for a model's name.

A *family* is a set of models with the same features. A row of the table (`capabilities.json`) is a family's name, glob
patterns of its foundation ids, and its features; a row that is `like` another has only the differences. A foundation
id's family is found in three steps:

1. A geography in front (`eu.anthropic…`) is removed: a model's features do not depend on where it runs.
2. The first row, from the top, with a matching pattern counts, so a narrow row comes before a wider one.
3. An id that matches none, or an unknown model (None: a provisioned or imported one), is of the family `unknown`.

`unknown` has the defaults of `Capabilities`: it takes a plain chat, and tools, and nothing optional is sent to it. Each
provider's last row is a wide one, so that a new model gets its relatives' narrowest rules.

An operator's rows (`Table.with_overrides`) come before the built-in ones. A row with a built-in family's name changes
that family, and all that are `like` it: its fields replace the family's, its patterns are matched first. A row with a
new name is a new family.

Invariant: `Table.of` returns capabilities for any string, and never raises.

Each row names its sources (`source`). If sources disagree, or no one has tried, the row has a `doubt`, and takes the
value that Bedrock is least likely to reject, or that fails loudest for the fewest.

Decisions: docs/decisions.md, D10, D162.
"""

import difflib
import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, Struct

from extproc.bedrock.capabilities import FIELDS, UNKNOWN, Capabilities, Name, Note, Pattern
from extproc.bedrock.catalogue import PREFIXES
from extproc.bedrock.model_ids import LONGEST_REMEMBERED


class CapabilityError(ValueError):
    """Rows that make no table; the message starts with the place, as in `capabilities[2].like: …`."""


class _Head(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The fields of a row beside the features."""

    family: Name
    match: tuple[Pattern, ...] = ()
    """Patterns of the family's foundation ids. Case counts, and the whole id must match."""
    like: Name | None = None
    """The family with the features that this row does not set; without it, they have their defaults."""
    source: tuple[Note, ...] = ()
    """Sources: keys of the file's `sources`, or addresses."""
    doubt: tuple[Note, ...] = ()
    """What is uncertain, and why."""


if TYPE_CHECKING:

    class Row(_Head, frozen=True, forbid_unknown_fields=True, kw_only=True):
        """A row of the table: `_Head`, and any of `FIELDS`, each UNSET unless the row sets it."""

else:
    Row = msgspec.defstruct(
        "Row",
        [(field.name, field.type, UNSET) for field in FIELDS],
        bases=(_Head,),
        frozen=True,
        forbid_unknown_fields=True,
        kw_only=True,
        module=__name__,
        namespace={"__doc__": "A row of the table: `_Head`, and any of `FIELDS`, each UNSET unless the row sets it."},
    )


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    about: tuple[str, ...]
    date: str
    sources: dict[str, str]
    families: tuple[Row, ...]


class Table:
    """The families, and the rules that map a foundation id to its own. Immutable."""

    def __init__(self, rows: Sequence[Row], overrides: Sequence[Row] = (), where: str = "capabilities") -> None:
        """`where` names `overrides` in messages. Raises `CapabilityError`."""
        self._rows = tuple(rows)
        merged = {UNKNOWN: Row(family=UNKNOWN)} | _by_name(self._rows, "families")
        for name, row in _by_name(overrides, where).items():
            merged[name] = _over(merged[name], row) if name in merged else row
        _check(overrides, merged, frozenset({UNKNOWN, *(row.family for row in self._rows)}), where)
        self.families: Mapping[str, Capabilities] = {
            name: Capabilities(family=name, **_inherited(name, merged)) for name in merged
        }
        """By name, including those without models of their own, which others are `like`."""
        self._patterns = tuple(
            (re.compile(fnmatch.translate(pattern)), row.family)
            for row in (*overrides, *self._rows)
            for pattern in row.match
        )
        self._cached = lru_cache(maxsize=4096)(self._find)

    def of(self, foundation: str | None) -> Capabilities:
        """Return the features of the model with this foundation id; None is an unknown model."""
        find = self._cached if len(foundation or "") <= LONGEST_REMEMBERED else self._find
        return self.families[UNKNOWN] if foundation is None else find(foundation)

    def with_overrides(self, rows: Sequence[Row], where: str = "capabilities") -> "Table":
        """Return a table of the built-in rows and an operator's, in place of earlier ones; raises `CapabilityError`."""
        return Table(self._rows, rows, where)

    def _find(self, foundation: str) -> Capabilities:
        geography, _, rest = foundation.partition(".")
        name = rest if geography in PREFIXES and "." in rest else foundation
        return self.families[next((family for fits, family in self._patterns if fits.match(name)), UNKNOWN)]


def _by_name(rows: Iterable[Row], where: str) -> dict[str, Row]:
    """Return the rows by family; raises `CapabilityError` for a repeated one."""
    by_name: dict[str, Row] = {}
    for index, row in enumerate(rows):
        if row.family in by_name:
            raise CapabilityError(f"{where}[{index}].family: `{row.family}` has a row already; write one row for it")
        by_name[row.family] = row
    return by_name


def _over(row: Row, override: Row) -> Row:
    """Return `row` with the features of `override`, but with its own patterns: the table matches both."""
    return msgspec.structs.replace(row, like=override.like or row.like, **_own(override))


def _own(row: Row) -> dict[str, Any]:
    """Return the features that a row sets."""
    pairs = ((field.name, getattr(row, field.name)) for field in FIELDS)
    return {name: value for name, value in pairs if value is not UNSET}


def _inherited(name: str, rows: Mapping[str, Row]) -> dict[str, Any]:
    """Return a row's features, and those of the rows that it is `like`, which have been checked."""
    row = rows[name]
    return (_inherited(row.like, rows) if row.like else {}) | _own(row)


def _check(overrides: Sequence[Row], rows: Mapping[str, Row], built_in: frozenset[str], where: str) -> None:
    """Check that every `like` names a family, and that every override has models; raises `CapabilityError`."""
    places = {row.family: f"{where}[{index}]" for index, row in enumerate(overrides)}
    parents = {row.like for row in rows.values()}
    for name in (*places, *rows):
        row, place = rows[name], places.get(name, f"the family {name}")
        if row.like is not None and row.like not in rows:
            guesses = difflib.get_close_matches(row.like, list(rows), n=1)
            guess = f", did you mean `{guesses[0]}`?" if guesses else ""
            raise CapabilityError(f"{place}.like: there is no family `{row.like}`{guess}")
        if _circles(name, rows):
            raise CapabilityError(f"{place}.like: `{name}` would be like itself")
        if name in places and name not in built_in and not row.match and name not in parents:
            raise CapabilityError(f"{place}.match: missing; name the foundation ids of the family `{name}`")


def _circles(name: str | None, rows: Mapping[str, Row]) -> bool:
    """Return whether a chain of `like` returns to a family that it has passed."""
    seen: list[str] = []
    while name is not None and name in rows and name not in seen:
        seen.append(name)
        name = rows[name].like
    return name in seen


_FILE = msgspec.json.decode((files("extproc.bedrock") / "capabilities.json").read_bytes(), type=_File)

ROWS = _FILE.families
"""The built-in rows, in the file's order."""

SOURCES: Mapping[str, str] = _FILE.sources
"""The sources that the keys in `Row.source` name."""

BUILT_IN = Table(ROWS)
"""The table without any operator's rows."""
