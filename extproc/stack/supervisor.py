"""Keeps programs running, and stops them. It knows nothing of HTTP, of Envoy or of AWS.

There is one state machine per program, moved by what the process does and by what the owner calls:

| state    | event                                     | next                                            |
|----------|-------------------------------------------|-------------------------------------------------|
| starting | its `ready` line (or at once, without one) | running                                         |
| starting | exits, or cannot be started, the first time | given up: a mistake, which trying again repeats |
| starting | exits, on a later start                   | waiting                                         |
| starting | its command cannot be prepared, on a later start | waiting; that is no life, and counts as none |
| running  | exits                                     | waiting                                         |
| waiting  | the pause is over                         | starting                                        |
| waiting  | the last lives were all too short         | given up                                        |
| running  | `replace`: it is stuck                    | SIGKILL; its exit is then as above              |
| any      | `stop`                                    | stopping: SIGTERM, then SIGKILL; then stopped   |

The awkward case is a program that dies while it is being stopped: `stop` sets its mark first, so that its end counts
as the stop and nothing is started again.

The invariant: when `stop_all` has returned, no process of ours is left; and on Linux none outlives this one, however
it ends (each asks the kernel for SIGKILL at its parent's death).
"""

import asyncio
import contextlib
import ctypes
import os
import re
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_PR_SET_PDEATHSIG = 1
_CHUNK = 64 * 1024
_LONGEST_LINE = 1024 * 1024
_REMEMBERED_LINES = 20
_LAST_LINES_SECONDS = 1.0
"""Seconds to read on after a process has ended: what it wrote is there already."""

Report = Callable[[str], None]
"""Takes one line for the operator."""


class ProgramError(Exception):
    """A program does not stay up; the message has its name, how it ended and its last lines."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program to run. `command` is called at every start, so that a later one may differ from the first."""

    name: str
    command: Callable[[], Sequence[str]]
    environment: Mapping[str, str] | None = None
    """The whole environment; `None` hands on our own."""
    ready: re.Pattern[str] | None = None
    """The line that it prints once it serves; without one it is ready when it is started."""
    stdout: Callable[[bytes], None] | None = None
    """Takes its standard output as it is, in whole lines; without one it is relayed line by line, like its errors."""
    stop_seconds: float = 10.0
    """Seconds that it may take to end after SIGTERM."""
    umask: int = -1
    """The permissions that no file of its making has; -1 hands on our own."""


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """The pauses between restarts of a program, and the limit of its restarts. Times are in seconds."""

    first_pause: float = 0.05
    longest_pause: float = 5.0
    short_life: float = 10.0
    """A life that ends sooner counts against the program; a longer one clears its record."""
    short_lives: int = 6
    """Number of short lives in a row after which the program is given up."""

    def pause(self, short_lives: int) -> float:
        """Return the seconds to wait before the next start, after so many short lives in a row."""
        return float(min(self.longest_pause, self.first_pause * 2 ** max(0, short_lives - 1)))


@dataclass(slots=True, eq=False)
class _Child:
    """A program and the process that runs it at the moment."""

    program: Program
    ready: "asyncio.Future[re.Match[str] | None]"
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    process: asyncio.subprocess.Process | None = None
    task: "asyncio.Task[None] | None" = None
    prepared: bool = True
    """True if there was a command at the last start."""
    last_lines: deque[str] = field(default_factory=lambda: deque(maxlen=_REMEMBERED_LINES))


