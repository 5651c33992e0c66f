"""The limits of a caller's rates: what a request takes of them, and what its caller is told.

A request reserves the tokens of its input, as estimated, and of its output as far as `MOST_RESERVED`; its end settles
them. An output alone makes no request too large, nor does the length of a PDF: only other input can. A request for
which images are fetched counts before they are, its tokens and its stream when these are known.

Source of the headers and messages: OpenAI's rate limit headers, and its 429s as clients quote them.

Decisions: docs/decisions.md, D235, D245, D246.
"""

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from extproc.bedrock.sigv4 import Headers
from extproc.exchange.call_series import CallSeries
from extproc.exchange.endpoint import BedrockCall
from extproc.exchange.meter import input_estimates
from extproc.limits.counters import Counters, Decision, Rejection, Scope, Standing
from extproc.openai.errors import ApiError
from extproc.telemetry.record import Record

ASSUMED_OUTPUT: Final = 1024
"""Tokens of an output without a limit."""

MOST_RESERVED: Final = 4096
"""Most tokens that are reserved for an output; the rest of a longer one is a debt when it has ended."""

_MS: Final = 1_000_000
"""Nanoseconds."""

_REQUESTS: Final = ("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests")
_TOKENS: Final = ("x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens")

_UNITS: Final = {"requests": "requests per min (RPM)", "tokens": "tokens per min (TPM)", "streams": "open streams"}


class RateTicket:
    """What one request has taken of its caller's limits; `headers` tell what remains of them."""

    def __init__(
        self, counters: Counters, scopes: Sequence[Scope], decision: Decision, tokens: int, stream: bool
    ) -> None:
        self.headers = headers_of(decision)
        self.tokens = tokens
        self.requests = decision.requests
        self._counters = counters
        self._scopes = scopes
        self._decision = decision
        self._stream = stream
        self._open = True

    def settle(self, tokens: int, soon: bool = False) -> None:
        """Count what the request has used, and its stream no more; only the first time counts."""
        if not self._open:
            return
        self._open = False
        if tokens != self.tokens:
            self._counters.settle(self._scopes, self._decision, self.tokens, tokens, soon)
        if self._stream:
            self._counters.release(self._scopes, self._decision, soon)


def count(counters: Counters, scopes: Sequence[Scope], record: Record) -> RateTicket:
    """Take a request's part of the limits of requests alone. Raises as `take`, also for a debt of tokens."""
    return ticket(counters, scopes, counters.admit(scopes, 0, False), record, 0, False)


def take(
    counters: Counters,
    scopes: Sequence[Scope],
    record: Record,
    calls: Sequence[BedrockCall],
    stream: bool,
    counted: RateTicket | None = None,
) -> RateTicket:
    """Take a request's part of the limits; `counted` is what `count` has taken of them.

    Raises a 429 `ApiError`, or a 503 where the store does not work.
    """
    rest, tokens, stream = to_take(scopes, calls, stream, counted)
    return ticket(counters, rest, counters.admit(rest, tokens, stream), record, tokens, stream, counted)


def to_take(
    scopes: Sequence[Scope], calls: Sequence[BedrockCall], stream: bool, counted: RateTicket | None
) -> tuple[Sequence[Scope], int, bool]:
    """Return what a request is to take, before that is decided: of which limits, how many tokens, and if a stream."""
    if stream:
        stream = any(scope.streams for scope in scopes)
    rest = scopes if counted is None else [replace(scope, requests=0) for scope in scopes]
    return rest, _reservation(scopes, calls), stream


def ticket(
    counters: Counters,
    scopes: Sequence[Scope],
    decision: Decision,
    record: Record,
    tokens: int,
    stream: bool,
    counted: RateTicket | None = None,
) -> RateTicket:
    """Return the ticket of a request that is within the limits. Raises a 429 `ApiError` for another."""
    if counted is not None:
        decision.requests = counted.requests
    if decision.alone:
        record.store_away = True
    if decision.rejection is not None:
        raise _rejected(decision, decision.rejection, record.model, tokens)
    return RateTicket(counters, scopes, decision, tokens, stream)


def _reservation(scopes: Sequence[Scope], calls: Sequence[BedrockCall]) -> int:
    """Return the tokens to reserve; what AWS does not bill has none.

    An output, or a guess by a file's length, never exceeds a limit: no more is reserved than the limit has.
    """
    least = tokens = output = guessed = 0
    for scope in scopes:
        limit = scope.tokens
        if limit and (not least or limit < least):
            least = limit
    if not least:
        return 0
    if type(calls) is CallSeries:
        return calls.tokens
    for call in calls:
        if not call.billed:
            return 0
        sure, by_length = input_estimates(call.body)
        tokens += sure
        guessed += by_length
        if not call.inputs:
            output += min(call.most_output or ASSUMED_OUTPUT, MOST_RESERVED)
    return tokens + min(guessed + output, max(least - tokens, 0))


def headers_of(decision: Decision) -> Headers:
    """Return OpenAI's headers."""
    requests, tokens = decision.requests, decision.tokens
    headers = [] if requests is None else _fields(_REQUESTS, requests)
    return tuple(headers if tokens is None else headers + _fields(_TOKENS, tokens))


def _fields(names: tuple[str, str, str], standing: Standing) -> list[tuple[str, str]]:
    limit, remaining, reset = names
    return [
        (limit, str(standing.limit)),
        (remaining, str(standing.remaining)),
        (reset, duration(standing.reset)),
    ]


def duration(nanoseconds: int) -> str:
    """Return a duration, rounded up to milliseconds, as OpenAI writes it: `12ms`, `1.5s`, `6m0s`."""
    milliseconds = (nanoseconds + _MS - 1) // _MS
    if 0 < milliseconds < 1000:
        return str(milliseconds) + "ms"
    minutes, milliseconds = divmod(milliseconds, 60_000)
    seconds, milliseconds = divmod(milliseconds, 1000)
    fraction = f".{milliseconds:03}".rstrip("0") if milliseconds else ""
    return f"{minutes}m{seconds}{fraction}s" if minutes else f"{seconds}{fraction}s"


def _rejected(decision: Decision, rejection: Rejection, model: str, tokens: int) -> ApiError:
    kind = "tokens" if rejection.kind == "tokens" else "requests"
    numbers = f"{rejection.scope.name} on {_UNITS[rejection.kind]}: Limit {rejection.limit}"
    headers = dict(headers_of(decision))
    requested = tokens if rejection.kind == "tokens" else 1
    if rejection.wait is None:
        message = f"Request too large for {model} in {numbers}, Requested {requested}. Send a shorter input."
        headers["x-should-retry"] = "false"
    else:
        again = duration(rejection.wait)
        message = (
            f"Rate limit reached for {model} in {numbers}, Used {rejection.used}, Requested {requested}. "
            f"Please try again in {again}."
        )
        milliseconds = -(-rejection.wait // _MS)
        headers["retry-after"] = str(-(-milliseconds // 1000))
        headers["retry-after-ms"] = str(milliseconds)
    return ApiError(429, message, type=kind, code="rate_limit_exceeded", headers=headers)
