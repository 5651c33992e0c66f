"""The kernel's figures of a process and its children: CPU time in ns, and memory.

CPU time comes from the clock of the whole process (clock_getcpuclockid(3)): to the nanosecond, with the threads that
have ended, where /proc/PID/stat counts hundredths of a second.
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_SCHED = 2
"""CPUCLOCK_SCHED: running time, of all threads; the kernel packs it with the inverted pid into a clock's number."""

MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of some processes, in MB. `pss` counts a page that n processes share as 1/n of it."""

    rss: float
    pss: float
    peak: float
    """Peak RSS since `forget_peak`, the processes' own peaks added up."""


def family(pid: int) -> list[int]:
    """Return `pid` and all of its descendants."""
    children: dict[int, list[int]] = {}
    for folder in PROC.iterdir():
        with contextlib.suppress(ValueError, OSError):
            children.setdefault(_parent(folder), []).append(int(folder.name))
    return list(_below(pid, children))


def cpu_ns(pids: list[int]) -> int:
    """Return the CPU time of these processes so far; raise `OSError` if one of them has ended."""
    return sum(time.clock_gettime_ns((~pid << 3) | _SCHED) for pid in pids)


def memory(pids: list[int]) -> Memory:
    """Return the memory of these processes."""
    status = [_fields(PROC / str(pid) / "status") for pid in pids]
    rollup = [_fields(PROC / str(pid) / "smaps_rollup") for pid in pids]
    return Memory(_sum(status, "VmRSS"), _sum(rollup, "Pss"), _sum(status, "VmHWM"))


def forget_peak(pids: list[int]) -> None:
    """Reset the peaks to the current memory."""
    for member in pids:
        (PROC / str(member) / "clear_refs").write_text("5")


def _below(pid: int, children: dict[int, list[int]]) -> Iterator[int]:
    yield pid
    for child in children.get(pid, ()):
        yield from _below(child, children)


def _parent(folder: Path) -> int:
    """Return the fields after the command in brackets: the state and the parent. See proc_pid_stat(5)."""
    return int((folder / "stat").read_text().rpartition(")")[2].split()[1])


def _fields(path: Path) -> dict[str, int]:
    """Return the lines `Name:  123 kB`, in kB."""
    rows = (line.split() for line in path.read_text().splitlines())
    return {row[0].rstrip(":"): int(row[1]) for row in rows if len(row) == 3 and row[2] == "kB"}


def _sum(tables: list[dict[str, int]], name: str) -> float:
    return sum(table.get(name, 0) for table in tables) * 1024 / MB
