"""What a worker owes its file of budgets is written in parts, so that nothing else waits for all of it."""

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from extproc.config import BudgetSettings, Settings
from extproc.limits.spending import Balance, Charge
from extproc.worker import budget_accounts
from extproc.worker.budget_accounts import BATCH, PAUSE, BudgetAccounts
from extproc.worker.spending_file import SpendingFile
from extproc.worker.sqlite_file import StoreError

END = 2**40


def charge(key: str, group: str = "") -> Charge:
    return Charge(key, 10**9, 10, END, group=group)


class Files:
    """Counts how many rows each call of a `SpendingFile` is given; `broken` ones raise."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self.broken = False
        for name in ("count", "add", "reserve"):
            monkeypatch.setattr(SpendingFile, name, self._wrapped(getattr(SpendingFile, name)))

    def _wrapped(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(file: SpendingFile, *arguments: Any) -> Any:
            if self.broken:
                raise StoreError("it is broken")
            if isinstance(arguments[0], dict):
                self.sizes.append(len(arguments[0]))
            return method(file, *arguments)

        return call


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Files:
    return Files(monkeypatch)


@pytest.fixture
def accounts(tmp_path: Path, files: Files) -> Iterator[BudgetAccounts]:
    settings = Settings(budgets=BudgetSettings(sqlite=str(tmp_path / "spent"), on_store_error="allow"))
    accounts = BudgetAccounts("worker", lambda: settings)
    yield accounts
    accounts.close()


def tick(accounts: BudgetAccounts) -> int:
    """Write what is due; return in how many parts."""
    file = accounts._in_use()
    assert file is not None
    return sum(1 for _ in accounts._tick(file))


def test_open_calls_are_counted_in_parts(accounts: BudgetAccounts, files: Files) -> None:
    for number in range(2 * BATCH + 1):
        accounts.reserve(str(number), [charge("acme")], lambda: [3])
    assert tick(accounts) == 3
    assert files.sizes == [BATCH, BATCH, 1]


def test_calls_in_many_accounts_are_fewer_in_a_part(accounts: BudgetAccounts, files: Files) -> None:
    charges = [charge(f"account {number}") for number in range(BATCH // 4)]
    for number in range(9):
        accounts.reserve(str(number), charges, lambda: [3] * len(charges))
    assert tick(accounts) == 3
    assert files.sizes == [4, 4, 1]


def test_a_file_that_others_have_locked_is_left_alone_for_a_moment_only(
    accounts: BudgetAccounts, tmp_path: Path
) -> None:
    accounts.reserve("1", [charge("acme")], lambda: [3])
    with contextlib.closing(sqlite3.connect(tmp_path / "spent", isolation_level=None)) as other:
        other.execute("begin immediate")
        began = time.monotonic()
        assert accounts.reserve("2", [charge("acme")], lambda: [3]) is None
        assert accounts._paused_until - began < PAUSE
        other.execute("rollback")


def test_the_copier_is_started_later_where_there_are_no_threads(
    accounts: BudgetAccounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    accounts._in_use()
    with monkeypatch.context() as full:
        full.setattr(budget_accounts.threading.Thread, "start", none)
        accounts._keep_log_short()
    assert accounts._copier is None
    accounts._keep_log_short()
    assert accounts._copier is not None
    assert accounts._copier.is_alive()


def test_what_was_not_held_is_added_in_parts(
    accounts: BudgetAccounts, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.broken = True
    for number in range(BATCH + 1):
        charges = [charge("acme"), charge(f"user {number}", "users")]
        assert accounts.reserve(str(number), charges, lambda: [3, 3]) is None
        accounts.settle(str(number), charges, [3, 3])
    files.broken = False
    monkeypatch.setattr(budget_accounts, "PAUSE", 0)
    assert tick(accounts) == 3
    file = SpendingFile(tmp_path / "spent", "other")
    assert file.balance("acme") == Balance(3 * (BATCH + 1), 0)
    assert file.balance(f"user {BATCH}") == Balance(3, 0)
    file.close()


def test_users_leave_room_for_what_organisations_owe(
    accounts: BudgetAccounts, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget_accounts, "MOST_OWED", 10)
    files.broken = True
    charges = [*(charge(f"user {number}", "users") for number in range(20)), charge("acme")]
    accounts.reserve("1", charges, list)
    accounts.settle("1", charges, [1] * 21)
    files.broken = False
    tick(accounts)
    file = SpendingFile(tmp_path / "spent", "other")
    assert file.balance("acme") == Balance(1, 0)
    assert [file.balance(f"user {number}").spent for number in (4, 5)] == [1, 0]
    assert file.balance("others of users") == Balance(15)
    file.close()
