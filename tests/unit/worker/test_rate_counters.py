"""Counters of rates: the same tests for those of a process and for those in a file that several share."""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from extproc.config import Organisation, Settings
from extproc.config.rate_limits import RateLimits, RateLimitSettings
from extproc.limits.counters import Counters, Decision, MemoryCounters, Scope
from extproc.limits.gcra import LONGEST_DEBT, MINUTE
from extproc.openai.errors import ApiError
from extproc.worker.rate_counters import PAUSE, RateCounters, shared_file
from extproc.worker.shared_counters import BATCH, LEASE, SharedCounters
from extproc.worker.sqlite_file import StoreError

ACME = Scope("organisation acme", "acme", 3, 100, 2)
CI = Scope("token ci", "ci", 2, 1000, 0)
LIMITED = Settings(organisations={"acme": Organisation(limits=RateLimits(requests_per_minute=3))})


SOON: dict[type, dict[str, Any]] = {
    MemoryCounters: {"soon": True},
    RateCounters: {"soon": True},
    SharedCounters: {"write": False},
}


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100 * MINUTE

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rates.sqlite"


@pytest.fixture(params=["memory", "file", "file of a worker"])
def counters(request: pytest.FixtureRequest, clock: Clock, path: Path) -> Iterator[Counters]:
    """Counters of one worker."""
    if request.param == "memory":
        yield MemoryCounters(clock)
        return
    with contextlib.closing(SharedCounters(path, "one", clock)) as shared:
        if request.param == "file":
            yield shared
            return
    with contextlib.closing(RateCounters(path, "one", lambda: LIMITED, clock)) as counters:
        yield counters


@pytest.fixture
def worker(clock: Clock, path: Path) -> Iterator[Callable[[str], SharedCounters]]:
    """Makes the counters of one more worker."""
    with contextlib.ExitStack() as stack:
        yield lambda name: stack.enter_context(contextlib.closing(SharedCounters(path, name, clock)))


def rejected(decision: Decision) -> tuple[str, str, int | None] | None:
    """Return the scope and the kind of the limit that a request exceeds, and how long to wait."""
    rejection = decision.rejection
    return None if rejection is None else (rejection.scope.name, rejection.kind, rejection.wait)


def tick(counters: Counters) -> None:
    """Let a second pass for counters in a file."""
    shared = counters._shared if isinstance(counters, RateCounters) else counters
    if isinstance(shared, SharedCounters):
        shared.tick()


# Both


