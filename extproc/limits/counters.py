"""What counts the requests, tokens and streams of organisations and tokens: a protocol, and counters in the process.

`decide` is the rule of all of them: a request is counted in all of its scopes, or in none.

Decision: docs/decisions.md, D236.
"""

from collections.abc import Callable, Sequence
from typing import Final, Literal, Protocol

from extproc.limits import gcra
from extproc.value import Value

Clock = Callable[[], int]
"""Returns nanoseconds that never go back, the same for all processes of a machine."""

Kind = Literal["requests", "tokens", "streams"]

STREAM_WAIT: Final = 1_000_000_000
"""Nanoseconds after which a stream may be tried again: nobody knows when another ends."""

_SWEEP: Final = 4096
"""Buckets in memory at which those that are full are first forgotten."""


class Scope(Value, frozen=True):
    """The limits of one organisation or token; 0 is none. `name` is what callers are told."""

    key: str
    name: str
    requests: int = 0
    tokens: int = 0
    streams: int = 0


class Bucket(Value, frozen=True):
    """The buckets of a scope, and its open streams. `requests` and `tokens` are when each is full again."""

    requests: int = 0
    tokens: int = 0
    streams: int = 0


class Standing(Value, frozen=True):
    """A limit, what remains of it, and the nanoseconds until all of it does."""

    limit: int
    remaining: int
    reset: int


class Rejection(Value, frozen=True):
    """The limit that a request exceeds, and the nanoseconds to wait; None: it exceeds it by itself."""

    scope: Scope
    kind: Kind
    limit: int
    used: int
    wait: int | None


class Decision(Value, frozen=True):
    """The decision about a request. The standings are those of the scope of which least remains."""

    requests: Standing | None
    tokens: Standing | None
    buckets: tuple[Bucket, ...]
    """Of each scope, as the request leaves it."""
    rejection: Rejection | None = None
    alone: bool = False
    """Whether one process decided alone, in place of counters that it shares with others."""
    parts: int = 1
    """Where it did: the number of processes among which the limits were divided."""
    call: str = ""
    """The name of the request, where the counters keep it by that."""


class Counters(Protocol):
    """Counters of scopes. A method may raise `ApiError` where the store does not work."""

    def admit(self, scopes: Sequence[Scope], tokens: int, stream: bool) -> Decision:
        """Count a request of so many tokens, which may be a stream; a rejected one is not counted."""

    def settle(self, scopes: Sequence[Scope], decision: Decision, reserved: int, used: int) -> None:
        """Count the tokens that a request has used, in place of those that were reserved for it."""

    def release(self, scopes: Sequence[Scope], decision: Decision) -> None:
        """Count a stream that has ended."""


def decide(scopes: Sequence[Scope], found: Sequence[Bucket], now: int, tokens: int, stream: bool) -> Decision:
    """Decide about a request; `found` are the buckets of its scopes."""
    rejection: Rejection | None = None
    before: list[Bucket] = []
    after: list[Bucket] = []
    for scope, bucket in zip(scopes, found, strict=True):
        old = Bucket(gcra.current(bucket.requests, now), gcra.current(bucket.tokens, now), bucket.streams)
        new = _taken(scope, old, tokens, stream)
        before.append(old)
        after.append(new)
        if not _fits(scope, new, now, stream):
            another = _rejection(scope, old, new, now, tokens, stream)
            if rejection is None or _severity(another) > _severity(rejection):
                rejection = another
    buckets = after if rejection is None else before
    requests: Standing | None = None
    rest: Standing | None = None
    for scope, bucket in zip(scopes, buckets, strict=True):
        if scope.requests:
            requests = _tighter(requests, bucket.requests, now, scope.requests)
        if scope.tokens:
            rest = _tighter(rest, bucket.tokens, now, scope.tokens)
    return Decision(requests, rest, tuple(buckets), rejection)


def settled(scopes: Sequence[Scope], decision: Decision, reserved: int, used: int, now: int) -> dict[str, int]:
    """Return by how much to move the tokens' buckets, by keys of scopes."""
    moved = {
        scope.key: gcra.refund(reserved, used, bucket.tokens, now, scope.tokens)
        for scope, bucket in zip(scopes, decision.buckets, strict=True)
        if scope.tokens
    }
    return {key: change for key, change in moved.items() if change}


