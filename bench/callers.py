"""Callers at a rate: so many requests a second, each with the next of some tokens, over a few connections.

    python -m bench.callers PORT REQUEST TOKENS RATE CONNECTIONS SECONDS

REQUEST is a file with an HTTP/1.1 request, in which `{token}` stands for the token; TOKENS is a file with one a line,
used in turn. Each connection has an address of its own, 127.0.1.1 and on, as callers on a network have. A request is
due at its time whether or not those before it have been answered, and its latency counts from then, so that a server
that stalls is not asked less. Where all connections are busy it waits for one: then the rate that is reached is lower
than RATE, and is what the server and this program can do.

The line on standard output is JSON: `sent`, `seconds`, `rate` (reached), `statuses` (0 is a broken connection), and
`p50`, `p99` and `max` of the latencies in ms.

Decision: docs/decisions.md, D225.
"""

import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

TIMEOUT = 30.0
"""Seconds after which a response is not going to come."""


class Connection(asyncio.Protocol):
    """A connection that sends one request at a time. Responses have a `content-length`."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._data = bytearray()
        self._status: asyncio.Future[int] | None = None

    @property
    def usable(self) -> bool:
        """Return whether it is open."""
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Note the status once the response is whole."""
        self._data += data
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._data[:end]).lower()
        length = head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
        if len(self._data) >= end + 4 + int(length or 0):
            self._data.clear()
            self._answered(int(head[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that no response comes any more."""
        self._answered(0)

    def close(self) -> None:
        """Close it."""
        if self._transport is not None:
            self._transport.close()

    async def exchange(self, request: bytes) -> int:
        """Send a request; return the status of its response, 0 without one."""
        assert self._transport is not None
        self._data.clear()
        self._status = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            async with asyncio.timeout(TIMEOUT):
                return await self._status
        except TimeoutError:
            self.close()
            return 0

    def _answered(self, status: int) -> None:
        if self._status is not None and not self._status.done():
            self._status.set_result(status)


class Callers:
    """Requests at `rate` a second for `seconds`, from `started` on."""

    def __init__(self, port: int, request: bytes, tokens: Iterator[str], rate: float, seconds: float) -> None:
        self._port = port
        self._before, _, self._after = request.partition(b"{token}")
        self._tokens = tokens
        self._rate = rate
        self._seconds = seconds
        self._number = itertools.count()
        self._started = 0.0
        self.statuses: Counter[int] = Counter()
        self.latencies: list[float] = []

    async def run(self, connections: int) -> dict[str, object]:
        """Make all requests; return the figures."""
        self._started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(connections):
                group.create_task(self._caller(f"127.0.1.{number + 1}"))
        return figures(self.statuses, self.latencies, time.perf_counter() - self._started)

    async def _caller(self, address: str) -> None:
        connection = Connection()
        while True:
            due = self._started + next(self._number) / self._rate
            now = time.perf_counter()
            if due >= self._started + self._seconds or now >= self._started + self._seconds:
                break
            if due > now:
                await asyncio.sleep(due - now)
            if not connection.usable:
                connection = await self._connected(address)
            status = await connection.exchange(self._before + next(self._tokens).encode() + self._after)
            self.latencies.append(time.perf_counter() - due)
            self.statuses[status] += 1
        connection.close()

    async def _connected(self, address: str) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, "127.0.0.1", self._port, local_addr=(address, 0))
        return connection


def figures(statuses: Counter[int], latencies: list[float], seconds: float) -> dict[str, object]:
    """Return what is printed."""
    ordered = sorted(latencies) or [0.0]

    def quantile(part: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(part * len(ordered)))] * 1000, 3)

    return {
        "sent": len(latencies),
        "seconds": round(seconds, 3),
        "rate": round(len(latencies) / seconds, 1),
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "p50": quantile(0.5),
        "p99": quantile(0.99),
        "max": quantile(1.0),
    }


def tokens_in(name: str) -> Iterator[str]:
    """Yield the tokens of a file again and again."""
    yield from itertools.cycle(Path(name).read_text().splitlines())


def main() -> None:
    """Run, and print the line."""
    port, request, tokens, rate, connections, seconds = sys.argv[1:]
    callers = Callers(int(port), Path(request).read_bytes(), tokens_in(tokens), float(rate), float(seconds))
    print(json.dumps(asyncio.run(callers.run(int(connections)))))


if __name__ == "__main__":
    main()
