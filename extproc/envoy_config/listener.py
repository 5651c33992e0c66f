"""Envoy's listener, its routes, and the way of a request.

| path                | served by                                                                        |
|---------------------|----------------------------------------------------------------------------------|
| `/healthz`          | Envoy: 200 once a worker is healthy, 503 before that and while draining          |
| `/oai/v1`, below it | the ext_proc worker; with `cors.origins`, Envoy for a browser's preflight         |
| the same            | Envoy: a 429 beyond `limits.address_requests_per_second`, without the worker     |
| `/model`, below it  | Bedrock, for a request that a worker has signed; Envoy's 404 for any other       |
| anything else       | Envoy: a 404 in OpenAI's shape                                                   |

Each call is routed twice. By its path under `/oai/v1` it belongs to the route `api`, whose filter calls the worker and
whose cluster has no endpoint. The worker's request has Bedrock's path and the mark `signed` in the dynamic metadata,
which no caller can set; Envoy looks for the route again and finds `bedrock`. What was signed for another region of
`regions` is marked with that region's name instead, and matches the route `bedrock-REGION` alone. Where the filter is
missing, off, or fails in any way, the second route is never found, and Envoy responds with 503.

The invariant: a request reaches Bedrock only as the worker wrote it, and only `/oai/v1` reaches the worker.

Decisions: docs/decisions.md, D35, D67, D68, D83, D89, D146, D153, D175, D215, D290.
"""

from collections.abc import Iterable, Iterator

from betterproto2 import Message
from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog, AccessLogFilter, NotHealthCheckFilter
from envoy_data_plane.envoy.config.core.v3 import (
    CidrRange,
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    HttpProtocolOptions,
    SchemeHeaderTransformation,
    SubstitutionFormatString,
)
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener, ListenerFilter
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    FilterConfig,
    RetryPolicy,
    RetryPolicyRetryBackOff,
    Route,
    RouteAction,
    RouteActionMaxStreamDuration,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.access_loggers.stream.v3 import StdoutAccessLog
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import ExtProcOverrides, ExtProcPerRoute
from envoy_data_plane.envoy.extensions.filters.http.ratelimit.v3 import RateLimitPerRoute
from envoy_data_plane.envoy.extensions.filters.listener.http_inspector.v3 import HttpInspector
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerInternalAddressConfig,
    HttpConnectionManagerPathWithEscapedSlashesAction,
)
from envoy_data_plane.envoy.type.matcher.v3 import (
    MetadataMatcher,
    MetadataMatcherPathSegment,
    StringMatcher,
    ValueMatcher,
)
from envoy_data_plane.google.protobuf import Any, Struct

from extproc.envoy_config import STAT_PREFIX, UNPROCESSED, EnvoyPlan, Upstream
from extproc.envoy_config.callers_tls import callers_tls
from extproc.envoy_config.cors import CORS, cors_of_route, preflight_route
from extproc.envoy_config.filters import EXT_PROC, HEALTH_PATH, http_filters
from extproc.envoy_config.global_rate_limit import ASK, REPORT, is_asked
from extproc.envoy_config.ledger import ledger_loggers
from extproc.envoy_config.messages import address_message, packed, seconds
from extproc.envoy_config.rate_limit import ADDRESS_LIMIT, REROUTE, limit_of_route, over_limit_route, reroute
from extproc.envoy_config.replies import ELSEWHERE, local_replies
from extproc.envoy_config.usage_metrics import is_counted, usage_loggers
from extproc.shared_names import API_PATH, LONGEST_CALL_SECONDS, METADATA_NAMESPACE, SIGNED

_MODELS = "/model"
"""Path prefix of all of Bedrock's runtime operations."""

_MIB = 1024 * 1024

MAX_CONCURRENT_STREAMS = 100
"""Requests at once on one connection (RFC 9113, section 6.5.2, recommends no fewer); a client opens another connection
for more. Each takes Envoy 8 to 20 KB, a caller sends a dozen bytes for it, and Envoy's default is 1,024."""

_STREAM_BYTES = 128 * 1024
"""Bytes of an HTTP/2 request that a caller may send ahead of the worker, and of a response that Envoy holds unread."""