class Supervisor:
    """A supervisor of programs until each is stopped. Not thread-safe; to be used from one event loop."""

    def __init__(
        self, report: Report, on_failure: Callable[[ProgramError], None], policy: RestartPolicy | None = None
    ) -> None:
        """Call `on_failure` once for each program that was ready and does not stay up."""
        self._report = report
        self._on_failure = on_failure
        self._policy = policy or RestartPolicy()
        self._children: dict[str, _Child] = {}

    async def start(self, program: Program) -> "re.Match[str] | None":
        """Start `program` and wait until it is ready; return the match of its `ready` line.

        Raises `ProgramError` when it ends before that.
        """
        if program.name in self._children:
            raise ValueError(f"{program.name!r} runs already")
        child = _Child(program, _future())
        self._children[program.name] = child
        child.task = asyncio.create_task(self._supervise(child), name=f"supervise {program.name}")
        return await asyncio.shield(child.ready)

    def pid(self, name: str) -> int | None:
        """Return the process that runs `name` at the moment, if any."""
        child = self._children.get(name)
        process = child.process if child is not None else None
        return process.pid if process is not None and process.returncode is None else None

    def replace(self, name: str) -> None:
        """Send SIGKILL to the process that runs `name`; its program is started again, as after a crash."""
        child = self._children.get(name)
        if child is not None:
            _signal(child.process, signal.SIGKILL)

    async def stop(self, name: str) -> None:
        """Send SIGTERM, and SIGKILL when its `stop_seconds` are over; return when it has ended."""
        child = self._children.get(name)
        if child is None:
            return
        child.stopping.set()
        try:
            await self._end(child)
        finally:
            self._children.pop(name, None)

    async def stop_all(self) -> None:
        """Stop what still runs, in the reverse order of its starting."""
        for name in reversed(list(self._children)):
            await self.stop(name)

    def kill(self) -> None:
        """Send SIGKILL to everything, now. `stop_all` is still to be awaited."""
        for child in self._children.values():
            child.stopping.set()
            _signal(child.process, signal.SIGKILL)

    async def _end(self, child: _Child) -> None:
        _signal(child.process, signal.SIGTERM)
        if child.task is None:
            return
        _, late = await asyncio.wait([child.task], timeout=child.program.stop_seconds)
        if late:
            self._report(f"{child.program.name}: did not stop within {child.program.stop_seconds:g} s, killed")
            _signal(child.process, signal.SIGKILL)
            await asyncio.wait([child.task])

    async def _supervise(self, child: _Child) -> None:
        """Run a program through its states: see the table above."""
        try:
            await self._run_until_stopped(child)
        except ProgramError as reason:
            if child.ready.done():
                self._on_failure(reason)
            else:
                child.ready.set_exception(reason)
        if not child.ready.done():
            child.ready.set_exception(ProgramError(f"{child.program.name} was stopped before it was ready"))

    async def _run_until_stopped(self, child: _Child) -> None:
        name, policy = child.program.name, self._policy
        clock = asyncio.get_running_loop().time
        short_lives = unprepared = 0
        while not child.stopping.is_set():
            started = clock()
            ending = await self._run_once(child)
            if child.stopping.is_set():
                return
            if not child.ready.done():
                raise ProgramError(_failure_text(child, f"{name} {ending} before it was ready"))
            if child.prepared:
                unprepared = 0
                short_lives = short_lives + 1 if clock() - started < policy.short_life else 0
            else:
                unprepared += 1
            if short_lives >= policy.short_lives:
                raise ProgramError(_failure_text(child, f"{name} {ending}, {short_lives} times in a row"))
            self._report(f"{name}: {ending}, starting it again")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(child.stopping.wait(), policy.pause(max(short_lives, unprepared)))

    async def _run_once(self, child: _Child) -> str:
        """Run a program from start to end; return how it ended, in words."""
        child.last_lines.clear()
        child.prepared = False
        try:
            command = child.program.command()
            child.prepared = True
            child.process = process = await _spawn(child.program, command)
        except OSError as error:
            return f"cannot be started: {error.filename or child.program.name}: {error.strerror}"
        if child.stopping.is_set():  # asked to stop while it was being started
            _signal(process, signal.SIGTERM)
        if child.program.ready is None and not child.ready.done():
            child.ready.set_result(None)
        assert process.stdout is not None
        assert process.stderr is not None
        take = child.program.stdout
        output = _pass_on(process.stdout, take) if take is not None else self._relay(child, process.stdout)
        relays = [asyncio.create_task(relay) for relay in (output, self._relay(child, process.stderr))]
        code = await process.wait()
        _, open_still = await asyncio.wait(relays, timeout=_LAST_LINES_SECONDS)
        for relay in open_still:  # another process holds the pipe
            relay.cancel()
        return _ending(code)

    async def _relay(self, child: _Child, stream: asyncio.StreamReader) -> None:
        async for line in _lines(stream):
            child.last_lines.append(line)
            pattern = child.program.ready
            match = pattern.search(line) if pattern is not None and not child.ready.done() else None
            if match is not None:
                child.ready.set_result(match)
            self._report(f"{child.program.name}: {line}")


def _future() -> "asyncio.Future[Any]":
    """Return a future whose exception need not be retrieved."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return future


async def _spawn(program: Program, command: Sequence[str]) -> asyncio.subprocess.Process:
    """Start a process in a session of its own: a Ctrl-C at the terminal reaches us alone, and we decide the order.

    Raises `OSError`.
    """
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=program.environment,
        umask=program.umask,
        start_new_session=True,
        preexec_fn=_bind_to_parent(os.getpid()) if sys.platform == "linux" else None,
    )


def _bind_to_parent(parent: int) -> Callable[[], None]:
    """Return the function that a child runs before it becomes its program: it binds its life to `parent`'s.

    Everything is loaded before the fork; between fork and exec there is no lock to wait for.
    """
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def bind() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we could ask
            os._exit(1)

    return bind


async def _pass_on(stream: asyncio.StreamReader, take: Callable[[bytes], None]) -> None:
    """Call `take` with whole lines; the last one is ended where its program did not."""
    rest = b""
    while chunk := await stream.read(_CHUNK):
        lines, newline, rest = (rest + chunk).rpartition(b"\n")
        if len(rest) > _LONGEST_LINE:
            lines, newline, rest = lines + newline + rest, b"\n", b""
        if newline:
            take(lines + newline)
    if rest:
        take(rest + b"\n")


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """Yield the lines of `stream`, without their ends; one that never ends is cut rather than kept."""
    rest = b""
    while chunk := await stream.read(_CHUNK):
        *whole, rest = (rest + chunk).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            whole, rest = [*whole, rest], b""
        for line in whole:
            yield line.decode(errors="replace").rstrip("\r")
    if rest:
        yield rest.decode(errors="replace")


def _signal(process: asyncio.subprocess.Process | None, number: signal.Signals) -> None:
    """Send a signal to a process that may be gone."""
    if process is not None and process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)


def _ending(code: int) -> str:
    """Return how a process ended, in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _failure_text(child: _Child, what: str) -> str:
    words = "\n".join(f"  {line}" for line in child.last_lines)
    return f"{what}; its last lines:\n{words}" if words else f"{what}, without output"
