"""The event loop's time that larger bodies of an organisation take while others wait."""

import json
from dataclasses import replace

import pytest
from msgspec.structs import replace as altered

from extproc.config import LimitSettings
from extproc.exchange.budget import MemoryBudget
from extproc.exchange.directives import Directive, Forward, Wait
from extproc.exchange.events import RequestBody, RequestHeaders
from extproc.exchange.exchange import Exchange
from extproc.exchange.gateway import Gateway
from extproc.exchange.jobs import Read
from extproc.exchange.loop_time import MOST, MOST_KNOWN, SHARE, LoopTime

NOW = 1_790_000_000.0
TOKEN = "qc_test"
HEADERS = {":method": "POST", ":path": "/oai/v1/chat/completions", "authorization": f"Bearer {TOKEN}"}


class Time:
    """A clock that is put forward: by a test, and by `step` with each look."""

    def __init__(self) -> None:
        self.now = 100.0
        self.step = 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def loop_time(time: Time) -> LoopTime:
    return LoopTime(time)


def spend(loop_time: LoopTime, time: Time, organisation: str, seconds: float) -> None:
    started = loop_time.clock()
    time.now += seconds
    loop_time.add(organisation, started)


def test_an_organisation_may_take_its_share_and_so_much_at_once(loop_time: LoopTime, time: Time) -> None:
    assert not loop_time.is_used_up("acme")
    spend(loop_time, time, "acme", MOST)
    assert not loop_time.is_used_up("acme")
    spend(loop_time, time, "acme", 0.02)
    assert loop_time.is_used_up("acme")
    assert not loop_time.is_used_up("umbrella")
    time.now += 0.02 / SHARE
    assert not loop_time.is_used_up("acme")


def test_a_share_is_no_more_than_that(loop_time: LoopTime, time: Time) -> None:
    taken, began = 0.0, time.now
    while time.now < began + 60:
        if loop_time.is_used_up("acme"):
            time.now += 0.01
        else:
            spend(loop_time, time, "acme", 0.02)
            taken += 0.02
    assert taken <= 60 * SHARE + MOST + 2 * 0.02


def test_those_are_forgotten_that_take_no_more_than_their_share(loop_time: LoopTime, time: Time) -> None:
    spend(loop_time, time, "busy", 1000.0)
    for number in range(10 * MOST_KNOWN):
        spend(loop_time, time, f"org-{number}", 0.001)
        time.now += 0.1
    assert len(loop_time._taken) <= 2 * MOST_KNOWN
    assert "busy" not in loop_time._taken or loop_time.is_used_up("busy")


def sent(gateway: Gateway, size: int) -> Directive:
    """Return what follows on a body of about so many bytes."""
    exchange = Exchange(gateway, "0" * 32)
    exchange.receive(RequestHeaders(HEADERS), NOW)
    chat = {"model": "amazon.nova-micro-v1:0", "messages": [{"role": "user", "content": "x" * size}]}
    [directive] = exchange.receive(RequestBody(json.dumps(chat).encode()), NOW)
    exchange.close(NOW)
    return directive


@pytest.fixture
def measured(gateway: Gateway, loop_time: LoopTime, time: Time) -> Gateway:
    """A gateway whose bodies take 40 ms of the loop each."""
    time.step = 0.04
    settings = altered(gateway.settings, limits=LimitSettings())
    return replace(gateway, settings=settings, budget=MemoryBudget(1 << 30, 1 << 29), loop_time=loop_time)


def test_beside_others_a_body_too_many_goes_to_the_process(measured: Gateway) -> None:
    measured.budget.reserve("umbrella", 1)
    first, second, third = (sent(measured, 10_000) for _ in range(3))
    assert isinstance(first, Forward)
    assert isinstance(second, Forward)
    assert isinstance(third, Wait)
    assert isinstance(third.job, Read)
    assert isinstance(sent(measured, 1_000), Forward), "small bodies take little"


def test_alone_an_organisation_has_all_of_the_loop(measured: Gateway) -> None:
    assert all(isinstance(sent(measured, 10_000), Forward) for _ in range(6))


def test_a_body_that_is_rejected_has_taken_its_time(measured: Gateway) -> None:
    measured.budget.reserve("umbrella", 1)
    for _ in range(2):
        exchange = Exchange(measured, "0" * 32)
        exchange.receive(RequestHeaders(HEADERS), NOW)
        exchange.receive(RequestBody(b'{"model": 7' + b" " * 10_000 + b"}"), NOW)
        exchange.close(NOW)
    assert isinstance(sent(measured, 10_000), Wait)
