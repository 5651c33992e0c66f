"""The ends of calls, on their way from a worker to the Redis that has admitted them.

An end waits a moment for others, and is sent with them. One that the store does not get is kept, and sent when it works
again; it has whole costs, so that one that is sent twice counts once.

Decision: docs/decisions.md, D251.
"""

import asyncio
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Protocol, TypeVar

import msgspec

from extproc.limits.spending import MOST_IN_GROUP, Charge
from extproc.worker.redis_client import RedisClient
from extproc.worker.redis_connection import RedisError
from extproc.worker.redis_scripts import END

END_SECONDS: Final = 0.01
"""Seconds for which an end waits for others, or for the next request, to be sent with them."""

BATCH: Final = 200
"""Most calls of one message: a script holds up all others."""

MOST_KEPT: Final = 100_000
"""Most ends that are kept while the store does not work."""

Item = TypeVar("Item")


class End:
    """What is to be counted of a call that is over."""

    __slots__ = ("charges", "costs", "forgotten", "moved", "released")

    def __init__(self) -> None:
        self.forgotten = False
        """Whether the worker does not know the call any more: it is settled by its last counts."""
        self.moved: dict[str, int] = {}
        self.released: Sequence[str] = ()
        self.charges: Sequence[Charge] = ()
        self.costs: Sequence[int] = ()

    def complete(self, before: "End | None") -> None:
        """Take what an earlier end of the call has, and this one has not: its cost and its stream may end apart."""
        if before is None:
            return
        self.released = self.released or before.released
        if not self.charges:
            self.charges, self.costs = before.charges, before.costs


class Accounts(Protocol):
    """Who is told what has become of ends."""

    def counted(self, calls: Iterable[str]) -> None:
        """Note that the store has them."""

    def forget(self, call: str) -> None:
        """Note that the store will never have this one."""


class RedisEnds:
    """The ends of one worker's calls; `worker` is its name in the store."""

    def __init__(self, client: RedisClient, worker: str, accounts: Accounts) -> None:
        self.settled = asyncio.Event()
        """Whether the store has replied to all that were sent."""
        self.settled.set()
        self._client = client
        self._worker = worker
        self._accounts = accounts
        self._waiting: dict[str, End] = {}
        """Those that are to be sent soon, by call."""
        self._kept: dict[str, End] = {}
        """Those that the store did not get."""
        self._sent = 0
        """Number of those without a reply."""

    @property
    def uncounted(self) -> int:
        """Number of ends that the store may not have."""
        return len(self._kept) + self._sent

    def of(self, call: str, at_once: bool = False) -> End:
        """Return the end of a call, to be filled in this turn of the event loop; it is sent soon, or then."""
        if at_once:
            asyncio.get_running_loop().call_soon(self.flush)
        found = self._waiting.get(call)
        if found is None:
            if not self._waiting:
                asyncio.get_running_loop().call_later(END_SECONDS, self.flush)
            found = self._waiting[call] = End()
        return found

    def flush(self) -> None:
        """Send the ends that wait; keep them while there is no connection."""
        ends, self._waiting = self._waiting, {}
        if not ends:
            return
        for call, each in ends.items():
            each.complete(self._kept.pop(call, None))  # it is not to undo this one later
        if not self._client.connected:
            self._keep(ends)
            return
        for calls in _batches(list(ends)):
            self._send({call: ends[call] for call in calls})

    def send_kept(self) -> None:
        """Send again what the store did not get, a part of it at a time, if it works."""
        if self._kept and self._client.ready:
            kept = dict(itertools.islice(self._kept.items(), 10 * BATCH))
            for call in kept:
                del self._kept[call]
            for calls in _batches(list(kept)):
                self._send({call: kept[call] for call in calls})

    def _send(self, ends: dict[str, End]) -> None:
        rows = [
            (
                call,
                list(each.moved.items()),
                each.released,
                [(charge.key, charge.end, charge.group) for charge in each.charges],
                each.costs if each.charges or not each.forgotten else False,
            )
            for call, each in ends.items()
        ]
        self._sent += len(ends)
        self.settled.clear()

        def done(reply: Any) -> None:
            self._sent -= len(ends)
            if not self._sent:
                self.settled.set()
            if isinstance(reply, RedisError):
                self._keep(ends)
            else:
                self._accounts.counted(ends)

        self._client.run_script(END, msgspec.msgpack.encode((self._worker, MOST_IN_GROUP, rows)), done)

    def _keep(self, ends: dict[str, End]) -> None:
        """Keep ends for later, but for the changes of buckets: these may have been made, and last a minute."""
        for call, each in ends.items():
            each.moved = {}
            each.complete(self._kept.get(call))
            if (each.charges or each.released) and len(self._kept) < MOST_KEPT:
                self._kept[call] = each
            elif each.charges:
                self._accounts.forget(call)


def _batches(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]
