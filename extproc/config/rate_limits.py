"""The keys of gateway.yaml about the rates of organisations and tokens.

Decision: docs/decisions.md, D235.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from extproc.config.document import ConfigError
from extproc.config.kinds import StateFile

MOST = 1_000_000_000
"""A thousandth of what nanoseconds can tell apart in a minute."""

PerMinute = Annotated[
    Literal["unlimited"] | Annotated[int, Meta(ge=1, le=MOST)],
    Meta(description=f"`unlimited`, or a whole number from 1 to {MOST}"),
]
OnStoreError = Annotated[Literal["allow", "reject"], Meta(description="`allow` or `reject`")]


class RateLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The limits of an organisation or a token; what is left out is the default of all."""

    requests_per_minute: PerMinute | None = None
    tokens_per_minute: PerMinute | None = None
    concurrent_streams: PerMinute | None = None


class RateLimitSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The limits of organisations and tokens that have none of their own, and where they are counted."""

    organisation: RateLimits = msgspec.field(default_factory=RateLimits)
    token: RateLimits = msgspec.field(default_factory=RateLimits)
    sqlite: StateFile | None = None
    """The file in which the workers of one machine count together."""
    on_store_error: OnStoreError = "allow"


def check_rate_limits(
    own: RateLimits | None, where: str, organisations: Sequence[str], limits: Mapping[str, RateLimits]
) -> None:
    """Check that a token's limit is not above that of each of its organisations; raises `ConfigError`.

    `limits` are those that organisations have in the file, by name; `where` is the path of the token.
    """
    for key in RateLimits.__struct_fields__ if own is not None and organisations else ():
        limit = getattr(own, key)
        above = [getattr(limits[name], key) if name in limits else None for name in organisations]
        if isinstance(limit, int) and all(isinstance(each, int) and each < limit for each in above):
            raise ConfigError(
                f"{where}.limits.{key}: {limit} is more than organisation `{organisations[0]}` has ({above[0]}), and "
                "could never be reached; write less, or leave it out"
            )
