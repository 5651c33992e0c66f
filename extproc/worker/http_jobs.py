"""The runner of jobs over HTTP: calls to Bedrock's runtime endpoint beside Envoy's own, pooled and bounded.

The other kind of job, images that clients name by URL, is the `fetcher`'s, which trusts and reaches other hosts.

Invariant: the result of a `SideCalls` is every response in the order of the calls, each of them a 200, or else the
first failure; it is there within the job's seconds, and then none of its calls is in flight any more. A response is
read up to its call's `max_bytes`. Each call goes out byte for byte as it was signed: its path is never decoded and
encoded again, and no header is added but `host` and `content-length`. A failure names every call whose body has gone to
a connection and to which no error came back: Bedrock may bill it, also where nobody reads the response. So such a call
is not repeated.

Decisions: docs/decisions.md, D9, D317.
"""

import asyncio
import logging
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any

import aiohttp
import yarl
from aiohttp.abc import AbstractStreamWriter

from extproc.bedrock.endpoints import Endpoint
from extproc.exchange.jobs import (
    Fetch,
    FetchResult,
    SideCall,
    SideCalls,
    SideFailure,
    SideIdle,
    SideResponse,
    SideResponses,
    SideResult,
)
from extproc.proxy import Proxy, proxy_for
from extproc.worker.bounded_http import BoundedConnector, OverheadError
from extproc.worker.fair_slots import FairSlots, on_behalf_of
from extproc.worker.image_fetcher import Fetcher
from extproc.worker.loop_turns import BesideOthers, alone
from extproc.worker.trust import bedrock_trust

log = logging.getLogger(__name__)

TRIES = 3

_PROXY_ERRORS = (aiohttp.ClientHttpProxyError, aiohttp.ClientProxyConnectionError, aiohttp.ConnectionTimeoutError)

RETRIED = frozenset({429, 500, 503})
"""Throttled, failed, overloaded. Not 424: that is the model's own failure, and it would fail again.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html#API_runtime_InvokeModel_Errors
"""

CONNECT_SECONDS = 5.0
TUNNEL_SECONDS = 6.0
"""Timeout of a connection through a proxy: to the proxy, from there to Bedrock, and TLS."""

IDLE_SECONDS = 50.0
"""Idle time after which a pooled connection is closed: before AWS's side (60 seconds) does."""

CONNECTIONS = 256
"""Connections of one worker, all jobs together; further calls wait for one, fairly by organisation."""

AUTOMATIC = ("accept", "accept-encoding", "content-type", "user-agent")
"""Headers that aiohttp would add by itself."""


def jitter(attempt: int) -> float:
    """Return the seconds to wait before try `attempt` + 1 (`attempt` counts from 1): at random up to 0.4, 0.8, …

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/ ("full jitter")
    """
    return random.uniform(0, 0.2 * 2**attempt)


class _Destination:
    """An endpoint, and the proxy on the way to it, if there is one. Raises `ProxyError` for one that cannot be used."""

    __slots__ = ("endpoint", "proxy")

    def __init__(self, endpoint: Endpoint, environ: Mapping[str, str]) -> None:
        self.endpoint = endpoint
        self.proxy = proxy_for(str(endpoint), environ)


