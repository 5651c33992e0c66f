"""Balances of budgets in a file of SQLite, which the workers of one machine share, and which outlives them.

What is written goes to SQLite's log, which is not synced then: `keep_log_short` has a thread of its own copy it into
the file, since a disk may take any time for that.

Invariant: a method blocks for `BUSY_SECONDS` at most for each statement that finds the file locked, and raises
`SpendingFileError` for whatever goes wrong; then nothing has changed.

Decisions: docs/decisions.md, D240, D242.
"""

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from extproc.limits.spending import MOST_IN_GROUP, Balance, Charge, CrowdedError, Verdict, decide
from extproc.worker.file_lock import locked

BUSY_SECONDS: Final = 0.05

LEASE: Final = 15.0
"""Seconds without a sign of life after which a worker's open calls are settled by their last counts."""

BATCH: Final = 500
"""Most accounts that one `count` removes."""

LONGEST_LOG: Final = 1024 * 1024
"""Bytes of SQLite's log from which on it is copied into the file."""

_TABLES: Final = """
create table if not exists accounts (key text primary key, spent integer not null, held integer not null,
    end integer not null) without rowid;
create index if not exists ends on accounts (end);
create table if not exists workers (worker text primary key, seen real not null) without rowid;
create table if not exists holds (call text, key text, amount integer not null, counted integer not null,
    worker text not null, primary key (call, key)) without rowid;
create table if not exists file (id text not null);
create table if not exists told (key text primary key, end integer not null) without rowid;
create index if not exists told_ends on told (end);
"""
_ADD: Final = (
    "insert into accounts values (?1, ?2, ?3, ?4) on conflict (key) do update set spent = spent + ?2, held = held + ?3"
)
_HOLD: Final = "insert or ignore into holds values (?, ?, ?, ?, ?)"
_COUNT: Final = "update holds set counted = ? where call = ? and key = ?"
_SEEN: Final = "insert into workers values (?, ?) on conflict (worker) do update set seen = excluded.seen"
_OF_DEAD: Final = "delete from holds where worker not in (select worker from workers) returning key, counted, amount"
_OF_CALL: Final = "delete from holds where call = ? returning key, counted, amount"
_FORGET: Final = "delete from accounts where key in (select key from accounts where end <= ? and held = 0 limit ?)"
_FORGET_TOLD: Final = "delete from told where key in (select key from told where end <= ? limit ?)"


class SpendingFileError(Exception):
    """The file does not work; the message has the reason, not the path. `busy`: others have locked it."""

    def __init__(self, reason: str, busy: bool = False) -> None:
        super().__init__(reason)
        self.busy = busy


class _Part:
    """What one open call holds of one account, and has cost it so far, as the file has it.

    `place` is that of the charge among those of the call, some of which may have been left out.
    """

    def __init__(self, charge: Charge, place: int) -> None:
        self.charge = charge
        self.place = place
        self.counted = charge.counted


