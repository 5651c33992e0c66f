"""Balances of budgets in a file of SQLite, which the workers of one machine share, and which outlives them.

What is written goes to SQLite's log, which is not synced then: `keep_log_short` has a thread of its own copy it into
the file, since a disk may take any time for that.

Decisions: docs/decisions.md, D240, D242, D247, D255, D325, D332.
"""

import contextlib
import itertools
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from extproc.limits.spending import MOST_IN_GROUP, Balance, Charge, Verdict, decide, others
from extproc.worker.sqlite_file import BUSY_SECONDS, SqliteFile

LEASE: Final = 15.0
"""Seconds without a sign of life after which a worker's open calls are settled by their last counts."""

SILENCE: Final = LEASE / 3
"""Longest time between two counts of a worker, who makes one a second. After a longer one it does not know who else
lives: the clock has stepped, the machine has paused, or nobody could write. Nor does it know at its start."""

KEPT: Final = 86_400
"""Seconds for which an account is kept after its window's end: a clock may be ahead for a while."""

BATCH: Final = 500
"""Most accounts that one `count` removes."""

ENDS: Final = 100
"""Most calls that one `settle_ended` settles: others wait for its transaction, and the event loop does."""

LONGEST_LOG: Final = 1024 * 1024
"""Bytes of SQLite's log from which on it is copied into the file, beside those who write."""

FULL_LOG: Final = 8 * LONGEST_LOG
"""Bytes from which on it is to begin anew, for which writers have to wait: by itself it does in a pause only."""

HUGE_LOG: Final = 256 * LONGEST_LOG
"""Bytes from which on they wait though the disk is slow."""

SYNC_SECONDS: Final = BUSY_SECONDS / 2
"""Longest that the disk may take: writers wait for it as long again."""

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
_PASSIVE: Final = "pragma wal_checkpoint(passive)"
_RESTART: Final = "pragma wal_checkpoint(restart)"
_REMOVE: Final = "delete from accounts where key = ? and spent = 0 and held = 0"
_ONE_LESS: Final = "update accounts set spent = spent - 1 where key = ? and spent > 0"
_HOLD: Final = "insert or ignore into holds values (?, ?, ?, ?, ?)"
_COUNT: Final = "update holds set counted = ? where call = ? and key = ?"
_SEEN: Final = "insert into workers values (?1, ?2) on conflict (worker) do update set seen = ?2"
_SEEN_AGAIN: Final = "update workers set seen = ?2 where worker = ?1"
_OF_DEAD: Final = "delete from holds where worker not in (select worker from workers) returning key, counted, amount"
_OF_CALL: Final = "delete from holds where call = ? returning key, counted, amount"
_FORGET: Final = "delete from accounts where key in (select key from accounts where end <= ? and held = 0 limit ?)"
_FORGET_TOLD: Final = "delete from told where key in (select key from told where end <= ? limit ?)"


class _Part:
    """What one open call holds of the account `key`, and has cost it so far, as the file has it."""

    def __init__(self, charge: Charge, key: str) -> None:
        self.charge = charge
        self.key = key
        self.group = charge.group if key == charge.key else ""
        self.counted = charge.counted

    def add(self, connection: sqlite3.Connection, spent: int, held: int) -> None:
        """Add to the account."""
        _add(connection, self.key, self.group, spent, held, self.charge.end)


