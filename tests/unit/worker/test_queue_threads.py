"""Threads that share a queue: bounded in number, and the most urgent work first."""

import threading

import pytest

from extproc.worker.queue_threads import QueueThreads


def test_urgent_work_comes_first_and_else_the_oldest() -> None:
    threads, hold, ended = QueueThreads("work", 1), threading.Event(), threading.Event()
    done: list[str] = []
    threads.put(0, lambda: done.append("first" if hold.wait(30) else "late"))
    for urgency, name in ((1, "a"), (2, "urgent"), (1, "b"), (0, "idle")):
        threads.put(urgency, lambda name=name: done.append(name))  # type: ignore[misc]
    threads.put(-1, ended.set)
    hold.set()
    assert ended.wait(30)
    assert done == ["first", "urgent", "a", "b", "idle"]


def test_no_more_threads_than_it_may_have_work_at_a_time() -> None:
    threads, hold = QueueThreads("work", 2), threading.Event()
    running = threading.Semaphore(0)
    names: set[str] = set()

    def work() -> None:
        names.add(str(threading.get_ident()))
        running.release()
        hold.wait(30)

    for _ in range(6):
        threads.put(0, work)
    assert [running.acquire(timeout=30) for _ in range(2)] == [True, True]
    assert not running.acquire(blocking=False), "the third waits for a thread"
    hold.set()
    assert [running.acquire(timeout=30) for _ in range(4)] == [True] * 4
    assert len(names) == 2


def test_work_is_done_later_where_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    threads, ended = QueueThreads("work", 1), threading.Event()
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", none)
        threads.put(0, ended.set)
    assert not ended.is_set()
    threads.start()
    assert ended.wait(30)
