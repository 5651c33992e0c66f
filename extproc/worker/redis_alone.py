"""The decisions of one worker while the Redis that it shares with others does not work, and what it sends there after.

`rate_limits.on_store_error: allow` counts in this worker alone, at a part of each limit: as many as there were workers.
`budgets.on_store_error: reject` admits what fits into this worker's part of what was left, where it was told that
within `TRUSTED_SECONDS`; then it is a 503. So workers together exceed neither.

What is admitted so is held by the store from the next beat on that it replies to. Until then it stays taken from this
worker's part, also where the call ends meanwhile (`extproc.worker.redis_unheld`).

Decisions: docs/decisions.md, D253, D312.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from extproc.config import Settings
from extproc.exchange.local_replies import limits_unavailable
from extproc.exchange.spending import unavailable as budgets_unavailable
from extproc.limits import gcra
from extproc.limits.counters import Clock, Decision, MemoryCounters, Scope, settled
from extproc.limits.spending import Balance, Charge, Running, Verdict
from extproc.worker.redis_unheld import Unheld

if TYPE_CHECKING:
    from extproc.worker.redis_limits import RedisStore

log = logging.getLogger(__name__)

TRUSTED_SECONDS: Final = 60.0
"""Seconds for which a balance is trusted that the store has told."""

LATEST_SECONDS: Final = 5.0
"""Age at which a balance that is asked for no more is forgotten while the store works."""

MOST_KNOWN: Final = 50_000
"""Most balances, and most lines of the log, that are remembered."""


class RedisRates:
    """The counters of rates of one worker."""

    def __init__(self, store: "RedisStore", settings: Callable[[], Settings], clock: Clock) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._local = MemoryCounters(clock)

    def admit(self, scopes: Sequence[Scope], tokens: int, stream: bool) -> Decision:
        """Count a request alone. Raises a 503 `ApiError`, if the settings say so."""
        if self._settings().rate_limits.on_store_error == "reject":
            raise limits_unavailable()
        parts = max(self._store.workers, 1)
        decision = self._local.admit(divided(scopes, parts), tokens, stream)
        rejection = decision.rejection
        if rejection is not None and rejection.wait is None and _fits_whole(scopes, tokens):
            decision.rejection = msgspec.structs.replace(rejection, wait=gcra.MINUTE)
        decision.alone, decision.parts = True, parts
        return decision

    def settle(self, scopes: Sequence[Scope], decision: Decision, reserved: int, used: int, soon: bool = False) -> None:
        """Count the tokens that a request has used, where it was counted."""
        if decision.alone:
            self._local.settle(divided(scopes, decision.parts), decision, reserved, used)
        else:
            now = self._clock()
            for key, change in settled(scopes, decision, reserved, used, now):
                if not self._store.advances.move(key, change, now):
                    moved = self._store.ends.of(decision.call).moved
                    moved[key] = moved.get(key, 0) + change

    def release(self, scopes: Sequence[Scope], decision: Decision, soon: bool = False) -> None:
        """Count a stream that has ended, where it was counted."""
        if decision.alone:
            self._local.release(scopes, decision)
        else:
            self._store.stream_ended(decision.call)


class RedisAccounts:
    """The accounts of budgets of one worker."""

    def __init__(self, store: "RedisStore", settings: Callable[[], Settings]) -> None:
        self._store = store
        self._settings = settings
        self._known: dict[str, tuple[Balance, float]] = {}
        """Balances of accounts, and when the store told them; the latest last."""
        self._used: dict[str, float] = {}
        """When a call was last charged to an account, the latest last."""
        self._unheld = Unheld()
        """What calls have taken that were admitted without the store, and of which it does not know."""
        self._told: set[str] = set()

    def reserve(self, call: str, charges: Sequence[Charge], running: Running) -> Verdict | None:
        """Decide without the store. Raises a 503 `ApiError`, if the settings say so."""
        if self._settings().budgets.on_store_error == "allow" or not any(charge.enforced for charge in charges):
            self._store.opened(call, charges, running)
            return None
        verdict = self._verdict(charges)
        if verdict.rejected < 0:
            self._unheld.take(call, charges)
            self._store.opened(call, charges, running)
        return verdict

    def settle(self, call: str, charges: Sequence[Charge], costs: Sequence[int], soon: bool = False) -> None:
        """Replace what a call holds by its cost; all that is so in one turn of the event loop is sent together."""
        self._store.closed(call)
        self._unheld.end(call, costs)
        end = self._store.ends.of(call, at_once=True)  # a worker that is killed now has counted what its caller is told
        end.charges, end.costs = charges, costs

    def tell(self, key: str, end: int, text: str) -> None:
        """Log `text`, if no worker has logged anything about `key` before."""
        if key in self._told:
            return
        if len(self._told) >= MOST_KNOWN:
            self._told.clear()
        self._told.add(key)

        def done(reply: Any) -> None:
            if isinstance(reply, Exception):
                self._told.discard(key)
            elif reply is not None:
                log.warning("%s", text)

        self._store.tell(done, key, end)

    def used(self, charges: Sequence[Charge], balances: Sequence[Balance]) -> None:
        """Take note of the accounts that a call is charged to, and of their balances before it."""
        now = time.monotonic()
        for charge, before in zip(charges, balances, strict=True):
            self._use(charge.key, now)
            self._learn(charge.key, Balance(before.spent, before.held + charge.amount), now)

    def held(self, call: str) -> None:
        """Note that the store holds a call."""
        for key, amount in self._unheld.drop(call):
            if key in self._known:
                balance, told = self._known[key]
                self._known[key] = Balance(balance.spent, balance.held + amount), told

    def counted(self, calls: Iterable[str]) -> None:
        """Note that the store has the costs of calls that are over."""
        for call in calls if self._unheld else ():
            for key, cost in self._unheld.drop(call):
                if key in self._known:
                    balance, told = self._known[key]
                    self._known[key] = Balance(balance.spent + cost, balance.held), told

    def forget(self, call: str) -> None:
        """Take nothing more for a call that is over, or in the balances that are known."""
        self._unheld.drop(call)

    def recent(self, most: int) -> list[str]:
        """Return the accounts that were used within the time for which balances are trusted, the latest first."""
        oldest, keys = time.monotonic() - TRUSTED_SECONDS, list[str]()
        for key, at in reversed(self._used.items()):
            if at < oldest or len(keys) == most:
                break
            keys.append(key)
        return keys

    def synced(self, keys: Sequence[str], balances: Sequence[Balance]) -> None:
        """Remember balances that the store has told now: it works."""
        now = time.monotonic()
        for key, balance in zip(keys, balances, strict=True):
            self._learn(key, balance, now)
        while self._known:
            key, (_, told) = next(iter(self._known.items()))
            if told > now - LATEST_SECONDS:
                break
            del self._known[key]  # others have spent of it since

    def _learn(self, key: str, balance: Balance, now: float) -> None:
        """Remember a balance that the store has told; the one that was told longest ago goes first."""
        self._known.pop(key, None)
        self._known[key] = balance, now
        if len(self._known) > MOST_KNOWN:
            del self._known[next(iter(self._known))]

    def _use(self, key: str, now: float) -> None:
        """Have the balance of an account told with each beat, for a while."""
        self._used.pop(key, None)
        self._used[key] = now
        if len(self._used) > MOST_KNOWN:
            del self._used[next(iter(self._used))]

    def _verdict(self, charges: Sequence[Charge]) -> Verdict:
        now, parts, balances, rejected = time.monotonic(), max(self._store.workers, 1), [], -1
        oldest = now - TRUSTED_SECONDS
        for charge in charges:
            if charge.key in self._known or not charge.group:  # else it may be charged to the account of others
                self._use(charge.key, now)
        for position, charge in enumerate(charges):
            balance, told = self._known.get(charge.key, (Balance(), 0.0))
            if told < oldest:
                raise budgets_unavailable()
            left = (charge.limit - balance.spent - balance.held) // parts - self._unheld.of(charge.key)
            if charge.enforced and charge.amount > left:
                rejected = position
            balances.append(balance)
        return Verdict(tuple(balances), rejected, alone=True)


def divided(scopes: Sequence[Scope], parts: int) -> list[Scope]:
    """Return the scopes with a part of each limit, 1 at least."""
    return [
        msgspec.structs.replace(
            scope, **{kind: max(limit // parts, 1) for kind in _KINDS if (limit := getattr(scope, kind))}
        )
        for scope in scopes
    ]


_KINDS: Final = ("requests", "tokens", "streams")


def _fits_whole(scopes: Sequence[Scope], tokens: int) -> bool:
    return all(not scope.tokens or tokens <= scope.tokens for scope in scopes)
