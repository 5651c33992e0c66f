"""Envoy's clusters: the ext_proc workers, Bedrock, and one without endpoints for requests that no worker has signed.

Decisions: docs/decisions.md, D90, D176.
"""

from collections.abc import Sequence

from betterproto2 import Message
from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    CircuitBreakersThresholdsRetryBudget,
    Cluster,
    ClusterCommonLbConfig,
    ClusterDiscoveryType,
    ClusterDnsLookupFamily,
    ClusterLbPolicy,
    OutlierDetection,
)
from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation as HeaderMutationAction
from envoy_data_plane.envoy.config.core.v3 import (
    HealthCheck,
    HealthCheckGrpcHealthCheck,
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    UpstreamHttpProtocolOptions,
)
from envoy_data_plane.envoy.config.core.v3 import HttpProtocolOptions as ConnectionOptions
from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import HeaderMutation, Mutations
from envoy_data_plane.envoy.extensions.filters.http.upstream_codec.v3 import UpstreamCodec
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsAutoHttpConfig,
    HttpProtocolOptionsExplicitHttpConfig,
)
from envoy_data_plane.envoy.type.v3 import Percent
from envoy_data_plane.google.protobuf import Any

from extproc.config import capacity
from extproc.envoy_config import PROCESSOR, UNPROCESSED, EnvoyPlan, Upstream
from extproc.envoy_config.messages import address_message, packed, seconds
from extproc.envoy_config.tls import bedrock_tls, processor_tls
from extproc.envoy_config.tunnel import CONNECT_SECONDS, tunnel_endpoint, tunnel_name
from extproc.net import Address, is_ip

MIB = 1024 * 1024

_UNREAD_BYTES = 64 * 1024
"""Bytes of one call that Bedrock may send ahead over HTTP/2, the least that there is; Envoy's default is 16 MiB."""

_CALLS_OF_A_CONNECTION = 200
"""Calls at once on one HTTP/2 connection to Bedrock."""

RESPONSE_BYTES = 32 * 1024
"""Bytes of Bedrock's response that Envoy buffers for a caller that does not read, before it stops reading."""


def processor_cluster(plan: EnvoyPlan) -> Cluster:
    """Return the workers' cluster, one endpoint each: a gRPC stream goes to the worker with the fewest.

    A worker that reports NOT_SERVING gets nothing new at once; one that does not respond, after two checks of 5 s, so
    that a worker that is busy with a flood is not given up (D176). With no worker left every call
    is rejected (panic threshold 0) instead of being sent to one that is known to be dead.
    """
    return Cluster(
        name=PROCESSOR,
        type=discovery(plan.processors),
        dns_lookup_family=ClusterDnsLookupFamily.V4_PREFERRED,
        connect_timeout=seconds(1),
        per_connection_buffer_limit_bytes=plan.settings.limits.body_bytes + MIB,
        lb_policy=ClusterLbPolicy.LEAST_REQUEST,
        common_lb_config=ClusterCommonLbConfig(
            healthy_panic_threshold=Percent(value=0.0),
            # Envoy updates its threads on a worker's health at most once a second, but /healthz at once: that would be
            # 200 up to a second before requests are let through again.
            update_merge_window=seconds(0),
        ),
        health_checks=[_health_check()],
        outlier_detection=_outlier_detection(),
        circuit_breakers=_thresholds(
            CircuitBreakersThresholds(max_requests=100_000, max_pending_requests=10_000, max_retries=100)
        ),
        typed_extension_protocol_options=_http_options(_processor_protocol()),
        transport_socket=processor_tls(plan.processor_tls, plan.processors) if plan.processor_tls else None,
        load_assignment=endpoints(PROCESSOR, plan.processors),
    )


def _processor_protocol() -> HttpProtocolOptions:
    http2 = Http2ProtocolOptions(
        # Bytes of one call that a worker may send unread; with a megabyte, a caller that does not read costs twice it.
        initial_stream_window_size=256 * 1024,
        initial_connection_window_size=16 * MIB,
        # Against floods; by default Envoy treats a worker that is busy with a thousand streams as one, and cuts them
        # all.
        max_outbound_frames=1_000_000,
        max_outbound_control_frames=100_000,
    )
    return HttpProtocolOptions(explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=http2))


