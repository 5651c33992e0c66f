"""The time of the event loop that the larger bodies of each organisation have taken of late.

A body that is translated in the loop has everybody wait for it. So an organisation may take `SHARE` of the time in that
way, and `MOST` seconds at once; beyond, its larger bodies are for the process beside the worker, whose turns are the
organisations'.

Invariant: no more organisations are known than have used more than their share.

Decision: docs/decisions.md, D299.
"""

from collections.abc import Callable
from typing import Final

SHARE: Final = 0.05
"""Part of the time that an organisation may take in the long run."""

MOST: Final = 0.05
"""Seconds that it may have taken, beyond its share, before its next body goes elsewhere."""

MOST_KNOWN: Final = 1_000
"""Organisations after which those are forgotten that have used no more than their share since."""


class LoopTime:
    """Seconds that were taken, by organisation: a leaky bucket for each. `clock` returns steady seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._taken: dict[str, tuple[float, float]] = {}
        """Seconds beyond the share, and when they were so many."""
        self._most_known = MOST_KNOWN

    def is_used_up(self, organisation: str) -> bool:
        """Return whether the next body of the organisation is to go elsewhere."""
        return self._left(organisation, self.clock()) > MOST

    def add(self, organisation: str, started: float) -> None:
        """Count the time since `started`, by `clock`."""
        now = self.clock()
        self._taken[organisation] = self._left(organisation, now) + now - started, now
        if len(self._taken) > self._most_known:
            self._forget(now)

    def _left(self, organisation: str, now: float) -> float:
        taken, at = self._taken.get(organisation, (0.0, now))
        return max(taken - SHARE * (now - at), 0.0)

    def _forget(self, now: float) -> None:
        """Forget those that have used no more than their share; the next time, once there are twice as many as stay."""
        self._taken = {name: taken for name, taken in self._taken.items() if self._left(name, now)}
        self._most_known = max(2 * len(self._taken), MOST_KNOWN)
