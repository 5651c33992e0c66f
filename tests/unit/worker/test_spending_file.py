"""Balances in a file: what several workers spend at once, and what remains when they are killed."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from extproc.limits.spending import Balance, Charge, SpendingStore
from extproc.worker import spending_file
from extproc.worker.spending_file import KEPT, LEASE, SpendingFile
from extproc.worker.sqlite_file import StoreError

ACME = Charge("acme", 100, 60, 2**40, 5)
WORKER = """
import sys
from pathlib import Path
from extproc.limits.spending import Charge
from extproc.worker.spending_file import SpendingFile
file, charge = SpendingFile(Path(sys.argv[1]), sys.argv[2]), Charge("acme", 100, 1, 2**40)
print(sum(file.reserve(f"{sys.argv[2]} {n}", [charge]).rejected < 0 for n in range(80)), flush=True)
sys.stdin.read()
"""


class Clock:
    """A clock that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def file(tmp_path: Path, clock: Clock) -> Iterator[SpendingFile]:
    """Balances of one worker."""
    with contextlib.closing(SpendingFile(tmp_path / "spent.sqlite", "one", clock)) as file:
        store: SpendingStore = file
        assert store is file
        yield file


def pass_seconds(clock: Clock, seconds: float, *workers: SpendingFile) -> None:
    """Let these workers count once a second, and no others."""
    for _ in range(int(seconds)):
        clock.now += 1
        for worker in workers:
            worker.count({})


def test_a_call_is_held_in_all_accounts_or_in_none_and_settled_once(file: SpendingFile) -> None:
    small = Charge("small", 50, 60, 2**40)
    assert file.reserve("1", [ACME, small]).rejected == 1
    assert file.balance("acme") == Balance()
    assert file.reserve("1", [ACME]).rejected == -1
    assert file.balance("acme") == Balance(0, 60)
    assert not file.reserve("2", [ACME]).exhausted
    for _ in range(2):
        file.settle("1", [ACME], [70])
    assert file.balance("acme") == Balance(70, 0)
    assert file.reserve("2", [ACME]).exhausted


def test_a_dead_workers_call_is_settled_by_its_last_count(file: SpendingFile, tmp_path: Path, clock: Clock) -> None:
    file.reserve("1", [ACME])
    file.count({"1": [9]})
    with contextlib.closing(SpendingFile(tmp_path / "spent.sqlite", "two", clock)) as other:
        other.count({})
        assert file.balance("acme") == Balance(0, 60)
        pass_seconds(clock, LEASE + 1, other)
        assert other.balance("acme") == Balance(9, 0)
    file.settle("1", [ACME], [20])
    assert file.balance("acme") == Balance(20, 0)


def test_calls_that_have_ended_are_settled_though_their_worker_was_taken_for_dead(
    file: SpendingFile, tmp_path: Path, clock: Clock
) -> None:
    large = Charge("acme", 200, 60, 2**40, 5)
    for call in ("1", "2"):
        file.reserve(call, [large])
        file.end(call, [20])
    assert (file.balance("acme"), file.ended) == (Balance(0, 120), 2)
    with contextlib.closing(SpendingFile(tmp_path / "spent.sqlite", "two", clock)) as other:
        pass_seconds(clock, LEASE + 1, other)
        assert other.balance("acme") == Balance(10, 0)
    verdict = file.reserve("3", [large])
    assert (verdict.rejected, verdict.balances, file.balance("acme")) == (-1, (Balance(40, 0),), Balance(0, 180))
    with contextlib.closing(SpendingFile(tmp_path / "spent.sqlite", "two", clock)) as other:
        pass_seconds(clock, LEASE + 1, other)
        assert other.balance("acme") == Balance(15, 0)
    assert not file.settle_ended()
    assert (file.balance("acme"), file.ended) == (Balance(45, 0), 0)


def test_ends_that_are_settled_together_count_once_though_they_cost_nothing_in_an_account(file: SpendingFile) -> None:
    """A call of a free model costs tokens, and no dollars."""
    tokens, dollars = Charge("tokens", 10**6, 40, 2**40), Charge("dollars", 10**6, 0, 2**40)
    for number in range(20):
        file.reserve(str(number), [tokens, dollars])
    for number in range(20):
        file.end(str(number), [3, 0])
    while file.settle_ended():
        pass
    assert (file.balance("tokens"), file.balance("dollars"), file.ended) == (Balance(60, 0), Balance(), 0)


