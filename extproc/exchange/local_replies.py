"""The error responses in OpenAI's format for requests that Envoy or the exchange itself rejects or ends.

Source: `%RESPONSE_CODE_DETAILS%` in Envoy's documentation, and Envoy 1.40 as it behaves.
"""

import re
from collections.abc import Mapping
from typing import Final

from extproc.openai.errors import ApiError

_PAGES: Final = frozenset({"text/html", "application/xhtml+xml", "text/plain"})
"""Content types of pages, which Bedrock never sends."""


_SECONDS: Final = re.compile("[1-9][0-9]{0,8}")


def too_large(limit: int) -> ApiError:
    """Return the error for a request body over the limit, in bytes."""
    return ApiError(
        413,
        f"The request body is larger than {limit} bytes. Send a smaller one.",
        code="request_too_large",
    )


def too_large_to_hold(size: int, limit: int) -> ApiError:
    """Return the error for a request that needs more of the gateway's memory than one may have; both in bytes."""
    return ApiError(
        413,
        f"The request and its translation need {size} bytes of the gateway's memory; the limit for one request is "
        f"{limit}. Send less at a time: a shorter conversation, or fewer or smaller images.",
        code="request_too_large",
    )


def too_many_inputs(inputs: int, fitting: int) -> ApiError:
    """Return the error for inputs whose embeddings, all together, the gateway never has the memory for."""
    return ApiError(
        413,
        f"The embeddings of {inputs} inputs take more memory than the gateway has for one request. Send at most "
        f"{fitting} such inputs in a request, or ask for fewer dimensions.",
        param="input",
        code="request_too_large",
    )


def length_required() -> ApiError:
    """Return the error for a body without a length, if the memory is too small for the longest body."""
    return ApiError(
        411,
        "The request has no `content-length`, and the gateway lacks the memory for a body of unknown length. Send the "
        "body with its length, not in chunks.",
        code="content_length_required",
    )


def response_too_large() -> ApiError:
    """Return the error for a response of Bedrock's that is longer than any valid response."""
    return ApiError(502, "Bedrock's response is too large.", type="server_error", code="bad_upstream_answer")


def bedrock_idle(seconds: float) -> ApiError:
    """Return the error for a call during which Bedrock sent nothing for `seconds`."""
    return ApiError(
        504, f"Bedrock sent nothing for {round(seconds, 1):g} seconds. Try again.", type="server_error", code="timeout"
    )


def stalled(seconds: float) -> ApiError:
    """Return the error for a stream that made no progress for `seconds`, which may be due to the caller."""
    return ApiError(
        504,
        f"The stream made no progress for {round(seconds, 1):g} seconds: Bedrock sent nothing, or the response was not "
        "read. Try again.",
        type="server_error",
        code="timeout",
    )


def stream_too_long(why: str) -> ApiError:
    """Return the error for a stream of Bedrock's that is longer than any valid one."""
    return ApiError(
        502, f"Bedrock's response is too long ({why}). Try again.", type="server_error", code="bad_upstream_answer"
    )


def unreachable() -> ApiError:
    """Return the error for a call that did not reach Bedrock, or whose connection closed before a response."""
    return ApiError(
        503,
        "Bedrock could not be reached. Try again.",
        type="server_error",
        code="bedrock_unreachable",
        headers={"retry-after": "1"},
    )


def is_of_another(status: int, headers: Mapping[str, str]) -> bool:
    """Return whether something between Envoy and Bedrock wrote this response: a proxy, a login page.

    Every response of Bedrock's is JSON or an event stream; its errors may have no content type, and an AWS header.
    """
    if status == 407:
        return True
    return _media_type(headers) in _PAGES and not any(name.startswith("x-amzn-") for name in headers)


def of_another(status: int, headers: Mapping[str, str]) -> ApiError:
    """Return the error for a response that something else sent in Bedrock's place."""
    kind = _media_type(headers) or "none"
    return ApiError(
        502,
        f"Something between the gateway and Bedrock responded in its place, such as a proxy (status {status}, content "
        f"type {kind}); this is not about your API key. Tell whoever runs the gateway.",
        type="server_error",
        code="not_from_bedrock",
        headers={"x-should-retry": "false"} if status < 500 else {},
    )


