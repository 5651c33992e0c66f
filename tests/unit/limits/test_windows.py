"""Calendar windows, in zones whose clocks change."""

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.limits.windows import Per, window

BERLIN = ZoneInfo("Europe/Berlin")
ODD = [ZoneInfo(name) for name in ("America/Santiago", "America/Havana", "Pacific/Apia")]
"""Without a midnight on a day, with two of them, and without a whole day."""
HOUR = 3600


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


@pytest.mark.parametrize(
    ("now", "per", "start", "end"),
    [
        ("2026-11-30T05:00+00:00", "day", "2026-11-30T00:00+01:00", "2026-12-01T00:00+01:00"),
        ("2026-12-06T22:59+00:00", "week", "2026-11-30T00:00+01:00", "2026-12-07T00:00+01:00"),
        ("2027-01-01T00:00+00:00", "week", "2026-12-28T00:00+01:00", "2027-01-04T00:00+01:00"),
        ("2026-12-31T23:00+00:00", "month", "2027-01-01T00:00+01:00", "2027-02-01T00:00+01:00"),
        ("2028-02-29T12:00+00:00", "month", "2028-02-01T00:00+01:00", "2028-03-01T00:00+01:00"),
    ],
)
def test_windows_begin_at_midnight_of_their_zone(now: str, per: Per, start: str, end: str) -> None:
    found = window(per, BERLIN, at(now))
    assert (found.start, found.end) == (at(start), at(end))


def test_a_day_on_which_the_clocks_change_is_longer_or_shorter() -> None:
    lengths = [window("day", BERLIN, at(f"{day}T12:00+00:00")) for day in ("2026-03-29", "2026-10-25", "2026-06-01")]
    assert [each.end - each.start for each in lengths] == [23 * HOUR, 25 * HOUR, 24 * HOUR]


@given(st.sampled_from(["day", "week", "month"]), st.sampled_from([UTC, BERLIN, *ODD]), st.integers(0, 2**32))
def test_windows_follow_each_other(per: Per, zone: tzinfo, now: int) -> None:
    found = window(per, zone, now)
    assert found.start <= now < found.end
    assert window(per, zone, found.start) == window(per, zone, found.end - 1) == found
    assert window(per, zone, found.end).start == found.end
