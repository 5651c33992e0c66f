"""The second phase of an exchange: from the body of a request to the calls that Bedrock gets.

The table of `exchange` has the transitions: the states here are `Buffering`, `Reading`, `Fetching`, `Planning` and
`Counting`, and the exchange is in `Sent` or `SideCalling` when they are over.

Invariant: a step returns `Forward`, or a `Wait` for side calls, only for a request that was translated, for a model
that its caller may use, and counted. An `ApiError` that a step raises is its response.

Decisions: docs/decisions.md, D299, D330, D331.
"""

from collections.abc import Mapping

from extproc.bedrock.catalogue import Target
from extproc.config import TRANSLATION_SECONDS
from extproc.exchange.admission import encoded_bytes
from extproc.exchange.call import ClientCall
from extproc.exchange.counting import count_call, count_fetch, note_admission
from extproc.exchange.directives import Forward, Wait
from extproc.exchange.endpoint import AskContext, BedrockCall, DecodedRequest, Pending, TranslatedRequest
from extproc.exchange.events import RequestBody
from extproc.exchange.image_fetch import ImageFetch
from extproc.exchange.jobs import Admission, FetchedImages, FetchFailure, HeldRequest, Plan, Read
from extproc.exchange.local_replies import too_large
from extproc.exchange.meter import input_estimate, output_estimate
from extproc.exchange.models import resolved
from extproc.exchange.outgoing import hold_calls
from extproc.exchange.rules import default_model, rules_of
from extproc.exchange.side_calls import SideCallBatches
from extproc.exchange.states import Admitted, Counting, Fetching, Planning, Reading, Sent, SideCalling, Step
from extproc.exchange.translation import SMALL_BODY, decoded, is_large, release
from extproc.openai.errors import ApiError
from extproc.telemetry.record import LONGEST_MODEL, LONGEST_UNKNOWN, printable
from extproc.translate.response_limits import longest_text


def body_arrived(call: ClientCall, admitted: Admitted, event: RequestBody) -> Step:
    """Decode the body, or have another process read it."""
    if event.trailers:  # Envoy would send them to AWS as they are
        raise ApiError(400, "The request has trailers. Send it without fields after the body.")
    settings, body = call.gateway.settings, event.data
    if len(body) > settings.limits.request_bytes:
        raise too_large(settings.limits.request_bytes)
    admitted.reservation.hold(body=len(body))
    admitted.reservation.settle_pieces()
    passed_over, usual, caller = settings.compat.ignore_fields, default_model(admitted), admitted.caller
    if is_large(body, admitted.reservation.arrived()) or _is_one_too_many(call, admitted, body):
        token = call.record.token
        job = Read(body, admitted.endpoint, caller.organisation, passed_over, usual, caller.denied, token)
        return Reading(admitted), Wait(job, TRANSLATION_SECONDS)
    loop_time = call.gateway.loop_time if len(body) >= SMALL_BODY else None
    started = 0.0 if loop_time is None else loop_time.clock()
    try:
        return read(call, admitted, decoded(body, admitted.endpoint, passed_over, usual, caller.denied))
    finally:
        release(body)
        if loop_time is not None:
            loop_time.add(caller.organisation, started)


def _is_one_too_many(call: ClientCall, admitted: Admitted, body: bytes | bytearray) -> bool:
    """Return whether others are waiting, and the organisation's bodies have taken the event loop's time of late."""
    loop_time = call.gateway.loop_time
    if loop_time is None or len(body) < SMALL_BODY or not admitted.reservation.is_shared:
        return False
    return loop_time.is_used_up(admitted.caller.organisation)


def read(call: ClientCall, admitted: Admitted, request: DecodedRequest | HeldRequest) -> Step:
    """Go on with a request whose body has been decoded, here or in another process."""
    media, catalogue = call.gateway.settings.media, call.gateway.catalogue
    call.record.model = request.model[:LONGEST_MODEL]
    try:
        target = resolved(catalogue, admitted.caller, request.model)
    except ApiError:
        call.record.model = printable(request.model, LONGEST_UNKNOWN)
        raise
    call.record.bedrock_model = target.model_id[:LONGEST_MODEL]
    call.meter.choose(call.gateway.prices.of(target.model_id, target.foundation))
    if admitted.caller.aliases and request.model in admitted.caller.aliases:
        call.served = target.model_id
    if not request.images or not media.fetch:  # without `media.fetch` the translation rejects them
        return _ask(call, admitted, request, target, {})
    most = admitted.reservation.room * 3 // 4  # no more than the request can ever be granted, in base64
    fetch = ImageFetch(request.images, media, admitted.caller.organisation, most)
    admitted.reservation.hold(outgoing=admitted.reservation.body + encoded_bytes(fetch.job.total_bytes))
    admitted.reservation.hold_pieces()  # Envoy has the body until the images are there
    fetching = Fetching(admitted, request, target, fetch)
    return count_fetch(call, fetching) or _fetch(call, fetching)


