"""Parts that the drivers share: the gRPC services' names, their options, the tick, whose turn a stream is, and the log
of failed streams."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from extproc.exchange.events import RequestHeaders
from extproc.exchange.jobs import Job, JobResult
from extproc.transport.large import Message
from extproc.transport.listen import Tls
from extproc.transport.stream import AbandonedError, Clock, first_event
from extproc.transport.turns import NOBODYS, Turn
from extproc.transport.wire import WireError

log = logging.getLogger(__name__)

SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"

TICK_SECONDS = 0.25
"""Seconds between two checks for idle streams; the grain of keep-alives."""

RunJob = Callable[[Job, float], Awaitable[JobResult]]
"""Runs a job within so many seconds. A failure that the exchange knows of is a result, not an exception."""


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Settings of a server beside its address."""

    message_bytes: int
    """The largest message that Envoy may send: its buffer limit, and some more for headers."""
    longest_wait: float
    """The filter's `max_message_timeout`, in seconds."""
    clock: Clock = field(default_factory=Clock)
    tls: Tls | None = None
    turn_of: Callable[[RequestHeaders], Turn] = lambda headers: NOBODYS
    """Returns whose turn a request is, where several wait to be begun."""


async def tick_for_ever(tick: Callable[[], None]) -> None:
    """Call `tick` every `TICK_SECONDS`, until cancelled. A bug in it is logged, and the next call comes."""
    while True:
        await asyncio.sleep(TICK_SECONDS)
        try:
            tick()
        except Exception:
            log.exception("the check for idle streams met a bug")


def turn_of(message: Message, of_headers: Callable[[RequestHeaders], Turn]) -> Turn:
    """Return whose turn a stream is that begins with this message."""
    try:
        event = first_event(message)
        return of_headers(event) if isinstance(event, RequestHeaders) else NOBODYS
    except Exception:  # whatever it is, the stream meets it in its turn, and reports it
        return NOBODYS


class StrayCancellationError(Exception):
    """A task of a call ended as cancelled, although nobody cancelled it."""


def is_cancelled() -> bool:
    """Return whether the running task was cancelled; otherwise a CancelledError came from within it."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def report(request_id: str, error: Exception) -> None:
    """Log that this error ended a stream: with its traceback, where it is a bug."""
    if isinstance(error, AbandonedError | WireError):
        log.error("request %s: ended in error: %s", request_id, error)
    else:
        log.error("request %s: ended by a bug", request_id, exc_info=error)