_FLUSH_SECONDS = 60.0
"""Seconds in which a caller over HTTP/2 has to read a complete response, unless Envoy shortens them where its memory is
short: then they are `READ_SECONDS`."""

READ_SECONDS = 600.0
"""Seconds in which a caller has to read a complete response: 100 KB/s are enough for 60 MB.

Over HTTP/2 they are the routes' (Envoy takes those of the first one it finds), over HTTP/1.1 the listener's, for a
buffer that is full."""

CONNECTION_BYTES = 64 * 1024
"""Bytes of a connection that Envoy buffers before it stops reading from the other side."""

_HOST_FOR_HTTP_10 = "oai-extproc"
"""Host of a request in HTTP/1.0 that names none, as it may; no route depends on it."""

_FIRST_LINE_SECONDS = 3.0
"""Longest time of a new connection without the line of a request, in seconds: two packets may be lost before it.

A connection that sends less and is reset stays open for as long, because Envoy does not see that."""

_HANDSHAKE_SECONDS = 15.0

_CONNECTION_IDLE_SECONDS = 660.0
"""Longest time of a connection without a call: longer than load balancers keep theirs (Google's 600 s, AWS's 350 s)."""

_SLACK_SECONDS = 60.0
"""Seconds by which Envoy's idle timers outlast the worker's, which ends an idle call with a proper error."""

_LOG_FIELDS = {
    "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
    "id": "%REQ(X-REQUEST-ID)%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "method": "%REQ(:METHOD)%",
    "path": "%PATH(NQ)%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "upstream": "%UPSTREAM_HOST%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "milliseconds": "%DURATION%",
    "first_byte_milliseconds": "%RESPONSE_DURATION%",
    METADATA_NAMESPACE: f"%DYNAMIC_METADATA({METADATA_NAMESPACE})%",
}


def listener(plan: EnvoyPlan) -> Listener:
    """Return the listener for callers.

    Its buffer limit bounds what Envoy holds for a caller that does not read; bodies are the route's, which has a limit
    of its own. A connection without a request's line is closed while an inspector waits for one; behind TLS, without a
    handshake. New connections are accepted one by one, between other work: by default all that wait come first, and
    thousands of them stop others.
    """
    manager = Filter(
        name="envoy.filters.network.http_connection_manager", typed_config=packed(_connection_manager(plan))
    )
    inspector = ListenerFilter(name="envoy.filters.listener.http_inspector", typed_config=packed(HttpInspector()))
    return Listener(
        name="oai",
        address=address_message(plan.listen),
        per_connection_buffer_limit_bytes=CONNECTION_BYTES,
        max_connections_to_accept_per_socket_event=1,
        listener_filters=[] if plan.callers_tls else [inspector],
        listener_filters_timeout=None if plan.callers_tls else seconds(_FIRST_LINE_SECONDS),
        filter_chains=[_chain(plan, manager)],
    )


def _chain(plan: EnvoyPlan, manager: Filter) -> FilterChain:
    """Return the connection manager behind TLS, if there is any; a handshake that stalls is given up."""
    if plan.callers_tls is None:
        return FilterChain(filters=[manager])
    return FilterChain(
        filters=[manager],
        transport_socket=callers_tls(plan.callers_tls),
        transport_socket_connect_timeout=seconds(_HANDSHAKE_SECONDS),
    )


def _upload_seconds(plan: EnvoyPlan) -> float:
    """Return the seconds in which a request has to arrive: the worker's longest limit, and time for its response."""
    limits = plan.settings.limits
    return round(limits.upload_timeout(limits.body_bytes) + _SLACK_SECONDS)


