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
