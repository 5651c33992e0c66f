"""Calendar windows: the day, the ISO week and the month that a time is in, in a time zone.

A window begins at midnight of its zone, also where the clocks change in between, so that a day may have 23 or 25 hours.

Invariant: the windows of a zone follow each other without a gap, and each time is in exactly one of them.

Decision: docs/decisions.md, D239.
"""

from datetime import datetime, timedelta, tzinfo
from typing import Literal

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
