"""Counters in a Redis: the tests of those in memory and in a file, and those of several workers."""

from collections.abc import Callable, Iterator

import msgspec
import pytest

from extproc.worker.redis_scripts import LEASE_MS
from tests.redis.server import Redis
from tests.redis.workers import Worker, by_a_clock
from tests.unit.worker.test_rate_counters import (  # noqa: F401 - they are collected here as well
    ACME,
    CI,
    Clock,
    clock,
    rejected,
    test_a_debt_has_an_end,
    test_a_late_settlement_gives_nothing_back_twice,
    test_a_rejected_request_counts_nowhere,
    test_a_request_beyond_its_limit_is_told_so_and_not_to_wait,
    test_a_reservation_that_nobody_settles_runs_out,
    test_requests_up_to_the_limit_are_admitted_and_then_one_at_a_time,
    test_streams_count_until_they_have_ended,
    test_the_debt_of_a_long_call_counts,
    test_the_headers_are_of_the_limit_of_which_least_remains,
    test_tokens_are_reserved_and_settled,
    test_workers_count_together,
)


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch, redis: Redis, clock: Clock) -> Iterator[Callable[[str], Worker]]:  # noqa: F811
    """Makes the counters of one more worker."""
    by_a_clock(monkeypatch)
    workers: list[Worker] = []

    def start(name: str) -> Worker:
        workers.append(Worker(redis, clock))
        return workers[-1]

    yield start
    for each in workers:
        each.kill()


@pytest.fixture
def counters(worker: Callable[[str], Worker]) -> Worker:
    """Counters of one worker."""
    return worker("one")


def test_what_a_call_used_is_known_to_others_at_once(worker: Callable[[str], Worker]) -> None:
    one, two = worker("one"), worker("two")
    one.settle([ACME], one.admit([ACME], 100, False), 100, 40)
    assert rejected(two.admit([ACME], 60, False)) is None
    assert rejected(two.admit([ACME], 1, False)) is not None


def test_streams_of_a_worker_without_a_sign_of_life_are_over(worker: Callable[[str], Worker], clock: Clock) -> None:  # noqa: F811
    one, two = worker("one"), worker("two")
    for _ in range(2):
        one.admit([ACME], 1, True)
    clock.now += LEASE_MS * 1_000_000 - 1
    assert rejected(two.admit([ACME], 1, True)) is not None
    clock.now += 2_000_000
    assert rejected(two.admit([ACME], 1, True)) is None


def test_streams_of_a_worker_that_lives_stay(worker: Callable[[str], Worker], clock: Clock) -> None:  # noqa: F811
    one, two = worker("one"), worker("two")
    decisions = [one.admit([ACME], 1, True) for _ in range(2)]
    for _ in range(3):
        clock.now += LEASE_MS * 900_000
        one.tick()
    assert rejected(two.admit([ACME], 1, True)) is not None
    one.release([ACME], decisions[0])
    assert rejected(two.admit([ACME], 1, True)) is None


def test_many_streams_are_told_in_parts(worker: Callable[[str], Worker], redis: Redis, clock: Clock) -> None:  # noqa: F811
    one, wide = worker("one"), [msgspec.structs.replace(ACME, requests=0, tokens=0, streams=1000)]
    for _ in range(450):
        one.admit(wide, 1, True)
    redis.send("FLUSHALL")
    one._set_clock()
    assert len(list(one.store.beat())) == 1
    one.store._beats = 0
    assert len(list(one.store.beat())) == 3
    one.tick()
    assert redis.send("ZCARD", "{oai}:streams:organisation acme") == 450


def test_a_store_that_was_emptied_has_the_streams_there_are(worker: Callable[[str], Worker], redis: Redis) -> None:
    one, two = worker("one"), worker("two")
    for _ in range(2):
        one.admit([ACME], 1, True)
    redis.send("FLUSHALL")
    one.tick()
    assert rejected(two.admit([ACME], 1, True)) is not None


def test_scripts_that_were_forgotten_are_loaded_again(counters: Worker, redis: Redis) -> None:
    redis.send("SCRIPT", "FLUSH")
    assert [rejected(counters.admit([ACME], 1, False)) for _ in range(3)] == [None] * 3
    assert rejected(counters.admit([ACME], 1, False)) is not None


def test_every_key_has_an_end(counters: Worker, redis: Redis, clock: Clock) -> None:  # noqa: F811
    wide = [msgspec.structs.replace(ACME, tokens=10**9), CI]
    counters.settle(wide, counters.admit(wide, 10, True), 10, 10**9)
    keys = {key for key in redis.send("KEYS", "*") if key != "clock"}
    assert keys == {
        "{oai}:rate:organisation acme",
        "{oai}:rate:token ci",
        "{oai}:streams:organisation acme",
        "{oai}:workers",
    }
    ends = {key: redis.send("PTTL", key) for key in keys}
    assert all(0 < end <= 602_000 for key, end in ends.items() if key != "{oai}:workers")


def test_the_rest_of_a_large_limit_is_exact(counters: Worker) -> None:
    most = [msgspec.structs.replace(ACME, requests=10**9, tokens=10**9)]
    decisions = [counters.admit(most, 7, False) for _ in range(3)]
    left = [(each.requests.remaining, each.tokens.remaining) for each in decisions if each.requests and each.tokens]
    assert left == [(10**9 - n, 10**9 - 7 * n) for n in (1, 2, 3)]
