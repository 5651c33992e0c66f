"""Runs the jobs of exchanges: translations by the `Translator`, calls and fetches by the `HttpJobRunner`.

Lookups of callers are run by whoever keeps the directory (`extproc.worker.directories`), queries of usage by
`extproc.worker.usage_queries`.

The `HttpJobRunner` is imported and opened with the first job for it. Most workers never make a call of their own: Envoy
carries chat, and embeddings of one text. aiohttp would cost each of them a third of its start and 9 MB, so it is
imported when an exchange first waits for a job, in a thread.

Invariant: a job has the result that `HttpJobRunner` returns; the event loop never waits for an import; and an error
that would keep the `HttpJobRunner` from working (a CA bundle that cannot be read, a proxy that is none) is raised at
the start, not at the first job.

Decision: docs/decisions.md, D25.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from ipaddress import ip_network
from types import TracebackType
from typing import TYPE_CHECKING

from extproc.bedrock.endpoints import Endpoint
from extproc.exchange.jobs import (
    Admission,
    Admit,
    Assume,
    Assumed,
    Job,
    JobResult,
    QueryUsage,
    TranslationJob,
    UsageFailure,
    UsageResult,
)
from extproc.proxy import proxy_for
from extproc.tenancy.store import Lookup, LookupResult, Unavailable
from extproc.worker.loop_turns import BesideOthers, alone
from extproc.worker.translator import Translator
from extproc.worker.trust import bedrock_trust

if TYPE_CHECKING:
    from extproc.worker.http_jobs import HttpJobRunner


LookUp = Callable[[Lookup, float], Awaitable[LookupResult]]
"""Looks up a caller within so many seconds."""


AssumeRole = Callable[[Assume, float], Awaitable[Assumed]]
"""Assumes a role within so many seconds."""


Query = Callable[[QueryUsage, float], Awaitable[UsageResult]]
"""Queries usage within so many seconds."""


async def _query_nothing(job: QueryUsage, seconds: float) -> UsageResult:
    """Fail: nothing is summed up."""
    return UsageFailure("broken")


AdmitRequest = Callable[[Admit, float], Awaitable[Admission]]
"""Admits a request in a store that takes a round trip."""


async def _admit_all(job: Admit, seconds: float) -> Admission:
    """Admit: nothing is counted far away."""
    return Admission()


async def _assume_nothing(job: Assume, seconds: float) -> Assumed:
    """Fail: nobody keeps roles."""
    return Assumed()


async def _look_up_nowhere(job: Lookup, seconds: float) -> LookupResult:
    """Fail: a directory in a file has nothing to look up."""
    return Unavailable()


class JobRunner:
    """A runner of jobs against `endpoint`. Use it as an async context manager, inside the loop that uses it.

    `deny` are networks (`203.0.113.0/24`) that no image is fetched from, beside those that never are. `elsewhere` are
    the endpoints of other regions. `beside_others` tells of an organisation whether others have requests in flight.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        environ: Mapping[str, str] = os.environ,
        *,
        look_up: LookUp | None = None,
        deny: Sequence[str] = (),
        elsewhere: Mapping[str, Endpoint] | None = None,
        assume: AssumeRole | None = None,
        query: Query | None = None,
        admit: AdmitRequest | None = None,
        beside_others: BesideOthers = alone,
    ) -> None:
        self._query = query or _query_nothing
        self._assume = assume or _assume_nothing
        self._admit = admit or _admit_all
        self._elsewhere = elsewhere or {}
        self._look_up = look_up or _look_up_nowhere
        self._endpoint = endpoint
        self._environ = environ
        self._deny = deny
        self._beside_others = beside_others
        self._http_runner: HttpJobRunner | None = None
        self._translator = Translator(environ)
        self._opening = asyncio.Lock()
        self._open = AsyncExitStack()

    async def __aenter__(self) -> "JobRunner":
        """Check the CA bundle and the proxy. Raises `TrustError` or `ProxyError`."""
        bedrock_trust(self._environ)
        for endpoint in (self._endpoint, *self._elsewhere.values()):
            proxy_for(str(endpoint), self._environ)
        self._open.callback(self._translator.close)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()

    async def __call__(self, job: Job, seconds: float) -> JobResult:
        """Run `job` within `seconds`; it returns and raises what the one who runs it does."""
        if isinstance(job, Admit):
            return await self._admit(job, seconds)
        if isinstance(job, TranslationJob):
            return await self._translator(job, seconds)
        if isinstance(job, Lookup):
            return await self._look_up(job, seconds)
        if isinstance(job, Assume):
            return await self._assume(job, seconds)
        if isinstance(job, QueryUsage):
            return await self._query(job, seconds)
        http_runner = self._http_runner or await self._open_http_runner()
        return await http_runner(job, seconds)

    async def _open_http_runner(self) -> "HttpJobRunner":
        async with self._opening:
            if self._http_runner is None:
                http_runner = await asyncio.to_thread(self._new_http_runner)
                self._http_runner = await self._open.enter_async_context(http_runner)
        return self._http_runner

    def _new_http_runner(self) -> "HttpJobRunner":
        from extproc.worker.http_jobs import HttpJobRunner
        from extproc.worker.image_fetcher import Fetcher

        deny, beside_others = [ip_network(text) for text in self._deny], self._beside_others
        fetcher = Fetcher(self._environ, deny=deny, beside_others=beside_others)
        return HttpJobRunner(
            self._endpoint, self._environ, fetcher=fetcher, elsewhere=self._elsewhere, beside_others=beside_others
        )
