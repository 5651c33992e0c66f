"""Items that cannot be used are remembered for a while, and few lines of the log name them."""

import pytest

from extproc.worker.unusable_items import MAX_KEYS, MAX_LINES, QUIET_SECONDS, REMEMBERED, UnusableItems

NOW = 1_800_000_000.0


def test_an_item_is_remembered_for_a_while_and_not_where_the_clock_went_back() -> None:
    items = UnusableItems("tenants")
    items.add("org#acme", "a fault", NOW)
    assert [items.has("org#acme", NOW + after) for after in (0, REMEMBERED - 1, REMEMBERED, -1)] == [
        True,
        True,
        False,
        False,
    ]
    assert not items.has("org#beta", NOW)


def test_few_items_are_remembered_and_fewer_are_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    items = UnusableItems("tenants")
    for number in range(MAX_KEYS + 1):
        items.add(f"org#{number}", f"org#{number}: a fault", NOW)
    assert [items.has(f"org#{number}", NOW) for number in (0, 1, MAX_KEYS)] == [False, True, True]
    assert len(caplog.records) == MAX_LINES
    items.add("org#0", "org#0: a fault", NOW + QUIET_SECONDS)
    assert caplog.records[-1].message == "the table tenants has an item that cannot be used: org#0: a fault"
    assert len(caplog.records) == MAX_LINES + 1
