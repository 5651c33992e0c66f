"""What one worker has taken of shared buckets in advance, so that not every request has to ask the store.

A request that the store admits takes `AHEAD` more of each bucket than it needs. Those that follow are decided by what
the worker knows, for as long as that covers them. An advance needs no end: what nobody uses flows back within `AHEAD`.

The store has the bucket full at `paid`, of which this worker has used what makes it full at `used`. When the store is
asked again, it gets the rest back, and decides by what is left.

Invariant: what a worker admits by an advance is taken in the store by then. So all workers together admit no more than
without advances, but for what is given back late of a reservation; others see at most `AHEAD` too little of a bucket.
A worker that nobody shares a bucket with decides as `MemoryCounters` does.

Decision: docs/decisions.md, D277.
"""

from collections.abc import Sequence
from typing import Final

from extproc.limits import gcra
from extproc.limits.counters import Bucket, Decision, Scope, decide

AHEAD: Final = 50_000_000
"""Nanoseconds of a bucket that are taken in advance: 1/1200 of a limit."""

FEWEST: Final = 2
"""Requests that an advance has to cover; those of a limit with less are too few for it to save anything."""

MOST_USED: Final = gcra.MINUTE // 2
"""When a bucket is full again at the latest from which something is taken in advance: near its end, all is exact."""


class Advance:
    """An advance on the buckets of one scope."""

    __slots__ = ("owed", "paid", "used")

    def __init__(self, used: Bucket, paid: Bucket) -> None:
        self.used = used
        self.paid = paid
        self.owed = 0
        """By how much the store's bucket of tokens is yet to be moved, as `used` has been."""


class Advances:
    """The advances of one worker, by the keys of scopes."""

    def __init__(self) -> None:
        self._advances: dict[str, Advance] = {}

    def admit(self, scopes: Sequence[Scope], now: int, tokens: int) -> Decision | None:
        """Count a request that is no stream; None where the advances do not cover it, and nothing has changed."""
        held: list[Advance] = []
        for scope in scopes:
            advance = self._advances.get(scope.key)
            if advance is None or not _covers(advance, scope, now, tokens):
                return None
            held.append(advance)
        decision = decide(scopes, [advance.used for advance in held], now, tokens, False)
        if decision.rejection is not None:
            return None
        buckets = decision.buckets
        for at, advance in enumerate(held):
            advance.used = buckets[at]
        return decision

    def has(self, key: str) -> bool:
        """Return whether there is an advance, which may be used up."""
        return key in self._advances

    def rest(self, key: str, now: int) -> tuple[int, int]:
        """Return what the store's buckets of requests and tokens get back before it decides; below 0 is a debt."""
        advance = self._advances.get(key)
        if advance is None:
            return 0, 0
        used, paid = advance.used, advance.paid
        requests = max(paid.requests, now) - max(used.requests, now)
        return requests, max(paid.tokens, now) - max(used.tokens, now)

    def hold(self, key: str, used: Bucket, paid: Bucket) -> None:
        """Keep what the store has given in advance."""
        self._advances[key] = Advance(used, paid)

    def drop(self, key: str) -> None:
        """Forget an advance: the store has got its rest back, or never will."""
        self._advances.pop(key, None)

    def clear(self) -> None:
        """Forget all: the store is another."""
        self._advances.clear()

    def move(self, key: str, change: int, now: int) -> bool:
        """Move what is used of tokens by what `gcra.refund` returned; False where there is no advance."""
        advance = self._advances.get(key)
        if advance is None:
            return False
        used = advance.used
        advance.used = Bucket(used.requests, gcra.moved(used.tokens, now, change))
        advance.owed += change
        return True

    def owed(self) -> dict[str, int]:
        """Return by how much the store's buckets of tokens are to be moved, by key."""
        return {key: advance.owed for key, advance in self._advances.items() if advance.owed}

    def moved(self, key: str, change: int, now: int) -> None:
        """Note that the store's bucket of tokens is moved by a part of what is owed."""
        advance = self._advances.get(key)
        if advance is not None:
            paid = advance.paid
            advance.paid = Bucket(paid.requests, gcra.moved(paid.tokens, now, change))
            advance.owed -= change

    def sweep(self, now: int) -> None:
        """Forget those that are used up."""
        self._advances = {
            key: advance
            for key, advance in self._advances.items()
            if advance.owed or max(advance.paid.requests, advance.paid.tokens) > now
        }


def worth(scopes: Sequence[Scope], tokens: int) -> bool:
    """Return whether advances on these scopes would cover several requests such as this one."""
    most = AHEAD // FEWEST
    return all(
        (not scope.requests or gcra.cost(1, scope.requests) <= most)
        and (not scope.tokens or gcra.cost(tokens, scope.tokens) <= most)
        for scope in scopes
    )


def ahead(scope: Scope, bucket: Bucket) -> Bucket:
    """Return the bucket with an advance taken."""
    requests = bucket.requests + AHEAD if scope.requests else bucket.requests
    return Bucket(requests, bucket.tokens + AHEAD if scope.tokens else bucket.tokens)


def permitted(scopes: Sequence[Scope], buckets: Sequence[Bucket], now: int) -> bool:
    """Return whether as little is used of all buckets that something can be taken in advance."""
    latest = now + MOST_USED
    return all(
        (not scope.requests or bucket.requests <= latest) and (not scope.tokens or bucket.tokens <= latest)
        for scope, bucket in zip(scopes, buckets, strict=True)
    )


def _covers(advance: Advance, scope: Scope, now: int, tokens: int) -> bool:
    used, paid, requests, limit = advance.used, advance.paid, scope.requests, scope.tokens
    if requests and max(used.requests, now) + gcra.MINUTE // requests > paid.requests:
        return False
    return not limit or max(used.tokens, now) + gcra.cost(tokens, limit) <= paid.tokens
