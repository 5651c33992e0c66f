"""What the calls of one worker have taken of accounts while their store does not know of it.

A call that is admitted without the store is in none of its balances, until the store holds it or has its cost. So long
it is taken from what this worker may admit alone.

Invariant: of each account, the sum of what its calls have taken that are here. They are as many as there are open calls
and ends that wait for the store.

Decision: docs/decisions.md, D312.
"""

from collections.abc import Sequence

from extproc.limits.spending import Charge

Taken = Sequence[tuple[str, int]]
"""Accounts, and the amounts that a call has taken of them."""


class Unheld:
    """The calls by name, with what they have taken."""

    def __init__(self) -> None:
        self._calls: dict[str, Taken] = {}
        self._sums: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def of(self, account: str) -> int:
        """Return what calls have taken of an account."""
        return self._sums.get(account, 0)

    def take(self, call: str, charges: Sequence[Charge]) -> None:
        """Note a call that may cost its charges."""
        self._add(call, [(charge.key, charge.amount) for charge in charges])

    def end(self, call: str, costs: Sequence[int]) -> None:
        """Have the costs of a call, if it is here, take the place of what it might have cost."""
        if taken := self.drop(call):
            self._add(call, [(key, cost) for (key, _), cost in zip(taken, costs, strict=True)])

    def drop(self, call: str) -> Taken:
        """Forget a call; return what it has taken, nothing where it is not here."""
        taken = self._calls.pop(call, ())
        for key, amount in taken:
            self._move(key, -amount)
        return taken

    def _add(self, call: str, taken: Taken) -> None:
        self._calls[call] = taken
        for key, amount in taken:
            self._move(key, amount)

    def _move(self, key: str, amount: int) -> None:
        """Add to a sum. One of 0 is not kept: calls that cost nothing would leave it for ever."""
        if moved := self._sums.pop(key, 0) + amount:
            self._sums[key] = moved
