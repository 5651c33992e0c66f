"""The store of a table: a cache of its items, in front of lookups that others make.

| age of an item        | result                                                                                  |
|-----------------------|-----------------------------------------------------------------------------------------|
| to `REFRESH` seconds  | the item                                                                                |
| to `FRESH`            | the item; and it is looked up again in the background: keys in use are never waited for |
| to `STALE`            | `NOT_CACHED`; the item, if the table fails                                              |
| older                 | `NOT_CACHED`                                                                            |

The table fails from a failed lookup on until one succeeds, for `FAILING` seconds at most; meanwhile, one lookup every
`PROBE` seconds tries whether it is well again, however many others fail. That there is no item for a key is remembered
for `MISSING` seconds.

Invariant: the items take at most `MAX_BYTES` for each kind, and at most `MAX_MISSING` keys are remembered to be
missing; these never displace an item. Where the clock went back, nothing counts as fresh.

Decision: docs/decisions.md, D197.
"""

from collections.abc import Callable
from typing import Final

from extproc import config
from extproc.config.items import ORGANISATION, TOKEN
from extproc.tenancy.store import NOT_CACHED, NotCached

REFRESH: Final = 45.0
FRESH: Final = 60.0
STALE: Final = 15 * 60.0
MISSING: Final = 5.0
FAILING: Final = 15.0
PROBE: Final = 5.0

MAX_BYTES: Final = 32 * 1024 * 1024
MAX_MISSING: Final = 4096

OVERHEAD: Final = 1024
"""Bytes of an item beside its text, as an object."""
EXPANSION: Final = 3
"""Bytes of an object for each of its text."""

Item = config.Token | config.Organisation


class _Entry:
    """An item of the cache; `due` is when it is looked up again, if it is in use."""

    __slots__ = ("due", "fetched", "item", "size")

    def __init__(self, item: Item, size: int, now: float) -> None:
        self.item = item
        self.size = size
        self.fetched = now
        self.due = now + REFRESH


class TableStore:
    """The tokens and organisations of a table, as far as they were looked up lately."""

    def __init__(self, refresh: Callable[[str], None], max_bytes: int = MAX_BYTES) -> None:
        """`refresh` looks up the item of a key in the background; it returns at once."""
        self._refresh = refresh
        self._tokens = _Items(max_bytes)
        self._organisations = _Items(max_bytes)
        self._missing: dict[str, float] = {}
        self._failed = 0.0
        self._probed = 0.0

    def token(self, sha256: str, now: float) -> config.Token | NotCached | None:
        """Return the token with this SHA-256."""
        item = self.get(TOKEN + sha256, now)
        assert not isinstance(item, config.Organisation)
        return item

    def organisation(self, name: str, now: float) -> config.Organisation | NotCached | None:
        """Return the organisation of this machine name."""
        item = self.get(ORGANISATION + name, now)
        assert not isinstance(item, config.Token)
        return item

    def get(self, key: str, now: float) -> Item | NotCached | None:
        """Return the item of `key`, None if there is none, by the table of this module."""
        entry = self._kind(key).entries.get(key)
        if entry is None:
            since = self._missing.get(key)
            return None if since is not None and 0 <= now - since < MISSING else NOT_CACHED
        age = now - entry.fetched
        if 0 <= age < FRESH:
            if now >= entry.due:
                entry.due = now + PROBE
                self._refresh(key)
            return entry.item
        if 0 <= age < STALE and self.fails(now):
            if not 0 <= now - self._probed < PROBE:
                self._probed = now
                self._refresh(key)
            return entry.item
        return NOT_CACHED

    def stale(self, key: str, now: float) -> Item | NotCached:
        """Return the item that counts where the table does not answer."""
        entry = self._kind(key).entries.get(key)
        return entry.item if entry is not None and 0 <= now - entry.fetched < STALE else NOT_CACHED

    def fails(self, now: float) -> bool:
        """Return whether the last lookup failed, a short while ago."""
        return 0 <= now - self._failed < FAILING

    def failed(self, now: float) -> None:
        """Note that the table did not answer."""
        if not self.fails(now):
            self._probed = now
        self._failed = now

    def put(self, key: str, item: Item | None, size: int, now: float) -> None:
        """Note the result of a lookup: an item whose text has `size` bytes, or that there is none."""
        self._failed = 0.0
        items = self._kind(key)
        items.remove(key)
        self._missing.pop(key, None)
        if item is not None:
            items.add(key, _Entry(item, OVERHEAD + EXPANSION * size, now))
            return
        self._missing[key] = now
        if len(self._missing) > MAX_MISSING:
            del self._missing[next(iter(self._missing))]

    def sizes(self) -> tuple[int, int, int]:
        """Return the number of items, their bytes, and the number of keys that are remembered to be missing."""
        kinds = (self._tokens, self._organisations)
        return sum([len(kind.entries) for kind in kinds]), sum([kind.bytes for kind in kinds]), len(self._missing)

    def _kind(self, key: str) -> "_Items":
        return self._tokens if key.startswith(TOKEN) else self._organisations


class _Items:
    """Entries by key, those first that were looked up longest ago; these go first where there are too many bytes."""

    def __init__(self, max_bytes: int) -> None:
        self.entries: dict[str, _Entry] = {}
        self.bytes = 0
        self._max_bytes = max_bytes

    def add(self, key: str, entry: _Entry) -> None:
        """Add an entry, whose key has none."""
        self.entries[key] = entry
        self.bytes += entry.size
        while self.bytes > self._max_bytes:
            self.remove(next(iter(self.entries)))

    def remove(self, key: str) -> None:
        """Remove the entry of a key, if there is one."""
        entry = self.entries.pop(key, None)
        if entry is not None:
            self.bytes -= entry.size
