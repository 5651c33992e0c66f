"""What workers decide while their Redis is away, and what it gets when it works again."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from extproc.config import Settings
from extproc.config.budgets import BudgetSettings
from extproc.config.rate_limits import RateLimitSettings
from extproc.exchange.jobs import Admit
from extproc.limits.counters import Scope
from extproc.limits.gcra import MINUTE
from extproc.limits.spending import Balance, Charge
from extproc.openai.errors import ApiError
from extproc.worker import redis_alone
from extproc.worker.redis_ends import BATCH
from tests.redis.server import Redis
from tests.redis.workers import Worker

ACME = Scope("organisation acme", "acme", 8, 100, 4)
BUDGET = Charge("acme", 100, 5, 2**40)

Start = Callable[..., Worker]


@pytest.fixture
def redis(start_redis: Callable[..., Redis]) -> Redis:
    """A server that a test may kill, and start again with its data."""
    return start_redis("--appendfsync", "always")


@pytest.fixture
def start(redis: Redis) -> Iterator[Start]:
    """Starts one more worker; settings are keys of gateway.yaml."""
    workers: list[Worker] = []

    def started(**settings: Any) -> Worker:
        workers.append(Worker(redis, lambda: 10 * MINUTE, Settings(**settings)))
        return workers[-1]

    yield started
    for each in workers:
        each.kill()


def away(redis: Redis, *workers: Worker) -> None:
    """Kill the server, once the workers know each other."""
    for each in workers:
        each.tick()
    redis.kill()
    for each in workers:
        each.until(lambda worker=each: not worker.store.ready)  # type: ignore[misc]


def back(redis: Redis, *workers: Worker) -> None:
    """Start the server again, and wait for the workers' ends."""
    redis.start()
    for each in workers:
        each.until(lambda worker=each: worker.store.ready)  # type: ignore[misc]
        each.tick()
        each.tick()


def admitted(worker: Worker, count: int) -> int:
    """Return how many of `count` requests of a token a worker admits."""
    return sum(worker.alone([ACME], 1, False).rejection is None for _ in range(count))


def test_workers_alone_admit_no_more_than_the_limit_together(start: Start, redis: Redis) -> None:
    one, two = start(), start()
    away(redis, one, two)
    assert (admitted(one, 10), admitted(two, 10)) == (4, 4)
    decision = two.alone([ACME], 1, False)
    assert decision.alone
    assert decision.requests is not None
    assert decision.requests.limit == 4


def test_a_request_that_is_larger_than_a_part_is_told_to_come_again(start: Start, redis: Redis) -> None:
    one, two = start(), start()
    away(redis, one, two)
    rejections = [one.alone([ACME], tokens, False).rejection for tokens in (60, 101)]
    assert [rejection.wait for rejection in rejections if rejection] == [MINUTE, None]


def test_what_was_admitted_alone_is_settled_and_released_alone(start: Start, redis: Redis) -> None:
    one = start()
    away(redis, one)
    wide = [msgspec.structs.replace(ACME, requests=0)]
    decisions = [one.alone(wide, 25, True) for _ in range(4)]
    assert one.alone(wide, 0, True).rejection is not None
    one.settle(wide, decisions[0], 25, 0)
    one.release(wide, decisions[0])
    assert one.alone(wide, 25, True).rejection is None
    back(redis, one)
    assert one.admit(wide, 100, True).rejection is None


def test_rates_are_rejected_where_the_settings_say_so(start: Start, redis: Redis) -> None:
    one = start(rate_limits=RateLimitSettings(on_store_error="reject"))
    away(redis, one)
    with pytest.raises(ApiError) as error:
        one.admit([ACME], 1, False)
    assert error.value.code == "limits_unavailable"


def spent_alone(worker: Worker, name: str) -> int:
    """Reserve and settle calls without the store, until one is rejected; return what they have cost."""
    total = 0
    for number in range(100):
        if worker.reserve(f"{name} {number}", [BUDGET]).rejected >= 0:
            break
        worker.settle(f"{name} {number}", [BUDGET], [5])
        total += 5
    return total


