"""One stream of any transport: Envoy's bytes in, an exchange asked, Envoy's bytes out. No I/O, no tasks.

A driver (`grpcio`, `http2`) brings the bytes and the time, runs the job that `errand` names, and must
call one method at a time. Whatever a method raises, the driver ends the stream in error, never cleanly: a clean
end is read by Envoy as "pass the rest as it is".

What the driver calls, and when:

| what happened                          | call                    | then                                         |
|----------------------------------------|-------------------------|----------------------------------------------|
| Envoy sent a message                   | `receive(data)`         | send what it gives; look at `errand`          |
| Envoy sent several at once             | `receive_all(messages)` | the same; then look at the error it gives     |
| the job that `errand` named has a result  | `resume(result)`        | send what it gives; look at `errand`          |
| the stream has ended, however          | `close()`, once         | nothing                                      |
| now and then                           | `tick()` if `impatient` | send what it gives                           |

A job belongs to the message that led to it: when Envoy sends another (its own answer, say, because the client
was too slow), `errand` is None or a new one, and the old one is to be cancelled.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from extproc.exchange.directives import Abort, Directive, Job, Wait
from extproc.exchange.events import Event, RequestHeaders, Resumed, Silence
from extproc.payload import Payload
from extproc.transport.large import Message
from extproc.transport.wire import Dialogue, State

LEEWAY = 1.0
"""Seconds by which a job must be over before Envoy would give up waiting."""

SETTLED = (State.RELAYING, State.OVER)
"""States in which the exchange has nothing left to say."""


class Exchange(Protocol):
    """What a stream needs of an exchange; `extproc.exchange.exchange.Exchange` is one."""

    def receive(self, event: Event, now: float) -> Sequence[Directive]:
        """What is to be done about `event`, at Unix time `now`."""

    def close(self) -> None:
        """The stream has ended, in whatever way: nothing more is to come of it."""

    def silence_due(self, reported: float) -> float | None:
        """Return the seconds without an event after which the exchange wants its next `Silence`; None: never.

        `reported` is what the last `Silence` since the last event counted, 0 if there was none.
        """


class AbandonedError(Exception):
    """The exchange said `Abort`; the message is its reason."""


@dataclass(frozen=True, slots=True)
class Clock:
    """The two times there are, in seconds: Unix time for what is signed, and one that never jumps."""

    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic


@dataclass(frozen=True, slots=True)
class Errand:
    """A job to run now, for at most `seconds`."""

    job: Job
    seconds: float


class Stream:
    """One exchange and its dialogue with Envoy. `longest_wait` is the filter's `max_message_timeout` in seconds."""

    __slots__ = (
        "_clock",
        "_dialogue",
        "_exchange",
        "_give_up_at",
        "_heard",
        "_longest_wait",
        "_stirred",
        "errand",
        "request_id",
    )

    def __init__(self, exchange: Exchange, clock: Clock, longest_wait: float) -> None:
        self.errand: Errand | None = None
        self.request_id = "-"
        self._exchange = exchange
        self._clock = clock
        self._longest_wait = longest_wait
        self._dialogue = Dialogue()
        self._heard = self._stirred = clock.steady()
        self._give_up_at: float | None = None

    @property
    def over(self) -> bool:
        """The last word has been said; what Envoy may still send is of no interest."""
        return self._dialogue.state is State.OVER

    @property
    def impatient(self) -> bool:
        """It has been silent for so long that the exchange wants to hear of it."""
        if self.errand is not None or self._dialogue.state in SETTLED:
            return False
        due = self._exchange.silence_due(self._stirred - self._heard)
        return due is not None and self._clock.steady() - self._heard >= due

    def close(self) -> None:
        """Tell the exchange that the stream has ended."""
        self._exchange.close()

    def receive(self, data: bytes) -> list[Payload]:
        """Messages to send because of this `ProcessingRequest`. Raises `WireError`, `AbandonedError`, or a bug."""
        self._understand(self._dialogue.hear(data))
        return self._dialogue.take()

    def resume(self, result: object) -> list[Payload]:
        """Messages to send because the job came to `result`. Raises as `receive` does."""
        self._tell(Resumed(result))
        return self._dialogue.take()

    def tick(self) -> list[Payload]:
        """Messages to send because it is silent; call when `impatient`. Raises as `receive` does."""
        self._stirred = self._clock.steady()
        self.errand = self._obey(self._exchange.receive(Silence(self._stirred - self._heard), self._clock.wall()))
        return self._dialogue.take()

    def receive_all(self, messages: list[Message]) -> tuple[list[Payload], Exception | None]:
        """Messages to send because of these, which came together: pieces of a body in a row make one.

        Where one of them leads to an error, it and all after it lead to nothing else, and the error is given with
        what those before it led to. They are taken out of the list: a large one is not kept while it is worked on.
        """
        messages.reverse()
        while messages:
            mark = self._dialogue.mark()
            try:
                self._understand(self._dialogue.hear(messages.pop()))
            except Exception as error:
                self._dialogue.unsay(mark)
                return self._dialogue.take(), error
        return self._dialogue.take(), None

    def _understand(self, event: Event | None) -> None:
        if event is not None:
            self._give_up_at = None
            if isinstance(event, RequestHeaders):
                self.request_id = event.headers.get("x-request-id", self.request_id)
            self._tell(event)

    def _tell(self, event: Event) -> None:
        self.errand = None
        clock = self._clock
        self._heard = self._stirred = clock.steady()
        self.errand = self._obey(self._exchange.receive(event, clock.wall()))
        if self.errand is None and self._dialogue.stuck:
            raise RuntimeError(f"the exchange left Envoy waiting after {type(event).__name__}")

    def _obey(self, directives: Sequence[Directive]) -> Errand | None:
        """Say them; gives the job that one of them waits for."""
        errand: Errand | None = None
        for directive in directives:
            if isinstance(directive, Abort):
                raise AbandonedError(directive.reason)
            if isinstance(directive, Wait):
                errand = self._errand(directive)
            else:
                self._dialogue.say((directive,))
        return errand

    def _errand(self, wait: Wait) -> Errand:
        """The job, with no more time than Envoy gives: it was promised the longest wait at the first job."""
        now = self._clock.steady()
        if self._give_up_at is None:
            self._give_up_at = now + self._longest_wait - LEEWAY
        self._dialogue.ask_for_time(self._longest_wait)
        return Errand(wait.job, max(0.0, min(wait.seconds, self._give_up_at - now)))
