"""A worker: a process that serves one address until it is stopped. It knows no sibling.

SIGTERM (or SIGINT, or SIGHUP) stops it: it reports NOT_SERVING, goes on serving for `notice` seconds so that Envoy sees
that, then takes no new streams and gives the open ones `grace` seconds. A second signal cuts that short.

It reports SERVING once it has looked for AWS credentials and Bedrock has listed its models in each region, or that has
failed: without credentials, callers get an error that names them. The built-in list stands in for the models, and where
AWS is slow nothing waits longer than `FIRST_LISTING_SECONDS` for lists.

Invariant: requests see whole versions of things (settings, catalogue, identity), swapped between two events, and the
event loop never waits for AWS or for a file.

Decisions: docs/decisions.md, D16, D51, D213, D270.
"""

import asyncio
import gc
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import uvloop

from extproc import cl100k_base
from extproc.aws.catalogue_keeper import FIRST_LISTING_SECONDS, CatalogueKeeper
from extproc.aws.credentials import CredentialSource, NoCredentialsError
from extproc.aws.lookup import AwsLookups
from extproc.bedrock.capability_table import BUILT_IN
from extproc.bedrock.catalogue import Catalogue
from extproc.bedrock.credentials import BearerToken, Credentials
from extproc.bedrock.sigv4 import Signer
from extproc.build import compiled
from extproc.config import Settings
from extproc.config.prices import price_list
from extproc.exchange.admission import turn_of
from extproc.exchange.budget import MemoryBudget
from extproc.exchange.events import RequestHeaders
from extproc.exchange.exchange import Exchange
from extproc.exchange.gateway import Gateway
from extproc.exchange.loop_time import LoopTime
from extproc.machine.memory import budget_of, share_of, too_little
from extproc.machine.open_files import raise_limit
from extproc.net import Address
from extproc.proxy import proxy_for
from extproc.tenancy.directory import Directory
from extproc.transport import listen as listening
from extproc.transport.auto import TransportServer, new_server
from extproc.transport.listen import ListenError, Tls
from extproc.transport.service import RunJob, ServerOptions
from extproc.transport.turns import Turn
from extproc.worker import unmatched_patterns
from extproc.worker.aws_files import AwsFiles
from extproc.worker.budget_accounts import BudgetAccounts
from extproc.worker.concurrency import first, in_thread, run_beside
from extproc.worker.directories import Directories
from extproc.worker.job_runner import JobRunner
from extproc.worker.last_good import LastGood
from extproc.worker.limits_store import store_of
from extproc.worker.rate_counters import RateCounters, shared_file
from extproc.worker.regions import Regions
from extproc.worker.reload import SettingsFile, follow
from extproc.worker.roles import Roles
from extproc.worker.signals import take_signals
from extproc.worker.tls import TlsFiles, follow_tls
from extproc.worker.usage_queries import UsageQueries
from extproc.worker.usage_reader import UsageReader

log = logging.getLogger(__name__)

FIRST_CREDENTIALS_SECONDS = 15.0
"""Longest wait for AWS credentials at the start: a credential process may take its time, or never end."""

CHECK_SECONDS = 1.0
"""Interval at which a worker checks that its socket is still there."""

MARGIN_SECONDS = 10.0
"""Seconds by which the time that Envoy grants exceeds the time that side calls may take."""

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Stopping:
    """Seconds that a worker goes on when it is stopped."""

    notice: float
    grace: float


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """The options of one worker. `config` is gateway.yaml, `listen` is `unix:/path` or `host:port`."""

    config: Path
    listen: str
    stopping: Stopping
    tls: TlsFiles | None = None
    last_good: Path | None = None
    """File that keeps the last good settings for the next start."""
    health: str | None = None
    """A second address, a socket, for health checks of a worker that otherwise wants TLS."""
    envoy_memory: int | None = None
    """Envoy's memory limit in bytes, where Envoy does not share this process's."""
    mark_by_header: bool = False
    """True if Envoy's routes match headers and no metadata, so that a header has to mark signed requests."""
    patterns_told: bool = False
    """True if `up` has logged the patterns that match no model."""


