"""The rule of budgets: whatever calls do at once, an account is exceeded by the error of estimates at most."""

from hypothesis import given
from hypothesis import strategies as st

from extproc.limits.spending import Balance, Charge, MemorySpending, decide

LIMITS = {"organisation": 1000, "token": 600, "user": 250}
CALL = st.tuples(st.sets(st.sampled_from(sorted(LIMITS)), min_size=1), st.integers(0, 400), st.integers(0, 500))
EVENTS = st.lists(st.tuples(st.sampled_from(["begin", "count", "end", "die"]), st.integers(0, 50), CALL), max_size=120)


def test_a_call_is_held_in_all_accounts_or_in_none() -> None:
    store = MemorySpending()
    first, second = Charge("a", 100, 60, 1), Charge("b", 50, 60, 1)
    assert store.reserve("1", [first, second]).rejected == 1
    assert store.balance("a") == store.balance("b") == Balance()


def test_a_budget_that_open_calls_hold_is_not_exhausted() -> None:
    charge = Charge("a", 100, 60, 1)
    assert not decide([charge], [Balance(40, 60)]).exhausted
    assert decide([charge], [Balance(41, 0)]).exhausted
    assert decide([charge], [Balance(40, 0)]).rejected == -1


def test_a_budget_that_is_not_enforced_rejects_nothing() -> None:
    assert decide([Charge("a", 100, 60, 1, enforced=False)], [Balance(500, 0)]).rejected == -1


def test_a_call_is_settled_once() -> None:
    store, charges = MemorySpending(), [Charge("a", 100, 60, 1, 5)]
    store.reserve("1", charges)
    store.count({"1": [7]})
    store.expire("1")
    assert store.balance("a") == Balance(7, 0)
    for _ in range(2):
        store.settle("1", charges, [50])
    assert store.balance("a") == Balance(50, 0)


def test_an_ended_window_is_forgotten_once_nothing_is_held() -> None:
    store, charges = MemorySpending(), [Charge("a", 100, 60, 10)]
    store.reserve("1", charges)
    store.forget(10, {"a": 10})
    assert store.balance("a").held == 60
    store.settle("1", charges, [60])
    store.forget(10, {"a": 10})
    assert store.balance("a") == Balance()


@given(EVENTS)
def test_an_account_is_exceeded_by_the_error_of_estimates_at_most(
    events: list[tuple[str, int, tuple[set[str], int, int]]],
) -> None:
    store, charged, spent, error = MemorySpending(), dict[str, list[Charge]](), dict.fromkeys(LIMITS, 0), 0
    running: dict[str, int] = {}
    for number, (kind, which, (keys, estimate, cost)) in enumerate(events):
        call = list(charged)[which % len(charged)] if charged else ""
        if kind == "begin":
            charges = [Charge(key, LIMITS[key], estimate, 1) for key in sorted(keys)]
            if store.reserve(str(number), charges).rejected < 0:
                charged[str(number)], running[str(number)] = charges, 0
        elif call and kind == "count":
            running[call] = cost
            store.count({call: [cost] * len(charged[call])})
        elif call:
            charges = charged.pop(call)
            final = cost if kind == "end" else running[call]
            if kind == "end":
                store.settle(call, charges, [final] * len(charges))
            else:
                store.expire(call)
            error += max(final - charges[0].amount, 0)
            for charge in charges:
                spent[charge.key] += final
    for key, limit in LIMITS.items():
        held = sum(charge.amount for charges in charged.values() for charge in charges if charge.key == key)
        assert store.balance(key) == Balance(spent[key], held)
        assert spent[key] <= limit + error
