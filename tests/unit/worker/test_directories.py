"""The directory in force: a file's, or a table that was opened before."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from extproc.bedrock.endpoints import Endpoint, EndpointError
from extproc.config import Organisation, Settings, Token, parse
from extproc.tenancy.store import Lookup, Unavailable
from extproc.worker import directories
from extproc.worker.directories import Directories
from extproc.worker.last_used_file import read_last_used

FILE = Settings(organisations={"acme": Organisation()}, tokens=(Token("ci", "a" * 64, ("acme",)),))
HERE = parse(b"directory: {dynamodb: {table: here}}")
THERE = parse(b"directory: {dynamodb: {table: there, region: eu-west-1}}")


@pytest.fixture
def asked() -> list[str]:
    return []


@pytest.fixture
def opened(asked: list[str]) -> Directories:
    def find(region: str) -> Endpoint:
        asked.append(region)
        return Endpoint("http", "127.0.0.1", 1)

    return Directories("us-east-1", find, lambda: None)


async def test_a_file_opens_nothing(opened: Directories, asked: list[str]) -> None:
    await opened.prepare(FILE)
    assert opened.switch(FILE).offered == set()
    assert await opened.look_up(Lookup("a" * 64), 1.0) == Unavailable()
    assert asked == []
    await opened.close()


async def test_a_table_is_opened_once_and_its_cache_stays(opened: Directories, asked: list[str]) -> None:
    await opened.prepare(HERE)
    first = opened.switch(HERE)
    await opened.prepare(HERE)
    assert opened.switch(HERE)._store is first._store
    assert asked == ["us-east-1"]
    assert await opened.look_up(Lookup("a" * 64), 1.0) == Unavailable(), "there are no credentials"
    await opened.close()


async def test_a_table_that_is_left_is_closed_later(opened: Directories, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directories, "LOOKUP_SECONDS", 0.0)
    for settings in (HERE, THERE, FILE):
        await opened.prepare(settings)
        opened.switch(settings)
    assert opened._tables == {}
    assert opened._current is not None, "a request that came before the switch is still looked up"
    await asyncio.gather(*opened._closing)
    assert opened._current is None
    await opened.close()


async def test_a_table_without_an_endpoint_changes_nothing() -> None:
    def find(region: str) -> Endpoint:
        raise EndpointError("no endpoint")

    broken = Directories("us-east-1", find, lambda: None)
    broken.switch(FILE)
    with pytest.raises(EndpointError):
        await broken.prepare(HERE)
    assert broken._tables == {}
    await broken.close()


USED_HERE = parse(b"directory: {dynamodb: {table: here, last_used: true}}")


def used_in(path: Path) -> Settings:
    return msgspec.structs.replace(FILE, last_used_in=str(path))


async def test_without_the_setting_no_use_is_noted(opened: Directories) -> None:
    await opened.prepare(HERE)
    for settings in (HERE, FILE):
        assert opened.switch(settings)._used is None
    assert len(asyncio.all_tasks()) == 2, "this one, and the closing of the table"
    await opened.close()


async def test_the_uses_of_a_files_tokens_are_written_to_the_file_that_is_named(
    opened: Directories, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    noted = opened.switch(used_in(first))._used
    assert noted is not None
    noted["a" * 64] = 60.0 * 30_000_000
    assert opened.switch(used_in(first))._used is noted, "a reload loses nothing"
    again = opened.switch(used_in(second))._used
    assert again is not None
    again["b" * 64] = 60.0 * 30_000_000
    await opened.close()
    assert (read_last_used(first), read_last_used(second)) == (
        {"a" * 64: "2027-01-15T08:00Z"},
        {"b" * 64: "2027-01-15T08:00Z"},
    )


async def test_the_uses_of_a_tables_tokens_are_tried_to_be_written_until_it_closes(
    opened: Directories, caplog: pytest.LogCaptureFixture
) -> None:
    await opened.prepare(USED_HERE)
    noted = opened.switch(USED_HERE)._used
    assert noted is not None
    noted["a" * 64] = 1.0
    await opened.close()
    assert "the last use of tokens cannot be written to the table here: there are no AWS credentials" in caplog.text
