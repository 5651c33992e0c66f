"""The file of last uses: merged by several workers, and never anybody else's."""

import asyncio
import errno
import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from extproc.worker import last_used_file
from extproc.worker.last_used import LastUsedError, minute_text
from extproc.worker.last_used_file import FileWriter, merge, read_last_used

NOW = time.time()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "last-used.json"


def test_there_is_nothing_without_a_file(path: Path) -> None:
    assert read_last_used(path) == {}
    path.write_text("")
    assert read_last_used(path) == {}


def test_what_is_written_is_read(path: Path) -> None:
    stamps = {"a": NOW, "b": NOW - 3600.0}
    asyncio.run(FileWriter(path)(stamps))
    assert stamps == {}
    assert read_last_used(path) == {"a": minute_text(NOW), "b": minute_text(NOW - 3600.0)}
    assert json.loads(path.read_text()) == {"last_used": read_last_used(path)}
    assert path.stat().st_mode & 0o007 == 0


def test_no_time_goes_back_and_none_is_lost(path: Path) -> None:
    merge(path, {"a": NOW, "b": NOW - 600.0})
    merge(path, {"a": NOW - 600.0, "b": NOW, "c": NOW})
    assert read_last_used(path) == dict.fromkeys("abc", minute_text(NOW))


def test_several_processes_lose_nothing(path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from extproc.worker.last_used_file import merge\n"
        "for n in range(20): merge(Path(sys.argv[1]), {f'{sys.argv[2]}-{n}': time.time()})"
    )
    started = [subprocess.Popen([sys.executable, "-c", program, path, name]) for name in "abc"]
    assert [each.wait(120) for each in started] == [0, 0, 0]
    assert len(read_last_used(path)) == 60


@pytest.mark.parametrize(
    "text",
    ["region: us-east-1\n", "{}", '{"last_used": {"a": 1}}', '{"last_used": {}, "tokens": []}', "\xff", "[" * 9999],
)
def test_a_file_of_something_else_stays_as_it_is(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(LastUsedError, match=r"is no file of last uses .*name another file in `last_used_in`"):
        merge(path, {"a": NOW})
    assert path.read_text() == text


def test_where_nothing_can_be_written_all_is_left(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    merge(path, {"a": NOW - 600.0})
    before = path.read_text()
    monkeypatch.setattr(last_used_file.os, "fsync", full)
    stamps = {"a": NOW}
    with pytest.raises(
        LastUsedError, match="No space left on device; the folder of the file has to be one that workers can write"
    ):
        asyncio.run(FileWriter(path)(stamps))
    assert (stamps, path.read_text()) == ({"a": NOW}, before)


@pytest.mark.parametrize("place", ["no/such/folder", "."])
def test_a_place_that_is_none(tmp_path: Path, place: str) -> None:
    with pytest.raises(LastUsedError, match=r"the folder of the file has to be one|Is a directory"):
        merge(tmp_path / place, {"a": NOW})


def test_a_lock_that_another_holds_is_waited_for_a_while(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_used_file, "LOCK_PAUSE_SECONDS", 0.001)
    merge(path, {"a": NOW})
    with path.with_name(f".{path.name}.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(LastUsedError, match="temporarily unavailable"):
            merge(path, {"b": NOW})
    merge(path, {"b": NOW})
    assert set(read_last_used(path)) == {"a", "b"}


def test_what_is_too_old_or_too_much_goes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    merge(path, {"old": NOW - 401 * 86_400, "year": NOW - 399 * 86_400, "now": NOW})
    assert set(read_last_used(path)) == {"year", "now"}
    monkeypatch.setattr(last_used_file, "MAX_ENTRIES", 3)
    merge(path, {"a": NOW, "b": NOW - 60.0})
    assert set(read_last_used(path)) == {"a", "b", "now"}


def test_a_link_in_place_of_the_draft_is_not_followed(path: Path) -> None:
    other = path.with_name("gateway.yaml")
    other.write_text("region: us-east-1\n")
    path.with_name(f".{path.name}.new").symlink_to(other)
    with pytest.raises(LastUsedError):
        merge(path, {"a": NOW})
    assert other.read_text() == "region: us-east-1\n"


def test_as_many_tokens_as_there_may_be_fit(path: Path) -> None:
    merge(path, {f"{number:064x}": NOW for number in range(last_used_file.MAX_ENTRIES)})
    assert len(read_last_used(path)) == last_used_file.MAX_ENTRIES
    merge(path, {"f" * 64: NOW + 60.0})
    assert read_last_used(path)["f" * 64] == minute_text(NOW + 60.0)
