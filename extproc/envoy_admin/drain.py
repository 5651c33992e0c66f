"""The drain: take Envoy out of service without failing a call, in the order that lost none when it was measured.

1. Health checks fail, and everything is served: load balancers have `notice` seconds to see it and to send callers
   elsewhere.
2. Envoy has connected callers close their connections, and serves the requests that they still send.
3. Once no call is in flight, it is over: Envoy may be ended, and the workers after it.

Envoy ends at once on SIGTERM, whatever it has in flight; so this has to be done before.

The invariant: "drained" is reported, by returning or by the announcer, only after Envoy itself has reported that none
of its callers' requests is in flight.

Decision: docs/decisions.md, D31.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from extproc.envoy_admin.client import Admin
from extproc.envoy_config import STAT_PREFIX
from extproc.net import Address
from extproc.transport import listen as listening
from extproc.transport.listen import ListenError

if TYPE_CHECKING:
    from aiohttp import web

Report = Callable[[str], None]

ACTIVE = f"http.{STAT_PREFIX}.downstream_rq_active"

POLL_SECONDS = 0.05

LINGER_SECONDS = 5.0
"""Seconds for which the outcome stays available if no client has requested it: one may start a little later."""


class DrainError(Exception):
    """The drain is not complete; the message names what is left, or what is missing."""


@dataclass(frozen=True, slots=True)
class DrainTimeouts:
    """Seconds: for load balancers to notice, and then for the calls in flight."""

    notice: float
    calls: float


async def drain(admin: Admin, timeouts: DrainTimeouts, report: Report) -> None:
    """Drain Envoy; raises `DrainError`."""
    if await admin.gauge(ACTIVE) is None:
        if not await admin.present():
            raise DrainError(f"nobody listens at {admin}: is Envoy running, and was `envoy-config --admin` given this?")
        raise DrainError(
            f"no Envoy that serves this gateway listens at {admin}: its admin interface has no {ACTIVE}; "
            f"--admin must be what `envoy-config --admin` was given"
        )
    if not await admin.fail_health_checks():
        raise DrainError(f"Envoy at {admin} rejected POST /healthcheck/fail")
    report(f"health checks fail; waiting {timeouts.notice:g} s for load balancers to notice")
    await asyncio.sleep(timeouts.notice)
    await admin.drain_listeners()
    try:
        async with asyncio.timeout(timeouts.calls):
            await until_idle(admin, lambda active: report(f"waiting for calls in flight: {active}"))
    except TimeoutError as error:
        left = await admin.gauge(ACTIVE)
        raise DrainError(f"calls still in flight after {timeouts.calls:g} s: {left}") from error
    report("drained")


async def until_idle(admin: Admin, report: Callable[[int], None]) -> None:
    """Wait until none of the callers' requests is in flight; call `report` with each new number of them.

    Raises `DrainError` when Envoy is gone.
    """
    last = 0
    while active := await _active(admin):
        if active > 0 and active != last:
            last = active
            report(active)
        await asyncio.sleep(POLL_SECONDS)


async def _active(admin: Admin) -> int:
    """Return the number of calls in flight; -1 when Envoy is too busy to respond."""
    active = await admin.gauge(ACTIVE)
    if active is None and not await admin.present():
        raise DrainError(f"Envoy at {admin} has ended while calls may have been in flight")
    return -1 if active is None else active


class Announcer:
    """A server that responds to any HTTP request with the outcome, as soon as there is one."""

    def __init__(self) -> None:
        self._outcome: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        self._delivered = asyncio.Event()

    @contextlib.asynccontextmanager
    async def at(self, address: Address) -> AsyncIterator[None]:
        """Listen on a socket, until a client got the outcome or none has come for it.

        Raises `ListenError`.
        """
        from aiohttp import web  # `up` drains without a server

        listening.clear_stale(address)
        app = web.Application()
        app.router.add_route("*", "/{any:.*}", self._respond)
        runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await runner.setup()
        try:
            await _listen(runner, address)
            yield
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LINGER_SECONDS):
                    await self._delivered.wait()
        finally:
            if not self._outcome.done():
                self.settle(503, "not drained: the drain was interrupted")
            await runner.cleanup()
            listening.clear_stale(address)

    def settle(self, status: int, text: str) -> None:
        """Set the outcome."""
        self._outcome.set_result((status, text))

    async def _respond(self, request: "web.Request") -> "web.StreamResponse":
        from aiohttp import web

        status, text = await asyncio.shield(self._outcome)
        response = web.Response(status=status, text=text + "\n")
        await response.prepare(request)
        await response.write_eof()
        self._delivered.set()
        return response


async def _listen(runner: "web.AppRunner", address: Address) -> None:
    from aiohttp import web

    try:
        await web.UnixSite(runner, address.path).start()
        listening.share(address)
    except OSError as error:
        raise ListenError(
            f"{address}: {error.strerror or error}; --announce names a socket in a folder that can be written to"
        ) from error


async def drain_and_announce(admin: Admin, timeouts: DrainTimeouts, report: Report, announce: Address | None) -> None:
    """Run `drain`, whose outcome is also served at `announce`; raises `DrainError` or `ListenError`."""
    if announce is None:
        await drain(admin, timeouts, report)
        return
    announcer = Announcer()
    async with announcer.at(announce):
        failure = await _failure(drain(admin, timeouts, report))
        announcer.settle(*((503, f"not drained: {failure}") if failure else (200, "drained")))
    if failure is not None:
        raise failure


async def _failure(work: Awaitable[None]) -> DrainError | None:
    try:
        await work
    except DrainError as error:
        return error
    return None
