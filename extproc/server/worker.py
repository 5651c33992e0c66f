"""One worker: a process that serves one address until it is told to stop. It knows no sibling.

It is told to stop by SIGTERM (or SIGINT): it says NOT_SERVING, goes on serving for `notice` seconds so that Envoy
hears it, then takes no new streams and gives the open ones `grace` seconds. A second signal cuts that short.

It says SERVING once the AWS credentials have been looked for and Bedrock has been asked for its models, whatever
came of it: without credentials, callers are told so in a proper answer. The built-in list stands in for the models,
and where AWS is slow to answer nobody waits longer than `FIRST_LISTING_SECONDS`.

Invariant: requests see whole versions of things (settings, catalogue, identity), swapped between two events, and the
event loop never waits for AWS or for a file.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import ssl
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import boto3
import click
import uvloop

from extproc import tokens
from extproc.bedrock.capabilities import BUILT_IN
from extproc.bedrock.catalogue import Catalogue
from extproc.bedrock.credentials import CredentialSource, NoCredentials
from extproc.bedrock.endpoints import EndpointError, Endpoints, resolve
from extproc.bedrock.listing import CatalogueKeeper, fetch
from extproc.bedrock.sigv4 import BearerToken, Credentials, Signer
from extproc.config import ConfigError, Settings
from extproc.envoy_config import Address
from extproc.exchange.exchange import Exchange
from extproc.exchange.gateway import Gateway
from extproc.server.errands import Errands
from extproc.server.reload import SettingsFile, follow
from extproc.server.trust import TrustError
from extproc.telemetry import log as log_setup
from extproc.tenancy.directory import Directory
from extproc.transport import listen as listening
from extproc.transport.auto import new_server
from extproc.transport.listen import ListenError, Tls
from extproc.transport.service import Options

log = logging.getLogger("extproc.server.worker")  # also where this is __main__

NOTICE_SECONDS = 1.5
"""Two of Envoy's health check intervals, and half a second: a worker that stops sooner is still sent requests."""

GRACE_SECONDS = 300.0

FIRST_LISTING_SECONDS = 5.0

ROOM_SECONDS = 10.0
"""By how much the time that Envoy is asked for exceeds the time that side calls may take."""

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Stopping:
    """How long a worker goes on when it is told to stop, in seconds."""

    notice: float = NOTICE_SECONDS
    grace: float = GRACE_SECONDS


@dataclass(frozen=True, slots=True)
class Signals:
    """What the process was sent so far."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)

    def received(self) -> None:
        """Note one more SIGTERM or SIGINT."""
        (self.hurry if self.stop.is_set() else self.stop).set()


def serve(
    config: Path,
    listen: str,
    *,
    stopping: Stopping | None = None,
    tls: Tls | None = None,
    level: str = "INFO",
    form: log_setup.Format = "text",
) -> None:
    """Serve on `listen` (`unix:/path` or `host:port`) what `config` (gateway.yaml) says; returns after SIGTERM.

    Takes over this process: its log, its signals, an event loop. Raises `ConfigError`, `EndpointError`,
    `ListenError` or `TrustError`.
    """
    log_setup.setup(level, form)
    file = SettingsFile(config)
    address = listening.parse(listen)
    session = boto3.Session()
    worker = Worker(file, resolve(file.settings.region, session), _listing(session))
    del session
    uvloop.run(worker.run(address, stopping or Stopping(), tls))


class Worker:
    """The parts of one worker, and their life."""

    def __init__(self, file: SettingsFile, endpoints: Endpoints, listing: Callable[[str], Catalogue]) -> None:
        settings = file.settings
        self._file = file
        self._endpoints = endpoints
        self._credentials = CredentialSource(endpoints.runtime, region=endpoints.region)
        self._keeper = CatalogueKeeper(
            endpoints.region, settings.catalogue.refresh_seconds, self.catalogue_changed, fetch=listing
        )
        self.gateway = Gateway(
            settings=settings,
            directory=Directory(settings),
            catalogue=self._keeper.current,
            capabilities=BUILT_IN.with_overrides(settings.capabilities),
            signer=Signer(endpoints.region, endpoints.runtime.authority),
            authority=endpoints.runtime.authority,
            identity=self._identity,
            detokenise=tokens.decode,
        )

    async def run(self, address: Address, stopping: Stopping, tls: Tls | None) -> None:
        """Serve until a signal, then drain. Raises `ListenError` or `TrustError`."""
        signals = _take_signals()
        async with AsyncExitStack() as cleanup:
            perform = await cleanup.enter_async_context(self._errands())
            changes = asyncio.create_task(follow(self._file, self.settings_changed))
            cleanup.callback(changes.cancel)
            # Before it listens: Envoy gives a worker that it can connect to requests, whatever its health says yet.
            await _first(self._get_ready(), signals.stop.wait())
            _tidy()
            settings = self._file.settings
            options = server_options(settings, tls)
            server = new_server(settings.transport, address, self.new_exchange, perform, options)
            bound = await server.start(address)
            cleanup.push_async_callback(server.stop, 0)
            if not signals.stop.is_set():
                server.serving = True
                log.info("serving on %s, %s", bound, self._describe())
                await signals.stop.wait()
            log.info("stopping, with %d streams open", server.streams)
            await _first(server.drain(stopping.notice, stopping.grace), signals.hurry.wait())
        log.info("stopped")

    def new_exchange(self) -> Exchange:
        """An exchange for the next HTTP request."""
        return Exchange(self.gateway, os.urandom(16).hex())

    def settings_changed(self, settings: Settings) -> None:
        """Put new settings in force for all events from now on."""
        directory, capabilities = Directory(settings), BUILT_IN.with_overrides(settings.capabilities)
        self.gateway.settings, self.gateway.directory, self.gateway.capabilities = settings, directory, capabilities

    def catalogue_changed(self, catalogue: Catalogue) -> None:
        """Put a new list of models in force; called from the keeper's thread."""
        self.gateway.catalogue = catalogue

    def _errands(self) -> Errands:
        return Errands(self._endpoints.runtime, deny=self._file.settings.media.deny)

    async def _get_ready(self) -> None:
        """Look for credentials and ask for the models, both for the first time."""
        await _in_thread(self._credentials.start)
        self._keeper.start()
        await _in_thread(lambda: self._keeper.attempted.wait(FIRST_LISTING_SECONDS))

    def _identity(self) -> Credentials | BearerToken | None:
        try:
            return self._credentials.current()
        except NoCredentials:
            return None

    def _describe(self) -> str:
        runtime, identity = self._endpoints.runtime, self._credentials.describe()
        return f"for {runtime} in {self._endpoints.region}, AWS credentials: {identity}"


