"""The check of a request by its headers alone, before Envoy buffers its body.

Decision: docs/decisions.md, D65.
"""

from typing import Final

from extproc.config import LimitSettings
from extproc.exchange.events import RequestHeaders
from extproc.exchange.local_replies import length_required, too_large
from extproc.openai.errors import ApiError

_DIGITS: Final = 18
"""Most digits of a length that is parsed; one with more is too large."""


def announced_bytes(event: RequestHeaders, limits: LimitSettings, largest: int) -> int:
    """Return how many bytes the body of a request may have; `largest` is the limit of memory.

    A body without a length may be as long as Envoy accepts. Raises `ApiError` for a body that its headers disqualify.
    """
    if event.end_of_stream:
        raise ApiError(400, "The request has no body: send one JSON object.")
    encoding = event.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise ApiError(415, f"Send the body unencoded, without content-encoding '{encoding}'.")
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
