"""The sums in SQLite, written and queried."""

import itertools
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from extproc.openai.usage_page import UsageRow
from extproc.openai.usage_query import DAY, HOUR, MINUTE, UsageQuery
from extproc.worker import usage_store
from extproc.worker.sqlite_file import StoreError
from extproc.worker.usage_lines import summed
from extproc.worker.usage_store import TooSlowError, UsageStore, UsageView, oldest_kept
from tests.unit.worker.usage_ledgers import NOVA, NOW, TITAN, TODAY, line, query

OLDEST = oldest_kept(NOW, 30)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "usage.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[UsageStore]:
    with UsageStore(path) as store:
        yield store


def add(store: UsageStore, *lines: bytes, first: bytes = b"a file", offset: int = 1) -> None:
    store.add(summed(lines)[0], OLDEST, first, store.offset(first), offset, NOW)


def rows(path: Path, asked: UsageQuery, organisation: str = "acme") -> list[UsageRow]:
    with UsageView(path, 60) as view:
        found, until = view.rows(organisation, asked)
    assert until == asked.until
    return found


def test_the_file_is_for_this_user_alone(path: Path, store: UsageStore) -> None:
    add(store, line())
    assert {each.stat().st_mode & 0o777 for each in path.parent.iterdir()} == {0o600}


@pytest.mark.parametrize(("width", "start"), [(DAY, TODAY), (HOUR, NOW - NOW % HOUR), (MINUTE, NOW - NOW % MINUTE)])
def test_sums_are_those_of_all_parts(path: Path, store: UsageStore, width: int, start: int) -> None:
    for offset in range(3):
        add(store, line(), line(token="dev"), line(organisation="umbrella"), offset=offset)
    assert rows(path, query(width=width)) == [UsageRow(start, "", "", 6, 60, 24, 6, 30, 600)]
    assert store.offset(b"a file") == 2
    assert store.offset(b"another") == 0


def test_nothing_is_added_where_another_worker_has_read_on(path: Path, store: UsageStore) -> None:
    add(store, line(), offset=5)
    for start in (0, 3, 9):
        with pytest.raises(StoreError, match="another worker reads"):
            store.add(summed([line()])[0], OLDEST, b"a file", start, 12, NOW)
    with pytest.raises(StoreError, match="another worker reads"):
        store.add(summed([line()])[0], OLDEST, b"a new file", 4, 12, NOW)
    assert [row.requests for row in rows(path, query())] == [1]
    assert store.offset(b"a file") == 5


def test_groups_and_filters(path: Path, store: UsageStore) -> None:
    add(store, line(), line(token="dev"), line(known_model="z"), line(operation="embeddings", known_model=TITAN))
    by_model = rows(path, query(group_by=("model",)))
    assert [(row.model, row.api_key, row.requests) for row in by_model] == [(NOVA, "", 2), ("z", "", 1)]
    by_key = rows(path, query(group_by=("api_key_id",), models=(NOVA, "none")))
    assert [(row.model, row.api_key, row.requests) for row in by_key] == [("", "ci", 1), ("", "dev", 1)]
    assert [row.requests for row in rows(path, query(api_keys=("dev",)))] == [1]
    assert [row.requests for row in rows(path, query("embeddings"))] == [1]
    assert [row.cost_micro_usd for row in rows(path, query("costs"))] == [400]
    assert [row.model for row in rows(path, query("costs", group_by=("line_item",)))] == [NOVA, TITAN, "z"]
    assert rows(path, query(models=("' or 1 = 1 --",))) == []
    assert rows(path, query(batch=True)) == []
    assert rows(path, query(), "umbrella") == []


