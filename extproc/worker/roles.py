"""The roles of organisations, each in a region: assumed when they are first needed, and renewed while they are in use.

AWS's own code assumes them, in a process each (`extproc.aws.lookup`), for which threads wait: `THREADS` at a time,
those that requests wait for first. A role that was not in use for `USED_SECONDS` is not renewed, and assumed again when
it is needed.

Invariant: one attempt at a time is made for a role and a region, however many requests wait for it; a request waits for
none after one that has failed a moment ago. At most `MOST` are kept; those that were used longest ago go first.

Decision: docs/decisions.md, D217.
"""

import asyncio
import contextlib
import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from extproc.aws.role_keeper import Assume as AssumeNow
from extproc.aws.role_keeper import RoleKeeper
from extproc.bedrock.sigv4 import Signer
from extproc.config import Settings
from extproc.config.roles import RoleSettings
from extproc.exchange.gateway import Place
from extproc.exchange.jobs import Assume, Assumed

log = logging.getLogger(__name__)

THREADS = 2
"""Roles that are assumed at a time: each takes a process of 45 MB and most of a second."""

MOST = 256
"""Most roles that a worker keeps, each with a list of models."""

USED_SECONDS = 3600.0
"""How long after its last call a role is renewed."""

POLL_SECONDS = 5.0

Key = tuple[str, RoleSettings]


class _Kept:
    """A role in a region: its keeper, the signer of its calls, when it was last used, and its place in the queue.

    `queued` is 0 outside of the queue, 2 where requests wait for it, and else 1.
    """

    __slots__ = ("alone", "ended", "keeper", "queued", "signer", "used")

    def __init__(self, keeper: RoleKeeper, signer: Signer, now: float) -> None:
        self.keeper = keeper
        self.signer = signer
        self.used = now
        self.queued = 0
        self.alone = threading.Lock()
        self.ended = asyncio.Event()
        """Set when there are credentials, or an attempt has failed."""


class Roles:
    """The roles of one worker. All methods are for the event loop's thread."""

    def __init__(
        self,
        authorities: Mapping[str, str],
        refresh_seconds: float,
        assume: AssumeNow,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`authorities` are the hosts of Bedrock by region; `assume` blocks."""
        self._authorities = authorities
        self._refresh_seconds = refresh_seconds
        self._assume = assume
        self._clock = clock
        self._kept: dict[Key, _Kept] = {}
        self._queue: queue.PriorityQueue[tuple[int, int, Callable[[], None]]] = queue.PriorityQueue()
        self._order = itertools.count()
        self._threads = 0

    def place(self, region: str, role: RoleSettings) -> Place | None:
        """Return Bedrock in a region as a role has it; None where the role was not looked for yet."""
        kept = self._kept.get((region, role))
        if kept is None or kept.keeper.is_needed():
            return None
        kept.used = self._clock()
        return Place(kept.keeper.catalogue, kept.signer, self._authorities[region], kept.keeper.identity)

    async def __call__(self, job: Assume, seconds: float) -> Assumed:
        """Assume a role, or wait for the attempt that is being made."""
        kept = self._keep(job.region, job.role)
        if kept.keeper.is_needed():
            self._enqueue(kept, 2)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await kept.ended.wait()
        return Assumed()

    def expect(self, settings: Settings, region: str) -> None:
        """Assume the roles of the file's organisations ahead of their first call; `region` is the gateway's own."""
        for own in itertools.islice(_with_roles(settings), MOST):
            where = own[0] or region
            if where in self._authorities:
                self._enqueue(self._keep(where, own[1]), 1)

    async def follow(self) -> None:
        """Renew what is due, until cancelled."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            now = self._clock()
            for kept in self._kept.values():
                if kept.keeper.due <= now and now - kept.used < USED_SECONDS:
                    self._enqueue(kept, 1)

    def _keep(self, region: str, role: RoleSettings) -> _Kept:
        """Return what is kept of a role, which may be nothing yet."""
        kept = self._kept.pop((region, role), None)
        if kept is None:
            keeper = RoleKeeper(region, role, self._refresh_seconds, self._assume, self._clock)
            kept = _Kept(keeper, Signer(region, self._authorities[region]), self._clock())
            if len(self._kept) >= MOST:
                del self._kept[min(self._kept, key=lambda key: self._kept[key].used)]
        self._kept[region, role] = kept
        return kept

    def _enqueue(self, kept: _Kept, urgency: int) -> None:
        """Have a thread refresh a role, unless it is in the queue already, with this urgency or a higher one."""
        if kept.queued >= urgency:
            return
        if not kept.queued:
            kept.ended.clear()
        kept.queued = urgency
        loop = asyncio.get_running_loop()
        self._queue.put((-urgency, next(self._order), lambda: self._refresh(kept, loop)))
        if self._threads < THREADS:
            self._threads += 1
            threading.Thread(target=self._run, name="roles", daemon=True).start()

    def _refresh(self, kept: _Kept, loop: asyncio.AbstractEventLoop) -> None:
        """Refresh a role, in a thread. One that was in the queue twice is refreshed once."""

        def tell(event: Callable[[], object]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended in the meantime
                loop.call_soon_threadsafe(event)

        def end() -> None:
            kept.queued = 0
            kept.ended.set()

        try:
            with kept.alone:
                if kept.keeper.due <= self._clock():
                    kept.keeper.refresh(lambda: tell(kept.ended.set))
        except Exception:
            log.exception("a role met a bug")
        finally:
            tell(end)

    def _run(self) -> None:
        while True:
            self._queue.get()[2]()


def _with_roles(settings: Settings) -> Iterable[tuple[str | None, RoleSettings]]:
    """Return the regions and roles of the organisations that may call, each once."""
    organisations = [own for own in settings.organisations.values() if own.enabled]
    return dict.fromkeys((own.region, own.role) for own in organisations if own.role is not None)
