"""A Redis that replies late, or not: what is admitted without it is held there, or is taken from a worker's part."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from extproc.config import Settings
from extproc.config.redis import RedisSettings
from extproc.exchange.jobs import Admission, Admit
from extproc.limits.counters import Decision, Scope
from extproc.limits.gcra import MINUTE
from extproc.limits.spending import Balance, Charge, Verdict
from extproc.openai.errors import ApiError
from extproc.worker.redis_lateness import WELL_NANOSECONDS
from tests.redis.server import Gate, Redis
from tests.redis.workers import NAMES, Worker

ACME = Scope("organisation acme", "acme", 8, 0, 4)
BUDGET = Charge("acme", 100, 30, 2**40, 1)

Start = Callable[..., Worker]


@pytest.fixture
def gate(redis: Redis) -> Iterator[Gate]:
    """What is between the workers and their store."""
    made = Gate(redis.port)
    yield made
    made.close()


@pytest.fixture
def start(redis: Redis, gate: Gate) -> Iterator[Start]:
    """Starts one more worker; settings are keys of gateway.yaml."""
    workers: list[Worker] = []

    def started(timeout_ms: int = 5, **settings: Any) -> Worker:
        place = RedisSettings(f"redis://127.0.0.1:{gate.port}", timeout_ms=timeout_ms)
        workers.append(Worker(redis, lambda: 10 * MINUTE, Settings(**settings), place))
        return workers[-1]

    yield started
    gate.open()
    for each in workers:
        each.kill()


def asked(worker: Worker, *charges: Charge, cost: int = 1, scopes: tuple[Scope, ...] = ()) -> tuple[str, Admission]:
    """Return the name of a call, and what is decided about it."""
    call = f"late {next(NAMES)}"
    admit = Admit(call, scopes, 0, bool(scopes), charges, lambda: [cost] * len(charges))
    return call, worker.run(worker.store(admit, 1.0))


def fits(worker: Worker, *charges: Charge) -> bool:
    """Return whether a call is admitted."""
    verdict = asked(worker, *charges)[1].verdict
    return isinstance(verdict, Verdict) and verdict.rejected < 0


def known(worker: Worker, gate: Gate) -> None:
    """Have a worker know the balance of the budget, and then wait for replies in vain."""
    gate.open()
    call, _ = asked(worker, BUDGET)
    worker.settle(call, [BUDGET], [0])
    worker.tick()
    gate.replies.clear()


def beaten(worker: Worker, gate: Gate) -> None:
    """Let a worker beat whose store works, but is late."""
    gate.open()
    worker.run(_flushed(worker))
    worker.tick()
    gate.replies.clear()


async def _flushed(worker: Worker) -> None:
    worker.store.ends.flush()


def test_calls_that_a_late_store_has_not_admitted_take_a_budget_once(start: Start, gate: Gate) -> None:
    worker = start(250)
    known(worker, gate)
    worker.store._seconds = 0.005
    admitted = 0
    for _ in range(5):
        admitted += sum(fits(worker, BUDGET) for _ in range(4))
        beaten(worker, gate)
    assert admitted == 3
    assert worker.balance("acme") == Balance(0, 90)


def test_a_worker_with_a_timely_store_knows_what_another_has_admitted_alone(
    start: Start, redis: Redis, gate: Gate
) -> None:
    timely, late = Worker(redis, lambda: 10 * MINUTE), start(250)
    timely.tick()
    known(late, gate)
    late.store._seconds = 0.005
    assert fits(late, BUDGET)
    assert not fits(late, BUDGET)  # the other half of what is left is the other worker's
    beaten(late, gate)
    assert fits(timely, Charge("acme", 100, 60, 2**40))
    assert not fits(timely, BUDGET)
    timely.kill()


def test_an_account_is_told_of_that_only_calls_without_the_store_have_used(start: Start, gate: Gate) -> None:
    worker = start()
    gate.replies.clear()
    _, admission = asked(worker, BUDGET)
    assert isinstance(admission.verdict, ApiError)
    assert admission.verdict.code == "budgets_unavailable"
    beaten(worker, gate)
    assert fits(worker, BUDGET)


def test_a_call_that_ends_before_the_store_knows_it_stays_taken_by_its_cost(start: Start, gate: Gate) -> None:
    worker = start(250)
    known(worker, gate)
    worker.store._seconds = 0.005
    for _ in range(3):
        call, admission = asked(worker, BUDGET)
        assert admission.verdict is not None
        worker.run(_end(worker, call, 20))
    assert worker.store.accounts._unheld.of("acme") == 60
    assert fits(worker, BUDGET)
    assert not fits(worker, BUDGET)
    beaten(worker, gate)
    assert worker.balance("acme") == Balance(60, 30)
    assert worker.store.accounts._unheld.of("acme") == 0


async def _end(worker: Worker, call: str, cost: int) -> None:
    worker.store.accounts.settle(call, [BUDGET], [cost])
    worker.store.ends.flush()


def test_a_cost_whose_reply_is_lost_is_counted_once(start: Start, gate: Gate) -> None:
    worker = start()
    known(worker, gate)
    call, _ = asked(worker, BUDGET)
    worker.run(_end(worker, call, 20))
    worker.until(lambda: worker.balance("acme").spent == 20)
    gate.cut()
    worker.until(lambda: bool(worker.store.ends._kept))
    gate.open()
    worker.until(lambda: worker.store.client.connected)
    worker.tick()
    worker.tick()
    assert not worker.store.ends._kept
    assert worker.balance("acme") == Balance(20)


def test_a_late_store_counts_no_rate_anew_with_each_beat(start: Start, gate: Gate) -> None:
    worker = start()
    gate.replies.clear()
    admitted = 0
    for _ in range(3):
        decisions = [asked(worker, scopes=(ACME,))[1].decision for _ in range(5)]
        admitted += sum(isinstance(each, Decision) and each.rejection is None for each in decisions)
        beaten(worker, gate)
    assert admitted == 4  # streams at once; a minute has eight


def test_a_stream_that_is_admitted_without_the_store_is_none_there(start: Start, redis: Redis, gate: Gate) -> None:
    worker = start()
    gate.replies.clear()
    assert isinstance(asked(worker, scopes=(ACME,))[1].decision, Decision)
    worker.until(lambda: redis.send("ZCARD", "{oai}:streams:organisation acme") == 1)
    beaten(worker, gate)
    worker.until(lambda: redis.send("ZCARD", "{oai}:streams:organisation acme") == 0)


@pytest.mark.parametrize(
    ("break_it", "mend_it"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
    ],
)
def test_a_store_that_takes_no_writes_has_all_once_it_does(
    start: Start, redis: Redis, gate: Gate, break_it: tuple[str, ...], mend_it: tuple[str, ...]
) -> None:
    user = Charge("user", 1000, 30, 2**40, group="users")
    worker = start(250)
    known(worker, gate)
    gate.open()
    free, _ = asked(worker, user, cost=0)
    redis.send(*break_it)
    try:
        admitted = [asked(worker, BUDGET) for _ in range(4)]
        names = [call for call, each in admitted if isinstance(each.verdict, Verdict) and each.verdict.rejected < 0]
        assert len(names) == 3
        worker.run(_end(worker, names[0], 20))
        worker.run(_free(worker, free, user))
        worker.run(worker._beaten())
        assert not fits(worker, BUDGET)
    finally:
        redis.send(*mend_it)
    worker.until(lambda: worker.store.client.connected)
    worker.run(worker._beaten())
    worker.until(lambda: not worker.store.ends.uncounted)
    assert worker.balance("acme") == Balance(20, 60)
    assert worker.balance("user") == worker.balance("number of users") == Balance()


async def _free(worker: Worker, call: str, user: Charge) -> None:
    worker.store.accounts.settle(call, [user], [0])
    worker.store.ends.flush()


def test_the_log_tells_once_that_the_store_is_late_and_once_that_it_is_in_time(
    start: Start, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    now = [10 * MINUTE]
    worker = start(20)
    worker.store._lateness._clock = lambda: now[0]
    caplog.set_level("INFO")
    for _ in range(3):
        gate.replies.clear()
        asked(worker, BUDGET)
        beaten(worker, gate)
        now[0] += WELL_NANOSECONDS - 1
        beaten(worker, gate)
    assert [each.levelname for each in caplog.records] == ["WARNING"]
    assert "does not reply within 20 ms: requests are decided without it" in caplog.text
    gate.open()
    while not worker.store._lateness._timely:
        asked(worker, BUDGET)
    now[0] += WELL_NANOSECONDS
    worker.tick()
    worker.tick()
    assert [each.levelname for each in caplog.records] == ["WARNING", "INFO"]
    assert "replies within 20 ms again" in caplog.text
