"""The memory that this process may use: its container's limit, or a half of the machine's."""

import os
from collections.abc import Iterator
from pathlib import Path

from extproc.config import LimitSettings, Settings
from extproc.config.capacity import Memory, in_flight_bytes, organisation_bytes, stream_bytes
from extproc.exchange.budget import MemoryBudget
from extproc.machine.cpus import worker_count

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def memory_limit(root: Path = CGROUPS, own: Path = OWN_CGROUPS, machine: int | None = None) -> int:
    """Return the bytes that this process may use.

    The lowest limit of its control groups (version 2, or 1) and of those above them counts. Where none is below what
    the machine has, it is half of the machine's memory: other programs are there as well.
    """
    machine = machine or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [limit for file in _limit_files(root, own) if 0 < (limit := _number(file)) < machine]
    return min(limits, default=machine // 2)


def budget_of(settings: Settings, files: int, envoy_memory: int | None = None) -> MemoryBudget:
    """Return the budget of one worker, with an Envoy that may have so many open files.

    `envoy_memory` is Envoy's own limit; without one they share this process's.
    """
    workers = worker_count(settings)
    whole = in_flight_bytes(settings.limits, Memory(memory_limit(), envoy_memory), workers)
    return MemoryBudget(whole, share_of(settings, whole), stream_bytes(whole * workers, files))


def share_of(settings: Settings, whole: int) -> int:
    """Return how many of `whole` one organisation may have."""
    organisations = len(settings.organisations) if settings.directory is None else 2  # a table may have any number
    return organisation_bytes(settings.limits, whole, worker_count(settings), organisations)


def too_little(limits: LimitSettings, budget: MemoryBudget) -> str | None:
    """Return a line for the operator where the memory is less than the limits promise."""
    if budget.largest >= limits.body_bytes:
        return None
    return (
        f"there is memory for {budget.largest} bytes of requests at once: longer ones are answered with 413, although "
        f"limits.request_bytes is {limits.request_bytes}, and those without a content-length with 411. Give the "
        "gateway more memory, or lower limits.request_bytes or workers (docs/operations.md, Memory)"
    )


def _limit_files(root: Path, own: Path) -> Iterator[Path]:
    """Yield the files that may hold a limit: those of this process's groups, and of all above them."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    for line in ["0::/", "0:memory:/", *lines]:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        name, base = ("memory.limit_in_bytes", root / "memory") if controllers else ("memory.max", root)
        group = base / path.strip("/")
        while group != base.parent and base in (group, *group.parents):
            yield group / name
            group = group.parent


def _number(file: Path) -> int:
    """Return the number in `file`; 0 if there is none."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return 0
