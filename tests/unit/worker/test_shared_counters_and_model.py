"""Counters in a file decide as those in memory, and several workers together admit no more than these would."""

import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.limits.advances import AHEAD
from extproc.limits.counters import Bucket, Decision, MemoryCounters, Scope
from extproc.limits.gcra import MINUTE
from extproc.worker.shared_counters import SharedCounters
from tests.unit.worker.test_rate_counters import Clock

LIMITS = st.sampled_from([0, 1, 7, 1000, 5000, 100_000, 10**9])
STREAMS = st.sampled_from([0, 1, 3])
SCOPES = st.tuples(*[st.builds(Scope, st.just(key), st.just(key), LIMITS, LIMITS, STREAMS) for key in ("a", "b")])
TOKENS = st.one_of(st.integers(0, 50), st.integers(0, 2000))
TIMES = st.one_of(st.integers(0, 2_000_000), st.integers(0, 90_000_000), st.integers(0, 20_000_000_000))
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["admit", "admit", "admit", "admit", "settle", "wait", "tick", "flush"]),
        TOKENS,
        st.booleans(),
        TIMES,
        st.integers(0, 2),
    ),
    max_size=40,
)
Events = Sequence[tuple[str, int, bool, int, int]]


def compared(decision: Decision) -> tuple[object, ...]:
    """Return a decision as all counters have it: only requests that are streams need to know how many are open."""
    buckets = [(bucket.requests, bucket.tokens) for bucket in decision.buckets]
    return decision.requests, decision.tokens, buckets, decision.rejection, decision.alone, decision.parts


@settings(max_examples=60, deadline=None)
@given(SCOPES, EVENTS)
def test_one_worker_decides_as_memory_does(scopes: tuple[Scope, ...], events: Events) -> None:
    clock = Clock()
    model = MemoryCounters(clock)
    admitted: list[tuple[Decision, Decision, int, bool]] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(SharedCounters(Path(folder) / "rates", "one", clock)) as shared,
    ):
        for kind, tokens, stream, wait, which in events:
            some = scopes[: 1 + which % 2]
            if kind == "admit":
                streams = stream and any(scope.streams for scope in some)
                expected, found = model.admit(some, tokens, streams), shared.admit(some, tokens, streams)
                assert compared(found) == compared(expected)
                if expected.rejection is None:
                    admitted.append((expected, found, tokens, streams))
            elif kind == "settle" and admitted:
                expected, found, reserved, streams = admitted.pop()
                some = scopes[: len(found.buckets)]
                model.settle(some, expected, reserved, tokens)
                shared.settle(some, found, reserved, tokens, write=not stream)
                if not all(shared._advances.has(scope.key) for scope in some):
                    shared.tick()  # otherwise it is written later, and flows back from then on
                if streams:
                    model.release(some, expected)
                    shared.release(some, found, write=not stream)
            elif kind == "flush":
                assert not shared.flush()
            elif kind == "tick":
                shared.tick()
            clock.now += wait
            if wait > 1_000_000_000:
                shared.tick()  # it lives


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.builds(Scope, st.just(key), st.just(key), LIMITS, LIMITS) for key in ("a", "b")]), EVENTS)
def test_workers_together_admit_no_more_than_one_would(scopes: tuple[Scope, ...], events: Events) -> None:
    clock = Clock()
    true = [Bucket() for _ in scopes]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as exits:
        workers = [
            exits.enter_context(contextlib.closing(SharedCounters(Path(folder) / "rates", name, clock)))
            for name in ("one", "two", "three")
        ]
        for kind, tokens, _, wait, which in events:
            worker = workers[which]
            if kind == "admit":
                decision = worker.admit(scopes, tokens, False)
                if decision.rejection is None:
                    true = [taken(scope, each, clock.now, tokens) for scope, each in zip(scopes, true, strict=True)]
                    assert all(max(bucket.requests, bucket.tokens) <= clock.now + MINUTE for bucket in true)
            elif kind == "tick":
                worker.tick()
            clock.now += wait


def taken(scope: Scope, bucket: Bucket, now: int, tokens: int) -> Bucket:
    """Return a bucket with a request taken, by the definition of the rate."""
    requests, full_at = max(bucket.requests, now), max(bucket.tokens, now)
    return Bucket(
        requests + (MINUTE // scope.requests if scope.requests else 0),
        full_at + (tokens * MINUTE // scope.tokens if scope.tokens else 0),
    )


def test_a_large_limit_takes_a_transaction_in_fifty_milliseconds() -> None:
    clock, scopes = Clock(), [Scope("a", "a", 10**9, 10**9), Scope("b", "b", 10**9, 10**9)]
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(SharedCounters(Path(folder) / "rates", "one", clock)) as shared,
    ):
        shared.admit(scopes, 1000, False)
        connection = shared._connection
        assert connection is not None
        statements: list[str] = []
        connection.set_trace_callback(statements.append)
        for _ in range(100):
            shared.settle(scopes, shared.admit(scopes, 1000, False), 1000, 10)
        assert not statements
        clock.now += AHEAD + 1_000_000
        shared.admit(scopes, 1000, False)
        assert statements
