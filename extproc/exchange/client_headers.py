"""The client's own headers: what must not leave, and what may be repeated."""

from collections.abc import Mapping
from functools import lru_cache


def names_to_remove(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of all headers that the client sent, or Envoy added, and that AWS must not see.

    They are removed before the body is read: whatever happens to Envoy or a worker from then on, the client's key does
    not leave. `Forward` overwrites the length. `x-forwarded-proto` stays until the route to Bedrock removes it: without
    it Envoy finds no route. Cached by the names: a client sends the same ones with each request.
    """
    worth_caching = len(names) <= 64 and len("".join(names)) <= 2048  # what is cached is bounded in bytes, too
    return _cached(names) if worth_caching else _to_remove(names)


def request_id(headers: Mapping[str, str]) -> str:
    """Envoy's id for this request, if it is one that may be repeated in a header."""
    given = headers.get("x-request-id", "")
    return given if 0 < len(given) <= 128 and given.isascii() and given.isprintable() else ""


def _to_remove(names: tuple[str, ...]) -> tuple[str, ...]:
    kept = ("host", "x-request-id", "content-length", "x-forwarded-proto")
    return tuple([name for name in names if name not in kept and not name.startswith(":")])


_cached = lru_cache(maxsize=256)(_to_remove)
