"""Following a ledger: each line counts once, whatever becomes of its file."""

import errno
import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from extproc.openai.usage_query import DAY
from extproc.worker import usage_reader
from extproc.worker.sqlite_file import StoreError
from extproc.worker.usage_reader import UsageReader
from extproc.worker.usage_store import UsageStore, UsageView
from tests.unit.worker.usage_ledgers import NOW, line, query


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"PAUSE_SECONDS": 0.0, "POLL_SECONDS": 0.01, "TRY_SECONDS": 0.01}.items():
        monkeypatch.setattr(usage_reader, name, seconds)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "usage.jsonl"


@pytest.fixture
def sqlite(tmp_path: Path) -> Path:
    return tmp_path / "usage.sqlite"


def reader_of(ledger: Path, sqlite: Path, keep_days: int = 400) -> UsageReader:
    return UsageReader(ledger, sqlite, keep_days, lambda: NOW)


@pytest.fixture
def calls(ledger: Path, sqlite: Path) -> Iterator[Callable[[], int]]:
    """Catch up, by one reader or, each second time, by one that has just begun; return how many calls there are."""
    readers = [reader_of(ledger, sqlite)]

    def counted() -> int:
        with UsageStore(sqlite) as store:
            readers[-1].catch_up(store)
        if len(readers) % 2:
            readers.append(reader_of(ledger, sqlite))
        return count(sqlite)

    return counted


def count(sqlite: Path) -> int:
    with UsageView(sqlite, 60) as view:
        rows, _ = view.rows("acme", query())
    return sum(row.requests for row in rows)


def append(path: Path, *texts: bytes) -> None:
    with path.open("ab") as file:
        file.write(b"".join(texts))


def test_lines_count_once_and_with_their_newline(ledger: Path, calls: Callable[[], int]) -> None:
    append(ledger, b"")
    assert calls() == 0
    whole = line()
    append(ledger, whole[:50])
    assert calls() == 0
    append(ledger, whole[50:], line(), line()[:40])
    assert calls() == 2
    assert calls() == 2
    append(ledger, b"\n", line())
    assert calls() == 3


def test_a_renamed_file_is_read_on(ledger: Path, calls: Callable[[], int]) -> None:
    append(ledger, line())
    assert calls() == 1
    renamed = ledger.rename(ledger.with_name("usage.jsonl.1"))
    append(renamed, line())
    assert calls() == 2
    append(ledger, b"")  # made by the program that rotates, before Envoy opens it
    append(renamed, line())
    assert calls() == 3
    append(ledger, line())
    append(renamed, line())
    assert calls() == 5
    renamed.rename(ledger.with_name("usage.jsonl.2"))
    ledger.rename(renamed)
    append(ledger, line())
    assert calls() == 6


def test_several_rotations_that_nobody_saw(ledger: Path, calls: Callable[[], int]) -> None:
    append(ledger, line())
    assert calls() == 1
    append(ledger, line())
    for name in ("usage.jsonl-20261129", "usage.jsonl-20261130-1790000000", "usage.jsonl.1"):
        ledger.rename(ledger.with_name(name))
        append(ledger, line())
    assert calls() == 5
    for each in ledger.parent.glob("usage.jsonl[.-]*"):
        each.unlink()
    assert calls() == 5


def test_copies_extracts_and_other_files_count_nothing(ledger: Path, calls: Callable[[], int]) -> None:
    append(ledger, line(), line())
    assert calls() == 2
    shutil.copy(ledger, ledger.with_name("usage.jsonl.1"))
    append(ledger, line())
    for name in ("usage.jsonl.acme", "usage.jsonl.1.gz", "usage.jsonl2", "usage.jsonl.bak", "other.jsonl"):
        append(ledger.with_name(name), line())
    ledger.with_name("usage.jsonl.2").mkdir()
    assert calls() == 3
    assert calls() == 3


def test_a_file_that_is_emptied_begins_again(ledger: Path, calls: Callable[[], int]) -> None:
    """As `copytruncate` does it."""
    append(ledger, line(), line())
    assert calls() == 2
    shutil.copy(ledger, ledger.with_name("usage.jsonl.1"))
    ledger.write_bytes(b"")
    assert calls() == 2
    append(ledger, line())
    assert calls() == 3


def test_a_file_whose_end_is_lost_goes_on_from_there(ledger: Path, calls: Callable[[], int]) -> None:
    """As after a crash of the machine, whose disk had the sums but not yet all of the ledger."""
    first = line()
    append(ledger, first, line(), line())
    assert calls() == 3
    ledger.write_bytes(first)
    assert calls() == 3
    append(ledger, line())
    assert calls() == 4


