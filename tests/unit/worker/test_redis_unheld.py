"""What calls have taken while their store does not know of them."""

from hypothesis import given
from hypothesis import strategies as st

from extproc.limits.spending import Charge
from extproc.worker.redis_unheld import Unheld

ACCOUNTS = ("acme", "ci")
AMOUNTS = st.lists(st.integers(0, 3), min_size=2, max_size=2)
EVENTS = st.lists(st.tuples(st.sampled_from(["take", "end", "drop"]), st.sampled_from("abc"), AMOUNTS))


def charges(amounts: list[int]) -> list[Charge]:
    return [Charge(account, 1000, amount, 2**40) for account, amount in zip(ACCOUNTS, amounts, strict=True)]


def test_calls_that_cost_nothing_leave_nothing() -> None:
    unheld = Unheld()
    for call in ("a", "b"):
        unheld.take(call, charges([5, 5]))
        unheld.end(call, [0, 0])
    assert [dict(unheld.drop(call)) for call in ("a", "b")] == [{"acme": 0, "ci": 0}] * 2
    assert (len(unheld), unheld.of("acme"), unheld._sums) == (0, 0, {})


@given(EVENTS)
def test_a_sum_is_that_of_the_calls_that_are_there(events: list[tuple[str, str, list[int]]]) -> None:
    unheld, calls = Unheld(), dict[str, list[int]]()
    for kind, call, amounts in events:
        if kind == "take" and call not in calls:
            unheld.take(call, charges(amounts))
            calls[call] = amounts
        elif kind == "end":
            unheld.end(call, amounts)
            if call in calls:
                calls[call] = amounts
        elif kind == "drop":
            unheld.drop(call)
            calls.pop(call, None)
        sums = [sum(each) for each in zip(*calls.values(), strict=True)] or [0, 0]
        assert [unheld.of(account) for account in ACCOUNTS] == sums
        assert unheld._sums == {account: each for account, each in zip(ACCOUNTS, sums, strict=True) if each}