class SpendingFile(SqliteFile):
    """The balances in the file at `path`; `worker` is the name of this worker among those that share it."""

    TABLES = _TABLES
    PRAGMAS = ("synchronous = normal", "wal_autocheckpoint = 0")

    def __init__(self, path: Path, worker: str, clock: Callable[[], float] = time.time) -> None:
        self._worker = worker
        self._clock = clock
        super().__init__(path)
        self._id = self._next_id = ""
        """The name that a file has had since it was made: an inode's number is used again."""
        self._calls: dict[str, list[_Part]] = {}
        """The open calls of this worker, and those that have ended and are yet to be settled."""
        self._ended: dict[str, Sequence[int]] = {}
        """What calls have cost that are yet to be settled."""
        self._due: dict[str, tuple[int, int]] = {}
        """By account: what these are going to add to what is spent of it, and to what is held."""
        self._counted_at: float | None = None
        self._judges_from = 0.0
        """When it may settle the calls of others: after its start, or a silence of its own, not for a `LEASE`."""

    def reserve(self, call: str, charges: Sequence[Charge]) -> Verdict:
        """Hold the amounts of a call. Raises `StoreError`."""
        with self._transaction() as connection:
            parts, verdict = _decided(connection, charges, self._due)
            # It shows that it lives, or the call is a dead worker's.
            if verdict.rejected < 0 and self._was_taken_for_dead(connection, self._clock()):
                parts, verdict = _decided(connection, charges, self._due)
            if verdict.rejected < 0:
                self._insert(connection, call, parts)
        if verdict.rejected < 0:
            self._calls[call] = parts
        return verdict

    def count(self, running: Mapping[str, Sequence[int]]) -> None:
        """Keep what open calls have cost by call; show that this worker lives, and settle those of dead ones.

        A file that was replaced is opened anew. Raises `StoreError`.
        """
        self._follow()
        now, written = self._clock(), list[tuple[_Part, int]]()
        with self._transaction() as connection:
            self._was_taken_for_dead(connection, now)
            for call, costs in running.items():
                for part, cost in zip(self._calls.get(call, ()), costs, strict=False):  # one call has no parts or all
                    if cost != part.counted:
                        connection.execute(_COUNT, (cost, call, part.key))
                        written.append((part, cost))
            if self._may_judge(now):
                _settle_dead(connection, now)
            connection.execute(_FORGET, (int(now) - KEPT, BATCH))
            connection.execute(_FORGET_TOLD, (int(now), BATCH))
        self._counted_at = now
        for part, cost in written:
            part.counted = cost

    def _was_taken_for_dead(self, connection: sqlite3.Connection, now: float) -> bool:
        """Show that this worker lives. Where others have taken it for dead, hold what they have settled of its calls.

        These were settled by what is `counted` of them.
        """
        if connection.execute(_SEEN_AGAIN, (self._worker, now)).rowcount:
            return False
        connection.execute(_SEEN, (self._worker, now))
        for call, parts in self._calls.items():
            self._insert(connection, call, parts, settled=True)
        return True

    def _may_judge(self, now: float) -> bool:
        """Return whether the others have had the time to show that they live."""
        if self._counted_at is None or abs(now - self._counted_at) > SILENCE:
            self._judges_from = now + LEASE
        return now >= self._judges_from

    def settle(self, call: str, charges: Sequence[Charge], costs: Sequence[int]) -> None:
        """Replace what a call holds by what it has cost; only the first time counts. Raises `StoreError`.

        Where it was settled by its last count, the difference to that is added.
        """
        self.end(call, costs)
        if call in self._ended:
            self._settle((call,))

    @property
    def ended(self) -> int:
        """Number of calls that have ended, and are yet to be settled."""
        return len(self._ended)

    def end(self, call: str, costs: Sequence[int]) -> None:
        """Note what a call has cost; only the first time counts.

        This worker decides by it from now on. The file has it when `settle_ended` has written it.
        """
        parts = self._calls.get(call)
        if parts is not None and call not in self._ended:
            self._ended[call] = costs
            for part, cost in zip(parts, costs, strict=True):
                spent, held = self._due.get(part.key, (0, 0))
                self._due[part.key] = spent + cost, held - part.charge.amount

    def settle_ended(self) -> bool:
        """Settle calls that have ended, `ENDS` at most; return whether there are more. Raises `StoreError`."""
        if self._ended:
            self._settle(list(itertools.islice(self._ended, ENDS)))
        return bool(self._ended)

    def _settle(self, calls: Sequence[str]) -> None:
        """Replace what these hold by what they have cost; accounts that they share are written once."""
        changes: dict[tuple[str, str, int], tuple[int, int]] = {}
        with self._transaction() as connection:
            for call in calls:
                is_open = connection.execute("delete from holds where call = ?", (call,)).rowcount > 0
                for part, cost in zip(self._calls[call], self._ended[call], strict=True):
                    account = part.key, part.group, part.charge.end
                    spent, held = changes.get(account, (0, 0))
                    if is_open:
                        changes[account] = spent + cost, held - part.charge.amount
                    else:
                        changes[account] = spent + cost - part.counted, held
            for (key, group, end), (spent, held) in changes.items():
                _add(connection, key, group, spent, held, end)
        for call in calls:
            self._forget(call)

    def _forget(self, call: str) -> None:
        """Forget a call that is settled."""
        for part, cost in zip(self._calls.pop(call), self._ended.pop(call), strict=True):
            spent, held = self._due.pop(part.key, (0, 0))  # a sum of 0 is not kept
            due = spent - cost, held + part.charge.amount
            if due != (0, 0):
                self._due[part.key] = due

    def add(self, spent: Mapping[str, tuple[int, int, str]]) -> None:
        """Add what was spent without being held: by account, the amount, the window's end, and its group.

        Raises `StoreError`.
        """
        with self._transaction() as connection:
            for wanted, (amount, end, group) in spent.items():
                key, _ = _account(connection, wanted, group)
                _add(connection, key, group if key == wanted else "", amount, 0, end)

    def first(self, key: str, end: int) -> bool:
        """Return whether this is called for `key` for the first time, by any worker. Raises `StoreError`."""
        with self._transaction() as connection:
            return connection.execute("insert or ignore into told values (?, ?)", (key, end)).rowcount > 0

    def balance(self, key: str) -> Balance:
        """Return the balance of an account. Raises `StoreError`."""
        with self._transaction() as connection:
            return _row(connection, key) or Balance()

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Settle the calls of this worker's earlier life; where the file is another than before, hold the open ones."""
        now = self._clock()
        if connection.execute("select id from file").fetchone() is None:
            connection.execute("insert into file values (?)", (os.urandom(16).hex(),))
        [self._next_id] = connection.execute("select id from file").fetchone()
        held = connection.execute("select distinct call from holds where worker = ?", (self._worker,)).fetchall()
        for [call] in held:
            if call not in self._calls:  # of an earlier life, or a copy of the file that was restored
                _settle(connection, _OF_CALL, (call,))
        if self._id == self._next_id:
            self._was_taken_for_dead(connection, now)
            return
        connection.execute(_SEEN, (self._worker, now))
        for call, parts in self._calls.items():
            self._insert(connection, call, parts)

    def _opened(self) -> None:
        self._id = self._next_id

    def _insert(
        self, connection: sqlite3.Connection, call: str, parts: Sequence[_Part], *, settled: bool = False
    ) -> None:
        """Hold a call that is not held yet; where it was `settled`, that is taken back."""
        for part in parts:
            row = (call, part.key, part.charge.amount, part.counted, self._worker)
            if connection.execute(_HOLD, row).rowcount:
                part.add(connection, -part.counted if settled else 0, part.charge.amount)