def test_lines_that_are_no_records_are_left_out(
    ledger: Path, calls: Callable[[], int], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage_reader, "PIECE", 2000)
    append(ledger, b'{"half', line(), b"x" * 5000, b"\n", line(), b"\n")
    with caplog.at_level(logging.WARNING):
        assert calls() == 1
    assert "lines that are no records; they are left out" in caplog.text
    append(ledger, line())
    assert calls() == 2


def test_a_rotated_file_that_cannot_be_read_is_passed_over(
    ledger: Path, calls: Callable[[], int], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(ledger, line())
    (closed := ledger.with_name("usage.jsonl.1")).write_bytes(line())
    ledger.with_name("usage.jsonl.2").symlink_to("usage.jsonl.2")
    opened = Path.open

    def forbidden(path: Path, *arguments: Any) -> Any:
        if path == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *arguments)

    with monkeypatch.context() as closing:
        closing.setattr(Path, "open", forbidden)
        assert calls() == 1
        append(ledger, line())
        assert calls() == 2
    assert caplog.text.count("usage.jsonl.1 cannot be read, and its calls are left out: Permission denied") == 2
    assert calls() == 3


def test_a_ledger_that_cannot_be_read_is_an_error(ledger: Path, calls: Callable[[], int]) -> None:
    ledger.symlink_to(ledger.name)
    with pytest.raises(OSError, match="symbolic links"):
        calls()


def test_pieces_of_any_size_give_the_same_sums(
    ledger: Path, calls: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [line(token="x" * (number % 97)) for number in range(300)]
    append(ledger, *lines)
    monkeypatch.setattr(usage_reader, "PIECE", 1 + max(len(each) for each in lines))
    assert calls() == 300


def test_it_notes_that_it_has_caught_up(ledger: Path, sqlite: Path) -> None:
    reader = reader_of(ledger, sqlite)
    with UsageStore(sqlite) as store:
        with pytest.raises(FileNotFoundError, match="there is no"):
            reader.catch_up(store)
        with UsageView(sqlite, 60) as view:
            assert view.caught_up() == 0
        append(ledger, line())
        reader.catch_up(store)
        with UsageView(sqlite, 60) as view:
            assert view.caught_up() == NOW


def test_old_lines_are_not_counted_again_when_their_file_is_forgotten(ledger: Path, sqlite: Path) -> None:
    append(ledger, line(NOW - 5 * DAY), line())
    now = [float(NOW)]
    reader = UsageReader(ledger, sqlite, 3, lambda: now[0])
    with UsageStore(sqlite) as store:
        reader.catch_up(store)
        assert count(sqlite) == 1
        now[0] += 20 * DAY
        reader.catch_up(store)  # it forgets the file
        append(ledger, line(now[0]))
        reader.catch_up(store)
        with UsageView(sqlite, 60) as view:
            rows, _ = view.rows("acme", query(until=int(now[0]) + DAY))
    assert sum(row.requests for row in rows) == 1


def test_one_of_two_reads_and_the_other_takes_over(ledger: Path, sqlite: Path) -> None:
    append(ledger, line())
    readers = [reader_of(ledger, sqlite) for _ in range(2)]
    threads = [threading.Thread(target=reader.run, daemon=True) for reader in readers]
    try:
        for thread in threads:
            thread.start()
        for reader, thread in zip(readers, threads, strict=True):
            append(ledger, line(), line())
            until(lambda: ledger.read_bytes().count(b"\n") == counted(sqlite))
            reader.stop()
            thread.join(60)
            assert not thread.is_alive()
        assert count(sqlite) == 5
    finally:
        for reader in readers:
            reader.stop()


def test_errors_are_logged_once_and_it_goes_on(ledger: Path, sqlite: Path, caplog: pytest.LogCaptureFixture) -> None:
    reader = reader_of(ledger, sqlite)
    thread = threading.Thread(target=reader.run, daemon=True)
    with caplog.at_level(logging.INFO):
        thread.start()
        until(lambda: "there is no" in caplog.text)
        append(ledger, line())
        until(lambda: "is summed up in" in caplog.text)
        for each in sqlite.parent.glob("usage.sqlite*"):
            each.unlink()
        until(lambda: counted(sqlite) == 1)
        reader.stop()
        thread.join(60)
    assert caplog.text.count("there is no") == 1


def counted(sqlite: Path) -> int:
    """Return how many calls there are; none while the file is being made."""
    try:
        return count(sqlite)
    except StoreError:
        return 0


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
