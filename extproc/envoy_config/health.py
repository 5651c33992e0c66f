"""A listener of its own for kubelets, scrapers and load balancers.

| path       | served by                                                                                        |
|------------|--------------------------------------------------------------------------------------------------|
| `/healthz` | Envoy: 200 once a worker is healthy, 503 before that and while draining                          |
| `/metrics` | Envoy's admin interface: its statistics, for Prometheus; nothing else of that interface          |
| `/drained` | `oai-extproc drain --announce`: nothing until the last call has ended                            |

Apart from callers: this port need not be reachable for them, probes still come through when callers use up all
connections, and `http.oai.downstream_rq_active` counts callers only, which is what a drain waits for.

Envoy makes the whole page of `/metrics` for each scrape, and keeps what is not read: so a few at a time are made, and
their connections hold little of them. A scrape ends after Envoy's 15 s, read or not. A page that is given up is made
all the same, on Envoy's main thread: so there is one a second, and a 429 beyond that.

The listener has a limit of connections of its own, and closes them after seconds without a request, so that they do not
take the open files of calls.

The invariant: nothing here reaches a worker or Bedrock.

Decisions: docs/decisions.md, D32, D271, D329.
"""

from envoy_data_plane.envoy.config.cluster.v3 import CircuitBreakers, CircuitBreakersThresholds, Cluster
from envoy_data_plane.envoy.config.core.v3 import HttpProtocolOptions, RuntimeFractionalPercent
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    FilterConfig,
    HeaderMatcher,
    RetryPolicy,
    RetryPolicyRetryBackOff,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.http.local_ratelimit.v3 import LocalRateLimit
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpFilter,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.envoy.type.v3 import FractionalPercent, TokenBucket

from extproc.config import capacity
from extproc.envoy_config import EnvoyPlan, drain_socket
from extproc.envoy_config.clusters import discovery, endpoints
from extproc.envoy_config.filters import health_filter, router
from extproc.envoy_config.messages import address_message, headers_to_set, packed, seconds
from extproc.net import Address

METRICS_PATH = "/metrics"
DRAINED_PATH = "/drained"

_NAME = "health"
_ADMIN = "admin"
_DRAIN = "drain"

SCRAPES = 4
"""Pages of `/metrics` that are made at once; as many more wait."""

SCRAPES_AT_ONCE = 10
"""Scrapes that may come at once, after as many seconds with none; then one a second."""

_LIMIT = "oai-scrapes"
"""The name of the filter that counts scrapes; the route of `/metrics` turns it on."""

_SCRAPES_STATS = "scrapes"
_ALWAYS = RuntimeFractionalPercent(default_value=FractionalPercent(numerator=100))

_BUFFER_BYTES = 64 * 1024
"""Bytes of a page that Envoy buffers for a connection whose client does not read."""

_HEADERS_SECONDS = 10.0

_IDLE_SECONDS = 15.0
"""Longest time of a connection without a request, in seconds."""


def health_listener(plan: EnvoyPlan, listen: Address) -> Listener:
    """Return the listener; it is not bound by the callers' limit of connections, but by `connection_limit`."""
    manager = HttpConnectionManager(
        stat_prefix=_NAME,
        server_name="oai-extproc",
        use_remote_address=True,
        route_config=RouteConfiguration(
            name=_NAME, virtual_hosts=[VirtualHost(name=_NAME, domains=["*"], routes=_routes(plan))]
        ),
        http_filters=[health_filter(), _scrapes(), router()],
        common_http_protocol_options=HttpProtocolOptions(idle_timeout=seconds(_IDLE_SECONDS)),
        request_headers_timeout=seconds(_HEADERS_SECONDS),
    )
    chain = FilterChain(
        filters=[Filter(name="envoy.filters.network.http_connection_manager", typed_config=packed(manager))]
    )
    return Listener(
        name=_NAME,
        address=address_message(listen),
        per_connection_buffer_limit_bytes=_BUFFER_BYTES,
        ignore_global_conn_limit=True,
        filter_chains=[chain],
    )


def connection_limit(plan: EnvoyPlan) -> tuple[str, float]:
    """Return the runtime flag of the listener's limit of connections, and its value; above it Envoy closes new ones."""
    return f"envoy.resource_limits.listener.{_NAME}.connection_limit", float(capacity.health_connections(plan.files))


def health_clusters(plan: EnvoyPlan) -> list[Cluster]:
    """Return the clusters of Envoy's admin interface and of the drain's socket, if there are such."""
    if plan.admin is None:
        return []
    drain = drain_socket(plan.admin)
    admin = _cluster(_ADMIN, plan.admin)
    admin.per_connection_buffer_limit_bytes = _BUFFER_BYTES
    few = CircuitBreakersThresholds(max_connections=SCRAPES, max_requests=SCRAPES, max_pending_requests=SCRAPES)
    admin.circuit_breakers = CircuitBreakers(thresholds=[few])
    return [admin, *([_cluster(_DRAIN, drain)] if drain else [])]


def _cluster(name: str, address: Address) -> Cluster:
    return Cluster(
        name=name,
        type=discovery([address]),
        connect_timeout=seconds(1),
        load_assignment=endpoints(name, [address]),
    )


def _routes(plan: EnvoyPlan) -> list[Route]:
    routes = {_ADMIN: _metrics(), _DRAIN: _drained()}
    there = [routes[cluster.name] for cluster in health_clusters(plan)]
    elsewhere = Route(name="elsewhere", match=RouteMatch(prefix="/"), direct_response=DirectResponseAction(status=404))
    return [*there, elsewhere]


def _metrics() -> Route:
    """Return the route to one page of the admin interface; through any other, callers could stop Envoy."""
    return Route(
        name="metrics",
        match=_get(METRICS_PATH),
        typed_per_filter_config={_LIMIT: packed(FilterConfig(config=packed(_scrapes_limit())))},
        route=RouteAction(cluster=_ADMIN, prefix_rewrite="/stats/prometheus"),
    )


def _scrapes() -> HttpFilter:
    """Return the filter that counts scrapes as it stands in the chain: off."""
    return HttpFilter(name=_LIMIT, disabled=True, typed_config=packed(LocalRateLimit(stat_prefix=_SCRAPES_STATS)))


def _scrapes_limit() -> LocalRateLimit:
    """Turn the filter on: a scrape beyond the limit is a 429 in plain text, `local_rate_limited`."""
    return LocalRateLimit(
        stat_prefix=_SCRAPES_STATS,
        token_bucket=TokenBucket(max_tokens=SCRAPES_AT_ONCE, tokens_per_fill=1, fill_interval=seconds(1)),
        filter_enabled=_ALWAYS,
        filter_enforced=_ALWAYS,
        response_headers_to_add=headers_to_set({"retry-after": "1"}),
    )


def _drained() -> Route:
    """Return a route without timeout: the response comes when the drain is over, and a client may come first."""
    return Route(
        name="drained",
        match=_get(DRAINED_PATH),
        route=RouteAction(
            cluster=_DRAIN,
            timeout=seconds(0),
            idle_timeout=seconds(0),
            retry_policy=RetryPolicy(
                retry_on="connect-failure",
                num_retries=30,
                retry_back_off=RetryPolicyRetryBackOff(base_interval=seconds(0.5), max_interval=seconds(0.5)),
            ),
        ),
    )


def _get(path: str) -> RouteMatch:
    method = HeaderMatcher(name=":method", string_match=StringMatcher(exact="GET"))
    return RouteMatch(path=path, headers=[method])
