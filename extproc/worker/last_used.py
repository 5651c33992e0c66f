"""When each token was used last: noted in memory by requests, and written once a minute in the background.

A request sets an entry of `seen`, and nothing else. At the end of each minute the entries of that minute, and of
minutes that could not be written, are taken out and given to a writer: a file's (`last_used_file`) or a table's. What
it cannot write is put back, for `KEEP_SECONDS`.

Invariant: a worker writes each token once for a minute at most, unless a write failed or the worker ends. `seen` has at
most `MAX_USED` entries. A writer that fails or hangs costs these times and nothing else.

Decision: docs/decisions.md, D205.
"""

import asyncio
import itertools
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from extproc.config.items import KEY, MINUTE, USED
from extproc.tenancy.directory import MAX_USED
from extproc.worker.table_lookups import TableLookupError

log = logging.getLogger(__name__)

MINUTE_SECONDS = 60.0

SPREAD_SECONDS = 10.0
"""Longest wait after the end of a minute: the workers of a fleet do not write all at once."""

ROUND_SECONDS = 40.0
"""Timeout of the writes of a minute; with the wait they end before the next one does."""

KEEP_SECONDS = 15 * 60.0
"""Age at which a time that could not be written is given up: it would replace what other workers wrote since."""

CLOSE_SECONDS = 2.0
"""Timeout of the last writes, when a worker ends."""

BATCH = 25
"""Most items of a BatchWriteItem."""

Stamps = dict[str, float]
"""Times of use, in Unix seconds, by the hashes of the tokens."""

Writer = Callable[[Stamps], Awaitable[None]]
"""Writes the stamps, and takes out what is written; raises `LastUsedError` where some are left."""


class LastUsedError(Exception):
    """The times of use could not be written, or read; the message does not name the place."""


class LastUsed:
    """The times of use that one worker has yet to write; `place` is where, for the log."""

    def __init__(self, write: Writer, place: str, clock: Callable[[], float] = time.time) -> None:
        self.seen: Stamps = {}
        self._write = write
        self._place = place
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._trouble = ""

    def start(self) -> None:
        """Write once a minute from now on."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Write what there is, within `CLOSE_SECONDS`, and nothing more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self.flush(math.inf, CLOSE_SECONDS)

    async def flush(self, end: float, seconds: float = ROUND_SECONDS) -> None:
        """Write the uses before `end`, within so many seconds."""
        stamps = self._take(end)
        if not stamps:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._write(stamps)
            self._tell("")
        except LastUsedError as error:
            self._tell(str(error))
        except TimeoutError:
            self._tell(f"writing took longer than {seconds:g} s")
        except Exception:  # a bug, too, is no reason to stop for good
            log.exception("the last use of tokens cannot be written to %s", self._place)
        finally:
            self._put_back(stamps)

    async def _run(self) -> None:
        while True:
            now = self._clock()
            end = now - now % MINUTE_SECONDS + MINUTE_SECONDS
            await asyncio.sleep(end - now + random.uniform(0.0, SPREAD_SECONDS))
            await self.flush(end)

    def _take(self, end: float) -> Stamps:
        """Take out the uses before `end`."""
        stamps = {sha256: used for sha256, used in self.seen.items() if used < end}
        for sha256 in stamps:
            del self.seen[sha256]
        return stamps

    def _put_back(self, stamps: Mapping[str, float]) -> None:
        """Keep what was not written, unless it is too old, or the token was used again."""
        oldest = self._clock() - KEEP_SECONDS
        for sha256, used in stamps.items():
            if len(self.seen) >= MAX_USED:
                return
            if used >= oldest:
                self.seen.setdefault(sha256, used)

    def _tell(self, trouble: str) -> None:
        """Log what is wrong, once for as long as it is the same; "" when it is over."""
        if trouble and trouble != self._trouble:
            log.warning("the last use of tokens cannot be written to %s: %s", self._place, trouble)
        elif self._trouble and not trouble:
            log.info("the last use of tokens is written to %s again", self._place)
        self._trouble = trouble


class TableWriter:
    """Writes to a table, `BATCH` items at a time; `put` returns the keys of those that it has not written."""

    def __init__(self, put: Callable[[Sequence[Mapping[str, str]]], Awaitable[Collection[str]]]) -> None:
        self._put = put

    async def __call__(self, stamps: Stamps) -> None:
        """Write the stamps, until one is not written. Raises `LastUsedError`."""
        while stamps:
            batch = dict(itertools.islice(stamps.items(), BATCH))
            items = [{KEY: USED + sha256, MINUTE: minute_text(used)} for sha256, used in batch.items()]
            try:
                left = await self._put(items)
            except TableLookupError as error:
                raise LastUsedError(str(error)) from error
            for sha256 in batch:
                if USED + sha256 not in left:
                    del stamps[sha256]
            if left:
                raise LastUsedError("DynamoDB throttles the writes")


def minute_text(seconds: float) -> str:
    """Return the minute of a time, as in `2026-11-30T09:05Z`; later ones are greater texts."""
    return time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(seconds))
