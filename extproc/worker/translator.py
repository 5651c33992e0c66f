"""Runs the jobs that translate large requests, in a process beside the worker, so that the event loop does not.

The process starts with the first such job and ends after a while without one. It does one job at a time; organisations
take turns. A thread talks to it: the event loop neither waits for it nor copies what it is sent.

Invariant: each job has a result, an `ApiError` where the process failed or took too long; then the process is ended,
and the next job starts another. That holds for a job whose caller has left, too: none keeps its turn for ever. Only the
job that the process was doing fails with it: requests that it had read are read again by the next one.

Decisions: docs/decisions.md, D80, D147.
"""

import asyncio
import logging
import os
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from weakref import ref

import msgspec

from extproc.exchange.endpoint import BedrockCall, TranslatedRequest
from extproc.exchange.jobs import Complete, HeldRequest, Plan, Read, TranslationJob, TranslationResult
from extproc.exchange.translation import release
from extproc.openai.completion import Usage
from extproc.openai.decoding import too_deep
from extproc.openai.errors import ApiError
from extproc.payload import Payload, Segments
from extproc.translate.completed import Completed
from extproc.worker import translation_wire as wire
from extproc.worker.cpu_limit import END_SIGNAL

log = logging.getLogger(__name__)

IDLE_SECONDS = 60.0
"""After so long without a job the process is ended, and its memory is free."""

RETRY_SECONDS = 1.0
"""Interval at which a process whose time is over is ended again; the thread may be starting it."""

HELD_BYTES = 16 << 20
"""Bytes of the bodies whose requests the process holds between reading and planning them, if they are several."""

_END_SECONDS = 1.0
"""Longest wait for the exit code of a process whose end of the connection is closed."""

_COPIED = 65_536
"""Bytes of a body up to which it is copied into one piece."""

ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONSAFEPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL")
"""All that the process gets of the worker's environment: no credentials."""


class Translator:
    """Runs translation jobs. Close it when the event loop ends."""

    def __init__(self, environ: Mapping[str, str] = os.environ, idle_seconds: float = IDLE_SECONDS) -> None:
        self._environ = {name: environ[name] for name in ENVIRONMENT if name in environ}
        self._idle_seconds = idle_seconds
        self._turns = OrganisationTurns()
        self._thread = ThreadPoolExecutor(1, "translator")
        self._process: Process | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._late = False
        """Whether the time of the last job was over."""

    @property
    def pid(self) -> int | None:
        """The process there is, if there is one."""
        return None if self._process is None else self._process.pid

    async def __call__(self, job: TranslationJob, seconds: float) -> TranslationResult:
        """Do `job` within `seconds`."""
        deadline = asyncio.get_running_loop().time() + seconds
        turn = self._turns.next(job.organisation)
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
        """Do `job`, whose turn it is. The turn ends with the work, also where nobody waits for it any more."""
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
        """End the process: the time of the job that it does is over, whether or not somebody waits for it."""
        if not self._late:
            log.error("a large request was not translated in time")
        self._late = True
        self._end()
        self._deadline = asyncio.get_running_loop().call_later(RETRY_SECONDS, self._end_late)

    def _done(self, turn: "Turn", work: "asyncio.Future[TranslationResult]") -> None:
        if not work.cancelled():
            work.exception()  # it may be that nobody waits for it
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
        """In the thread: talk to the process, which is started if there is none."""
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
    """One job's turn: `begun` is done once it is this job's. It is held from `next` to `end`."""

    organisation: str
    begun: asyncio.Future[None]
    working: bool = False
    """The thread works for it, and ends it."""


class OrganisationTurns:
    """The order of jobs: one at a time, organisations one after the other, of one the first that came."""

    def __init__(self) -> None:
        self.current: Turn | None = None
        self._waiting: dict[str, deque[Turn]] = {}

    def next(self, organisation: str) -> Turn:
        """Return a turn for a job of `organisation`, which begins at once if nobody has one."""
        turn = Turn(organisation, asyncio.get_running_loop().create_future())
        if self.current is None:
            self._begin(turn)
        else:
            self._waiting.setdefault(organisation, deque()).append(turn)
        return turn

    def end(self, turn: Turn) -> None:
        """End a turn, or take back one that has not begun; the next one begins."""
        if turn is not self.current:
            turn.begun.cancel()
            return
        self.current = None
        while self.current is None and self._waiting:
            organisation = next(iter(self._waiting))
            queue = self._waiting.pop(organisation)
            following = queue.popleft()
            if queue:
                self._waiting[organisation] = queue  # behind the others
            if not following.begun.done():
                self._begin(following)

    def _begin(self, turn: Turn) -> None:
        self.current = turn
        turn.begun.set_result(None)


