"""`up`: Envoy, the ext_proc workers and, where it is wanted, the local Bedrock, as one thing.

They start from the inside out (Bedrock, workers, Envoy), so that nothing gets a request before it is there, and stop
from the outside in: Envoy takes no more and finishes what it has, then Envoy, the workers, the local Bedrock.

The invariant: when `run` returns or raises, nothing that it started is left, neither a process nor a file.
"""

import asyncio
import contextlib
import errno
import os
import re
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from extproc import envoy_config
from extproc.bedrock.endpoints import Endpoint
from extproc.config import Settings
from extproc.config.capacity import envoy_memory
from extproc.envoy_admin.client import Admin, healthy
from extproc.envoy_admin.drain import DrainError, until_idle
from extproc.machine.cpus import worker_count
from extproc.machine.memory import budget_of
from extproc.net import Address
from extproc.proxy import Proxy
from extproc.stack.callers_tls import PublishedTls
from extproc.stack.envoy_health import EnvoyHealth
from extproc.stack.run_directory import Caretaker, RunDirectoryError, run_directory
from extproc.stack.supervisor import Program, ProgramError, Report, Supervisor
from extproc.stack.upstream import Aws, Local, bedrock_environment, envoy_environment, local_environment
from extproc.stack.watch import Probe, Watch
from extproc.telemetry.lines import to_stdout
from extproc.transport.listen import ListenError
from extproc.transport.probe import responds
from extproc.worker.tls import TlsFiles

DRAIN_SECONDS = 30.0
"""Seconds that calls in flight may take to finish before they are cut."""

READY_SECONDS = 60.0
"""Seconds that everything together may take to become ready."""

_POLL_SECONDS = 0.05
_LOCAL_READY = re.compile(r"\bbedrock_local listens on (?P<url>http://(?P<host>\S+):(?P<port>\d+))")


class StackError(Exception):
    """The gateway cannot be started on this machine as it is; the message has the remedy."""


@dataclass(frozen=True, slots=True)
class StackOptions:
    """The options of `up`. `config` is the file that the workers read (and watch); `settings` is its content."""

    config: Path
    settings: Settings
    upstream: Aws | Local
    listen: Address
    local_listen: Address
    envoy: Path
    ca_file: str
    log_level: str = "info"
    """The workers'; Envoy has one of its own, because its debug log contains every header and body."""
    envoy_log_level: str = "warning"
    access_log: bool = False
    health: Address | None = None
    """The address at which Envoy serves health and metrics, apart from callers."""
    files: int = envoy_config.DEFAULT_FILES
    """Files that Envoy may have open."""
    tls: TlsFiles | None = None
    """TLS towards callers."""
    proxy: Proxy | None = None
    """The proxy between Envoy and AWS, if there is one."""
    jwks_proxies: Mapping[str, Proxy] = field(default_factory=dict)
    """The proxy between Envoy and issuers' keys, by their origins."""


@dataclass(frozen=True, slots=True)
class StackAddresses:
    """Addresses of a stack that is ready; `local_url` is the local Bedrock's, if there is one."""

    listen: Address
    local_url: str | None
    health: Address | None


Render = Callable[[envoy_config.EnvoyPlan], Awaitable[str]]
"""Renders Envoy's configuration; what it raises ends the start."""


async def run(
    options: StackOptions, report: Report, announce: Callable[[StackAddresses], None], render: Render
) -> None:
    """Start everything, call `announce`, and return once SIGINT, SIGTERM or SIGHUP came and all has ended.

    Raises `StackError`, or `ProgramError` when a program does not stay up. A second signal cuts it short.
    """
    try:
        reserved_health = reserved_port(options.health) if options.health else contextlib.nullcontext()
        with run_directory() as directory, reserved_port(options.listen) as listen, reserved_health as health:
            await _Stack(options, report, directory, listen, health, render).run(announce)
    except RunDirectoryError as error:
        raise StackError(str(error)) from error


