"""The accounts of a worker: what becomes of calls while the file does not work, and what the log has of it."""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from extproc.config import Settings
from extproc.config.budgets import BudgetSettings
from extproc.limits.spending import Balance, Charge
from extproc.openai.errors import ApiError
from extproc.worker import budget_accounts
from extproc.worker.budget_accounts import PAUSE, BudgetAccounts
from extproc.worker.spending_file import SpendingFile

ACME = Charge("acme", 100, 60, 2**40, 5)
OTHER = Charge("other", 100, 60, 2**40, 5)


def nothing() -> list[int]:
    """Return what a call has cost that has cost nothing yet."""
    return [0]


class Clock:
    """A steady clock that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(budget_accounts.time, "monotonic", clock)
    return clock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spent.sqlite"


def worker(path: Path | None, choice: Any = "allow", name: str = "one") -> BudgetAccounts:
    """Return the accounts of a worker."""
    settings = Settings(budgets=BudgetSettings(sqlite=str(path) if path else None, on_store_error=choice))
    return BudgetAccounts(name, lambda: settings)


@pytest.fixture
def accounts(path: Path, clock: Clock) -> Iterator[BudgetAccounts]:
    """Accounts that serve calls while the file does not work."""
    with contextlib.closing(worker(path)) as accounts:
        yield accounts


def tick(accounts: BudgetAccounts) -> None:
    """Do what is done each second, once."""

    async def once() -> None:
        running = asyncio.create_task(accounts.run())
        for _ in range(20):  # it is done in parts
            await asyncio.sleep(0)
        running.cancel()

    asyncio.run(once())


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of the file."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("begin immediate")
        yield
        connection.execute("rollback")


def balance(path: Path, key: str = "acme") -> Balance:
    with contextlib.closing(SpendingFile(path, "reader")) as file:
        return file.balance(key)


def test_a_call_is_held_counted_each_second_and_settled(accounts: BudgetAccounts, path: Path) -> None:
    verdict = accounts.reserve("1", [ACME], lambda: [9])
    assert verdict is not None
    assert verdict.rejected == -1
    tick(accounts)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("select call, counted from holds").fetchall() == [("1", 9)]
    accounts.settle("1", [ACME], [20])
    assert balance(path) == Balance(20, 0)


def test_a_rejected_call_is_not_held(accounts: BudgetAccounts, path: Path) -> None:
    accounts.reserve("1", [ACME], nothing)
    verdict = accounts.reserve("2", [ACME], nothing)
    assert verdict is not None
    assert (verdict.rejected, balance(path).held) == (0, 60)


def test_a_settlement_that_fails_is_made_by_a_later_tick(accounts: BudgetAccounts, path: Path, clock: Clock) -> None:
    for call in ("1", "2"):
        accounts.reserve(call, [Charge("acme", 1000, 60, 2**40)], nothing)
    with locked(path):
        accounts.settle("1", [ACME], [20])
    accounts.settle("2", [ACME], [30])  # the file works again, and is left alone for a while
    assert balance(path) == Balance(0, 120)
    tick(accounts)
    assert balance(path) == Balance(50, 0)


def test_calls_that_nothing_is_held_for_are_owed_and_added(accounts: BudgetAccounts, path: Path, clock: Clock) -> None:
    accounts.reserve("0", [ACME], nothing)
    accounts.settle("0", [ACME], [1])
    with locked(path):
        assert accounts.reserve("1", [ACME, OTHER], nothing) is None
    assert accounts.reserve("2", [ACME], nothing) is None, "the file is left alone for a while"
    accounts.settle("1", [ACME, OTHER], [200, 7])
    accounts.settle("2", [ACME], [30])
    tick(accounts)
    assert (balance(path), balance(path, "other")) == (Balance(231), Balance(7))
    tick(accounts)
    assert balance(path) == Balance(231), "once"


def test_only_so_many_accounts_are_owed(accounts: BudgetAccounts, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget_accounts, "MOST_OWED", 1)
    tick(accounts)
    accounts.settle("1", [ACME, OTHER], [3, 4])
    accounts.settle("2", [ACME], [5])
    tick(accounts)
    assert (balance(path), balance(path, "other")) == (Balance(8), Balance())


def test_where_the_settings_say_so_nothing_is_served_without_the_file(path: Path, clock: Clock) -> None:
    with contextlib.closing(worker(path, "reject")) as accounts:
        tick(accounts)
        with locked(path), pytest.raises(ApiError) as error:
            accounts.reserve("1", [ACME], nothing)
        assert (error.value.status, error.value.code) == (503, "budgets_unavailable")
        with pytest.raises(ApiError):
            accounts.reserve("2", [ACME], nothing)
        clock.now += PAUSE
        assert accounts.reserve("3", [ACME], nothing) is not None
        assert balance(path) == Balance(0, 60)


@pytest.mark.parametrize("choice", ["allow", "reject"])
def test_without_a_file_nothing_is_counted(choice: str, caplog: pytest.LogCaptureFixture) -> None:
    accounts = worker(None, choice)
    if choice == "reject":
        with pytest.raises(ApiError):
            accounts.reserve("1", [ACME], nothing)
    else:
        assert accounts.reserve("1", [ACME], nothing) is None
    accounts.settle("1", [ACME], [9])
    accounts.tell("key", 2**40, "a text")
    tick(accounts)
    accounts.close()
    expected = "budgets cannot be counted in no file: budgets.sqlite is not set"
    assert [each.getMessage() for each in caplog.records] == [expected]


def test_a_text_is_logged_once_for_all_workers(
    accounts: BudgetAccounts, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with contextlib.closing(worker(path, name="two")) as other:
        tick(accounts)
        tick(other)
        for each in (accounts, other, accounts):
            each.tell("key", 2**40, "a text")
    assert [each.getMessage() for each in caplog.records] == ["a text"]


def test_trouble_is_logged_once_and_so_is_its_end(
    accounts: BudgetAccounts, path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    tick(accounts)
    with locked(path):
        for _ in range(3):
            accounts.reserve("1", [ACME], nothing)
            accounts.tell("key", 2**40, "a text")
            tick(accounts)
            clock.now += PAUSE
    for _ in range(2):
        tick(accounts)
    trouble = f"budgets cannot be counted in {path}: database is locked"
    assert [each.getMessage() for each in caplog.records] == [trouble, f"budgets are counted in {path} again"]


def test_a_bug_in_a_call_does_not_end_the_counting(
    accounts: BudgetAccounts, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    costs: dict[str, int] = {}
    accounts.reserve("1", [ACME], lambda: [costs["unknown"]])
    tick(accounts)
    assert "budgets cannot be counted" in caplog.text
    costs["unknown"] = 9
    tick(accounts)
    accounts.settle("1", [ACME], [20])
    assert balance(path) == Balance(20, 0)


def test_what_is_not_settled_yet_is_settled_at_the_end(path: Path, clock: Clock) -> None:
    accounts = worker(path)
    accounts.reserve("1", [ACME], nothing)
    with locked(path):
        accounts.settle("1", [ACME], [20])
    accounts.settle("2", [ACME], [3])
    accounts.close()
    assert balance(path) == Balance(23, 0)


def test_callers_whose_budgets_only_audit_are_served_while_the_file_does_not_work(path: Path, clock: Clock) -> None:
    path.write_text("not a database" * 100)
    audit = Charge("acme", 100, 60, 2**40, 5, enforced=False)
    with contextlib.closing(worker(path, "reject")) as accounts:
        assert accounts.reserve("1", [audit], nothing) is None
        with pytest.raises(ApiError):
            accounts.reserve("2", [audit, OTHER], nothing)


def test_a_file_that_stays_locked_is_tried_less_and_less_often(
    accounts: BudgetAccounts, path: Path, clock: Clock
) -> None:
    accounts.reserve("0", [ACME], nothing)
    with locked(path):
        for pause in (0.1, 0.2, 0.4, 0.8, 1.0, 1.0):
            assert accounts.reserve("1", [ACME], nothing) is None
            assert accounts._paused_until == pytest.approx(clock.now + pause)
            clock.now = accounts._paused_until
    assert accounts.reserve("1", [ACME], nothing) is not None
    with locked(path):
        assert accounts.reserve("2", [ACME], nothing) is None
        assert accounts._paused_until == pytest.approx(clock.now + 0.1)


def test_a_file_that_is_left_alone_is_asked_for_no_line_of_the_log_either(
    accounts: BudgetAccounts, path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    accounts.reserve("1", [ACME], nothing)
    with locked(path):
        accounts.settle("1", [ACME], [20])
    accounts.tell("key", 2**40, "a text")
    assert "a text" not in caplog.text
    clock.now += PAUSE
    accounts.tell("key", 2**40, "a text")
    assert "a text" in caplog.text
