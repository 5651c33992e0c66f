"""The state machine of an HTTP exchange, from the client's headers to the last byte of its response.

It receives what happens on the wire (`events`), and returns what to do (`directives`). The states (`states`) are the
same for every endpoint; the endpoint (`endpoint`, `routes`) and the way to respond (`responses`) differ. The steps are
in a module for each phase: `entry` (the headers), `sending` (the body) and `outcome` (the response); what they know of
the call is a `ClientCall` (`call`).

| state        | event           | next                        | directives                                            |
|--------------|-----------------|-----------------------------|-------------------------------------------------------|
| Begin        | RequestHeaders  | Buffering                   | Continue; or Reply: an error, a list of models        |
| Begin        | RequestHeaders  | Identifying                 | Wait: the caller's token is to be looked up           |
| Identifying  | Resumed         | Buffering, Assuming         | as for the headers                                    |
| Begin        | RequestHeaders  | Assuming                    | Wait: its organisation's role is to be assumed        |
| Assuming     | Resumed         | Buffering                   | as for the headers                                    |
| Begin, Identifying | RequestHeaders, Resumed | Querying | Wait: usage is to be queried, or Reply: an error      |
| Querying     | Resumed         | Done                        | Reply: a page of usage, or an error                   |
| Begin        | ResponseHeaders | Done                        | Continue: another filter's own reply                  |
| Buffering    | RequestBody     | Sent, SideCalling           | Forward, or Wait for side calls; or Reply: an error   |
| Buffering    | RequestBody     | Fetching                    | Wait, for images that the request names by URLs       |
| Buffering    | RequestBody     | Reading                     | Wait: it is large, and another process reads it       |
| Buffering    | Idle            | Buffering                   | none: the body is late, and counts more               |
| Buffering    | Idle            | Done                        | Reply: there are too many such, or it took too long   |
| Reading      | Resumed         | Planning, Fetching          | Wait; or Reply: an error                              |
| Fetching     | Resumed         | Sent, SideCalling, Planning | as for the body                                       |
| Planning     | Resumed         | Sent, SideCalling           | as for the body                                       |
| any of these | as above        | Counting                    | Wait: it is to be counted in a store far away         |
| Counting     | Resumed         | Fetching, Sent, SideCalling | as for the body                                       |
| Unanswered   | ResponseHeaders | Responding                  | none yet: the response is withheld                    |
| Sent         | Idle         | Done                        | Reply: Bedrock was idle for too long                  |
| SideCalling  | Resumed         | Done, SideCalling           | Reply; or Wait for more side calls                    |
| SideCalling  | Resumed         | Completing                  | Wait: the response is large                           |
| Completing   | Resumed         | Done                        | Reply                                                 |
| Responding   | ResponseBody, ResponseTrailers, Idle | same, Done | Head and Body, or Reply                       |
| Responding   | ResponseBody, ResponseTrailers | Completing  | Wait: the response is large, and has ended            |
| Done         | anything        | Done                        | none                                                  |
| any other pair |               | Done                        | Abort                                                 |

A special case is a local reply: Envoy itself may respond at any time (the body is too large, Bedrock cannot be
reached), and that response arrives in the same way as Bedrock's. It has `ResponseHeaders.local`, or arrives in a state
in which nothing has been sent yet.

Invariant: an `ApiError` raised anywhere below becomes one response in OpenAI's shape; only translated and signed
requests are forwarded; nothing follows the last directive.

Decisions: docs/decisions.md, D34, D103, D266, D297, D327.
"""

from collections.abc import Sequence
from typing import Final

