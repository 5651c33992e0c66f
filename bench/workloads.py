"""Workloads: the request, its rate, and the number of clients."""

from dataclasses import dataclass, replace
from typing import Literal

Operation = Literal["chat", "stream", "titan", "cohere", "models"]


@dataclass(frozen=True, slots=True)
class Workload:
    """A kind of load. Times are in milliseconds."""

    name: str
    operation: Operation
    connections: int
    body_bytes: int = 1_000
    """Of the client's request, as nearly as JSON allows; above `calls.LONGEST_TEXT` most of it is an image."""
    frames: int = 0
    every: int = 0
    """Between two frames of one stream; 0 is as fast as they are taken."""
    warm_up: int = 300
    window: int = 1_500
    ramp: int = 0

    @property
    def streams(self) -> bool:
        """Return whether frames are counted."""
        return self.frames > 0

    @property
    def large(self) -> bool:
        """Return whether an allocator keeps more memory after it than before."""
        return self.body_bytes >= 100_000


def _chat(connections: int) -> Workload:
    return Workload(f"chat-{connections}", "chat", connections)


def _paced(connections: int, frames: int, ramp: int) -> Workload:
    """At 50 frames a second each. A stream lasts `frames` / 50 seconds; the window holds whole ones of them all."""
    return Workload(
        f"paced-{connections}",
        "stream",
        connections,
        frames=frames,
        every=20,
        warm_up=ramp + 200,
        window=max(2_000, frames * 20),
        ramp=ramp,
    )


def _body(name: str, size: int) -> Workload:
    return Workload(f"body-{name}", "chat", 1, body_bytes=size, window=3_000 if size >= 1_000_000 else 1_000)


WORKLOADS = (
    *(_chat(connections) for connections in (1, 4, 32, 256)),
    _paced(1, 50, 20),
    _paced(20, 50, 1_000),
    _paced(200, 150, 2_000),
    _paced(1_000, 150, 3_000),
    Workload("burst-8", "stream", 8, frames=200),
    *(
        _body(name, size)
        for name, size in (("1KB", 1_000), ("10KB", 10_000), ("100KB", 100_000), ("1MB", 10**6), ("10MB", 10**7))
    ),
    Workload("titan-100", "titan", 1),
    Workload("cohere-100", "cohere", 4),
    Workload("models", "models", 4),
)
"""In the order in which the report has them."""

COLD_BODY = replace(_body("10MB", 10**7), warm_up=0, window=1)
"""What a fresh worker is sent to see how much memory a large body takes: one, since nothing is sent after a ms."""

_SMOKE = ("chat-4", "paced-20", "burst-8", "body-1MB", "cohere-100", "models")


def smoke() -> tuple[Workload, ...]:
    """A few of them, short: to see that the benchmark works, not to measure."""
    chosen = [workload for workload in WORKLOADS if workload.name in _SMOKE]
    return tuple(replace(each, warm_up=100, window=300, ramp=100, frames=min(each.frames, 20)) for each in chosen)


def named(names: tuple[str, ...]) -> tuple[Workload, ...]:
    """Return the workloads with these names, or all; raise `ValueError` on an unknown name."""
    known = {workload.name: workload for workload in WORKLOADS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"no workload {', '.join(unknown)}; there are {', '.join(known)}")
    return tuple(known[name] for name in names) or WORKLOADS
