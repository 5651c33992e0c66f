"""When tokens were used last: what is written, when, and what is left where that fails."""

import asyncio
import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.tenancy.directory import MAX_USED
from extproc.worker import last_used
from extproc.worker.last_used import LastUsed, LastUsedError, Stamps, TableWriter, minute_text
from extproc.worker.table_lookups import TableLookupError

NOON = 1_800_000_000.0 - 1_800_000_000 % 60


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


class Written:
    """A writer that notes what it is given; `error` is raised after the first `works` stamps."""

    def __init__(self) -> None:
        self.all: list[tuple[str, float]] = []
        self.error: BaseException | None = None
        self.works = 0
        self.event = asyncio.Event()
        """Set by each write."""

    async def __call__(self, stamps: Stamps) -> None:
        self.event.set()
        for sha256 in list(stamps)[: self.works if self.error else None]:
            self.all.append((sha256, stamps.pop(sha256)))
        if self.error is not None:
            raise self.error


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def written() -> Written:
    return Written()


@pytest.fixture
def uses(written: Written, clock: Clock) -> LastUsed:
    return LastUsed(written, "somewhere", clock)


async def test_the_uses_of_a_minute_are_written_once_it_is_over(uses: LastUsed, written: Written) -> None:
    uses.seen |= {"a": NOON + 1.0, "b": NOON + 59.9, "c": NOON + 60.0}
    await uses.flush(NOON + 60.0)
    assert written.all == [("a", NOON + 1.0), ("b", NOON + 59.9)]
    assert uses.seen == {"c": NOON + 60.0}
    await uses.flush(NOON + 60.0)
    assert len(written.all) == 2, "nothing is written twice"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.0, 300.0)), max_size=40))
def test_a_token_is_written_once_for_a_minute_at_most_and_its_last_use_is(moments: list[tuple[str, float]]) -> None:
    written = Written()
    uses, end = LastUsed(written, "somewhere", lambda: NOON), NOON

    async def run() -> None:
        nonlocal end
        for sha256, after in sorted(moments, key=lambda each: each[1]):
            while NOON + after >= end + 60.0:
                end += 60.0
                await uses.flush(end)
            uses.seen[sha256] = NOON + after
        await uses.flush(end + 60.0)

    asyncio.run(run())
    minutes = Counter((sha256, minute_text(used)) for sha256, used in written.all)
    assert set(minutes.values()) <= {1}
    assert dict(written.all) == dict(
        sorted(((name, NOON + after) for name, after in moments), key=lambda each: each[1])
    )


@pytest.mark.parametrize("error", [LastUsedError("full"), TimeoutError(), RuntimeError("a bug"), OSError("odd")])
async def test_what_is_not_written_is_kept_for_a_while(
    uses: LastUsed, written: Written, clock: Clock, error: Exception
) -> None:
    written.error, written.works = error, 1
    uses.seen |= {"a": NOON, "b": NOON + 1.0, "c": NOON + 2.0}
    await uses.flush(NOON + 60.0)
    assert uses.seen == {"b": NOON + 1.0, "c": NOON + 2.0}
    uses.seen["c"] = NOON + 61.0
    clock.now = NOON + 120.0
    written.error = None
    await uses.flush(NOON + 120.0)
    assert written.all == [("a", NOON), ("b", NOON + 1.0), ("c", NOON + 61.0)]


async def test_what_is_too_old_is_given_up(uses: LastUsed, written: Written, clock: Clock) -> None:
    written.error = LastUsedError("an outage")
    uses.seen |= {"a": NOON, "b": NOON + 120.0}
    clock.now = NOON + last_used.KEEP_SECONDS + 60.0
    await uses.flush(clock.now)
    assert uses.seen == {"b": NOON + 120.0}


async def test_memory_is_bounded_where_nothing_can_be_written(uses: LastUsed, written: Written) -> None:
    written.error = LastUsedError("an outage")
    for start in (0, MAX_USED, 2 * MAX_USED):
        uses.seen |= {str(number): NOON for number in range(start, start + MAX_USED - len(uses.seen))}
        await uses.flush(NOON + 60.0)
    assert len(uses.seen) == MAX_USED


async def test_a_use_during_the_write_is_not_lost(clock: Clock) -> None:
    async def fail(stamps: Stamps) -> None:
        uses.seen["a"] = NOON + 61.0
        raise LastUsedError("an outage")

    uses = LastUsed(fail, "somewhere", clock)
    uses.seen |= {"a": NOON, "b": NOON}
    await uses.flush(NOON + 60.0)
    assert uses.seen == {"a": NOON + 61.0, "b": NOON}


