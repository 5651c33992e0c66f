"""The accounts of one worker's budgets: in the file that the workers of its machine share.

A gateway.yaml may name the file at the start, or later as the first one; then it stays. What is due is written once a
second, a part at a time, between which other requests are served.

Where the file does not work, `budgets.on_store_error` decides: `reject` is a 503; with `allow` calls are served, and
what they cost is kept in memory until it can be written. After a failure the file is left alone for `PAUSE` seconds.
Where others have locked it these are `SHORT_PAUSE` at first, and twice as many after each failure that follows.
A settlement that fails is made by a later tick.

The ends of callers who have left are settled in the next turn of the event loop, many in one transaction: one client
may leave thousands of calls at once. This worker decides by them before.

Invariant: what was held is settled once, and what a call cost that was not held is added once, unless this worker ends
before the file works again.

Decisions: docs/decisions.md, D242, D324, D332.
"""

import asyncio
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from extproc.config import Settings
from extproc.exchange.spending import unavailable
from extproc.limits.spending import Charge, Running, Verdict, others
from extproc.worker.next_turn import NextTurn
from extproc.worker.spending_file import SpendingFile, keep_log_short
from extproc.worker.sqlite_file import StoreError

log = logging.getLogger(__name__)

PAUSE: Final = 1.0

SHORT_PAUSE: Final = 0.1

TICK_SECONDS: Final = 1.0

BATCH: Final = 200
"""Most accounts that are written in one part, or about so many: those of a call stay together."""

MOST_OWED: Final = 100_000
"""Most accounts whose costs are kept in memory; half of them at most are users', who share one beyond these."""

_MOST_TOLD: Final = 100_000