class MemoryCounters:
    """Counters of one process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}
        self._sweep = _SWEEP

    def admit(self, scopes: Sequence[Scope], tokens: int, stream: bool) -> Decision:
        """Count a request."""
        now = self._clock()
        decision = decide(scopes, [self._buckets.get(scope.key, Bucket()) for scope in scopes], now, tokens, stream)
        if decision.rejection is None:
            for scope, bucket in zip(scopes, decision.buckets, strict=True):
                self._buckets[scope.key] = bucket
            if len(self._buckets) > self._sweep:
                self._forget(now)
        return decision

    def settle(self, scopes: Sequence[Scope], decision: Decision, reserved: int, used: int) -> None:
        """Count the tokens that a request has used."""
        now = self._clock()
        for key, change in settled(scopes, decision, reserved, used, now).items():
            old = self._buckets.get(key, Bucket())
            self._buckets[key] = Bucket(old.requests, gcra.moved(old.tokens, now, change), old.streams)

    def release(self, scopes: Sequence[Scope], decision: Decision) -> None:
        """Count a stream that has ended."""
        for scope in scopes:
            old = self._buckets.get(scope.key, Bucket())
            self._buckets[scope.key] = Bucket(old.requests, old.tokens, max(old.streams - 1, 0))

    def _forget(self, now: int) -> None:
        """Forget buckets that are full: they are what those are of which nothing is known."""
        self._buckets = {
            key: bucket
            for key, bucket in self._buckets.items()
            if bucket.requests > now or bucket.tokens > now or bucket.streams
        }
        self._sweep = max(_SWEEP, 2 * len(self._buckets))


def _taken(scope: Scope, bucket: Bucket, tokens: int, stream: bool) -> Bucket:
    """Return the bucket with the request taken."""
    requests, full_at, streams = bucket.requests, bucket.tokens, bucket.streams
    if scope.requests:
        requests += gcra.MINUTE // scope.requests
    if scope.tokens:
        full_at += gcra.cost(tokens, scope.tokens)
    if scope.streams and stream:
        streams += 1
    return Bucket(requests, full_at, streams)


def _fits(scope: Scope, taken: Bucket, now: int, stream: bool) -> bool:
    """Return whether a request that has been taken is within the limits."""
    latest = now + gcra.MINUTE
    return (
        (not scope.requests or taken.requests <= latest)
        and (not scope.tokens or taken.tokens <= latest)
        and (not stream or not scope.streams or taken.streams <= scope.streams)
    )


def _rejection(scope: Scope, bucket: Bucket, taken: Bucket, now: int, tokens: int, stream: bool) -> Rejection:
    """Return the limit of a scope that a request has to wait longest for."""
    latest = now + gcra.MINUTE
    rejections = []
    if scope.requests and taken.requests > latest:
        used = scope.requests - gcra.remaining(bucket.requests, now, scope.requests)
        wait: int | None = gcra.wait(bucket.requests, now, 1, scope.requests)
        rejections.append(Rejection(scope, "requests", scope.requests, used, wait))
    if scope.tokens and taken.tokens > latest:
        used = scope.tokens - gcra.remaining(bucket.tokens, now, scope.tokens)
        wait = None if tokens > scope.tokens else gcra.wait(bucket.tokens, now, tokens, scope.tokens)
        rejections.append(Rejection(scope, "tokens", scope.tokens, used, wait))
    if stream and scope.streams and taken.streams > scope.streams:
        rejections.append(Rejection(scope, "streams", scope.streams, bucket.streams, STREAM_WAIT))
    return max(rejections, key=_severity)


def _tighter(standing: Standing | None, full_at: int, now: int, limit: int) -> Standing:
    """Return the standing of which less remains."""
    remaining = gcra.remaining(full_at, now, limit)
    if standing is not None and standing.remaining <= remaining:
        return standing
    return Standing(limit, remaining, full_at - now)


def _severity(rejection: Rejection) -> int:
    """Rank the rejection that lasts longest highest."""
    return gcra.LONGEST_DEBT * 2 if rejection.wait is None else rejection.wait
