"""A token and its organisation -> the scopes whose limits a request counts in."""

from typing import Final

from extproc.config import Organisation, Token
from extproc.config.rate_limits import RateLimits, RateLimitSettings
from extproc.limits.counters import Scope
from extproc.tenancy.token_accounts import account_of

NONE: Final = RateLimits()


def any_default(settings: RateLimitSettings) -> bool:
    """Return whether organisations or tokens have limits without any of their own."""
    return settings.organisation != NONE or settings.token != NONE


def scopes_of(defaults: RateLimitSettings, token: Token, name: str, organisation: Organisation) -> tuple[Scope, ...]:
    """Return the scopes of a token's request for the organisation `name`: none, one or two."""
    scopes = (
        _scope(f"organisation {name}", name, organisation.limits, defaults.organisation),
        _scope(account_of(token, name), token.name, token.limits, defaults.token),
    )
    return tuple([scope for scope in scopes if scope.requests or scope.tokens or scope.streams])


def _scope(key: str, name: str, own: RateLimits | None, default: RateLimits) -> Scope:
    own = NONE if own is None else own
    return Scope(
        key,
        name,
        _limit(own.requests_per_minute, default.requests_per_minute),
        _limit(own.tokens_per_minute, default.tokens_per_minute),
        _limit(own.concurrent_streams, default.concurrent_streams),
    )


def _limit(own: str | int | None, default: str | int | None) -> int:
    """Return the limit that counts, 0 for none."""
    chosen = default if own is None else own
    return chosen if isinstance(chosen, int) else 0
