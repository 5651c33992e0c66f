"""CPUs of this process, and the number of workers for them (`workers: auto`).

One worker keeps two threads of Envoy busy (a request takes about as much of the one as of the other), so there is one
worker for every two CPUs.

Decision: docs/decisions.md, D50.
"""

import math
import os
from pathlib import Path

from extproc.config import Settings

QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""The limit of a container: microseconds of CPU, or `max`, in a period of so many (cgroups version 2)."""


def worker_count(settings: Settings, cpus: int | None = None) -> int:
    """Return the number of workers that `settings` ask for; `auto` is for `cpus` (by default those of this process)."""
    if settings.workers != "auto":
        return settings.workers
    return min(64, max(1, (cpus or available_cpus()) // 2))


def available_cpus(quota: Path = QUOTA) -> int:
    """Return the CPUs that this process may run on, or its container's limit where that is less (rounded up)."""
    # macOS knows no affinity.
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        most, period = quota.read_text().split()
        return max(1, min(cpus, math.ceil(int(most) / int(period))))
    except (OSError, ValueError, ZeroDivisionError):  # no such limit
        return cpus
