"""What counts the requests, tokens and streams of organisations and tokens: a protocol, and counters in the process.

`decide` is the rule of all of them: a request is counted in all of its scopes, or in none.

Decision: docs/decisions.md, D236.
"""

from collections.abc import Callable, Sequence
from typing import Final, Literal, Protocol, final

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


@final
class Bucket:
    """The buckets of a scope, and its open streams. `requests` and `tokens` are when each is full again.

    It never changes. Like the other classes of this module without a base, it is one of compiled code's own, in which
    a field costs a tenth of a struct's.
    """

    __slots__ = ("requests", "streams", "tokens")

    def __init__(self, requests: int = 0, tokens: int = 0, streams: int = 0) -> None:
        self.requests = requests
        self.tokens = tokens
        self.streams = streams

    def __repr__(self) -> str:
        return f"Bucket({self.requests}, {self.tokens}, {self.streams})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Bucket):
            return False
        return self.requests == other.requests and self.tokens == other.tokens and self.streams == other.streams

    def __hash__(self) -> int:
        return hash((self.requests, self.tokens, self.streams))


_FULL: Final = Bucket()
"""The buckets of a scope of which nothing is known."""


@final
class Standing:
    """A limit, what remains of it, and the nanoseconds until all of it does."""

    __slots__ = ("limit", "remaining", "reset")

    def __init__(self, limit: int, remaining: int, reset: int) -> None:
        self.limit = limit
        self.remaining = remaining
        self.reset = reset

    def __repr__(self) -> str:
        return f"Standing({self.limit}, {self.remaining}, {self.reset})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Standing):
            return False
        return self.limit == other.limit and self.remaining == other.remaining and self.reset == other.reset

    def __hash__(self) -> int:
        return hash((self.limit, self.remaining, self.reset))


class Rejection(Value, frozen=True):
    """The limit that a request exceeds, and the nanoseconds to wait; None: it exceeds it by itself."""

    scope: Scope
    kind: Kind
    limit: int
    used: int
    wait: int | None


@final
class Decision:
    """The decision about a request. The standings are those of the scope of which least remains.

    `buckets` are those of each scope, as the request leaves them. Whoever has counters that make one by others' rules
    adds where it was made.
    """

    __slots__ = ("alone", "buckets", "call", "parts", "rejection", "requests", "tokens")

    def __init__(
        self,
        requests: Standing | None,
        tokens: Standing | None,
        buckets: tuple[Bucket, ...],
        rejection: Rejection | None = None,
    ) -> None:
        self.requests = requests
        self.tokens = tokens
        self.buckets = buckets
        self.rejection = rejection
        self.alone = False
        """Whether one process decided alone, in place of counters that it shares with others."""
        self.parts = 1
        """Where it did: the number of processes among which the limits were divided."""
        self.call = ""
        """The name of the request, where the counters keep it by that."""


class Counters(Protocol):
    """Counters of scopes. A method may raise `ApiError` where the store does not work."""

    def admit(self, scopes: Sequence[Scope], tokens: int, stream: bool) -> Decision:
        """Count a request of so many tokens, which may be a stream; a rejected one is not counted."""

    def settle(self, scopes: Sequence[Scope], decision: Decision, reserved: int, used: int, soon: bool = False) -> None:
        """Count the tokens that a request has used, in place of those that were reserved for it.

        `soon`: its caller has left, so others need not see it at once.
        """

    def release(self, scopes: Sequence[Scope], decision: Decision, soon: bool = False) -> None:
        """Count a stream that has ended; `soon` as for `settle`."""


def decide(scopes: Sequence[Scope], found: Sequence[Bucket], now: int, tokens: int, stream: bool) -> Decision:
    """Decide about a request; `found` are the buckets of its scopes."""
    latest = now + gcra.MINUTE
    after: list[Bucket] = []
    requests: Standing | None = None
    rest: Standing | None = None
    for at, scope in enumerate(scopes):
        bucket, most_requests, most_tokens, most_streams = found[at], scope.requests, scope.tokens, scope.streams
        full_at, tokens_at = gcra.current(bucket.requests, now), gcra.current(bucket.tokens, now)
        streams = bucket.streams
        if most_requests:
            full_at += gcra.MINUTE // most_requests
            requests = _tighter(requests, full_at, now, most_requests)
        if most_tokens:
            tokens_at += gcra.cost(tokens, most_tokens)
            rest = _tighter(rest, tokens_at, now, most_tokens)
        if most_streams and stream:
            streams += 1
            if streams > most_streams:
                return _rejected(scopes, found, now, tokens, stream)
        if (most_requests and full_at > latest) or (most_tokens and tokens_at > latest):
            return _rejected(scopes, found, now, tokens, stream)
        after.append(Bucket(full_at, tokens_at, streams))
    return Decision(requests, rest, tuple(after))


