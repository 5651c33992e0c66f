"""Whatever of their store's replies workers get: all is counted once, and a budget is exceeded within a second only."""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from extproc.config.redis import RedisSettings
from extproc.exchange.jobs import Admit
from extproc.limits.spending import Balance, Charge, Verdict
from extproc.openai.errors import ApiError
from extproc.worker import redis_client
from tests.redis.server import Gate, Redis
from tests.redis.workers import NAMES, Worker, _round

LIMIT = 100

Event = tuple[str, int, int]

NUMBERS = st.integers(1, 40)
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(
            ["admit", "late", "late", "settle", "beat", "beat", "keep replies", "keep requests", "cut", "open"]
        ),
        st.integers(0, 1),
        NUMBERS,
    ),
    max_size=25,
)
LATE: list[Event] = [("late", 0, 30), ("beat", 0, 0)] * 5
"""A store that is late replies in the end, and no beat is to give a part anew."""


class Gated:
    """A worker behind a gate, with its calls: what they may cost, or have cost."""

    def __init__(self, redis: Redis) -> None:
        self.gate = Gate(redis.port)
        place = RedisSettings(f"redis://127.0.0.1:{self.gate.port}", timeout_ms=20)
        self.worker = Worker(redis, lambda: 10**12, redis_settings=place)
        self.store = self.worker.store
        self.passes = True
        self.calls: dict[str, int] = {}
        self.open: dict[str, Charge] = {}
        self.synced: set[str] = set()
        """Calls that the store is to know."""
        self.seen: set[str] = set()
        """Calls of all workers that it knew when this one has last had a reply to a beat."""
        self.admit(1)
        self.settle(0)
        self.beat()

    def admit(self, amount: int) -> str | None:
        """Have a call admitted or rejected; return its name if it was admitted."""
        call, charge = f"late {next(NAMES)}", Charge("acme", LIMIT, amount, 2**40, 1)
        if self.store.ready:
            verdict = self.worker.run(self.store(Admit(call, (), 0, False, [charge], lambda: [1]), 1.0)).verdict
        else:
            try:
                verdict = self.store.accounts.reserve(call, [charge], lambda: [1])
            except ApiError:
                return None
        if not isinstance(verdict, Verdict) or verdict.rejected >= 0:
            return None
        self.calls[call], self.open[call] = amount, charge
        if call in self.store._counted:  # the store has admitted it
            self.synced.add(call)
        return call

    def settle(self, number: int) -> None:
        """End a call that costs a part of what it might have cost."""
        if self.open:
            call = list(self.open)[number % len(self.open)]
            self.calls[call] = number % (self.calls[call] + 1)
            charge = self.open.pop(call)
            self.worker.run(_now(lambda: self.store.accounts.settle(call, [charge], [self.calls[call]])))

    def beat(self) -> bool:
        """Beat; return whether there were replies."""
        self.worker.run(_now(self.store.ends.flush))
        self.worker.run(_now(lambda: list(self.store.beat())))
        if self.passes:
            for _ in range(2):
                self.worker.run(_round(self.store))
            self.synced.update(self.calls)
        return self.passes

    def keep(self, what: str) -> None:
        """Keep replies, or requests."""
        getattr(self.gate, what).clear()
        self.passes = False

    def cut(self) -> None:
        """Lose the connection, with all that was kept."""
        before = self.store.client._connection
        self.gate.cut()
        if before is not None:
            self.worker.until(lambda: self.store.client._connection is not before)
        self.passes = False

    def pass_on(self) -> None:
        """Have the store work."""
        self.gate.open()
        self.worker.until(lambda: self.store.client.connected)
        self.worker.run(_round(self.store))
        self.passes = True

    def close(self) -> None:
        """End both."""
        self.gate.close()
        self.worker.kill()


async def _now(do: Callable[[], object]) -> None:
    do()
    await asyncio.sleep(0)
    await asyncio.sleep(0)


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have workers connect again soon."""
    monkeypatch.setattr(redis_client, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(redis_client, "LONGEST_PAUSE", 0.02)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EVENTS)
@example(LATE)
def test_all_is_counted_once_and_a_budget_is_exceeded_within_a_second_only(
    redis: Redis, short_pauses: None, events: list[Event]
) -> None:
    redis.send("FLUSHALL")
    workers = [Gated(redis) for _ in range(2)]
    try:
        for event in events:
            _do(workers, *event)
        for each in workers:
            each.pass_on()
            while each.open:
                each.settle(7)
        for _ in range(2):
            for each in workers:
                assert each.beat()
        spent = sum(sum(each.calls.values()) for each in workers)
        assert workers[0].worker.balance("acme") == Balance(spent, 0)
    finally:
        for each in workers:
            each.close()


def _do(workers: list[Gated], kind: str, number: int, amount: int) -> None:
    worker = workers[number]
    if kind == "late":
        _do(workers, "keep replies", number, 0)
        _do(workers, "admit", number, amount)
        _do(workers, "open", number, 0)
    elif kind == "admit":
        if (call := worker.admit(amount)) is not None:
            own = worker.synced if call in worker.synced else set(worker.calls)
            assert _taken(workers, own | worker.seen) <= LIMIT
    elif kind == "settle":
        worker.settle(amount)
    elif kind == "beat":
        if worker.beat():
            worker.seen = {call for each in workers for call in each.synced}
            assert worker.worker.balance("acme").held >= sum(worker.calls[call] for call in worker.open)
    elif kind == "cut":
        worker.cut()
    elif kind == "open":
        worker.pass_on()
    else:
        worker.keep(kind.removeprefix("keep "))


def _taken(workers: list[Gated], calls: set[str]) -> int:
    return sum(amount for each in workers for call, amount in each.calls.items() if call in calls)
