"""The watch: a program that counts as stuck, and one that does not."""

import asyncio
from typing import Any

import pytest

from extproc.stack.watch import Watch, WatchLimits


class WatchOfWorker:
    """A watch over a worker whose process always exists; records its lines and kills."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.replaced: list[str] = []
        nobody: Any = None
        self.watch = Watch(nobody, "worker-0", nobody, self.lines.append, WatchLimits(5, misses=3, first_misses=6))

    def note(self, pid: int, *responded: bool) -> None:
        for each in responded:
            self.watch.note(pid, each, self.replaced.append)


@pytest.fixture
def stage() -> WatchOfWorker:
    return WatchOfWorker()


def test_a_ready_worker_that_stops_responding_is_replaced_once(stage: WatchOfWorker) -> None:
    stage.note(7, True, False, False)
    assert stage.replaced == []
    stage.note(7, False)
    assert stage.replaced == ["worker-0"]
    assert stage.lines == [
        "worker-0: stuck: process 7 has not responded to 3 health checks in a row, each of 5 s; killing it"
    ]


def test_one_that_is_busy_for_a_moment_is_left_alone(stage: WatchOfWorker) -> None:
    stage.note(7, True, *[False, False, True] * 10)
    assert stage.replaced == []


def test_one_that_starts_has_more_time(stage: WatchOfWorker) -> None:
    stage.note(7, *[False] * 5)
    assert stage.replaced == []
    stage.note(7, False)
    assert stage.replaced == ["worker-0"]


def test_misses_of_one_process_do_not_count_against_the_next(stage: WatchOfWorker) -> None:
    stage.note(7, True, False, False)
    stage.note(8, False, False, False)
    assert stage.replaced == []


class OneProcess:
    """A supervisor of a program whose process is always the same one."""

    def __init__(self) -> None:
        self.replaced: list[str] = []

    def pid(self, name: str) -> int:
        return 7

    def replace(self, name: str) -> None:
        self.replaced.append(name)


async def watched(outcomes: list[bool | Exception | None]) -> tuple[list[str], list[str]]:
    """Watch over these health checks, with two misses at most; return the lines and what is replaced."""
    left, over = list(outcomes), asyncio.Event()

    async def probe(seconds: float) -> bool | None:
        if not left:
            over.set()
            await asyncio.Event().wait()
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    lines: list[str] = []
    supervisor: Any = OneProcess()
    task = asyncio.create_task(Watch(supervisor, "envoy", probe, lines.append, WatchLimits(0, 2, 2)).run())
    async with asyncio.timeout(60):
        await over.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return lines, supervisor.replaced


async def test_one_without_a_response_to_probes_is_replaced() -> None:
    _, replaced = await watched([True, False, False])
    assert replaced == ["envoy"]


async def test_it_goes_on_after_a_question_that_could_not_be_put() -> None:
    """A probe that could not be made counts neither for nor against the program, and is logged."""
    lines, replaced = await watched([RuntimeError("a bug")] * 3)
    assert lines == ["envoy: its health could not be checked: RuntimeError('a bug')"] * 3
    assert replaced == []


async def test_a_program_whose_socket_is_gone_is_left_alone() -> None:
    """It may serve: Envoy makes its admin socket only when it starts."""
    assert await watched([True, *[None] * 10]) == ([], [])
    _, replaced = await watched([True, False, None, False])
    assert replaced == ["envoy"], "nor is it a response"


def test_the_limits_are_of_a_loop_that_is_stuck_and_not_busy() -> None:
    """No request may hold the loop for a second; Envoy itself takes a worker out after half of one."""
    limits = WatchLimits()
    assert limits.seconds * limits.misses >= 15
    assert limits.first_misses > limits.misses
