"""The HTTP filters, in the order in which a request meets them.

Health, CORS, the limit by address, signed tokens, reports to a rate limit service, ext_proc, questions to it, router.

Decisions: docs/decisions.md, D6, D210, D261.
"""

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutationRules
from envoy_data_plane.envoy.config.core.v3 import (
    BackoffStrategy,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    RetryPolicy,
)
from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import (
    ExternalProcessor,
    ExternalProcessorRouteCacheAction,
    MetadataOptions,
    MetadataOptionsMetadataNamespaces,
    ProcessingMode,
    ProcessingModeBodySendMode,
    ProcessingModeHeaderSendMode,
)
from envoy_data_plane.envoy.extensions.filters.http.health_check.v3 import HealthCheck
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher
from envoy_data_plane.envoy.type.v3 import HttpStatus, Percent, StatusCode

from extproc.envoy_config import PROCESSOR, EnvoyPlan
from extproc.envoy_config.cors import cors_filter
from extproc.envoy_config.global_rate_limit import ask_filter, is_asked, report_filter
from extproc.envoy_config.jwt import jwt_filter
from extproc.envoy_config.messages import packed, seconds
from extproc.envoy_config.rate_limit import limit_filters
from extproc.shared_names import AI_USAGE_NAMESPACE, JWT_NAMESPACE, METADATA_NAMESPACE

EXT_PROC = "oai-extproc"
"""The filter's name; routes refer to it. A name of our own, for an Envoy that has another ext_proc filter already."""

HEALTH_PATH = "/healthz"

_MESSAGE_SECONDS = 30.0
"""Envoy's `message_timeout`: seconds for the worker's response to one message, unless it extends that."""


def http_filters(plan: EnvoyPlan) -> list[HttpFilter]:
    """Return the whole chain."""
    return [health_filter(), *api_filters(plan), router()]


def api_filters(plan: EnvoyPlan) -> list[HttpFilter]:
    """Return the filters of the API's route, which are off elsewhere, or idle.

    Envoy's response to bytes that are not HTTP belongs to no route, and Envoy closes the connection before a worker
    could have seen it.
    """
    filters = [cors_filter()] if plan.settings.cors.origins else []
    if plan.settings.limits.address_requests_per_second is not None:
        filters += limit_filters()
    if plan.settings.jwt:
        filters.append(jwt_filter(plan))
    if not is_asked(plan):
        return [*filters, ext_proc_filter(plan)]
    return [*filters, report_filter(plan), ext_proc_filter(plan), ask_filter(plan)]


def health_filter() -> HttpFilter:
    """Return the health check: 200 while any worker is healthy, 503 otherwise and after `POST /healthcheck/fail`."""
    check = HealthCheck(
        pass_through_mode=False,
        headers=[HeaderMatcher(name=":path", string_match=StringMatcher(exact=HEALTH_PATH))],
        cluster_min_healthy_percentages={PROCESSOR: Percent(value=1.0)},
    )
    return HttpFilter(name="envoy.filters.http.health_check", typed_config=packed(check))


def ext_proc_filter(plan: EnvoyPlan) -> HttpFilter:
    """Return the ext_proc filter as it stands in a chain: off, until a route turns it on."""
    return HttpFilter(name=EXT_PROC, disabled=True, typed_config=packed(_external_processor(plan)))


def router() -> HttpFilter:
    """Return the end of every chain; it sends clients no header of Envoy's own."""
    return HttpFilter(name="envoy.filters.http.router", typed_config=packed(Router(suppress_envoy_headers=True)))


def _external_processor(plan: EnvoyPlan) -> ExternalProcessor:
    """Return the worker's part of every exchange: one gRPC stream each, failing closed.

    The static mode serves buffered and streamed responses alike: the worker may withhold the response headers until
    it has read any part of the body. `max_message_timeout` bounds how far it may extend its time while it makes its
    own calls (embeddings).
    """
    return ExternalProcessor(
        grpc_service=GrpcService(
            envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=PROCESSOR),
            retry_policy=RetryPolicy(
                retry_on="connect-failure,refused-stream,reset-before-request",
                num_retries=3,
                retry_back_off=BackoffStrategy(base_interval=seconds(0.01), max_interval=seconds(0.1)),
            ),
        ),
        failure_mode_allow=False,
        status_on_error=HttpStatus(code=StatusCode.ServiceUnavailable),
        message_timeout=seconds(_MESSAGE_SECONDS),
        max_message_timeout=seconds(plan.settings.longest_wait + _MESSAGE_SECONDS),
        # The worker sets the length of responses that it wrote in one piece, and removes every other.
        allow_content_length_header=True,
        processing_mode=_processing_mode(),
        # It writes :path, and removes every header of the other side, Envoy's own included. The host that it writes is
        # for Envoys whose route has none. A regex that begins so is compared as a text.
        mutation_rules=HeaderMutationRules(
            allow_all_routing=True, allow_envoy=True, disallow_expression=RegexMatcher(regex="^:authority$")
        ),
        # Envoy looks for the route again once the worker has signed the request: only then one leads to Bedrock.
        route_cache_action=ExternalProcessorRouteCacheAction.CLEAR,
        response_attributes=["response.code_details"],
        metadata_options=MetadataOptions(
            receiving_namespaces=MetadataOptionsMetadataNamespaces(untyped=_written(plan)),
            forwarding_namespaces=MetadataOptionsMetadataNamespaces(untyped=[JWT_NAMESPACE])
            if plan.settings.jwt
            else None,
        ),
    )


def _written(plan: EnvoyPlan) -> list[str]:
    """Return the namespaces in which the worker may write; Envoy warns of each message with another."""
    return [METADATA_NAMESPACE, *([AI_USAGE_NAMESPACE] if plan.settings.usage.envoy_ai else [])]


def _processing_mode() -> ProcessingMode:
    headers, body = ProcessingModeHeaderSendMode, ProcessingModeBodySendMode
    return ProcessingMode(
        request_header_mode=headers.SEND,
        request_body_mode=body.BUFFERED,
        request_trailer_mode=headers.SEND,  # with SKIP, headers and trailers without a body leave as they came
        response_header_mode=headers.SEND,
        response_body_mode=body.FULL_DUPLEX_STREAMED,
        response_trailer_mode=headers.SEND,
    )
