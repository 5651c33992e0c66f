"""Taking Envoy out of service without failing a call, in the order that lost none when it was measured.

1. Health checks fail, and everything is served: whoever sends callers here has `notice` seconds to see it and to
   send them elsewhere.
2. Envoy asks those that are still connected to go, and serves what they send.
3. Once no call is in flight, it is over: Envoy may be ended, and the workers after it.

Envoy ends at once when it is told to, whatever it has in flight; so somebody has to do this before.

The invariant: "drained" is said, by returning or to whoever asks the announcer, only after Envoy itself has said
that none of its callers' requests is in flight.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from extproc.envoy_admin.client import Admin
from extproc.envoy_config import STAT_PREFIX
from extproc.net import Address
from extproc.transport import listen as listening
from extproc.transport.listen import ListenError

Report = Callable[[str], None]

ACTIVE = f"http.{STAT_PREFIX}.downstream_rq_active"

POLL_SECONDS = 0.05

LINGER_SECONDS = 5.0
"""How long the outcome stays to be asked for, where nobody has asked yet: who does may have begun a little later."""


class DrainError(Exception):
    """The drain is not complete; the message says what is left, or what is missing."""


@dataclass(frozen=True, slots=True)
class DrainTimeouts:
    """Seconds: for load balancers to notice, and then for the calls in flight."""

    notice: float
    calls: float


async def drain(admin: Admin, timeouts: DrainTimeouts, report: Report) -> None:
    """The whole of it; raises `DrainError`."""
    if await admin.gauge(ACTIVE) is None:
        if not await admin.present():
            raise DrainError(f"nobody listens at {admin}: is Envoy running, and was `envoy-config --admin` given this?")
        raise DrainError(
            f"no Envoy that serves this gateway answers at {admin}: its admin interface has no {ACTIVE}; "
            f"--admin must be what `envoy-config --admin` was given"
        )
    if not await admin.fail_health_checks():
        raise DrainError(f"Envoy at {admin} does not take the order to fail health checks")
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


async def until_idle(admin: Admin, tell: Callable[[int], None]) -> None:
    """Wait until none of the callers' requests is in flight; `tell` hears each new number of them.

    Raises `DrainError` when Envoy is gone.
    """
    told = 0
    while active := await _active(admin):
        if active > 0 and active != told:
            told = active
            tell(active)
        await asyncio.sleep(POLL_SECONDS)


async def _active(admin: Admin) -> int:
    """How many calls are in flight; -1 when Envoy is too busy to say."""
    active = await admin.gauge(ACTIVE)
    if active is None and not await admin.present():
        raise DrainError(f"Envoy at {admin} has ended while calls may have been in flight")
    return -1 if active is None else active


class Announcer:
    """Answers any HTTP request with the outcome, as soon as there is one."""

    def __init__(self) -> None:
        self._outcome: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        self._heard = asyncio.Event()

    @contextlib.asynccontextmanager
    async def at(self, address: Address) -> AsyncIterator[None]:
        """Listen on a socket, until the outcome was heard by whoever asked or nobody has come for it.

        Raises `ListenError`.
        """
        listening.clear_stale(address)
        app = web.Application()
        app.router.add_route("*", "/{any:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await runner.setup()
        try:
            await _listen(runner, address)
            yield
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LINGER_SECONDS):
                    await self._heard.wait()
        finally:
            if not self._outcome.done():
                self.settle(503, "not drained: whoever drained was interrupted")
            await runner.cleanup()
            listening.clear_stale(address)

    def settle(self, status: int, text: str) -> None:
        """Report how it ended."""
        self._outcome.set_result((status, text))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        status, text = await asyncio.shield(self._outcome)
        response = web.Response(status=status, text=text + "\n")
        await response.prepare(request)
        await response.write_eof()
        self._heard.set()
        return response


async def _listen(runner: web.AppRunner, address: Address) -> None:
    try:
        await web.UnixSite(runner, address.path).start()
        listening.share(address)
    except OSError as error:
        raise ListenError(
            f"{address}: {error.strerror or error}; --announce names a socket in a folder that can be written to"
        ) from error


async def drain_and_announce(admin: Admin, timeouts: DrainTimeouts, report: Report, announce: Address | None) -> None:
    """`drain`, whose outcome is also there for whoever asks at `announce`; raises `DrainError` or `ListenError`."""
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
