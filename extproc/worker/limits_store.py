"""The store that workers of several machines share, if there is one. Its library is imported with it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from extproc.config import Settings

if TYPE_CHECKING:
    from extproc.worker.redis_limits import RedisStore


def store_of(settings: Settings, current: Callable[[], Settings]) -> "RedisStore | None":
    """Return the store that the settings name; `current` returns those in force."""
    if settings.redis is None:
        return None
    from extproc.worker.redis_limits import RedisStore

    return RedisStore(settings.redis, current)
