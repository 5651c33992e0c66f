"""How long a worker waits for a file that others have locked: all that its event loop serves waits with it."""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from extproc.worker import file_lock
from extproc.worker.shared_counters import SharedCounters
from extproc.worker.spending_file import SpendingFile
from extproc.worker.sqlite_file import BUSY_SECONDS, OPEN_TRIES, RETRY_SECONDS, SqliteFile, StoreError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.sqlite"


@pytest.fixture(params=[SpendingFile, SharedCounters])
def file(request: pytest.FixtureRequest, path: Path) -> Iterator[SqliteFile]:
    """A file of budgets, and one of rates."""
    with contextlib.closing(request.param(path, "one")) as file:
        yield file


def wait(file: SqliteFile) -> float:
    """Return for how many seconds a statement waits for the lock."""
    assert file._connection is not None
    [milliseconds] = file._connection.execute("pragma busy_timeout").fetchone()
    return milliseconds / 1000


def write(file: SqliteFile) -> None:
    with file._transaction():
        pass


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of the file, as a backup does."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin exclusive")
        yield
        other.execute("rollback")


def test_a_file_that_stays_locked_is_waited_for_once(file: SqliteFile, path: Path) -> None:
    write(file)
    assert wait(file) == BUSY_SECONDS
    with locked(path):
        for _ in range(2):
            with pytest.raises(StoreError) as error:
                write(file)
            assert error.value.busy
            assert wait(file) == RETRY_SECONDS
    write(file)
    assert wait(file) == BUSY_SECONDS


def test_so_is_one_that_was_locked_before_it_was_opened(file: SqliteFile, path: Path) -> None:
    write(file)
    file.close()
    with locked(path):
        for _ in range(2):
            with pytest.raises(StoreError) as error:
                write(file)
            assert error.value.busy
            assert file._wait() == RETRY_SECONDS
    write(file)
    assert wait(file) == BUSY_SECONDS


def test_a_worker_that_stopped_while_it_opened_the_file_is_waited_for_once(
    file: SqliteFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(file_lock.time, "sleep", pauses.append)
    handle = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    for _ in range(3):
        with pytest.raises(StoreError) as error:
            write(file)
        assert error.value.busy
        assert len(pauses) == OPEN_TRIES - 1
    os.close(handle)
    write(file)
    assert wait(file) == BUSY_SECONDS
