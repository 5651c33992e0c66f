"""The first phase of an exchange: from the headers of a request to a caller who may send its body.

The table of `exchange` has the transitions: the states here are `Begin`, `Identifying`, `Assuming` and `Querying`, and
a request is done with, or in `Buffering`, when they are over. A request without a body is responded to here.

Invariant: a step returns `Buffering` only for a caller who is known and may call the endpoint, with the bytes of the
body reserved. An `ApiError` that a step raises is its response.

Decision: docs/decisions.md, D327.
"""

from collections.abc import Callable, Mapping

from extproc.config import ASSUME_SECONDS, LOOKUP_SECONDS, Organisation
from extproc.config.usage import USAGE_SECONDS
from extproc.exchange.admission import announced_bytes, authenticate, longest_body
from extproc.exchange.budget import USUAL, Reservation, Unreserved
from extproc.exchange.call import ClientCall
from extproc.exchange.client_headers import names_to_remove, request_id
from extproc.exchange.directives import Continue, Wait
from extproc.exchange.endpoint import ApiEndpoint
from extproc.exchange.events import RequestHeaders
from extproc.exchange.jobs import Assume, UsageFailure, UsagePage
from extproc.exchange.local_replies import directory_unavailable, slow_upload, usage_unavailable
from extproc.exchange.meter import Meter
from extproc.exchange.models import model, model_list
from extproc.exchange.routes import BedrockRoute, ModelDetails, ModelList, Route, UsageRoute, not_here, route
from extproc.exchange.states import Admitted, Assuming, Buffering, Done, Identifying, Querying, Step
from extproc.exchange.usage import query_of
from extproc.openai.errors import ApiError
from extproc.tenancy.directory import Caller
from extproc.tenancy.store import LookedUp, Lookup, Unavailable
from extproc.translate.features import check_feature


def headers_arrived(call: ClientCall, event: RequestHeaders) -> Step:
    """Find the route, and go on with the caller."""
    headers = event.headers
    call.record.request_id = request_id(headers) or call.id
    call.created = int(call.now)
    call.meter = Meter(call.record, call.now, call.gateway.settings.usage.envoy_ai)
    requested = route(headers.get(":method", ""), headers.get(":path", ""))
    call.record.operation = requested.operation
    if isinstance(requested, ApiEndpoint):
        if requested.switch:
            _check_offered(call, requested, headers, None)
    elif isinstance(requested, UsageRoute) and call.gateway.settings.usage.sqlite is None:
        raise not_here(headers.get(":method", ""), headers.get(":path", ""))
    return _identify(call, event, requested, None)


def looked_up(call: ClientCall, state: Identifying, result: LookedUp | Unavailable) -> Step:
    """Go on with a caller that was looked up. Where that failed, nobody knows whether the token is valid: a 503."""
    call.release_unreserved()
    if isinstance(result, Unavailable):
        raise directory_unavailable(result.busy)
    return _identify(call, state.headers, state.requested, result)


def assumed(call: ClientCall, state: Assuming) -> Step:
    """Go on with a caller whose organisation's role was to be assumed."""
    call.release_unreserved()
    return _enter_elsewhere(call, state.headers, state.requested, state.caller, looked_for=True)


def queried(call: ClientCall, result: UsagePage | UsageFailure) -> Step:
    """Respond with the usage that was queried. Raises a 503 `ApiError`."""
    if isinstance(result, UsageFailure):
        raise usage_unavailable(result.reason)
    assert call.reservation is not None
    call.reservation.hold(response=len(result.body))
    return Done(), call.reply(200, result.body)


def body_is_late(call: ClientCall, state: Buffering, seconds: float) -> None:
    """Count what Envoy may take for a body that has not arrived after `seconds`, once.

    Raises an `ApiError`: 429 where its organisation has too many such, 408 where it has taken too long.
    """
    if state.admitted.reservation.pieces:
        raise slow_upload(seconds)
    has_length = state.size < call.gateway.settings.limits.body_bytes
    state.admitted.reservation.hold_pieces(None if has_length else USUAL)


