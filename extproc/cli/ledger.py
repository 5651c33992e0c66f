"""A ledger of usage, read: lines of JSON -> sums.

It reads line by line, and keeps a sum for each group and the ids of the calls. Both are in a database that SQLite makes
for this run, in memory up to `_CACHE_KIB` and in a temporary file beyond, so that memory does not grow with the ledger:
calls are as many as there are, and so are the tokens of an identity provider. `MOST_IN_MEMORY` groups are added up
before they are written there.

The invariant: a call counts once, however often its line is given. A line that is no record counts for nothing, and is
reported; an Envoy that was killed leaves half a line.

Decision: docs/decisions.md, D250.
"""

import gzip
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import IO, Annotated, cast
from uuid import UUID

import msgspec

from extproc.telemetry.ledger_line import LineDecoder

LONGEST_LINE = 64 * 1024
"""Bytes of a line. The gateway's are shorter: the longest value is a model's name of 2,048 characters, each of six
bytes at most."""

MOST_IN_MEMORY = 10_000
"""Most groups whose sums are kept in memory."""

_CACHE_KIB = 32 * 1024

Count = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]


class Call(msgspec.Struct):
    """The values of a line that are summed up. Those with a default are missing where a worker was killed early."""

    id: UUID
    start: str
    organisation: str
    token: str | None = ""
    known_model: str | None = ""
    status: Count = 0
    input_tokens: Count | None = 0
    cached_tokens: Count | None = 0
    cache_write_tokens: Count | None = 0
    output_tokens: Count | None = 0
    reasoning_tokens: Count | None = 0
    cost_micro_usd: Count | None = 0
    priced: bool | None = False
    estimated: bool | None = False


@dataclass(slots=True)
class Sum:
    """The calls of a group, and what they took."""

    calls: int = 0
    failed_calls: int = 0
    """Calls with a status of 400 or more, or of 0, which had no response."""
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
"""The values that the calls of one row share, in the order of `COLUMNS`."""

COLUMNS = {"model": ("model",), "organisation": ("organisation",), "token": ("organisation", "token"), "day": ("day",)}
"""The columns of a row, for each value of `--by`."""

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


_TABLES = (
    "create table ids (id blob primary key) without rowid",
    "create table sums (first text, second text, calls integer, failed integer, estimated integer, unpriced integer, "
    "input integer, cached integer, cache_write integer, output integer, reasoning integer, cost integer, "
    "primary key (first, second)) without rowid",
)
_ADD = (
    "insert into sums values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict (first, second) do update set "
    "calls = calls + excluded.calls, failed = failed + excluded.failed, estimated = estimated + excluded.estimated, "
    "unpriced = unpriced + excluded.unpriced, input = input + excluded.input, cached = cached + excluded.cached, "
    "cache_write = cache_write + excluded.cache_write, output = output + excluded.output, "
    "reasoning = reasoning + excluded.reasoning, cost = cost + excluded.cost"
)
_INEXACT = (
    "select 1 from sums where 'real' in (typeof(input), typeof(cached), typeof(cache_write), typeof(output), "
    "typeof(reasoning), typeof(cost)) limit 1"
)
"""Whether a sum is none any more: SQLite goes on with a float where a whole number does not do."""
_BY_DAY = "select * from sums order by first"
_BY_COST = "select * from sums order by cost desc, first, second"


class TooLargeError(Exception):
    """A sum is larger than a whole number of SQLite, 2**63 - 1: no call has such numbers."""


class Report:
    """The sums by group, and what was left out of them. `close` it.

    Methods raise `sqlite3.Error` without room, and `TooLargeError`.
    """

    def __init__(self, wanted: Wanted) -> None:
        self.repeated = 0
        """Lines of calls that had one already."""
        self.warnings: list[str] = []
        """A warning for each file with lines that are no records."""
        self._wanted = wanted
        self._sums: dict[Group, Sum] = {}
        # A database without a name is this connection's alone, and SQLite removes its file at once.
        self._database = sqlite3.connect("", isolation_level=None)
        for statement in (
            "pragma journal_mode = off",
            "pragma synchronous = off",
            f"pragma cache_size = -{_CACHE_KIB}",
            *_TABLES,
            "begin",
        ):
            self._database.execute(statement)

    def read(self, paths: list[Path]) -> None:
        """Sum up the wanted calls of these ledgers. Raises also `OSError`, and `EOFError` for half a `.gz`."""
        group = _GROUPS[self._wanted.by]
        for path in paths:
            for call in _calls(path, self):
                if call not in self._wanted:
                    continue
                if self._database.execute("insert or ignore into ids values (?)", (call.id.bytes,)).rowcount != 1:
                    self.repeated += 1
                    continue
                key = group(call)
                if len(self._sums) >= MOST_IN_MEMORY and key not in self._sums:
                    self._write()
                self._sums.setdefault(key, Sum()).add(call)

    def rows(self) -> Iterator[tuple[Group, Sum]]:
        """Return the sums: those by day in the order of days, others with the highest cost first."""
        self._write()
        if self._database.execute(_INEXACT).fetchone():
            raise TooLargeError
        return self._rows()

    def _rows(self) -> Iterator[tuple[Group, Sum]]:
        size = len(COLUMNS[self._wanted.by])
        for row in self._database.execute(_BY_DAY if self._wanted.by == "day" else _BY_COST):
            yield row[:2][:size], Sum(*row[2:])

    def close(self) -> None:
        """Forget all."""
        self._database.close()

    def _write(self) -> None:
        """Add what is in memory to the database."""
        rows = [((*group, "")[:2] + astuple(each)) for group, each in self._sums.items()]
        try:
            self._database.executemany(_ADD, rows)
        except OverflowError as error:
            raise TooLargeError from error
        self._sums.clear()


def _calls(path: Path, report: Report) -> Iterator[Call]:
    """Yield the records of a file; a warning names its first line that is none."""
    decoder = LineDecoder(Call)
    first, broken = 0, 0
    with _opened(path) as file:
        for number, line in enumerate(_lines(file), 1):
            call: Call | None
            try:
                call = decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                first, broken = first or number, broken + 1
                call = decoder.rest(line)
            if call is not None:
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