def serve(options: ServeOptions, lookups: AwsLookups) -> None:
    """Serve until SIGTERM.

    Takes over this process: its signals, an event loop. Raises `ConfigError`, `EndpointError`, `ListenError`,
    `ProxyError` or `TrustError`.
    """
    files = raise_limit()  # Envoy's is taken to be the same
    file = SettingsFile(options.config, LastGood(options.last_good) if options.last_good else None)
    aws_files = AwsFiles(os.environ)  # before they are read
    lookups.set_region(file.settings.region, file.settings.regions)
    address = listening.parse(options.listen)
    health = listening.parse(options.health) if options.health else None
    budget = budget_of(file.settings, files, options.envoy_memory)
    worker = Worker(options, file, lookups, aws_files, budget)
    uvloop.run(worker.run(address, health))


class Worker:
    """The parts of one worker, and their life."""

    def __init__(
        self,
        options: ServeOptions,
        file: SettingsFile,
        lookups: AwsLookups,
        aws_files: AwsFiles,
        budget: MemoryBudget,
    ) -> None:
        """Create the parts. Raises `EndpointError`."""
        settings, listen = file.settings, options.listen
        self._options, self._file = options, file
        self._patterns_told = options.patterns_told
        self._store = store_of(settings, self._current_settings)
        self._counters = RateCounters(shared_file(settings, listen), listen, self._current_settings)
        self._accounts = BudgetAccounts(listen, self._current_settings)
        self._endpoints = endpoints = lookups.endpoints()
        self._credentials = CredentialSource(endpoints.runtime, lookups.identity, changed=aws_files.changed)
        self._directories = Directories(endpoints.region, lookups.table, self._identity, set(endpoints.elsewhere))
        refresh = settings.catalogue.refresh_seconds
        self._keeper = CatalogueKeeper(endpoints.region, refresh, self.catalogue_changed, fetch=lookups.catalogue)
        self._regions = Regions(endpoints.elsewhere, refresh, lookups.catalogue, self._places_changed)
        authorities = {region: endpoint.authority for region, endpoint in endpoints.elsewhere.items()}
        authorities[endpoints.region] = endpoints.runtime.authority
        self._roles = Roles(authorities, refresh, lookups.assume, lookups.models_as)
        self.gateway = self._new_gateway(settings, budget)
        if warning := too_little(settings.limits, budget):
            log.warning(warning)

    def _new_gateway(self, settings: Settings, budget: MemoryBudget) -> Gateway:
        runtime = self._endpoints.runtime
        return Gateway(
            settings=settings,
            directory=Directory(settings),
            catalogue=self._keeper.current,
            capabilities=BUILT_IN.with_overrides(settings.capabilities),
            prices=price_list(settings.prices),
            signer=Signer(self._endpoints.region, runtime.authority),
            authority=runtime.authority,
            identity=self._identity,
            detokenise=cl100k_base.decode,
            budget=budget,
            counters=self._store.rates if self._store else self._counters,
            accounts=self._store.accounts if self._store else self._accounts,
            remote=self._store,
            loop_time=LoopTime(time.perf_counter),
            mark_by_header=self._options.mark_by_header,
            places=self._regions.places(),
            role=self._roles.place,
        )

    async def run(self, address: Address, health: Address | None = None) -> None:
        """Serve until a signal, then drain. Raises `EndpointError`, `ListenError`, `ProxyError` or `TrustError`."""
        signals, stopping = take_signals(), self._options.stopping
        async with AsyncExitStack() as cleanup:
            cleanup.push_async_callback(self._directories.close)
            prepare = self._preparation(address)
            await prepare(self._file.settings)
            self.gateway.directory = self._directories.switch(self._file.settings)
            run_job = await cleanup.enter_async_context(self._job_runner())
            run_beside(cleanup, follow(self._file, self.settings_changed, prepare=prepare))
            self._start_parts(cleanup)
            # Before it listens: Envoy sends requests to a worker that it can connect to, before its first health check.
            await first(self._prepare(), signals.stop.wait())
            _freeze_heap()
            server, bound = await self._listen(address, run_job, cleanup)
            if health is not None:
                await self._serve_health(health, run_job, cleanup)
            self._follow_certificates(server, cleanup)
            if not signals.stop.is_set():
                server.serving = True
                log.info("serving on %s, %s", bound, self._describe())
                await first(_stay_reachable(server, bound), signals.stop.wait())
            log.info("stopping, with %d streams open", server.streams)
            await first(server.drain(stopping.notice, stopping.grace), signals.hurry.wait())
        log.info("stopped")

    def _start_parts(self, cleanup: AsyncExitStack) -> None:
        """Start what runs beside calls: the renewal of roles, the counters, the accounts, and the sums of usage."""
        self._roles.expect(self._file.settings, self._endpoints.region)
        run_beside(cleanup, self._roles.follow())
        cleanup.callback(self._counters.close)
        run_beside(cleanup, self._counters.run())
        cleanup.callback(self._accounts.close)
        run_beside(cleanup, self._accounts.run())
        if (reader := _usage_reader(self._file.settings)) is not None:
            threading.Thread(target=reader.run, daemon=True).start()
            cleanup.callback(reader.stop)
        if self._store is not None:
            self._store.start()
            cleanup.push_async_callback(self._store.close)

    async def _listen(
        self, address: Address, run_job: RunJob, cleanup: AsyncExitStack
    ) -> tuple[TransportServer, Address]:
        """Return the server for Envoy, which does not report SERVING yet, and its address."""
        settings, tls = self._file.settings, self._options.tls
        options = replace(server_options(settings, tls.current if tls else None), turn_of=self.turn_of)
        server = new_server(settings.transport, address, self.new_exchange, run_job, options)
        bound = await server.start(address)
        cleanup.push_async_callback(server.stop, 0)
        return server, bound

    def _follow_certificates(self, server: TransportServer, cleanup: AsyncExitStack) -> None:
        """Have the server use renewed certificates, if it uses any."""
        if (tls := self._options.tls) is not None:
            log.info("TLS: new connections get %s", tls.describe())
            run_beside(cleanup, follow_tls(tls, server.renew))

    def _preparation(self, address: Address) -> Callable[[Settings], Awaitable[None]]:
        """Return what checks and prepares settings before they come into force."""

        async def prepare(settings: Settings) -> None:
            check_forgery(settings, address, self._options.tls)
            await self._directories.prepare(settings)

        return prepare

    def _current_settings(self) -> Settings:
        """Return the settings in force."""
        return self.gateway.settings

    def new_exchange(self) -> Exchange:
        """Return an exchange for the next HTTP request."""
        return Exchange(self.gateway, os.urandom(16).hex())

    def turn_of(self, headers: RequestHeaders) -> Turn:
        """Return whose turn a request is, where many wait."""
        return turn_of(self.gateway.directory, headers, time.time())

    def settings_changed(self, settings: Settings) -> None:
        """Put new settings in force for all events from now on; their directory is prepared."""
        directory, capabilities = self._directories.switch(settings), BUILT_IN.with_overrides(settings.capabilities)
        self.gateway.settings, self.gateway.directory, self.gateway.capabilities = settings, directory, capabilities
        self.gateway.prices = price_list(settings.prices)
        self._roles.expect(settings, self._endpoints.region)
        self.gateway.budget.share = share_of(settings, self.gateway.budget.whole)

    def catalogue_changed(self, catalogue: Catalogue) -> None:
        """Put a new list of models in force; called from the keeper's thread."""
        self.gateway.catalogue = catalogue
        if not self._patterns_told:
            self._patterns_told = True
            unmatched_patterns.tell(self.gateway.settings, catalogue, self._endpoints.region)

    def _places_changed(self) -> None:
        """Put a new list of models of another region in force; called from the threads of the lists."""
        self.gateway.places = self._regions.places()

    async def _serve_health(self, address: Address, run_job: RunJob, cleanup: AsyncExitStack) -> None:
        """Serve on a socket as well, and report SERVING there for as long as the event loop runs."""
        beside = new_server("http2", address, self.new_exchange, run_job, server_options(self._file.settings))
        await beside.start(address)
        cleanup.push_async_callback(beside.stop, 0)
        beside.serving = True
        run_beside(cleanup, _stay_reachable(beside, address))

    def _job_runner(self) -> JobRunner:
        look_up = self._directories.look_up
        endpoints, deny = self._endpoints, self._file.settings.media.deny
        sums = self._file.settings.usage.sqlite
        return JobRunner(
            endpoints.runtime,
            look_up=look_up,
            deny=deny,
            elsewhere=endpoints.elsewhere,
            assume=self._roles,
            query=UsageQueries(Path(sums)) if sums is not None else None,
            admit=self._store,
            beside_others=self.gateway.budget.serves_others,
        )

    async def _prepare(self) -> None:
        """Look for credentials and list the models, both for the first time; go on without them after a while."""
        if self._store is not None:
            await self._store.attempted()
        looked_up = asyncio.Event()
        await first(in_thread(self._start_lookups, looked_up), asyncio.sleep(FIRST_CREDENTIALS_SECONDS))
        if not looked_up.is_set():
            log.warning("AWS credentials were not found in %g s: serving without them", FIRST_CREDENTIALS_SECONDS)
            return
        await in_thread(self._wait_for_lists)

    def _wait_for_lists(self) -> None:
        """Wait until the models of each region were listed once, or a list takes too long."""
        end = time.monotonic() + FIRST_LISTING_SECONDS
        for attempted in (self._keeper.attempted, *self._regions.attempted()):
            attempted.wait(max(0.0, end - time.monotonic()))

    def _start_lookups(self) -> None:
        """Look for credentials, and start listing the models when that is done: one process does both."""
        self._credentials.start()
        self._keeper.start()
        self._regions.start()

    def _identity(self) -> Credentials | BearerToken | None:
        try:
            return self._credentials.current()
        except NoCredentialsError:
            return None

    def _describe(self) -> str:
        runtime, identity = self._endpoints.runtime, self._credentials.describe()
        built = "compiled" if compiled() else "interpreted"
        proxy = proxy_for(str(runtime), os.environ)
        through = f" through the proxy {proxy}" if proxy else ""
        return f"for {runtime}{through} in {self._endpoints.region}, AWS credentials: {identity}; {built}"