class BudgetAccounts:
    """The accounts of the worker that listens at `worker`; `settings` returns those in force."""

    def __init__(self, worker: str, settings: Callable[[], Settings], clock: Callable[[], float] = time.time) -> None:
        self._path: Path | None = None
        self._file: SpendingFile | None = None
        self._worker = worker
        self._settings = settings
        self._clock = clock
        self._copier: threading.Thread | None = None
        self._closed = threading.Event()
        self._running: dict[str, Running] = {}
        """The open calls."""
        self._settling = NextTurn(self._settle_some)
        self._owed: dict[str, tuple[int, int, str]] = {}
        """By account: what calls cost that nothing was held for, the end of its window, and its group."""
        self._told: set[str] = set()
        self._paused_until = 0.0
        self._trouble = ""

    def _in_use(self) -> SpendingFile | None:
        """Return the file, if one was named by now."""
        if self._file is None and (path := self._settings().budgets.sqlite) is not None:
            self._path = Path(path)
            self._file = SpendingFile(self._path, self._worker, self._clock)
        return self._file

    def reserve(self, call: str, charges: Sequence[Charge], running: Running) -> Verdict | None:
        """Hold what a call may cost. Raises `ApiError`: 503 where the file does not work, if the settings say so."""
        file = self._in_use()
        if file is None:
            self._pause("budgets.sqlite is not set")
        elif time.monotonic() >= self._paused_until:
            try:
                verdict = file.reserve(call, charges)
            except StoreError as error:
                self._pause(str(error), _pause_after(error))
            else:
                if verdict.rejected < 0:
                    self._running[call] = running
                return verdict
        if self._settings().budgets.on_store_error == "reject" and any(charge.enforced for charge in charges):
            raise unavailable()
        return None

    def settle(self, call: str, charges: Sequence[Charge], costs: Sequence[int], soon: bool = False) -> None:
        """Replace what a call holds by its cost, now, or in the next turn of the event loop, or with a later tick."""
        if self._file is None:
            return
        if self._running.pop(call, None) is None:
            self._owe(charges, costs)
            return
        self._file.end(call, costs)
        if time.monotonic() < self._paused_until:
            return
        if soon:
            self._settling.want()
            return
        try:
            self._file.settle(call, charges, costs)
        except StoreError as error:
            self._pause(str(error), _pause_after(error))

    def _settle_some(self) -> bool:
        """Settle some of the calls that have ended; return whether there are more to settle now."""
        if self._file is None or time.monotonic() < self._paused_until:
            return False
        try:
            return self._file.settle_ended()
        except StoreError as error:
            self._pause(str(error), _pause_after(error))
            return False

    def tell(self, key: str, end: int, text: str) -> None:
        """Log `text`, if nothing was logged about `key` before."""
        if key in self._told or self._file is None or time.monotonic() < self._paused_until:
            return
        try:
            first = self._file.first(key, end)
        except StoreError as error:
            self._pause(str(error), _pause_after(error))
            return
        if len(self._told) >= _MOST_TOLD:
            self._told.clear()
        self._told.add(key)
        if first:
            log.warning("%s", text)

    async def run(self) -> None:
        """Keep what open calls have cost so far, once a second, until cancelled."""
        while True:
            if (file := self._in_use()) is not None:
                self._keep_log_short()
                for _ in self._tick(file):
                    await asyncio.sleep(0)
            await asyncio.sleep(TICK_SECONDS)

    def close(self) -> None:
        """Settle what can be, and close the file."""
        self._closed.set()
        self._settling.cancel()
        if self._file is not None:
            if self._file.ended or self._owed:
                for _ in self._tick(self._file):
                    pass
            self._file.close()

    def _keep_log_short(self) -> None:
        if self._copier is not None or self._path is None:
            return
        copier = threading.Thread(target=keep_log_short, args=(self._path, self._closed), daemon=True)
        try:
            copier.start()
        except RuntimeError:  # there are no more threads: the next second tries again
            log.exception("no thread can be started for %s", self._path)
        else:
            self._copier = copier

    def _tick(self, file: SpendingFile) -> Iterator[None]:
        """Write what is due; yields after each part."""
        try:
            yield from self._parts(file)
        except StoreError as error:
            self._pause(str(error), _pause_after(error))
            return
        except Exception:  # a bug, too, is no reason to stop for good
            log.exception("budgets cannot be counted in %s", self._path)
            return
        self._paused_until = 0.0
        if self._trouble:
            log.info("budgets are counted in %s again", self._path)
        self._trouble = ""

    def _parts(self, file: SpendingFile) -> Iterator[None]:
        """Write what is due in parts. Raises `StoreError`; then the rest is still due."""
        part: dict[str, Sequence[int]] = {}
        rows = 0
        for call in list(self._running):
            if (running := self._running.get(call)) is not None:  # it may have ended in between
                part[call] = costs = running()
                rows += len(costs)
            if rows >= BATCH:
                file.count(part)
                yield
                part, rows = {}, 0
        file.count(part)  # also without any: it shows that this worker lives
        yield
        while file.ended:
            file.settle_ended()
            yield
        while self._owed:
            owed = dict(itertools.islice(self._owed.items(), BATCH))
            file.add(owed)
            for key in owed:
                del self._owed[key]
            yield

    def _owe(self, charges: Sequence[Charge], costs: Sequence[int]) -> None:
        for charge, cost in zip(charges, costs, strict=True):
            key, group = charge.key, charge.group
            if group and key not in self._owed and len(self._owed) >= MOST_OWED // 2:
                key, group = others(group), ""
            before = self._owed.get(key)
            if before is None and len(self._owed) >= MOST_OWED:
                self._pause("it has not worked for so long that some of what calls have cost was dropped")
                continue
            self._owed[key] = (before[0] if before else 0) + cost, charge.end, group

    def _pause(self, trouble: str, seconds: float = PAUSE) -> None:
        """Leave the file alone for a while; log what is wrong, once for as long as it is the same."""
        self._paused_until = time.monotonic() + seconds
        if trouble != self._trouble:
            log.warning("budgets cannot be counted in %s: %s", self._path or "no file", trouble)
        self._trouble = trouble


def _pause_after(error: StoreError) -> float:
    """Return for how many seconds the file is left alone."""
    if not error.busy:
        return PAUSE
    return min(SHORT_PAUSE * 2.0 ** min(error.failures - 1, 10), PAUSE)
