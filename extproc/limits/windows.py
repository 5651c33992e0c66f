"""Calendar windows: the day, the ISO week and the month that a time is in, in a time zone.

A window begins at midnight of its zone, also where the clocks change in between, so that a day may have 23 or 25 hours.

Invariant: the windows of a zone follow each other without a gap, and each time is in exactly one of them.

Decision: docs/decisions.md, D239.
"""

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal
from zoneinfo import ZoneInfo

from extproc.value import Value

Per = Literal["day", "week", "month"]


class Window(Value, frozen=True):
    """A window, from `start` to before `end`, in unix seconds."""

    start: int
    end: int


def window(per: Per, zone: tzinfo, now: float) -> Window:
    """Return the window that `now`, in unix seconds, is in."""
    day = datetime.fromtimestamp(now, zone).replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0)
    if per == "day":
        first, after = day, day + timedelta(days=1)
    elif per == "week":
        first = day - timedelta(days=day.weekday())
        after = first + timedelta(days=7)
    else:
        first = day.replace(day=1)
        after = (first + timedelta(days=31)).replace(day=1)
    return Window(_unix(first, zone), _unix(after, zone))


def _unix(midnight: datetime, zone: tzinfo) -> int:
    """Return when a day begins; where midnight comes twice, it is the first."""
    return int(midnight.replace(tzinfo=zone, fold=0).timestamp())


class Calendar:
    """The windows that are current, by period and zone: they are worked out once for all requests in them."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, str], Window] = {}

    def window(self, per: Per, timezone: str, now: float) -> Window:
        """Return the window that `now` is in. `timezone` is the name of one that is known."""
        known = self._windows.get((per, timezone))
        if known is not None and known.start <= now < known.end:
            return known
        zone: tzinfo = UTC if timezone == "UTC" else ZoneInfo(timezone)
        self._windows[per, timezone] = current = window(per, zone, now)
        return current
