"""The keys of gateway.yaml about the rates of organisations and tokens.

Decisions: docs/decisions.md, D235, D262.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from extproc.config.document import ConfigError
from extproc.config.kinds import StateFile
from extproc.net import is_ip, parse_address

MOST = 1_000_000_000
"""A thousandth of what nanoseconds can tell apart in a minute."""

PerMinute = Annotated[
    Literal["unlimited"] | Annotated[int, Meta(ge=1, le=MOST)],
    Meta(description=f"`unlimited`, or a whole number from 1 to {MOST}"),
]
By = Annotated[Literal["gateway", "envoy"], Meta(description="`gateway` or `envoy`")]
ServiceAddress = Annotated[
    str,
    Meta(
        max_length=261,
        pattern=r"\A([A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}\Z",
        description="an address HOST:PORT, as in ratelimit.mesh.svc:8081",
    ),
]
Domain = Annotated[
    str, Meta(pattern=r"\A[!-~]{1,256}\Z", description="a name of 1 to 256 printable characters without blanks")
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
    by: By = "gateway"
    """What counts: the workers, or a rate limit service that Envoy asks."""
    service: ServiceAddress | None = None
    """Where that service is (gRPC without TLS, `envoy.service.ratelimit.v3`)."""
    domain: Domain | None = None
    """The domain of the descriptors that it is asked about; None is `oai`."""

    def placed(self, folder: Path) -> "RateLimitSettings":
        """Return the settings with the whole path of their file."""
        return self if self.sqlite is None else msgspec.structs.replace(self, sqlite=str(folder / self.sqlite))


def check_service(settings: RateLimitSettings) -> None:
    """Check that the limits are the gateway's or a service's, not both; raises `ConfigError`."""
    if settings.by == "gateway":
        for key in ("service", "domain"):
            if getattr(settings, key) is not None:
                raise ConfigError(f"rate_limits.{key}: Envoy asks no service without `rate_limits.by: envoy`")
        return
    if settings.service is None:
        raise ConfigError("rate_limits.service: missing; `rate_limits.by: envoy` needs the address of a service")
    _check_address(settings.service)
    for key in ("organisation", "token"):
        check_own(settings, getattr(settings, key), f"rate_limits.{key}")
    if settings.sqlite is not None:
        raise ConfigError("rate_limits.sqlite: with `rate_limits.by: envoy` nothing is counted in a file; remove it")


def _check_address(text: str) -> None:
    try:
        address = parse_address(text)
    except ValueError as error:
        raise ConfigError(f"rate_limits.service: {error}") from None
    if not address.port or (":" in address.host and not is_ip(address.host)):
        raise ConfigError(f"rate_limits.service: nothing can listen at `{text}`; write HOST:PORT")


def check_own(settings: RateLimitSettings, limits: RateLimits | None, where: str) -> None:
    """Check that a scope has no limits beside those of the service; raises `ConfigError`."""
    if settings.by == "envoy" and limits not in (None, RateLimits()):
        raise ConfigError(f"{where}: with `rate_limits.by: envoy` the service has the limits; remove these, or `by`")


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
