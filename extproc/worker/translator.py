"""A runner of the jobs that translate large requests, in a process beside the worker: the event loop goes on.

The process starts with the first such job and ends after a while without one. It does one job at a time; organisations
take turns, and so do the tokens of each. A thread talks to it: the event loop neither waits for it nor copies what it
is sent.

Invariant: each job has a result, an `ApiError` where the process failed or took too long; then the process is ended,
and the next job starts another. That holds for a job whose caller has left, too: none keeps its turn for ever. Only the
job that the process was doing fails with it: requests that it had read are read again by the next one.

Decision: docs/decisions.md, D80.
"""

import asyncio
import logging
import os
import subprocess
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from extproc.exchange.jobs import TranslationJob, TranslationResult
from extproc.openai.errors import ApiError
from extproc.worker.translation_client import Process

log = logging.getLogger(__name__)

IDLE_SECONDS = 60.0
"""After so long without a job the process is ended, and its memory is free."""

RETRY_SECONDS = 1.0
"""Interval at which a process whose time is over is ended again; the thread may be starting it."""


class Translator:
    """Runs translation jobs. Close it when the event loop ends."""

    def __init__(self, environ: Mapping[str, str] = os.environ, idle_seconds: float = IDLE_SECONDS) -> None:
        self._environ = environ
        self._idle_seconds = idle_seconds
        self._turns = Turns()
        self._thread = ThreadPoolExecutor(1, "translator")
        self._process: Process | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._late = False
        """True if the time of the last job was over before its result."""

    @property
    def pid(self) -> int | None:
        """The process there is, if there is one."""
        return None if self._process is None else self._process.pid

    async def __call__(self, job: TranslationJob, seconds: float) -> TranslationResult:
        """Do `job` within `seconds`."""
        deadline = asyncio.get_running_loop().time() + seconds
        turn = self._turns.next(job.organisation, job.token)
        try:
            async with asyncio.timeout_at(deadline):
                await turn.begun
            return await self._run(job, turn, deadline)
        except TimeoutError:
            return _unavailable("Too many large requests at the moment.")
        finally:
            if not turn.working:
                self._turns.end(turn)

    def close(self) -> None:
        """End the process."""
        for timer in (self._idle, self._deadline):
            if timer is not None:
                timer.cancel()
        self._end()
        self._thread.shutdown(wait=False)

    async def _run(self, job: TranslationJob, turn: "Turn", deadline: float) -> TranslationResult:
        """Do `job`, whose turn it is. The turn ends with the work, even if the caller has left."""
        loop = asyncio.get_running_loop()
        if self._idle is not None:
            self._idle.cancel()
        work = loop.run_in_executor(self._thread, self._work, job)
        turn.working = True
        self._late = False
        self._deadline = loop.call_at(deadline, self._end_late)
        result = asyncio.shield(work)  # before `_done`: so this job reads `_late` before the next one sets it
        work.add_done_callback(partial(self._done, turn))
        try:
            return await result
        except Exception as error:
            if self._late:
                return _unavailable("The request could not be translated in time.")
            expected = isinstance(error, OSError | EOFError | subprocess.SubprocessError)
            log.error("the process that translates large requests has failed: %r", error, exc_info=not expected)
            return _unavailable("The request could not be translated.")

    def _end_late(self) -> None:
        """End the process: the time of its job is over, even if the caller has left."""
        if not self._late:
            log.error("a large request was not translated in time")
        self._late = True
        self._end()
        self._deadline = asyncio.get_running_loop().call_later(RETRY_SECONDS, self._end_late)

    def _done(self, turn: "Turn", work: "asyncio.Future[TranslationResult]") -> None:
        if not work.cancelled():
            work.exception()  # marks it as retrieved: the caller may have left
        loop = work.get_loop()
        if self._deadline is not None:
            self._deadline.cancel()
        self._turns.end(turn)
        if self._idle is not None:
            self._idle.cancel()
        if not loop.is_closed():
            self._idle = loop.call_later(self._idle_seconds, self._end_if_idle)

    def _end_if_idle(self) -> None:
        """End the process, unless it works, or has read requests whose images are being fetched."""
        process = self._process
        if self._turns.current is not None:
            return  # `_done` comes again
        if process is not None and process.held:
            self._idle = asyncio.get_running_loop().call_later(self._idle_seconds, self._end_if_idle)
        else:
            self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end()

    def _work(self, job: TranslationJob) -> TranslationResult:
        """Have the process do `job`, and start one if there is none. It runs in the thread."""
        process = self._process
        if process is None or not process.is_alive:
            process = self._process = Process(self._environ)
        try:
            return process.do(job)
        except BaseException:  # what it sends next may belong to this job: no other job may read it
            if self._process is process:
                self._process = None
            process.end()
            raise


@dataclass(slots=True, eq=False)
class Turn:
    """A job's turn, from `next` to `end`; `begun` is done once it is this job that may run."""

    begun: asyncio.Future[None]
    working: bool = False
    """The thread works for it, and ends it."""


class Turns:
    """The order of jobs: one at a time, organisations one after the other, of each its tokens, of one the first that
    came."""

    def __init__(self) -> None:
        self.current: Turn | None = None
        self._waiting: dict[str, dict[str, deque[Turn]]] = {}

    def next(self, organisation: str, token: str = "") -> Turn:
        """Return a turn for a job of `token`, which begins at once if no other job has one."""
        turn = Turn(asyncio.get_running_loop().create_future())
        if self.current is None:
            self._begin(turn)
        else:
            self._waiting.setdefault(organisation, {}).setdefault(token, deque()).append(turn)
        return turn

    def end(self, turn: Turn) -> None:
        """End a turn, or take back one that has not begun; the next one begins."""
        if turn is not self.current:
            turn.begun.cancel()
            return
        self.current = None
        while self.current is None and self._waiting:
            following = self._following()
            if not following.begun.done():
                self._begin(following)

    def _following(self) -> Turn:
        """Remove the turn that is next; its organisation and its token are then behind the others."""
        organisation = next(iter(self._waiting))
        tokens = self._waiting.pop(organisation)
        token = next(iter(tokens))
        queue = tokens.pop(token)
        following = queue.popleft()
        if queue:
            tokens[token] = queue
        if tokens:
            self._waiting[organisation] = tokens
        return following

    def _begin(self, turn: Turn) -> None:
        self.current = turn
        turn.begun.set_result(None)


def _unavailable(why: str) -> ApiError:
    return ApiError(
        503,
        f"{why} Try again.",
        type="server_error",
        code="translation_unavailable",
        headers={"retry-after": "1"},
    )