def test_a_part_that_fails_changes_nothing(path: Path, store: UsageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    add(store, line(), offset=7)
    monkeypatch.setattr(usage_store, "_INSERT", "insert into nowhere values (?)")
    with pytest.raises(StoreError, match="nowhere"):
        add(store, line(), line(token="dev"), offset=8)
    assert [row.requests for row in rows(path, query())] == [1]
    assert store.offset(b"a file") == 7


def test_what_comes_beyond_the_groups_of_a_bucket_is_in_one(
    path: Path, store: UsageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage_store, "MOST_GROUPS", 3)
    for number in range(9):
        add(store, line(token=f"jwt:{number}"), line(token=f"jwt:{number}", operation="embeddings"))
    groups = rows(path, query("costs", group_by=("api_key_id", "line_item")))
    assert [(row.model, row.api_key, row.requests) for row in groups] == [
        ("", "", 15),
        (NOVA, "jwt:0", 2),
        (NOVA, "jwt:1", 1),
    ]
    assert sum(row.requests for row in rows(path, query())) == 9
    assert sum(row.requests for row in rows(path, query("embeddings"))) == 9


def test_a_page_has_whole_buckets_only(path: Path, store: UsageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_store, "MOST_ROWS", 5)
    for day in range(3):
        add(store, *[line(NOW - day * DAY, token=str(number)) for number in range(2)])
    asked = query(group_by=("api_key_id",), start=TODAY - 2 * DAY)
    with UsageView(path, 60) as view:
        found, until = view.rows("acme", asked)
        rest, end = view.rows("acme", query(group_by=("api_key_id",), start=until))
    assert [row.start for row in found] == [TODAY - 2 * DAY] * 2 + [TODAY - DAY] * 2
    assert (until, end) == (TODAY, TODAY + DAY)
    assert [row.start for row in rest] == [TODAY] * 2


def test_a_page_reads_its_own_buckets_only(path: Path, store: UsageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the pages of a long range would take the square of its length."""
    monkeypatch.setattr(usage_store, "MOST_ROWS", 5)
    for day in range(25):
        add(store, *[line(NOW - day * DAY, token=str(number)) for number in range(2)])

    def steps(days: int) -> int:
        with UsageView(path, 60) as view:
            counted = itertools.count()
            view._connection.set_progress_handler(lambda: next(counted) < 0, 1)
            end = TODAY - (24 - days) * DAY
            found, until = view.rows(
                "acme", query(group_by=("api_key_id",), start=TODAY - 24 * DAY, until=end, end=end)
            )
            assert (len(found), until) == (4, TODAY - 22 * DAY)
        return next(counted)

    assert abs(steps(24) - steps(3)) < 10


def test_what_is_too_old_is_left_out_and_forgotten(path: Path, store: UsageStore) -> None:
    add(store, line(TODAY - 30 * DAY), line(TODAY - 30 * DAY - 1), line(TODAY - 3 * DAY), line(), first=b"read today")
    wide = {"start": TODAY - 60 * DAY}
    assert [row.start for row in rows(path, query(**wide))] == [TODAY - 30 * DAY, TODAY - 3 * DAY, TODAY]
    assert len(rows(path, query(width=MINUTE, **wide))) == 1
    list(store.forget(oldest_kept(NOW + 29 * DAY, 30)))
    assert [row.start for row in rows(path, query(**wide))] == [TODAY]
    assert rows(path, query(width=MINUTE, **wide)) == []
    assert store.offset(b"read today") == 1
    list(store.forget(oldest_kept(NOW + 31 * DAY, 30)))
    assert store.offset(b"read today") == 0
    with sqlite3.connect(path) as connection:
        assert [connection.execute(f"select count(*) from {table}").fetchone() for table in ("sums", "sizes")] == [
            (0,),
            (0,),
        ]


def test_what_is_forgotten_is_removed_in_parts(path: Path, store: UsageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_store, "FORGET", 10)
    for minute in range(30):
        add(store, *[line(TODAY + minute * MINUTE, token=str(number)) for number in range(3)])
    left = [90]
    with sqlite3.connect(path) as connection:
        for _ in store.forget({MINUTE: TODAY + DAY}):
            left += connection.execute("select count(*) from sums where width = ?", (MINUTE,)).fetchone()
    assert left == [*range(90, 0, -12), 0]


def test_a_query_ends_in_time(path: Path, store: UsageStore) -> None:
    add(store, *[line(token=str(number)) for number in range(3000)])
    with UsageView(path, -1) as view, pytest.raises(TooSlowError):
        view.rows("acme", query(group_by=("api_key_id",)))


def test_a_file_of_another_version_is_left_as_it_is(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("pragma user_version = 9")
    with pytest.raises(StoreError, match=r"another version \(9, not 1\); remove it"):
        UsageStore(path).__enter__()


def test_a_file_that_is_none_is_an_error(path: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError), UsageView(path, 60) as view:
        view.caught_up()
    assert not path.exists()
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match="not a database"):
        UsageStore(path).__enter__()
    with pytest.raises(StoreError), UsageView(path, 60) as view:
        view.rows("acme", query())
    with pytest.raises(StoreError):
        UsageStore(tmp_path / "nowhere" / "usage.sqlite").__enter__()


def test_a_removed_file_is_noticed(path: Path, store: UsageStore) -> None:
    assert store.is_there()
    os.rename(path, path.with_name("other"))
    assert not store.is_there()
    path.write_bytes(b"")
    assert not store.is_there()
