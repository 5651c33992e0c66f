"""The worker's end of the connection to its translation process: it starts one, and has it do a job.

Every method blocks, and belongs to the thread of `translator`. A request that a process has read is a `Ticket`, which
keeps the body until it is planned, so that another process can read it again.

Decision: docs/decisions.md, D147.
"""

import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from weakref import ref

import msgspec
from msgspec.structs import replace

from extproc.exchange.call_series import CallSeries
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

HELD_BYTES = 16 << 20
"""Bytes of the bodies whose requests the process holds between reading and planning them, if they are several."""

_END_SECONDS = 1.0
"""Longest wait for the exit code of a process whose end of the connection is closed."""

_COPIED = 65_536
"""Bytes of a body up to which it is copied into one piece."""

ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONSAFEPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL")
"""The variables that the process gets of the worker's environment: no credentials."""


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
    """One process. All methods but `end` are for the thread."""

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
        environ = {name: self.environ[name] for name in ENVIRONMENT if name in self.environ}
        with theirs:
            try:
                self._child = subprocess.Popen(command, stdin=theirs.fileno(), env=environ)  # noqa: S603 - ours
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
            self._send_again(ticket)
        ticket.release()
        reply, received = self._ask(_plan_request(ticket.number, job), list(job.images.values()))
        if not isinstance(reply, wire.PlanReply):
            raise _unexpected(reply)
        pending, *blobs = received
        if reply.series is not None:
            series = _series(reply.calls[0], reply.series, blobs[0])
            return TranslatedRequest(series, ticket.endpoint.decode_pending(pending))
        bodies = _bodies([call.blobs for call in reply.calls], blobs)
        calls = tuple([_bedrock_call(call, body) for call, body in zip(reply.calls, bodies, strict=True)])
        return TranslatedRequest(calls, ticket.endpoint.decode_pending(pending))

    def _send_again(self, ticket: Ticket) -> None:
        """Have this process read a request that another one has read. Raises `EOFError` if its body is gone."""
        if not ticket.body:
            raise EOFError("the process that planned the request has ended")
        number, _ = self._send_body(ticket.body, ticket)
        ticket.move(self, number)

    def _complete(self, job: Complete) -> Completed:
        headers = tuple(dict(response.headers) for response in job.responses)
        pending = msgspec.json.encode(job.pending)
        request = wire.CompleteRequest(job.endpoint.path, job.context, headers)
        reply, blobs = self._ask(request, [pending, *(response.body for response in job.responses)])
        if not isinstance(reply, wire.CompleteReply):
            raise _unexpected(reply)
        [body] = _bodies([1], blobs)
        return Completed(body, Usage(*reply.usage), reply.finish, reply.content_type)

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


def _plan_request(number: int, job: Plan) -> wire.PlanRequest:
    """Return the message that has the request `number` planned."""
    target = job.target
    return wire.PlanRequest(
        number,
        job.capabilities,
        target.model_id,
        target.foundation,
        tuple(job.images),
        target.project,
        job.keys,
        job.rules,
    )


def _bedrock_call(call: wire.CallFields, body: Payload) -> BedrockCall:
    return BedrockCall(
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
        call.page_tokens,
    )


def _series(common: wire.CallFields, fields: wire.SeriesFields, bodies: bytearray) -> CallSeries:
    """Return the calls with these bodies, one behind the other."""
    ends = tuple(accumulate(fields.sizes))

    def call(at: int) -> BedrockCall:
        return replace(
            _bedrock_call(common, bytes(memoryview(bodies)[ends[at] - fields.sizes[at] : ends[at]])),
            digest=fields.digests[at],
            max_response=fields.max_responses[at],
            response=fields.responses[at],
            inputs=fields.inputs[at],
        )

    return CallSeries(call, fields.sizes, sum(fields.inputs), sum(fields.responses))


def _bodies(sizes: list[int], blobs: list[bytearray]) -> list[Payload]:
    """Return bodies of so many blobs each."""
    bodies: list[Payload] = []
    start = 0
    for size in sizes:
        pieces = blobs[start : start + size]
        start += size
        small = size == 1 and len(pieces[0]) < _COPIED
        bodies.append(bytes(pieces[0]) if small else Segments([memoryview(piece) for piece in pieces]))
    return bodies
