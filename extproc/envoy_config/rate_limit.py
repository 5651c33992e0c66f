"""A limit of requests by address, with or without a token: Envoy's own local rate limit, in front of ext_proc.

Envoy counts all requests, because it cannot know which tokens the worker is going to reject. The address is that of the
connection, so the limit stays off (the default) where that is a load balancer's. IPv6 counts by /64, which is what one
customer of a network has. Beyond `ADDRESSES` the address that was seen least lately is forgotten.

A reply of this filter's own would pass ext_proc on its way out, and cost a worker what a rejected token does. So the
filter only marks a request beyond the limit, the next one has Envoy look for the route again, and that is one which
responds itself and has ext_proc off. Who sends the mark itself gets the same response, and nothing else.

Decisions: docs/decisions.md, D72, D290.
"""

import json

from envoy_data_plane.envoy.config.core.v3 import DataSource, RuntimeFractionalPercent
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    HeaderMatcher,
    RateLimit,
    RateLimitAction,
    RateLimitActionMaskedRemoteAddress,
    Route,
    RouteMatch,
)
from envoy_data_plane.envoy.extensions.common.ratelimit.v3 import (
    LocalRateLimitDescriptor,
    RateLimitDescriptorEntry,
)
from envoy_data_plane.envoy.extensions.filters.http.local_ratelimit.v3 import LocalRateLimit
from envoy_data_plane.envoy.extensions.filters.http.set_filter_state.v3 import Config as FilterState
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.type.v3 import FractionalPercent, TokenBucket

from extproc.envoy_config.messages import headers_to_set, packed, seconds
from extproc.shared_names import API_PATH

ADDRESS_LIMIT = "oai-address-limit"
REROUTE = "oai-address-limit-route"
"""The filters' names; routes refer to them."""

OVER_LIMIT = "over-limit"
"""The name of the route of requests beyond the limit."""

_MARK = "x-oai-over-address-limit"
"""The header that marks these."""

ADDRESSES = 10_000
"""Addresses whose requests are counted at once."""

BURST_SECONDS = 5
"""Seconds' worth of requests that an address may send at once after a pause."""

_STATS = "oai_address_limit"
_NO_LIMIT = 2**32 - 1
_ALWAYS = RuntimeFractionalPercent(default_value=FractionalPercent(numerator=100))
_NEVER = RuntimeFractionalPercent(default_value=FractionalPercent(numerator=0))

_ERROR = {
    "message": "Too many requests from your network address; wait a second and send it again.",
    "type": "rate_limit_error",
    "param": None,
    "code": "rate_limit_exceeded",
}


def limit_filters() -> list[HttpFilter]:
    """Return the filters as they stand in a chain: off, until a route turns them on."""
    limit = packed(LocalRateLimit(stat_prefix=_STATS))
    return [
        HttpFilter(name=ADDRESS_LIMIT, disabled=True, typed_config=limit),
        HttpFilter(name=REROUTE, disabled=True, typed_config=packed(reroute())),
    ]


def reroute() -> FilterState:
    """Turn the second filter on: it sets nothing, and has Envoy look for the route again."""
    return FilterState(clear_route_cache=True)


def over_limit_route() -> Route:
    """Return the route of requests beyond the limit: a 429, with which no worker has to do.

    It stands before the route of the API. The response's content type has `replies` leave it as it is.
    """
    headers = {"content-type": "application/json", "retry-after": "1", "x-request-id": "%REQ(X-REQUEST-ID)%"}
    return Route(
        name=OVER_LIMIT,
        match=RouteMatch(path_separated_prefix=API_PATH, headers=[HeaderMatcher(name=_MARK, present_match=True)]),
        direct_response=DirectResponseAction(
            status=429, body=DataSource(inline_string=json.dumps({"error": _ERROR}, separators=(",", ":")))
        ),
        response_headers_to_add=headers_to_set(headers),
    )


def limit_of_route(per_second: int) -> LocalRateLimit:
    """Turn the first filter on: it marks what an address sends beyond `per_second` requests a second."""
    address = RateLimitAction(masked_remote_address=RateLimitActionMaskedRemoteAddress(v6_prefix_mask_len=64))
    of_one_address = LocalRateLimitDescriptor(
        # Without a value it is a pattern: each address gets a bucket like this one.
        entries=[RateLimitDescriptorEntry(key="masked_remote_address")],
        token_bucket=_bucket(per_second, BURST_SECONDS * per_second),
    )
    return LocalRateLimit(
        stat_prefix=_STATS,
        token_bucket=_bucket(_NO_LIMIT, _NO_LIMIT),
        always_consume_default_token_bucket=False,
        filter_enabled=_ALWAYS,
        filter_enforced=_NEVER,
        request_headers_to_add_when_not_enforced=headers_to_set({_MARK: "1"}),
        rate_limits=[RateLimit(actions=[address])],
        descriptors=[of_one_address],
        max_dynamic_descriptors=ADDRESSES,
    )


def _bucket(per_second: int, most: int) -> TokenBucket:
    return TokenBucket(max_tokens=most, tokens_per_fill=per_second, fill_interval=seconds(1))
