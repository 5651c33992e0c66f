"""Counters in a file of SQLite, which the workers of one machine share.

A request takes one transaction of some 25 µs of CPU, in the event loop: a thread would cost more than it saves. Where
limits are large, it takes enough for those that follow it at once, and these take none (`extproc.limits.advances`).
What a call used in the end is written with the next transaction of its scope, or by the next `tick`; at once where it
gives back much of a limit, which other workers may need for their next request. Nothing is synced to disk, for a
minute's rates are worth nothing after a power cut.

Streams are counted by worker. A worker that starts has none; one that shows no sign of life for `LEASE` has none
either.

Decisions: docs/decisions.md, D236, D238, D277, D332.
"""

import itertools
import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from extproc.limits import advances, gcra
from extproc.limits.advances import Advances
from extproc.limits.counters import Bucket, Clock, Decision, Scope, decide, settled
from extproc.worker.sqlite_file import SqliteFile

LEASE: Final = 15_000_000_000
"""Nanoseconds without a sign of life after which a worker's streams count no more."""

MUCH: Final = gcra.MINUTE // 4
"""A quarter of a limit: so much is given back at once."""

BATCH: Final = 500
"""Most rows that one `tick` or `flush` writes of a table, or removes."""

_TABLES: Final = """
create table if not exists buckets (key text primary key, requests integer not null, tokens integer not null)
    without rowid;
create table if not exists workers (worker text primary key, seen integer not null) without rowid;
create table if not exists streams (key text, worker text, open integer not null, primary key (key, worker))
    without rowid;
"""

_BUCKETS: Final = "select key, requests, tokens from buckets where key in (?, ?)"
_STREAMS: Final = (
    "select key, sum(open) from streams join workers using (worker) where key in (?, ?) and seen >= ? group by key"
)
_SET_BUCKET: Final = (
    "insert into buckets values (?, ?, ?) on conflict (key) do update set requests = excluded.requests, "
    "tokens = excluded.tokens"
)
_MOVE: Final = (
    "insert into buckets values (?4, 0, min(max(?1 + ?3, ?1), ?2)) on conflict (key) do update "
    "set tokens = min(max(min(max(tokens, ?1), ?2) + ?3, ?1), ?2)"
)
"""`gcra.moved`; there is no row where the bucket was full."""
_SET_STREAMS: Final = (
    "insert into streams values (?, ?, ?) on conflict (key, worker) do update set open = excluded.open"
)
_NO_STREAMS: Final = "delete from streams where key = ? and worker = ?"
_SEEN: Final = "insert into workers values (?, ?) on conflict (worker) do update set seen = excluded.seen"
_FORGET: Final = (
    "delete from buckets where key in (select key from buckets where requests <= ? and tokens <= ? limit ?)"
)


