"""Runs the jobs of exchanges: translations by the `Translator`, calls and fetches by the `Performer`.

The performer is brought in with the first job there is for it.
Most workers never make a call of their own: Envoy carries chat, and embeddings of one text. aiohttp would cost each
of them a third of its start and 9 MB, so it is imported when an exchange first waits for a job, in a thread.

Invariant: a job comes to what `Performer` makes of it; the event loop never waits for an import; and whatever would
keep the performer from working (a CA bundle that cannot be read) is said at the start, not at the first job.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from ipaddress import ip_network
from types import TracebackType
from typing import TYPE_CHECKING

from extproc.bedrock.endpoints import Endpoint
from extproc.exchange.directives import Job
from extproc.exchange.jobs import TranslationJob
from extproc.worker.translator import Translator
from extproc.worker.trust import bedrock_trust

if TYPE_CHECKING:
    from extproc.worker.http_jobs import Performer


class Errands:
    """Performs jobs against `endpoint`. Use it as an async context manager, inside the loop that uses it.

    `deny` are networks (`203.0.113.0/24`) that no image is fetched from, beside those that never are.
    """

    def __init__(
        self, endpoint: Endpoint, environ: Mapping[str, str] = os.environ, *, deny: Sequence[str] = ()
    ) -> None:
        self._endpoint = endpoint
        self._environ = environ
        self._deny = deny
        self._performer: Performer | None = None
        self._translator = Translator(environ)
        self._opening = asyncio.Lock()
        self._open = AsyncExitStack()

    async def __aenter__(self) -> "Errands":
        """Raises `TrustError`."""
        bedrock_trust(self._environ)
        self._open.callback(self._translator.close)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()

    async def __call__(self, job: Job, seconds: float) -> object:
        """Do `job` within `seconds`; what it comes to and raises is the `Translator`'s or the `Performer`'s."""
        if isinstance(job, TranslationJob):
            return await self._translator(job, seconds)
        performer = self._performer or await self._bring_in()
        return await performer(job, seconds)

    async def _bring_in(self) -> "Performer":
        async with self._opening:
            if self._performer is None:
                performer = await asyncio.to_thread(self._performer_now)
                self._performer = await self._open.enter_async_context(performer)
        return self._performer

    def _performer_now(self) -> "Performer":
        from extproc.worker.http_jobs import Performer
        from extproc.worker.image_fetcher import Fetcher

        fetcher = Fetcher(self._environ, deny=[ip_network(text) for text in self._deny])
        return Performer(self._endpoint, self._environ, fetcher=fetcher)
