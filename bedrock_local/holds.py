"""Responses that wait for `POST /_local/release`."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Holds:
    """The held responses. A point is made before anything is sent, so no release can come too early."""

    _points: set[asyncio.Event] = field(default_factory=set)
    _more: asyncio.Event = field(default_factory=asyncio.Event)

    @contextmanager
    def point(self, wanted: bool, seconds: float | None = None) -> Iterator[asyncio.Event | None]:
        """Make the point at which a response will wait, if `wanted`; remove it when the response is over.

        With `seconds`, it is released by itself after this time.
        """
        if not wanted:
            yield None
            return
        point = asyncio.Event()
        self._points.add(point)
        self._more.set()
        if seconds is not None:
            asyncio.get_running_loop().call_later(seconds, point.set)
        try:
            yield point
        finally:
            self._points.discard(point)

    async def wait(self, seconds: float | None = None) -> None:
        """Wait for the next release, at most `seconds`."""
        with self.point(True, seconds) as point:
            assert point is not None
            await point.wait()

    async def reach(self, number: int) -> None:
        """Wait until `number` responses are held."""
        while len(self._points) < number:
            self._more.clear()
            await self._more.wait()

    def release(self) -> int:
        """Release all held responses; return their number."""
        points, self._points = self._points, set()
        for point in points:
            point.set()
        return len(points)