def _identify(call: ClientCall, event: RequestHeaders, requested: Route, result: LookedUp | None) -> Step:
    """Authenticate, and go on with the caller; or wait for the lookup that this takes."""
    caller = authenticate(call.gateway.directory, event, call.record, call.now, result)
    if isinstance(caller, Lookup):
        try:
            _hold_unreserved(call, event, f"address {event.headers.get('x-envoy-external-address', '')}")
        except ApiError:
            raise directory_unavailable(busy=True) from None
        return Identifying(event, requested), Wait(caller, LOOKUP_SECONDS)
    call.caller = caller
    if isinstance(requested, UsageRoute):
        return _query(call, requested, caller)
    if caller.scopes is not None:
        caller.require(requested.scope)
    if caller.own.region is not None or caller.own.role is not None:
        return _enter_elsewhere(call, event, requested, caller)
    return _enter(call, event, requested, caller)


def _enter_elsewhere(
    call: ClientCall, event: RequestHeaders, requested: BedrockRoute, caller: Caller, looked_for: bool = False
) -> Step:
    """Go on with a caller whose organisation has a region or a role; the role is assumed first, if it has to be."""
    gateway = call.gateway.of(caller.own, looked_for)
    if isinstance(gateway, Assume):
        _hold_unreserved(call, event, caller.organisation)
        return Assuming(event, requested, caller), Wait(gateway, ASSUME_SECONDS)
    call.gateway, call.record.region = gateway, gateway.catalogue.region
    return _enter(call, event, requested, caller)


def _hold_unreserved(call: ClientCall, event: RequestHeaders, owner: str) -> None:
    """Count the body that Envoy takes in meanwhile. Raises a 429 `ApiError` where there are too many such."""
    if size := longest_body(event, call.gateway.settings.limits):
        call.unreserved = Unreserved(call.gateway.budget, owner, size)


def _enter(call: ClientCall, event: RequestHeaders, requested: BedrockRoute, caller: Caller) -> Step:
    """Respond to a request without a body, or admit it."""
    if isinstance(requested, ModelList):
        return _list(call, caller, lambda: model_list(call.gateway.catalogue, caller))
    if isinstance(requested, ModelDetails):
        return _list(call, caller, lambda: model(call.gateway.catalogue, caller, requested.model))
    if requested.switch:
        _check_offered(call, requested, event.headers, caller.own)
        check_feature(requested.switch, caller.denied)
    budget = call.gateway.budget
    size = announced_bytes(event, call.gateway.settings.limits, budget.largest - budget.stream_bytes)
    call.reservation = reservation = Reservation(budget, caller.organisation, size)
    return Buffering(Admitted(requested, caller, reservation), size), Continue(names_to_remove(tuple(event.headers)))


def _list(call: ClientCall, caller: Caller, body: Callable[[], bytes]) -> Step:
    """Respond with what `body` makes, which counts among what is in flight: a burst leaves many of them unsent.

    Raises a 429 or 503 `ApiError`.
    """
    reservation = _reserve(call, caller)
    reservation.begin_list()
    made = body()
    reservation.hold(response=len(made))
    return Done(), call.reply(200, made)


def _reserve(call: ClientCall, caller: Caller) -> Reservation:
    """Count a request that has no body. Raises a 429 or 503 `ApiError`."""
    call.reservation = reservation = Reservation(call.gateway.budget, caller.organisation, 0)
    reservation.arrived()
    return reservation


def _query(call: ClientCall, requested: UsageRoute, caller: Caller) -> Step:
    """Query the usage of the caller's organisation. Nobody may who was not given that very scope."""
    caller.require_named(requested.scope)
    job = query_of(requested, caller, call.gateway.settings.usage.keep_days, call.now)
    _reserve(call, caller)
    return Querying(), Wait(job, USAGE_SECONDS)


def _check_offered(
    call: ClientCall, endpoint: ApiEndpoint, headers: Mapping[str, str], organisation: Organisation | None
) -> None:
    """Raise a 404 for an optional endpoint that is not switched on, for this organisation or for any."""
    settings, directory = call.gateway.settings, call.gateway.directory
    if endpoint.switch not in directory.offered or (
        organisation is not None and not settings.offers(endpoint.switch, organisation)
    ):
        raise not_here(headers.get(":method", ""), headers.get(":path", ""), endpoint.switch)
