"""Threads that share a queue of work; what is most urgent goes first, and else what came first.

They are started as they are needed, and do not keep the process alive: work is a call of something that blocks.

Decision: docs/decisions.md, D243.
"""

import itertools
import logging
import queue
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class QueueThreads:
    """At most so many threads of one name; `put` is for a single thread."""

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._started = 0
        self._order = itertools.count()
        self._queue: queue.PriorityQueue[tuple[int, int, Callable[[], None]]] = queue.PriorityQueue()

    def put(self, urgency: int, work: Callable[[], None]) -> None:
        """Have a thread call `work`, which must not raise; higher urgencies come first."""
        self._queue.put((-urgency, next(self._order), work))
        self.start()

    def start(self) -> None:
        """Start one more thread, if there is work and may be one: what could not be started for `put` is now."""
        if self._started < self._most and not self._queue.empty():
            try:
                threading.Thread(target=self._run, name=self._name, daemon=True).start()
            except RuntimeError:  # there are no more threads: the next call tries again
                log.exception("no thread can be started for %s", self._name)
            else:
                self._started += 1

    def _run(self) -> None:
        while True:
            self._queue.get()[2]()