from extproc.bedrock.converse_response import ConverseResponseError
from extproc.exchange import entry, outcome, sending
from extproc.exchange.call import ClientCall
from extproc.exchange.counting import settle
from extproc.exchange.directives import Abort, Body, Continue, Directive, Reply, Wait
from extproc.exchange.endpoint import TranslatedRequest
from extproc.exchange.events import (
    Event,
    Idle,
    RequestBody,
    RequestHeaders,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
    Resumed,
)
from extproc.exchange.gateway import Gateway
from extproc.exchange.jobs import (
    Admission,
    Assumed,
    FetchedImages,
    FetchFailure,
    HeldRequest,
    JobResult,
    SideFailure,
    SideIdle,
    SideResponse,
    SideResponses,
    UsageFailure,
    UsagePage,
)
from extproc.exchange.local_replies import bedrock_idle
from extproc.exchange.responses import ResponseRelay
from extproc.exchange.states import (
    Assuming,
    Begin,
    Buffering,
    Completing,
    Counting,
    Done,
    Fetching,
    Identifying,
    Planning,
    Querying,
    Reading,
    Responding,
    Sent,
    SideCalling,
    State,
    Step,
    Unanswered,
)
from extproc.openai.decoding import too_deep
from extproc.openai.errors import ApiError
from extproc.tenancy.store import LookedUp, Unavailable
from extproc.translate.completed import Completed
from extproc.translate.errors import ModelError, bad_response

SLOW_BODY_SECONDS: Final = 1.0
"""Seconds from a request's headers after which its body counts for all that Envoy may take for it."""