class Ticket(HeldRequest):
    """A request that `process` has read and holds under `number`. Dropped with the last reference.

    Its body stays here until it is planned: if the process ends before, or forgets it, it is read again.
    """

    __slots__ = ("__weakref__", "body", "default_model", "denied", "endpoint", "number", "passed_over", "process")

    def __init__(self, process: "Process", number: int, job: Read, read: wire.ReadReply) -> None:
        super().__init__(read.model, read.images)
        self.process: Process | None = None
        self.body = job.body
        self.endpoint = job.endpoint
        self.passed_over = job.passed_over
        self.default_model = job.default_model
        self.denied = job.denied
        self.move(process, number)

    def __del__(self) -> None:
        self.forget()

    def move(self, process: "Process", number: int) -> None:
        """Make it a request that this process has read."""
        self.forget()
        self.process, self.number = process, number
        process.held[number] = ref(self)

    def forget(self) -> None:
        """Have the process that has read it drop it."""
        process, self.process = self.process, None
        if process is not None:
            process.held.pop(self.number, None)
            process.dropped.append(self.number)

    def release(self) -> None:
        """Free the body: the request is about to be planned, and is not read again."""
        body, self.body = self.body, b""
        release(body)


@dataclass(slots=True)
class Process:
    """One process. Its methods but `end` are the thread's."""

    environ: Mapping[str, str]
    dropped: deque[int] = field(default_factory=deque)
    held: "dict[int, ref[Ticket]]" = field(default_factory=dict)
    """The requests that it has read, and that somebody still refers to, by number, the first first."""
    _next: int = 0
    _connection: socket.socket = field(init=False)
    _child: "subprocess.Popen[bytes]" = field(init=False)

    def __post_init__(self) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-P", "-m", "extproc.worker.translation_process"]
        with theirs:
            try:
                self._child = subprocess.Popen(command, stdin=theirs.fileno(), env=dict(self.environ))  # noqa: S603 - ours
            except OSError:
                ours.close()
                raise
        self._connection = ours

    @property
    def pid(self) -> int:
        """Its id."""
        return self._child.pid

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._child.poll() is None

    def end(self) -> None:
        """End it at once; whoever waits for it gets an `EOFError`."""
        self._child.kill()
        threading.Thread(target=self._child.wait, daemon=True).start()

    def do(self, job: TranslationJob) -> TranslationResult:
        """Do `job`; blocks. Raises `OSError` or `EOFError`."""
        try:
            match job:
                case Read():
                    return self._read(job)
                case Plan():
                    return self._plan(job)
            return self._complete(job)
        except ApiError as error:
            return error
        except RecursionError:
            return too_deep()
        except (OSError, EOFError):
            if self._was_out_of_cpu():
                return wire.TOO_COMPLEX
            raise

    def _was_out_of_cpu(self) -> bool:
        """Return whether the process has ended in a call that was over its limit of CPU (docs/decisions.md, D147)."""
        try:
            return self._child.wait(_END_SECONDS) == -END_SIGNAL
        except subprocess.TimeoutExpired:
            return False

    def _read(self, job: Read) -> HeldRequest | ApiError:
        try:
            number, read = self._send_body(job.body, job)
        except ApiError as error:
            release(job.body)
            return error
        return Ticket(self, number, job, read)

    def _send_body(self, body: bytes | bytearray, job: "Read | Ticket") -> tuple[int, wire.ReadReply]:
        """Have a body read; return the number under which the request is held from now on. Raises `ApiError`."""
        self._make_room(len(body))
        self._next += 1
        reply, _ = self._ask(
            wire.ReadRequest(self._next, job.endpoint.path, job.passed_over, job.default_model, job.denied), [body]
        )
        if not isinstance(reply, wire.ReadReply):
            raise _unexpected(reply)
        return self._next, reply

    def _make_room(self, size: int) -> None:
        """Have the process forget what it has read first, so that it holds `HELD_BYTES` of bodies, or the next alone.

        A text takes up to five bytes a byte when it is decoded, and a caller decides how long its images take.
        """
        tickets = [ticket for reference in list(self.held.values()) if (ticket := reference()) is not None]
        size += sum(len(ticket.body) for ticket in tickets)
        for ticket in tickets:
            if size <= HELD_BYTES:
                return
            size -= len(ticket.body)
            ticket.forget()

    def _plan(self, job: Plan) -> TranslatedRequest:
        ticket = job.request
        assert isinstance(ticket, Ticket)
        if ticket.process is not self:
            if not ticket.body:
                raise EOFError("the process that planned the request has ended")
            number, _ = self._send_body(ticket.body, ticket)
            ticket.move(self, number)
        ticket.release()
        target = job.target
        images = job.images
        request = wire.PlanRequest(
            ticket.number,
            job.capabilities,
            target.model_id,
            target.foundation,
            tuple(images),
            target.project,
            job.keys,
            job.rules,
        )
        reply, received = self._ask(request, list(images.values()))
        if not isinstance(reply, wire.PlanReply):
            raise _unexpected(reply)
        pending, *blobs = received
        bodies = _bodies(tuple([call.blobs for call in reply.calls]), blobs)
        calls = [
            BedrockCall(
                call.path,
                body,
                call.accept,
                call.max_response,
                call.digest,
                call.response,
                call.inputs,
                call.project,
                call.metadata,
                call.most_output,
                call.billed,
                call.user,
                call.priority,
                call.reasons,
            )
            for call, body in zip(reply.calls, bodies, strict=True)
        ]
        return TranslatedRequest(tuple(calls), ticket.endpoint.decode_pending(pending))

    def _complete(self, job: Complete) -> Completed:
        headers = tuple(dict(response.headers) for response in job.responses)
        pending = msgspec.Raw(msgspec.json.encode(job.pending))
        request = wire.CompleteRequest(job.endpoint.path, pending, job.context, headers)
        reply, blobs = self._ask(request, [response.body for response in job.responses])
        if not isinstance(reply, wire.CompleteReply):
            raise _unexpected(reply)
        return Completed(bytes(blobs[0]), Usage(*reply.usage), reply.finish, reply.content_type)

    def _ask(
        self,
        request: wire.ReadRequest | wire.PlanRequest | wire.CompleteRequest,
        blobs: list[bytes | bytearray],
    ) -> tuple[wire.ReadReply | wire.PlanReply | wire.CompleteReply, list[bytearray]]:
        """Send a request; return its reply and the blobs of it. Raises `ApiError` where the reply is one."""
        drop = []
        while self.dropped:
            drop.append(self.dropped.popleft())
        wire.send(self._connection, wire.Header(request, tuple(map(len, blobs)), tuple(drop)), blobs)
        reply = wire.receive_header(self._connection, wire.ProcessReply)
        if reply is None:
            raise EOFError("the process has ended")
        received = [wire.receive_blob(self._connection, length) for length in reply.lengths]
        if isinstance(reply.reply, wire.Error):
            raise wire.api_error(reply.reply)
        return reply.reply, received


def _unexpected(reply: wire.ReadReply | wire.PlanReply | wire.CompleteReply) -> EOFError:
    return EOFError(f"the process sent a {type(reply).__name__} to another request")


def _bodies(sizes: tuple[int, ...], blobs: list[bytearray]) -> list[Payload]:
    """The bodies that these blobs make, so many each."""
    bodies: list[Payload] = []
    start = 0
    for size in sizes:
        pieces = blobs[start : start + size]
        start += size
        small = size == 1 and len(pieces[0]) < _COPIED
        bodies.append(bytes(pieces[0]) if small else Segments([memoryview(piece) for piece in pieces]))
    return bodies


def _unavailable(why: str) -> ApiError:
    return ApiError(
        503,
        f"{why} Try again.",
        type="server_error",
        code="translation_unavailable",
        headers={"retry-after": "1"},
    )
