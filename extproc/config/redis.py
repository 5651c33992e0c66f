"""`redis`: a Redis or Valkey in which the workers of several machines count rates and budgets.

Decisions: docs/decisions.md, D251, D278.
"""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from extproc.config.budgets import BudgetSettings
from extproc.config.document import ConfigError
from extproc.config.kinds import MachineName, StateFile
from extproc.config.rate_limits import RateLimitSettings

ADMIT_SECONDS = 0.5
"""Longest wait for the store, beyond any that `timeout_ms` permits."""

RedisUrl = Annotated[
    str,
    Meta(
        max_length=512,
        pattern=r"\Arediss?://([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?(/[0-9]{1,4})?/?\Z",
        description="the URL of a Redis or Valkey without a user or password, as in rediss://redis.example:6379 or "
        "redis://127.0.0.1/1",
    ),
]
UserName = Annotated[
    str, Meta(pattern=r"\A[!-~]{1,128}\Z", description="a name of 1 to 128 printable characters without blanks")
]
Milliseconds = Annotated[int, Meta(ge=1, le=250, description="a whole number of milliseconds from 1 to 250")]


class RedisSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The address of the Redis, the login, and the time that a request waits for it."""

    url: RedisUrl
    username: UserName | None = None
    password_file: StateFile | None = None
    """The file with the password, which is read for each connection; a relative path is relative to gateway.yaml."""
    ca_file: StateFile | None = None
    """The certificates that sign the server's, in place of the system's; likewise."""
    timeout_ms: Milliseconds = 5
    """Longest wait of a request for the Redis; beyond it the request is decided without it."""
    prefix: MachineName = "oai"
    """The keys begin with it, in braces; gateways of one prefix count together."""

    @property
    def tls(self) -> bool:
        """Return whether the connection is encrypted."""
        return self.url.startswith("rediss:")

    @property
    def address(self) -> tuple[str, int]:
        """Return host and port."""
        parts = urlsplit(self.url)
        return parts.hostname or "", 6379 if parts.port is None else parts.port

    @property
    def database(self) -> int:
        """Return the number of the database."""
        return int(urlsplit(self.url).path.strip("/") or 0)


def check_redis(settings: RedisSettings | None, rates: RateLimitSettings, budgets: BudgetSettings) -> None:
    """Check that rates and budgets are counted in one place only; raises `ConfigError`."""
    if settings is None:
        return
    for section, path in (("rate_limits", rates.sqlite), ("budgets", budgets.sqlite)):
        if path is not None:
            raise ConfigError(f"{section}.sqlite: `redis` is where all is counted; keep one of the two")
    try:
        port = settings.address[1]  # one above 65535 raises
    except ValueError as error:
        raise ConfigError(f"redis.url: {error}") from error
    if not port:
        raise ConfigError("redis.url: nothing can listen at port 0; write the store's, or leave it out for 6379")
    if settings.ca_file is not None and not settings.tls:
        raise ConfigError("redis.ca_file: the URL begins with redis://, which has no TLS; write rediss://")
    if settings.username is not None and settings.password_file is None:
        raise ConfigError("redis.username: a user needs a password; add `password_file`")


def check_needed(settings: RedisSettings | None, rates: RateLimitSettings, others: bool) -> None:
    """Check that something is counted there: rates, or `others`, which are budgets and a table's limits.

    Raises `ConfigError`.
    """
    if settings is not None and rates.by == "envoy" and not others:
        raise ConfigError(
            "redis: nothing is counted there, as there are no budgets, and with `rate_limits.by: envoy` the service "
            "has the limits; remove it, or add `budgets`"
        )


def placed_redis(settings: RedisSettings | None, folder: Path) -> RedisSettings | None:
    """Return the settings with whole paths of files."""
    if settings is None:
        return None
    paths = {"password_file": settings.password_file, "ca_file": settings.ca_file}
    return msgspec.structs.replace(settings, **{key: path and str(folder / path) for key, path in paths.items()})
