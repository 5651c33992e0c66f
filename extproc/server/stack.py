"""`up`: Envoy, the ext_proc workers and, where it is wanted, the local Bedrock, as one thing.

They start from the inside out (Bedrock, workers, Envoy), so that nothing is asked of what is not there yet, and stop
from the outside in: Envoy takes no more and finishes what it has, then Envoy, the workers, the local Bedrock.

The invariant: when `run` returns or raises, nothing that it started is left, neither a process nor a file.
"""

import asyncio
import contextlib
import errno
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from extproc import envoy_config
from extproc.bedrock.endpoints import Endpoint
from extproc.config import Settings
from extproc.envoy_config import Address
from extproc.server.admin import Admin, answers_ok
from extproc.server.supervisor import Program, Say, Supervisor
from extproc.server.upstream import Aws, Local, local_environment

DRAIN_SECONDS = 30.0
"""How long calls in flight may take to finish before they are cut."""

READY_SECONDS = 60.0
"""How long everything together may take to become ready."""

LONGEST_SOCKET_PATH = 107
"""`sun_path` is 108 bytes on Linux, the last of them NUL."""

_POLL_SECONDS = 0.05
_LOCAL_READY = re.compile(r"\bbedrock_local listens on (?P<url>http://(?P<host>\S+):(?P<port>\d+))")


class StackError(Exception):
    """The gateway cannot be started on this machine as it is; the message has the remedy."""


@dataclass(frozen=True, slots=True)
class Options:
    """What `up` was asked for. `config` is the file that the workers read (and watch); `settings` is its content."""

    config: Path
    settings: Settings
    upstream: Aws | Local
    listen: Address
    local_listen: Address
    envoy: Path
    ca_file: str
    log_level: str = "info"
    access_log: bool = False


@dataclass(frozen=True, slots=True)
class Ready:
    """Everything serves: where, and where the local Bedrock is, if there is one."""

    listen: Address
    local_url: str | None


async def run(options: Options, say: Say, announce: Callable[[Ready], None]) -> None:
    """Start everything, call `announce`, and return once SIGINT, SIGTERM or SIGHUP came and all has ended.

    Raises `StackError`, or `ProgramError` when a program does not stay up. A second signal cuts it short.
    """
    with run_directory() as directory, reserved(options.listen) as listen:
        await _Stack(options, say, directory, listen).run(announce)


class _Stack:
    """One run. `_asked` is set by the first signal, `_hurried` by the second."""

    def __init__(self, options: Options, say: Say, directory: Path, listen: Address) -> None:
        self._options = options
        self._say = say
        self._directory = directory
        self._listen = listen
        self._admin = Admin(directory / "admin.sock")
        self._supervisor = Supervisor(say)
        self._asked = asyncio.Event()
        self._hurried = asyncio.Event()
        self._workers = [f"worker-{index}" for index in range(options.settings.workers)]

    async def run(self, announce: Callable[[Ready], None]) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal)
        try:
            started = asyncio.create_task(self._start())
            if await self._before_asked(started):
                announce(started.result())
                await self._before_asked(asyncio.create_task(asyncio.Event().wait()))
                await self._drain()
        finally:
            await self._stop()

    def _on_signal(self) -> None:
        if self._asked.is_set():
            self._hurried.set()
            self._supervisor.kill()
        self._asked.set()

    async def _before_asked(self, work: "asyncio.Task[Any]") -> bool:
        """Whether `work` was finished before we were asked to stop; a program's failure is raised."""
        asked = asyncio.create_task(self._asked.wait())
        failure = asyncio.create_task(self._supervisor.failure())
        await asyncio.wait({work, asked, failure}, return_when=asyncio.FIRST_COMPLETED)
        for task in (work, asked, failure):
            if not task.done():
                task.cancel()
        if failure.done() and not failure.cancelled():
            failure.result()
        if asked.done() and not work.done():
            return False
        work.result()
        return True
