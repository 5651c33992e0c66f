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


class Calls:
    """Calls of a store, and what its accounts should have of them."""

    def __init__(self) -> None:
        self.store = MemorySpending()
        self.charged: dict[str, list[Charge]] = {}
        self.dead: dict[str, list[Charge]] = {}
        self.spent = dict.fromkeys(LIMITS, 0)
        self.error = dict.fromkeys(LIMITS, 0)
        self._counted: dict[str, int] = {}

    def begin(self, call: str, charges: list[Charge]) -> None:
        if self.store.reserve(call, charges).rejected < 0:
            self.charged[call], self._counted[call] = charges, 0

    def count(self, call: str, cost: int) -> None:
        if call in self.charged:
            self.store.count({call: [cost] * len(self.charged[call])})
            self._counted[call] = cost

    def die(self, call: str, _: int) -> None:
        if call in self.charged:
            self.store.expire(call)
            self.dead[call] = charges = self.charged.pop(call)
            self._add(charges, self._counted[call], charges[0].amount)

    def end(self, call: str, cost: int) -> None:
        """End a call; the estimate of one whose worker was taken for dead is its last count."""
        late = call in self.dead
        charges = self.dead.pop(call) if late else self.charged.pop(call)
        self.store.settle(call, charges, [cost] * len(charges))
        self._add(charges, cost - self._counted[call] if late else cost, 0 if late else charges[0].amount)

    def _add(self, charges: list[Charge], amount: int, estimate: int) -> None:
        for charge in charges:
            self.spent[charge.key] += amount
            self.error[charge.key] += max(amount - estimate, 0)


@given(EVENTS)
def test_an_account_is_exceeded_by_the_error_of_estimates_at_most(
    events: list[tuple[str, int, tuple[set[str], int, int]]],
) -> None:
    calls = Calls()
    for number, (kind, which, (keys, estimate, cost)) in enumerate(events):
        known = [*calls.charged, *calls.dead]
        if kind == "begin":
            calls.begin(str(number), [Charge(key, LIMITS[key], estimate, 1) for key in sorted(keys)])
        elif known:
            getattr(calls, kind)(known[which % len(known)], cost)
        for key, limit in LIMITS.items():
            held = sum(charge.amount for charges in calls.charged.values() for charge in charges if charge.key == key)
            assert calls.store.balance(key) == Balance(calls.spent[key], held)
            assert calls.spent[key] <= limit + calls.error[key]