def fetched(call: ClientCall, state: Fetching, result: FetchedImages | FetchFailure) -> Step:
    """Go on with the images. Raises `ApiError` where one could not be fetched."""
    images, size = state.fetch.receive(result)
    state.admitted.reservation.hold(outgoing=state.admitted.reservation.body + encoded_bytes(size))
    return _ask(call, state.admitted, state.request, state.target, images)


def planned(call: ClientCall, admitted: Admitted, translated: TranslatedRequest) -> Step:
    """Go on with a request that has been translated, here or in another process."""
    record, pending = call.record, translated.pending
    if call.gateway.catalogue.lists(record.bedrock_model):  # not before: mistakes are free, and would fill the metrics
        record.known_model = record.bedrock_model
    call.ignored = pending.ignored
    record.ignored_params = len(pending.ignored)
    hold_calls(admitted.reservation, translated.calls)
    if translated.calls[0].priority:
        call.meter.prioritise()
    return count_call(call, admitted, translated) or _leave(call, admitted, translated)


def counted(call: ClientCall, state: Counting, admission: Admission) -> Step:
    """Go on with a request that was counted. Raises the `ApiError` that it led to."""
    note_admission(call, state, admission)
    if isinstance(state.then, Fetching):
        return _fetch(call, state.then)
    return _leave(call, state.admitted, state.then)


def _fetch(call: ClientCall, fetching: Fetching) -> Step:
    return fetching, Wait(fetching.fetch.job, call.gateway.settings.media.seconds)


def _ask(
    call: ClientCall,
    admitted: Admitted,
    request: DecodedRequest | HeldRequest,
    target: Target,
    images: Mapping[str, bytes],
) -> Step:
    """Translate the request, or have the process do so that holds it."""
    gateway, caller = call.gateway, admitted.caller
    capabilities = gateway.capabilities_of(target, caller.own)
    keys = gateway.directory.response_keys if admitted.endpoint.switch else ()  # clients keep nothing for the others
    rules = rules_of(gateway.settings, caller, call.record.request_id)
    if isinstance(request, HeldRequest):
        token = call.record.token
        job = Plan(request, target, capabilities, images, caller.organisation, keys, rules, token)
        return Planning(admitted), Wait(job, TRANSLATION_SECONDS)
    context = AskContext(images, gateway.detokenise, keys, rules)
    return planned(call, admitted, request.ask(target, capabilities, context))


def _leave(call: ClientCall, admitted: Admitted, translated: TranslatedRequest) -> Step:
    """Send the request to Bedrock, or begin its calls."""
    if len(translated.calls) == 1:
        admitted.reservation.drop_pieces()
        return _forward(call, admitted, translated.calls[0], translated.pending)
    settings, organisation = call.gateway.settings, admitted.caller.organisation
    side_calls = SideCallBatches(translated.calls, settings, organisation, call.now, call.gateway.region)
    return SideCalling(admitted, translated.pending, side_calls), next_side_calls(call, side_calls)


def next_side_calls(call: ClientCall, side_calls: SideCallBatches) -> Wait:
    """Sign and make the next batch of side calls. Raises `ApiError`."""
    wait = side_calls.next(call.gateway.sign, call.now)
    call.meter.estimate(side_calls.input_tokens)
    return wait


def _forward(call: ClientCall, admitted: Admitted, bedrock_call: BedrockCall, pending: Pending) -> Step:
    gateway = call.gateway
    headers = gateway.sign(bedrock_call, call.now)
    call.record.stream = pending.streams
    if bedrock_call.billed:
        output = 0 if pending.streams or bedrock_call.inputs else output_estimate(bedrock_call.most_output)
        prompt = input_estimate(bedrock_call.body) + bedrock_call.page_tokens
        call.meter.estimate(prompt, output, bedrock_call.most_output)
        if bedrock_call.reasons and pending.streams:
            call.meter.reason(call.now)
    return Sent(admitted, pending, bedrock_call.max_response, longest_text(bedrock_call.most_output)), Forward(
        path=bedrock_call.path,
        authority=gateway.authority,
        headers=headers,
        body=bedrock_call.body,
        metadata=call.meter.changes(),
        mark_by_header=gateway.mark_by_header,
        region=gateway.region,
    )