class SharedCounters(SqliteFile):
    """Counters in the file at `path`; `worker` is the name of this worker among those that share it."""

    TABLES = _TABLES
    PRAGMAS = ("synchronous = off",)

    def __init__(self, path: Path, worker: str, clock: Clock = time.monotonic_ns) -> None:
        self._worker = worker
        self._clock = clock
        super().__init__(path)
        self._advances = Advances()
        self._forgot = self._ticked = 0
        self._used: dict[str, int] = {}
        """By how much tokens' buckets are yet to be moved."""
        self._much: set[str] = set()
        """Those of `_used` that give back much of a limit."""
        self._open: dict[str, int] = {}
        """The open streams of this worker."""
        self._unwritten: set[str] = set()
        """Those of `_open` that differ from the file."""

    def admit(self, scopes: Sequence[Scope], tokens: int, stream: bool) -> Decision:
        """Count a request. Raises `StoreError`."""
        if not stream and (known := self._advances.admit(scopes, self._clock(), tokens)) is not None:
            return known
        with self._transaction() as connection:
            now = self._clock()
            if ended := [each.key for each in scopes if each.key in self._unwritten] if stream else []:
                self._write_streams(connection, ended)
            decision = decide(scopes, self._found(connection, scopes, now, stream), now, tokens, stream)
            counted = decision.rejection is None
            advance = counted and advances.worth(scopes, tokens) and advances.permitted(scopes, decision.buckets, now)
            buckets = [
                advances.ahead(scope, bucket) if advance else bucket
                for scope, bucket in zip(scopes, decision.buckets, strict=True)
            ]
            rows = [(each.key, new.requests, new.tokens) for each, new in zip(scopes, buckets, strict=True)]
            if counted:
                connection.executemany(_SET_BUCKET, rows)
            if counted and stream:
                opened = [(each.key, self._worker, self._open.get(each.key, 0) + 1) for each in scopes if each.streams]
                connection.executemany(_SET_STREAMS, opened)
        self._written(ended)
        if counted:
            for scope, used, paid in zip(scopes, decision.buckets, buckets, strict=True):
                self._used.pop(scope.key, None)
                if advance:
                    self._advances.hold(scope.key, used, paid)
                else:
                    self._advances.drop(scope.key)
                if stream and scope.streams:
                    self._open[scope.key] = self._open.get(scope.key, 0) + 1
        return decision

    def settle(
        self, scopes: Sequence[Scope], decision: Decision, reserved: int, used: int, *, write: bool = True
    ) -> None:
        """Count the tokens that a request has used. Raises `StoreError`; then the next `flush` or `tick` writes it, as
        without `write`."""
        now, much = self._clock(), {}
        for key, change in settled(scopes, decision, reserved, used, now):
            self._used[key] = self._used.get(key, 0) + change
            self._advances.move(key, change, now)
            if change <= -MUCH:
                much[key] = self._used[key]
        self._much.update(much)
        if much and write:
            with self._transaction() as connection:
                _move(connection, much, now)
            self._moved(much, now)

    def release(self, scopes: Sequence[Scope], decision: Decision, *, write: bool = True) -> None:
        """Count a stream that has ended. Raises `StoreError`; then the next `flush` or `tick` writes it, as without
        `write`."""
        keys = [scope.key for scope in scopes if scope.streams]
        for key in keys:
            self._open[key] = max(self._open.get(key, 0) - 1, 0)
        self._unwritten.update(keys)
        if write:
            with self._transaction() as connection:
                self._write_streams(connection, keys)
            self._written(keys)

    def flush(self) -> bool:
        """Write a part of the streams that have ended, and of what gives back much; return whether there is more.

        Raises `StoreError`.
        """
        streams, much = list(itertools.islice(self._unwritten, BATCH)), list(itertools.islice(self._much, BATCH))
        if streams or much:
            now = self._clock()
            changes = {key: self._used[key] for key in much if key in self._used}
            with self._transaction() as connection:
                _move(connection, changes, now)
                self._write_streams(connection, streams)
            self._moved(changes, now)
            self._much.difference_update(much)
            self._written(streams)
        return bool(self._unwritten or self._much)

    def tick(self) -> None:
        """Show that this worker lives, and write what it has not written. Raises `StoreError`."""
        self._follow()
        now, batch = self._clock(), dict(itertools.islice(self._used.items(), BATCH))
        if now - self._ticked >= LEASE:
            self._unwritten.update(self._open)  # another worker may have taken this one for dead
        with self._transaction() as connection:
            connection.execute(_SEEN, (self._worker, now))
            _move(connection, batch, now)
            streams = list(self._unwritten)
            self._write_streams(connection, streams)
            if now - self._forgot >= gcra.MINUTE and connection.execute(_FORGET, (now, now, BATCH)).rowcount < BATCH:
                self._forgot = now  # else there are more, for the next tick
        self._ticked = now
        self._moved(batch, now)
        self._advances.sweep(now)
        self._written(streams)

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Begin without open streams in the file, but for those that there are."""
        now = self._clock()
        latest = now + gcra.LONGEST_DEBT + gcra.MINUTE
        # The clock begins again with the machine: what is beyond it is of another start.
        connection.execute("delete from buckets where requests > ? or tokens > ?", (latest, latest))
        connection.execute(
            "delete from workers where worker = ? or seen > ? or seen < ?", (self._worker, now, now - LEASE)
        )
        connection.execute("delete from streams where worker not in (select worker from workers)")
        connection.execute(_SEEN, (self._worker, now))
        rows = [(key, self._worker, number) for key, number in self._open.items() if number]
        connection.executemany(_SET_STREAMS, rows)

    def _opened(self) -> None:
        """Forget what was taken in advance of another file."""
        self._advances.clear()

    def _found(self, connection: sqlite3.Connection, scopes: Sequence[Scope], now: int, stream: bool) -> list[Bucket]:
        """Return the buckets of the scopes, with what is yet to be written of them."""
        keys = (scopes[0].key, scopes[-1].key)
        rows = {key: (requests, tokens) for key, requests, tokens in connection.execute(_BUCKETS, keys)}
        opened: dict[str, int] = {}
        if stream:
            opened = dict(connection.execute(_STREAMS, (*keys, now - LEASE)).fetchall())
        found = []
        for scope in scopes:
            requests, tokens = rows.get(scope.key, (0, 0))
            if self._advances.has(scope.key):
                rest = self._advances.rest(scope.key, now)
                requests, tokens = gcra.moved(requests, now, -rest[0]), gcra.moved(tokens, now, -rest[1])
            else:
                tokens = gcra.moved(tokens, now, self._used.get(scope.key, 0))
            found.append(Bucket(requests, tokens, opened.get(scope.key, 0)))
        return found

    def _moved(self, changes: Mapping[str, int], now: int) -> None:
        """Forget changes that are in the file now."""
        for key, change in changes.items():
            del self._used[key]
            self._much.discard(key)
            self._advances.moved(key, change, now)

    def _write_streams(self, connection: sqlite3.Connection, keys: Sequence[str]) -> None:
        rows = [(key, self._worker, self._open.get(key, 0)) for key in keys]
        connection.executemany(_SET_STREAMS, [row for row in rows if row[2]])
        connection.executemany(_NO_STREAMS, [row[:2] for row in rows if not row[2]])

    def _written(self, keys: Sequence[str]) -> None:
        """Note that the numbers of streams of these keys are in the file now."""
        for key in keys:
            if not self._open.get(key):
                self._open.pop(key, None)
        self._unwritten.difference_update(keys)


def _move(connection: sqlite3.Connection, changes: Mapping[str, int], now: int) -> None:
    """Move the tokens' buckets of these keys."""
    most = now + gcra.LONGEST_DEBT
    connection.executemany(_MOVE, [(now, most, change, key) for key, change in changes.items()])