class _Stack:
    """A run of the stack. `_end` is settled by the first signal, or by a program that does not stay up."""

    def __init__(
        self,
        options: StackOptions,
        report: Report,
        directory: Path,
        listen: Address,
        health: Address | None,
        render: Render,
    ) -> None:
        self._health = health
        self._render = render
        self._options = options
        self._report = report
        self._directory = directory
        self._listen = listen
        self._caretaker = Caretaker(directory, report)
        self._admin = Admin(self._caretaker.admin)
        self._tls = PublishedTls(options.tls, self._caretaker, options.envoy) if options.tls else None
        self._tasks: list[asyncio.Task[None]] = []
        """Tasks that watch the programs and the folder while they run."""
        self._supervisor = Supervisor(report, self._on_failure)
        self._workers = [f"worker-{index}" for index in range(worker_count(options.settings))]
        self._end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._hurried = asyncio.Event()
        self._healthy = 0
        self._local_url: str | None = None

    async def run(self, announce: Callable[[StackAddresses], None]) -> None:
        """Start, stay, stop."""
        self._listen_to_signals()
        started = asyncio.create_task(self._start())
        try:
            either: set[asyncio.Future[Any]] = {started, self._end}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not self._end.done():
                announce(started.result())
                await asyncio.wait({self._end})
            if started.done() and self._end.exception() is None:
                await self._drain()
            self._end.result()
        finally:
            started.cancel()
            await asyncio.gather(started, return_exceptions=True)
            await self._stop()

    def _listen_to_signals(self) -> None:
        """Handle signals; one that a parent ignores (nohup, a shell's background job) stays ignored."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        if self._end.done():
            self._hurried.set()
            self._supervisor.kill()
        else:
            self._end.set_result(None)

    def _on_failure(self, error: ProgramError) -> None:
        if not self._end.done():
            self._end.set_exception(error)

    async def _start(self) -> StackAddresses:
        """Start everything, from the inside out; raises `ProgramError` when that takes too long."""
        self._tasks.append(asyncio.create_task(self._caretaker.run()))
        if not await ready_within(READY_SECONDS, self._start_programs(), self._is_healthy):
            raise ProgramError(
                f"not ready after {READY_SECONDS:g} s: {self._healthy} of {len(self._workers)} workers are healthy; "
                "the lines above have the reason"
            )
        self._caretaker.check()  # Envoy's admin socket is there now
        probes: dict[str, Probe] = {name: partial(responds, self._socket(name).path) for name in self._workers}
        probes["envoy"] = EnvoyHealth(self._admin.responds, partial(self._supervisor.pid, "envoy"), self._report)
        for name, probe in probes.items():
            watch = Watch(self._supervisor, name, probe, self._report)
            self._tasks.append(asyncio.create_task(watch.run()))
        return StackAddresses(self._listen, self._local_url, self._health)

    async def _start_programs(self) -> None:
        """Start the programs one after the other, and wait until they serve."""
        await self._start_tls()
        environment, endpoint, elsewhere, self._local_url = await self._start_upstream()
        for name in self._workers:
            await self._supervisor.start(self._worker(name, environment))
        await self._supervisor.start(self._envoy(await self._bootstrap(endpoint, elsewhere)))
        while True:
            if await self._is_healthy():
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def _start_tls(self) -> None:
        """Give Envoy the certificate, and follow it; raises `StackError` if Envoy cannot use it."""
        if self._tls is None:
            return
        try:
            await self._tls.start()
        except ListenError as error:
            raise StackError(str(error)) from error
        self._tasks.append(asyncio.create_task(self._tls.follow(self._report)))

    async def _start_upstream(self) -> tuple[dict[str, str], Endpoint, Mapping[str, Endpoint], str | None]:
        """Start the upstream.

        Return the workers' environment, the endpoint for Envoy, those of other regions, and the local Bedrock's URL.
        """
        upstream = self._options.upstream
        if isinstance(upstream, Aws):
            return _unbuffered(os.environ), upstream.endpoints.runtime, upstream.endpoints.elsewhere, None
        match = await self._supervisor.start(self._local(upstream))
        assert match is not None, "a program with a ready line is ready by its match"
        self._local_port = int(match["port"])
        environment = local_environment(os.environ, upstream, match["url"])
        endpoint = Endpoint("http", match["host"].strip("[]"), self._local_port)
        return _unbuffered(environment), endpoint, dict.fromkeys(upstream.elsewhere, endpoint), match["url"]

    def _local(self, local: Local) -> Program:
        """Return the local Bedrock's program. Where it was given any free port, it comes back on the one it had."""
        self._local_port = self._options.local_listen.port

        def command() -> list[str]:
            listen = Address(self._options.local_listen.host, self._local_port)
            regions = ["--region", local.region]
            for region in local.elsewhere:
                regions += ["--more-regions", region]
            return [sys.executable, "-P", "-m", "bedrock_local", "--listen", str(listen), *regions]

        return Program("local", command, _unbuffered(bedrock_environment(os.environ, local)), ready=_LOCAL_READY)

    def _worker(self, name: str, environment: dict[str, str]) -> Program:
        """Return a worker's program. Its end is not announced: Envoy's comes before, or it was not meant to end."""
        command = [sys.executable, "-P", "-m", "extproc.worker.command"]
        command += ["--config", str(self._options.config), "--listen", str(self._socket(name))]
        command += ["--last-good", str(self._directory / f"{name}.settings")]
        command += ["--log-level", self._options.log_level, "--notice", "0", "--grace", "2"]
        command.append("--patterns-told")  # by `up` itself, once for all of them
        return Program(name, lambda: command, environment)

    def _envoy(self, bootstrap: str) -> Program:
        """Return Envoy's program; its standard output is the access log, and goes to ours, read or not.

        What it makes is for this user alone: the ledger, also that after a rotation. The admin socket has its own mode.
        """
        command = ["--log-level", self._options.envoy_log_level, "--disable-hot-restart"]
        # Calls wait for the workers: more of Envoy's threads than twice their number would idle.
        command += ["--concurrency", str(min(os.cpu_count() or 1, 2 * len(self._workers)))]
        command += ["--drain-time-s", "5", "--drain-strategy", "immediate", "--file-flush-interval-msec", "500"]

        def with_configuration() -> list[str]:
            configuration = self._caretaker.write("envoy.yaml", bootstrap)
            if self._tls is not None:
                self._tls.restore()
            return [str(self._options.envoy), "-c", str(configuration), *command]

        through = self._options.proxy or next(iter(self._options.jwks_proxies.values()), None)
        environment = envoy_environment(os.environ, through)
        return Program("envoy", with_configuration, environment, stdout=to_stdout(), stop_seconds=5, umask=0o077)

    async def _bootstrap(self, endpoint: Endpoint, elsewhere: Mapping[str, Endpoint]) -> str:
        """Render Envoy's configuration; the workers start meanwhile."""
        plan = envoy_config.EnvoyPlan(
            listen=self._listen,
            processors=tuple(self._socket(name) for name in self._workers),
            bedrock=endpoint,
            settings=self._options.settings,
            ca_file=self._options.ca_file,
            admin=Address(path=str(self._caretaker.admin)),
            access_log=self._options.access_log,
            health=self._health,
            memory=self._envoy_memory(),
            files=self._options.files,
            callers_tls=self._tls.plan if self._tls else None,
            proxy=self._options.proxy,
            elsewhere=elsewhere,
            jwks_proxies=self._options.jwks_proxies,
        )
        return await self._render(plan)

    def _envoy_memory(self) -> int:
        """Return Envoy's part of the memory: the workers have the rest."""
        return envoy_memory(budget_of(self._options.settings, self._options.files).whole * len(self._workers))

    def _socket(self, worker: str) -> Address:
        return Address(path=str(self._directory / f"{worker}.sock"))

    async def _is_healthy(self) -> bool:
        """Return whether every worker is healthy by Envoy's count, and Envoy serves callers."""
        self._healthy = await self._admin.gauge(f"cluster.{envoy_config.PROCESSOR}.membership_healthy") or 0
        return self._healthy >= len(self._workers) and await self._serves()

    async def _serves(self) -> bool:
        """Return whether Envoy serves callers; behind TLS it may want a certificate, which we have none of."""
        if self._tls is not None:
            return await self._admin.ready()
        return await healthy(reachable(self._listen))

    async def _drain(self) -> None:
        """Let calls in flight finish, for `DRAIN_SECONDS` at most, or until a second signal."""
        if not (await self._admin.fail_health_checks() and await self._admin.drain_listeners()):
            return
        idle = asyncio.create_task(self._until_idle())
        hurry = asyncio.create_task(self._hurried.wait())
        await asyncio.wait({idle, hurry}, timeout=DRAIN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for task in (idle, hurry):
            task.cancel()
        await asyncio.gather(idle, hurry, return_exceptions=True)

    async def _until_idle(self) -> None:
        """Wait until no call is in flight, or Envoy has gone with those that were."""
        with contextlib.suppress(DrainError):
            await until_idle(
                self._admin,
                lambda active: self._report(f"waiting for calls in flight: {active} (Ctrl-C again cuts them)"),
            )

    async def _stop(self) -> None:
        """Stop everything, from the outside in."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._supervisor.stop("envoy")
        await asyncio.gather(*(self._supervisor.stop(name) for name in self._workers))
        await self._supervisor.stop_all()


async def ready_within(seconds: float, starting: Awaitable[object], is_ready: Callable[[], Awaitable[bool]]) -> bool:
    """Await `starting`; where that takes longer, return what a last look finds: this program may have stood still."""
    try:
        async with asyncio.timeout(seconds):
            await starting
    except TimeoutError:
        return await is_ready()
    return True


def _unbuffered(environment: Mapping[str, str]) -> dict[str, str]:
    """Have a Python program write its lines at once."""
    return {**environment, "PYTHONUNBUFFERED": "1"}


def reachable(listen: Address) -> Address:
    """Return an address that reaches, from this machine, a program that listens on every address."""
    anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    return Address(anywhere.get(listen.host, listen.host), listen.port)


@contextlib.contextmanager
def reserved_port(listen: Address) -> Iterator[Address]:
    """Hold the port while we run; return the address with the port that was found, where 0 was wanted.

    Envoy binds with SO_REUSEPORT, which would let it share the port of a stranger without an error. So a bind without
    it comes first; and then a socket that never listens keeps strangers off the port while Envoy restarts. Raises
    `StackError`.
    """
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as ours:
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((listen.host, listen.port))
                port: int = probe.getsockname()[1]
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            ours.bind((listen.host, port))
        except OSError as error:
            raise StackError(_unbindable(listen, error)) from error
        yield Address(listen.host, port)


def _unbindable(listen: Address, error: OSError) -> str:
    """Return what is wrong with the address; `make`, which sets MAKELEVEL, has a variable for the option."""
    choose = f"choose another with {'LISTEN=' if 'MAKELEVEL' in os.environ else '--listen '}HOST:PORT"
    if error.errno == errno.EADDRINUSE:
        return f"{listen} is taken by another program; {choose}"
    if error.errno == errno.EACCES:
        return f"{listen}: ports below 1024 are not for everybody; {choose}"
    return f"{listen} cannot be listened on: {error.strerror}; {choose}"
