"""The watch: a worker that counts as stuck, and one that does not."""

import asyncio
from typing import Any

import pytest

from extproc.stack import watch
from extproc.stack.watch import Watch, WatchLimits


class WatchOfWorker:
    """A watch over a worker whose process always exists; records its lines and kills."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.replaced: list[str] = []
        no_worker: Any = None
        self.watch = Watch(
            no_worker, "worker-0", "/nowhere", self.lines.append, WatchLimits(5, misses=3, first_misses=6)
        )

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


async def test_it_goes_on_after_a_question_that_could_not_be_put(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe that could not be made counts neither for nor against the worker, and is logged."""
    questions: list[str] = []
    enough = asyncio.Event()

    async def responds(path: str, seconds: float) -> bool:
        questions.append(path)
        if len(questions) == 3:
            enough.set()
        raise RuntimeError("a bug")

    class Supervisor:
        def pid(self, name: str) -> int:
            return 7

        def replace(self, name: str) -> None:
            raise AssertionError(name)

    monkeypatch.setattr(watch, "responds", responds)
    lines: list[str] = []
    supervisor: Any = Supervisor()
    task = asyncio.create_task(Watch(supervisor, "worker-0", "/nowhere", lines.append, WatchLimits(0, 1, 1)).run())
    async with asyncio.timeout(60):
        await enough.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert set(lines) == {"worker-0: its health could not be checked: RuntimeError('a bug')"}


def test_the_limits_are_of_a_loop_that_is_stuck_and_not_busy() -> None:
    """No request may hold the loop for a second; Envoy itself takes a worker out after half of one."""
    limits = WatchLimits()
    assert limits.seconds * limits.misses >= 15
    assert limits.first_misses > limits.misses
