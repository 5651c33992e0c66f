"""The check of a request by its headers alone, before Envoy buffers its body.

Decisions: docs/decisions.md, D65, D180.
"""

import sys
from typing import Final

from extproc.config import LimitSettings
from extproc.exchange.events import RequestHeaders
from extproc.exchange.local_replies import length_required, too_large
from extproc.openai.errors import ApiError
from extproc.telemetry.record import LONGEST_USER_AGENT, Record, printable
from extproc.tenancy.directory import Caller, Directory, KnownTokenError
from extproc.tenancy.store import LookedUp, Lookup

_DIGITS: Final = 18
"""Most digits of a length that is parsed; one with more is too large."""


def authenticate(
    directory: Directory, event: RequestHeaders, record: Record, now: float, looked_up: LookedUp | None = None
) -> Caller | Lookup:
    """Return the caller, and record who it is, also where a known token is rejected. Raises `ApiError`.

    A `Lookup` is to be made first; `looked_up` is its result.
    """
    headers = event.headers
    record.user_agent = printable(headers.get("user-agent", ""), LONGEST_USER_AGENT)
    try:
        caller = directory.authenticate(
            headers.get("authorization"), headers.get("openai-organization"), now, looked_up, event.jwt
        )
    except KnownTokenError as error:
        record.token, record.organisation = error.token, error.organisation
        raise
    if isinstance(caller, Lookup):
        return caller
    record.token, record.organisation = caller.token, caller.organisation
    return caller


def turn_of(directory: Directory, event: RequestHeaders, now: float) -> tuple[str, str]:
    """Return whose turn a request is, where many wait: its organisation's and of that its token's.

    All whom the directory does not know share one turn, and in it take turns by their addresses: invented tokens make
    no turns. Envoy overwrites that header.
    """
    headers = event.headers
    known = directory.known(headers.get("authorization"), headers.get("openai-organization"), now, event.jwt)
    return ("", headers.get("x-envoy-external-address", "")) if known is None else known


def announced_bytes(event: RequestHeaders, limits: LimitSettings, largest: int) -> int:
    """Return how many bytes the body of a request may have; `largest` is the limit of memory.

    A body without a length may be as long as Envoy accepts. Raises `ApiError` for a body that its headers disqualify.
    """
    if event.end_of_stream:
        raise ApiError(400, "The request has no body: send one JSON object.")
    encoding = event.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise ApiError(415, f"Send the body unencoded, without content-encoding '{encoding}'.")
    length = _length(event)
    if length is None:
        if limits.body_bytes > largest:
            raise length_required()
        return limits.body_bytes
    most = min(limits.request_bytes, largest)
    if length > most:
        raise too_large(most)
    return length


def longest_body(event: RequestHeaders, limits: LimitSettings) -> int:
    """Return how many bytes of a body Envoy may take in before it is told anything: 0 where none comes."""
    if event.end_of_stream:
        return 0
    length = _length(event)
    return limits.body_bytes if length is None else min(length, limits.body_bytes)


def _length(event: RequestHeaders) -> int | None:
    """Return the body's length as the headers have it, or a number beyond all limits; None if they have none."""
    length = event.headers.get("content-length", "")
    if not length.isdecimal():
        return None
    return int(length) if len(length) <= _DIGITS else sys.maxsize


def encoded_bytes(size: int) -> int:
    """Return how long `size` bytes are in base64."""
    return size * 4 // 3