class HttpJobRunner:
    """A runner of jobs: side calls against one endpoint for each region, and fetches.

    Use it as an async context manager, inside the loop that uses it; `fetcher` is entered and left with it.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        environ: Mapping[str, str] = os.environ,
        backoff: Callable[[int], float] = jitter,
        fetcher: Fetcher | None = None,
        elsewhere: Mapping[str, Endpoint] | None = None,
        beside_others: BesideOthers = alone,
    ) -> None:
        """`elsewhere` are the endpoints of other regions. Raises `ProxyError` for a proxy that cannot be used."""
        self._destinations = {
            region: _Destination(each, environ) for region, each in {**(elsewhere or {}), "": endpoint}.items()
        }
        self._environ = environ
        self._backoff = backoff
        self._fetcher = fetcher or Fetcher(environ)
        self._slots = FairSlots(CONNECTIONS, beside_others)
        self._open = AsyncExitStack()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "HttpJobRunner":
        secure = any(to.endpoint.scheme == "https" for to in self._destinations.values())
        tls = bedrock_trust(self._environ) if secure else True
        await self._open.enter_async_context(self._fetcher)
        session = aiohttp.ClientSession(
            connector=BoundedConnector(limit=CONNECTIONS, keepalive_timeout=IDLE_SECONDS, ssl=tls),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=AUTOMATIC,
            auto_decompress=False,  # not asked for, and it would grow what is counted
        )
        self._session = await self._open.enter_async_context(session)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()

    async def __call__(self, job: SideCalls | Fetch, seconds: float) -> SideResult | FetchResult:
        """Run `job` within `seconds`."""
        match job:
            case SideCalls():
                with on_behalf_of(job.organisation):
                    return await self._calls(job, seconds)
            case Fetch():
                return await self._fetcher.fetch(job, seconds)

    async def _calls(self, job: SideCalls, seconds: float) -> SideResult:
        calls = [_TrackedCall(call) for call in job.calls]
        try:
            async with asyncio.timeout(seconds):
                return await self._all(job, calls)
        except TimeoutError:
            message = f"Bedrock did not respond within {seconds:g} seconds"
            return SideFailure(timed_out=True, message=message, begun=_begun(calls))

    async def _all(self, job: SideCalls, calls: "Sequence[_TrackedCall]") -> SideResult:
        """Send all the calls, `concurrency` of them at a time: so many lanes take call after call from one queue."""
        to = self._destinations[job.region]
        queue = iter(calls)
        failure: SideResponse | _Failure | None = None
        try:
            async with asyncio.TaskGroup() as lanes:
                for _ in range(min(job.concurrency, len(calls))):
                    lanes.create_task(self._lane(to, queue, job.idle_seconds))
        except* _FailedError as group:
            failure = _first(group)
        if failure is not None:
            return replace(failure, begun=_begun(calls))
        return SideResponses([call.response for call in calls if call.response is not None])

    async def _lane(self, to: _Destination, queue: "Iterator[_TrackedCall]", idle_seconds: float) -> None:
        for call in queue:
            call.response = await self._one(to, call, idle_seconds)

    async def _one(self, to: _Destination, call: "_TrackedCall", idle_seconds: float) -> SideResponse:
        """Return the call's response if it is a 200, after further tries if need be; else raises `_FailedError`."""
        for attempt in range(1, TRIES + 1):
            outcome = await self._try(to, call, idle_seconds)
            if isinstance(outcome, SideResponse) and outcome.status == 200:
                return outcome
            if attempt == TRIES or call.begun or not _is_temporary(outcome):
                break
            await asyncio.sleep(self._backoff(attempt))
        raise _FailedError(outcome)

    async def _try(self, to: _Destination, call: "_TrackedCall", idle_seconds: float) -> "SideResponse | _Failure":
        assert self._session is not None
        target, sent = to.endpoint, call.sent
        host = f"[{target.host}]" if ":" in target.host else target.host
        url = yarl.URL(f"{target.scheme}://{host}:{target.port}{sent.path}", encoded=True)
        headers = [*sent.headers, ("host", target.authority)]
        options = _connecting(to.proxy, idle_seconds)
        try:
            async with (
                self._slots.slot(),
                self._session.post(
                    url, data=_Body(call), headers=headers, allow_redirects=False, **options
                ) as response,
            ):
                call.begun = response.status == 200
                body = await _read(response, sent.max_bytes)
        except aiohttp.SocketTimeoutError:
            return SideIdle(idle_seconds)
        except OverheadError as error:
            log.warning("Bedrock's response was not read to its end: %s", error)
            raise _FailedError(SideFailure(timed_out=False, message=str(error), too_large=True)) from error
        except aiohttp.ClientError as error:
            if to.proxy and isinstance(error, _PROXY_ERRORS):
                log.warning("the proxy %s gave no connection to Bedrock: %s", to.proxy, error)
            return SideFailure(timed_out=False, message=f"Bedrock could not be reached: {error}")
        return SideResponse(response.status, {name.lower(): value for name, value in response.headers.items()}, body)


class _TrackedCall:
    """A call of a job, and what has become of it."""

    __slots__ = ("begun", "response", "sent")

    def __init__(self, sent: SideCall) -> None:
        self.sent = sent
        self.begun = False
        """Whether Bedrock may have begun, and bills it: its body has gone out, and no error has come back."""
        self.response: SideResponse | None = None


class _Body(aiohttp.BytesPayload):
    """The body of a call, which notes when it goes to a connection."""

    def __init__(self, call: _TrackedCall) -> None:
        super().__init__(call.sent.body)
        self._call = call

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write it all, with the headers before it; nothing goes to a connection that is closed."""
        self._call.begun = writer.transport is not None and not writer.transport.is_closing()
        await super().write_with_length(writer, content_length)


def _begun(calls: Sequence[_TrackedCall]) -> tuple[int, ...]:
    """Return the places of the calls that Bedrock may bill."""
    return tuple([place for place, call in enumerate(calls) if call.begun])


def _is_temporary(outcome: "SideResponse | _Failure") -> bool:
    """Return whether a call that nobody bills may succeed with another try."""
    return outcome.status in RETRIED if isinstance(outcome, SideResponse) else isinstance(outcome, SideFailure)


def _connecting(proxy: Proxy | None, idle_seconds: float) -> dict[str, Any]:
    """Return aiohttp's options of a call: its timeouts, and its proxy if there is one."""
    if proxy is None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=idle_seconds)
        return {"timeout": timeout}
    timeout = aiohttp.ClientTimeout(
        total=None, connect=TUNNEL_SECONDS, sock_connect=CONNECT_SECONDS, sock_read=idle_seconds
    )
    return {"timeout": timeout, "proxy": str(proxy), "proxy_headers": proxy.headers}


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """Return the body of a response; raises `_FailedError` before reading it if it is longer than allowed."""
    data = bytearray()
    if (response.content_length or 0) <= max_bytes:
        while len(data) <= max_bytes and (piece := await response.content.readany()):
            data += piece
        if len(data) <= max_bytes:
            return bytes(data)
    response.close()
    message = f"Bedrock sent more than {max_bytes} bytes"
    log.warning("%s; the response was not read to its end", message)
    raise _FailedError(SideFailure(timed_out=False, message=message, too_large=True))


_Failure = SideFailure | SideIdle


class _FailedError(Exception):
    """A call that failed for good; `args[0]` is the job's result."""


def _first(group: BaseExceptionGroup[_FailedError]) -> "SideResponse | _Failure":
    """Return the first failure; others came while its siblings were being cancelled."""
    error = group.exceptions[0]
    outcome = error.args[0]
    assert isinstance(outcome, SideResponse | SideFailure | SideIdle)
    return outcome
