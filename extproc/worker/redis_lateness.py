"""Tells the log that a Redis replies too late to be asked, and that it is in time again.

Replies may be late now and then, so it is in time again after some seconds without a late one.

Decision: docs/decisions.md, D312.
"""

import logging
from typing import Final

from extproc.limits.counters import Clock

log = logging.getLogger(__name__)

WELL_NANOSECONDS: Final = 10_000_000_000
"""Nanoseconds without a late reply after which the store is in time again."""


class Lateness:
    """The replies of the store at `url`, which are to come within `timeout_ms`."""

    def __init__(self, url: str, timeout_ms: int, clock: Clock) -> None:
        self._url = url
        self._timeout_ms = timeout_ms
        self._clock = clock
        self._late = False
        """Whether the log has been told so."""
        self._latest = 0
        """When a reply was late."""
        self._timely = False
        """Whether a reply has come in time since."""

    def late(self) -> None:
        """Note that a request was decided without the store, which had not replied."""
        self._latest, self._timely = self._clock(), False
        if not self._late:
            log.warning(
                "the store %s does not reply within %d ms: requests are decided without it",
                self._url,
                self._timeout_ms,
            )
        self._late = True

    def timely(self) -> None:
        """Note that a request was decided by the store."""
        self._timely = True

    def check(self) -> None:
        """Tell that the store is in time again, if so; to be called now and then."""
        if self._late and self._timely and self._clock() - self._latest >= WELL_NANOSECONDS:
            self._late = False
            log.info("the store %s replies within %d ms again", self._url, self._timeout_ms)
