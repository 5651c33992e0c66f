"""The state machine of an HTTP exchange, from the client's headers to the last byte of its response.

It receives what happens on the wire (`events`), and returns what to do (`directives`). The states (`states`) are the
same for every endpoint; the endpoint (`endpoint`, `routes`) and the way to respond (`responses`) differ.

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
| Buffering    | Idle            | Done                        | Reply: the body has not arrived in time               |
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
| Done         | anything        | Done                        | none                                                  |
| any other pair |               | Done                        | Abort                                                 |

A special case is a local reply: Envoy itself may respond at any time (the body is too large, Bedrock cannot be
reached), and that response arrives in the same way as Bedrock's. It has `ResponseHeaders.local`, or arrives in a state
in which nothing has been sent yet.

Invariant: an `ApiError` raised anywhere below becomes one response in OpenAI's shape; only translated and signed
requests are forwarded; nothing follows the last directive.

Decisions: docs/decisions.md, D34, D103, D266.
"""

from collections.abc import Mapping, Sequence

from extproc.bedrock import errors as bedrock_errors
from extproc.bedrock.catalogue import Target
from extproc.bedrock.converse_response import ConverseResponseError
from extproc.bedrock.sigv4 import Headers
from extproc.config import ASSUME_SECONDS, LOOKUP_SECONDS, TRANSLATION_SECONDS, Organisation
from extproc.config.redis import ADMIT_SECONDS
from extproc.config.usage import USAGE_SECONDS
from extproc.exchange.admission import announced_bytes, authenticate, encoded_bytes
from extproc.exchange.budget import Reservation
from extproc.exchange.client_headers import names_to_remove, request_id
from extproc.exchange.directives import Abort, Continue, Directive, Forward, Head, Reply, Wait, is_last
from extproc.exchange.endpoint import (
    ApiEndpoint,
    AskContext,
    BedrockCall,
    DecodedRequest,
    Pending,
    ResponseContext,
    TranslatedRequest,
)
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
from extproc.exchange.image_fetch import ImageFetch
from extproc.exchange.jobs import (
    Admission,
    Admit,
    Assume,
    Assumed,
    Complete,
    FetchedImages,
    FetchFailure,
    HeldRequest,
    JobResult,
    Plan,
    Read,
    SideFailure,
    SideIdle,
    SideResponse,
    SideResponses,
    UsageFailure,
    UsagePage,
)
from extproc.exchange.local_replies import (
    NOT_COUNTED,
    bedrock_idle,
    directory_unavailable,
    from_envoy,
    is_of_another,
    limits_unavailable,
    may_have_reached,
    of_another,
    slow_upload,
    too_large,
    unknown_region,
    usage_unavailable,
)
from extproc.exchange.meter import Meter, input_estimate, output_estimate
from extproc.exchange.models import explained, model, model_list, resolved
from extproc.exchange.outgoing import hold_calls
from extproc.exchange.rate_limits import Ticket, count, take, ticket, to_take
from extproc.exchange.responses import CollectedError, CollectedResponse, ResponseRelay, StreamedResponse
from extproc.exchange.routes import BedrockRoute, ModelDetails, ModelList, Route, UsageRoute, not_here, route
from extproc.exchange.rules import default_model, rules_of
from extproc.exchange.side_calls import SideCallBatches
from extproc.exchange.spending import Hold, to_hold
from extproc.exchange.states import (
    Admitted,
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
    Unanswered,
)
from extproc.exchange.translation import decoded, is_large, release
from extproc.exchange.usage import query_of
from extproc.limits.spending import Budget
from extproc.openai import sse
from extproc.openai.decoding import too_deep
from extproc.openai.errors import ApiError
from extproc.shared_names import LIMIT_RESET_HEADER
from extproc.telemetry.record import Record
from extproc.tenancy.directory import Caller
from extproc.tenancy.store import LookedUp, Lookup, Unavailable
from extproc.translate.completed import Completed
from extproc.translate.errors import ModelError, bad_response, from_bedrock
from extproc.translate.features import check_feature


