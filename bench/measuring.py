"""Measure a workload on a stack once. The load generator runs; the CPU clocks are read at both ends of its window."""

import json
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from bench import native, processes
from bench.calls import Call, call
from bench.stacks import SERVICE, Stack
from bench.workloads import COLD_BODY, Workload


class LoadError(Exception):
    """The load generator ended before its time."""


class Times(msgspec.Struct, frozen=True):
    """Statistics of a number of durations, in milliseconds."""

    count: int
    p50: float
    p99: float
    max: float


class Sample(msgspec.Struct, frozen=True):
    """The result of a run. The CPU time is divided by the counts of the window; the rest is of the whole run."""

    stack: str
    workload: str
    round: int
    seconds: float
    answered: int
    """Responses in the window."""
    frames: int
    """Frames of streams in the window."""
    cpu_us: dict[str, float]
    """By role, in the window; also of `upstream` and `load`."""
    memory: dict[str, processes.Memory]
    """By role, afterwards; `peak` is that of this run."""
    latency: Times
    first: Times
    """From the request to the first frame."""
    stall: Times
    """The longest pause within each stream."""
    errors: dict[str, int]
    complaint: str = ""
    """The beginning of the first bad response."""

    @property
    def units(self) -> int:
        """Return the number of units in the window: frames of a stream, else requests."""
        return self.frames or self.answered

    @property
    def failed(self) -> int:
        """Return the number of bad responses."""
        return sum(self.errors.values())

    def cpu(self, *roles: str) -> float | None:
        """Return the µs per unit, of these roles or of the whole stack; None without any unit."""
        wanted = roles or tuple(role for role in self.cpu_us if role not in ("upstream", "load"))
        if not self.units or any(role not in self.cpu_us for role in wanted):
            return None
        return sum(self.cpu_us[role] for role in wanted) / self.units


class Cold(msgspec.Struct, frozen=True):
    """A worker after its start: the time that this took, its memory, and the growth by a large body."""

    stack: str
    round: int
    start_seconds: float
    rss: float
    pss: float
    first: dict[str, float]
    """By role: by how many times the body the peak rose during the first one."""
    later: dict[str, float]
    """The same, during many of them, one after the other."""
    failed: int

    @property
    def copies(self) -> float:
        """Number of copies of the body that the service keeps for one request."""
        return self.first[SERVICE]


@dataclass(frozen=True, slots=True)
class Meter:
    """A runner of loads. `folder` is for requests; `upstream` is the upstream's pid, whose CPU time is measured too."""

    folder: Path
    upstream: int

    def measure(self, stack: Stack, workload: Workload, number: int) -> Sample:
        """Run a workload; `number` is the run's, among those of its kind."""
        request = call(workload, stack.api, stack.prefix)
        path = self.folder / "request"
        path.write_bytes(request.wire(stack.port, stack.token))
        roles = {role: processes.family(pid) for role, pid in stack.processes.items()}
        for pids in roles.values():
            processes.forget_peak(pids)
        with subprocess.Popen(_command(stack, workload, request, path), stdout=subprocess.PIPE) as load:
            clocks = {**roles, "upstream": [self.upstream], "load": [load.pid]}
            began, before = _event(load, "begin"), _read(clocks)
            ended, after = _event(load, "end"), _read(clocks)
            done = _event(load, "done")
        return Sample(
            stack=stack.name,
            workload=workload.name,
            round=number,
            seconds=ended["at"] - began["at"],
            answered=ended["answered"] - began["answered"],
            frames=ended["marks"] - began["marks"] if workload.streams else 0,
            cpu_us={role: (after[role] - before[role]) / 1000 for role in before},
            memory={role: processes.memory(pids) for role, pids in roles.items()},
            **_totals(done),
        )

    def cold(self, stack: Stack, number: int) -> Cold:
        """Measure the memory of a stack that has just been started, and its growth by a large body."""
        warm = Workload("warm-up", "chat", 1, warm_up=0, window=300)
        failed = self.measure(stack, warm, number).failed
        before = {role: processes.memory(processes.family(pid)) for role, pid in stack.processes.items()}
        one = self.measure(stack, COLD_BODY, number)
        many = self.measure(stack, replace(COLD_BODY, window=2_000), number)

        def grown(sample: Sample) -> dict[str, float]:
            length = COLD_BODY.body_bytes / processes.MB
            return {role: (sample.memory[role].peak - held.rss) / length for role, held in before.items()}

        return Cold(
            stack=stack.name,
            round=number,
            start_seconds=stack.start_seconds or 0,
            rss=before[SERVICE].rss,
            pss=before[SERVICE].pss,
            first=grown(one),
            later=grown(many),
            failed=failed + one.failed + many.failed,
        )


def _read(clocks: dict[str, list[int]]) -> dict[str, int]:
    """Return the nanoseconds so far, by role."""
    return {role: processes.cpu_ns(pids) for role, pids in clocks.items()}


def _command(stack: Stack, workload: Workload, request: Call, path: Path) -> list[str]:
    """See `load.c`."""
    times = [workload.warm_up, workload.window, workload.ramp]
    arguments = [stack.port, path, workload.connections, *times, *request.marks, request.end, request.expected]
    return [str(native.program("load")), *map(str, arguments)]


def _event(load: "subprocess.Popen[bytes]", name: str) -> dict[str, Any]:
    """Return the next line of the load generator, which must be the one of this name."""
    assert load.stdout is not None
    line = load.stdout.readline()
    event: dict[str, Any] = json.loads(line) if line else {}
    if event.get("event") != name:
        raise LoadError(f"the load generator printed {line!r}, not {name!r}")
    return event


def _totals(done: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a `Sample` that are of the whole run."""
    times = {name: Times(**done[f"{name}_ms"]) for name in ("latency", "first", "stall")}
    return {**times, "errors": done["errors"], "complaint": done["complaint"]}
