"""The health check of Envoy: what its admin interface responds, and signs of life where it does not respond in time.

The admin interface runs on Envoy's main thread. That is busy while it makes pages of `/metrics`, also such as nobody
waits for any more, and it takes no connection while Envoy has no open file left; calls go on meanwhile. A thread that
is stopped, or waits for ever, uses no CPU time.

Invariant: Envoy counts as stuck only if its main thread used no CPU time since the last check and it may open files.

Decision: docs/decisions.md, D318.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from extproc.stack.supervisor import Report
from extproc.stack.watch import Probe, WatchLimits

_PROC = Path("/proc")

_USER_TIME = 11
"""Place of `utime` in /proc/PID/stat behind the name of the program; `stime` is next (proc(5))."""


@dataclass(slots=True)
class EnvoyHealth:
    """A probe for `Watch`: a process that shows a sign of life counts as one that responded."""

    responds: Probe
    pid: Callable[[], int | None]
    report: Report
    proc: Path = _PROC
    _last: tuple[int, int] | None = None
    """The process, and the CPU time of its main thread at the last check."""
    _silent: int = 0
    """Checks in a row without a response, but with a sign of life."""

    async def __call__(self, seconds: float) -> bool | None:
        """Return whether Envoy responds within `seconds`, or shows a sign of life; `None` if it cannot be asked."""
        pid = self.pid()
        responded = await self.responds(seconds)
        sign = None if pid is None else self._sign(pid)
        if responded is not False or sign is None:
            self._silent = 0
            return responded
        self._silent += 1
        if self._silent == WatchLimits().misses:
            self.report(f"envoy: process {pid} has not responded to {self._silent} health checks, but {sign}: it stays")
        return True

    def _sign(self, pid: int) -> str | None:
        """Return what tells that the process lives, in words."""
        used = cpu_time(self.proc / str(pid))
        last, self._last = self._last, None if used is None else (pid, used)
        if used is not None and last is not None and last[0] == pid and last[1] != used:
            return "its main thread is busy"
        return None if may_open_files(self.proc / str(pid)) else "it has no open files left"


def cpu_time(process: Path) -> int | None:
    """Return the CPU time of a process' main thread, in the kernel's ticks; `None` where that is not known."""
    try:
        fields = (process / "task" / process.name / "stat").read_text().rpartition(") ")[2].split()
        return int(fields[_USER_TIME]) + int(fields[_USER_TIME + 1])
    except (OSError, ValueError, IndexError):
        return None


def may_open_files(process: Path) -> bool:
    """Return whether a process has fewer open files than it may have; true where that is not known."""
    try:
        lines = (process / "limits").read_text().splitlines()
        [most] = [int(line.split()[3]) for line in lines if line.startswith("Max open files")]
        return len(os.listdir(process / "fd")) < most
    except (OSError, ValueError):
        return True
