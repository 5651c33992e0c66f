"""The cache of a table's items: what it returns by age, and its bounds. Time is a number here."""

import gc
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.config import Organisation, Token
from extproc.config.items import token_item
from extproc.tenancy.store import NOT_CACHED
from extproc.tenancy.table_store import FAILING, FRESH, MAX_MISSING, MISSING, PROBE, REFRESH, STALE, TableStore

NOW = 1_800_000_000.0
SHA = "a" * 64
KEY = f"token#{SHA}"
TOKEN = Token(name="ci", sha256=SHA, organisations=("acme",))


class Setup:
    """A store with one token, and the keys that it wants to be looked up."""

    def __init__(self) -> None:
        self.refreshed: list[str] = []
        self.store = TableStore(self.refreshed.append)
        self.store.put(KEY, TOKEN, 100, NOW)

    def at(self, seconds: float) -> object:
        return self.store.token(SHA, NOW + seconds)


@pytest.fixture
def setup() -> Setup:
    return Setup()


def test_nothing_is_known_at_first(setup: Setup) -> None:
    assert setup.store.token("b" * 64, NOW) is NOT_CACHED
    assert setup.store.organisation("acme", NOW) is NOT_CACHED


@pytest.mark.parametrize(
    ("age", "item", "refreshes"),
    [
        (0, TOKEN, 0),
        (REFRESH - 0.001, TOKEN, 0),
        (REFRESH, TOKEN, 1),
        (FRESH - 0.001, TOKEN, 1),
        (FRESH, NOT_CACHED, 0),
        (STALE + 1, NOT_CACHED, 0),
        (-1, NOT_CACHED, 0),
    ],
)
def test_an_item_by_its_age(setup: Setup, age: float, item: object, refreshes: int) -> None:
    assert setup.at(age) == item
    assert setup.refreshed == [KEY] * refreshes


def test_an_item_in_use_is_looked_up_once_in_a_while(setup: Setup) -> None:
    for tenth in range(150):
        setup.at(REFRESH + tenth / 10)
    assert len(setup.refreshed) == 15 / PROBE


@pytest.mark.parametrize(("age", "item"), [(FRESH, TOKEN), (STALE - 1, TOKEN), (STALE, NOT_CACHED)])
def test_while_the_table_fails_an_item_counts_until_the_stale_limit(setup: Setup, age: float, item: object) -> None:
    setup.store.failed(NOW + age - 1)
    assert setup.at(age) == item
    assert setup.store.stale(KEY, NOW + age) == item
    assert setup.refreshed == []


def test_a_failing_table_is_probed_in_the_background(setup: Setup) -> None:
    setup.store.failed(NOW + 100)
    answers = [setup.at(100 + PROBE), setup.at(100 + PROBE + 1), setup.at(100 + 2 * PROBE)]
    assert answers == [TOKEN] * 3
    assert setup.refreshed == [KEY, KEY]


def test_lookups_that_fail_again_and_again_keep_no_probe_away(setup: Setup) -> None:
    """Such as those of one item that cannot be read, while other callers come less often."""
    for second in range(100, 130, 2):
        setup.store.failed(NOW + second)
        assert setup.at(second + 1) == TOKEN
    assert len(setup.refreshed) == 30 // (PROBE + 1)


def test_a_failure_is_forgotten_after_a_while_or_by_a_success(setup: Setup) -> None:
    setup.store.failed(NOW + 100)
    assert setup.at(100 + FAILING) is NOT_CACHED
    setup.store.failed(NOW + 100)
    setup.store.put("org#acme", Organisation(), 10, NOW + 101)
    assert setup.at(102) is NOT_CACHED


def test_a_revoked_token_is_missing_at_once(setup: Setup) -> None:
    setup.store.put(KEY, None, 0, NOW + 50)
    assert setup.at(50) is None
    setup.store.failed(NOW + 100)
    assert setup.at(100) is NOT_CACHED, "it does not come back in an outage"
    assert setup.store.stale(KEY, NOW + 100) is NOT_CACHED


def test_a_missing_key_is_asked_for_again_soon(setup: Setup) -> None:
    setup.store.put("token#b", None, 0, NOW)
    assert setup.store.token("b", NOW + MISSING - 0.1) is None
    assert setup.store.token("b", NOW + MISSING) is NOT_CACHED
    setup.store.put("token#b", TOKEN, 10, NOW + 1)
    assert setup.store.token("b", NOW + 1) == TOKEN


def test_missing_keys_are_bounded_and_displace_no_item(setup: Setup) -> None:
    for number in range(MAX_MISSING + 100):
        setup.store.put(f"token#{number}", None, 0, NOW)
    assert setup.store.sizes()[2] == MAX_MISSING
    assert setup.store.token("0", NOW) is NOT_CACHED
    assert setup.at(0) == TOKEN


def test_items_are_bounded_in_bytes_and_the_oldest_goes_first() -> None:
    store = TableStore(print, max_bytes=10 * (1024 + 3 * 100))
    for number in range(11):
        store.put(f"token#{number}", TOKEN, 100, NOW + number)
    assert store.token("0", NOW + 11) is NOT_CACHED
    assert store.token("1", NOW + 11) == TOKEN
    store.put("token#1", TOKEN, 100, NOW + 11)
    store.put("token#11", TOKEN, 100, NOW + 11)
    assert store.token("1", NOW + 11) == TOKEN, "it was looked up again"
    assert store.token("2", NOW + 11) is NOT_CACHED
    store.put("org#acme", Organisation(), 100, NOW + 11)
    assert store.sizes()[0] == 11, "organisations have room of their own"


def test_an_item_is_counted_with_more_bytes_than_it_has() -> None:
    store = TableStore(print)
    tracemalloc.start()
    try:
        for number in range(2000):
            token = Token(
                name=f"token {number}", sha256=f"{number:064}", organisations=(f"org-{number}", f"b-{number}")
            )
            item = token_item(token)
            store.put(item["pk"], token, len(item["json"]), NOW)
        counted, before = store.sizes()[1], tracemalloc.get_traced_memory()[0]
        del store, token, item
        gc.collect()
        assert 0 < before - tracemalloc.get_traced_memory()[0] < counted
    finally:
        tracemalloc.stop()


KEYS = st.sampled_from(["token#a", "token#b", "org#a", "org#b"])
STEPS = st.tuples(KEYS, st.sampled_from(["get", "put", "none", "fail"]), st.floats(0, 400))


@given(st.lists(STEPS, max_size=60))
def test_an_item_is_never_older_than_it_may_be(steps: list[tuple[str, str, float]]) -> None:
    """A model beside it: the last result of each key, when it came, and whether the table failed since."""
    store, now, last, failed = TableStore(lambda key: None), NOW, {}, -1e9
    for key, step, seconds in steps:
        now += seconds
        if step == "put":
            last[key], failed = (now, True), -1e9
            store.put(key, TOKEN if key.startswith("token") else Organisation(), 10, now)
        elif step == "none":
            last[key], failed = (now, False), -1e9
            store.put(key, None, 0, now)
        elif step == "fail":
            failed = now
            store.failed(now)
        result, (at, exists) = store.get(key, now), last.get(key, (-1e9, False))
        if result is None:
            assert not exists
            assert now - at < MISSING
        elif result is not NOT_CACHED:
            assert exists
            assert now - at < (STALE if now - failed < FAILING else FRESH)
        else:
            assert now - at >= (FRESH if exists else MISSING)