def _connection_manager(plan: EnvoyPlan) -> HttpConnectionManager:
    """Return HTTP towards clients: all are external, so their `x-envoy-*` and `x-request-id` are not trusted."""
    return HttpConnectionManager(
        stat_prefix=STAT_PREFIX,
        server_name="oai-extproc",
        use_remote_address=True,
        xff_num_trusted_hops=plan.settings.trusted_hops,
        internal_address_config=HttpConnectionManagerInternalAddressConfig(
            cidr_ranges=[CidrRange(address_prefix="255.255.255.255", prefix_len=32)]
        ),
        always_set_request_id_in_response=True,
        normalize_path=True,
        # A model's ARN has slashes, which arrive as %2F: as separators they would mean another path.
        path_with_escaped_slashes_action=HttpConnectionManagerPathWithEscapedSlashesAction.KEEP_UNCHANGED,
        # Otherwise requests inside TLS have `:scheme: http`.
        scheme_header_transformation=SchemeHeaderTransformation(match_upstream=True),
        # nginx asks its upstreams in HTTP/1.0 unless it is told not to; old clients leave out the host.
        http_protocol_options=Http1ProtocolOptions(accept_http_10=True, default_host_for_http_10=_HOST_FOR_HTTP_10),
        http2_protocol_options=Http2ProtocolOptions(
            # With a table, a byte of a request's can stand for kilobytes of headers that Envoy keeps.
            hpack_table_size=0,
            initial_stream_window_size=_STREAM_BYTES,
            initial_connection_window_size=4 * _MIB,
            max_concurrent_streams=MAX_CONCURRENT_STREAMS,
            # Otherwise an invalid request closes the connection, which a proxy shares between callers.
            override_stream_error_on_invalid_http_message=True,
        ),
        common_http_protocol_options=HttpProtocolOptions(idle_timeout=seconds(_CONNECTION_IDLE_SECONDS)),
        stream_idle_timeout=seconds(_idle_seconds(plan)),
        stream_flush_timeout=seconds(_FLUSH_SECONDS),
        request_headers_timeout=seconds(15),
        request_timeout=seconds(_upload_seconds(plan)),
        local_reply_config=local_replies(plan),
        access_log=_access_logs(plan),
        route_config=_routes(plan),
        http_filters=http_filters(plan),
    )


def _routes(plan: EnvoyPlan) -> RouteConfiguration:
    host = VirtualHost(name="oai", domains=["*"], routes=[_health(), *api_routes(plan), _elsewhere(plan)])
    return RouteConfiguration(name="oai", virtual_hosts=[host])


def _health() -> Route:
    """Return a route that the router needs: the health filter responds before it is used."""
    return Route(
        name="health",
        match=RouteMatch(path=HEALTH_PATH),
        direct_response=DirectResponseAction(status=404),
    )


def api_routes(plan: EnvoyPlan) -> list[Route]:
    """Return the routes that carry the API, first the one that wins."""
    origins, limit = plan.settings.cors.origins, plan.settings.limits.address_requests_per_second
    before = [preflight_route(origins)] if origins else []
    if limit is not None:
        before.append(_over_limit())
    return [*before, *bedrock_routes(plan), api_route(plan)]


def _over_limit() -> Route:
    """Return the route of requests beyond the limit by address, which no worker sees on their way out either."""
    route = over_limit_route()
    route.typed_per_filter_config = {EXT_PROC: packed(ExtProcPerRoute(disabled=True))}
    return route


def api_route(plan: EnvoyPlan) -> Route:
    """Return the route to the worker. A request that it has not signed ends there: the cluster has no endpoint."""
    return _route(plan, "api", RouteMatch(path_separated_prefix=API_PATH), UNPROCESSED)


def bedrock_routes(plan: EnvoyPlan) -> list[Route]:
    """Return the routes to Bedrock, one for each region: what was signed for a region matches its route alone."""
    return [_bedrock_route(plan, upstream) for upstream in plan.upstreams()]


def _bedrock_route(plan: EnvoyPlan, upstream: Upstream) -> Route:
    """Return the route to a region's Bedrock, for requests that a worker has signed for it.

    The route writes the host. Until then it is the caller's, so that Envoy looks for this route in the virtual host in
    which it found `api`.
    """
    region = upstream.region
    signed = MetadataMatcher(
        filter=METADATA_NAMESPACE,
        path=[MetadataMatcherPathSegment(key=SIGNED)],
        value=ValueMatcher(string_match=StringMatcher(exact=region)) if region else ValueMatcher(bool_match=True),
    )
    match = RouteMatch(path_separated_prefix=_MODELS, dynamic_metadata=[signed])
    route = _route(plan, upstream.name, match, upstream.name)
    # The worker leaves it: Envoy finds no route for a request without it.
    route.request_headers_to_remove = ["x-forwarded-proto"]
    assert route.route is not None
    route.route.host_rewrite_literal = upstream.endpoint.authority
    return route


