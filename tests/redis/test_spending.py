"""Balances in a Redis: the tests of those in a file, the model in memory, and what happens to a store far away."""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings

from extproc.limits.spending import Balance, Charge, MemorySpending
from extproc.worker.redis_scripts import LEASE_MS
from tests.redis.server import Redis
from tests.redis.workers import Worker, by_a_clock
from tests.unit.worker.test_spending_file import (  # noqa: F401 - they are collected here as well
    ACME,
    Clock,
    clock,
    test_a_call_is_held_in_all_accounts_or_in_none_and_settled_once,
)
from tests.unit.worker.test_spending_file_and_model import EVENTS, KEYS, come_back
from tests.unit.worker.test_spending_of_users import (  # noqa: F401 - as well
    USERS,
    few,
    others_are_counted,
    test_a_call_that_costs_nothing_leaves_no_account,
    test_a_users_call_that_was_settled_counts_no_more,
    test_costs_are_counted_in_their_own_accounts_where_one_is_shared,
    test_the_account_that_others_share_has_a_budget,
    test_users_beyond_the_most_share_one_account,
)

LEASE = LEASE_MS / 1000


def pass_lease(clock: Clock, *workers: Worker) -> None:  # noqa: F811
    """Let these workers give signs of life for longer than a lease, and no others."""
    for _ in range(4):
        clock.now += (LEASE + 1) / 4
        for worker in workers:
            worker.tick()


Start = Callable[[], Worker]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, redis: Redis, clock: Clock) -> Iterator[Start]:  # noqa: F811
    """Starts one more worker."""
    by_a_clock(monkeypatch)
    workers: list[Worker] = []

    def started() -> Worker:
        workers.append(Worker(redis, lambda: int(clock.now * 1e9)))
        return workers[-1]

    yield started
    for each in workers:
        each.kill()


@pytest.fixture
def file(start: Start) -> Worker:
    """Balances of one worker, by the name that the tests of a file have for them."""
    return start()


def test_a_dead_workers_call_is_settled_by_its_last_count(start: Start, clock: Clock) -> None:  # noqa: F811
    one, two = start(), start()
    one.reserve("1", [ACME])
    one.count({"1": [9]})
    two.tick()
    assert two.balance("acme") == Balance(0, 60)
    pass_lease(clock, two)
    assert two.balance("acme") == Balance(9, 0)
    one.settle("1", [ACME], [20])
    assert two.balance("acme") == Balance(20, 0)


def test_a_worker_that_returns_holds_its_open_calls_again(start: Start, clock: Clock) -> None:  # noqa: F811
    one, two, audit = start(), start(), Charge("all", 0, 40, 2**40, 3, enforced=False)
    one.reserve("1", [ACME, audit])
    for cost in (9, 15):
        one.count({"1": [cost, 2 * cost]})
        assert (two.balance("acme"), two.balance("all")) == (Balance(0, 60), Balance(0, 40))
        pass_lease(clock, two)
        assert (two.balance("acme"), two.balance("all")) == (Balance(cost, 0), Balance(2 * cost, 0))
    one.tick()
    assert two.reserve("2", [ACME]).rejected == 0
    for _ in range(2):
        one.settle("1", [ACME, audit], [20, 30])
        assert (two.balance("acme"), two.balance("all")) == (Balance(20, 0), Balance(30, 0))


def test_a_call_that_has_ended_is_not_held_again(start: Start, clock: Clock) -> None:  # noqa: F811
    one, two = start(), start()
    one.reserve("1", [ACME])
    pass_lease(clock, two)
    running = one.store._running["1"]
    one.settle("1", [ACME], [20])
    one.store._running["1"] = running  # as in a message that was on its way
    one.tick()
    assert two.balance("acme") == Balance(20, 0)


def test_the_last_worker_is_settled_by_the_next_that_starts(start: Start, clock: Clock) -> None:  # noqa: F811
    one = start()
    one.reserve("1", [ACME])
    one.kill()
    one.kill = lambda: None  # type: ignore[method-assign]
    clock.now += LEASE + 1
    two = start()
    pass_lease(clock, two)
    assert two.balance("acme") == Balance(5, 0)


def test_nobody_is_taken_for_dead_because_the_redis_was_away(start: Start, clock: Clock) -> None:  # noqa: F811
    one, two = start(), start()
    for worker, call in ((one, "1"), (two, "2")):
        worker.reserve(call, [Charge("acme", 1000, 60, 2**40, 5)])
    clock.now += LEASE + 1
    two.tick()
    assert two.balance("acme") == Balance(0, 120)
    one.tick()
    pass_lease(clock, one, two)
    assert two.balance("acme") == Balance(0, 120)
    pass_lease(clock, two)
    assert two.balance("acme") == Balance(5, 60)


def test_a_request_after_an_outage_is_no_sign_of_life_of_the_others(start: Start, clock: Clock) -> None:  # noqa: F811
    one, two = start(), start()
    one.reserve("1", [Charge("acme", 1000, 60, 2**40, 5)])
    clock.now += LEASE + 1
    two.reserve("2", [Charge("acme", 1000, 60, 2**40, 5)])
    two.tick()
    assert two.balance("acme") == Balance(0, 120)


def test_the_first_of_all_workers_is_told_so(start: Start) -> None:
    one, two = start(), start()
    assert [one.first("a", 2**40), two.first("a", 2**40), two.first("b", 2**40)] == [True, False, True]


def test_a_settlement_that_is_sent_again_counts_once(file: Worker) -> None:
    file.reserve("1", [ACME])
    for _ in range(3):
        file.settle("1", [ACME], [50])
    assert file.balance("acme") == Balance(50)


