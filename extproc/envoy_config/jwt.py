"""Envoy's own filter for signed tokens (`jwt_authn`), and the clusters of the issuers' keys.

The filter verifies what comes as `Authorization: Bearer ey…`, the beginning of every signed token, and looks at nothing
else: API keys pass it without work. It rejects nothing. What it has verified it writes into dynamic metadata, as it
does the reason where it has not; the worker decides. The header stays, so that the worker sees that there is just one
token in it.

Envoy fetches keys in the background, when it starts and every `refresh_seconds`. Only while it has none yet, a request
waits for a fetch of its own; the cluster bounds how many do.

Decisions: docs/decisions.md, D210, D211, D214.
"""

from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    Cluster,
    ClusterDiscoveryType,
    ClusterDnsLookupFamily,
)
from envoy_data_plane.envoy.config.core.v3 import Http1ProtocolOptions, HttpUri, UpstreamHttpProtocolOptions
from envoy_data_plane.envoy.config.core.v3 import HttpProtocolOptions as ConnectionOptions
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher, RouteMatch
from envoy_data_plane.envoy.extensions.filters.http.jwt_authn.v3 import (
    JwksAsyncFetch,
    JwtAuthentication,
    JwtHeader,
    JwtProvider,
    JwtRequirement,
    RemoteJwks,
    RequirementRule,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google.protobuf import Empty

from extproc.config.jwt import RETRY_SECONDS, JwtIssuer, jwks_endpoint
from extproc.envoy_config import EnvoyPlan
from extproc.envoy_config.clusters import endpoints
from extproc.envoy_config.messages import packed, seconds
from extproc.envoy_config.tls import bedrock_tls
from extproc.envoy_config.tunnel import CONNECT_SECONDS, tunnel_endpoint, tunnel_listener
from extproc.net import Address, is_ip
from extproc.shared_names import API_PATH, JWT_FAILED, JWT_VERIFIED

JWT = "oai-jwt"
"""The filter's name, which is our own: an Envoy may have such a filter for other routes."""

_CLUSTER = "jwks-{index}"
_TUNNEL = "jwks-{index}-tunnel"

_FETCH_SECONDS = 5.0
"""Timeout of a fetch of keys."""

_FETCHES = 8
"""Fetches at a time of one issuer's keys, of all of Envoy's threads, while it has none; beyond it requests fail."""

_BUFFER_BYTES = 32 * 1024


def jwt_filter(plan: EnvoyPlan) -> HttpFilter:
    """Return the filter as it stands in a chain. It is idle outside of the API's path.

    No route turns it on, since a route's part of this filter's configuration names a rule for whatever it finds in the
    header, API keys too.
    """
    settings = JwtAuthentication(
        providers={_CLUSTER.format(index=index): _provider(each, index) for index, each in _issuers(plan)},
        rules=[
            RequirementRule(
                match=RouteMatch(
                    path_separated_prefix=API_PATH,
                    headers=[HeaderMatcher(name="authorization", string_match=StringMatcher(prefix="Bearer ey"))],
                ),
                requires=JwtRequirement(allow_missing_or_failed=Empty()),
            )
        ],
    )
    return HttpFilter(name=JWT, typed_config=packed(settings))


def jwks_clusters(plan: EnvoyPlan) -> list[Cluster]:
    """Return the clusters of the issuers' keys, one each."""
    return [_cluster(plan, each, index) for index, each in _issuers(plan)]


def jwks_tunnels(plan: EnvoyPlan) -> list[Listener]:
    """Return the ways to the issuers through the network's proxy."""
    tunnels = []
    for index, each in _issuers(plan):
        endpoint = jwks_endpoint(each.jwks_uri)
        proxy = plan.jwks_proxies.get(str(endpoint))
        if proxy is not None:
            target = Address(endpoint.host, endpoint.port)
            tunnels.append(tunnel_listener(_TUNNEL.format(index=index), target, proxy))
    return tunnels


def _issuers(plan: EnvoyPlan) -> list[tuple[int, JwtIssuer]]:
    return list(enumerate(plan.settings.jwt))


def _provider(issuer: JwtIssuer, index: int) -> JwtProvider:
    """Return the rules of one issuer. Envoy finds it by the token's `iss`."""
    return JwtProvider(
        issuer=issuer.issuer,
        audiences=list(issuer.audiences),
        require_expiration=True,
        forward=True,
        from_headers=[JwtHeader(name="Authorization", value_prefix="Bearer ")],
        payload_in_metadata=JWT_VERIFIED,
        failed_status_in_metadata=JWT_FAILED,
        remote_jwks=RemoteJwks(
            http_uri=HttpUri(
                uri=issuer.jwks_uri, cluster=_CLUSTER.format(index=index), timeout=seconds(_FETCH_SECONDS)
            ),
            cache_duration=seconds(issuer.refresh_seconds),
            # Envoy listens before it has the keys: API keys need none.
            async_fetch=JwksAsyncFetch(fast_listener=True, failed_refetch_duration=seconds(RETRY_SECONDS)),
        ),
    )


def _cluster(plan: EnvoyPlan, issuer: JwtIssuer, index: int) -> Cluster:
    """Return the cluster of an issuer's keys; the certificate has to bear the name in `jwks_uri`."""
    endpoint, name = jwks_endpoint(issuer.jwks_uri), _CLUSTER.format(index=index)
    proxied, secure = str(endpoint) in plan.jwks_proxies, endpoint.scheme == "https"
    there = endpoints(name, [Address(endpoint.host, endpoint.port)])
    options = HttpProtocolOptions(
        common_http_protocol_options=ConnectionOptions(idle_timeout=seconds(10)),
        upstream_http_protocol_options=UpstreamHttpProtocolOptions(auto_sni=True, auto_san_validation=True)
        if secure
        else None,
        explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(http_protocol_options=Http1ProtocolOptions()),
    )
    return Cluster(
        name=name,
        type=ClusterDiscoveryType.STATIC if proxied or is_ip(endpoint.host) else ClusterDiscoveryType.LOGICAL_DNS,
        dns_lookup_family=ClusterDnsLookupFamily.V4_PREFERRED,
        connect_timeout=seconds(CONNECT_SECONDS if proxied else 3),
        per_connection_buffer_limit_bytes=_BUFFER_BYTES,
        circuit_breakers=CircuitBreakers(
            thresholds=[
                CircuitBreakersThresholds(
                    max_connections=_FETCHES, max_pending_requests=_FETCHES, max_requests=_FETCHES
                )
            ]
        ),
        transport_socket=bedrock_tls(plan.ca_file) if secure else None,
        typed_extension_protocol_options={"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": packed(options)},
        load_assignment=tunnel_endpoint(name, _TUNNEL.format(index=index)) if proxied else there,
    )
