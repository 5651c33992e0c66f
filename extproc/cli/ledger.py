"""A ledger of usage, read: lines of JSON -> sums.

It reads line by line, and keeps a sum for each group and the ids of the calls. Ids are in a database that SQLite makes
for this run, in memory up to `_CACHE_KIB` and in a temporary file beyond, so that memory does not grow with the ledger.

The invariant: a call counts once, however often its line is given. A line that is no record counts for nothing, and is
reported; an Envoy that was killed leaves half a line.

Decision: docs/decisions.md, D250.
"""

import gzip
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast
from uuid import UUID

import msgspec

LONGEST_LINE = 64 * 1024
"""Bytes of a line. The gateway's are shorter: the longest value is a model's name of 2,048 characters, each of six
bytes at most."""

_CACHE_KIB = 32 * 1024


class Call(msgspec.Struct):
    """What is read of a line. A worker that was killed early may have left out what has a default here."""

    id: UUID
    start: str
    organisation: str
    token: str | None = ""
    known_model: str | None = ""
    status: int = 0
    input_tokens: int | None = 0
    cached_tokens: int | None = 0
    cache_write_tokens: int | None = 0
    output_tokens: int | None = 0
    reasoning_tokens: int | None = 0
    cost_micro_usd: int | None = 0
    priced: bool | None = False
    estimated: bool | None = False


@dataclass(slots=True)
class Sum:
    """The calls of a group, and what they took."""

    calls: int = 0
    failed_calls: int = 0
    """Those with a status of 400 or more, or of 0: there was no response."""
    estimated_calls: int = 0
    unpriced_calls: int = 0
    """Calls with tokens of a model without a price; they cost 0."""
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_micro_usd: int = 0

    def add(self, call: Call) -> None:
        """Count one more call."""
        self.calls += 1
        self.failed_calls += not 0 < call.status < 400
        self.estimated_calls += bool(call.estimated)
        self.unpriced_calls += not call.priced and bool(call.input_tokens or call.output_tokens)
        self.input_tokens += call.input_tokens or 0
        self.cached_tokens += call.cached_tokens or 0
        self.cache_write_tokens += call.cache_write_tokens or 0
        self.output_tokens += call.output_tokens or 0
        self.reasoning_tokens += call.reasoning_tokens or 0
        self.cost_micro_usd += call.cost_micro_usd or 0


Group = tuple[str, ...]
"""What the calls of one row have in common, in the order of `COLUMNS`."""

COLUMNS = {"model": ("model",), "organisation": ("organisation",), "token": ("organisation", "token"), "day": ("day",)}
"""What calls are grouped by -> the names of what they have in common."""

_GROUPS: dict[str, Callable[[Call], Group]] = {
    # A caller can make up a `model`, as often as it likes, but no `known_model`.
    "model": lambda call: (call.known_model or "",),
    "organisation": lambda call: (call.organisation,),
    "token": lambda call: (call.organisation, call.token or ""),
    "day": lambda call: (call.start[:10],),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """The calls to count: `since` and `until` are times as a ledger has them, empty for no bound; `until` is not in."""

    by: str
    organisation: str = ""
    since: str = ""
    until: str = ""

    def __contains__(self, call: Call) -> bool:
        """Return whether the call counts."""
        return (
            self.organisation in ("", call.organisation)
            and self.since <= call.start
            and (not self.until or call.start < self.until)
        )


@dataclass(slots=True)
class Report:
    """The sums by group, and what was left out of them."""

    sums: dict[Group, Sum] = field(default_factory=dict)
    repeated: int = 0
    """Lines of calls that had one already."""
    warnings: list[str] = field(default_factory=list)
    """One for each file with lines that are no records."""


def read(paths: list[Path], wanted: Wanted) -> Report:
    """Sum up the wanted calls of these ledgers.

    Raises `OSError`, `EOFError` for half a `.gz`, or `sqlite3.Error` where there is no room for the ids.
    """
    report, group = Report(), _GROUPS[wanted.by]
    with closing(_Ids()) as ids:
        for path in paths:
            for call in _calls(path, report):
                if call not in wanted:
                    continue
                if not ids.add(call.id):
                    report.repeated += 1
                    continue
                report.sums.setdefault(group(call), Sum()).add(call)
    return report


def _calls(path: Path, report: Report) -> Iterator[Call]:
    """Yield the records of a file; a warning names its first line that is none."""
    decoder = msgspec.json.Decoder(Call)
    first, broken = 0, 0
    with _opened(path) as file:
        for number, line in enumerate(_lines(file), 1):
            try:
                call = decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                first, broken = first or number, broken + 1
                continue
            yield call
    if broken:
        more = f" and {broken - 1} more are no records" if broken > 1 else " is no record"
        report.warnings.append(f"{path}: line {first}{more}, as after a crash; left out")


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines, and of one that is too long its beginning, which is no record."""
    while line := file.readline(LONGEST_LINE):
        yield line
        while line and not line.endswith(b"\n"):
            line = file.readline(LONGEST_LINE)


def _opened(path: Path) -> IO[bytes]:
    # What `gzip.open` returns is an `IO[bytes]` in all that is read of it.
    return cast(IO[bytes], gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


class _Ids:
    """A set of ids of any size in a bounded memory."""

    def __init__(self) -> None:
        # A database without a name is this connection's alone, and SQLite removes its file at once.
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._database.execute("CREATE TABLE ids (id BLOB PRIMARY KEY) WITHOUT ROWID")
        self._database.execute("BEGIN")

    def add(self, call: UUID) -> bool:
        """Add an id; return whether it is new."""
        return self._database.execute("INSERT OR IGNORE INTO ids VALUES (?)", (call.bytes,)).rowcount == 1

    def close(self) -> None:
        """Forget all ids."""
        self._database.close()
