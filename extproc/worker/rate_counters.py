"""The counters of one worker: shared by the workers of its machine where there are several, else its own.

Where the shared ones fail, `rate_limits.on_store_error` decides: `allow` counts in this worker alone, `reject` is a
503. After a failure the file is left alone for `PAUSE` nanoseconds, so that a locked one does not hold up each request.

The ends of callers who have left are written in the next turn of the event loop, many in one transaction: one client
may leave thousands of calls at once. This worker decides by them before.

Invariant: what was admitted by one of both is settled and released there.

Decisions: docs/decisions.md, D237, D332.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from extproc.config import Settings
from extproc.exchange.local_replies import limits_unavailable
from extproc.limits.counters import Clock, Decision, MemoryCounters, Scope
from extproc.machine.cpus import worker_count
from extproc.tenancy.rate_limits import any_default
from extproc.worker.next_turn import NextTurn
from extproc.worker.shared_counters import SharedCounters
from extproc.worker.sqlite_file import StoreError

log = logging.getLogger(__name__)

FILE: Final = "rate-limits.sqlite"
"""The file beside the workers' sockets, where the settings name none."""

PAUSE: Final = 1_000_000_000

TICK_SECONDS: Final = 1.0


def shared_file(settings: Settings, listen: str) -> Path | None:
    """Return the file that a worker which listens there shares, None where it counts alone or in a Redis."""
    if settings.redis is not None:
        return None
    if settings.rate_limits.sqlite is not None:
        return Path(settings.rate_limits.sqlite)
    if listen.startswith("unix:") and worker_count(settings) > 1:
        return Path(listen.removeprefix("unix:")).with_name(FILE)
    return None


class RateCounters:
    """The counters of the worker that listens at `worker`; `settings` returns those in force."""

    def __init__(
        self, path: Path | None, worker: str, settings: Callable[[], Settings], clock: Clock = time.monotonic_ns
    ) -> None:
        self._shared = SharedCounters(path, worker, clock) if path is not None else None
        self._local = MemoryCounters(clock)
        self._settings = settings
        self._clock = clock
        self._path = path
        self._paused_until = 0
        self._trouble = ""
        self._wanted = False
        self._writing = NextTurn(self._write_some)

    def admit(self, scopes: Sequence[Scope], tokens: int, stream: bool) -> Decision:
        """Count a request. Raises a 503 `ApiError` where the file does not work, if the settings say so."""
        shared = self._shared
        if shared is None:
            return self._local.admit(scopes, tokens, stream)
        self._wanted = True
        if self._clock() >= self._paused_until:
            try:
                return shared.admit(scopes, tokens, stream)
            except StoreError as error:
                self._pause(str(error))
        if self._settings().rate_limits.on_store_error == "reject":
            raise limits_unavailable()
        decision = self._local.admit(scopes, tokens, stream)
        decision.alone = True
        return decision

    def settle(self, scopes: Sequence[Scope], decision: Decision, reserved: int, used: int, soon: bool = False) -> None:
        """Count the tokens that a request has used, where it was counted."""
        if self._shared is None or decision.alone:
            self._local.settle(scopes, decision, reserved, used)
            return
        try:
            self._shared.settle(scopes, decision, reserved, used, write=self._writes_now(soon))
        except StoreError as error:
            self._pause(str(error))

    def release(self, scopes: Sequence[Scope], decision: Decision, soon: bool = False) -> None:
        """Count a stream that has ended, where it was counted."""
        if self._shared is None or decision.alone:
            self._local.release(scopes, decision)
            return
        try:
            self._shared.release(scopes, decision, write=self._writes_now(soon))
        except StoreError as error:
            self._pause(str(error))

    def _writes_now(self, soon: bool) -> bool:
        """Return whether an end is to be written at once; have it written in the next turn if it may be that `soon`."""
        if self._clock() < self._paused_until:
            return False
        if soon:
            self._writing.want()
        return not soon

    def _write_some(self) -> bool:
        """Write a part of the ends; return whether there are more to write now."""
        if self._shared is None or self._clock() < self._paused_until:
            return False
        try:
            return self._shared.flush()
        except StoreError as error:
            self._pause(str(error))
            return False

    async def run(self) -> None:
        """Show the other workers that this one lives, once a second, from the first limit on; until cancelled."""
        shared = self._shared
        if shared is None:
            return
        while True:
            if self._wanted or _has_limits(self._settings()):
                self._wanted = True
                self._tick(shared)
            await asyncio.sleep(TICK_SECONDS)

    def close(self) -> None:
        """Write the ends that are not written yet, and close the file."""
        self._writing.cancel()
        if self._shared is not None:
            with contextlib.suppress(StoreError):
                while self._shared.flush():
                    pass
            self._shared.close()

    def _tick(self, shared: SharedCounters) -> None:
        try:
            shared.tick()
        except StoreError as error:
            self._pause(str(error))
            return
        except Exception:  # a bug, too, is no reason to stop for good
            log.exception("rates cannot be counted in %s", self._path)
            return
        self._paused_until = 0
        if self._trouble:
            log.info("rates are counted in %s again", self._path)
        self._trouble = ""

    def _pause(self, trouble: str) -> None:
        """Leave the file alone for a while; log what is wrong, once for as long as it is the same."""
        self._paused_until = self._clock() + PAUSE
        if trouble != self._trouble:
            log.warning("rates cannot be counted in %s: %s", self._path, trouble)
        self._trouble = trouble


def _has_limits(settings: Settings) -> bool:
    """Return whether a request may have limits."""
    organisations, tokens = settings.organisations.values(), settings.tokens
    return (
        settings.directory is not None
        or any_default(settings.rate_limits)
        or any(each.limits is not None for each in organisations)
        or any(each.limits is not None for each in tokens)
    )
