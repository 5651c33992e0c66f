"""The check of the Redis that gateway.yaml names: can a worker count there?

It connects and logs in as a worker does, runs a script that counts nothing, and writes a key that is gone after a
second: a replica, and a store that is full, take no writes.

Decision: docs/decisions.md, D278.
"""

import asyncio
import ssl

from extproc.cli.parameters import TemporaryError, UserError
from extproc.config.faults import printable
from extproc.config.redis import RedisSettings
from extproc.limits.spending import MOST_IN_GROUP

_NETWORK = "look at the network and at the server, and check again"

_CERTIFICATE = "write the name that it bears, or have `redis.ca_file` name its authority's certificate"

_LOGIN = ("WRONGPASS", "NOAUTH", "ERR AUTH", "ERR Client sent AUTH")
"""Beginnings of the errors of a login."""

_LATER = ("BUSY", "OOM", "MISCONF")
"""Beginnings of errors that can pass without a change of gateway.yaml."""


def check_store(settings: RedisSettings | None) -> list[str]:
    """Return the lines to print for a Redis that works; none where the settings name no Redis.

    Raises `UserError` for what has to be changed, and `TemporaryError` for a failure that can pass by itself.
    """
    if settings is None:
        return []
    import msgspec
    from hiredis import ReplyError

    from extproc.worker.redis_client import RedisClient
    from extproc.worker.redis_connection import RedisError
    from extproc.worker.redis_scripts import ADMIT, BEAT, END

    client = RedisClient(settings, (ADMIT, END, BEAT), f"{{{settings.prefix}}}:")
    try:
        asyncio.run(client.probe(END, msgspec.msgpack.encode(("check", MOST_IN_GROUP, ()))))
    except ssl.SSLCertVerificationError as error:
        what = f"has a certificate that is not accepted ({error.verify_message})"
        raise _to_change(settings, what, _CERTIFICATE) from error
    except ReplyError as error:
        raise _rejected(settings, str(error)) from error
    except (OSError, ValueError, RedisError) as error:
        raise _failed(settings, error) from error
    return [f"The Redis at {settings.url} works."]


def _rejected(settings: RedisSettings, reason: str) -> UserError | TemporaryError:
    """Return the error for a server that rejects what it is sent."""
    if reason.startswith(_LATER):
        return TemporaryError(printable(f"redis.url: {settings.url} takes nothing ({reason}): {_NETWORK}"))
    if reason.startswith(_LOGIN):
        return _to_change(
            settings, f"rejects the login ({reason})", "look at `redis.username` and `redis.password_file`"
        )
    if reason.startswith("NOPERM"):
        return _to_change(settings, f"permits too little ({reason})", "docs/limits.md has what the user needs")
    return _to_change(settings, f"rejects what it is sent ({reason})", "docs/limits.md has what the store needs")


def _failed(settings: RedisSettings, error: Exception) -> UserError | TemporaryError:
    """Return the error for a server that cannot be reached, or has closed the connection."""
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError | ValueError):
        return UserError(printable(f"redis: {error}"))
    reason = str(error) or "no reply in time"
    if reason.startswith("READONLY"):
        return _to_change(settings, "is a replica, which takes no writes", "write the address of the primary")
    return TemporaryError(printable(f"redis.url: {settings.url} cannot be used ({reason}): {_NETWORK}"))


def _to_change(settings: RedisSettings, what: str, remedy: str) -> UserError:
    return UserError(printable(f"redis.url: {settings.url} {what}: {remedy}"))
