"""Lookups of a table's items: one for each key at a time, bounded, and never "no such token" for a failure."""

import asyncio
from collections.abc import Callable

import pytest

from extproc.config import Organisation, Token
from extproc.config.items import organisation_item, token_item
from extproc.tenancy.store import NOT_CACHED, LookedUp, Lookup, Unavailable
from extproc.tenancy.table_store import FAILING, FRESH, STALE
from extproc.worker import table_lookups
from extproc.worker.table_lookups import (
    MAX_REFRESHES,
    MAX_UNKNOWN,
    MAX_WAITING,
    MISSES_AT_ONCE,
    SLOTS,
    TableLookupError,
    TableLookups,
)
from extproc.worker.unusable_items import REMEMBERED

NOW = 1_800_000_000.0
SHA = "a" * 64
TOKEN = Token(name="ci", sha256=SHA, organisations=("acme",))
BOTH = Token(name="both", sha256="b" * 64, organisations=("acme", "beta"))
ACME, BETA = Organisation(), Organisation(pdf="text")
ITEMS = {
    item["pk"]: item["json"]
    for item in (token_item(TOKEN), token_item(BOTH), organisation_item("acme", ACME), organisation_item("beta", BETA))
}
FOUND = LookedUp(TOKEN, "acme", ACME)


class Table:
    """A table that answers when it is told to; `now` is the time."""

    def __init__(self) -> None:
        self.now = NOW
        self.items = dict(ITEMS)
        self.calls: list[str] = []
        self.fails = False
        self.open = asyncio.Event()
        self.open.set()
        self.lookups = TableLookups(self.fetch, lambda: self.now, "tenants")

    async def fetch(self, key: str) -> str | None:
        self.calls.append(key)
        await self.open.wait()
        if self.fails:
            raise TableLookupError("injected")
        return self.items.get(key)

    async def look_up(self, sha256: str = SHA, organisation: str = "") -> object:
        return await self.lookups(Lookup(sha256, organisation), 60.0)

    async def settle(self) -> None:
        """Let everything run that can."""
        for _ in range(20):
            await asyncio.sleep(0)


@pytest.fixture
async def table() -> Table:
    return Table()


async def test_a_token_and_its_organisation(table: Table) -> None:
    assert await table.look_up() == FOUND
    assert table.calls == [f"token#{SHA}", "org#acme"]
    assert table.lookups.store.token(SHA, NOW) == TOKEN
    assert await table.look_up() == FOUND
    assert len(table.calls) == 2


@pytest.mark.parametrize(
    ("header", "result"),
    [
        ("beta", LookedUp(BOTH, "beta", BETA)),
        ("", LookedUp(BOTH, "", None)),
        ("strangers", LookedUp(BOTH, "", None)),
    ],
)
async def test_the_header_chooses_the_organisation(table: Table, header: str, result: LookedUp) -> None:
    assert await table.look_up(BOTH.sha256, header) == result
    assert "org#strangers" not in table.calls


async def test_a_token_that_there_is_not_and_an_organisation_that_there_is_not(table: Table) -> None:
    assert await table.look_up("c" * 64) == LookedUp()
    del table.items["org#acme"]
    assert await table.look_up() == LookedUp(TOKEN, "acme", None)


async def test_a_signed_token_needs_its_organisation_alone(table: Table) -> None:
    assert await table.look_up("", "acme") == LookedUp(None, "acme", ACME)
    assert await table.look_up("", "acme") == LookedUp(None, "acme", ACME)
    assert table.calls == ["org#acme"]
    assert await table.look_up("", "nowhere") == LookedUp(None, "nowhere", None)
    table.fails = True
    table.now += FRESH
    assert await table.look_up("", "acme") == LookedUp(None, "acme", ACME)
    assert await table.look_up("", "beta") == Unavailable()
    table.now += STALE
    assert await table.look_up("", "acme") == Unavailable()