async def _stay_reachable(server: TransportServer, address: Address) -> None:
    """Make the worker's socket anew whenever it was removed, as programs do that tidy up temporary files."""
    trouble = ""
    while True:
        await asyncio.sleep(CHECK_SECONDS)
        try:
            if await server.listen_again():
                log.warning("%s was removed: listening there again; no call was cut", address)
            trouble = ""
        except Exception as error:  # a bug, too, is no reason to end the calls that there are
            if str(error) != trouble:
                known = isinstance(error, ListenError | OSError)
                log.error("%s cannot be listened on again: %s", address, error, exc_info=not known)
            trouble = str(error)


def _freeze_heap() -> None:
    """Collect garbage once, and then leave out what was made so far.

    The collector's rounds while calls are served are then over what those made.
    """
    gc.collect()
    gc.freeze()


def check_forgery(settings: Settings, address: Address, tls: TlsFiles | None) -> None:
    """Check that signed tokens are accepted only where nobody but Envoy can connect; raises `ListenError`.

    Envoy verifies them and reports that to the worker; any other sender of messages could report it as well.
    """
    if settings.jwt and not address.path and (tls is None or tls.paths.client_ca is None):
        raise ListenError(
            f"jwt: anybody who connects to {address} could say that a token was verified: listen on a unix socket, or "
            "give --tls and --tls-client-ca, with which only Envoy can connect"
        )


def server_options(settings: Settings, tls: Tls | None = None) -> ServerOptions:
    """Return the transport's options for an Envoy that was configured from the same settings.

    Its buffer, and so its largest message, is 5/4 of the largest request; it grants side calls
    `Settings.longest_wait` and half a minute.
    """
    largest = max(settings.limits.body_bytes, 4 * MIB)
    return ServerOptions(message_bytes=largest + MIB, longest_wait=settings.longest_wait + MARGIN_SECONDS, tls=tls)


def _usage_reader(settings: Settings) -> UsageReader | None:
    """Return what sums up the ledger; None where the sums have no file."""
    usage = settings.usage
    if usage.ledger is None or usage.sqlite is None:
        return None
    return UsageReader(Path(usage.ledger), Path(usage.sqlite), usage.keep_days)