class SpendingFile:
    """The balances in the file at `path`; `worker` is the name of this worker among those that share it."""

    def __init__(self, path: Path, worker: str, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._worker = worker
        self._clock = clock
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._id = ""
        """The name that a file has had since it was made: an inode's number is used again."""
        self._calls: dict[str, list[_Part]] = {}
        """The open calls of this worker."""

    def reserve(self, call: str, charges: Sequence[Charge]) -> Verdict:
        """Hold the amounts of a call. Raises `SpendingFileError`, and `CrowdedError` where an enforced account would
        be one too many of its group; another is left out."""
        with self._transaction() as connection:
            rows = [_row(connection, charge.key) for charge in charges]
            verdict = decide(charges, [Balance() if row is None else row for row in rows])
            if verdict.rejected < 0:
                parts = [_Part(charges[place], place) for place in _admitted(connection, charges, rows)]
                connection.execute(_SEEN, (self._worker, self._clock()))  # or the call is a dead worker's
                self._insert(connection, call, parts)
        if verdict.rejected < 0:
            self._calls[call] = parts
        return verdict

    def count(self, running: Mapping[str, Sequence[int]]) -> None:
        """Keep what open calls have cost by call; show that this worker lives, and settle those of dead ones.

        A file that was replaced is opened anew. Raises `SpendingFileError`.
        """
        if self._connection is not None and not self._same_file():
            self.open()
        now, written = self._clock(), list[tuple[_Part, int]]()
        with self._transaction() as connection:
            connection.execute(_SEEN, (self._worker, now))
            for call, costs in running.items():
                for part in self._calls.get(call, ()):
                    cost = costs[part.place]
                    if cost == part.counted:
                        continue
                    if connection.execute(_COUNT, (cost, call, part.charge.key)).rowcount:
                        written.append((part, cost))  # else it was settled by the count before
            _settle_dead(connection, now)
            connection.execute(_FORGET, (int(now), BATCH))
            connection.execute(_FORGET_TOLD, (int(now), BATCH))
        for part, cost in written:
            part.counted = cost

    def settle(self, call: str, charges: Sequence[Charge], costs: Sequence[int]) -> None:
        """Replace what a call holds by what it has cost; only the first time counts. Raises `SpendingFileError`.

        Where it was settled by its last count, the difference to that is added.
        """
        parts = self._calls.get(call)
        if parts is None:
            return
        with self._transaction() as connection:
            open_ = connection.execute("delete from holds where call = ? returning key", (call,)).fetchall()
            for part in parts:
                charge, cost = part.charge, costs[part.place]
                row = (charge.key, cost, -charge.amount) if open_ else (charge.key, cost - part.counted, 0)
                connection.execute(_ADD, (*row, charge.end))
        del self._calls[call]

    def add(self, spent: Mapping[str, tuple[int, int]]) -> None:
        """Add what was spent without being held: by account, the amount and the window's end.

        Raises `SpendingFileError`.
        """
        with self._transaction() as connection:
            connection.executemany(_ADD, [(key, amount, 0, end) for key, (amount, end) in spent.items()])

    def first(self, key: str, end: int) -> bool:
        """Return whether this is called for `key` for the first time, by any worker. Raises `SpendingFileError`."""
        with self._transaction() as connection:
            return connection.execute("insert or ignore into told values (?, ?)", (key, end)).rowcount > 0

    def balance(self, key: str) -> Balance:
        """Return the balance of an account. Raises `SpendingFileError`."""
        with self._transaction() as connection:
            return _row(connection, key) or Balance()

    def open(self) -> None:
        """Open the file, and settle the calls of this worker's earlier life. Raises `SpendingFileError`.

        Where it is another than before, the open calls are held in it.
        """
        self.close()
        try:
            with locked(self._path.with_name(f".{self._path.name}.lock"), 0o600, 20, 0.01):
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
                self._connection = connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None)
                self._inode = os.stat(self._path).st_ino
                connection.execute("pragma journal_mode = wal").fetchall()
                connection.execute("pragma synchronous = normal")
                connection.execute("pragma wal_autocheckpoint = 0")
                connection.executescript(_TABLES)
                connection.execute("begin immediate")
                self._begin(connection)
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

    def _begin(self, connection: sqlite3.Connection) -> None:
        now, before = self._clock(), self._id
        if connection.execute("select id from file").fetchone() is None:
            connection.execute("insert into file values (?)", (os.urandom(16).hex(),))
        [self._id] = connection.execute("select id from file").fetchone()
        held = connection.execute("select distinct call from holds where worker = ?", (self._worker,)).fetchall()
        for [call] in held:
            if call not in self._calls:  # of an earlier life, or a copy of the file that was restored
                _settle(connection, _OF_CALL, (call,))
        connection.execute(_SEEN, (self._worker, now))
        if before not in ("", self._id):
            for call, parts in self._calls.items():
                self._insert(connection, call, parts)

    def _insert(self, connection: sqlite3.Connection, call: str, parts: Sequence[_Part]) -> None:
        for part in parts:
            charge = part.charge
            if connection.execute(_HOLD, (call, charge.key, charge.amount, part.counted, self._worker)).rowcount:
                connection.execute(_ADD, (charge.key, 0, charge.amount, charge.end))

    def _same_file(self) -> bool:
        """Return whether the path still leads to the file that is open."""
        try:
            return os.stat(self._path).st_ino == self._inode
        except OSError:
            return False

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
            busy = "locked" in str(error)
            if not busy:
                self.close()
            raise SpendingFileError(str(error), busy) from error


def keep_log_short(path: Path, stop: threading.Event, seconds: float = 1.0) -> None:
    """Copy SQLite's log into the file at `path` whenever it is long, until `stop` is set; blocks."""
    log = path.with_name(f"{path.name}-wal")
    while not stop.wait(seconds):
        with contextlib.suppress(OSError, sqlite3.Error):  # those who count meet it as well, and tell of it
            if log.stat().st_size > LONGEST_LOG:
                with contextlib.closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as connection:
                    connection.execute("pragma wal_checkpoint(passive)").fetchall()


def _row(connection: sqlite3.Connection, key: str) -> Balance | None:
    row = connection.execute("select spent, held from accounts where key = ?", (key,)).fetchone()
    return Balance(*row) if row else None


def _admitted(connection: sqlite3.Connection, charges: Sequence[Charge], rows: Sequence[Balance | None]) -> list[int]:
    """Return the places of charges whose accounts are there, or may be made; those are counted in their groups."""
    kept = []
    for place, (charge, row) in enumerate(zip(charges, rows, strict=True)):
        if row is None and charge.group:
            group = _row(connection, charge.group)
            if group is not None and group.spent >= MOST_IN_GROUP:
                if charge.enforced:
                    raise CrowdedError
                continue
            connection.execute(_ADD, (charge.group, 1, 0, charge.end))
        kept.append(place)
    return kept


def _settle_dead(connection: sqlite3.Connection, now: float) -> None:
    """Settle the calls of workers that have shown no sign of life for `LEASE`, by their last counts."""
    if connection.execute("delete from workers where seen < ?", (now - LEASE,)).rowcount:
        _settle(connection, _OF_DEAD, ())


def _settle(connection: sqlite3.Connection, removal: str, values: Sequence[str]) -> None:
    """Settle what a statement removes from `holds`, by its last counts."""
    rows = connection.execute(removal, values).fetchall()
    connection.executemany(
        "update accounts set spent = spent + ?, held = held - ? where key = ?",
        [(counted, amount, key) for key, counted, amount in rows],
    )