async def test_organisations_that_signed_tokens_invent_have_an_allowance(table: Table) -> None:
    results = [await table.look_up("", f"invented-{n}") for n in range(int(MISSES_AT_ONCE) + 10)]
    assert results.count(Unavailable(busy=True)) == 10


async def test_many_callers_with_one_key_make_one_lookup(table: Table) -> None:
    table.open.clear()
    tasks = [asyncio.ensure_future(table.look_up()) for _ in range(100)]
    await table.settle()
    tasks[0].cancel()  # the one that began it leaves
    await table.settle()
    table.open.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == [FOUND] * 99
    assert table.calls == [f"token#{SHA}", "org#acme"]


@pytest.mark.parametrize("age", [FRESH, STALE - 1])
async def test_known_callers_go_on_in_an_outage(table: Table, age: float) -> None:
    await table.look_up()
    table.now, table.fails = NOW + age, True
    assert table.lookups.store.token(SHA, table.now) is NOT_CACHED
    assert await table.look_up() == FOUND
    assert table.lookups.store.token(SHA, table.now) == TOKEN, "the next one does not wait"


async def test_unknown_callers_get_no_401_in_an_outage_and_known_ones_end_at_the_stale_limit(table: Table) -> None:
    await table.look_up()
    table.fails = True
    assert await table.look_up("c" * 64) == Unavailable()
    table.now = NOW + STALE
    assert await table.look_up() == Unavailable()
    table.fails = False
    table.now += FAILING
    assert await table.look_up() == FOUND


async def test_an_organisation_that_cannot_be_looked_up_is_unavailable_too(table: Table) -> None:
    await table.look_up()
    table.now, table.fails = NOW + 1, True
    assert await table.look_up(BOTH.sha256, "acme") == Unavailable()


async def test_an_item_that_cannot_be_used_is_no_missing_token(table: Table, caplog: pytest.LogCaptureFixture) -> None:
    table.items[f"token#{SHA}"] = '{"name": 5}'
    assert await table.look_up() == Unavailable()
    assert f"the table tenants has an item that cannot be used: token#{SHA}" in caplog.text


