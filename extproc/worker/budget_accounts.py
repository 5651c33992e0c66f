"""The accounts of one worker's budgets: in the file that the workers of its machine share.

Where the file does not work, `budgets.on_store_error` decides: `reject` is a 503; with `allow` calls are served, and
what they cost is kept in memory until it can be written. After a failure the file is left alone for `PAUSE` seconds.
A settlement that fails is made by a later tick.

Invariant: what was held is settled once, and what a call cost that was not held is added once, unless this worker ends
before the file works again.

Decision: docs/decisions.md, D242.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from extproc.config import Settings
from extproc.exchange.spending import Running, crowded, unavailable
from extproc.limits.spending import Charge, CrowdedError, Verdict
from extproc.worker.spending_file import SpendingFile, SpendingFileError

log = logging.getLogger(__name__)

PAUSE: Final = 1.0

TICK_SECONDS: Final = 1.0

BATCH: Final = 100
"""Most calls that one tick settles."""

MOST_OWED: Final = 100_000
"""Most accounts whose costs are kept in memory."""

_MOST_TOLD: Final = 100_000


class BudgetAccounts:
    """The accounts in the file at `path` of the worker that listens at `worker`; `settings` returns those in force."""

    def __init__(
        self, path: Path | None, worker: str, settings: Callable[[], Settings], clock: Callable[[], float] = time.time
    ) -> None:
        self._file = SpendingFile(path, worker, clock) if path is not None else None
        self._path = path
        self._settings = settings
        self._running: dict[str, Running] = {}
        """The open calls."""
        self._ended: dict[str, tuple[Sequence[Charge], Sequence[int]]] = {}
        """Calls that are over, and yet to be settled in the file."""
        self._owed: dict[str, tuple[int, int]] = {}
        """By account: what calls cost that nothing was held for, and the end of its window."""
        self._told: set[str] = set()
        self._paused_until = 0.0
        self._trouble = ""

    def reserve(self, call: str, charges: Sequence[Charge], running: Running) -> Verdict | None:
        """Hold what a call may cost. Raises `ApiError`: 503 where the file does not work, if the settings say so."""
        if self._file is None:
            self._pause("budgets.sqlite was not set when this worker started")
        elif time.monotonic() >= self._paused_until:
            try:
                verdict = self._file.reserve(call, charges)
            except CrowdedError:
                raise crowded() from None
            except SpendingFileError as error:
                self._pause(str(error))
            else:
                if verdict.rejected < 0:
                    self._running[call] = running
                return verdict
        if self._settings().budgets.on_store_error == "reject":
            raise unavailable()
        return None

    def settle(self, call: str, charges: Sequence[Charge], costs: Sequence[int]) -> None:
        """Replace what a call holds by its cost, now or with a later tick."""
        if self._file is None:
            return
        if self._running.pop(call, None) is None:
            self._owe(charges, costs)
            return
        self._ended[call] = charges, costs
        if time.monotonic() < self._paused_until:
            return
        try:
            self._file.settle(call, charges, costs)
        except SpendingFileError as error:
            self._pause(str(error))
        else:
            del self._ended[call]

    def tell(self, key: str, end: int, text: str) -> None:
        """Log `text`, if nothing was logged about `key` before."""
        if key in self._told or self._file is None:
            return
        try:
            first = self._file.first(key, end)
        except SpendingFileError as error:
            self._pause(str(error))
            return
        if len(self._told) >= _MOST_TOLD:
            self._told.clear()
        self._told.add(key)
        if first:
            log.warning("%s", text)

    async def run(self) -> None:
        """Keep what open calls have cost so far, once a second, until cancelled."""
        while self._file is not None:
            self._tick(self._file)
            await asyncio.sleep(TICK_SECONDS)

    def close(self) -> None:
        """Settle what can be, and close the file."""
        if self._file is not None:
            if self._ended or self._owed:
                self._tick(self._file)
            self._file.close()

    def _tick(self, file: SpendingFile) -> None:
        try:
            running = {call: running() for call, running in self._running.items()}
            running.update({call: costs for call, (_, costs) in self._ended.items()})
            file.count(running)
            for call, (charges, costs) in list(itertools.islice(self._ended.items(), BATCH)):
                file.settle(call, charges, costs)
                del self._ended[call]
            if self._owed:
                file.add(self._owed)
                self._owed.clear()
        except SpendingFileError as error:
            self._pause(str(error))
            return
        except Exception:  # a bug, too, is no reason to stop for good
            log.exception("budgets cannot be counted in %s", self._path)
            return
        self._paused_until = 0.0
        if self._trouble:
            log.info("budgets are counted in %s again", self._path)
        self._trouble = ""

    def _owe(self, charges: Sequence[Charge], costs: Sequence[int]) -> None:
        for charge, cost in zip(charges, costs, strict=True):
            before = self._owed.get(charge.key)
            if before is not None or len(self._owed) < MOST_OWED:
                self._owed[charge.key] = (before[0] if before else 0) + cost, charge.end

    def _pause(self, trouble: str) -> None:
        """Leave the file alone for a while; log what is wrong, once for as long as it is the same."""
        self._paused_until = time.monotonic() + PAUSE
        if trouble != self._trouble:
            log.warning("budgets cannot be counted in %s: %s", self._path or "no file", trouble)
        self._trouble = trouble
