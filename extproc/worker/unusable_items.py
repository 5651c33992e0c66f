"""The items of a table that cannot be used: each is looked up, and named in the log, once in a while.

Without this, each request of their callers would make a lookup and a line, also while an older version of an item still
serves: a rolling upgrade that writes a new key may do that to every tenant.

Invariant: at most `MAX_KEYS` are remembered, and at most `MAX_LINES` logged in `QUIET_SECONDS`.

Decision: docs/decisions.md, D227.
"""

import logging
from typing import Final

log = logging.getLogger(__name__)

REMEMBERED: Final = 5.0
"""Seconds in which an item is not looked up again; then it may have been mended."""

QUIET_SECONDS: Final = 30.0
"""Seconds between two lines of the log about one item, or about one trouble with the table."""

MAX_KEYS: Final = 4096
MAX_LINES: Final = 32


class UnusableItems:
    """The keys of such items of one table, whose name is `name`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._since: dict[str, float] = {}
        self._told: dict[str, float] = {}

    def add(self, key: str, error: str, now: float) -> None:
        """Note that the item of `key` was read at `now`, and cannot be used."""
        self._since.pop(key, None)
        self._since[key] = now
        if len(self._since) > MAX_KEYS:
            del self._since[next(iter(self._since))]
        self._told = {told: at for told, at in self._told.items() if 0 <= now - at < QUIET_SECONDS}
        if key not in self._told and len(self._told) < MAX_LINES:
            self._told[key] = now
            log.error("the table %s has an item that cannot be used: %s", self._name, error)

    def has(self, key: str, now: float) -> bool:
        """Return whether the item of `key` could not be used a short while ago."""
        since = self._since.get(key)
        return since is not None and 0 <= now - since < REMEMBERED
