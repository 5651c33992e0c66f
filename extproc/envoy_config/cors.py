"""CORS by Envoy's own filter: pages of the origins in `cors.origins` may call the API from a browser.

A browser asks first, without a token: `OPTIONS` with the headers `origin` and `access-control-request-method`. The
filter answers that for an origin of the list, on a route of its own: on the API's, where ext_proc is on, its answer
would pass a worker. From any other origin the request goes on to that route, whose cluster has no endpoint, and
`replies` makes a 403 of it. The filter ignores routes with a direct response.

The filter stands before all others that answer callers, so that their errors have the headers too: without them a
page sees that its call failed, and not why.

Invariant: a preflight reaches neither a worker nor Bedrock, and no response allows a page to send cookies.

Decision: docs/decisions.md, D152.
"""

from envoy_data_plane.envoy.config.route.v3 import FilterConfig, HeaderMatcher, Route, RouteAction, RouteMatch
from envoy_data_plane.envoy.extensions.filters.http.cors.v3 import Cors, CorsPolicy
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher

from extproc.envoy_config import UNPROCESSED
from extproc.envoy_config.messages import packed
from extproc.shared_names import API_PATH

CORS = "oai-cors"
"""The filter's name; routes refer to it."""

PREFLIGHT = "preflight"
"""The name of the route for preflights."""

EXPOSED = (
    "x-request-id",
    "openai-organization",
    "openai-processing-ms",
    "openai-version",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
    "x-oai-budget-used-percent",
    "x-oai-ignored-params",
    "x-oai-model-served",
    "x-ratelimit-limit-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
)
"""Headers that a page may read: those that the gateway sends, and those that OpenAI's SDKs look for."""

_METHODS = "GET, POST"

_HEADERS = "authorization, *"
"""Headers that a page may send. `*` is any but `authorization`; SDKs add their own (`x-stainless-…`), and the worker
takes every header of a caller away."""

_MAX_AGE = 3600
"""Seconds for which a browser need not ask again; browsers have maxima of their own."""


def cors_filter() -> HttpFilter:
    """Return the filter as it stands in a chain: off, until a route turns it on."""
    return HttpFilter(name=CORS, disabled=True, typed_config=packed(Cors()))


def cors_of_route(origins: tuple[str, ...]) -> CorsPolicy:
    """Turn the filter on. A response to a page has that page's own origin, for `*` as well."""
    return CorsPolicy(
        allow_origin_string_match=[_matcher(origin) for origin in origins],
        allow_methods=_METHODS,
        allow_headers=_HEADERS,
        expose_headers=", ".join(EXPOSED),
        max_age=str(_MAX_AGE),
    )


def _matcher(origin: str) -> StringMatcher:
    return StringMatcher(safe_regex=RegexMatcher(regex=".*")) if origin == "*" else StringMatcher(exact=origin)


def preflight_route(origins: tuple[str, ...]) -> Route:
    """Return the route for preflights under the API's path."""
    options = HeaderMatcher(name=":method", string_match=StringMatcher(exact="OPTIONS"))
    others = [HeaderMatcher(name=name, present_match=True) for name in ("origin", "access-control-request-method")]
    return Route(
        name=PREFLIGHT,
        match=RouteMatch(path_separated_prefix=API_PATH, headers=[options, *others]),
        typed_per_filter_config={CORS: packed(FilterConfig(config=packed(cors_of_route(origins))))},
        route=RouteAction(cluster=UNPROCESSED),
    )