class Exchange:
    """An HTTP exchange; the module has the table of its states and events."""

    def __init__(self, gateway: Gateway, fallback_id: str) -> None:
        self._gateway = gateway
        self._id = fallback_id
        self._state: State = Begin()
        self._record = Record(fallback_id, gateway.catalogue.region)
        self._meter = Meter(self._record, 0.0)
        self._now = 0.0
        """The time of the latest event, in unix seconds."""
        self._created = 0
        self._caller: Caller | None = None
        self._ignored: tuple[str, ...] = ()
        self._served = ""
        """What an alias stands for: the id or ARN that is called."""
        self._upstream_headers: tuple[str, ...] = ()
        self._reservation: Reservation | None = None
        """What this exchange holds of the budget until its stream has ended."""
        self._ticket: Ticket | None = None
        """What it has taken of its caller's limits, if there are any."""
        self._hold: Hold | None = None
        """What it holds of its caller's budgets, if there are any."""
        self._admit: Admit | None = None
        """What is being counted in a store far away."""

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
        if isinstance(state, Buffering):
            return self._gateway.settings.limits.upload_timeout(state.admitted.reservation.body)
        return self._gateway.settings.streaming.idle_seconds if isinstance(state, Sent) else None

    def close(self) -> None:
        """Release what the exchange holds of the budget: its stream has ended, in whatever way."""
        if self._ticket is not None and not self._record.stream:
            self._ticket.settle(self._ticket.tokens)  # the caller left, and nobody counts what was used
        self._finish()
        if self._reservation is not None:
            self._reservation.release()

    def receive(self, event: Event, now: float) -> Sequence[Directive]:
        """Return what to do about `event`; `now` is in unix seconds."""
        if isinstance(self._state, Done):
            return ()
        self._now = now
        try:
            directives = self._move(event, now)
        except ApiError as api_error:
            if isinstance(api_error, ModelError):
                self._meter.count(api_error.usage, "")
            directives = [self._error(api_error)]
        except ConverseResponseError as error:
            directives = [self._error(bad_response(str(error)))]
        except RecursionError:
            if not isinstance(self._state, Buffering | Fetching):
                raise
            directives = [self._error(too_deep())]
        for directive in directives:
            if is_last(directive):
                self._finish()
        return directives

    def _move(self, event: Event, now: float) -> Sequence[Directive]:
        """Apply one row of the module's table."""
        state = self._state
        match event:
            case ResponseBody() | ResponseTrailers() | Idle() if isinstance(state, Responding):
                return self._responding(state.relay, event)
            case RequestHeaders() if isinstance(state, Begin):
                return (self._begin(event, now),)
            case RequestBody() if isinstance(state, Buffering):
                return (self._body(state.admitted, event, now),)
            case ResponseHeaders() if isinstance(state, Unanswered):
                return self._upstream(state, event)
            case ResponseHeaders() if isinstance(state, Begin):
                self._state = Done()
                return (Continue(),)
            case Idle() if isinstance(state, Buffering | Sent):
                raise slow_upload(event.seconds) if isinstance(state, Buffering) else bedrock_idle(event.seconds)
            case Resumed(result=ApiError() as error) if isinstance(state, Reading | Planning | Completing):
                raise error
            case Resumed():
                directive = self._resumed(event.result, now)
                if directive is not None:
                    return (directive,)
        return (Abort(f"{type(event).__name__} while {type(state).__name__}"),)

    def _resumed(self, result: JobResult, now: float) -> Directive | None:
        """Go on with the result of a job; None if this is no state that waits for such a result."""
        state = self._state
        if isinstance(state, Reading) and isinstance(result, HeldRequest):
            return self._decoded(state.admitted, result, now)
        if isinstance(state, Fetching) and isinstance(result, FetchedImages | FetchFailure):
            return self._fetched(state, result, now)
        if isinstance(state, Planning) and isinstance(result, TranslatedRequest):
            return self._send(state.admitted, result, now)
        if isinstance(state, Counting) and isinstance(result, Admission):
            return self._counted(state, result, now)
        if isinstance(state, SideCalling) and isinstance(result, SideResponses | SideResponse | SideFailure | SideIdle):
            return self._side_calls(state, result, now)
        if isinstance(state, Completing) and isinstance(result, Completed):
            return self._completed(result)
        if isinstance(state, Identifying) and isinstance(result, LookedUp | Unavailable):
            return self._identified(state, result, now)
        if isinstance(state, Assuming) and isinstance(result, Assumed):
            return self._enter_elsewhere(state.headers, state.requested, state.caller, looked_for=True)
        if isinstance(state, Querying) and isinstance(result, UsagePage | UsageFailure):
            return self._queried(result)
        return None

    def _finish(self) -> None:
        """End the exchange, and free its state, whose relay refers back to it, before Envoy closes the stream."""
        self._state = Done()
        if self._admit is not None and self._gateway.remote is not None:
            self._gateway.remote.withdraw(self._admit)
            self._admit = None
        if self._ticket is not None:
            self._ticket.settle(self._record.input_tokens + self._record.output_tokens)
        if self._hold is not None:
            self._hold.settle()

    # The request

    def _begin(self, event: RequestHeaders, now: float) -> Directive:
        headers = event.headers
        self._record.request_id = request_id(headers) or self._id
        self._created = int(now)
        self._meter = Meter(self._record, now, self._gateway.settings.usage.envoy_ai)
        requested = route(headers.get(":method", ""), headers.get(":path", ""))
        self._record.operation = requested.operation
        if isinstance(requested, ApiEndpoint):
            if requested.switch:
                self._check_offered(requested, headers, None)
        elif isinstance(requested, UsageRoute) and self._gateway.settings.usage.sqlite is None:
            raise not_here(headers.get(":method", ""), headers.get(":path", ""))
        return self._identify(event, requested, None, now)

    def _identify(self, event: RequestHeaders, requested: Route, looked_up: LookedUp | None, now: float) -> Directive:
        """Authenticate, and go on with the caller; or wait for the lookup that this takes."""
        caller = authenticate(self._gateway.directory, event, self._record, now, looked_up)
        if isinstance(caller, Lookup):
            self._state = Identifying(event, requested)
            return Wait(caller, LOOKUP_SECONDS)
        self._caller = caller
        if isinstance(requested, UsageRoute):
            return self._query(requested, caller, now)
        if caller.scopes is not None:
            caller.require(requested.scope)
        if caller.own.region is not None or caller.own.role is not None:
            return self._enter_elsewhere(event, requested, caller)
        return self._enter(event, requested, caller)

    def _enter_elsewhere(
        self, event: RequestHeaders, requested: BedrockRoute, caller: Caller, looked_for: bool = False
    ) -> Directive:
        """Go on with a caller whose organisation has a region or a role; the role is assumed first, if it has to be."""
        gateway = self._gateway.of(caller.own, looked_for)
        if isinstance(gateway, Assume):
            self._state = Assuming(event, requested, caller)
            return Wait(gateway, ASSUME_SECONDS)
        self._gateway, self._record.region = gateway, gateway.catalogue.region
        return self._enter(event, requested, caller)

    def _enter(self, event: RequestHeaders, requested: BedrockRoute, caller: Caller) -> Directive:
        """Respond to a request without a body, or admit it."""
        if isinstance(requested, ModelList):
            return self._reply(200, model_list(self._gateway.catalogue, caller))
        if isinstance(requested, ModelDetails):
            return self._reply(200, model(self._gateway.catalogue, caller, requested.model))
        if requested.switch:
            self._check_offered(requested, event.headers, caller.own)
            check_feature(requested.switch, caller.denied)
        budget = self._gateway.budget
        size = announced_bytes(event, self._gateway.settings.limits, budget.largest - budget.stream_bytes)
        self._reservation = reservation = Reservation(budget, caller.organisation, size)
        self._state = Buffering(Admitted(requested, caller, reservation))
        return Continue(names_to_remove(tuple(event.headers)))

    def _identified(self, state: Identifying, result: LookedUp | Unavailable, now: float) -> Directive:
        """Go on with a caller that was looked up. Where that failed, nobody knows whether the token is valid: a 503."""
        if isinstance(result, Unavailable):
            raise directory_unavailable(result.busy)
        return self._identify(state.headers, state.requested, result, now)

    def _query(self, requested: UsageRoute, caller: Caller, now: float) -> Directive:
        """Query the usage of the caller's organisation. Nobody may who was not given that very scope."""
        caller.require_named(requested.scope)
        job = query_of(requested, caller, self._gateway.settings.usage.keep_days, now)
        self._reservation = reservation = Reservation(self._gateway.budget, caller.organisation, 0)
        reservation.arrived()
        self._state = Querying()
        return Wait(job, USAGE_SECONDS)

    def _queried(self, result: UsagePage | UsageFailure) -> Reply:
        if isinstance(result, UsageFailure):
            raise usage_unavailable(result.reason)
        assert self._reservation is not None
        self._reservation.hold(response=len(result.body))
        return self._reply(200, result.body)

    def _check_offered(
        self, endpoint: ApiEndpoint, headers: Mapping[str, str], organisation: Organisation | None
    ) -> None:
        """Raise a 404 for an optional endpoint that is not switched on, for this organisation or for any."""
        settings, directory = self._gateway.settings, self._gateway.directory
        if endpoint.switch not in directory.offered or (
            organisation is not None and not settings.offers(endpoint.switch, organisation)
        ):
            raise not_here(headers.get(":method", ""), headers.get(":path", ""), endpoint.switch)

    def _body(self, admitted: Admitted, event: RequestBody, now: float) -> Directive:
        if event.trailers:  # Envoy would send them to AWS as they are
            raise ApiError(400, "The request has trailers. Send it without fields after the body.")
        settings, body = self._gateway.settings, event.data
        if len(body) > settings.limits.request_bytes:
            raise too_large(settings.limits.request_bytes)
        admitted.reservation.hold(body=len(body))
        if is_large(body, admitted.reservation.arrived()):
            self._state = Reading(admitted)
            passed_over = settings.compat.ignore_fields
            caller, usual = admitted.caller, default_model(admitted)
            job = Read(body, admitted.endpoint, caller.organisation, passed_over, usual, caller.denied)
            return Wait(job, TRANSLATION_SECONDS)
        passed_over, usual = settings.compat.ignore_fields, default_model(admitted)
        request = decoded(body, admitted.endpoint, passed_over, usual, admitted.caller.denied)
        directive = self._decoded(admitted, request, now)
        release(body)
        return directive

    def _decoded(self, admitted: Admitted, request: DecodedRequest | HeldRequest, now: float) -> Directive:
        """Go on with a request whose body has been decoded, here or in another process."""
        media = self._gateway.settings.media
        self._record.model = request.model
        target = resolved(self._gateway.catalogue, admitted.caller, request.model)
        self._record.bedrock_model = target.model_id
        if self._gateway.catalogue.lists(target.model_id):
            self._record.known_model = target.model_id
        self._meter.choose(self._gateway.prices.of(target.model_id, target.foundation))
        if admitted.caller.aliases and request.model in admitted.caller.aliases:
            self._served = target.model_id
        if not request.images or not media.fetch:  # without `media.fetch` the translation rejects them
            return self._ask(admitted, request, target, {}, now)
        most = admitted.reservation.room * 3 // 4  # no more than the request can ever be granted, in base64
        fetch = ImageFetch(request.images, media, admitted.caller.organisation, most)
        admitted.reservation.hold(outgoing=admitted.reservation.body + encoded_bytes(fetch.job.total_bytes))
        fetching = Fetching(admitted, request, target, fetch)
        scopes, remote = admitted.caller.limits, self._gateway.remote
        if scopes is not None:  # counted also where they cannot be had: other hosts are asked for them
            if remote is not None and remote.ready:
                return self._count(Counting(admitted, Admit(self._id, scopes, 0, False, (), None), fetching))
            self._ticket = count(self._gateway.counters, scopes, request.model)
        return self._fetch(fetching)

    def _fetch(self, fetching: Fetching) -> Wait:
        self._state = fetching
        return Wait(fetching.fetch.job, self._gateway.settings.media.seconds)

    def _fetched(self, state: Fetching, result: FetchedImages | FetchFailure, now: float) -> Directive:
        images, size = state.fetch.receive(result)
        state.admitted.reservation.hold(outgoing=state.admitted.reservation.body + encoded_bytes(size))
        return self._ask(state.admitted, state.request, state.target, images, now)

    def _ask(
        self,
        admitted: Admitted,
        request: DecodedRequest | HeldRequest,
        target: Target,
        images: Mapping[str, bytes],
        now: float,
    ) -> Directive:
        capabilities = self._gateway.capabilities_of(target, admitted.caller.own)
        keys, caller = self._keys(admitted), admitted.caller
        rules = rules_of(self._gateway.settings, caller, self._record.request_id)
        if isinstance(request, HeldRequest):
            self._state = Planning(admitted)
            job = Plan(request, target, capabilities, images, caller.organisation, keys, rules)
            return Wait(job, TRANSLATION_SECONDS)
        context = AskContext(images, self._gateway.detokenise, keys, rules)
        return self._send(admitted, request.ask(target, capabilities, context), now)

    def _keys(self, admitted: Admitted) -> tuple[bytes, ...]:
        """Return the keys of what clients keep for this gateway, for the endpoints that have such things."""
        return self._gateway.directory.response_keys if admitted.endpoint.switch else ()

    def _send(self, admitted: Admitted, translated: TranslatedRequest, now: float) -> Directive:
        self._ignored = translated.pending.ignored
        self._record.ignored_params = len(self._ignored)
        hold_calls(admitted.reservation, translated.calls)
        if translated.calls[0].priority:
            self._meter.prioritise()
        remote = self._gateway.remote
        if remote is not None and remote.ready:
            return self._send_counted(admitted, translated, now)
        if admitted.caller.limits is not None:
            scopes, streams = admitted.caller.limits, translated.pending.streams
            counters, model, counted = self._gateway.counters, self._record.model, self._ticket
            self._ticket = None
            self._ticket = take(counters, scopes, model, translated.calls, streams, counted)
        if admitted.caller.budgets is not None:
            held = self._to_hold(admitted.caller.budgets, translated, now)
            if held is not None:
                held.reserve(now)
            self._hold = held
        return self._leave(admitted, translated, now)

    def _send_counted(self, admitted: Admitted, translated: TranslatedRequest, now: float) -> Directive:
        """Send the request, after it is counted in a store far away, if its caller has limits or budgets."""
        budgets, counted = admitted.caller.budgets, self._ticket
        held = None if budgets is None else self._to_hold(budgets, translated, now)
        if admitted.caller.limits is None and held is None:
            return self._leave(admitted, translated, now)
        self._ticket = None
        streams = translated.pending.streams
        scopes, tokens, stream = to_take(admitted.caller.limits or (), translated.calls, streams, counted)
        charges, running = ((), None) if held is None else (held.charges, held.costs)
        admit = Admit(self._id, scopes, tokens, stream, charges, running)
        return self._count(Counting(admitted, admit, translated, held, counted))

    def _count(self, counting: Counting) -> Wait:
        self._state, self._admit = counting, counting.admit
        return Wait(counting.admit, ADMIT_SECONDS)

    def _counted(self, state: Counting, admission: Admission, now: float) -> Directive:
        """Go on with a request that was counted. Raises the `ApiError` that it led to."""
        admit, decision, verdict = state.admit, admission.decision, admission.verdict
        self._admit = None
        if isinstance(decision, ApiError):
            raise decision
        if decision is not None:
            counters, model, scopes = self._gateway.counters, self._record.model, admit.scopes
            self._ticket = ticket(counters, scopes, decision, model, admit.tokens, admit.stream, state.counted)
        if isinstance(verdict, ApiError):
            raise verdict
        if state.hold is not None:
            state.hold.decided(verdict, now)
            self._hold = state.hold
        if isinstance(state.then, Fetching):
            return self._fetch(state.then)
        return self._leave(state.admitted, state.then, now)

    def _leave(self, admitted: Admitted, translated: TranslatedRequest, now: float) -> Directive:
        """Send the request to Bedrock, or begin its calls."""
        if len(translated.calls) == 1:
            return self._forward(translated.calls[0], translated.pending, now)
        settings, organisation = self._gateway.settings, admitted.caller.organisation
        side_calls = SideCallBatches(translated.calls, settings, organisation, now, self._gateway.region)
        self._state = SideCalling(admitted, translated.pending, side_calls)
        return self._next_side_calls(side_calls, now)

    def _to_hold(self, budgets: Sequence[Budget], translated: TranslatedRequest, now: float) -> Hold | None:
        """Return what the request may cost in its caller's budgets. Raises `ApiError`."""
        calls, streams = translated.calls, translated.pending.streams
        on_unpriced, accounts = self._gateway.settings.budgets.on_unpriced, self._gateway.accounts
        return to_hold(accounts, self._id, budgets, calls, self._meter, self._record, on_unpriced, streams, now)

    def _forward(self, call: BedrockCall, pending: Pending, now: float) -> Forward:
        headers = self._gateway.sign(call, now)
        self._record.stream = pending.streams
        if call.billed:
            output = 0 if pending.streams or call.inputs else output_estimate(call.most_output)
            self._meter.estimate(input_estimate(call.body), output)
        self._state = Sent(pending, call.max_response)
        return Forward(
            path=call.path,
            authority=self._gateway.authority,
            headers=headers,
            body=call.body,
            metadata=self._meter.changes(),
            mark_by_header=self._gateway.mark_by_header,
            region=self._gateway.region,
        )

    # The response

    def _side_calls(
        self, state: SideCalling, result: SideResponses | SideResponse | SideFailure | SideIdle, now: float
    ) -> Directive:
        state.side_calls.count(result)
        self._meter.estimate(state.side_calls.input_tokens)
        if isinstance(result, SideResponse):
            return self._bedrock_reply(state.pending, result.status, result.headers, result.body)
        if isinstance(result, SideFailure):
            self._record.bedrock_error = result.message
        side_calls, pending = state.side_calls, state.pending
        side_calls.receive(result)
        state.admitted.reservation.settle(side_calls.response_bytes)
        if not side_calls.complete:
            return self._next_side_calls(side_calls, now)
        responses = [(response.headers, response.body) for response in side_calls.responses]
        if not pending.is_large(responses):
            return self._completed(pending.complete(self._context(), responses))
        self._state = Completing()
        admitted = state.admitted
        job = Complete(admitted.endpoint, pending, self._context(), side_calls.responses, admitted.caller.organisation)
        return Wait(job, TRANSLATION_SECONDS)

    def _next_side_calls(self, side_calls: SideCallBatches, now: float) -> Wait:
        wait = side_calls.next(self._gateway.sign, now)
        self._meter.estimate(side_calls.input_tokens)
        return wait

    def _context(self) -> ResponseContext:
        truncation, keys = self._gateway.settings.compat.streaming_truncation, self._gateway.directory.response_keys
        return ResponseContext(self._id, self._created, int(self._now), truncation, keys)

    def _upstream(self, state: Unanswered, event: ResponseHeaders) -> Sequence[Directive]:
        self._upstream_headers = tuple(name for name in event.headers if not name.startswith(":"))
        self._record.bedrock_request_id = event.headers.get("x-amzn-requestid", "")[:128]
        relay = self._choose_relay(state, event)
        self._state = Responding(relay)
        return relay.end() if event.end_of_stream else ()

    def _choose_relay(self, state: Unanswered, event: ResponseHeaders) -> ResponseRelay:
        headers = event.headers
        status = int(headers.get(":status", "0"))
        longest = self._gateway.settings.streaming.idle_seconds
        if event.local or not isinstance(state, Sent):
            return CollectedError(lambda body: self._error(self._envoy_error(status, headers, event.details)), longest)
        pending = state.pending
        if status != 200 or is_of_another(status, headers):
            return CollectedError(lambda body: self._bedrock_error(pending, status, headers, body), longest)
        stream = pending.stream(self._context(), lambda: self._now)
        if stream is None:
            return CollectedResponse(
                lambda body: self._completed(pending.complete(self._context(), [(headers, body)])),
                state.max_response,
                longest,
            )
        head = Head(200, self._headers(*sse.HEADERS), self._upstream_headers)
        timers = self._gateway.settings.streaming
        return StreamedResponse(stream, self._record, self._meter, lambda: self._now, head, timers)

    def _bedrock_error(self, pending: Pending, status: int, headers: Mapping[str, str], body: bytes) -> Reply:
        self._meter.reject()
        return self._bedrock_reply(pending, status, headers, body)

    def _bedrock_reply(self, pending: Pending, status: int, headers: Mapping[str, str], body: bytes) -> Reply:
        """Reply with Bedrock's error, or with that of another server on the way."""
        if is_of_another(status, headers):
            error = of_another(status, headers)
            self._record.bedrock_error = error.message
            return self._error(error)
        failure = bedrock_errors.from_response(status, headers, body)
        self._record.bedrock_error = str(failure)
        return self._error(from_bedrock(failure, pending.params))

    def _envoy_error(self, status: int, headers: Mapping[str, str], details: str) -> ApiError:
        if not may_have_reached(details):
            self._meter.reject()
        if status == 413:
            return too_large(self._gateway.settings.limits.request_bytes)
        self._record.bedrock_error = details
        if status == 404 and self._gateway.region:  # no route leads to that region
            return unknown_region(self._gateway.region)
        if details == NOT_COUNTED:
            return limits_unavailable()
        return from_envoy(status, headers.get(LIMIT_RESET_HEADER) or headers.get("retry-after", ""))

    def _responding(self, relay: ResponseRelay, event: ResponseBody | ResponseTrailers | Idle) -> list[Directive]:
        if not isinstance(event, ResponseBody):
            return relay.idle(event.seconds) if isinstance(event, Idle) else relay.end()
        directives = relay.body(event.data) if event.data else []
        if self._hold is not None and not self._record.estimated:
            self._hold.settle()  # before anybody is told: a worker that is killed now has counted as Envoy has
        if event.end_of_stream and not any(is_last(directive) for directive in directives):
            directives = [*directives, *relay.end()]
        return directives

    def _completed(self, completed: Completed) -> Reply:
        assert self._reservation is not None
        self._reservation.settle(len(completed.body))
        self._meter.count(completed.usage, completed.finish)
        headers = self._headers(("content-type", completed.content_type))
        told, usage = self._meter.changes(), self._meter.token_usage()
        return Reply(200, headers, completed.body, "oai_answer", self._upstream_headers, told, usage)

    # Replies

    def _reply(self, status: int, body: bytes, headers: Headers = (), details: str = "oai_answer") -> Reply:
        fields = self._headers(("content-type", "application/json"), *headers)
        told, usage = self._meter.changes(), self._meter.token_usage()
        return Reply(status, fields, body, details, self._upstream_headers, told, usage)

    def _error(self, error: ApiError) -> Reply:
        error = explained(error, self._gateway.catalogue, self._caller, self._record.model)
        self._record.finish = error.code or error.type
        details = f"oai_{error.code or error.status}"
        return self._reply(error.status, error.encode(), tuple(error.headers.items()), details)

    def _headers(self, *headers: tuple[str, str]) -> Headers:
        """Return `headers`, and those of every response."""
        fields = [*headers, ("x-request-id", self._record.request_id)]
        if self._record.organisation:
            fields.append(("openai-organization", self._record.organisation))
        if self._served:
            fields.append(("x-oai-model-served", self._served))
        if self._ticket is not None:
            fields.extend(self._ticket.headers)
        if self._hold is not None:
            fields.extend(self._hold.headers)
        if self._ignored:
            fields.append(("x-oai-ignored-params", ", ".join(self._ignored)))
        return tuple(fields)