def test_workers_alone_spend_no_more_than_what_was_left(start: Start, redis: Redis) -> None:
    one, two = start(), start()
    for worker, name in ((one, "a"), (two, "b")):
        worker.reserve(name, [BUDGET])
        worker.settle(name, [BUDGET], [10])
        worker.reserve(f"{name} again", [BUDGET])  # it is told that 20 are spent, or 15 and 10 are held
    away(redis, one, two)
    spent = spent_alone(one, "one"), spent_alone(two, "two")
    assert min(spent) > 0
    assert 30 + sum(spent) <= 100
    for worker, name in ((one, "a again"), (two, "b again")):
        worker.settle(name, [BUDGET], [5])
    back(redis, one, two)
    assert one.balance("acme") == Balance(30 + sum(spent))


def test_a_balance_that_is_not_known_or_too_old_is_a_503(
    start: Start, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = start()
    one.reserve("1", [BUDGET])
    away(redis, one)
    assert one.reserve("2", [BUDGET]).rejected < 0
    with pytest.raises(ApiError) as error:
        one.reserve("3", [Charge("another", 100, 5, 2**40)])
    assert error.value.code == "budgets_unavailable"
    monkeypatch.setattr(redis_alone, "TRUSTED_SECONDS", -1.0)
    with pytest.raises(ApiError):
        one.reserve("4", [BUDGET])


def test_balances_that_were_told_within_a_minute_are_known_however_many_there_are(start: Start, redis: Redis) -> None:
    worker = start()
    for number in range(BATCH + 1):
        worker.reserve(f"call {number}", [Charge(f"account {number}", 100, 5, 2**40)])
    away(redis, worker)
    again = [Charge("account 0", 100, 5, 2**40)]
    verdict = worker.store.accounts.reserve("again", again, lambda: [5])
    assert verdict is not None
    assert verdict.rejected == -1


def test_callers_whose_budgets_only_audit_are_served(start: Start, redis: Redis) -> None:
    worker = start()
    away(redis, worker)
    audit = Charge("audit", 100, 5, 2**40, enforced=False)
    assert worker.store.accounts.reserve("1", [audit], lambda: [7]) is None
    worker.settle("1", [audit], [7])
    back(redis, worker)
    assert worker.balance("audit") == Balance(7)


def test_what_is_served_all_the_same_is_counted_later(start: Start, redis: Redis) -> None:
    one = start(budgets=BudgetSettings(on_store_error="allow"))
    away(redis, one)
    one.store.accounts.reserve("1", [BUDGET], lambda: [5])
    one.settle("1", [BUDGET], [17])
    back(redis, one)
    assert one.balance("acme") == Balance(17)


def test_an_open_call_that_the_store_does_not_know_is_held_there_again(start: Start, redis: Redis) -> None:
    one = start(budgets=BudgetSettings(on_store_error="allow"))
    away(redis, one)
    one.store.accounts.reserve("1", [BUDGET], lambda: [5])
    back(redis, one)
    assert one.balance("acme") == Balance(0, 5)
    one.settle("1", [BUDGET], [17])
    assert one.balance("acme") == Balance(17)


def test_the_cost_and_the_stream_of_a_call_may_end_apart(start: Start, redis: Redis) -> None:
    worker = start()
    admit = Admit("call", [ACME], 1, True, [BUDGET], lambda: [3])
    admission = worker.run(worker.store(admit, 1.0))
    away(redis, worker)
    worker.settle("call", [BUDGET], [4])
    worker.release([ACME], admission.decision)
    assert list(worker.store.ends._kept) == ["call"]
    back(redis, worker)
    assert worker.balance("acme") == Balance(4)
    assert redis.send("ZCARD", "{oai}:streams:organisation acme") == 0


def test_the_lease_of_a_stream_that_has_ended_is_not_extended(start: Start, redis: Redis) -> None:
    worker = start()
    worker.store._streams = {f"call {number}": ["organisation acme"] for number in range(BATCH + 1)}
    worker.store._beats = 0
    parts = worker.store.beat()
    worker.run(_step(parts))
    del worker.store._streams[f"call {BATCH}"]
    worker.run(_step(parts))
    worker.tick()
    assert redis.send("ZCARD", "{oai}:streams:organisation acme") == BATCH


async def _step(parts: Iterator[None]) -> None:
    next(parts, None)