def _tidy() -> None:
    """Look once at everything that was made so far, and never again.

    What boto3 leaves behind is freed, and the collector's rounds while calls are served are over what those made.
    """
    gc.collect()
    gc.freeze()


def _listing(session: boto3.Session) -> Callable[[str], Catalogue]:
    """How the models are listed: the first time by the session that found the endpoints, which is 10 MB and 50 ms less
    than with another. Then by new ones, which notice when AWS's settings have changed."""
    sessions = iter([session])
    return lambda region: fetch(region, next(sessions, None))


def server_options(settings: Settings, tls: Tls | None = None) -> Options:
    """What the transport is to expect of an Envoy that was configured from the same settings.

    Its buffer, and so its largest message, is 5/4 of the largest request; it grants side calls
    `Settings.longest_wait` and half a minute.
    """
    largest = max(settings.limits.request_bytes * 5 // 4, 4 * MIB)
    return Options(message_bytes=largest + MIB, longest_wait=settings.longest_wait + ROOM_SECONDS, tls=tls)


def _take_signals() -> Signals:
    signals = Signals()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.received)
    return signals


async def _first(*works: Awaitable[object]) -> None:
    """Wait until one of these is done, and cancel the others; raises what the one raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    for task in done:
        task.result()


async def _in_thread(work: Callable[[], object]) -> None:
    """Do `work` in a thread that holds up neither the loop nor, unlike a pool's, the end of the process."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def run() -> None:
        try:
            work()
        finally:
            with contextlib.suppress(RuntimeError):  # the loop has ended in the meantime
                loop.call_soon_threadsafe(done.set)

    threading.Thread(target=run, daemon=True).start()
    await done.wait()


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--config", type=click.Path(path_type=Path), required=True, help="gateway.yaml")
@click.option("--listen", required=True, help="unix:/path, or HOST:PORT")
@click.option("--notice", default=NOTICE_SECONDS, show_default=True, help="Seconds of NOT_SERVING before the end.")
@click.option("--grace", default=GRACE_SECONDS, show_default=True, help="Seconds that open streams then have.")
@click.option("--tls", type=(_FILE, _FILE), help="The server's certificate chain and its key, PEM.")
@click.option("--tls-client-ca", type=_FILE, help="PEM; clients must then have a certificate of one of these.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text")
def main(
    config: Path,
    listen: str,
    notice: float,
    grace: float,
    tls: tuple[Path, Path] | None,
    tls_client_ca: Path | None,
    log_level: str,
    log_format: log_setup.Format,
) -> None:
    """Run one worker; what `oai-extproc up` starts, once for each of `workers`."""
    try:
        files = _tls(listen, tls, tls_client_ca)
        serve(config, listen, stopping=Stopping(notice, grace), tls=files, level=log_level, form=log_format)
    except (ConfigError, EndpointError, ListenError, TrustError) as error:
        raise click.UsageError(str(error)) from error


def _tls(listen: str, pair: tuple[Path, Path] | None, client_ca: Path | None) -> Tls | None:
    """What the files hold; a usage error where TLS cannot be meant, or with them cannot be had."""
    if pair is None:
        if client_ca is not None:
            raise click.UsageError("--tls-client-ca says nothing without --tls")
        return None
    if listen.startswith("unix:"):
        raise click.UsageError(f"--tls is for HOST:PORT, and {listen} is a socket, to which Envoy talks in plain text")
    _check_files(*pair, client_ca)
    certificate, key = (path.read_bytes() for path in pair)
    return Tls(certificate, key, client_ca.read_bytes() if client_ca else None)


def _check_files(certificate: Path, key: Path, client_ca: Path | None) -> None:
    """A usage error for files that gRPC could not use: it says no more than that it cannot listen."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise click.UsageError(f"--tls: {certificate} and {key} are no PEM certificate and its key: {error}") from error
    if client_ca is None:
        return
    try:
        context.load_verify_locations(client_ca)
    except ssl.SSLError as error:
        raise click.UsageError(f"--tls-client-ca: {client_ca} has no PEM certificate: {error}") from error


if __name__ == "__main__":
    main()
