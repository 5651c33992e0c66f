"""The roles of organisations, each in a region: assumed when they are first needed, and renewed while they are in use.

AWS's own code assumes them and lists their models, in a process each (`extproc.aws.lookup`), for which threads wait.
There are three kinds, each with threads of its own, so that none waits for what hangs in another:

| kind                                 | threads   | first                                 |
|--------------------------------------|-----------|---------------------------------------|
| credentials                          | `THREADS` | those that requests wait for          |
| credentials, after a failed attempt  | 1         | those that requests wait for          |
| lists of models                      | `LISTERS` | those whose last attempt did not fail |

A role that was not in use for `USED_SECONDS` is not renewed, and assumed again when it is needed.

The first calls wait for the role's list of models as well, for a moment: the built-in list has neither the models that
are newer than it nor the account's own, and is not of this role.

Invariant: one attempt at a time is made for a role and a region, however many requests wait for it; a request waits for
none after one that has failed a moment ago, and for the first list only. At most `MOST` are kept; those that were used
longest ago go first.

Decisions: docs/decisions.md, D217, D243, D270.
"""

import asyncio
import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from extproc.aws.catalogue_keeper import FIRST_LISTING_SECONDS
from extproc.aws.role_keeper import AssumeNow, ListNow, RoleKeeper
from extproc.bedrock.sigv4 import Signer
from extproc.config import Settings
from extproc.config.roles import RoleSettings
from extproc.exchange.gateway import Place
from extproc.exchange.jobs import Assume, Assumed
from extproc.worker.queue_threads import QueueThreads

log = logging.getLogger(__name__)

THREADS = 2
"""Roles that are assumed at a time: each takes a process of 45 MB and most of a second."""

LISTERS = 2
"""Lists of roles' models at a time: each takes such a process, too."""

MOST = 256
"""Most roles that a worker keeps, each with a list of models."""

USED_SECONDS = 3600.0
"""How long after its last call a role is renewed."""

POLL_SECONDS = 5.0

Key = tuple[str, RoleSettings]


class _Kept:
    """A role in a region: its keeper, the signer of its calls, when it was last used, and what is being done for it.

    `urgency` is 0 where no attempt at credentials is made or waits for a thread, 2 where requests wait for one, and
    else 1; `running` is whether it is being made. `listing` is whether a list is made or waits for a thread.
    """

    __slots__ = ("ended", "keeper", "listed", "listing", "running", "signer", "urgency", "used")

    def __init__(self, keeper: RoleKeeper, signer: Signer, now: float) -> None:
        self.keeper = keeper
        self.signer = signer
        self.used = now
        self.urgency = 0
        self.running = False
        self.listing = False
        self.ended = asyncio.Event()
        """Set when an attempt at credentials has ended."""
        self.listed = asyncio.Event()
        """Set when there is a list of models, or requests do not wait for the first one any more."""

    def is_unready(self) -> bool:
        """Return whether requests have to wait: for credentials, or with them for the first list."""
        return self.keeper.is_needed() or not (self.listed.is_set() or self.keeper.identity() is None)

    async def wait(self) -> None:
        """Wait for the credentials, and then for the first list, `FIRST_LISTING_SECONDS` at most."""
        await self.ended.wait()
        if self.keeper.identity() is not None:
            async with asyncio.timeout(FIRST_LISTING_SECONDS):
                await self.listed.wait()

    def go_on(self) -> None:
        """Have no request wait for the first list from now on, if there are credentials."""
        if self.keeper.identity() is not None:
            self.listed.set()


