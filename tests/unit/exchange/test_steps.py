"""The longest step that one request, or its response, makes of the event loop: in units of this machine's Python.

A unit is the time of a loop of a million rounds, about 30 ms where `make bench-steps` was run. CPU time of the thread
is compared, and the least of several runs counts. The limits are twice the values measured on a quiet machine, because
a neighbour on the same core or cache costs as much; work that went back to the event loop would cost ten times as much.
"""

import os
import time
from collections.abc import Iterator

import pytest

from bench.bodies import Shape
from bench.shapes import SHAPES
from bench.steps import gateway, longest, longest_back
from bench.whole_responses import REQUESTS, WHOLE_RESPONSES
from extproc import cl100k_base
from extproc.exchange.endpoint import LARGE_RESPONSES
from extproc.exchange.gateway import Gateway
from extproc.exchange.translation import LARGE_BODY, is_large
from extproc.worker.translation_client import Process

TRIES = 5


@pytest.fixture(scope="module")
def shared() -> Gateway:
    cl100k_base.decode([1])
    return gateway()


@pytest.fixture(scope="module")
def process() -> Iterator[Process]:
    made = Process(os.environ)
    yield made
    made.end()


def unit() -> float:
    start = time.thread_time()
    rounds = 0
    while rounds < 1_000_000:
        rounds += 1
    return time.thread_time() - start


def largest_small(shape: Shape) -> int:
    """Return the size of the largest body that the event loop translates itself, in bytes."""
    few, many = 1, LARGE_BODY
    while many - few > 1024:
        middle = (few + many) // 2
        few, many = (few, middle) if is_large(shape.of_size(middle)) else (middle, many)
    return few


def is_short(shape: Shape, size: int, most: float, shared: Gateway, process: Process) -> bool:
    """Return true if the longest step takes at most so many units in one of several tries."""
    return any(longest(shape, size, shared, process, runs=2) <= most * unit() for _ in range(TRIES))


@pytest.mark.parametrize("name", SHAPES)
def test_a_request_translated_in_the_event_loop_takes_less_than_four_units(
    name: str, shared: Gateway, process: Process
) -> None:
    shape = SHAPES[name]
    assert is_short(shape, largest_small(shape), 4.0, shared, process)


@pytest.mark.parametrize("name", SHAPES)
def test_a_large_request_takes_the_event_loop_less_than_two_units_at_a_time(
    name: str, shared: Gateway, process: Process
) -> None:
    assert is_short(SHAPES[name], 3 * LARGE_BODY, 2.0, shared, process)


def is_short_back(name: str, request: str, size: int, most: float, shared: Gateway, process: Process) -> bool:
    """Return true if the longest step of such a response takes at most so many units in one of several tries."""
    body = WHOLE_RESPONSES[name](size)
    seconds = (longest_back(body, REQUESTS[request], shared, process, runs=2) for _ in range(TRIES))
    return any(each <= most * unit() for each in seconds)


@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize("name", WHOLE_RESPONSES)
def test_a_whole_response_takes_the_event_loop_less_than_four_units_at_a_time(
    name: str, request_name: str, shared: Gateway, process: Process
) -> None:
    assert is_short_back(name, request_name, LARGE_RESPONSES - 1_000, 4.0, shared, process)


@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize("name", WHOLE_RESPONSES)
def test_a_large_whole_response_takes_the_event_loop_less_than_a_unit_at_a_time(
    name: str, request_name: str, shared: Gateway, process: Process
) -> None:
    assert is_short_back(name, request_name, 3 * LARGE_RESPONSES, 1.0, shared, process)