def test_a_worker_that_returns_by_a_new_connection_holds_its_open_calls_again(
    file: SpendingFile, tmp_path: Path, clock: Clock
) -> None:
    """After an error that is not `locked` the file is opened anew."""
    file.reserve("1", [ACME])
    file.count({"1": [9]})
    with contextlib.closing(SpendingFile(tmp_path / "spent.sqlite", "two", clock)) as other:
        file.close()
        pass_seconds(clock, 2 * LEASE, other)
        assert other.balance("acme") == Balance(9, 0)
        file.count({"1": [15]})
        assert other.balance("acme") == Balance(0, 60)
        file.settle("1", [ACME], [20])
        assert other.balance("acme") == Balance(20, 0)


def test_a_worker_that_returns_holds_its_open_calls_again(file: SpendingFile, tmp_path: Path, clock: Clock) -> None:
    audit = Charge("all", 0, 40, 2**40, 3, enforced=False)
    file.reserve("1", [ACME, audit])
    with contextlib.closing(SpendingFile(tmp_path / "spent.sqlite", "two", clock)) as other:
        for cost in (9, 15):
            file.count({"1": [cost, 2 * cost]})
            assert (file.balance("acme"), file.balance("all")) == (Balance(0, 60), Balance(0, 40))
            pass_seconds(clock, 2 * LEASE, other)
            assert (file.balance("acme"), file.balance("all")) == (Balance(cost, 0), Balance(2 * cost, 0))
        file.count({})
        assert other.reserve("2", [ACME]).rejected == 0
        file.settle("1", [ACME, audit], [20, 30])
    assert (file.balance("acme"), file.balance("all")) == (Balance(20, 0), Balance(30, 0))


def test_a_worker_that_returns_admits_nothing_that_its_open_calls_need(
    file: SpendingFile, tmp_path: Path, clock: Clock
) -> None:
    file.reserve("1", [ACME])
    with contextlib.closing(SpendingFile(tmp_path / "spent.sqlite", "two", clock)) as other:
        pass_seconds(clock, LEASE + 1, other)
    verdict = file.reserve("2", [ACME])
    assert (verdict.rejected, verdict.exhausted, file.balance("acme")) == (0, False, Balance(0, 60))


def test_what_is_spent_outlives_a_worker_whose_open_calls_are_settled_at_its_start(
    file: SpendingFile, tmp_path: Path, clock: Clock
) -> None:
    file.reserve("1", [ACME])
    file.close()
    with contextlib.closing(SpendingFile(tmp_path / "spent.sqlite", "one", clock)) as again:
        assert again.balance("acme") == Balance(5, 0)


def test_an_ended_window_is_removed_a_day_later(file: SpendingFile, clock: Clock) -> None:
    """A clock that is ahead for a while empties no budget."""
    charge = Charge("old", 100, 60, int(clock.now) + 100)
    file.reserve("1", [charge])
    file.settle("1", [charge], [60])
    for ahead, spent in ((0, 60), (KEPT, 60), (101, 0)):
        clock.now += ahead
        file.count({})
        assert file.balance("old") == Balance(spent, 0)


def test_a_dead_workers_call_is_settled_also_when_the_clock_goes_back(
    file: SpendingFile, tmp_path: Path, clock: Clock
) -> None:
    with contextlib.closing(SpendingFile(tmp_path / "spent.sqlite", "two", clock)) as other:
        other.reserve("2", [ACME])
    clock.now -= 3 * LEASE
    file.reserve("1", [Charge("acme", 100, 1, 2**40, 1)])
    file.count({"1": [1]})
    pass_seconds(clock, LEASE + 1, file)
    assert file.balance("acme") == Balance(5, 1)


@pytest.mark.parametrize("step", [3600.0, -3600.0, LEASE + 1], ids=["ahead", "back", "a pause of all workers"])
def test_open_calls_of_a_worker_that_lives_stay_held_where_the_clock_steps(
    file: SpendingFile, tmp_path: Path, clock: Clock, step: float
) -> None:
    file.reserve("1", [ACME])
    with contextlib.closing(SpendingFile(tmp_path / "spent.sqlite", "two", clock)) as other:
        pass_seconds(clock, 2, file, other)
        clock.now += step
        other.count({})
        assert other.reserve("2", [ACME]).rejected == 0
        pass_seconds(clock, 2 * LEASE, file, other)
        assert file.balance("acme") == Balance(0, 60)


@pytest.mark.parametrize("step", [3600.0, -3600.0, LEASE + 1], ids=["ahead", "back", "a pause of all workers"])
def test_a_worker_that_starts_settles_no_call_of_one_that_lives(
    file: SpendingFile, tmp_path: Path, clock: Clock, step: float
) -> None:
    file.reserve("1", [ACME])
    pass_seconds(clock, 2, file)
    clock.now += step
    with contextlib.closing(SpendingFile(tmp_path / "spent.sqlite", "new", clock)) as new:
        new.count({})
        assert new.reserve("2", [ACME]).rejected == 0
        pass_seconds(clock, 2 * LEASE, new, file)
        assert new.balance("acme") == Balance(0, 60)


