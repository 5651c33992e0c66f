"""Turns of the event loop, shared by organisations whose calls wait to begin.

A call of the worker's own, for an embedding or an image, takes the event loop a fraction of a millisecond, and
everybody waits for the turn of the loop in which many of them begin, or end: the responses come as the calls went out.
So no more than `AT_ONCE` begin in one turn, then the loop serves all the others whose messages have arrived; and beside
others an organisation begins no more than `MOST` in `STRETCH` seconds, so that the loop has time left. Alone, it has
all of it.

Invariant: no more than `AT_ONCE` begin between two looks of the loop at its sockets; those that may begin do so by
organisation in turn; and who waits no longer leaves nothing behind.

Decision: docs/decisions.md, D333.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from typing import Final

AT_ONCE: Final = 4
"""Calls that begin in one turn of the event loop: about a millisecond."""

MOST: Final = 10
STRETCH: Final = 0.01
"""Calls that an organisation may begin beside others, and the seconds after which it may begin as many again."""

LATELY: Final = 0.5
"""Seconds for which an organisation is beside others after their last request: the next may come at any moment."""

BesideOthers = Callable[[str], bool]
"""Returns whether organisations other than this one have requests in flight."""


def alone(_: str) -> bool:
    """Return that there are no others."""
    return False


class LoopTurns:
    """The calls that begin, and those that wait. Every method is for the event loop's thread."""

    def __init__(self, beside_others: BesideOthers = alone) -> None:
        self._beside_others = beside_others
        self._left = AT_ONCE
        """Calls that may still begin in this turn."""
        self._begun: Counter[str] = Counter()
        """Calls that have begun in this stretch of time, by organisation."""
        self._others_until = 0.0
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """By organisation, in the order in which they are to begin."""

    async def take(self, organisation: str) -> None:
        """Wait until the next call of this organisation may begin."""
        loop = asyncio.get_running_loop()
        if self._left and organisation not in self._waiting and self._may(organisation, loop):
            self._begin(organisation, loop)
            return
        granted = loop.create_future()
        self._waiting.setdefault(organisation, deque()).append(granted)
        await granted

    def _may(self, organisation: str, loop: asyncio.AbstractEventLoop) -> bool:
        if self._beside_others(organisation):
            self._others_until = loop.time() + LATELY
        return self._begun[organisation] < MOST or loop.time() >= self._others_until

    def _begin(self, organisation: str, loop: asyncio.AbstractEventLoop) -> None:
        """Count a call. The turn and the stretch end by themselves: whoever waits, waits for one of the two."""
        if self._left == AT_ONCE:
            loop.call_soon(self._next_turn, loop)
        if not self._begun:
            loop.call_later(STRETCH, self._next_stretch, loop)
        self._left -= 1
        self._begun[organisation] += 1

    def _next_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._left = AT_ONCE
        self._grant(loop)

    def _next_stretch(self, loop: asyncio.AbstractEventLoop) -> None:
        self._begun.clear()
        self._grant(loop)

    def _grant(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let those begin that may, one of each organisation after the other."""
        ready = deque([organisation for organisation in self._waiting if self._may(organisation, loop)])
        while self._left and ready:
            organisation = ready.popleft()
            queue = self._waiting.pop(organisation)
            granted = queue.popleft()
            if not granted.done():  # else its task has been cancelled
                self._begin(organisation, loop)
                granted.set_result(None)
            if queue:
                self._waiting[organisation] = queue  # behind the others
                if self._may(organisation, loop):
                    ready.append(organisation)
