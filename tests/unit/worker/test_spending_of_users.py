"""Accounts of users, whose names callers invent: so many in a window, and one that all others share."""

import contextlib
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extproc.limits.spending import Balance, Charge
from extproc.worker import redis_ends, redis_limits, spending_file
from extproc.worker.spending_file import LEASE, SpendingFile
from tests.unit.worker.test_spending_file import (  # noqa: F401 - fixtures
    ACME,
    Clock,
    clock,
    file,
    pass_seconds,
)

OTHERS = "others of users"
MOST = 3
USERS = st.lists(
    st.tuples(st.sampled_from(["reserve", "count", "settle"]), st.integers(0, 9), st.integers(0, 6), st.integers(0, 9)),
    max_size=40,
)
"""What happens: to which call, of which user, and an amount."""


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group has `MOST` accounts at most."""
    for module in (redis_limits, redis_ends, spending_file):
        monkeypatch.setattr(module, "MOST_IN_GROUP", MOST)


def user(number: int, limit: int = 100, amount: int = 10) -> Charge:
    return Charge(f"user {number}", limit, amount, 2**40, group="users")


def test_users_beyond_the_most_share_one_account(file: Any, few: None) -> None:  # noqa: F811
    verdicts = [file.reserve("0", [ACME, user(0)])]
    verdicts += [file.reserve(str(call), [user(call)]) for call in range(1, 5)]
    assert [verdict.rejected for verdict in verdicts] == [-1] * 5
    assert [verdict.shared for verdict in verdicts] == [(), (), (), (0,), (0,)]
    assert file.balance(OTHERS) == Balance(0, 20)
    assert [file.balance(f"user {number}").held for number in range(5)] == [10, 10, 10, 0, 0]
    file.settle("4", [user(4)], [7])
    file.settle("0", [ACME, user(0)], [8, 8])
    assert (file.balance(OTHERS), file.balance("user 4"), file.balance("user 0")) == (
        Balance(7, 10),
        Balance(),
        Balance(8),
    )
    assert file.reserve("5", [user(0)]).shared == ()


def test_the_account_that_others_share_has_a_budget(file: Any, few: None) -> None:  # noqa: F811
    for number in range(MOST + 9):
        assert file.reserve(str(number), [user(number)]).rejected < 0
    assert file.reserve("one", [ACME, user(99, amount=11)]).rejected == 1
    assert (file.balance("acme"), file.balance(OTHERS)) == (Balance(), Balance(0, 90))
    file.settle(str(MOST), [user(MOST)], [95])
    verdict = file.reserve("two", [user(99)])
    assert (verdict.rejected, verdict.exhausted, verdict.shared) == (0, True, (0,))
    assert file.reserve("three", [user(0)]).rejected < 0


def test_a_call_that_costs_nothing_leaves_no_account(file: Any, few: None) -> None:  # noqa: F811
    for number in range(3 * MOST):
        assert file.reserve(str(number), [user(number)]).shared == ()
        file.settle(str(number), [user(number)], [0])
    assert file.balance("number of users") == Balance(0)


def test_a_users_call_that_was_settled_counts_no_more(file: Any, few: None) -> None:  # noqa: F811
    for number in range(MOST + 1):
        file.reserve(str(number), [user(number)])
    for _ in range(2):
        file.settle(str(MOST), [user(MOST)], [5])
        file.settle("0", [user(0)], [0])
    assert (file.balance(OTHERS), file.balance("number of users")) == (Balance(5), Balance(MOST - 1))


def test_costs_are_counted_in_their_own_accounts_where_one_is_shared(
    file: Any,  # noqa: F811
    few: None,
) -> None:
    for number in range(MOST):
        file.reserve(str(number), [user(number)])
    file.reserve("one", [user(MOST), ACME])
    file.count({"one": [7, 9]})
    file.settle("one", [user(MOST), ACME], [8, 10])
    assert (file.balance(OTHERS), file.balance("acme")) == (Balance(8), Balance(10))


def test_a_dead_workers_call_is_settled_in_the_account_that_others_share(
    file: SpendingFile,  # noqa: F811
    tmp_path: Path,
    clock: Clock,  # noqa: F811
    few: None,
) -> None:
    for number in range(MOST + 1):
        file.reserve(str(number), [user(number)])
    file.count({str(MOST): [7]})
    with contextlib.closing(SpendingFile(tmp_path / "spent.sqlite", "two", clock)) as other:
        other.count({})
        pass_seconds(clock, LEASE + 1, other)
    assert file.balance(OTHERS) == Balance(7)
    file.settle(str(MOST), [user(MOST)], [9])
    assert (file.balance(OTHERS), file.balance(f"user {MOST}")) == (Balance(9), Balance())


def test_what_was_not_held_is_added_for_others(file: SpendingFile, few: None) -> None:  # noqa: F811
    file.add({f"user {number}": (7, 2**40, "users") for number in range(MOST + 2)})
    assert (file.balance("user 2"), file.balance("user 3")) == (Balance(7), Balance())
    assert (file.balance(OTHERS), file.balance("number of users")) == (Balance(14), Balance(MOST))


def test_a_file_that_was_replaced_has_what_users_hold(file: SpendingFile, tmp_path: Path, few: None) -> None:  # noqa: F811
    for number in range(MOST + 1):
        file.reserve(str(number), [user(number)])
    for path in tmp_path.glob("spent.sqlite*"):
        path.unlink()
    file.count({})
    assert file.balance(OTHERS) == Balance(0, 10)
    assert file.balance("number of users") == Balance(MOST)


def others_are_counted(store: Any, events: list[tuple[str, int, int, int]]) -> None:
    """Have users call; all that is spent and held is in some account, and there are no more than there may be."""
    opened: dict[str, tuple[Charge, int]] = {}
    used, spent = set[str](), 0
    for kind, number, of, amount in events:
        call = str(number)
        if kind == "reserve" and call not in used:
            charge = user(of, 10**6, amount)
            assert store.reserve(call, [charge]).rejected < 0
            opened[call] = charge, amount
            used.add(call)
        elif kind == "count" and call in opened:
            store.count({call: [amount]})
        elif kind == "settle" and call in opened:
            charge, _ = opened.pop(call)
            store.settle(call, [charge], [amount])
            spent += amount
        own = [store.balance(f"user {each}") for each in range(7)]
        balances = [*own, store.balance(OTHERS)]
        assert sum(each.spent for each in balances) == spent
        assert sum(each.held for each in balances) == sum(amount for _, amount in opened.values())
        members = sum(1 for each in own if each != Balance())
        assert store.balance("number of users") == Balance(members)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(USERS)
def test_nothing_is_uncounted_and_no_group_is_larger(few: None, events: list[tuple[str, int, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(SpendingFile(Path(folder, "spent"), "one")) as one:
        others_are_counted(one, events)