def test_a_worker_that_starts_settles_a_dead_ones_calls_a_lease_later(
    file: SpendingFile, tmp_path: Path, clock: Clock
) -> None:
    file.reserve("1", [ACME])
    clock.now += 3600
    with contextlib.closing(SpendingFile(tmp_path / "spent.sqlite", "new", clock)) as new:
        new.count({})
        pass_seconds(clock, LEASE, new)
        assert new.balance("acme") == Balance(5, 0)


@pytest.mark.parametrize("step", [3600.0, -3600.0])
def test_a_dead_workers_call_is_settled_a_lease_after_the_clock_steps(
    file: SpendingFile, tmp_path: Path, clock: Clock, step: float
) -> None:
    file.reserve("1", [ACME])
    with contextlib.closing(SpendingFile(tmp_path / "spent.sqlite", "two", clock)) as other:
        other.count({})
        clock.now += step
        pass_seconds(clock, LEASE + 1, other)
        assert file.balance("acme") == Balance(5, 0)


def test_a_file_that_was_locked_for_long_settles_no_call_of_a_worker_that_lives(
    file: SpendingFile, tmp_path: Path, clock: Clock
) -> None:
    file.reserve("1", [ACME])
    with contextlib.closing(SpendingFile(tmp_path / "spent.sqlite", "two", clock)) as other:
        pass_seconds(clock, 2, file, other)
        with contextlib.closing(sqlite3.connect(tmp_path / "spent.sqlite", isolation_level=None)) as outsider:
            outsider.execute("begin immediate")
            clock.now += LEASE + 1
            with pytest.raises(StoreError):
                other.count({})
        other.count({})
        assert other.balance("acme") == Balance(0, 60)


def test_what_is_no_database_is_an_error_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("not a database" * 100)
    with pytest.raises(StoreError):
        SpendingFile(path, "one").reserve("1", [ACME])
    assert path.read_text().startswith("not a database")