def test_requests_up_to_the_limit_are_admitted_and_then_one_at_a_time(counters: Counters, clock: Clock) -> None:
    left = []
    for _ in range(3):
        decision = counters.admit([ACME], 1, False)
        assert decision.requests is not None
        left.append(decision.requests.remaining)
    assert left == [2, 1, 0]
    assert rejected(counters.admit([ACME], 1, False)) == ("acme", "requests", MINUTE // 3)
    clock.now += MINUTE // 3
    assert rejected(counters.admit([ACME], 1, False)) is None
    assert rejected(counters.admit([ACME], 1, False)) == ("acme", "requests", MINUTE // 3)


def test_a_rejected_request_counts_nowhere(counters: Counters) -> None:
    both = [ACME, CI]
    assert [rejected(counters.admit(both, 1, False)) for _ in range(2)] == [None, None]
    assert rejected(counters.admit(both, 1, False)) == ("ci", "requests", MINUTE // 2)
    decision = counters.admit([ACME], 0, False)
    assert decision.requests is not None
    assert decision.requests.remaining == 0
    assert decision.tokens is not None
    assert decision.tokens.remaining == 98


def test_the_headers_are_of_the_limit_of_which_least_remains(counters: Counters) -> None:
    decision = counters.admit([ACME, CI], 10, False)
    assert decision.requests is not None
    assert decision.tokens is not None
    assert (decision.requests.limit, decision.requests.remaining) == (2, 1)
    assert (decision.tokens.limit, decision.tokens.remaining) == (100, 90)


async def test_who_leaves_gives_back_a_stream_and_tokens_at_once(counters: Counters, clock: Clock) -> None:
    """What is written of it then may follow in the next turn of the event loop."""
    first, _ = [counters.admit([ACME], 40, True) for _ in range(2)]
    assert rejected(counters.admit([ACME], 0, True)) == ("acme", "streams", 1_000_000_000)
    counters.settle([ACME], first, 40, 0, **SOON[type(counters)])
    counters.release([ACME], first, **SOON[type(counters)])
    assert rejected(counters.admit([ACME], 60, True)) is None


def test_tokens_are_reserved_and_settled(counters: Counters, clock: Clock) -> None:
    first = counters.admit([ACME], 90, False)
    assert rejected(counters.admit([ACME], 20, False)) == ("acme", "tokens", MINUTE // 10)
    counters.settle([ACME], first, 90, 50)
    second = counters.admit([ACME], 20, False)
    assert second.tokens is not None
    assert second.tokens.remaining == 30
    counters.settle([ACME], second, 20, 70)
    rejection = counters.admit([ACME], 1, False).rejection
    assert rejection is not None
    assert (rejection.kind, rejection.used, rejection.wait) == ("tokens", 100, MINUTE * 21 // 100)


def test_a_reservation_that_nobody_settles_runs_out(counters: Counters, clock: Clock) -> None:
    counters.admit([ACME], 100, False)
    clock.now += MINUTE
    decision = counters.admit([ACME], 100, False)
    assert rejected(decision) is None


def test_a_late_settlement_gives_nothing_back_twice(counters: Counters, clock: Clock) -> None:
    first = counters.admit([ACME], 100, False)
    clock.now += MINUTE
    counters.admit([ACME], 100, False)
    counters.settle([ACME], first, 100, 0)
    assert rejected(counters.admit([ACME], 50, False)) == ("acme", "tokens", MINUTE // 2)


def test_a_request_beyond_its_limit_is_told_so_and_not_to_wait(counters: Counters) -> None:
    assert rejected(counters.admit([ACME, CI], 101, False)) == ("acme", "tokens", None)
    assert rejected(counters.admit([ACME, CI], 100, False)) is None


def test_streams_count_until_they_have_ended(counters: Counters) -> None:
    wide = [msgspec.structs.replace(ACME, requests=0)]
    first, _ = counters.admit(wide, 1, True), counters.admit(wide, 1, True)
    assert rejected(counters.admit(wide, 1, True)) == ("acme", "streams", 1_000_000_000)
    assert rejected(counters.admit(wide, 1, False)) is None
    counters.release(wide, first)
    assert rejected(counters.admit(wide, 1, True)) is None
    assert rejected(counters.admit(wide, 1, True)) is not None


def test_the_debt_of_a_long_call_counts(counters: Counters, clock: Clock) -> None:
    decision = counters.admit([ACME], 10, False)
    clock.now += 2 * MINUTE
    tick(counters)
    counters.settle([ACME], decision, 10, 160)
    tick(counters)
    assert rejected(counters.admit([ACME], 1, False)) == ("acme", "tokens", MINUTE * 51 // 100)


def test_a_debt_has_an_end(counters: Counters, clock: Clock) -> None:
    decision = counters.admit([ACME], 1, False)
    counters.settle([ACME], decision, 1, 1_000_000)
    tick(counters)
    clock.now += LONGEST_DEBT
    assert rejected(counters.admit([ACME], 100, False)) is None


def test_memory_forgets_what_is_full_again(clock: Clock) -> None:
    counters = MemoryCounters(clock)
    for number in range(20_000):
        counters.admit([Scope(f"token {number}", "", 10)], 0, False)
        clock.now += MINUTE // 1000
    assert len(counters._buckets) <= 4097


# Several workers


def test_workers_count_together(worker: Callable[[str], SharedCounters]) -> None:
    one, two = worker("one"), worker("two")
    assert [rejected(each.admit([ACME], 1, False)) for each in (one, two, one)] == [None] * 3
    assert rejected(two.admit([ACME], 1, False)) == ("acme", "requests", MINUTE // 3)


def test_what_a_call_used_is_known_to_others_after_a_tick(worker: Callable[[str], SharedCounters]) -> None:
    one, two = worker("one"), worker("two")
    one.settle([ACME], one.admit([ACME], 100, False), 100, 90)
    assert rejected(two.admit([ACME], 10, False)) is not None
    one.tick()
    assert rejected(two.admit([ACME], 10, False)) is None
    one.tick()
    assert rejected(two.admit([ACME], 1, False)) is not None


def test_what_gives_back_much_of_a_limit_is_known_to_others_at_once(worker: Callable[[str], SharedCounters]) -> None:
    one, other = worker("one"), worker("other")
    most = Scope("k", "the organisation `acme`", tokens=2_000)
    for counters in (one, other, one):
        decision = counters.admit((most,), 1_900, False)
        assert rejected(decision) is None
        counters.settle((most,), decision, 1_900, 10)


def test_what_a_locked_file_does_not_take_back_is_given_back_later(
    rates: RateCounters, path: Path, clock: Clock
) -> None:
    most = (Scope("k", "the organisation `acme`", tokens=2_000),)
    decision = rates.admit(most, 1_900, False)
    with locked(path):
        rates.settle(most, decision, 1_900, 10)
    assert rates._shared is not None
    rates._tick(rates._shared)
    assert rejected(rates.admit(most, 1_900, False)) is None


def test_streams_of_a_worker_that_starts_again_are_over(worker: Callable[[str], SharedCounters]) -> None:
    one, two = worker("one"), worker("two")
    for _ in range(2):
        one.admit([ACME], 1, True)
    assert rejected(two.admit([ACME], 1, True)) is not None
    worker("one").tick()
    assert rejected(two.admit([ACME], 1, True)) is None


def test_streams_of_a_worker_without_a_sign_of_life_are_over(
    worker: Callable[[str], SharedCounters], clock: Clock
) -> None:
    one, two = worker("one"), worker("two")
    for _ in range(2):
        one.admit([ACME], 1, True)
    clock.now += LEASE
    two.tick()
    assert rejected(two.admit([ACME], 1, True)) is not None
    clock.now += 1
    assert rejected(two.admit([ACME], 1, True)) is None


def test_streams_of_a_worker_that_was_taken_for_dead_count_again(
    worker: Callable[[str], SharedCounters], clock: Clock
) -> None:
    one = worker("one")
    one.tick()
    for _ in range(2):
        one.admit([ACME], 1, True)
    clock.now += LEASE + 1
    two = worker("two")
    two.tick()
    one.tick()
    assert rejected(two.admit([ACME], 1, True)) is not None


def test_a_file_keeps_nothing_of_callers_who_have_been_quiet(
    worker: Callable[[str], SharedCounters], clock: Clock, path: Path
) -> None:
    """Subjects of signed tokens may be new with each call."""
    one = worker("one")
    for number in range(3 * BATCH):
        scope = msgspec.structs.replace(ACME, key=f"signed {number}")
        one.release([scope], one.admit([scope], 1, True))
    clock.now += 2 * MINUTE
    for _ in range(4):
        one.tick()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        [[rows]] = connection.execute("select (select count(*) from buckets) + (select count(*) from streams)")
    assert rows == 0


def test_a_file_that_was_removed_is_made_anew_with_the_streams_there_are(
    worker: Callable[[str], SharedCounters], path: Path
) -> None:
    one, two = worker("one"), worker("two")
    for _ in range(2):
        one.admit([ACME], 1, True)
    for each in path.parent.glob("rates.sqlite*"):
        each.unlink()
    one.tick()
    assert rejected(two.admit([ACME], 1, True)) is not None


def test_times_of_another_start_of_the_machine_are_removed(
    worker: Callable[[str], SharedCounters], clock: Clock
) -> None:
    one = worker("one")
    for _ in range(2):
        one.admit([ACME], 1, True)
    clock.now = MINUTE
    two = worker("two")
    for _ in range(2):
        assert rejected(two.admit([ACME], 50, True)) is None


def test_full_buckets_are_removed_from_the_file(
    worker: Callable[[str], SharedCounters], clock: Clock, path: Path
) -> None:
    one = worker("one")
    one.admit([ACME, CI], 1, False)
    clock.now += 2 * MINUTE
    one.tick()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("select count(*) from buckets").fetchone() == (0,)


# Trouble


@pytest.fixture
def rates(path: Path, clock: Clock) -> Iterator[RateCounters]:
    """The counters of a worker that rejects what it cannot count."""
    settings = msgspec.structs.replace(LIMITED, rate_limits=RateLimitSettings(on_store_error="reject"))
    with contextlib.closing(RateCounters(path, "one", lambda: settings, clock)) as counters:
        yield counters


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of the file, as a worker does that was stopped in the middle."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("begin immediate")
        yield
        connection.execute("rollback")


def test_a_locked_file_is_left_alone_for_a_while(rates: RateCounters, path: Path, clock: Clock) -> None:
    rates.admit([ACME], 1, False)
    with locked(path), pytest.raises(ApiError) as error:
        rates.admit([ACME], 1, False)
    assert (error.value.status, error.value.code) == (503, "limits_unavailable")
    with pytest.raises(ApiError):
        rates.admit([ACME], 1, False)
    clock.now += PAUSE
    assert rejected(rates.admit([ACME], 1, False)) is None


def test_a_worker_that_may_allow_counts_alone_meanwhile(path: Path, clock: Clock) -> None:
    with contextlib.closing(RateCounters(path, "one", lambda: LIMITED, clock)) as rates:
        rates.admit([ACME], 1, False)
        with locked(path):
            alone = rates.admit([ACME], 1, True)
            assert alone.alone
            for _ in range(2):
                rates.admit([ACME], 1, False)
            assert rejected(rates.admit([ACME], 1, False)) == ("acme", "requests", MINUTE // 3)
            rates.release([ACME], alone)
        clock.now += PAUSE
        decision = rates.admit([ACME], 1, False)
        assert not decision.alone
        assert rejected(decision) is None


@pytest.mark.parametrize("content", [b"no database, but as long as one. " * 100, b"SQLite format 3\0"])
def test_a_file_with_something_else_is_left_as_it_is(rates: RateCounters, path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ApiError):
        rates.admit([ACME], 1, False)
    assert path.read_bytes() == content


def fill(counters: Counters) -> None:
    """Count requests of ten thousand tokens."""
    for number in range(10_000):
        counters.admit([Scope(f"token {number}", "", 10)], 0, False)


def test_a_full_disk_is_an_error_and_nothing_is_counted(path: Path, clock: Clock) -> None:
    with contextlib.closing(SharedCounters(path, "one", clock)) as shared:
        shared.open()
        assert shared._connection is not None
        shared._connection.execute("pragma max_page_count = 1")  # the least that it may be is what there is
        with pytest.raises(StoreError, match="full"):
            fill(shared)


def test_a_link_is_not_followed(path: Path, clock: Clock) -> None:
    path.symlink_to(path.with_name("other"))
    with contextlib.closing(SharedCounters(path, "one", clock)) as shared, pytest.raises(StoreError):
        shared.admit([ACME], 1, False)
    assert not path.with_name("other").exists()


def test_a_file_that_others_open_for_long_is_an_error(path: Path, clock: Clock) -> None:
    handle = os.open(path.with_name(f".{path.name}.lock"), os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with contextlib.closing(SharedCounters(path, "one", clock)) as shared, pytest.raises(StoreError):
            shared.admit([ACME], 1, False)
    finally:
        os.close(handle)


def test_an_end_that_cannot_be_written_is_written_later(path: Path, clock: Clock) -> None:
    with contextlib.closing(RateCounters(path, "one", lambda: LIMITED, clock)) as rates:
        opened = [rates.admit([ACME], 1, True) for _ in range(2)]
        with locked(path):
            for decision in opened:
                rates.release([ACME], decision)
        with contextlib.closing(SharedCounters(path, "two", clock)) as two:
            assert rates._shared is not None
            rates._shared.tick()
            clock.now += MINUTE // 3
            assert [rejected(two.admit([ACME], 1, True)) for _ in range(2)] == [None, None]


# Where


def test_the_file_is_beside_the_sockets_of_several_workers_or_where_the_settings_say() -> None:
    several = Settings(workers=2)
    own = Settings(workers=1, rate_limits=RateLimitSettings(sqlite="/var/lib/oai/rates.sqlite"))
    assert shared_file(several, "unix:/run/oai/worker-0.sock") == Path("/run/oai/rate-limits.sqlite")
    assert shared_file(several, "127.0.0.1:9000") is None
    assert shared_file(Settings(), "unix:/run/oai/worker-0.sock") is None
    assert shared_file(own, "127.0.0.1:9000") == Path("/var/lib/oai/rates.sqlite")
