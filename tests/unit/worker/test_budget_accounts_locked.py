"""Whenever others have locked the file of budgets: all is counted once, and what is open never exceeds a budget."""

import contextlib
import itertools
import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extproc.limits.spending import Balance, Charge, Verdict
from extproc.openai.errors import ApiError
from extproc.worker import budget_accounts, sqlite_file
from extproc.worker.budget_accounts import BudgetAccounts
from tests.unit.worker.test_budget_accounts import balance, tick, worker

LIMIT = 100
NAMES = itertools.count()

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["admit", "admit", "settle", "tick", "lock", "unlock"]), st.integers(0, 1), st.integers(1, 40)
    ),
    max_size=25,
)


class Calls:
    """The calls of a worker: what they may cost, or have cost."""

    def __init__(self, accounts: BudgetAccounts) -> None:
        self.accounts = accounts
        self.calls: dict[str, int] = {}
        self.open: dict[str, Charge] = {}

    def admit(self, amount: int) -> None:
        """Note a call that is admitted."""
        call, charge = str(next(NAMES)), Charge("acme", LIMIT, amount, 2**40, 1)
        with contextlib.suppress(ApiError):
            verdict = self.accounts.reserve(call, [charge], lambda: [1])
            assert isinstance(verdict, Verdict)
            if verdict.rejected < 0:
                self.calls[call], self.open[call] = amount, charge

    def settle(self, number: int) -> None:
        """End a call that costs a part of what it might have cost."""
        if self.open:
            call = list(self.open)[number % len(self.open)]
            self.calls[call] = number % (self.calls[call] + 1)
            self.accounts.settle(call, [self.open.pop(call)], [self.calls[call]])


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have workers wait for no lock, and leave the file alone for no time."""
    monkeypatch.setattr(sqlite_file, "BUSY_SECONDS", 0.0)
    monkeypatch.setattr(budget_accounts, "PAUSE", 0.0)
    monkeypatch.setattr(budget_accounts, "SHORT_PAUSE", 0.0)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EVENTS)
def test_all_is_counted_once_and_no_budget_is_exceeded(
    tmp_path: Path, hasty: None, events: list[tuple[str, int, int]]
) -> None:
    path = tmp_path / f"{next(NAMES)}.sqlite"
    with contextlib.ExitStack() as stack:
        workers = [
            Calls(stack.enter_context(contextlib.closing(worker(path, "reject", name)))) for name in ("one", "two")
        ]
        for each in workers:
            tick(each.accounts)
        other = stack.enter_context(contextlib.closing(sqlite3.connect(path, isolation_level=None)))
        for kind, number, amount in events:
            if kind == "tick":
                tick(workers[number].accounts)
            elif kind in ("lock", "unlock"):
                if other.in_transaction == (kind == "unlock"):
                    other.execute("begin immediate" if kind == "lock" else "rollback")
            else:
                getattr(workers[number], kind)(amount)
            assert sum(sum(each.calls.values()) for each in workers) <= LIMIT
        if other.in_transaction:
            other.execute("rollback")
        for each in workers:
            while each.open:
                each.settle(7)
            tick(each.accounts)
        assert balance(path) == Balance(sum(sum(each.calls.values()) for each in workers), 0)
