"""What a worker has taken in advance of buckets in a Redis, whose clock is another.

An advance begins with a request that the store admits, and one at a time is under way for a scope: many requests that
arrive together would take as many. What calls have used of one, beyond their reservations or less, the store is told by
the next request that asks it, or after `OWED_SECONDS`.

Decision: docs/decisions.md, D277.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from extproc.exchange.jobs import Admit
from extproc.limits import advances, gcra
from extproc.limits.advances import Advances
from extproc.limits.counters import Bucket, Clock, Decision, Scope

OWED_SECONDS: Final = 0.1


class RedisAdvances:
    """The advances of one worker. `tell` tells the store by how much to move its buckets of tokens, by scope."""

    def __init__(self, clock: Clock, tell: Callable[[Mapping[str, int]], None]) -> None:
        self._advances = Advances()
        self._clock = clock
        self._tell = tell
        self._asked: set[str] = set()
        """The scopes on which an advance is under way."""
        self._owing = False
        """Whether the store will be told soon."""

    def admit(self, scopes: Sequence[Scope], tokens: int) -> Decision | None:
        """Count a request that is no stream; None: the store has to be asked."""
        return self._advances.admit(scopes, self._clock(), tokens)

    def ask(self, admit: Admit) -> int:
        """Return what to take in advance with a request: nothing, where that is under way or would save nothing."""
        if not admit.scopes or admit.charges or not advances.worth(admit.scopes, admit.tokens):
            return 0
        keys = [each.key for each in admit.scopes]
        if not self._asked.isdisjoint(keys):
            return 0
        self._asked.update(keys)
        return advances.AHEAD

    def take_rest(self, key: str, now: int) -> tuple[int, int]:
        """Return what the store gets back of a scope's advance, which is then over."""
        rest = self._advances.rest(key, now)
        self._advances.drop(key)
        return rest

    def failed(self, admit: Admit) -> None:
        """Note that nobody knows whether the store has given what was asked for."""
        self._asked.difference_update([each.key for each in admit.scopes])

    def taken(self, admit: Admit, sent: int, found: Sequence[tuple[int, int, int]], given: int) -> None:
        """Keep what the store has given; `found` are its buckets before the request.

        It decided between `sent` and now: what is used is known by the later, and what is paid by the earlier time.
        """
        self.failed(admit)
        if not given:
            return
        now = self._clock()
        for scope, (requests, tokens, _) in zip(admit.scopes, found, strict=True):
            requests += gcra.cost(1, scope.requests) if scope.requests else 0
            tokens += gcra.cost(admit.tokens, scope.tokens) if scope.tokens else 0
            paid = advances.ahead(scope, Bucket(sent + requests, sent + tokens))
            self._advances.hold(scope.key, Bucket(now + requests, now + tokens), paid)

    def move(self, key: str, change: int, now: int) -> bool:
        """Move what is used of tokens, and have the store told soon; False where there is no advance."""
        if not self._advances.move(key, change, now):
            return False
        if not self._owing:
            self._owing = True
            asyncio.get_running_loop().call_later(OWED_SECONDS, self.tell)
        return True

    def tell(self) -> None:
        """Tell the store what it is owed."""
        self._owing, now = False, self._clock()
        if owed := self._advances.owed():
            self._tell(owed)
            for key, change in owed.items():
                self._advances.moved(key, change, now)
        self._advances.sweep(now)

    def sweep(self) -> None:
        """Forget those that are used up."""
        self._advances.sweep(self._clock())