class Roles:
    """The roles of one worker. All public methods are for the event loop's thread."""

    def __init__(
        self,
        authorities: Mapping[str, str],
        refresh_seconds: float,
        assume: AssumeNow,
        list_models: ListNow,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`authorities` are the hosts of Bedrock by region; `assume` and `list_models` block."""
        self._authorities = authorities
        self._refresh_seconds = refresh_seconds
        self._calls = assume, list_models
        self._clock = clock
        self._kept: dict[Key, _Kept] = {}
        self._lock = threading.Lock()
        """For `urgency` and `running` of all roles."""
        self._threads = QueueThreads("roles", THREADS)
        self._retries = QueueThreads("roles again", 1)
        self._lists = QueueThreads("roles' models", LISTERS)

    def place(self, region: str, role: RoleSettings) -> Place | None:
        """Return Bedrock in a region as a role has it; None where the role, or its list, was not looked for yet."""
        kept = self._kept.get((region, role))
        if kept is None or kept.is_unready():
            return None
        kept.used = self._clock()
        return Place(kept.keeper.catalogue, kept.signer, self._authorities[region], kept.keeper.identity)

    async def __call__(self, job: Assume, seconds: float) -> Assumed:
        """Assume a role, or wait for the attempt that is being made."""
        kept = self._keep(job.region, job.role)
        if kept.is_unready():
            if kept.keeper.is_needed():
                self._enqueue(kept, 2)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await kept.wait()
            kept.go_on()
        return Assumed()

    def expect(self, settings: Settings, region: str) -> None:
        """Assume the roles of the file's organisations ahead of their first call; `region` is the gateway's own."""
        for own in itertools.islice(_with_roles(settings), MOST):
            where = own[0] or region
            if where in self._authorities:
                kept = self._keep(where, own[1])
                if kept.keeper.due <= self._clock():
                    self._enqueue(kept, 1)

    async def follow(self) -> None:
        """Renew what is due, until cancelled."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                self.renew()
            except Exception:  # a bug is no reason to stop for good
                log.exception("roles cannot be renewed")

    def renew(self) -> None:
        """Have the credentials and lists renewed that are due, of roles in use."""
        now = self._clock()
        for kept in self._kept.values():
            if now - kept.used < USED_SECONDS:
                if kept.keeper.due <= now:
                    self._enqueue(kept, 1)
                self._enqueue_list(kept)
        for threads in (self._threads, self._retries, self._lists):
            threads.start()

    def _keep(self, region: str, role: RoleSettings) -> _Kept:
        """Return what is kept of a role, which may be nothing yet."""
        kept = self._kept.pop((region, role), None)
        if kept is None:
            keeper = RoleKeeper(region, role, self._refresh_seconds, *self._calls, self._clock)
            kept = _Kept(keeper, Signer(region, self._authorities[region]), self._clock())
            if len(self._kept) >= MOST:
                del self._kept[min(self._kept, key=lambda key: self._kept[key].used)]
        self._kept[region, role] = kept
        return kept

    def _enqueue(self, kept: _Kept, urgency: int) -> None:
        """Have a thread assume a role, unless one does, or will with this urgency or a higher one."""
        with self._lock:
            if kept.running or kept.urgency >= urgency:
                return
            if not kept.urgency:
                kept.ended.clear()
            kept.urgency = urgency
        loop = asyncio.get_running_loop()
        threads = self._retries if kept.keeper.has_failed() else self._threads
        threads.put(urgency, lambda: self._refresh(kept, urgency, loop))

    def _refresh(self, kept: _Kept, urgency: int, loop: asyncio.AbstractEventLoop) -> None:
        """Assume a role, in a thread, unless it was enqueued again, more urgently."""
        with self._lock:
            if kept.running or kept.urgency != urgency:
                return
            kept.running = True
        _run(kept.keeper.refresh, loop, lambda: self._end(kept))

    def _end(self, kept: _Kept) -> None:
        """Wake those who wait for a role, and have its models listed."""
        with self._lock:
            kept.urgency, kept.running = 0, False
        kept.ended.set()
        self._enqueue_list(kept)

    def _enqueue_list(self, kept: _Kept) -> None:
        """Have a thread list a role's models, where they are due and there are credentials for it."""
        keeper = kept.keeper
        if kept.listing or keeper.list_due > self._clock() or keeper.identity() is None:
            return
        kept.listing = True
        loop = asyncio.get_running_loop()

        def end() -> None:
            kept.listing = False
            kept.go_on()

        self._lists.put(0 if keeper.list_failed() else 1, lambda: _run(keeper.refresh_list, loop, end))


def _run(attempt: Callable[[], None], loop: asyncio.AbstractEventLoop, end: Callable[[], None]) -> None:
    """Make an attempt, then have the event loop call `end`."""
    try:
        attempt()
    except Exception:
        log.exception("a role met a bug")
    finally:
        with contextlib.suppress(RuntimeError):  # the loop has ended in the meantime
            loop.call_soon_threadsafe(end)


def _with_roles(settings: Settings) -> Iterable[tuple[str | None, RoleSettings]]:
    """Return the regions and roles of the organisations that may call, each once."""
    organisations = [own for own in settings.organisations.values() if own.enabled]
    return dict.fromkeys((own.region, own.role) for own in organisations if own.role is not None)
