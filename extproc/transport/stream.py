"""An ext_proc stream on any transport: Envoy's bytes in, events to an exchange, Envoy's bytes out. No I/O, no tasks.

A driver (`grpcio`, `http2`) brings the bytes and the time, runs the job in `pending_job`, and must call one method
at a time. Whatever a method raises, the driver ends the stream in error, never cleanly: Envoy reads a clean end as
"pass the rest as it is".

| what happened                 | call                    | then                                                 |
|-------------------------------|-------------------------|------------------------------------------------------|
| Envoy sent a message          | `receive(data)`         | send what it returns; read `pending_job`             |
| Envoy sent several at once    | `receive_all(messages)` | the same; then end the stream if it returns an error |
| that job has a result         | `resume(result)`        | send what it returns; read `pending_job`             |
| the stream has ended, however | `close()`, once         | nothing                                              |
| now and then                  | `tick()` if `is_idle`   | send what it returns                                 |

A job belongs to the message that led to it: when Envoy sends another (a local reply, because the client was too
slow), `pending_job` is None or a new one, and the old one is to be cancelled.

Decisions: docs/decisions.md, D43, D173.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from extproc.exchange.directives import Abort, Directive, Wait
from extproc.exchange.events import Event, Idle, RequestHeaders, ResponseBody, Resumed
from extproc.exchange.jobs import Job, JobResult
from extproc.payload import Payload
from extproc.transport.large import Message
from extproc.transport.wire import ExtProcSession, SessionState

LEEWAY = 1.0
"""Seconds by which a job must be over before Envoy's `max_message_timeout`."""

BRIEF = 0.5
"""Seconds of a job for which Envoy needs no more time: it grants a worker 30 for each message."""

SETTLED = (SessionState.RELAYING, SessionState.OVER)
"""States in which the exchange has nothing more to send."""


class ExchangeProtocol(Protocol):
    """The methods of an exchange that a stream calls; `extproc.exchange.exchange.Exchange` has them."""

    def receive(self, event: Event, now: float) -> Sequence[Directive]:
        """Return the directives that `event` leads to, at Unix time `now`."""

    def close(self, now: float) -> None:
        """Release what the exchange holds: the stream has ended at Unix time `now`, and no event follows."""

    def idle_timeout(self, written: float) -> float | None:
        """Return the seconds without progress after which the exchange wants its next `Idle`; None: never.

        `written` is when the caller was last written to, in seconds after the last progress: below 0 before it.
        """

    @property
    def progressed(self) -> bool:
        """Whether the last event brought the exchange on: not so for bytes that are no whole event of a stream yet."""


class AbandonedError(Exception):
    """An exchange returned `Abort`; the message is its reason."""


@dataclass(frozen=True, slots=True)
class Clock:
    """The two clocks, in seconds: Unix time for signatures, and a monotonic one for timeouts."""

    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic


@dataclass(frozen=True, slots=True)
class TimedJob:
    """A job to run now, for at most `seconds`."""

    job: Job
    seconds: float


def first_event(message: Message) -> Event | None:
    """Return the event of a stream's first message, which is left as it is. Raises `WireError`."""
    return ExtProcSession().receive(bytes(message))


class ExtProcStream:
    """An exchange and its session with Envoy. `longest_wait` is the filter's `max_message_timeout` in seconds."""

    __slots__ = (
        "_clock",
        "_exchange",
        "_give_up_at",
        "_last_progress",
        "_last_written",
        "_longest_wait",
        "_responding",
        "_session",
        "pending_job",
        "request_id",
    )

    def __init__(self, exchange: ExchangeProtocol, clock: Clock, longest_wait: float) -> None:
        self.pending_job: TimedJob | None = None
        self.request_id = "-"
        self._exchange = exchange
        self._clock = clock
        self._longest_wait = longest_wait
        self._session = ExtProcSession()
        self._last_progress = self._last_written = clock.steady()
        self._responding = False
        self._give_up_at: float | None = None

    @property
    def over(self) -> bool:
        """True once the last message is queued; what Envoy may still send is of no interest."""
        return self._session.state is SessionState.OVER

    @property
    def is_idle(self) -> bool:
        """True if nothing came, or nothing was written, for so long that the exchange is due an `Idle`."""
        if self.pending_job is not None or self._session.state in SETTLED:
            return False
        due = self._exchange.idle_timeout(self._last_written - self._last_progress)
        return due is not None and self._clock.steady() - self._last_progress >= due

    def close(self) -> None:
        """Tell the exchange that the stream has ended."""
        self._exchange.close(self._clock.wall())

    def receive(self, data: bytes) -> list[Payload]:
        """Return the messages to send for this `ProcessingRequest`. Raises `WireError`, `AbandonedError`, or a bug."""
        self._handle(self._session.receive(data))
        return self._session.drain()

    def resume(self, result: JobResult) -> list[Payload]:
        """Return the messages to send for the job's `result`. Raises as `receive` does."""
        self._dispatch(Resumed(result))
        return self._session.drain()

    def tick(self) -> list[Payload]:
        """Return the messages to send because the stream is idle; call it if `is_idle`. Raises as `receive` does."""
        self._last_written = self._clock.steady()
        self.pending_job = self._apply(
            self._exchange.receive(Idle(self._last_written - self._last_progress), self._clock.wall())
        )
        return self._session.drain()

    def receive_all(self, messages: list[Message]) -> tuple[list[Payload], Exception | None]:
        """Return the messages to send for these, which came together: pieces of a body in a row make one.

        Where one of them leads to an error, it and all after it lead to nothing else, and the error is returned with
        the messages of those before it. They are taken out of the list: a large one is not kept while it is handled.
        """
        messages.reverse()
        while messages:
            mark = self._session.mark()
            try:
                self._handle(self._session.receive(messages.pop()))
            except Exception as error:
                self._session.roll_back(mark)
                return self._session.drain(), error
        return self._session.drain(), None

    def _handle(self, event: Event | None) -> None:
        if event is not None:
            self._give_up_at = None
            if type(event) is RequestHeaders:
                self.request_id = event.headers.get("x-request-id", self.request_id)
            self._dispatch(event)

    def _dispatch(self, event: Event) -> None:
        self.pending_job = None
        clock = self._clock
        now = clock.steady()
        directives = self._exchange.receive(event, clock.wall())
        if self._exchange.progressed:
            self._last_progress = now
        piece = type(event) is ResponseBody
        if directives or not (self._responding and piece):
            self._last_written = now  # a response's first bytes count too: an exception may still follow them
        self._responding = piece
        self.pending_job = self._apply(directives)
        if self.pending_job is None and self._session.stuck:
            raise RuntimeError(f"the exchange left Envoy waiting after {type(event).__name__}")

    def _apply(self, directives: Sequence[Directive]) -> TimedJob | None:
        """Apply the directives; return the job that one of them waits for."""
        pending_job: TimedJob | None = None
        for directive in directives:  # their types by identity: `isinstance` costs 600 instructions where it is false
            if type(directive) is Abort:
                raise AbandonedError(directive.reason)
            if type(directive) is Wait:
                pending_job = self._timed_job(directive)
            else:
                self._session.apply(directive)
        return pending_job

    def _timed_job(self, wait: Wait) -> TimedJob:
        """Return the job, limited to the time that Envoy allows: the longest wait from the first job on."""
        now = self._clock.steady()
        if self._give_up_at is None:
            self._give_up_at = now + self._longest_wait - LEEWAY
        self._session.extend_timeout(self._longest_wait if wait.seconds > BRIEF else 0.0)
        return TimedJob(wait.job, max(0.0, min(wait.seconds, self._give_up_at - now)))
