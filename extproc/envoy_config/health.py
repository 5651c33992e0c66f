"""A listener of its own for kubelets, scrapers and load balancers.

| path       | served by                                                                                        |
|------------|--------------------------------------------------------------------------------------------------|
| `/healthz` | Envoy: 200 once a worker is healthy, 503 before that and while draining                          |
| `/metrics` | Envoy's admin interface: its statistics, for Prometheus; nothing else of that interface          |
| `/drained` | `oai-extproc drain --announce`: nothing until the last call has ended                            |

Apart from callers: this port need not be reachable for them, probes still come through when callers use up all
connections, and `http.oai.downstream_rq_active` counts callers only, which is what a drain waits for.

Envoy makes the whole page of `/metrics` for each scrape, and keeps what is not read: so a few at a time are made, and
their connections hold little of them. A scrape ends after Envoy's 15 s, read or not.

The invariant: nothing here reaches a worker or Bedrock.

Decisions: docs/decisions.md, D32, D271.
"""

from envoy_data_plane.envoy.config.cluster.v3 import CircuitBreakers, CircuitBreakersThresholds, Cluster
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    HeaderMatcher,
    RetryPolicy,
    RetryPolicyRetryBackOff,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpConnectionManager
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from extproc.envoy_config import EnvoyPlan, drain_socket
from extproc.envoy_config.clusters import discovery, endpoints
from extproc.envoy_config.filters import health_filter, router
from extproc.envoy_config.messages import address_message, packed, seconds
from extproc.net import Address

METRICS_PATH = "/metrics"
DRAINED_PATH = "/drained"

_NAME = "health"
_ADMIN = "admin"
_DRAIN = "drain"

SCRAPES = 4
"""Pages of `/metrics` that are made at once; as many more wait."""

_BUFFER_BYTES = 64 * 1024
"""Bytes of a page that Envoy buffers for a connection whose client does not read."""

_HEADERS_SECONDS = 10.0


def health_listener(plan: EnvoyPlan, listen: Address) -> Listener:
    """Return the listener; it is not bound by the limit of connections."""
    manager = HttpConnectionManager(
        stat_prefix=_NAME,
        server_name="oai-extproc",
        use_remote_address=True,
        route_config=RouteConfiguration(
            name=_NAME, virtual_hosts=[VirtualHost(name=_NAME, domains=["*"], routes=_routes(plan))]
        ),
        http_filters=[health_filter(), router()],
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
        route=RouteAction(cluster=_ADMIN, prefix_rewrite="/stats/prometheus"),
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