class Exchange:
    """An HTTP exchange; the module has the table of its states and events."""

    def __init__(self, gateway: Gateway, fallback_id: str) -> None:
        self._call = ClientCall(gateway, fallback_id)
        self._state: State = Begin()

    @property
    def done(self) -> bool:
        """Return whether the exchange is over."""
        return isinstance(self._state, Done)

    @property
    def progressed(self) -> bool:
        """Return whether the last event brought the exchange on; the time without such an event is idle time."""
        state = self._state
        return state.relay.progressed if isinstance(state, Responding) else True

    def idle_timeout(self, written: float) -> float | None:
        """Return the idle seconds after which to send the next `Idle`; the caller was written to at `written` of them.

        None while a job runs, which has a limit of its own. A body that Envoy buffers counts as idle while it arrives.
        """
        state = self._state
        if isinstance(state, Responding):
            return state.relay.idle_timeout(written)
        settings = self._call.gateway.settings
        if isinstance(state, Buffering):
            counted = state.admitted.reservation.pieces
            return settings.limits.upload_timeout(state.size) if counted else SLOW_BODY_SECONDS
        return settings.streaming.idle_seconds if isinstance(state, Sent) else None

    def close(self, now: float) -> None:
        """Release what the exchange holds: its stream has ended, in whatever way, at `now` in unix seconds."""
        call = self._call
        if call.record.stream and not self.done:
            call.meter.leave(now)
        if call.ticket is not None and not call.record.stream:
            call.ticket.settle(call.ticket.tokens, soon=True)  # the caller left, and nobody counts what was used
        self._finish(soon=True)
        call.release()

    def receive(self, event: Event, now: float) -> Sequence[Directive]:
        """Return what to do about `event`; `now` is in unix seconds."""
        if type(self._state) is Done:
            return ()
        call = self._call
        call.now = now
        try:
            directives = self._move(event)
        except ApiError as api_error:
            if isinstance(api_error, ModelError):
                call.meter.count(api_error.usage, "", now)
            directives = [call.error(api_error)]
        except ConverseResponseError as error:
            directives = [call.error(bad_response(str(error)))]
        except RecursionError:
            if not isinstance(self._state, Buffering | Fetching):
                raise
            directives = [call.error(too_deep())]
        for directive in directives:
            if _is_last(directive):
                self._finish()
        return directives

    def _move(self, event: Event) -> Sequence[Directive]:
        """Apply one row of the module's table."""
        state = self._state
        step: Step | None = None
        match event:
            case ResponseBody() | ResponseTrailers() | Idle() if isinstance(state, Responding):
                return self._respond(state.relay, event)
            case RequestHeaders() if isinstance(state, Begin):
                step = entry.headers_arrived(self._call, event)
            case RequestBody() if isinstance(state, Buffering):
                step = sending.body_arrived(self._call, state.admitted, event)
            case ResponseHeaders() if isinstance(state, Unanswered):
                relay = outcome.response_arrived(self._call, state, event)
                self._state = Responding(relay)
                return self._end(relay) if event.end_of_stream else ()
            case ResponseHeaders() if isinstance(state, Begin):
                step = Done(), Continue()
            case Idle() if isinstance(state, Buffering | Sent):
                return self._wait_on(state, event.seconds)
            case Resumed(result=ApiError() as error) if isinstance(state, Reading | Planning | Completing):
                raise error
            case Resumed():
                step = self._resume(event.result)
        if step is None:
            return (Abort(f"{type(event).__name__} while {type(state).__name__}"),)
        self._state, directive = step
        return (directive,)

    def _resume(self, result: JobResult) -> Step | None:
        """Go on with the result of a job; None if this is no state that waits for such a result."""
        state, call = self._state, self._call
        if isinstance(state, Reading) and isinstance(result, HeldRequest):
            return sending.read(call, state.admitted, result)
        if isinstance(state, Fetching) and isinstance(result, FetchedImages | FetchFailure):
            return sending.fetched(call, state, result)
        if isinstance(state, Planning) and isinstance(result, TranslatedRequest):
            return sending.planned(call, state.admitted, result)
        if isinstance(state, Counting) and isinstance(result, Admission):
            return sending.counted(call, state, result)
        if isinstance(state, SideCalling) and isinstance(result, SideResponses | SideResponse | SideFailure | SideIdle):
            return outcome.side_called(call, state, result)
        if isinstance(state, Completing) and isinstance(result, Completed):
            return outcome.completed(call, result)
        if isinstance(state, Identifying) and isinstance(result, LookedUp | Unavailable):
            return entry.looked_up(call, state, result)
        if isinstance(state, Assuming) and isinstance(result, Assumed):
            return entry.assumed(call, state)
        if isinstance(state, Querying) and isinstance(result, UsagePage | UsageFailure):
            return entry.queried(call, result)
        return None

    def _wait_on(self, state: Buffering | Sent, seconds: float) -> Sequence[Directive]:
        """Go on waiting; raise an `ApiError` where the body, or Bedrock, took too long."""
        if isinstance(state, Sent):
            raise bedrock_idle(seconds)
        entry.body_is_late(self._call, state, seconds)
        return ()

    def _respond(self, relay: ResponseRelay, event: ResponseBody | ResponseTrailers | Idle) -> list[Directive]:
        """Go on with a response that is arriving."""
        if not isinstance(event, ResponseBody):
            return relay.idle(event.seconds) if isinstance(event, Idle) else self._end(relay)
        data = event.data
        directives = relay.body(data) if data else []
        call = self._call
        if call.hold is not None and not call.record.estimated:
            call.hold.settle()  # before anybody is told: a worker that is killed now has counted as Envoy has
        if event.end_of_stream and not any(_is_last(directive) for directive in directives):
            directives = [*directives, *self._end(relay)]
        return directives

    def _end(self, relay: ResponseRelay) -> list[Directive]:
        """Return the end of a response; or a wait for it, where another process is to assemble it."""
        directives = relay.end()
        if directives and type(directives[-1]) is Wait:
            self._state = Completing()
        return directives

    def _finish(self, soon: bool = False) -> None:
        """End the exchange, and free its state, such as a request, before Envoy closes the stream."""
        self._state = Done()
        settle(self._call, soon)


def _is_last(directive: Directive) -> bool:
    """Return whether nothing follows it."""
    if type(directive) is Body:  # nearly all of them
        return directive.end_of_stream
    kind = type(directive)  # by identity: `isinstance` with a union costs four times as much, three times a call
    return kind is Reply or kind is Abort
