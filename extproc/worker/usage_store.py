"""The sums of usage in a file of SQLite: by minute, hour and day.

One worker of a machine writes, all of them read. A part of the ledger is added in one transaction with the place up to
which it was read, so that each line counts once, whenever a worker is killed. The file is its own journal's (WAL):
readers wait for no writer.

A bucket of an organisation has `MOST_GROUPS` groups at most. What comes beyond is in one group without a model and a
token, so that the sums are right; tokens of an identity provider are as many as it has people.

Decision: docs/decisions.md, D256.
"""

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final

from extproc.exchange.usage import MINUTES_KEPT
from extproc.openai.usage_page import UsageRow
from extproc.openai.usage_query import COMPLETIONS, DAY, EMBEDDINGS, HOUR, MINUTE, UsageQuery
from extproc.worker import sqlite_file, usage_lines
from extproc.worker.sqlite_file import SqliteFile, StoreError
from extproc.worker.usage_lines import Key, Numbers, Sums

MOST_GROUPS: Final = 4000
MOST_ROWS: Final = MOST_GROUPS + 2
"""Most rows of a page. A bucket has no more: its groups, and for each kind one with what came beyond."""

BUSY_SECONDS: Final = 1.0
"""Longest wait of a query for the file, which is locked while it is made."""

LONGEST_LOG: Final = 16 * 1024 * 1024
"""Bytes of SQLite's log from which on it is emptied."""

WAIT_MS: Final = 15_000
"""Longest wait for queries that read in it, in ms: longer than one may take."""

FORGET: Final = 5000
"""Most rows that one transaction removes, but for those of one bucket more."""

CHECK_EVERY: Final = 1000
"""Steps of SQLite's machine between two looks at the clock."""

_VERSION: Final = 1

_KINDS: Final = {COMPLETIONS.name: usage_lines.COMPLETIONS, EMBEDDINGS.name: usage_lines.EMBEDDINGS}
"""The kinds of calls that are asked for, by resource; costs are of all."""

_TABLES: Final = """
create table if not exists sums (
    width integer, organisation text, start integer, kind integer, model text, token text,
    requests integer not null, input integer not null, cached integer not null, written integer not null,
    output integer not null, cost integer not null,
    primary key (width, organisation, start, kind, model, token)
) without rowid;
create table if not exists sizes (
    width integer, organisation text, start integer, groups integer not null, primary key (width, organisation, start)
) without rowid;
create table if not exists files (first blob primary key, offset integer not null, read integer not null)
    without rowid;
create table if not exists state (only integer primary key check (only = 0), caught_up integer not null);
"""