def settled(scopes: Sequence[Scope], decision: Decision, reserved: int, used: int, now: int) -> list[tuple[str, int]]:
    """Return by how much to move the tokens' buckets, with the keys of their scopes."""
    moved: list[tuple[str, int]] = []
    buckets = decision.buckets
    for at, scope in enumerate(scopes):
        limit = scope.tokens
        if limit:
            change = gcra.refund(reserved, used, buckets[at].tokens, now, limit)
            if change:
                moved.append((scope.key, change))
    return moved


class MemoryCounters:
    """Counters of one process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}
        self._sweep = _SWEEP

    def admit(self, scopes: Sequence[Scope], tokens: int, stream: bool) -> Decision:
        """Count a request."""
        now = self._clock()
        held = self._buckets
        keys = [scope.key for scope in scopes]
        decision = decide(scopes, [held.get(key, _FULL) for key in keys], now, tokens, stream)
        if decision.rejection is None:
            buckets = decision.buckets
            for at, key in enumerate(keys):
                held[key] = buckets[at]
            if len(held) > self._sweep:
                self._forget(now)
        return decision

    def settle(self, scopes: Sequence[Scope], decision: Decision, reserved: int, used: int, soon: bool = False) -> None:
        """Count the tokens that a request has used."""
        now = self._clock()
        for key, change in settled(scopes, decision, reserved, used, now):
            old = self._buckets.get(key, _FULL)
            self._buckets[key] = Bucket(old.requests, gcra.moved(old.tokens, now, change), old.streams)

    def release(self, scopes: Sequence[Scope], decision: Decision, soon: bool = False) -> None:
        """Count a stream that has ended."""
        for scope in scopes:
            old = self._buckets.get(scope.key, _FULL)
            self._buckets[scope.key] = Bucket(old.requests, old.tokens, max(old.streams - 1, 0))

    def _forget(self, now: int) -> None:
        """Forget buckets that are full: they are what those are of which nothing is known."""
        self._buckets = {
            key: bucket
            for key, bucket in self._buckets.items()
            if bucket.requests > now or bucket.tokens > now or bucket.streams
        }
        self._sweep = max(_SWEEP, 2 * len(self._buckets))


def _rejected(scopes: Sequence[Scope], found: Sequence[Bucket], now: int, tokens: int, stream: bool) -> Decision:
    """Return the decision about a request that is beyond a limit: it has to wait longest for the one that is named."""
    rejections: list[Rejection] = []
    before: list[Bucket] = []
    requests: Standing | None = None
    rest: Standing | None = None
    for scope, bucket in zip(scopes, found, strict=True):
        old = Bucket(gcra.current(bucket.requests, now), gcra.current(bucket.tokens, now), bucket.streams)
        before.append(old)
        rejections += _rejections(scope, old, now, tokens, stream)
        if scope.requests:
            requests = _tighter(requests, old.requests, now, scope.requests)
        if scope.tokens:
            rest = _tighter(rest, old.tokens, now, scope.tokens)
    return Decision(requests, rest, tuple(before), max(rejections, key=_severity))


def _rejections(scope: Scope, bucket: Bucket, now: int, tokens: int, stream: bool) -> list[Rejection]:
    """Return the limits of a scope that a request exceeds."""
    latest = now + gcra.MINUTE
    rejections = []
    if scope.requests and bucket.requests + gcra.cost(1, scope.requests) > latest:
        used = scope.requests - gcra.remaining(bucket.requests, now, scope.requests)
        wait: int | None = gcra.wait(bucket.requests, now, 1, scope.requests)
        rejections.append(Rejection(scope, "requests", scope.requests, used, wait))
    if scope.tokens and bucket.tokens + gcra.cost(tokens, scope.tokens) > latest:
        used = scope.tokens - gcra.remaining(bucket.tokens, now, scope.tokens)
        wait = None if tokens > scope.tokens else gcra.wait(bucket.tokens, now, tokens, scope.tokens)
        rejections.append(Rejection(scope, "tokens", scope.tokens, used, wait))
    if stream and scope.streams and bucket.streams >= scope.streams:
        rejections.append(Rejection(scope, "streams", scope.streams, bucket.streams, STREAM_WAIT))
    return rejections


def _tighter(standing: Standing | None, full_at: int, now: int, limit: int) -> Standing:
    """Return the standing of which less remains."""
    remaining = gcra.remaining(full_at, now, limit)
    if standing is not None and standing.remaining <= remaining:
        return standing
    return Standing(limit, remaining, full_at - now)


def _severity(rejection: Rejection) -> int:
    """Rank the rejection that lasts longest highest."""
    return gcra.LONGEST_DEBT * 2 if rejection.wait is None else rejection.wait
