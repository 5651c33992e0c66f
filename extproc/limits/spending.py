"""What budgets have left: the rule by which a call is reserved in all of its accounts, or in none, and then settled.

An account is a budget of one organisation, token or user in one window. Its amounts are micro-USD or tokens.

Invariant: where no call costs more than was reserved for it, what is spent of an account never exceeds its limit. So
the sum of what calls cost beyond their reservations is the most by which an account is exceeded. Of a call whose worker
was taken for dead, and was not, what it had cost by then takes the place of its reservation until that worker returns.

Decisions: docs/decisions.md, D239, D247, D325.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from extproc.limits.windows import Per
from extproc.value import Value

MOST: Final = 2**53
"""Largest amount: Lua and JSON have no larger whole numbers."""

MOST_IN_GROUP: Final = 100_000
"""Most accounts of a group in one window: callers choose how many there are. All others share one account more."""


class OwnedBudget(Value, frozen=True):
    """A budget of an organisation, a token or a user: whole micro-USD (`usd`), or tokens.

    `owner` is what callers and the log call its owner. `user` is whether each user of the organisation has one.
    `group` names those of whom callers choose how many there are: users, and subjects of signed tokens.
    """

    key: str
    owner: str
    usd: bool
    limit: int
    per: Per
    timezone: str
    warn_at: int
    enforced: bool
    user: bool = False
    group: str = ""


Running = Callable[[], Sequence[int]]
"""Returns what a call has cost so far, in the order of its charges."""


class Charge(Value, frozen=True):
    """What a call may cost an account. `key` names the account and its window; `end` is the window's, in unix seconds.

    `counted` is what the call costs at least, once it has left. An account that is not `enforced` rejects nothing. One
    of a `group` is one of `MOST_IN_GROUP` at most, as long as something is spent or held of it; beyond these the charge
    is to the account `others`.
    """

    key: str
    limit: int
    amount: int
    end: int
    counted: int = 0
    enforced: bool = True
    group: str = ""


class Balance(Value, frozen=True):
    """The amounts of an account: `spent` by calls that have ended, and `held` for those that are open."""

    spent: int = 0
    held: int = 0


class Verdict(Value, frozen=True):
    """The decision about a call, and the balances before it. `rejected` is the position of a charge, -1 for none.

    `exhausted` tells a budget that does not have the amount from one that only open calls hold. `shared` are the
    positions of charges to the account that those beyond `MOST_IN_GROUP` share. `alone`: it was made without the store.
    """

    balances: tuple[Balance, ...]
    rejected: int = -1
    exhausted: bool = False
    shared: tuple[int, ...] = ()
    alone: bool = False


class SpendingStore(Protocol):
    """The balances of accounts. Methods raise where the store does not work; then nothing has changed."""

    def reserve(self, call: str, charges: Sequence[Charge]) -> Verdict:
        """Hold the amounts of a call in all accounts, or in none."""

    def count(self, running: Mapping[str, Sequence[int]]) -> None:
        """Keep what open calls have cost so far, by call, and extend their leases.

        Those of this worker that were settled by their last counts, as if it were dead, are held again.
        """

    def settle(self, call: str, charges: Sequence[Charge], costs: Sequence[int]) -> None:
        """Replace what a call holds by what it has cost; only the first time counts.

        Where it was settled by its last count, the difference to that is added.
        """


def others(group: str) -> str:
    """Return the key of the account of those who are not among the `MOST_IN_GROUP` of a group."""
    return f"others of {group}"


def decide(charges: Sequence[Charge], found: Sequence[Balance], shared: Sequence[int] = ()) -> Verdict:
    """Decide about a call; `found` are the balances of its accounts. The window that ends last counts most."""
    rejected, exhausted = -1, False
    for position, (charge, balance) in enumerate(zip(charges, found, strict=True)):
        if not charge.enforced or balance.spent + balance.held + charge.amount <= charge.limit:
            continue
        empty = balance.spent + charge.amount > charge.limit
        if rejected < 0 or (empty, charge.end) > (exhausted, charges[rejected].end):
            rejected, exhausted = position, empty
    return Verdict(tuple(found), rejected, exhausted, tuple(shared))


class MemorySpending:
    """Balances of one process: the model that other stores are compared with."""

    def __init__(self) -> None:
        self._spent: dict[str, int] = {}
        self._held: dict[str, int] = {}
        self._open: dict[str, tuple[tuple[Charge, ...], tuple[int, ...]]] = {}
        """By call: its charges, and what it has cost so far."""
        self._expired: dict[str, tuple[tuple[Charge, ...], tuple[int, ...]]] = {}
        """The same of calls that were settled by what they had cost so far."""

    def balance(self, key: str) -> Balance:
        """Return the balance of an account."""
        return Balance(self._spent.get(key, 0), self._held.get(key, 0))

    def reserve(self, call: str, charges: Sequence[Charge]) -> Verdict:
        """Hold the amounts of a call."""
        verdict = decide(charges, [self.balance(charge.key) for charge in charges])
        if verdict.rejected < 0:
            self._open[call] = tuple(charges), tuple([charge.counted for charge in charges])
            for charge in charges:
                self._held[charge.key] = self._held.get(charge.key, 0) + charge.amount
        return verdict

    def count(self, running: Mapping[str, Sequence[int]]) -> None:
        """Keep what open calls have cost so far."""
        for call, costs in running.items():
            if call in self._open:
                self._open[call] = self._open[call][0], tuple(costs)

    def settle(self, call: str, charges: Sequence[Charge], costs: Sequence[int]) -> None:
        """Replace what a call holds by what it has cost."""
        if self._open.pop(call, None) is not None:
            for charge in charges:
                self._held[charge.key] -= charge.amount
            last: tuple[int, ...] = (0,) * len(charges)
        elif call in self._expired:
            last = self._expired.pop(call)[1]
        else:
            return
        for charge, cost, before in zip(charges, costs, last, strict=True):
            self._spent[charge.key] = self._spent.get(charge.key, 0) + cost - before

    def expire(self, call: str) -> None:
        """Settle a call whose worker has died, by what it had cost when that was last counted."""
        if call in self._open:
            charges, costs = self._open[call]
            self.settle(call, charges, costs)
            self._expired[call] = charges, costs

    def hold_again(self, call: str) -> None:
        """Hold what an open call may cost whose worker was taken for dead, and lives."""
        if call in self._expired:
            charges, costs = self._expired.pop(call)
            self._open[call] = charges, costs
            for charge, cost in zip(charges, costs, strict=True):
                self._spent[charge.key] -= cost
                self._held[charge.key] += charge.amount

    def forget(self, now: int, ends: Mapping[str, int]) -> None:
        """Forget accounts whose windows have ended, and in which nothing is held; `ends` has their ends by key."""
        for key, end in ends.items():
            if end <= now and not self._held.get(key):
                self._spent.pop(key, None)
                self._held.pop(key, None)
