"""A client of Envoy's admin interface: gauges, health checks and listeners.

Each request has a connection of its own, on which the standard library reads the response when it is complete: a
client library would be a third of what `up` imports.

Decision: docs/decisions.md, D275.
"""

import asyncio
import contextlib
import errno
import io
from collections.abc import Awaitable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, cast

from extproc.net import Address

_SECONDS = 5.0
_UNREACHABLE = (HTTPException, OSError, TimeoutError)

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Admin:
    """Envoy's admin interface on a unix socket."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def __str__(self) -> str:
        return f"unix:{self._path}"

    async def present(self) -> bool:
        """Return whether anything listens there."""
        try:
            _, writer = await asyncio.open_unix_connection(self._path)
        except OSError:
            return False
        writer.close()
        return True

    async def ready(self) -> bool:
        """Return whether Envoy has everything that its configuration names, and serves."""
        return await self._ask("GET", "/ready") is not None

    async def responds(self, seconds: float) -> bool | None:
        """Return whether Envoy's main thread responds within `seconds`, whatever it responds; `None` if nobody listens.

        While it is drained it responds with 503. The socket of an Envoy that serves may have been removed.
        """
        try:
            await _exchange(asyncio.open_unix_connection(self._path), "GET", "envoy", "/ready", seconds)
        except HTTPException:  # it closed the connection: it runs
            return True
        except TimeoutError:
            return False
        except OSError as error:
            return False if error.errno == errno.ENOTCONN else None  # the queue of its socket is full
        return True

    async def gauge(self, name: str) -> int | None:
        """Return the value of one of Envoy's statistics; `None` if Envoy does not respond or has none of that name."""
        text = await self._ask("GET", f"/stats?filter=^{name.replace('.', '[.]')}$")
        _, colon, value = (text or "").strip().partition(f"{name}: ")
        return int(value) if colon and value.isdigit() else None

    async def fail_health_checks(self) -> bool:
        """Fail health checks with 503, and ask clients to leave with each response; return whether Envoy did."""
        return await self._ask("POST", "/healthcheck/fail") is not None

    async def drain_listeners(self) -> bool:
        """Send GOAWAY to HTTP/2 clients, which ignore health checks; return whether Envoy accepted that.

        Requests that come meanwhile are served: the ports stay open, and Envoy goes on running.
        """
        return await self._ask("POST", "/drain_listeners?graceful&skip_exit") is not None

    async def _ask(self, method: str, target: str) -> str | None:
        try:
            status, text = await _exchange(asyncio.open_unix_connection(self._path), method, "envoy", target)
        except _UNREACHABLE:
            return None
        return text if status == 200 else None


async def healthy(address: Address) -> bool:
    """Return whether Envoy serves callers there, in plain text: a GET of /healthz gives 200."""
    try:
        connection = asyncio.open_connection(address.host, address.port)
        status, _ = await _exchange(connection, "GET", str(address), "/healthz")
    except _UNREACHABLE:
        return False
    return status == 200


async def _exchange(
    connecting: Awaitable[_Streams], method: str, host: str, target: str, seconds: float | None = None
) -> tuple[int, str]:
    """Make one request, on a connection for it alone; return the status and the body. Raises one of `_UNREACHABLE`."""
    async with asyncio.timeout(_SECONDS if seconds is None else seconds):
        reader, writer = await connecting
        try:
            head = f"{method} {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            writer.write(head.encode())
            data = await reader.read()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
    response = HTTPResponse(cast(Any, _Received(data)), method=method)
    response.begin()
    return response.status, response.read().decode()


class _Received:
    """The bytes of a response, in the form of the socket from which the standard library reads one."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: object) -> io.BytesIO:
        return io.BytesIO(self._data)
