"""The client's own headers: those to remove, and the request id to repeat.

Decision: docs/decisions.md, D33.
"""

from collections.abc import Mapping
from functools import lru_cache


def names_to_remove(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of all headers of the client or of Envoy that AWS must not receive.

    They are removed before the body is read: the client's key does not leave, even if Envoy or the worker fails later.
    `Forward` overwrites the length. `x-forwarded-proto` stays until the route to Bedrock removes it: without it Envoy
    finds no route. Cached by the names: a client sends the same ones with each request.
    """
    worth_caching = len(names) <= 64 and len("".join(names)) <= 2048  # bounds the cache in bytes, too
    return _cached(names) if worth_caching else _to_remove(names)


def request_id(headers: Mapping[str, str]) -> str:
    """Return Envoy's id of this request, or "" if it may not be repeated in a header."""
    value = headers.get("x-request-id", "")
    return value if 0 < len(value) <= 128 and value.isascii() and value.isprintable() else ""


def _to_remove(names: tuple[str, ...]) -> tuple[str, ...]:
    kept = ("host", "x-request-id", "content-length", "x-forwarded-proto")
    return tuple([name for name in names if name not in kept and not name.startswith(":")])


_cached = lru_cache(maxsize=256)(_to_remove)
