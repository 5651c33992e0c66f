"""The calls of a request with many inputs: each is made when it is about to be sent.

A body of 8 KB may have two thousand inputs, each of them a call. What decides whether they are sent at all are sums,
which are taken without making the calls: a request that is rejected costs no more than these.

Invariant: the sums are those over the calls, one by one.

Decision: docs/decisions.md, D328.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import final, overload

from extproc.exchange.endpoint import BedrockCall
from extproc.exchange.meter import BYTES_PER_TOKEN


@final
class CallSeries(Sequence[BedrockCall]):
    """As many calls as there are `sizes`, which are those of their bodies; `make` returns the one at an index.

    They are for `inputs` inputs of the client's, and `response` bytes are expected in response to all.
    """

    def __init__(self, make: Callable[[int], BedrockCall], sizes: Sequence[int], inputs: int, response: int) -> None:
        self._make = make
        self._sizes = sizes
        self.inputs = inputs
        self.response = response

    @property
    def outgoing(self) -> int:
        """Return the bytes of all bodies."""
        return sum(self._sizes)

    @property
    def tokens(self) -> int:
        """Return about how many tokens the bodies have: the sum of `meter.input_estimate`."""
        return sum([size // BYTES_PER_TOKEN for size in self._sizes])

    def __len__(self) -> int:
        return len(self._sizes)

    @overload
    def __getitem__(self, at: int) -> BedrockCall: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[BedrockCall, ...]: ...
    def __getitem__(self, at: int | slice) -> BedrockCall | tuple[BedrockCall, ...]:
        indices = range(len(self._sizes))[at]
        return self._make(indices) if isinstance(indices, int) else tuple(map(self._make, indices))

    def __iter__(self) -> Iterator[BedrockCall]:
        return map(self._make, range(len(self._sizes)))
