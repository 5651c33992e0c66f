"""A limit of requests by address, with or without a token: Envoy's own local rate limit, in front of ext_proc.

Envoy counts all requests, because it cannot know which tokens the worker is going to reject. The address is that of the
connection, so the limit stays off (the default) where that is a load balancer's. IPv6 counts by /64, which is what one
customer of a network has. Beyond `ADDRESSES` the address that was seen least lately is forgotten.

Decision: docs/decisions.md, D72.
"""

from envoy_data_plane.envoy.config.core.v3 import RuntimeFractionalPercent
from envoy_data_plane.envoy.config.route.v3 import (
    RateLimit,
    RateLimitAction,
    RateLimitActionMaskedRemoteAddress,
)
from envoy_data_plane.envoy.extensions.common.ratelimit.v3 import (
    LocalRateLimitDescriptor,
    RateLimitDescriptorEntry,
)
from envoy_data_plane.envoy.extensions.filters.http.local_ratelimit.v3 import LocalRateLimit
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.type.v3 import FractionalPercent, TokenBucket

from extproc.envoy_config.messages import packed, seconds

ADDRESS_LIMIT = "oai-address-limit"
"""The filter's name; routes refer to it."""

ADDRESSES = 10_000
"""Addresses whose requests are counted at once."""

BURST_SECONDS = 5
"""Seconds' worth of requests that an address may send at once after a pause."""

_STATS = "oai_address_limit"
_NO_LIMIT = 2**32 - 1
_ALWAYS = RuntimeFractionalPercent(default_value=FractionalPercent(numerator=100))


def limit_filter() -> HttpFilter:
    """Return the filter as it stands in a chain: off, until a route turns it on."""
    return HttpFilter(name=ADDRESS_LIMIT, disabled=True, typed_config=packed(LocalRateLimit(stat_prefix=_STATS)))


def limit_of_route(per_second: int) -> LocalRateLimit:
    """Turn the filter on: an address that sends more than `per_second` requests a second gets 429."""
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
        filter_enforced=_ALWAYS,
        rate_limits=[RateLimit(actions=[address])],
        descriptors=[of_one_address],
        max_dynamic_descriptors=ADDRESSES,
    )


def _bucket(per_second: int, most: int) -> TokenBucket:
    return TokenBucket(max_tokens=most, tokens_per_fill=per_second, fill_interval=seconds(1))
