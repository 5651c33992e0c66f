"""Counters in a Redis decide as those in memory, to the nanosecond, whatever happens in whatever order."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extproc.limits.counters import Decision, MemoryCounters, Scope
from tests.redis.server import Redis
from tests.redis.workers import Worker, by_a_clock
from tests.unit.worker.test_rate_counters import Clock

LIMITS = st.sampled_from([0, 1, 3, 7, 1000, 100_000, 10**9])
SCOPES = st.tuples(*[st.builds(Scope, st.just(key), st.just(key), LIMITS, LIMITS, LIMITS) for key in ("a", "b")])
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["admit", "admit", "admit", "settle", "wait"]),
        st.integers(0, 2000),
        st.booleans(),
        st.integers(0, 90_000_000),
    ),
    max_size=25,
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch, redis: Redis, clock: Clock) -> Iterator[Worker]:
    by_a_clock(monkeypatch)
    worker = Worker(redis, clock)
    yield worker
    worker.kill()


def compared(decision: Decision) -> tuple[object, ...]:
    """Return a decision as all counters have it: only requests that are streams need to know how many are open."""
    buckets = [(bucket.requests, bucket.tokens) for bucket in decision.buckets]
    return decision.requests, decision.tokens, buckets, decision.rejection, decision.alone, decision.parts


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SCOPES, EVENTS)
def test_a_redis_decides_as_memory_does(
    worker: Worker, redis: Redis, clock: Clock, scopes: tuple[Scope, ...], events: list[tuple[str, int, bool, int]]
) -> None:
    redis.send("FLUSHALL")
    worker.store._streams.clear()
    worker.store.advances._advances.clear()  # else the store gets back what it has forgotten
    worker.store.ends._waiting.clear()
    model = MemoryCounters(clock)
    admitted: list[tuple[Decision, Decision, int, bool]] = []
    for kind, tokens, stream, microseconds in events:
        if kind == "wait":
            clock.now += microseconds * 1000
            worker.tick()  # it lives
        elif kind == "admit":
            streams = stream and any(scope.streams for scope in scopes)
            expected, found = model.admit(scopes, tokens, streams), worker.admit(scopes, tokens, streams)
            assert compared(found) == compared(expected)
            if expected.rejection is None:
                admitted.append((expected, found, tokens, streams))
        elif admitted:
            expected, found, reserved, streams = admitted.pop()
            model.settle(scopes, expected, reserved, tokens)
            worker.settle(scopes, found, reserved, tokens)
            if streams:
                model.release(scopes, expected)
                worker.release(scopes, found)
