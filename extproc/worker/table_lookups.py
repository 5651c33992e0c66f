"""The lookups of a table's items: one for each key at a time, and bounded in number.

A lookup is of a key that a request waits for, or that is refreshed in the background. Those of known keys (an item of
the cache, or of a token that was just found) and those of unknown ones have slots of their own, so that a flood of
invented tokens holds up no caller that there is. Of unknown keys, at most `MAX_UNKNOWN` lookups run and wait, and at
most `MAX_WAITING` requests for them; and those that find nothing are paid for out of an allowance of
`MISSES_PER_SECOND`, since each costs the table and this worker. An item that cannot be used is not looked up again at
once (`unusable_items`).

Invariant: a lookup ends within its seconds. It is `LookedUp` where the table answered, or where what is known of the
token and its organisation is not too old; else it is `Unavailable`, and never "there is no such token". A caller that
leaves ends no lookup that others wait for.

Decisions: docs/decisions.md, D197, D198, D227.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from extproc.config import ConfigError, Organisation, Token
from extproc.config.items import ORGANISATION, TOKEN, read_organisation, read_token
from extproc.config.regions import check_region
from extproc.tenancy.store import LookedUp, Lookup, LookupResult, NotCached, Unavailable, needed
from extproc.tenancy.table_store import Item, TableStore
from extproc.worker.unusable_items import QUIET_SECONDS, UnusableItems

log = logging.getLogger(__name__)

SLOTS = 32
"""Lookups of unknown keys that run at a time, and as many of known ones."""

MAX_UNKNOWN = 256
"""Lookups of unknown keys that run and wait; beyond it callers get a 503."""

MAX_WAITING = 1024
"""Requests that wait for those, several of them maybe for one; each holds its headers."""

MAX_REFRESHES = 1024
"""Lookups at a time up to which keys are refreshed in the background; beyond it they wait until they are needed."""

MISSES_PER_SECOND = 50.0
MISSES_AT_ONCE = 200.0
"""Lookups of unknown keys that may find nothing."""


ANSWER_SECONDS = 0.3
"""Longest silence of the table once there is a connection; then a lookup is tried once more."""


class TableLookupError(Exception):
    """A lookup that failed; the message is for the log."""


class _BusyError(TableLookupError):
    """There are too many lookups of unknown keys."""


class Allowance:
    """A number of misses that grows with time: the token bucket of `MISSES_PER_SECOND` and `MISSES_AT_ONCE`."""

    def __init__(self) -> None:
        self._left = MISSES_AT_ONCE
        self._since = 0.0

    def is_spent(self, now: float) -> bool:
        """Return whether no more may be looked up at `now`, in seconds of any clock."""
        self._left = min(MISSES_AT_ONCE, self._left + max(0.0, now - self._since) * MISSES_PER_SECOND)
        self._since = now
        return self._left < 1

    def spend(self) -> None:
        """Pay for a miss. Lookups that began together may spend more than there is."""
        self._left -= 1


class TableLookups:
    """The lookups of one table; `fetch` returns the text of a key's item, None without one.

    It raises `TableLookupError`, or `ConfigError` for an item that has no text.

    Every method is for the event loop's thread.
    """

    def __init__(
        self,
        fetch: Callable[[str], Awaitable[str | None]],
        clock: Callable[[], float] = time.time,
        name: str = "",
        regions: frozenset[str] = frozenset(),
    ) -> None:
        """`regions` are those that organisations may name."""
        self._regions = regions
        self.store = TableStore(self.refresh)
        self._fetch = fetch
        self._clock = clock
        self._name = name
        self._running: dict[str, asyncio.Task[Item | None]] = {}
        self._unknown = self._waiting = 0
        self._slots = {known: asyncio.Semaphore(SLOTS) for known in (False, True)}
        self._allowance = Allowance()
        self._unusable = UnusableItems(name)
        self._told = False
        self._told_at = self._busy_at = 0.0

    async def __call__(self, job: Lookup, seconds: float) -> LookupResult:
        """Look up a token and its organisation within `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                return await self._look_up(job)
        except _BusyError:
            return Unavailable(busy=True)
        except TimeoutError:
            self._tell(f"a lookup took longer than {seconds:g} s")
        except TableLookupError:
            pass  # `_run` has logged it
        return self._stale(job)

    def refresh(self, key: str) -> None:
        """Look up the item of a known key in the background."""
        if key not in self._running and len(self._running) < MAX_REFRESHES:
            self._start(key, known=True)

    async def close(self) -> None:
        """End all lookups."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _look_up(self, job: Lookup) -> LookedUp:
        key = TOKEN + job.sha256 if job.sha256 else ORGANISATION + job.organisation
        known = not isinstance(self.store.stale(key, self._clock()), NotCached)
        item = await self._item(key, known)
        if isinstance(item, Organisation) or not job.sha256:
            return _alone(job.organisation, item)
        return await self._with_organisation(item, job)

    async def _with_organisation(self, token: Item | None, job: Lookup) -> LookedUp:
        """Return the result for a token: with the organisation that the request needs."""
        if token is None:
            return LookedUp()
        assert not isinstance(token, Organisation)
        name = needed(token, job.organisation)
        organisation = await self._item(ORGANISATION + name, known=True) if name else None
        assert not isinstance(organisation, Token)
        return LookedUp(token, name, organisation)

    async def _item(self, key: str, known: bool) -> Item | None:
        """Return the item of a key, from the cache or the table. Raises `TableLookupError`."""
        now = self._clock()
        item = self.store.get(key, now)
        if not isinstance(item, NotCached):
            return item
        if self._unusable.has(key, now):
            raise TableLookupError("the item could not be used a moment ago")
        task = self._running.get(key)
        if not known and not self._admits(task is None, now):
            self._tell_busy(now)
            raise _BusyError
        if task is None:
            task = self._start(key, known)
        self._waiting += not known
        try:
            return await asyncio.shield(task)
        finally:
            self._waiting -= not known

    def _admits(self, is_new: bool, now: float) -> bool:
        """Return whether one more request may wait for an unknown key, which `is_new` if no lookup of it runs."""
        if self._waiting >= MAX_WAITING:
            return False
        return not is_new or (self._unknown < MAX_UNKNOWN and not self._allowance.is_spent(now))

    def _start(self, key: str, known: bool) -> asyncio.Task[Item | None]:
        task = asyncio.get_running_loop().create_task(self._run(key, known))
        self._running[key] = task
        self._unknown += not known
        task.add_done_callback(lambda done: self._ended(key, known, done))
        return task

    def _ended(self, key: str, known: bool, task: asyncio.Task[Item | None]) -> None:
        self._unknown -= not known
        del self._running[key]
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, TableLookupError):
            log.error("a lookup met a bug", exc_info=error)

    async def _run(self, key: str, known: bool) -> Item | None:
        """Look up the item of a key in the table, and note the result. Raises `TableLookupError`."""
        async with self._slots[known]:
            try:
                text = await self._fetch(key)
                item = None if text is None else self._read(key, text)
            except ConfigError as error:
                self._unusable.add(key, str(error), self._clock())
                raise TableLookupError(str(error)) from error
            except TableLookupError as error:
                self._tell(str(error))
                self.store.failed(self._clock())
                raise
        self._tell("")
        self.store.put(key, item, len(text or ""), self._clock())
        if item is None and not known:
            self._allowance.spend()
        return item

    def _read(self, key: str, text: str) -> Item:
        """Return the item in a text. Raises `ConfigError`."""
        if key.startswith(TOKEN):
            return read_token(key, text)
        organisation = read_organisation(key, text)
        check_region(key, organisation.region, self._regions)
        return organisation

    def _stale(self, job: Lookup) -> LookupResult:
        """Return what is known of a caller while the table does not answer."""
        now = self._clock()
        if not job.sha256:
            known = self.store.stale(ORGANISATION + job.organisation, now)
            return Unavailable() if isinstance(known, NotCached) else _alone(job.organisation, known)
        token = self.store.stale(TOKEN + job.sha256, now)
        if isinstance(token, NotCached | Organisation):
            return Unavailable()
        name = needed(token, job.organisation)
        organisation = self.store.stale(ORGANISATION + name, now) if name else None
        return Unavailable() if isinstance(organisation, NotCached | Token) else LookedUp(token, name, organisation)

    def _tell_busy(self, now: float) -> None:
        if not 0 <= now - self._busy_at < QUIET_SECONDS:
            self._busy_at = now
            log.warning("the table %s: callers send more unknown keys than are looked up: some get a 503", self._name)

    def _tell(self, trouble: str) -> None:
        """Log what is wrong, once in `QUIET_SECONDS`; "" when it is over."""
        if not trouble:
            if self._told:
                log.info("the table %s answers again", self._name)
            self._told = False
        elif not 0 <= self._clock() - self._told_at < QUIET_SECONDS:
            log.warning("the table %s: %s", self._name, trouble)
            self._told, self._told_at = True, self._clock()


def _alone(name: str, item: Item | None) -> LookedUp:
    """Return the result for a signed token, which is in no table: its organisation."""
    assert not isinstance(item, Token)
    return LookedUp(None, name, item)
