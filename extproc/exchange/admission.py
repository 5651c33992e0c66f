"""The check of a request by its headers alone, before Envoy buffers its body."""

from typing import Final

from extproc.config import LimitSettings
from extproc.exchange.events import RequestHeaders
from extproc.exchange.local_replies import length_required, too_large
from extproc.openai.errors import ApiError

_DIGITS: Final = 18
"""A length of more digits is too large, and need not be read as a number."""


def announced_bytes(event: RequestHeaders, limits: LimitSettings, largest: int) -> int:
    """Return how many bytes the body of a request may have; `largest` is what there is memory for.

    A body without a length may be as long as Envoy takes it. Raises `ApiError` for a body that need not be read to be
    rejected.
    """
    if event.end_of_stream:
        raise ApiError(400, "The request has no body: send one JSON object.")
    encoding = event.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise ApiError(415, f"Send the body as it is, without content-encoding '{encoding}'.")
    length = event.headers.get("content-length", "")
    if not length.isdecimal():
        if limits.body_bytes > largest:
            raise length_required()
        return limits.body_bytes
    most = min(limits.request_bytes, largest)
    if len(length) > _DIGITS or int(length) > most:
        raise too_large(most)
    return int(length)


def encoded_bytes(size: int) -> int:
    """Return how long `size` bytes are in base64."""
    return size * 4 // 3