async def test_a_writer_that_hangs_is_given_up(clock: Clock) -> None:
    async def hang(stamps: Stamps) -> None:
        await asyncio.Event().wait()

    uses = LastUsed(hang, "somewhere", clock)
    uses.seen["a"] = NOON
    await uses.flush(NOON + 60.0, seconds=0.01)
    assert uses.seen == {"a": NOON}


async def test_it_writes_every_minute_and_at_the_end(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_used, "MINUTE_SECONDS", 0.05)
    monkeypatch.setattr(last_used, "SPREAD_SECONDS", 0.0)
    uses = LastUsed(written, "somewhere")
    uses.start()
    uses.start()
    for sha256 in "ab":
        uses.seen[sha256] = 1.0
        async with asyncio.timeout(30):
            await written.event.wait()
        written.event.clear()
    monkeypatch.setattr(last_used, "MINUTE_SECONDS", 60.0)
    uses.seen["c"] = 2.0
    await uses.close()
    assert [sha256 for sha256, _ in written.all] == ["a", "b", "c"]
    assert len(asyncio.all_tasks()) == 1


async def test_a_close_in_the_middle_of_a_write_writes_the_rest(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_used, "SPREAD_SECONDS", 0.0)
    clock.now = NOON + 59.99
    writing, all_written = asyncio.Event(), []

    async def slow(stamps: Stamps) -> None:
        if not writing.is_set():
            writing.set()
            await asyncio.Event().wait()
        all_written.extend(stamps)
        stamps.clear()

    uses = LastUsed(slow, "somewhere", clock)
    uses.seen |= {"a": NOON, "b": NOON}
    uses.start()
    await writing.wait()
    await uses.close()
    assert all_written == ["a", "b"]


async def test_trouble_is_told_once_and_its_end(
    uses: LastUsed, written: Written, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for error in (LastUsedError("full"), LastUsedError("full"), None, None):
        written.error = error
        uses.seen["a"] = NOON
        await uses.flush(NOON + 60.0)
    assert [record.message for record in caplog.records] == [
        "the last use of tokens cannot be written to somewhere: full",
        "the last use of tokens is written to somewhere again",
    ]


# The table


class Table:
    """A table that takes items, but for the keys in `left`, and fails after `works` calls."""

    def __init__(self, left: Collection[str] = (), works: int = 1000) -> None:
        self.calls: list[Sequence[Mapping[str, str]]] = []
        self.left = left
        self.works = works

    async def put(self, items: Sequence[Mapping[str, str]]) -> Collection[str]:
        self.calls.append(items)
        if len(self.calls) > self.works:
            raise TableLookupError("an outage")
        return [item["pk"] for item in items if item["pk"] in self.left]


async def test_items_are_written_in_batches() -> None:
    table, stamps = Table(), {f"{number:064x}": NOON + number for number in range(60)}
    await TableWriter(table.put)(stamps)
    assert stamps == {}
    assert [len(call) for call in table.calls] == [25, 25, 10]
    assert table.calls[2][9] == {"pk": "used#" + f"{59:064x}", "minute": minute_text(NOON + 59)}
    assert len({item["pk"] for call in table.calls for item in call}) == 60


async def test_an_outage_ends_the_writes_and_leaves_the_rest() -> None:
    table, stamps = Table(works=1), {str(number): NOON for number in range(60)}
    with pytest.raises(LastUsedError, match="an outage"):
        await TableWriter(table.put)(stamps)
    assert len(table.calls) == 2
    assert list(stamps) == [str(number) for number in range(25, 60)]


async def test_throttling_ends_the_writes_and_leaves_what_is_not_written() -> None:
    table, stamps = Table(left={"used#3", "used#24"}), {str(number): NOON for number in range(60)}
    with pytest.raises(LastUsedError, match="DynamoDB throttles"):
        await TableWriter(table.put)(stamps)
    assert len(table.calls) == 1
    assert list(stamps) == ["3", *(str(number) for number in range(24, 60))]


def test_later_minutes_are_greater_texts() -> None:
    assert minute_text(0.0) == minute_text(59.9) == "1970-01-01T00:00Z"
    assert minute_text(1_796_029_500.0) == "2026-11-30T09:05Z"
