"""Queries of usage, in threads, within their seconds."""

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from extproc.exchange.jobs import QueryUsage, UsageFailure, UsagePage
from extproc.worker import usage_queries
from extproc.worker.usage_lines import summed
from extproc.worker.usage_queries import SLOTS, STALE_SECONDS, UsageQueries
from extproc.worker.usage_store import UsageStore, oldest_kept
from tests.unit.worker.usage_ledgers import NOW, line, query

JOB = QueryUsage("acme", query())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "usage.sqlite"
    with UsageStore(path) as store:
        store.add(summed([line()])[0], oldest_kept(NOW, 30), b"a file", 0, 1, NOW)
        store.caught_up(NOW)
    return path


def result(path: Path, now: float = NOW, seconds: float = 60) -> Any:
    return asyncio.run(UsageQueries(path, lambda: now)(JOB, seconds))


def test_a_page_of_what_there_is(path: Path) -> None:
    page = result(path)
    assert isinstance(page, UsagePage)
    *empty, last = json.loads(page.body)["data"]
    assert [bucket["results"] for bucket in empty] == [[]] * 6
    assert last["results"][0]["input_tokens"] == 10


@pytest.mark.parametrize("later", [STALE_SECONDS + 1, -STALE_SECONDS - 1])
def test_sums_that_lack_some_of_the_ledger_are_not_shown(path: Path, later: int) -> None:
    assert isinstance(result(path, NOW + STALE_SECONDS), UsagePage)
    assert result(path, NOW + later) == UsageFailure("behind")


def test_a_file_that_is_gone_is_a_failure_and_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def twice() -> list[Any]:
        queries = UsageQueries(tmp_path / "none.sqlite", lambda: NOW)
        return [await queries(JOB, 60), await queries(JOB, 60)]

    assert asyncio.run(twice()) == [UsageFailure("broken")] * 2
    assert caplog.text.count("usage cannot be queried in") == 1


def test_a_query_that_takes_too_long_is_a_failure(path: Path) -> None:
    assert result(path, seconds=0.0) == UsageFailure("slow")


class Stuck:
    """Sums on a disk that does not answer, until it is told to."""

    def __init__(self) -> None:
        self.begun = 0
        self.first = threading.Event()
        self.go = threading.Event()

    def __call__(self, queries: UsageQueries, job: QueryUsage, end: float) -> UsagePage:
        self.begun += 1
        self.first.set()
        assert self.go.wait(60)
        return UsagePage(job.organisation.encode())


def test_threads_are_bounded_though_none_ends(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = Stuck()
    monkeypatch.setattr(UsageQueries, "_result", lambda *arguments: stuck(*arguments))

    async def flood() -> tuple[list[Any], Any]:
        queries = UsageQueries(path)
        jobs = [QueryUsage(f"organisation-{number}", query()) for number in range(20)]
        late = await asyncio.gather(*(queries(job, 0.05) for job in jobs))
        assert stuck.begun == SLOTS
        stuck.go.set()
        return late, await queries(JOB, 60)

    late, well = asyncio.run(flood())
    assert late == [UsageFailure("slow")] * 20
    assert well == UsagePage(b"acme")
    assert stuck.begun == SLOTS + 1


def test_a_caller_who_leaves_leaves_no_slot_taken(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = Stuck()
    monkeypatch.setattr(UsageQueries, "_result", lambda *arguments: stuck(*arguments))

    async def leave() -> Any:
        queries = UsageQueries(path)
        tasks = [asyncio.create_task(queries(JOB, 60)) for _ in range(9)]
        assert await asyncio.to_thread(stuck.first.wait, 60)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        stuck.go.set()
        return [await queries(JOB, 60) for _ in range(3)]

    assert asyncio.run(leave()) == [UsagePage(b"acme")] * 3


def test_a_bug_is_an_error_of_its_query(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_queries, "usage_page", None)
    assert result(path) == UsageFailure("broken")
