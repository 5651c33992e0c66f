"""The comparison of what the installed packages have with what the code declares: `make wire-check`.

A member in which they differ is in `table.yaml`, with the reason, or it is reported.

Decision: docs/decisions.md, D135.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import msgspec

from tests.wire.sides import Side, of_code, of_packages

TABLE = Path(__file__).parent / "table.yaml"
EVERYWHERE = "any"

Entries = Mapping[str, Mapping[str, str]]
"""Place -> path -> why the two differ there, and below."""


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The differences that are meant."""

    not_used: Entries
    """Of the packages alone."""
    only_here: Entries
    """Of the code alone."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The result: each list has `place: member`."""

    new: tuple[str, ...]
    """Members of the packages that are neither declared nor in the table."""
    gone: tuple[str, ...]
    """Members of the code that are neither in the packages nor in the table."""
    stale: tuple[str, ...]
    """Entries of the table that fit nothing any more."""


def table() -> Table:
    """Return the table in the file."""
    return msgspec.yaml.decode(TABLE.read_bytes(), type=Table)


def compare(packages: Side, code: Side, known: Table) -> Difference:
    """Compare the two sides."""
    theirs = {place: _named(members) - code.get(place, set()) for place, members in packages.items()}
    ours = {place: _named(members) - packages[place] for place, members in code.items()}
    new, unused = _split(theirs, known.not_used, {place: _free(members) for place, members in code.items()})
    gone, extra = _split(ours, known.only_here, {})
    return Difference(new, gone, unused + extra)


def _split(
    sides: Mapping[str, set[str]], entries: Entries, free: Mapping[str, set[str]]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the members that no entry covers, and the entries that cover none; what is below `free` is known too."""
    unknown: list[str] = []
    fitting: set[tuple[str, str]] = set()
    for place, members in sides.items():
        paths = [(group, path) for group in (place, EVERYWHERE) for path in entries.get(group, {})]
        for member in sorted(members):
            covering = [entry for entry in paths if covers(entry[1], member)]
            fitting.update(covering)
            if not covering and not any(covers(path, member) for path in free.get(place, ())):
                unknown.append(f"{place}: {member}")
    stale = [f"{place}: {path}" for place, paths in entries.items() for path in paths if (place, path) not in fitting]
    return tuple(unknown), tuple(stale)


def _named(members: set[str]) -> set[str]:
    """Return the members without the marks of free JSON."""
    return {member for member in members if not member.endswith(".*")}


def _free(members: set[str]) -> set[str]:
    """Return the places of free JSON."""
    return {member.removesuffix(".*") for member in members if member.endswith(".*")}


def covers(path: str, member: str) -> bool:
    """Return whether `member` is at `path` or below it; a path that begins with `*` may stand anywhere."""
    if path.startswith("*"):
        return any(covers(path[1:], member[start:]) for start in range(len(member)))
    return member.startswith(path) and member[len(path) :][:1] in ("", ".", "[", " ")


def report(difference: Difference) -> Iterator[str]:
    """Yield the lines of the report."""
    yield f"openai {version('openai')}, botocore {version('botocore')}"
    for title, members in (
        ("New in the packages: declare each, or add it to `not_used` in tests/wire/table.yaml", difference.new),
        ("Not in the packages: remove each, or add it to `only_here` in tests/wire/table.yaml", difference.gone),
        ("Without effect: remove each from tests/wire/table.yaml", difference.stale),
    ):
        if members:
            yield f"\n{title}"
            yield from (f"  {member}" for member in members)
    if difference == Difference((), (), ()):
        yield "Nothing is new."


def check() -> Difference:
    """Compare the installed packages with the code and the table."""
    return compare(of_packages(), of_code(), table())