def test_workers_that_are_killed_have_spent_no_more_than_the_limit_together(tmp_path: Path) -> None:
    path = tmp_path / "spent.sqlite"
    commands = [[sys.executable, "-c", WORKER, str(path), name] for name in ("one", "two")]
    workers = [subprocess.Popen(each, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for each in commands]
    try:
        admitted = [int(worker.stdout.readline()) for worker in workers if worker.stdout]
    finally:
        for worker in workers:
            os.kill(worker.pid, signal.SIGKILL)
            worker.communicate()
    with contextlib.closing(SpendingFile(path, "three")) as file:
        assert file.balance("acme") == Balance(0, 100)
    assert sum(admitted) == 100


def test_a_copy_that_is_restored_holds_nothing_for_calls_that_have_ended(file: SpendingFile, tmp_path: Path) -> None:
    file.reserve("1", [ACME])
    with contextlib.closing(sqlite3.connect(tmp_path / "spent.sqlite")) as connection:
        connection.execute("vacuum into ?", (str(tmp_path / "copy"),))
    file.settle("1", [ACME], [20])
    file.close()
    os.replace(tmp_path / "copy", tmp_path / "spent.sqlite")
    for name in ("-wal", "-shm"):
        (tmp_path / f"spent.sqlite{name}").unlink(missing_ok=True)
    assert file.balance("acme") == Balance(ACME.counted, 0)


def test_the_log_is_copied_into_the_file_by_a_thread(
    file: SpendingFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spending_file, "LONGEST_LOG", 1)
    file.add({"acme": (7, 2**40, "")})
    path, copy, stop = tmp_path / "spent.sqlite", tmp_path / "copy", threading.Event()
    thread = threading.Thread(target=spending_file.keep_log_short, args=(path, stop, 0.01), daemon=True)
    thread.start()

    def in_the_file() -> list[Any]:
        copy.write_bytes(path.read_bytes())
        with contextlib.closing(sqlite3.connect(f"file:{copy}?immutable=1", uri=True)) as connection:
            try:
                return connection.execute("select spent from accounts where key = 'acme'").fetchall()
            except sqlite3.Error:  # it is being written
                return []

    end = time.monotonic() + 60
    while in_the_file() != [(7,)]:
        assert time.monotonic() < end
    stop.set()
    thread.join(60)
    assert not thread.is_alive()


def test_the_log_begins_anew_where_nobody_ever_pauses(
    file: SpendingFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, size in (("LONGEST_LOG", 1), ("FULL_LOG", 100_000), ("HUGE_LOG", 1_000_000)):
        monkeypatch.setattr(spending_file, name, size)
    stop, log = threading.Event(), tmp_path / "spent.sqlite-wal"
    path = tmp_path / "spent.sqlite"
    thread = threading.Thread(target=spending_file.keep_log_short, args=(path, stop, 0.001), daemon=True)
    file.open()
    thread.start()
    end, number = time.monotonic() + 120, 0
    while number * 4096 < 5 * max(log.stat().st_size, 100_000):  # each adds a page at least
        assert time.monotonic() < end
        with contextlib.suppress(StoreError):  # while it begins anew
            file.add({f"{number}": (7, 2**40, "")})
            number += 1
    stop.set()
    thread.join(60)


class SlowDisk:
    """A connection with a log of so many pages, each copy of which takes some time; `read` are read by others."""

    def __init__(self, pages: int, seconds: float, read: int = 0) -> None:
        self.pages = pages
        self.read = read
        self.seconds = seconds
        self.now = 0.0
        self.restarts = 0

    def execute(self, statement: str) -> Any:
        self.now += self.seconds
        self.restarts += statement == spending_file._RESTART
        return self

    def fetchall(self) -> list[Any]:
        return [[4096]] if self.now == self.seconds else [[0, self.pages, self.pages - self.read]]


@pytest.mark.parametrize(
    ("megabytes", "seconds", "restarts"), [(8, 0.01, 0), (9, 0.01, 1), (9, 0.03, 0), (256, 0.03, 0), (257, 0.03, 1)]
)
def test_nobody_waits_for_a_slow_disk_before_the_log_is_huge(megabytes: int, seconds: float, restarts: int) -> None:
    disk = SlowDisk(megabytes * 256, seconds)
    spending_file._copy(disk, lambda: disk.now)  # type: ignore[arg-type]
    assert disk.restarts == restarts


@pytest.mark.parametrize(("megabytes", "restarts"), [(9, 0), (256, 0), (257, 1)])
def test_no_log_begins_anew_that_is_read(megabytes: int, restarts: int) -> None:
    """It would wait for who reads, and all who write for it."""
    disk = SlowDisk(megabytes * 256, 0.01, read=1)
    spending_file._copy(disk, lambda: disk.now)  # type: ignore[arg-type]
    assert disk.restarts == restarts


def test_who_reads_for_long_is_seen(file: SpendingFile, tmp_path: Path) -> None:
    file.add({"acme": (7, 2**40, "")})
    path = tmp_path / "spent.sqlite"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("begin")
        reader.execute("select * from accounts").fetchall()
        file.add({"acme": (7, 2**40, "")})
        with contextlib.closing(sqlite3.connect(path)) as other:
            [[_, pages, copied]] = other.execute(spending_file._PASSIVE).fetchall()
    assert copied < pages


def test_a_file_that_is_opened_again_keeps_its_log(file: SpendingFile, tmp_path: Path) -> None:
    """POSIX locks are a process's: whoever closes a handle of the file ends those of SQLite."""
    path = tmp_path / "spent.sqlite"
    file.add({"acme": (7, 2**40, "")})
    with contextlib.closing(sqlite3.connect(path)) as query:
        query.execute("select * from accounts").fetchall()
        file.open()
        other = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('select * from accounts').fetchall()"
        subprocess.run([sys.executable, "-c", other, str(path)], check=True, timeout=60)
        assert path.with_name(f"{path.name}-wal").exists(), "the other took itself for the last user"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").touch()
    with pytest.raises(StoreError, match="symbolic links"):
        SpendingFile(tmp_path / "link", "one").open()


def test_the_first_of_all_workers_is_told_so(file: SpendingFile, tmp_path: Path) -> None:
    with contextlib.closing(SpendingFile(tmp_path / "spent.sqlite", "two")) as other:
        assert [file.first("a", 2**40), other.first("a", 2**40), other.first("b", 2**40)] == [True, False, True]


def test_what_was_not_held_is_added(file: SpendingFile) -> None:
    file.add({"acme": (5, 2**40, "")})
    file.add({"acme": (6, 2**40, "")})
    assert file.balance("acme") == Balance(11)


def test_a_file_that_was_replaced_has_the_open_calls(file: SpendingFile, tmp_path: Path) -> None:
    file.reserve("1", [ACME])
    file.count({"1": [9]})
    for path in tmp_path.glob("spent.sqlite*"):
        path.unlink()
    file.count({})
    assert file.balance("acme") == Balance(0, 60)
    file.settle("1", [ACME], [20])
    assert file.balance("acme") == Balance(20)


def test_a_new_file_that_cannot_be_written_yet_gets_the_open_calls_later(
    file: SpendingFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.reserve("1", [ACME])
    for path in tmp_path.glob("spent.sqlite*"):
        path.unlink()
    with monkeypatch.context() as broken:
        broken.setattr(spending_file, "_HOLD", "insert into nothing values (?, ?, ?, ?, ?)")
        with pytest.raises(StoreError):
            file.count({})
    file.count({})
    assert file.balance("acme") == Balance(0, 60)
