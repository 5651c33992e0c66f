"""What workers take in advance of buckets in a Redis."""

import asyncio
from collections.abc import Callable, Iterator

import pytest

from extproc.exchange.jobs import Admission, Admit
from extproc.limits.advances import AHEAD
from extproc.limits.counters import Decision, Scope
from extproc.limits.gcra import MINUTE
from tests.redis.server import Redis
from tests.redis.workers import Worker, by_a_clock
from tests.unit.worker.test_rate_counters import Clock, rejected

LIMIT = 60_000
COST = MINUTE // LIMIT
LARGE = [Scope("organisation acme", "acme", LIMIT, LIMIT), Scope("token ci", "ci", LIMIT, LIMIT)]
Start = Callable[[], Worker]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, redis: Redis, clock: Clock) -> Iterator[Start]:
    by_a_clock(monkeypatch)
    workers: list[Worker] = []

    def start() -> Worker:
        workers.append(Worker(redis, clock))
        return workers[-1]

    yield start
    for each in workers:
        each.kill()


def taken(worker: Worker, clock: Clock) -> tuple[int, int]:
    """Return how far the buckets of requests and tokens of the organisation are taken, as another worker sees them."""
    bucket = worker.admit([Scope("organisation acme", "acme", 0, 0, 1)], 0, False).buckets[0]
    return bucket.requests - clock.now, bucket.tokens - clock.now


def test_those_that_follow_a_request_do_not_ask_the_store(start: Start, clock: Clock) -> None:
    worker = start()
    assert worker.store.known(LARGE, 1) is None
    decision = worker.admit(LARGE, 1, False)
    assert [worker.store.known(LARGE, 1) is not None for _ in range(51)] == [True] * 50 + [False]
    assert decision.requests is not None
    assert decision.requests.remaining == LIMIT - 1
    clock.now += AHEAD
    assert rejected(worker.admit(LARGE, 1, False)) is None
    clock.now += AHEAD + 2 * COST
    assert worker.store.known(LARGE, 1) is None


def test_calls_at_once_take_one_advance(start: Start, clock: Clock) -> None:
    worker, other = start(), start()

    async def many() -> list[Admission]:
        admits = [Admit(f"call {number}", LARGE, 1, False, (), None) for number in range(20)]
        return await asyncio.gather(*[worker.store(each, 1.0) for each in admits])

    decisions = [each.decision for each in worker.run(many())]
    assert all(isinstance(each, Decision) and each.rejection is None for each in decisions)
    assert taken(other, clock) == (20 * COST + AHEAD, 20 * COST + AHEAD)


def test_what_is_not_used_flows_back(start: Start, clock: Clock) -> None:
    worker, other = start(), start()
    worker.admit(LARGE, 1, False)
    clock.now += AHEAD + COST
    assert taken(other, clock) == (0, 0)


def test_the_rest_is_given_back_with_the_next_question(start: Start, clock: Clock) -> None:
    worker, other = start(), start()
    worker.admit(LARGE, 1, False)
    assert rejected(worker.admit(LARGE, 100, False)) is None
    assert taken(other, clock) == (2 * COST, 101 * COST)


def test_what_a_call_used_beyond_its_reservation_is_told(start: Start, clock: Clock) -> None:
    worker, other = start(), start()
    worker.settle(LARGE, worker.admit(LARGE, 1, False), 1, 1000)
    worker.run(told(worker))
    assert taken(other, clock) == (COST + AHEAD, 1000 * COST + AHEAD)


async def told(worker: Worker) -> None:
    """Have the store told what it is owed, and wait for its reply."""
    worker.store.advances.tell()
    worker.store.ends.flush()
    await worker.store.ends.settled.wait()


def test_little_is_left_and_nothing_is_taken_in_advance(start: Start, clock: Clock) -> None:
    worker, other = start(), start()
    wide = [Scope("organisation acme", "acme", 0, LIMIT)]
    for _ in range(31):
        worker.admit(wide, 1000, False)
    worker.admit(LARGE[:1], 1, False)
    assert worker.store.known(LARGE[:1], 1) is None
    assert taken(other, clock) == (COST, 31_001 * COST)


def test_a_store_that_comes_back_is_asked_for_advances_again(start: Start, redis: Redis) -> None:
    worker = start()
    redis.stop()
    assert worker.admit(LARGE, 1, False).alone
    redis.go_on()
    worker.tick()
    assert not worker.admit(LARGE, 1, False).alone
    assert worker.store.known(LARGE, 1) is not None
