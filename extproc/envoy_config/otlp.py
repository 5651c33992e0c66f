"""The ledger's records by OpenTelemetry's protocol: Envoy's access logger, and the cluster of the collector.

Envoy collects records, for a second or until there are 16 KiB, and sends them in one message. A message that the
collector does not accept is sent again for about five minutes; one whose response was lost comes twice. At most
`_MESSAGES` wait for that. What is left then is lost, and counted in `logs_dropped`.

Decision: docs/decisions.md, D263.
"""

from collections.abc import Mapping
from typing import Final

from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    Cluster,
    ClusterDnsLookupFamily,
)
from envoy_data_plane.envoy.config.core.v3 import (
    BackoffStrategy,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    Http2ProtocolOptions,
    RetryPolicy,
)
from envoy_data_plane.envoy.extensions.access_loggers.open_telemetry.v3 import OpenTelemetryAccessLogConfig
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
)
from envoy_data_plane.opentelemetry.proto.common.v1 import AnyValue, KeyValue, KeyValueList

from extproc.envoy_config import EnvoyPlan
from extproc.envoy_config.clusters import discovery, endpoints
from extproc.envoy_config.messages import packed, seconds

_CLUSTER: Final = "usage_collector"

_TRY_SECONDS: Final = 10.0
"""Timeout of a try, in seconds: with a retry policy, Envoy takes `timeout` for one of each."""

_RETRIES: Final = 60
"""Most tries after the first."""

_BACK_OFF_SECONDS: Final = 10.0
"""Longest time between two tries; it is half of that on average."""

_MESSAGES: Final = 1024
"""Most messages that wait for another try; of 16 KiB each."""

_FLUSH_SECONDS: Final = 1.0
"""Longest time for which a record is collected."""

_RESOURCE: Final = {"service.name": "oai-extproc"}


def otlp_log(fields: Mapping[str, str]) -> OpenTelemetryAccessLogConfig:
    """Return the logger's configuration, with an attribute for each of `fields` (name -> format)."""
    return OpenTelemetryAccessLogConfig(
        grpc_service=GrpcService(
            envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=_CLUSTER),
            timeout=seconds(_TRY_SECONDS),
            retry_policy=RetryPolicy(
                retry_on="cancelled,deadline-exceeded,resource-exhausted,unavailable,connect-failure,refused-stream,reset",
                num_retries=_RETRIES,
                retry_back_off=BackoffStrategy(base_interval=seconds(0.5), max_interval=seconds(_BACK_OFF_SECONDS)),
            ),
        ),
        log_name="oai_usage",
        stat_prefix="oai.",
        disable_builtin_labels=True,
        resource_attributes=_attributes(_RESOURCE),
        attributes=_attributes(fields),
        buffer_flush_interval=seconds(_FLUSH_SECONDS),
    )


def otlp_clusters(plan: EnvoyPlan) -> list[Cluster]:
    """Return the collector's cluster, if there is one."""
    settings = plan.settings.usage.otlp
    if settings is None:
        return []
    protocol = HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=Http2ProtocolOptions())
    options = packed(HttpProtocolOptions(explicit_http_config=protocol))
    most = CircuitBreakersThresholds(max_requests=_MESSAGES, max_pending_requests=_MESSAGES, max_retries=_MESSAGES)
    return [
        Cluster(
            name=_CLUSTER,
            type=discovery([settings.address]),
            dns_lookup_family=ClusterDnsLookupFamily.V4_PREFERRED,
            connect_timeout=seconds(1),
            circuit_breakers=CircuitBreakers(thresholds=[most]),
            typed_extension_protocol_options={"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
            load_assignment=endpoints(_CLUSTER, [settings.address]),
        )
    ]


def _attributes(values: Mapping[str, str]) -> KeyValueList:
    return KeyValueList(
        values=[KeyValue(key=name, value=AnyValue(string_value=value)) for name, value in values.items()]
    )
