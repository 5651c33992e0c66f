"""Balances in a file are those of the model in memory, whatever happens in whatever order."""

import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.limits.spending import Charge, MemorySpending, Verdict, decide
from extproc.worker.spending_file import LEASE, SpendingFile

KEYS = ("organisation", "token")
WORKERS = ("one", "two")
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "count", "settle", "die"]),
        st.sampled_from(WORKERS),
        st.integers(0, 5),
        st.integers(0, 150),
    ),
    max_size=30,
)


def come_back(model: MemorySpending, charged: dict[str, list[Charge]], worker: str) -> None:
    """Hold the open calls of a worker again, if it was taken for dead."""
    for call in charged:
        if call.startswith(worker):
            model.hold_again(call)


def reserve(model: MemorySpending, charged: dict[str, list[Charge]], call: str, charges: Sequence[Charge]) -> Verdict:
    """Hold what a call may cost; before that its worker's open calls, if it was taken for dead."""
    if decide(charges, [model.balance(charge.key) for charge in charges]).rejected < 0:
        come_back(model, charged, call.split()[0])
    return model.reserve(call, charges)


class Clock:
    """A clock that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def pass_lease(clock: Clock, file: SpendingFile) -> None:
    """Let one worker count once a second, for longer than a lease."""
    for _ in range(int(LEASE) + 1):
        clock.now += 1
        file.count({})


@settings(max_examples=60, deadline=None)
@given(EVENTS)
def test_a_file_of_two_workers_has_the_balances_of_the_model(events: list[tuple[str, str, int, int]]) -> None:
    clock, model = Clock(), MemorySpending()
    charged: dict[str, list[Charge]] = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as closing:
        files = {name: SpendingFile(Path(folder, "spent"), name, clock) for name in WORKERS}
        for file in files.values():
            closing.callback(file.close)
            file.count({})
        for kind, worker, number, amount in events:
            call, file = f"{worker} {number}", files[worker]
            if kind == "reserve" and call not in charged:
                charges = [Charge(key, 300, amount, 2**40, amount // 2) for key in KEYS]
                verdict = reserve(model, charged, call, charges)
                assert file.reserve(call, charges) == verdict
                if verdict.rejected < 0:
                    charged[call] = charges
            elif kind == "count" and call in charged:
                come_back(model, charged, worker)
                model.count({call: [amount] * 2})
                file.count({call: [amount] * 2})
            elif kind == "settle" and call in charged:
                charges = charged.pop(call)
                model.settle(call, charges, [amount] * 2)
                file.settle(call, charges, [amount] * 2)
            elif kind == "die":
                come_back(model, charged, worker)
                pass_lease(clock, file)  # the other worker is taken for dead
                for each in charged:
                    if not each.startswith(worker):
                        model.expire(each)
            assert [file.balance(key) for key in KEYS] == [model.balance(key) for key in KEYS]


def settle_all(file: SpendingFile) -> None:
    """Settle all calls that have ended."""
    while file.settle_ended():
        pass
    assert not file._due


LATE_EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "reserve", "end", "end", "settle", "settle ended", "open", "die"]),
        st.integers(0, 9),
        st.integers(0, 150),
        st.integers(0, 3),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(LATE_EVENTS)
def test_a_worker_decides_by_calls_that_have_ended_before_the_file_has_them(
    events: list[tuple[str, int, int, int]],
) -> None:
    clock, model = Clock(), MemorySpending()
    charged: dict[str, list[Charge]] = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as closing:
        file, other = [SpendingFile(Path(folder, "spent"), name, clock) for name in WORKERS]
        closing.callback(file.close)
        closing.callback(other.close)
        for kind, number, amount, user in events:
            call = f"one {number}"
            if kind == "reserve" and call not in charged:
                charges = [Charge(key, 300, amount, 2**40, amount // 2) for key in ("organisation", f"user {user}")]
                verdict = model.reserve(call, charges)
                assert file.reserve(call, charges) == verdict
                if verdict.rejected < 0:
                    charged[call] = charges
            elif kind in ("end", "settle") and call in charged:
                costs = [amount, 2 * amount]
                model.settle(call, charged[call], costs)
                if kind == "end":
                    file.end(call, costs)
                    file.end(call, [0, 0])  # only the first time counts
                else:
                    file.settle(call, charged[call], costs)
                    del charged[call]
            elif kind == "settle ended":
                settle_all(file)
                charged = {each: charges for each, charges in charged.items() if each in file._calls}
            elif kind == "open":
                file.open()
            elif kind == "die":
                pass_lease(clock, other)
                file.count({})  # it lives
        settle_all(file)
        for key in ("organisation", *[f"user {number}" for number in range(4)]):
            assert file.balance(key) == model.balance(key)
