"""A file of SQLite that the workers of one machine share: the base of rates, budgets and usage.

It is opened when it is first needed, and anew after an error, or where the path leads to another file than before.

Invariant: each statement that finds the file locked blocks for `BUSY_SECONDS` at most, and for `RETRY_SECONDS` after a
failure, until it works again. `StoreError` is raised for whatever goes wrong; then nothing has changed. A link is not
followed, and what is no database stays as it is.

Decisions: docs/decisions.md, D268, D324.
"""

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Final

from extproc.worker.file_lock import locked

BUSY_SECONDS: Final = 0.05

RETRY_SECONDS: Final = 0.002
"""Longest wait for the lock of a file that has just failed: workers try it again and again, and hold up all else."""

OPEN_TRIES: Final = 20
OPEN_PAUSE_SECONDS: Final = 0.01
"""Other workers open the file for as long as making its tables takes."""

_MODE: Final = 0o600


class StoreError(Exception):
    """The file does not work; the message has the reason, not the path. `busy`: others have locked it.

    `failures` is the number of failures in a row, with this one.
    """

    def __init__(self, reason: str, busy: bool = False, failures: int = 1) -> None:
        super().__init__(reason)
        self.busy = busy
        self.failures = failures


def _is_busy(error: Exception) -> bool:
    """Return whether others have locked the file."""
    if isinstance(error, sqlite3.OperationalError):
        return "locked" in str(error)
    return isinstance(error, BlockingIOError)


def _make(path: Path) -> None:
    """Make the file if there is none. Raises `OSError` for a link.

    One that is there is not opened: its close would end all locks that this process has of it, SQLite's too (POSIX).
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE))
    except FileExistsError:
        if path.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None


class SqliteFile:
    """The file at `path`. A subclass has its tables, and what is written each time that it is opened."""

    TABLES: ClassVar[str]
    """Statements that make the tables, where there are none."""
    PRAGMAS: ClassVar[tuple[str, ...]]
    """How it is written to the disk, such as `synchronous = off`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._failures = 0
        """Failures since a transaction succeeded."""

    def open(self) -> None:
        """Open the file, and make it and its tables if there are none. Raises `StoreError`."""
        self.close()
        lock, tries = self._path.with_name(f".{self._path.name}.lock"), 1 if self._failures else OPEN_TRIES
        try:
            with locked(lock, _MODE, tries, OPEN_PAUSE_SECONDS):
                _make(self._path)
                self._connection = connection = sqlite3.connect(
                    self._path, timeout=self._wait(), isolation_level=None, cached_statements=32
                )
                self._inode = os.stat(self._path).st_ino
                connection.execute("pragma journal_mode = wal").fetchall()
                for pragma in self.PRAGMAS:
                    connection.execute(f"pragma {pragma}")
                connection.executescript(self.TABLES)
                connection.execute("begin immediate")
                self._begin(connection)
                connection.execute("commit")
        except (OSError, sqlite3.Error) as error:
            self.close()
            self._failures += 1
            raise StoreError(str(error), _is_busy(error), self._failures) from error
        self._opened()

    def close(self) -> None:
        """Close the file."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Write what is due at an opening, in a transaction of its own."""
        raise NotImplementedError

    def _opened(self) -> None:
        """Note that this is written."""

    def _follow(self) -> None:
        """Open the file unless it is open, and the path still leads to it. Raises `StoreError`."""
        if self._connection is None or not self._is_there():
            self.open()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the lock of the file, and write at the end. Raises `StoreError`."""
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
            if self._failures:
                self._count_failures(connection, 0)
        except sqlite3.Error as error:
            busy = _is_busy(error)
            if not busy:
                self.close()
            self._count_failures(connection, self._failures + 1)
            raise StoreError(str(error), busy, self._failures) from error

    def _wait(self) -> float:
        return min(RETRY_SECONDS, BUSY_SECONDS) if self._failures else BUSY_SECONDS

    def _count_failures(self, connection: sqlite3.Connection, failures: int) -> None:
        """Note how often the file has failed, and have the connection wait accordingly, if it is open."""
        self._failures = failures
        with contextlib.suppress(sqlite3.Error):
            connection.execute(f"pragma busy_timeout = {round(1000 * self._wait())}")

    def _is_there(self) -> bool:
        try:
            return os.stat(self._path).st_ino == self._inode
        except OSError:
            return False
