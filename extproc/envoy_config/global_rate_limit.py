"""Envoy's global rate limit: a service of the mesh counts and decides, and Envoy asks it about each call.

One filter asks. It stands behind ext_proc, so that it knows what a worker has told Envoy of the call
(`telemetry.record`), and asks before the call leaves for Bedrock, with every descriptor at once: one hit of the kind
`requests`, and none of the kind `tokens`, to see if any are left. Another reports the call's tokens when it has ended,
however it ends. It stands before ext_proc: what a worker serves by calls of its own (embeddings) reaches no filter
behind, and is not asked about, but reported, with a hit of the kind `requests` as well.

The invariant: what is reported is a number. A call's record has its tokens from the start, 0 for a call that Bedrock
did not serve. Envoy drops a descriptor without a number, and one above 1,000,000,000, which no call reaches.

Decision: docs/decisions.md, D262.
"""

from collections.abc import Callable
from typing import Final, cast

from betterproto2 import Message
from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDnsLookupFamily
from envoy_data_plane.envoy.config.core.v3 import (
    ApiVersion,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    Http2ProtocolOptions,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.config.ratelimit.v3 import RateLimitServiceConfig
from envoy_data_plane.envoy.config.route.v3 import (
    RateLimit,
    RateLimitAction,
    RateLimitActionGenericKey,
    RateLimitActionMetaData,
    RateLimitActionMetaDataSource,
    RateLimitHitsAddend,
)
from envoy_data_plane.envoy.extensions.filters.http.ratelimit.v3 import RateLimit as RateLimitFilter
from envoy_data_plane.envoy.extensions.filters.http.ratelimit.v3 import (
    RateLimitXRateLimitHeadersRfcVersion as LimitHeaders,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.rate_limit_descriptors.expr.v3 import Descriptor
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
)
from envoy_data_plane.envoy.type.metadata.v3 import MetadataKey, MetadataKeyPathSegment
from envoy_data_plane.envoy.type.v3 import HttpStatus, StatusCode

from extproc.envoy_config import EnvoyPlan
from extproc.envoy_config.clusters import discovery, endpoints
from extproc.envoy_config.messages import packed, seconds
from extproc.net import parse_address
from extproc.shared_names import METADATA_NAMESPACE, SIGNED

ASK: Final = "oai-limit-ask"
REPORT: Final = "oai-limit-report"
"""The filters' names; routes refer to them."""

_DOMAIN: Final = "oai"

_CLUSTER: Final = "rate_limit"

_EXPRESSION: Final = cast("Callable[..., Message]", Descriptor)
"""The message. Before its module defines it, it imports another class of that name, which type checkers take."""

_SECONDS: Final = 0.2
"""Timeout of a question, in seconds."""

_RECORD: Final = f"metadata.filter_metadata['{METADATA_NAMESPACE}']"

_TOKENS: Final = f"%CEL(int({_RECORD}.input_tokens + {_RECORD}.output_tokens))%"
"""All tokens of a call, as a whole number."""

_UNASKED: Final = f"!('{SIGNED}' in {_RECORD}) && int({_RECORD}.input_tokens) > 0 ? 'requests' : {_RECORD}.none"
"""The kind `requests` for what a worker has served by calls of its own: it has taken tokens, and left by no filter. For
all others it is an error, and Envoy makes no descriptor."""


def is_asked(plan: EnvoyPlan) -> bool:
    """Return whether Envoy asks a rate limit service."""
    return plan.settings.rate_limits.by == "envoy"


def ask_filter(plan: EnvoyPlan) -> HttpFilter:
    """Return the filter that asks, as it stands in a chain: off, until a route turns it on."""
    return HttpFilter(name=ASK, disabled=True, typed_config=packed(_filter(plan, _questions())))


def report_filter(plan: EnvoyPlan) -> HttpFilter:
    """Return the filter that reports, likewise."""
    return HttpFilter(name=REPORT, disabled=True, typed_config=packed(_filter(plan, _reports())))


def global_limit_clusters(plan: EnvoyPlan) -> list[Cluster]:
    """Return the cluster of the service, if there is one."""
    service = plan.settings.rate_limits.service
    if not is_asked(plan) or service is None:
        return []
    addresses = [parse_address(service)]
    http2 = HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=Http2ProtocolOptions())
    options = packed(HttpProtocolOptions(explicit_http_config=http2))
    return [
        Cluster(
            name=_CLUSTER,
            type=discovery(addresses),
            dns_lookup_family=ClusterDnsLookupFamily.V4_PREFERRED,
            connect_timeout=seconds(_SECONDS),
            typed_extension_protocol_options={"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
            load_assignment=endpoints(_CLUSTER, addresses),
        )
    ]


def _filter(plan: EnvoyPlan, limits: list[RateLimit]) -> RateLimitFilter:
    settings = plan.settings.rate_limits
    return RateLimitFilter(
        domain=settings.domain or _DOMAIN,
        stat_prefix="oai",
        timeout=seconds(_SECONDS),
        failure_mode_deny=settings.on_store_error == "reject",
        status_on_error=HttpStatus(code=StatusCode.ServiceUnavailable),
        # The worker reads from them when to try again, and removes them.
        enable_x_ratelimit_headers=LimitHeaders.DRAFT_VERSION_03,
        disable_x_envoy_ratelimited_header=True,
        rate_limit_service=RateLimitServiceConfig(
            grpc_service=GrpcService(envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=_CLUSTER), timeout=seconds(_SECONDS)),
            transport_api_version=ApiVersion.V3,
        ),
        rate_limits=limits,
    )


def _questions() -> list[RateLimit]:
    return [
        RateLimit(actions=[_kind(kind), *whose], hits_addend=RateLimitHitsAddend(number=hits))
        for whose in _whose()
        for kind, hits in (("requests", 1), ("tokens", 0))
    ]


def _reports() -> list[RateLimit]:
    kinds = (
        (_kind("tokens"), RateLimitHitsAddend(format=_TOKENS)),
        (_kind_of(_UNASKED), RateLimitHitsAddend(number=1)),
    )
    return [
        RateLimit(actions=[kind, *whose], hits_addend=hits, apply_on_stream_done=True)
        for whose in _whose()
        for kind, hits in kinds
    ]


def _whose() -> list[list[RateLimitAction]]:
    """Return the entries of an organisation, and of a token in it."""
    organisation = _told("organisation")
    return [[organisation], [organisation, _told("token")]]


def _kind(kind: str) -> RateLimitAction:
    return RateLimitAction(generic_key=RateLimitActionGenericKey(descriptor_key="kind", descriptor_value=kind))


def _kind_of(expression: str) -> RateLimitAction:
    """Return the entry of a kind that CEL has the name of; without one there is no descriptor."""
    kind = packed(_EXPRESSION(descriptor_key="kind", text=expression))
    extension = TypedExtensionConfig(name="envoy.rate_limit_descriptors.expr", typed_config=kind)
    return RateLimitAction(extension=extension)


def _told(name: str) -> RateLimitAction:
    """Return an entry of the record's field `name`; without it there is no descriptor."""
    key = MetadataKey(key=METADATA_NAMESPACE, path=[MetadataKeyPathSegment(key=name)])
    source = RateLimitActionMetaDataSource.DYNAMIC
    return RateLimitAction(metadata=RateLimitActionMetaData(descriptor_key=name, metadata_key=key, source=source))
