"""Work that waits for the end of a turn of the event loop, so that what many callers have done in one is written once.

It is done in parts, each in a turn of its own, between which the event loop does all else.

Decision: docs/decisions.md, D332.
"""

import asyncio
from collections.abc import Callable


class NextTurn:
    """Calls `do_part` once in the next turn, if that is wanted, and again while it returns True."""

    def __init__(self, do_part: Callable[[], bool]) -> None:
        self._do_part = do_part
        self._handle: asyncio.Handle | None = None

    def want(self) -> None:
        """Have `do_part` called in the next turn. Call this inside a running event loop."""
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_soon(self._run)

    def cancel(self) -> None:
        """Call it no more, unless it is wanted again."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _run(self) -> None:
        self._handle = None
        if self._do_part():
            self.want()