def _media_type(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()[:100]


def late(seconds: float) -> ApiError:
    """Return the error for side calls that have not ended within `seconds`."""
    return ApiError(
        504,
        f"Bedrock did not respond within {seconds:g} seconds. Try again.",
        type="server_error",
        code="bedrock_timeout",
    )


def slow_upload(seconds: float) -> ApiError:
    """Return the error for a request whose body has not arrived after `seconds`."""
    return ApiError(
        408,
        f"The request body did not arrive within {seconds:.0f} seconds. Send it again, over a faster connection or in "
        "smaller requests.",
        code="request_timeout",
    )


def from_envoy(status: int, again: str = "") -> ApiError:
    """Return the error for a local reply of Envoy's. Envoy's details are for the access log alone.

    `again` is in how many seconds to try again after a 429, in digits, if Envoy knows.
    """
    if status == 408:
        return ApiError(408, "The request did not arrive in time. Send it again.", code="request_timeout")
    if status == 429:
        return ApiError(
            429,
            "Too many requests at the moment. Try again later.",
            type="rate_limit_error",
            code="rate_limit_exceeded",
            headers={"retry-after": again if _SECONDS.fullmatch(again) else "1"},
        )
    if status == 504:
        return ApiError(504, "Bedrock did not respond in time. Try again.", type="server_error", code="bedrock_timeout")
    if 400 <= status < 500:
        return ApiError(status, "The gateway rejected this request.")
    return unreachable()


def limits_unavailable() -> ApiError:
    """Return the error for a request that cannot be counted, where that is to be rejected."""
    return ApiError(
        503,
        "The gateway cannot count your requests at the moment, and your API key has limits. Try again.",
        type="server_error",
        code="limits_unavailable",
        headers={"retry-after": "1"},
    )


NOT_COUNTED: Final = "rate_limiter_error"
"""Envoy's details of a reply to a request that its rate limit service has not judged."""

_UNSENT = (
    "connection_failure",
    "connection_timeout",
    "no_healthy_upstream",
    "not_found",
    "overflow",
    "request_payload",
    "request_rate_limited",
    NOT_COUNTED,
)
"""Parts of Envoy's details of replies to requests that have not been sent."""


def may_have_reached(details: str) -> bool:
    """Return whether Bedrock may have begun, and bill, a request that ended in a local reply with these details."""
    return not any(part in details for part in _UNSENT)


def no_credentials() -> ApiError:
    """Return the error for a gateway without credentials to sign with."""
    return ApiError(
        503,
        "The gateway has no AWS credentials at the moment; this is not about your API key. Tell whoever runs it.",
        type="server_error",
        code="gateway_credentials",
    )


def unknown_region(region: str) -> ApiError:
    """Return the error for an organisation in a region that this gateway was not started with."""
    return ApiError(
        503,
        f"Your organisation's calls belong to the region {region}, which this gateway was not started with; this is "
        "not about your API key. Tell whoever runs it.",
        type="server_error",
        code="gateway_region",
    )


def no_role() -> ApiError:
    """Return the error for an organisation whose role gives no credentials to sign with."""
    return ApiError(
        502,
        "The gateway has no AWS credentials of your organisation's role at the moment; this is not about your API key. "
        "Tell whoever runs it.",
        type="server_error",
        code="gateway_credentials",
    )


def directory_unavailable(busy: bool) -> ApiError:
    """Return the error for a caller whose token could not be looked up; nobody knows whether it is valid."""
    reason = "is busy with unknown API keys" if busy else "does not answer"
    return ApiError(
        503,
        f"Your API key could not be looked up: the gateway's directory {reason} at the moment. Try again.",
        type="server_error",
        code="directory_unavailable",
        headers={"retry-after": "1" if busy else "2"},
    )


_NO_USAGE = {
    "behind": "the gateway is still reading its record of calls. Try again in a minute",
    "slow": "reading it took too long. Ask for fewer buckets, or fewer groups",
    "broken": "the gateway cannot read it at the moment. Try again",
}


def usage_unavailable(reason: str) -> ApiError:
    """Return the error for usage that could not be queried; a figure that may be too small is none."""
    return ApiError(
        503,
        f"There is no usage to show: {_NO_USAGE[reason]}.",
        type="server_error",
        code="usage_unavailable",
        headers={"retry-after": "30" if reason == "behind" else "5"},
    )