@pytest.mark.parametrize("key", [f"token#{SHA}", "org#acme"])
async def test_an_item_that_cannot_be_used_is_looked_up_once_in_a_while(
    table: Table, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    good, table.items[key] = table.items[key], '{"of a newer version": 5}'
    for _ in range(100):
        assert await table.look_up() == Unavailable()
    assert table.calls.count(key) == 1
    table.now = NOW + REMEMBERED
    assert await table.look_up() == Unavailable()
    assert (table.calls.count(key), caplog.text.count(key)) == (2, 1)
    table.items[key], table.now = good, NOW + 2 * REMEMBERED
    assert await table.look_up() == FOUND, "it has been mended"


async def test_callers_go_on_while_a_new_version_of_an_item_cannot_be_used(table: Table) -> None:
    await table.look_up()
    table.items["org#acme"] = "{}}"
    table.now, calls = NOW + FRESH, len(table.calls)
    for _ in range(100):
        assert await table.look_up() == FOUND
    assert len(table.calls) == calls + 2
    table.now = NOW + STALE
    assert await table.look_up() == Unavailable()


async def test_a_revoked_token_is_rejected_once_it_is_looked_up_again(table: Table) -> None:
    await table.look_up()
    del table.items[f"token#{SHA}"]
    table.now = NOW + FRESH - 10
    assert table.lookups.store.token(SHA, table.now) == TOKEN
    await table.settle()  # the refresh in the background
    assert table.lookups.store.token(SHA, table.now) is None


async def test_a_lookup_that_takes_too_long_is_a_failure(table: Table) -> None:
    table.open.clear()
    assert await table.lookups(Lookup(SHA), 0.0) == Unavailable()
    assert not table.lookups.store.fails(NOW), "another lookup may still succeed"
    table.open.set()
    await table.settle()


async def test_a_flood_of_unknown_keys_is_bounded_in_lookups_and_holds_up_no_known_one(table: Table) -> None:
    await table.look_up()
    table.open.clear()
    calls = len(table.calls)
    tasks = [asyncio.ensure_future(table.look_up(f"{number:064}")) for number in range(MAX_UNKNOWN + 50)]
    await table.settle()
    assert len(table.calls) == calls + SLOTS
    assert [task.result() for task in tasks if task.done()] == [Unavailable(busy=True)] * 50
    table.now = NOW + FRESH
    known = asyncio.ensure_future(table.look_up())
    await table.settle()
    assert table.calls[-1] == f"token#{SHA}"
    table.open.set()
    assert await known == FOUND
    await asyncio.gather(*tasks)


async def test_few_requests_wait_for_one_unknown_key(table: Table) -> None:
    table.open.clear()
    tasks = [asyncio.ensure_future(table.look_up()) for _ in range(MAX_WAITING + 5)]
    await table.settle()
    assert [task.result() for task in tasks if task.done()] == [Unavailable(busy=True)] * 5
    for task in tasks[:3]:
        task.cancel()
    await table.settle()
    more = [asyncio.ensure_future(table.look_up()) for _ in range(4)]
    await table.settle()
    assert [task.done() for task in more] == [False, False, False, True]
    table.open.set()
    assert await asyncio.gather(*tasks[3:MAX_WAITING], *more[:3]) == [FOUND] * MAX_WAITING
    assert len(table.calls) == 2


async def test_keys_that_lead_to_nothing_have_an_allowance(table: Table) -> None:
    for number in range(1000):
        await table.look_up(f"{number:064}")
    assert len(table.calls) == MISSES_AT_ONCE
    assert await table.look_up() == Unavailable(busy=True)
    table.now += 1.5 / table_lookups.MISSES_PER_SECOND
    assert await table.look_up() == FOUND
    assert await table.look_up(BOTH.sha256, "beta") == LookedUp(BOTH, "beta", BETA), "who is found pays nothing"


async def test_refreshes_are_bounded(table: Table) -> None:
    table.open.clear()
    for number in range(MAX_REFRESHES + 10):
        table.lookups.refresh(f"token#{number}")
        table.lookups.refresh(f"token#{number}")
    await table.settle()
    assert len(table.calls) == SLOTS
    await table.lookups.close()
    assert len(table.calls) == SLOTS


async def test_trouble_is_logged_once(table: Table, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    table.fails = True
    for number in range(5):
        await table.look_up(f"{number:064}")
    table.fails = False
    await table.look_up()
    messages = [record.message for record in caplog.records if record.name == table_lookups.__name__]
    assert messages == ["the table tenants: injected", "the table tenants answers again"]


async def test_a_bug_is_raised_and_logged(table: Table, caplog: pytest.LogCaptureFixture) -> None:
    broken: Callable[[str], object] = lambda key: 1 / 0  # noqa: E731
    table.lookups._fetch = broken  # type: ignore[assignment]
    with pytest.raises(ZeroDivisionError):
        await table.look_up()
    await table.settle()
    assert "a lookup met a bug" in caplog.text


async def test_an_organisation_in_an_unknown_region_is_unavailable_and_named(
    table: Table, caplog: pytest.LogCaptureFixture
) -> None:
    """Envoy has no way to that region, so the item cannot be used: its callers get a 503, and none another region."""
    table.lookups = TableLookups(table.fetch, lambda: table.now, "tenants", frozenset({"us-east-1", "eu-west-1"}))
    for region, found in (("eu-west-1", True), ("us-east-1", True), ("eu-west-2", False)):
        table.now += FRESH
        table.items["org#acme"] = organisation_item("acme", Organisation(region=region))["json"]
        assert isinstance(await table.look_up(), LookedUp) is found
        table.now += STALE
    assert "org#acme.region: `eu-west-2` is not in `regions`, did you mean `eu-west-1`?" in caplog.text
