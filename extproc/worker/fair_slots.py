"""Slots for connections and threads, shared fairly by organisations.

An organisation may hold up to `SHARE` times as many slots as are free: alone, three quarters of them. With others it
holds less, since what they hold is not free. So there is nearly always a free slot for an organisation that holds none,
however many another one asks for. Where no slot is left, or an organisation holds its share, it waits; a slot that
becomes free goes to the waiting organisation that holds the fewest, and to the longest waiting of its requests.

Source: the dynamic threshold of shared-memory switches, which is this rule for buffers (A. K. Choudhury and
E. L. Hahne, "Dynamic queue length thresholds for shared-memory packet switches", IEEE/ACM Transactions on Networking
6(2), 1998).

Invariant: no more slots are held than there are; an organisation that holds none gets one as soon as one is free; and
who waits no longer leaves nothing behind.

Decisions: docs/decisions.md, D61, D333.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar

from extproc.worker.loop_turns import BesideOthers, LoopTurns, alone

SHARE = 3

_ORGANISATION: ContextVar[str] = ContextVar("organisation", default="")


@contextmanager
def on_behalf_of(organisation: str) -> Iterator[None]:
    """Let what happens in this block, in the tasks that it starts too, hold the slots of `organisation`."""
    token = _ORGANISATION.set(organisation)
    try:
        yield
    finally:
        _ORGANISATION.reset(token)


class FairSlots:
    """`total` slots. Every method is for the event loop's thread."""

    def __init__(self, total: int, beside_others: BesideOthers = alone) -> None:
        self._free = total
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, dict[asyncio.Future[None], None]] = {}
        self._turns = LoopTurns(beside_others)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold a slot of the organisation on whose behalf this is, for a call that begins in its turn."""
        organisation = await self.take()
        try:
            await self._turns.take(organisation)
            yield
        finally:
            self.give_back(organisation)

    async def take(self) -> str:
        """Wait for a slot; return the organisation that `give_back` needs."""
        organisation = _ORGANISATION.get()
        if organisation not in self._waiting and self._may(organisation):
            self._grant(organisation)
            return organisation
        granted = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(organisation, {})[granted] = None
        try:
            await granted
        except asyncio.CancelledError:
            self._leave(organisation, granted)
            raise
        return organisation

    def give_back(self, organisation: str) -> None:
        """Free a slot that this organisation holds, and let those who wait have what they may."""
        self._free += 1
        self._held[organisation] -= 1
        if not self._held[organisation]:
            del self._held[organisation]
        while self._waiting and self._may(first := min(self._waiting, key=self._held.__getitem__)):
            queue = self._waiting.pop(first)
            granted = next(iter(queue))
            del queue[granted]
            if queue:
                self._waiting[first] = queue  # behind those that hold as few
            if not granted.done():  # else its task has been cancelled, and will run only now
                self._grant(first)
                granted.set_result(None)

    def _may(self, organisation: str) -> bool:
        return self._held[organisation] < SHARE * self._free

    def _grant(self, organisation: str) -> None:
        self._free -= 1
        self._held[organisation] += 1

    def _leave(self, organisation: str, granted: "asyncio.Future[None]") -> None:
        """Wait no longer; a slot that came at the same moment is given back."""
        if not granted.cancelled():
            self.give_back(organisation)
            return
        queue = self._waiting.get(organisation, {})
        if granted in queue:
            del queue[granted]
            if not queue:
                del self._waiting[organisation]
