"""The ends of calls, as a worker tells a Redis of them.

Decision: docs/decisions.md, D251.
"""

from collections.abc import Sequence

from extproc.limits.spending import Charge


class End:
    """What is to be counted of a call that is over."""

    __slots__ = ("charges", "costs", "moved", "released")

    def __init__(self) -> None:
        self.moved: dict[str, int] = {}
        self.released: Sequence[str] = ()
        self.charges: Sequence[Charge] = ()
        self.costs: Sequence[int] = ()

    def complete(self, before: "End | None") -> None:
        """Take what an earlier end of the call has, and this one has not: its cost and its stream may end apart."""
        if before is None:
            return
        self.released = self.released or before.released
        if not self.charges:
            self.charges, self.costs = before.charges, before.costs
