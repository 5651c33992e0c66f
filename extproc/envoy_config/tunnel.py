"""The way to Bedrock through the network's proxy.

    cluster `bedrock` --TLS--> listener `bedrock-tunnel` (inside Envoy) --CONNECT--> cluster `bedrock-proxy`

Each region's cluster has a listener of its own. TLS begins in the cluster `bedrock` and ends at AWS, as without a
proxy. The tunnel adds CONNECT with Bedrock's name, which the proxy looks up: Envoy looks up the proxy's name only. The
keys of issuers of signed tokens come in the same way, each through a tunnel of its own (`jwt`).

A connection that fails is a line on Envoy's standard error, which names the proxy and what it did.

The invariant: no configuration contains a password. Envoy reads `Proxy-Authorization` from its environment.

Decision: docs/decisions.md, D155.
"""

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog, AccessLogFilter, ExtensionFilter
from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    Cluster,
    ClusterDiscoveryType,
    ClusterDnsLookupFamily,
)
from envoy_data_plane.envoy.config.core.v3 import Address as EnvoyAddress
from envoy_data_plane.envoy.config.core.v3 import (
    DataSource,
    EnvoyInternalAddress,
    SubstitutionFormatString,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener, ListenerInternalListenerConfig
from envoy_data_plane.envoy.extensions.access_loggers.filters.cel.v3 import ExpressionFilter
from envoy_data_plane.envoy.extensions.access_loggers.stream.v3 import StderrAccessLog
from envoy_data_plane.envoy.extensions.bootstrap.internal_listener.v3 import InternalListener
from envoy_data_plane.envoy.extensions.filters.network.tcp_proxy.v3 import TcpProxy, TcpProxyTunnelingConfig

from extproc.config import capacity
from extproc.envoy_config import EnvoyPlan, Upstream
from extproc.envoy_config.messages import address_message, headers_to_set, packed, seconds
from extproc.net import Address, is_ip
from extproc.proxy import AUTHORIZATION_VARIABLE, Proxy

TUNNEL = "bedrock-tunnel"
"""The internal listener; those of other regions have the region behind it."""

PROXY = "bedrock-proxy"
"""The cluster of the proxy."""

CONNECT_SECONDS = 6.0
"""Timeout of a connection to Bedrock through the proxy: to the proxy, from there to AWS, and TLS."""

_PROXY_SECONDS = 3.0
"""Timeout of the connection to the proxy alone, which is shorter so that the log can name it."""

_BUFFER_BYTES = 32 * 1024
"""Bytes that each part of the tunnel buffers for a side that does not read."""


def tunnel_name(upstream: Upstream) -> str:
    """Return the name of the listener of the tunnel to one of Bedrock's regions."""
    return f"{TUNNEL}-{upstream.region}" if upstream.region else TUNNEL


def tunnel_endpoint(cluster: str, tunnel: str) -> ClusterLoadAssignment:
    """Return the only member of a cluster behind the proxy: the listener of a tunnel, in this Envoy."""
    there = EnvoyAddress(envoy_internal_address=EnvoyInternalAddress(server_listener_name=tunnel, endpoint_id=cluster))
    return _assignment(cluster, there)


def bedrock_tunnel(upstream: Upstream, proxy: Proxy) -> Listener:
    """Return the listener of the tunnel to one of Bedrock's regions."""
    return tunnel_listener(tunnel_name(upstream), Address(upstream.endpoint.host, upstream.endpoint.port), proxy)


def tunnel_listener(name: str, address: Address, proxy: Proxy) -> Listener:
    """Return the listener of a tunnel to `address`, which lasts as long as the connection inside."""
    target = str(address)
    authorization = {"proxy-authorization": f"%ENVIRONMENT({AUTHORIZATION_VARIABLE})%"} if proxy.authorization else {}
    tunnel = TcpProxy(
        stat_prefix=name,
        cluster=PROXY,
        idle_timeout=seconds(0),
        # The filter reads while the proxy does not respond, or it would not see that the connection inside has ended.
        max_early_data_bytes=_BUFFER_BYTES,
        access_log=[_failures(proxy, target)],
        tunneling_config=TcpProxyTunnelingConfig(hostname=target, headers_to_add=headers_to_set(authorization)),
    )
    return Listener(
        name=name,
        internal_listener=ListenerInternalListenerConfig(),
        ignore_global_conn_limit=True,  # that is of callers
        per_connection_buffer_limit_bytes=_BUFFER_BYTES,
        filter_chains=[
            FilterChain(filters=[Filter(name="envoy.filters.network.tcp_proxy", typed_config=packed(tunnel))])
        ],
    )


def proxy_cluster(plan: EnvoyPlan, proxy: Proxy) -> Cluster:
    """Return the cluster of the proxy, over HTTP/1.1: a connection for each tunnel."""
    return Cluster(
        name=PROXY,
        type=ClusterDiscoveryType.STATIC if is_ip(proxy.address.host) else ClusterDiscoveryType.LOGICAL_DNS,
        dns_lookup_family=ClusterDnsLookupFamily.V4_PREFERRED,
        connect_timeout=seconds(_PROXY_SECONDS),
        per_connection_buffer_limit_bytes=_BUFFER_BYTES,
        circuit_breakers=CircuitBreakers(
            thresholds=[
                CircuitBreakersThresholds(
                    max_connections=capacity.connections(plan.files), max_requests=100_000, max_pending_requests=10_000
                )
            ]
        ),
        load_assignment=_assignment(PROXY, address_message(proxy.address)),
    )


def tunnel_extension() -> TypedExtensionConfig:
    """Return the bootstrap extension that listeners inside of Envoy need."""
    extension = InternalListener(buffer_size_kb=_BUFFER_BYTES // 1024)
    return TypedExtensionConfig(name="envoy.bootstrap.internal_listener", typed_config=packed(extension))


def _failures(proxy: Proxy, target: str) -> AccessLog:
    """Return a log of tunnels through which nothing came back."""
    line = (
        f"[%START_TIME%] the proxy {proxy} gave no connection to {target} in %DURATION% ms: "
        "%UPSTREAM_TRANSPORT_FAILURE_REASON% (%RESPONSE_FLAGS%)\n"
    )
    log = StderrAccessLog(log_format=SubstitutionFormatString(text_format_source=DataSource(inline_string=line)))
    cel = ExpressionFilter(expression="response.size == 0")
    return AccessLog(
        name="envoy.access_loggers.stderr",
        filter=AccessLogFilter(extension_filter=ExtensionFilter(name="cel", typed_config=packed(cel))),
        typed_config=packed(log),
    )


def _assignment(name: str, address: EnvoyAddress) -> ClusterLoadAssignment:
    member = LbEndpoint(endpoint=Endpoint(address=address))
    return ClusterLoadAssignment(cluster_name=name, endpoints=[LocalityLbEndpoints(lb_endpoints=[member])])