def test_a_call_that_is_over_is_held_no_more_by_a_message_that_comes_late(file: Worker) -> None:
    file.settle("1", [ACME], [7])
    file.reserve("1", [ACME])
    assert file.balance("acme") == Balance(7)


def test_a_call_is_held_once_however_often_it_is_sent(file: Worker) -> None:
    for _ in range(2):
        file.reserve("1", [Charge("acme", 1000, 60, 2**40)])
    assert file.balance("acme") == Balance(0, 60)


def test_a_store_that_was_emptied_has_the_open_calls(file: Worker, redis: Redis) -> None:
    file.reserve("1", [ACME])
    file.count({"1": [9]})
    redis.send("FLUSHALL")
    file.tick()
    assert file.balance("acme") == Balance(0, 60)
    file.settle("1", [ACME], [20])
    assert file.balance("acme") == Balance(20)


def test_a_replica_without_the_end_of_a_call_holds_nothing_for_it(file: Worker, redis: Redis) -> None:
    """What it has of calls that have ended is settled by their last counts, at the second look."""
    charge = Charge("acme", 1000, 60, 2**40, 5)
    for call in ("1", "2"):
        file.reserve(call, [charge])
    file.settle("1", [charge], [20])
    file.store._running["1"] = [charge], lambda: [5]  # as of a moment ago: it is held, and its end has not come
    redis.send("DEL", "{oai}:ended:1", "{oai}:account:acme", f"{{oai}}:holds:{file.store._name}")
    for _ in range(2):
        file.tick()
    assert file.balance("acme") == Balance(0, 120)
    file.store.closed("1")
    file.tick()
    assert file.balance("acme") == Balance(0, 120)
    file.tick()
    file.until(lambda: file.balance("acme") == Balance(5, 60))
    file.settle("2", [charge], [30])
    assert file.balance("acme") == Balance(35)


def test_what_is_spent_stays_until_a_day_after_its_window(file: Worker, redis: Redis) -> None:
    end = int(redis.send("TIME")[0]) + 100
    charge = Charge("soon over", 100, 60, end, group="users")
    file.reserve("1", [charge])
    file.settle("1", [charge], [60])
    assert redis.send("EXPIRETIME", "{oai}:account:soon over") == end + 86400
    assert redis.send("EXPIRETIME", "{oai}:group:users") == end + 86400
    assert 0 < redis.send("TTL", "{oai}:ended:1") <= 600


def test_amounts_are_exact_to_the_largest_limit(file: Worker) -> None:
    most = Charge("large", 2**53, 2**53 - 1, 2**40)
    assert file.reserve("1", [most]).rejected < 0
    file.settle("1", [most], [2**53 - 1])
    assert file.balance("large") == Balance(2**53 - 1)
    assert file.reserve("2", [Charge("large", 2**53, 2, 2**40)]).exhausted
    assert file.reserve("3", [Charge("large", 2**53, 1, 2**40)]).rejected < 0


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(USERS)
def test_nothing_is_uncounted_and_no_group_is_larger(
    start: Start,
    redis: Redis,
    few: None,  # noqa: F811
    events: list[tuple[str, int, int, int]],
) -> None:
    redis.send("FLUSHALL")
    worker = start()
    others_are_counted(worker, events)
    worker.store.client.close()


def test_what_was_not_held_is_counted_for_others(file: Worker, few: None) -> None:  # noqa: F811
    for number in range(5):
        charge = Charge(f"user {number}", 100, 10, 2**40, group="users")
        file.settle(str(number), [ACME, charge], [7, 7])
    assert (file.balance("user 2"), file.balance("user 3")) == (Balance(7), Balance())
    assert (file.balance("others of users"), file.balance("acme")) == (Balance(14), Balance(35))


def test_a_store_that_was_emptied_has_what_others_hold(file: Worker, redis: Redis, few: None) -> None:  # noqa: F811
    for number in range(5):
        file.reserve(
            str(number), [Charge(f"user {number}", 100, 10, 2**40, group="users"), Charge("acme", 100, 1, 2**40)]
        )
    file.count({"4": [9, 8]})
    redis.send("FLUSHALL")
    file.tick()
    assert file.balance("others of users") == Balance(0, 20)
    file.settle("4", [Charge("user 4", 100, 10, 2**40, group="users"), ACME], [20, 21])
    assert file.balance("others of users") == Balance(20, 10)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EVENTS)
def test_two_workers_have_the_balances_of_the_model(
    start: Start,
    redis: Redis,
    clock: Clock,  # noqa: F811
    events: list[tuple[str, str, int, int]],
) -> None:
    redis.send("FLUSHALL")
    workers, model = {name: start() for name in ("one", "two")}, MemorySpending()
    charged: dict[str, list[Charge]] = {}
    used: set[str] = set()
    for kind, name, number, amount in events:
        call, worker = f"{name} {number}", workers[name]
        if kind == "reserve" and call not in used:
            charges = [Charge(key, 300, amount, 2**40, amount // 2) for key in KEYS]
            verdict = model.reserve(call, charges)
            assert worker.reserve(call, charges) == verdict
            if verdict.rejected < 0:
                used.add(call)
                charged[call] = charges
        elif kind == "count" and call in charged:
            come_back(model, charged, name)
            model.count({call: [amount] * 2})
            worker.count({call: [amount] * 2})
        elif kind == "settle" and call in charged:
            charges = charged.pop(call)
            model.settle(call, charges, [amount] * 2)
            worker.settle(call, charges, [amount] * 2)
        elif kind == "die":
            come_back(model, charged, name)
            pass_lease(clock, worker)  # the other worker is taken for dead
            for each in charged:
                if not each.startswith(name):
                    model.expire(each)
        assert [worker.balance(key) for key in KEYS] == [model.balance(key) for key in KEYS]
    for worker in workers.values():
        worker.store.client.close()