def bedrock_cluster(plan: EnvoyPlan, upstream: Upstream) -> Cluster:
    """Return the cluster of a runtime endpoint of Bedrock: HTTP/2 or 1.1 as TLS negotiates it, HTTP/1.1 without TLS.

    LOGICAL_DNS, because AWS's names rotate through many addresses (STRICT_DNS would drop connections at each
    change). Idle connections are closed before AWS closes them at 60 s. Behind a proxy, the proxy looks up the name.
    """
    endpoint = upstream.endpoint
    address = Address(host=endpoint.host, port=endpoint.port)
    secure, here = endpoint.scheme == "https", is_ip(endpoint.host) or plan.proxy is not None
    return Cluster(
        name=upstream.name,
        type=ClusterDiscoveryType.STATIC if here else ClusterDiscoveryType.LOGICAL_DNS,
        dns_lookup_family=ClusterDnsLookupFamily.V4_PREFERRED,
        connect_timeout=seconds(CONNECT_SECONDS if plan.proxy else 3),
        per_connection_buffer_limit_bytes=RESPONSE_BYTES,
        circuit_breakers=_thresholds(
            CircuitBreakersThresholds(
                max_connections=capacity.connections(plan.files),
                max_requests=100_000,
                max_pending_requests=10_000,
                retry_budget=CircuitBreakersThresholdsRetryBudget(
                    budget_percent=Percent(value=20.0), min_retry_concurrency=10
                ),
            )
        ),
        transport_socket=bedrock_tls(plan.ca_file) if secure else None,
        typed_extension_protocol_options=_http_options(_bedrock_protocol(secure)),
        load_assignment=tunnel_endpoint(upstream.name, tunnel_name(upstream))
        if plan.proxy
        else endpoints(upstream.name, [address]),
    )


def unprocessed_cluster() -> Cluster:
    """Return a cluster without endpoints: Envoy itself responds to its requests, with 503."""
    return Cluster(name=UNPROCESSED, type=ClusterDiscoveryType.STATIC, connect_timeout=seconds(1))


def _bedrock_protocol(secure: bool) -> HttpProtocolOptions:
    """Return the protocol options: SNI and the certificate's expected name follow the `host` that was signed."""
    idle = ConnectionOptions(idle_timeout=seconds(55))
    if not secure:
        return HttpProtocolOptions(
            http_filters=_without_callers_host(),
            common_http_protocol_options=idle,
            explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(http_protocol_options=Http1ProtocolOptions()),
        )
    return HttpProtocolOptions(
        http_filters=_without_callers_host(),
        common_http_protocol_options=idle,
        upstream_http_protocol_options=UpstreamHttpProtocolOptions(auto_sni=True, auto_san_validation=True),
        auto_config=HttpProtocolOptionsAutoHttpConfig(
            # Calls whose callers read nothing must not fill the connection's window: all calls on it share that.
            http2_protocol_options=Http2ProtocolOptions(
                initial_stream_window_size=_UNREAD_BYTES,
                max_concurrent_streams=_CALLS_OF_A_CONNECTION,
                initial_connection_window_size=16 * MIB,
            )
        ),
    )


def _without_callers_host() -> list[HttpFilter]:
    """Return filters for requests to Bedrock, behind the route, which has put the caller's host into this header.

    Envoy does that where the router is without `suppress_envoy_headers`.
    """
    mutations = Mutations(request_mutations=[HeaderMutationAction(remove="x-envoy-original-host")])
    return [
        HttpFilter(name="envoy.filters.http.header_mutation", typed_config=packed(HeaderMutation(mutations=mutations))),
        HttpFilter(name="envoy.filters.http.upstream_codec", typed_config=packed(UpstreamCodec())),
    ]


def _health_check() -> HealthCheck:
    return HealthCheck(
        timeout=seconds(5),
        interval=seconds(0.5),
        no_traffic_interval=seconds(0.5),
        unhealthy_threshold=2,
        healthy_threshold=1,
        grpc_health_check=HealthCheckGrpcHealthCheck(),
    )


def _outlier_detection() -> OutlierDetection:
    """Leave out a worker that cannot be connected to for a while, unless it is the only one.

    Its responses are never held against it: an abort is a bug of one request, not of the worker.
    """
    return OutlierDetection(
        split_external_local_origin_errors=True,
        consecutive_local_origin_failure=1,
        enforcing_consecutive_local_origin_failure=100,
        enforcing_consecutive_5xx=0,
        enforcing_consecutive_gateway_failure=0,
        enforcing_success_rate=0,
        enforcing_local_origin_success_rate=0,
        base_ejection_time=seconds(5),
        max_ejection_percent=90,
        interval=seconds(1),
    )


def discovery(addresses: Sequence[Address]) -> ClusterDiscoveryType:
    """Return STATIC where nothing has to be looked up; STRICT_DNS for names, so that each address is a worker."""
    static = all(address.path or is_ip(address.host) for address in addresses)
    return ClusterDiscoveryType.STATIC if static else ClusterDiscoveryType.STRICT_DNS


def endpoints(name: str, addresses: Sequence[Address]) -> ClusterLoadAssignment:
    """Return the cluster's members, one for each address."""
    each = [LbEndpoint(endpoint=Endpoint(address=address_message(address))) for address in addresses]
    return ClusterLoadAssignment(cluster_name=name, endpoints=[LocalityLbEndpoints(lb_endpoints=each)])


def _thresholds(thresholds: CircuitBreakersThresholds) -> CircuitBreakers:
    return CircuitBreakers(thresholds=[thresholds])


def _http_options(options: Message) -> dict[str, Any]:
    return {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": packed(options)}