def _route(plan: EnvoyPlan, name: str, match: RouteMatch, cluster: str) -> Route:
    """Return a route of a call. Only a request that cannot have started a call is retried: calls are billed.

    The limit of bodies holds for the body as it arrives and as the worker rewrites it, which may make it longer; above
    it Envoy responds with 413.
    """
    return Route(
        name=name,
        match=match,
        typed_per_filter_config=_switches(_turned_on(plan)),
        request_body_buffer_limit=plan.settings.limits.body_bytes,
        route=RouteAction(
            cluster=cluster,
            timeout=seconds(0),
            idle_timeout=seconds(_idle_seconds(plan)),
            flush_timeout=None if plan.memory is None else seconds(READ_SECONDS),
            max_stream_duration=RouteActionMaxStreamDuration(max_stream_duration=seconds(LONGEST_CALL_SECONDS)),
            retry_policy=RetryPolicy(
                retry_on="connect-failure,refused-stream,reset-before-request",
                num_retries=1,
                retry_back_off=RetryPolicyRetryBackOff(base_interval=seconds(0.1), max_interval=seconds(1)),
            ),
        ),
    )


def _turned_on(plan: EnvoyPlan) -> Iterator[tuple[str, Message]]:
    """Yield the filters that the route turns on: ext_proc unchanged; CORS, and limits by address or by a service."""
    yield from _cors(plan)
    yield EXT_PROC, ExtProcPerRoute(overrides=ExtProcOverrides())
    per_second = plan.settings.limits.address_requests_per_second
    if per_second is not None:
        yield ADDRESS_LIMIT, limit_of_route(per_second)
        yield REROUTE, reroute()
    if is_asked(plan):
        yield REPORT, RateLimitPerRoute()
        yield ASK, RateLimitPerRoute()


def _cors(plan: EnvoyPlan) -> Iterator[tuple[str, Message]]:
    if origins := plan.settings.cors.origins:
        yield CORS, cors_of_route(origins)


def _switches(filters: Iterable[tuple[str, Message]]) -> dict[str, Any]:
    """Return a route's `typed_per_filter_config`, which turns these filters on."""
    return {name: packed(FilterConfig(config=packed(each))) for name, each in filters}


def _elsewhere(plan: EnvoyPlan) -> Route:
    """Return the route for all other paths; `replies` gives its response a body.

    Pages in browsers may read that, too; the CORS filter ignores routes with a direct response.
    """
    route = Route(name=ELSEWHERE, match=RouteMatch(prefix="/"), typed_per_filter_config=_switches(_cors(plan)))
    if plan.settings.cors.origins:
        route.route = RouteAction(cluster=UNPROCESSED)
    else:
        route.direct_response = DirectResponseAction(status=404)
    return route


def _access_logs(plan: EnvoyPlan) -> list[AccessLog]:
    lines = [_access_log()] if plan.access_log else []
    return [*lines, *(usage_loggers(plan) if is_counted(plan) else []), *ledger_loggers(plan)]


def _access_log() -> AccessLog:
    """Return a JSON access log, one object a line, on standard output; `oai` is the worker's record of the call.

    `path` is Bedrock's where the call went there. Health checks are left out.
    """
    fields = Struct.from_dict(_LOG_FIELDS)
    log = StdoutAccessLog(log_format=SubstitutionFormatString(json_format=fields))
    return AccessLog(
        name="envoy.access_loggers.stdout",
        filter=AccessLogFilter(not_health_check_filter=NotHealthCheckFilter()),
        typed_config=packed(log),
    )


def _idle_seconds(plan: EnvoyPlan) -> float:
    """Return the idle timeout of a stream: nothing moves while a model is silent, or the worker makes its own calls."""
    return max(plan.settings.streaming.idle_seconds, plan.settings.longest_wait) + _SLACK_SECONDS
