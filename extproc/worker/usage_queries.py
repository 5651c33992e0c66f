"""Runs queries of usage: each in a thread of its own, since the event loop never waits for a file.

A query holds one of `SLOTS` slots until its thread has ended, also where nobody waits for it any more, so that there
are never more threads than that, whatever becomes of the disk.

Invariant: the result of a query is there within its seconds. It is a `UsagePage` only if the sums had all of the ledger
at most `STALE_SECONDS` ago: else the figures would be too small without a sign of it.

Decision: docs/decisions.md, D256.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from extproc.config.faults import printable
from extproc.exchange.jobs import QueryUsage, UsageFailure, UsagePage, UsageResult
from extproc.openai.usage_page import usage_page
from extproc.worker.fair_slots import FairSlots, on_behalf_of
from extproc.worker.sqlite_file import StoreError
from extproc.worker.usage_store import TooSlowError, UsageView

log = logging.getLogger(__name__)

SLOTS: Final = 2

STALE_SECONDS: Final = 60


class UsageQueries:
    """Queries of the sums in the file at `path`; `clock` returns unix seconds. It is for the event loop's thread."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._slots = FairSlots(SLOTS)
        self._trouble = ""

    async def __call__(self, job: QueryUsage, seconds: float) -> UsageResult:
        """Return a page of usage, or why there is none, within `seconds`."""
        end = time.monotonic() + seconds
        try:
            async with asyncio.timeout(seconds):
                with on_behalf_of(job.organisation):
                    slot = await self._slots.take()
                return await self._started(job, end, slot)
        except TimeoutError:
            return UsageFailure("slow")

    def _started(self, job: QueryUsage, end: float, slot: str) -> "asyncio.Future[UsageResult]":
        """Start the thread; return the future of its result. The slot is given back when the thread has ended."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[UsageResult] = loop.create_future()

        def ended(result: UsageResult) -> None:
            self._slots.give_back(slot)
            if not future.done():
                future.set_result(result)

        def run() -> None:
            result = self._result(job, end)
            with contextlib.suppress(RuntimeError):  # the loop has ended in the meantime
                loop.call_soon_threadsafe(ended, result)

        try:
            threading.Thread(target=run, daemon=True).start()
        except RuntimeError:  # there are no more threads
            log.exception("usage cannot be queried")
            ended(UsageFailure("broken"))
        return future

    def _result(self, job: QueryUsage, end: float) -> UsageResult:
        """Make the query; runs in its thread."""
        try:
            with UsageView(self._path, end - time.monotonic()) as view:
                if abs(self._clock() - view.caught_up()) > STALE_SECONDS:
                    return UsageFailure("behind")
                rows, until = view.rows(job.organisation, job.query)
            self._trouble = ""
            return UsagePage(usage_page(job.query, rows, until))
        except TooSlowError:
            return UsageFailure("slow")
        except StoreError as error:
            self._tell(str(error))
        except Exception:  # a bug is an error of this query alone
            log.exception("usage cannot be queried")
        return UsageFailure("broken")

    def _tell(self, trouble: str) -> None:
        """Log what is wrong, once for as long as it is the same."""
        if trouble != self._trouble:
            log.warning("usage cannot be queried in %s: %s", self._path, printable(trouble))
        self._trouble = trouble
