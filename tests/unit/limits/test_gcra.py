"""The bucket in one number: OpenAI's own figures, and properties against a bucket that is filled step by step."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.config.rate_limits import MOST
from extproc.limits import gcra
from extproc.limits.gcra import LONGEST_DEBT, MINUTE

MS = 1_000_000
NOW = 5 * MINUTE

limits = st.one_of(st.integers(1, 50), st.integers(1, MOST))
takes = st.lists(st.tuples(st.integers(0, 2 * MINUTE), st.integers(0, 40)), max_size=60)


def test_the_figures_are_those_of_openai() -> None:
    """Its sample: 5000 requests a minute, 4999 remain, 12ms; 160000 tokens, 159976 remain, 9ms."""
    requests, tokens = NOW + gcra.cost(1, 5000), NOW + gcra.cost(24, 160_000)
    assert (gcra.remaining(requests, NOW, 5000), requests - NOW) == (4999, 12 * MS)
    assert (gcra.remaining(tokens, NOW, 160_000), tokens - NOW) == (159_976, 9 * MS)


@given(limits.filter(lambda limit: limit <= 2000))
def test_a_full_bucket_gives_its_limit_and_no_more(limit: int) -> None:
    full_at = NOW
    for left in range(limit, 0, -1):
        assert gcra.remaining(full_at, NOW, limit) == left
        assert gcra.wait(full_at, NOW, 1, limit) == 0
        full_at += gcra.cost(1, limit)
    assert gcra.remaining(full_at, NOW, limit) == 0
    assert gcra.wait(full_at, NOW, 1, limit) > 0


@given(st.integers(0, 10**12), limits, st.integers(0, LONGEST_DEBT))
def test_the_arithmetic_of_small_numbers_is_exact(amount: int, limit: int, used: int) -> None:
    assert gcra.cost(amount, limit) == amount * MINUTE // limit
    assert gcra.remaining(NOW + used, NOW, limit) == max(MINUTE - used, 0) * limit // MINUTE


@given(limits, takes)
def test_it_decides_as_a_bucket_that_is_filled_step_by_step(limit: int, steps: list[tuple[int, int]]) -> None:
    """The oracle has exact fractions; rounding is a nanosecond for each take."""
    now, full_at, level = NOW, NOW, Fraction(0)
    for index, (pause, amount) in enumerate(steps):
        now += pause
        level = max(level - Fraction(pause * limit, MINUTE), Fraction(0))
        full_at = gcra.current(full_at, now)
        slack = Fraction((index + 1) * limit, MINUTE)
        allowed = gcra.wait(full_at, now, amount, limit) == 0
        assert abs(gcra.remaining(full_at, now, limit) - max(limit - level, Fraction(0))) <= 1 + slack
        if abs(level + amount - limit) > slack:
            assert allowed == (level + amount <= limit)
        if allowed:
            full_at += gcra.cost(amount, limit)
            level += amount


@given(limits, takes)
def test_whoever_waits_as_told_is_served_then_and_not_before(limit: int, steps: list[tuple[int, int]]) -> None:
    now = full_at = NOW
    for pause, wanted in steps:
        now += pause
        amount = min(wanted, limit)
        full_at = gcra.current(full_at, now)
        wait = gcra.wait(full_at, now, amount, limit)
        if wait:
            assert gcra.wait(gcra.current(full_at, now + wait - 1), now + wait - 1, amount, limit) == 1
        now += wait
        full_at = gcra.current(full_at, now)
        assert gcra.wait(full_at, now, amount, limit) == 0
        full_at += gcra.cost(amount, limit)


@given(limits, takes)
def test_no_span_gives_more_than_the_limit_and_what_flows_back(limit: int, steps: list[tuple[int, int]]) -> None:
    now = full_at = NOW
    taken: list[tuple[int, int]] = []
    for pause, amount in steps:
        now += pause
        full_at = gcra.current(full_at, now)
        if gcra.wait(full_at, now, amount, limit) == 0:
            full_at += gcra.cost(amount, limit)
            taken.append((now, amount))
    for first, (start, _) in enumerate(taken):
        amounts = 0
        for count, (end, amount) in enumerate(taken[first:], 1):
            amounts += amount
            assert amounts <= limit * (1 + Fraction(end - start + count, MINUTE))


@given(limits, st.integers(0, 40), st.integers(0, 40), st.integers(0, 2 * MINUTE))
def test_a_refund_leaves_what_taking_the_use_at_first_would_have_left(
    limit: int, reserved: int, used: int, later: int
) -> None:
    reserved = min(reserved, limit)
    full_at = NOW + gcra.cost(reserved, limit)
    now = NOW + later
    settled = gcra.moved(full_at, now, gcra.refund(reserved, used, full_at, now, limit))
    honest = gcra.current(NOW + gcra.cost(used, limit), now)
    if used <= reserved:
        assert settled == honest
    else:
        assert settled >= honest


def test_a_huge_use_is_the_longest_debt() -> None:
    """A number that no store can hold would end the round in which it is written."""
    assert gcra.refund(0, 10**12, 0, 0, 1) == gcra.LONGEST_DEBT


def test_what_has_flowed_back_is_not_given_back_twice() -> None:
    full_at = NOW + gcra.cost(60, 60)
    assert gcra.refund(60, 0, full_at, NOW + MINUTE // 2, 60) == -MINUTE // 2
    assert gcra.refund(60, 0, full_at, NOW + 2 * MINUTE, 60) == 0


@pytest.mark.parametrize("jump", [LONGEST_DEBT, 3 * LONGEST_DEBT, 1 << 60])
def test_a_debt_is_forgiven_after_ten_minutes(jump: int) -> None:
    assert gcra.current(NOW + jump, NOW) == NOW + LONGEST_DEBT
