"""Envoy's local replies to clients, in OpenAI's error shape.

Envoy responds by itself when the bytes are not HTTP, when a path is not ours, when a limit is exceeded, when
Bedrock cannot be reached, and when the ext_proc worker is dead. The worker rewrites most of these on their way out
with more detail; these texts remain true without a worker. Details of Envoy's go to the access log, not to callers.

The invariant: a response that the worker composed (an ext_proc immediate response, which to Envoy is a local
reply like any other) is never rewritten. Their content type tells them apart: the worker's have
`application/json`, Envoy's own have `text/plain` or none.
"""

from dataclasses import dataclass

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLogFilter, ExtensionFilter
from envoy_data_plane.envoy.config.core.v3 import SubstitutionFormatString
from envoy_data_plane.envoy.extensions.access_loggers.filters.cel.v3 import ExpressionFilter
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    LocalReplyConfig,
    ResponseMapper,
)
from envoy_data_plane.google.protobuf import Struct

from extproc.envoy_config import UNPROCESSED, EnvoyPlan
from extproc.envoy_config.cors import PREFLIGHT
from extproc.envoy_config.messages import headers_to_set, packed
from extproc.shared_names import API_PATH, METADATA_NAMESPACE

ELSEWHERE = "elsewhere"
"""The name of the route for all paths that are not the API's."""

_OWN = (
    "response.code >= 400 && !('content-type' in response.headers"
    " && response.headers['content-type'].startsWith('application/json'))"
)
"""CEL for: an error whose body is Envoy's own."""

_PROCESSOR_FAILED = (
    "response.code_details.startsWith('ext_proc_error')"
    " || response.code_details.startsWith('spurious_message')"
    " || response.code_details.startsWith('mismatch_between')"
    f" || (response.code_details.startsWith('no_healthy_upstream') && xds.cluster_name == '{UNPROCESSED}')"
)
"""CEL for: the worker is gone, exceeded its time, broke the protocol, or never saw the request."""


_WORKERS = "response.code_details.startsWith('oai_')"
"""CEL for: the response is the worker's."""


@dataclass(frozen=True, slots=True)
class _Reply:
    """The text of a local reply that meets `when` (CEL); `status` 0 keeps Envoy's."""

    when: str
    message: str
    type: str = "invalid_request_error"
    code: str | None = None
    status: int = 0
    retry_after: int = 0
    final: bool = False
    """Whether it is useless to try again; OpenAI's SDKs do so after any status from 500 on."""


_UNPROCESSED = _Reply(
    _PROCESSOR_FAILED,
    "The gateway's request processor is unavailable; try again.",
    type="server_error",
    code="processor_unavailable",
    status=503,
    retry_after=1,
)

_PREFLIGHT = _Reply(
    f"xds.route_name == '{PREFLIGHT}'",
    "Pages of this origin may not call the gateway: it is not among `cors.origins` in gateway.yaml.",
    code="origin_not_allowed",
    status=403,
)

_NOTHING_THERE = (
    f"There is nothing at this path. The API is served under {API_PATH}: set the client's base URL to "
    f"http://HOST:PORT{API_PATH}."
)

_ELSEWHERE = _Reply(f"xds.route_name == '{ELSEWHERE}'", _NOTHING_THERE, status=404)

_CORS = (_PREFLIGHT, _ELSEWHERE)
"""Replies of the routes whose cluster has no endpoint for the sake of the CORS filter."""

_BY_STATUS = (
    _Reply("response.code == 404", _NOTHING_THERE),
    _Reply(
        "response.code == 429",
        "Too many requests from your network address; wait a second and send it again.",
        type="rate_limit_error",
        code="rate_limit_exceeded",
        retry_after=1,
    ),
    _Reply("response.code == 408", "The request did not arrive in time; send it again.", code="request_timeout"),
    _Reply("response.code == 431", "The request's headers are too large."),
    _Reply(
        "response.code < 500",
        "This is not an HTTP request that the gateway can read (%RESPONSE_CODE_DETAILS%).",
    ),
    _Reply(
        "response.code == 501",
        "The request's `transfer-encoding` is not supported. Send the body with its `content-length`, or with "
        "`chunked` alone.",
        code="unsupported_transfer_encoding",
        final=True,
    ),
    _Reply(
        "response.code == 503",
        "The gateway cannot serve this request at the moment; try again.",
        type="server_error",
        code="service_unavailable",
        retry_after=1,
    ),
    _Reply(
        "response.code == 504",
        "The response did not arrive in time; send the request again.",
        type="server_error",
        code="timeout",
    ),
    _Reply("true", "The gateway failed to serve this request.", type="server_error", code="gateway_error"),
)


def local_replies(plan: EnvoyPlan) -> LocalReplyConfig:
    """Return the mappers; the first whose condition holds applies."""
    limit = plan.settings.limits.request_bytes
    too_large = _Reply(
        "response.code == 413",
        f"The request body is larger than the limit of {limit} bytes.",
        code="request_too_large",
    )
    cors = _CORS if plan.settings.cors.origins else ()
    replies = (*cors, _UNPROCESSED, too_large, *_BY_STATUS)
    return LocalReplyConfig(mappers=[_mapper(reply) for reply in replies])


def foreign_replies(plan: EnvoyPlan) -> list[ResponseMapper]:
    """Return mappers for an Envoy with replies of its own, to stand before those.

    The worker's responses stay as they are, and its absence has OpenAI's shape, as has a preflight that is rejected;
    the rest is left to that Envoy.
    """
    preflight = [_mapper(_PREFLIGHT)] if plan.settings.cors.origins else []
    return [ResponseMapper(filter=_when(_WORKERS)), *preflight, _mapper(_UNPROCESSED)]


def _mapper(reply: _Reply) -> ResponseMapper:
    # Bytes that are not HTTP have no request id; where there is one, Envoy uses it instead.
    headers = {"x-request-id": "%UNIQUE_ID%"}
    if reply.retry_after:
        headers["retry-after"] = str(reply.retry_after)
    if reply.final:
        headers["x-should-retry"] = "false"
    return ResponseMapper(
        filter=_when(f"{_OWN} && ({reply.when})"),
        status_code=reply.status or None,
        headers_to_add=headers_to_set(headers),
        body_format_override=SubstitutionFormatString(json_format=_error(reply)),
    )


def _when(expression: str) -> AccessLogFilter:
    cel = ExpressionFilter(expression=expression)
    return AccessLogFilter(extension_filter=ExtensionFilter(name="cel", typed_config=packed(cel)))


def _error(reply: _Reply) -> Struct:
    """Return OpenAI's `ErrorResponse`, all four keys always there.

    `param` is null because nothing writes that metadata: `kubectl apply` would take a null itself out of the object.
    """
    null = f"%DYNAMIC_METADATA({METADATA_NAMESPACE}:none)%"
    error = {"message": reply.message, "type": reply.type, "param": null, "code": reply.code}
    body: Struct = Struct.from_dict({"error": error})
    return body
