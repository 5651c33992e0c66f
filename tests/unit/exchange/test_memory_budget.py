"""`MemoryBudget` and `Reservation` alone: what is granted, to whom, and what comes back."""

from contextlib import suppress
from fractions import Fraction
from math import floor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extproc.exchange.budget import MemoryBudget, Reservation
from extproc.openai.errors import ApiError
from tests.unit.exchange.test_budget import GIB

WHOLE = 1000
UNHURRIED = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@UNHURRIED
@given(
    st.integers(1, WHOLE),
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, WHOLE), st.booleans()), max_size=40),
)
def test_taken_is_the_sum_of_all_grants_and_never_above_the_limits(
    share: int, requests: list[tuple[str, int, bool]]
) -> None:
    budget, held = MemoryBudget(WHOLE, share), list[tuple[str, int]]()
    for organisation, size, leaves in requests:
        own = sum(held_size for name, held_size in held if name == organisation)
        if own + size <= (WHOLE - budget.taken + own) * share // WHOLE:
            budget.reserve(organisation, size)
            held.append((organisation, size))
        else:
            with pytest.raises(ApiError) as caught:
                budget.reserve(organisation, size)
            assert caught.value.status == (429 if own else 503)
        assert budget.taken == sum(size for _, size in held) <= WHOLE
        assert all(sum(size for name, size in held if name == each) <= share for each in "abc")
        if leaves and held:
            budget.release(*held.pop(0))
    for organisation, size in held:
        budget.release(organisation, size)
    assert (budget.taken, budget._by_organisation) == (0, {})


@pytest.mark.parametrize("share", [1, 400, WHOLE])
def test_alone_an_organisation_may_have_its_share_and_not_a_byte_more(share: int) -> None:
    budget = MemoryBudget(WHOLE, share)
    budget.reserve("acme", share)
    with pytest.raises(ApiError):
        budget.reserve("acme", 1)


@UNHURRIED
@given(
    st.integers(1, 5),
    st.integers(1, GIB),
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, GIB), st.booleans()), max_size=60),
)
def test_an_idle_organisation_is_granted_a_request_beside_greedy_others(
    number: int, share: int, requests: list[tuple[int, int, bool]]
) -> None:
    """Each of `number` others takes as much as it is granted, in any order, and releases what it likes."""
    budget, held = MemoryBudget(GIB, share), list[tuple[str, int]]()
    for index, size, leaves in requests:
        name = f"hostile {index % number}"
        with suppress(ApiError):
            budget.reserve(name, size)
            held.append((name, size))
        if leaves and held:
            budget.release(*held.pop(len(held) // 2))
    for index in range(number):  # and then each takes all that there is for it
        for bit in reversed(range(31)):
            with suppress(ApiError):
                budget.reserve(f"hostile {index}", 1 << bit)
    left = GIB * (1 - Fraction(share, GIB)) ** number
    budget.reserve("meek", floor(left * share / GIB))


def test_a_reservation_that_cannot_grow_stays_unchanged() -> None:
    budget = MemoryBudget(100, 100, stream_bytes=10)
    reservation, other = Reservation(budget, "acme", 50), Reservation(budget, "acme", 10)
    with pytest.raises(ApiError) as caught:
        reservation.hold(outgoing=80)
    assert (caught.value.status, reservation.size, budget.taken) == (429, 60, 80)
    other.release()
    with pytest.raises(ApiError) as caught:
        reservation.hold(outgoing=91)
    assert (caught.value.status, reservation.size, budget.taken) == (413, 60, 60)
    reservation.hold(outgoing=90)
    reservation.release()
    assert budget.taken == 0


def test_a_reservation_is_the_larger_of_request_and_signed_bodies() -> None:
    budget = MemoryBudget(100, 100, stream_bytes=10)
    reservation = Reservation(budget, "acme", 50)
    for held, size in (({"outgoing": 20}, 60), ({"body": 10}, 30), ({"outgoing": 70}, 80), ({"body": 80}, 90)):
        reservation.hold(**held)
        assert (reservation.size, budget.taken, reservation.room) == (size, size, 100 - size)
