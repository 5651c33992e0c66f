"""A client of Envoy's admin interface: gauges, health checks and listeners."""

import asyncio
from pathlib import Path

import aiohttp

_TIMEOUT = aiohttp.ClientTimeout(total=5)
_UNREACHABLE = (aiohttp.ClientError, OSError, asyncio.TimeoutError)


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

    async def gauge(self, name: str) -> int | None:
        """Return the value of one of Envoy's statistics; `None` if Envoy does not respond or has none of that name."""
        text = await self._ask("GET", f"/stats?filter=^{name.replace('.', '[.]')}$")
        _, colon, value = (text or "").strip().partition(f"{name}: ")
        return int(value) if colon and value.isdigit() else None

    async def fail_health_checks(self) -> bool:
        """Fail health checks with 503, and ask clients to leave with each response; return whether Envoy took it."""
        return await self._ask("POST", "/healthcheck/fail") is not None

    async def drain_listeners(self) -> bool:
        """Send GOAWAY to HTTP/2 clients, which ignore health checks; return whether Envoy took it.

        What comes meanwhile is served: ports stay open, and Envoy stays.
        """
        return await self._ask("POST", "/drain_listeners?graceful&skip_exit") is not None

    async def _ask(self, method: str, target: str) -> str | None:
        connector = aiohttp.UnixConnector(self._path)
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT) as session,
                session.request(method, f"http://envoy{target}") as response,
            ):
                return await response.text() if response.status == 200 else None
        except _UNREACHABLE:
            return None


async def returns_ok(url: str) -> bool:
    """Return whether a GET of `url` gives 200."""
    try:
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session, session.get(url) as response:
            return response.status == 200
    except _UNREACHABLE:
        return False