def keep_log_short(path: Path, stop: threading.Event, seconds: float = 1.0) -> None:
    """Copy SQLite's log into the file at `path` whenever it is long, until `stop` is set; blocks."""
    log = path.with_name(f"{path.name}-wal")
    while not stop.wait(seconds):
        with contextlib.suppress(OSError, sqlite3.Error):  # those who count meet it as well, and tell of it
            if log.stat().st_size > LONGEST_LOG:
                place = f"{path.absolute().as_uri()}?mode=rw"  # it makes no file
                with contextlib.closing(sqlite3.connect(place, uri=True, timeout=BUSY_SECONDS)) as connection:
                    _copy(connection)


def _copy(connection: sqlite3.Connection, clock: Callable[[], float] = time.monotonic) -> None:
    """Copy the log into the file; have it begin anew where it is long, and the disk fast enough for those who wait.

    That is put off while somebody reads what is in the log, such as an operator's query: it would wait for them, and
    all who write for it. The log is not cut off: a file system may take a second for that, while nobody can write.
    """
    [[page]] = connection.execute("pragma page_size").fetchall()
    [[_, pages, _]] = connection.execute(_PASSIVE).fetchall()
    if pages * page <= FULL_LOG:
        return
    begun = clock()
    [[_, pages, copied]] = connection.execute(_PASSIVE).fetchall()  # so that little is left while writers wait
    if (copied == pages and clock() - begun < SYNC_SECONDS) or pages * page > HUGE_LOG:
        connection.execute(_RESTART).fetchall()


