"""A queue in which callers take turns: organisations one after the other, of each its tokens, of a token what came
first.

What is put back to its place, in both rows, is behind those that wait; so who has one thing in the queue waits for one
of each other organisation at most, however many there are of theirs.

Invariant: everything that was put is taken once, or discarded; the things of one caller are taken in their order; and
the queue holds nothing for a caller of whom nothing waits.

Decision: docs/decisions.md, D321.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Waiting = TypeVar("Waiting", bound=Hashable)

Turn = tuple[str, str]
"""Whose turn it is: an organisation and one of its tokens; of strangers "" and their address."""

NOBODYS: Turn = ("", "")
"""The turn of whoever cannot be told from others."""

_Queue = OrderedDict[Waiting, None]
"""Ordered dictionaries: a `dict` takes the longer to find its first key, the more were removed before it."""


class FairQueue(Generic[Waiting]):
    """What waits. No method takes longer where more waits."""

    def __init__(self) -> None:
        self._size = 0
        self._organisations: OrderedDict[str, OrderedDict[str, _Queue[Waiting]]] = OrderedDict()

    def __len__(self) -> int:
        return self._size

    def put(self, turn: Turn, waiting: Waiting) -> None:
        """Append what is not in the queue yet."""
        organisation, caller = turn
        callers = self._organisations.get(organisation)
        if callers is None:
            callers = self._organisations[organisation] = OrderedDict()
        queue = callers.get(caller)
        if queue is None:
            queue = callers[caller] = OrderedDict()
        queue[waiting] = None
        self._size += 1

    def take(self) -> Waiting:
        """Remove and return what is next. Raises `KeyError` where nothing is."""
        organisation, callers = self._organisations.popitem(last=False)
        caller, queue = callers.popitem(last=False)
        waiting, _ = queue.popitem(last=False)
        if queue:
            callers[caller] = queue
        if callers:
            self._organisations[organisation] = callers
        self._size -= 1
        return waiting

    def discard(self, turn: Turn, waiting: Waiting) -> None:
        """Remove what waits no longer; its caller keeps its place if more of it waits."""
        organisation, caller = turn
        callers = self._organisations[organisation]
        queue = callers[caller]
        del queue[waiting]
        self._size -= 1
        if not queue:
            del callers[caller]
            if not callers:
                del self._organisations[organisation]
