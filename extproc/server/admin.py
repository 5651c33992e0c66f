"""What the stack asks of a running Envoy: whether it serves, what is in flight, and to take no more.

By its admin socket, and by `/healthz` of its listener. Answers that do not come are answers too: `None`.
"""

import asyncio
from pathlib import Path

import aiohttp

_TIMEOUT = aiohttp.ClientTimeout(total=5)
_UNREACHABLE = (aiohttp.ClientError, OSError, asyncio.TimeoutError)


class Admin:
    """Envoy's admin interface on a unix socket."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    async def gauge(self, name: str) -> int | None:
        """The value of one of Envoy's statistics; `None` when Envoy cannot be asked or has none of that name."""
        text = await self._ask("GET", f"/stats?filter=^{name.replace('.', '[.]')}$")
        _, colon, value = (text or "").strip().partition(f"{name}: ")
        return int(value) if colon and value.isdigit() else None

    async def drain(self) -> bool:
        """Fail health checks and ask clients to leave, while everything that comes is served; gives success."""
        failed = await self._ask("POST", "/healthcheck/fail")
        drained = await self._ask("POST", "/drain_listeners?graceful&skip_exit")
        return failed is not None and drained is not None

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


async def answers_ok(url: str) -> bool:
    """Whether a GET of `url` gives 200."""
    try:
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session, session.get(url) as response:
            return response.status == 200
    except _UNREACHABLE:
        return False