def _decided(
    connection: sqlite3.Connection, charges: Sequence[Charge], due: Mapping[str, tuple[int, int]]
) -> tuple[list[_Part], Verdict]:
    """Return what a call is to hold, and the decision about it; `due` is yet to be added to accounts."""
    accounts = [_account(connection, charge.key, charge.group) for charge in charges]
    parts = [_Part(charge, key) for charge, (key, _) in zip(charges, accounts, strict=True)]
    shared = [place for place, part in enumerate(parts) if part.key != part.charge.key]
    return parts, decide(charges, [_with(balance, due.get(key)) for key, balance in accounts], shared)


def _with(balance: Balance, due: tuple[int, int] | None) -> Balance:
    """Return a balance with what is due."""
    return balance if due is None else Balance(balance.spent + due[0], balance.held + due[1])


def _row(connection: sqlite3.Connection, key: str) -> Balance | None:
    row = connection.execute("select spent, held from accounts where key = ?", (key,)).fetchone()
    return Balance(*row) if row else None


def _account(connection: sqlite3.Connection, key: str, group: str) -> tuple[str, Balance]:
    """Return the key and the balance of an account: of the one that others share, where the group is full."""
    row = _row(connection, key)
    if row is None and group:
        number = _row(connection, _number_of(group))
        if number is not None and number.spent >= MOST_IN_GROUP:
            key = others(group)
            row = _row(connection, key)
    return key, row or Balance()


def _add(connection: sqlite3.Connection, key: str, group: str, spent: int, held: int, end: int) -> None:
    """Add to an account. One of a group is there, and counted, while something is spent or held of it."""
    if group and _row(connection, key) is None:
        connection.execute(_ADD, (_number_of(group), 1, 0, end))
    connection.execute(_ADD, (key, spent, held, end))
    if group and connection.execute(_REMOVE, (key,)).rowcount:
        connection.execute(_ONE_LESS, (_number_of(group),))


def _number_of(group: str) -> str:
    """Return the key of the row that has the number of accounts of a group, as if it were spent."""
    return f"number of {group}"


def _settle_dead(connection: sqlite3.Connection, now: float) -> None:
    """Settle the calls of workers that have shown no sign of life for `LEASE`, by their last counts.

    One that lives sees that it is not among the workers any more, and holds its calls again.
    So are those of workers that seem to be seen in the future: the clock has gone back, and they may be dead.
    """
    if connection.execute("delete from workers where seen < ? or seen > ?", (now - LEASE, now + LEASE)).rowcount:
        _settle(connection, _OF_DEAD, ())


def _settle(connection: sqlite3.Connection, removal: str, values: Sequence[str]) -> None:
    """Settle what a statement removes from `holds`, by its last counts."""
    rows = connection.execute(removal, values).fetchall()
    connection.executemany(
        "update accounts set spent = spent + ?, held = held - ? where key = ?",
        [(counted, amount, key) for key, counted, amount in rows],
    )
