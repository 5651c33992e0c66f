"""The third phase of an exchange: what Bedrock responds, or Envoy in its place, and what the client gets of it.

The table of `exchange` has the transitions: the states here are `Sent`, `SideCalling` and `Completing`. `responses` has
the ways to respond; this module chooses one, and has the errors of Bedrock, of Envoy, and of others between the two.

Decision: docs/decisions.md, D322.
"""

from collections.abc import Mapping, Sequence

from extproc.bedrock import errors as bedrock_errors
from extproc.config import TRANSLATION_SECONDS
from extproc.exchange.call import ClientCall
from extproc.exchange.directives import Head, Reply, Wait
from extproc.exchange.endpoint import Pending
from extproc.exchange.events import ResponseHeaders
from extproc.exchange.jobs import Complete, SideFailure, SideIdle, SideResponse, SideResponses
from extproc.exchange.local_replies import (
    NOT_COUNTED,
    from_envoy,
    is_of_another,
    limits_unavailable,
    may_have_reached,
    of_another,
    too_large,
    unknown_region,
)
from extproc.exchange.responses import (
    STREAM_SECONDS,
    CollectedError,
    CollectedResponse,
    ResponseRelay,
    StreamedResponse,
    StreamLimits,
)
from extproc.exchange.sending import next_side_calls
from extproc.exchange.states import Completing, Done, Sent, SideCalling, Step, Unanswered
from extproc.openai import sse
from extproc.openai.errors import ApiError
from extproc.shared_names import LIMIT_RESET_HEADER
from extproc.translate.completed import Completed
from extproc.translate.errors import from_bedrock
from extproc.translate.response_limits import MAX_WHOLE_TEXT


def response_arrived(call: ClientCall, state: Unanswered, event: ResponseHeaders) -> ResponseRelay:
    """Choose how to respond, by the headers of the response."""
    headers = event.headers
    call.upstream_headers = tuple(name for name in headers if not name.startswith(":"))
    call.record.bedrock_request_id = headers.get("x-amzn-requestid", "")[:128]
    status, timers = int(headers.get(":status", "0")), call.gateway.settings.streaming
    longest = timers.idle_seconds
    if event.local or not isinstance(state, Sent):
        return CollectedError(lambda body: call.error(_envoy_error(call, status, headers, event.details)), longest)
    pending = state.pending
    if status != 200 or is_of_another(status, headers):
        return CollectedError(lambda body: _bedrock_error(call, pending, status, headers, body), longest)
    stream = pending.stream(call.response_context(), lambda: call.now)
    if stream is None:
        return CollectedResponse(
            lambda body: _assembled(call, state, [SideResponse(status, headers, body)], state.max_text),
            state.max_response,
            longest,
        )
    head = Head(200, call.headers(*sse.HEADERS), call.upstream_headers)
    limits = StreamLimits(state.max_text, call.created + STREAM_SECONDS)
    return StreamedResponse(stream, call.record, call.meter, lambda: call.now, head, timers, limits)


def side_called(
    call: ClientCall, state: SideCalling, result: SideResponses | SideResponse | SideFailure | SideIdle
) -> Step:
    """Go on with the responses to a batch of side calls: make the next one, or respond."""
    state.side_calls.count(result)
    if state.side_calls.input_tokens:
        call.meter.estimate(state.side_calls.input_tokens)
    else:
        call.meter.reject()
    if isinstance(result, SideResponse):
        return Done(), _bedrock_reply(call, state.pending, result.status, result.headers, result.body)
    if isinstance(result, SideFailure):
        call.record.bedrock_error = result.message
    side_calls, admitted = state.side_calls, state.admitted
    side_calls.receive(result)
    admitted.reservation.settle(side_calls.response_bytes)
    if not side_calls.complete:
        return state, next_side_calls(call, side_calls)
    directive = _assembled(call, state, side_calls.responses)
    return Completing() if isinstance(directive, Wait) else Done(), directive


def _assembled(
    call: ClientCall, state: Sent | SideCalling, responses: Sequence[SideResponse], most_text: int = MAX_WHOLE_TEXT
) -> Reply | Wait:
    """Return the client's response, or have another process assemble it where that is much work. Raises `ApiError`."""
    pending, admitted, context = state.pending, state.admitted, call.response_context(min(most_text, MAX_WHOLE_TEXT))
    received = [(response.headers, response.body) for response in responses]
    if not pending.is_large(received):
        return call.completed(pending.complete(context, received))
    organisation, token = admitted.caller.organisation, call.record.token
    job = Complete(admitted.endpoint, pending, context, tuple(responses), organisation, token)
    return Wait(job, TRANSLATION_SECONDS)


def completed(call: ClientCall, response: Completed) -> Step:
    """Respond with what was assembled, here or in another process."""
    return Done(), call.completed(response)


def _bedrock_error(call: ClientCall, pending: Pending, status: int, headers: Mapping[str, str], body: bytes) -> Reply:
    call.meter.reject()
    return _bedrock_reply(call, pending, status, headers, body)


def _bedrock_reply(call: ClientCall, pending: Pending, status: int, headers: Mapping[str, str], body: bytes) -> Reply:
    """Reply with Bedrock's error, or with that of another server on the way."""
    if is_of_another(status, headers):
        error = of_another(status, headers)
        call.record.bedrock_error = error.message
        return call.error(error)
    failure = bedrock_errors.from_response(status, headers, body)
    call.record.bedrock_error = str(failure)
    return call.error(from_bedrock(failure, pending.params))


def _envoy_error(call: ClientCall, status: int, headers: Mapping[str, str], details: str) -> ApiError:
    """Return the error for a response of Envoy's own."""
    if not may_have_reached(details):
        call.meter.reject()
    if status == 413:
        return too_large(call.gateway.settings.limits.request_bytes)
    call.record.bedrock_error = details
    if status == 404 and call.gateway.region:  # no route leads to that region
        return unknown_region(call.gateway.region)
    if details == NOT_COUNTED:
        return limits_unavailable()
    return from_envoy(status, headers.get(LIMIT_RESET_HEADER) or headers.get("retry-after", ""))
