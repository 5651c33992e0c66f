"""The watch for stuck programs, workers and Envoy, and their replacement.

A program counts as stuck when its event loop does not respond to `misses` health checks in a row, each with a timeout
of `seconds`. One that is busy for a moment responds late, and the count starts again. A program that has not responded
to any since its start has `first_misses` health checks: a worker may wait for AWS.

A worker's event loop is asked for its health status; Envoy's is that of its main thread, which has the admin interface
and no calls (`envoy_health`).

Invariant: only a process that missed all the health checks itself is killed, and it is killed, because a loop that is
stuck does not handle SIGTERM. Calls on other workers go on.

Decision: docs/decisions.md, D76, D318.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from extproc.stack.supervisor import Report, Supervisor

Probe = Callable[[float], Awaitable[bool | None]]
"""Makes a health check; returns whether there was a response within so many seconds, `None` if it could not be made."""


@dataclass(frozen=True, slots=True)
class WatchLimits:
    """Limits beyond which a program is stuck."""

    seconds: float = 5.0
    """Timeout of a health check, and their interval: three take 15 s."""
    misses: int = 3
    first_misses: int = 24


@dataclass(slots=True)
class _Record:
    """A process, and its health checks so far."""

    pid: int | None = None
    has_responded: bool = False
    missed: int = 0


@dataclass(slots=True)
class Watch:
    """A watch on one program, `name`."""

    supervisor: Supervisor
    name: str
    probe: Probe
    report: Report
    limits: WatchLimits = field(default_factory=WatchLimits)
    _record: _Record = field(default_factory=_Record)

    async def run(self) -> None:
        """Watch, until cancelled."""
        while True:
            next_question = asyncio.create_task(asyncio.sleep(self.limits.seconds))
            pid = self.supervisor.pid(self.name)
            try:
                responded = await self.probe(self.limits.seconds)
                if responded is not None and pid is not None and pid == self.supervisor.pid(self.name):
                    self.note(pid, responded, self.supervisor.replace)
            except Exception as error:  # a bug here must not end the watch, nor the program
                self.report(f"{self.name}: its health could not be checked: {error!r}")
            await next_question

    def note(self, pid: int, responded: bool, replace: Callable[[str], None]) -> None:
        """Record whether `pid` responded; `replace` it where it is stuck."""
        if pid != self._record.pid:
            self._record = _Record(pid)
        record, limits = self._record, self.limits
        if responded:
            record.has_responded, record.missed = True, 0
            return
        record.missed += 1
        if record.missed >= (limits.misses if record.has_responded else limits.first_misses):
            self.report(
                f"{self.name}: stuck: process {pid} has not responded to {record.missed} health checks in a row, "
                f"each of {limits.seconds:g} s; killing it"
            )
            self._record = _Record()
            replace(self.name)
