"""Balances of budgets in a file of SQLite, which the workers of one machine share, and which outlives them.

Invariant: a method blocks for `BUSY_SECONDS` at most for each statement that finds the file locked, and raises
`SpendingFileError` for whatever goes wrong; then nothing has changed.

Decision: docs/decisions.md, D240.
"""

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from extproc.limits.spending import Balance, Charge, Verdict, decide
from extproc.worker.file_lock import locked

BUSY_SECONDS: Final = 0.05

LEASE: Final = 15.0
"""Seconds without a sign of life after which a worker's open calls are settled by their last counts."""

BATCH: Final = 500
"""Most accounts that one `count` removes."""

_TABLES: Final = """
create table if not exists accounts (key text primary key, spent integer not null, held integer not null,
    end integer not null) without rowid;
create table if not exists workers (worker text primary key, seen real not null) without rowid;
create table if not exists holds (call text, key text, amount integer not null, counted integer not null,
    worker text not null, primary key (call, key)) without rowid;
"""
_ADD: Final = (
    "insert into accounts values (?1, ?2, ?3, ?4) on conflict (key) do update set spent = spent + ?2, held = held + ?3"
)
_COUNT: Final = "update holds set counted = ? where call = ? and key = ?"
_SEEN: Final = "insert into workers values (?, ?) on conflict (worker) do update set seen = excluded.seen"
_FORGET: Final = "delete from accounts where key in (select key from accounts where end <= ? and held = 0 limit ?)"


class SpendingFileError(Exception):
    """The file does not work; the message has the reason, not the path."""


class SpendingFile:
    """The balances in the file at `path`; `worker` is the name of this worker among those that share it."""

    def __init__(self, path: Path, worker: str, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._worker = worker
        self._clock = clock
        self._connection: sqlite3.Connection | None = None
        self._counts: dict[str, dict[str, int]] = {}
        """What the open calls of this worker have cost by accounts, as the file has it."""

    def reserve(self, call: str, charges: Sequence[Charge]) -> Verdict:
        """Hold the amounts of a call. Raises `SpendingFileError`."""
        with self._transaction() as connection:
            verdict = decide(charges, [_balance(connection, charge.key) for charge in charges])
            if verdict.rejected < 0:
                connection.execute(_SEEN, (self._worker, self._clock()))  # or the call is a dead worker's
                connection.executemany(_ADD, [(each.key, 0, each.amount, each.end) for each in charges])
                rows = [(call, each.key, each.amount, each.counted, self._worker) for each in charges]
                connection.executemany("insert into holds values (?, ?, ?, ?, ?)", rows)
        if verdict.rejected < 0:
            self._counts[call] = {charge.key: charge.counted for charge in charges}
        return verdict

    def count(self, running: Mapping[str, Sequence[int]]) -> None:
        """Keep what open calls have cost by call; show that this worker lives, and settle those of dead ones.

        Raises `SpendingFileError`.
        """
        now, written = self._clock(), list[tuple[str, str, int]]()
        with self._transaction() as connection:
            connection.execute(_SEEN, (self._worker, now))
            for call, costs in running.items():
                for key, cost in zip(self._counts.get(call, ()), costs, strict=False):
                    if connection.execute(
                        _COUNT, (cost, call, key)
                    ).rowcount:  # else it was settled by the count before
                        written.append((call, key, cost))
            _settle_dead(connection, now)
            connection.execute(_FORGET, (int(now), BATCH))
        for call, key, cost in written:
            self._counts[call][key] = cost

    def settle(self, call: str, charges: Sequence[Charge], costs: Sequence[int]) -> None:
        """Replace what a call holds by what it has cost; only the first time counts. Raises `SpendingFileError`.

        Where it was settled by its last count, the difference to that is added.
        """
        counted = self._counts.get(call)
        if counted is None:
            return
        with self._transaction() as connection:
            open_ = connection.execute("delete from holds where call = ? returning key", (call,)).fetchall()
            for charge, cost in zip(charges, costs, strict=True):
                row = (charge.key, cost, -charge.amount) if open_ else (charge.key, cost - counted[charge.key], 0)
                connection.execute(_ADD, (*row, charge.end))
        del self._counts[call]

    def balance(self, key: str) -> Balance:
        """Return the balance of an account. Raises `SpendingFileError`."""
        with self._transaction() as connection:
            return _balance(connection, key)

    def open(self) -> None:
        """Open the file, and settle the calls of this worker's earlier life. Raises `SpendingFileError`."""
        self.close()
        try:
            with locked(self._path.with_name(f".{self._path.name}.lock"), 0o600, 20, 0.01):
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
                self._connection = connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None)
                connection.execute("pragma journal_mode = wal").fetchall()
                connection.execute("pragma synchronous = normal")
                connection.executescript(_TABLES)
                connection.execute("begin immediate")
                if not self._counts:
                    connection.execute("delete from workers where worker = ?", (self._worker,))
                    _settle_dead(connection, self._clock())
                connection.execute(_SEEN, (self._worker, self._clock()))
                connection.execute("commit")
        except (OSError, sqlite3.Error) as error:
            self.close()
            raise SpendingFileError(str(error)) from error

    def close(self) -> None:
        """Close the file."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        if self._connection is None:
            self.open()
        connection = self._connection
        assert connection is not None
        try:
            connection.execute("begin immediate")
            try:
                yield connection
                connection.execute("commit")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("rollback")
                raise
        except sqlite3.Error as error:
            if "locked" not in str(error):
                self.close()
            raise SpendingFileError(str(error)) from error


def _balance(connection: sqlite3.Connection, key: str) -> Balance:
    row = connection.execute("select spent, held from accounts where key = ?", (key,)).fetchone()
    return Balance(*row) if row else Balance()


def _settle_dead(connection: sqlite3.Connection, now: float) -> None:
    """Settle the calls of workers that have shown no sign of life for `LEASE`, by their last counts."""
    connection.execute("delete from workers where seen < ?", (now - LEASE,))
    dead = "delete from holds where worker not in (select worker from workers) returning key, counted, amount"
    rows = connection.execute(dead).fetchall()
    connection.executemany(
        "update accounts set spent = spent + ?, held = held - ? where key = ?",
        [(counted, amount, key) for key, counted, amount in rows],
    )