_ADD: Final = (
    "update sums set requests = requests + ?, input = input + ?, cached = cached + ?, written = written + ?, "
    "output = output + ?, cost = cost + ? where width = ? and organisation = ? and start = ? and kind = ? "
    "and model = ? and token = ?"
)
_INSERT: Final = (
    "insert into sums (requests, input, cached, written, output, cost, width, organisation, start, kind, model, token) "
    "values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_SIZE: Final = "select groups from sizes where width = ? and organisation = ? and start = ?"
_GROWN: Final = (
    "insert into sizes values (?, ?, ?, 1) on conflict (width, organisation, start) do update set groups = groups + 1"
)
_READ: Final = (
    "insert into files select ?1, ?2, ?3 where ?4 = 0 or exists (select 1 from files where first = ?1) "
    "on conflict (first) do update set offset = excluded.offset, read = excluded.read where offset = ?4"
)
_NEXT_ORGANISATION: Final = "select min(organisation) from sizes where width = ? and organisation > ?"


_OLD: Final = "select start, groups from sizes where width = ? and organisation = ? and start < ? order by start"
_FORGET: Final = (
    "delete from sums where width = ? and organisation = ? and start <= ?",
    "delete from sizes where width = ? and organisation = ? and start <= ?",
)
_BUCKETS: Final = (
    "select start from sizes where width = :width and organisation = :organisation and start >= :start "
    "and start < :until order by start"
)
_SELECT: Final = """
select start, iif(:by_model, model, ''), iif(:by_token, token, ''),
    sum(requests), sum(input), sum(cached), sum(written), sum(output), sum(cost)
from sums
where width = :width and organisation = :organisation and start = :bucket
    and (:kind < 0 or kind = :kind)
    and (:models = '[]' or model in (select value from json_each(:models)))
    and (:tokens = '[]' or token in (select value from json_each(:tokens)))
group by 2, 3 order by 2, 3
"""


class TooSlowError(Exception):
    """The sums took longer than there was time."""


class UsageStore(SqliteFile):
    """The file at `path`, for the worker that writes it. Use it as a context manager; all may raise `StoreError`."""

    TABLES = _TABLES
    PRAGMAS = ("synchronous = normal",)

    def __enter__(self) -> "UsageStore":
        try:
            self.open()
        except StoreError:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def is_there(self) -> bool:
        """Return whether the path still leads to this file."""
        return self._is_there()

    def offset(self, first: bytes) -> int:
        """Return up to which byte the file that begins with the line of this digest was read."""
        with self._transaction() as connection:
            row = connection.execute("select offset from files where first = ?", (first,)).fetchone()
        return row[0] if row else 0

    def add(self, sums: Sums, oldest: dict[int, int], first: bytes, start: int, offset: int, now: int) -> None:
        """Add sums of a file that is now read from `start` to `offset`; buckets before the `oldest` of their width are
        gone. Raises `StoreError` where somebody else has read on from there: then nothing is added."""
        with self._transaction() as connection:
            for width, least in oldest.items():
                for key, numbers in _by(width, sums).items():
                    if key.minute >= least:
                        _add(connection, width, key, numbers)
            if not connection.execute(_READ, (first, offset, now, start)).rowcount:
                raise StoreError("another worker reads the ledger as well; was its lock file removed?")

    def caught_up(self, now: int) -> None:
        """Note that all of the ledger was read at `now`."""
        with self._transaction() as connection:
            connection.execute("update state set caught_up = ?", (now,))

    def shorten(self) -> None:
        """Empty SQLite's log where it is long: queries that follow each other keep it from beginning anew."""
        with contextlib.suppress(FileNotFoundError):
            if os.stat(f"{self._path}-wal").st_size < LONGEST_LOG:
                return
        connection = self._connection
        if connection is None:
            return
        try:
            connection.execute(f"pragma busy_timeout = {WAIT_MS}")
            connection.execute("pragma wal_checkpoint(truncate)").fetchall()
            connection.execute(f"pragma busy_timeout = {round(1000 * sqlite_file.BUSY_SECONDS)}")
        except sqlite3.Error as error:
            raise StoreError(str(error)) from error

    def forget(self, oldest: dict[int, int]) -> Iterator[None]:
        """Remove buckets before the `oldest` of their width, and the files that were last read before all of these.

        Yields after each transaction: they are short, since callers make up as many groups a minute as they like.
        """
        for width, start in oldest.items():
            organisation = self._after(width, "")
            while organisation is not None:
                while self._forget_some(width, organisation, start):
                    yield
                organisation = self._after(width, organisation)
        with self._transaction() as connection:
            connection.execute("delete from files where read < ?", (min(oldest.values()),))

    def _forget_some(self, width: int, organisation: str, oldest: int) -> bool:
        """Remove the oldest buckets of an organisation; return whether there were any."""
        last, rows = None, 0
        with self._transaction() as connection:
            for start, groups in connection.execute(_OLD, (width, organisation, oldest)):
                last, rows = start, rows + groups
                if rows >= FORGET:
                    break
            if last is not None:
                for statement in _FORGET:
                    connection.execute(statement, (width, organisation, last))
        return last is not None

    def _after(self, width: int, organisation: str) -> str | None:
        with self._transaction() as connection:
            name: str | None = connection.execute(_NEXT_ORGANISATION, (width, organisation)).fetchone()[0]
        return name

    def _begin(self, connection: sqlite3.Connection) -> None:
        [version] = connection.execute("pragma user_version").fetchone()
        if version not in (0, _VERSION):
            raise StoreError(f"it is of another version ({version}, not {_VERSION}); remove it, and it is made anew")
        connection.execute(f"pragma user_version = {_VERSION}")
        connection.execute("insert or ignore into state values (0, 0)")


def _by(width: int, sums: Sums) -> Sums:
    """Return the sums of whole buckets of this width."""
    if width == MINUTE:
        return sums
    wider: Sums = {}
    for key, numbers in sums.items():
        usage_lines.add(wider, key._replace(minute=key.minute - key.minute % width), numbers)
    return wider


def _add(connection: sqlite3.Connection, width: int, key: Key, numbers: Numbers) -> None:
    """Add numbers to a group, which is made if there is room for one more, else to that of all others."""
    bucket = (width, key.organisation, key.minute)
    group = (*bucket, key.kind, key.model, key.token)
    if connection.execute(_ADD, (*numbers, *group)).rowcount:
        return
    size = connection.execute(_SIZE, bucket).fetchone()
    if size is not None and size[0] >= MOST_GROUPS:
        group = (*bucket, key.kind, "", "")
        if connection.execute(_ADD, (*numbers, *group)).rowcount:
            return
    connection.execute(_INSERT, (*numbers, *group))
    connection.execute(_GROWN, bucket)


class UsageView:
    """The file at `path`, for one query within `seconds`. Use it as a context manager."""

    def __init__(self, path: Path, seconds: float) -> None:
        self._path = path
        self._deadline = time.monotonic() + seconds

    def __enter__(self) -> "UsageView":
        """Open it. Raises `StoreError`."""
        try:
            # Without `mode`, SQLite would make an empty file of one that is gone.
            place = f"{self._path.absolute().as_uri()}?mode=rw"
            self._connection = sqlite3.connect(place, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
            self._connection.execute("pragma query_only = on")
        except sqlite3.Error as error:
            raise StoreError(str(error)) from error
        self._connection.set_progress_handler(self._is_over, CHECK_EVERY)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def caught_up(self) -> int:
        """Return when all of the ledger had been read. Raises `StoreError`."""
        with self._queried():
            [row] = self._connection.execute("select caught_up from state").fetchall()
        when: int = row[0]
        return when

    def rows(self, organisation: str, query: UsageQuery) -> tuple[list[UsageRow], int]:
        """Return the rows of whole buckets, and where the next bucket starts, which may be before `query.until`.

        A bucket is read by a statement of its own, so that none is that the page has no room for: else each page of a
        long range would read all of it. Raises `StoreError`, or `TooSlowError`.
        """
        rows: list[UsageRow] = []
        if query.batch:
            return rows, query.until
        parameters = _parameters(organisation, query)
        with self._queried():
            for [start] in self._connection.execute(_BUCKETS, parameters):  # open, it keeps all to one moment
                if self._is_over():
                    raise TooSlowError
                bucket = self._connection.execute(_SELECT, {**parameters, "bucket": start}).fetchall()
                if rows and len(rows) + len(bucket) > MOST_ROWS:
                    return rows, start
                rows += [UsageRow(*row) for row in bucket]
        return rows, query.until

    @contextlib.contextmanager
    def _queried(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if self._is_over():
                raise TooSlowError from error
            raise StoreError(str(error)) from error
        except sqlite3.Error as error:
            raise StoreError(str(error)) from error

    def _is_over(self) -> bool:
        return time.monotonic() > self._deadline


def _parameters(organisation: str, query: UsageQuery) -> dict[str, str | int]:
    """Return the parameters of `_BUCKETS` and `_SELECT`."""
    return {
        "width": query.width,
        "organisation": organisation,
        "start": query.start,
        "until": query.until,
        "kind": _KINDS.get(query.resource, -1),
        "by_model": "model" in query.group_by or "line_item" in query.group_by,
        "by_token": "api_key_id" in query.group_by,
        "models": json.dumps(query.models),
        "tokens": json.dumps(query.api_keys),
    }


def oldest_kept(now: float, keep_days: int) -> dict[int, int]:
    """Return the start of the oldest bucket that is kept, by width."""
    today = int(now) - int(now) % DAY
    days = today - keep_days * DAY
    return {MINUTE: today - MINUTES_KEPT * DAY, HOUR: days, DAY: days}
