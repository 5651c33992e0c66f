"""The results of a run of the benchmark, and the figures that the report takes from them."""

from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from bench.measuring import Cold, Sample
from bench.spread import ratios
from bench.stacks import INTERPRETED

Figure = Callable[[Sample], float | None]
"""One number of a sample; None where it has none."""

ByRound = dict[int, float]

BARE, FLOOR, GRPCIO, HTTP2, LITELLM = "bare", "floor", "grpcio", "http2", "litellm"
ORDER = (BARE, FLOOR, HTTP2, GRPCIO, INTERPRETED)


class Results(msgspec.Struct, frozen=True):
    """Of one run. `stacks` and `workloads` are in the report's order."""

    about: dict[str, str]
    """The machine, the versions, the date, and how the benchmark was called."""
    rounds: int
    stacks: list[str]
    workloads: list[str]
    samples: list[Sample]
    cold: list[Cold]

    def of(self, stack: str, workload: str) -> list[Sample]:
        """The samples of one pair, a round each."""
        return [each for each in self.samples if each.stack == stack and each.workload == workload]

    def by_round(self, stack: str, workload: str, figure: Figure) -> ByRound:
        """The figure of each round that has it."""
        figures = {sample.round: figure(sample) for sample in self.of(stack, workload)}
        return {number: value for number, value in figures.items() if value is not None}

    def ratio(self, stack: str, other: str, workload: str, figure: Figure) -> ByRound:
        """Return a stack's figure over another's, by round."""
        return ratios(self.by_round(stack, workload, figure), self.by_round(other, workload, figure))

    def failed(self, stacks: Iterable[str], workloads: Iterable[str]) -> int:
        """Return the number of bad responses."""
        wanted = [(stack, workload) for stack in stacks for workload in workloads]
        return sum(sample.failed for sample in self.samples if (sample.stack, sample.workload) in wanted)

    @property
    def gateway(self) -> str | None:
        """The transport that is the default on unix sockets, and so has to reach the targets."""
        return next((name for name in (HTTP2, GRPCIO) if name in self.stacks), None)


def whole(sample: Sample) -> float | None:
    """µs of the service and Envoy per unit."""
    return sample.cpu()


def service(sample: Sample) -> float | None:
    """µs of the service per unit."""
    return sample.cpu("service")


def envoy(sample: Sample) -> float | None:
    """µs of Envoy per unit."""
    return sample.cpu("envoy")


def per_second(sample: Sample) -> float | None:
    """Units in a second."""
    return sample.units / sample.seconds if sample.seconds else None


def p50(sample: Sample) -> float | None:
    """Return the median of the milliseconds from request to complete response."""
    return sample.latency.p50 if sample.latency.count else None


def p99(sample: Sample) -> float | None:
    """Return the 99th percentile of the milliseconds from request to complete response."""
    return sample.latency.p99 if sample.latency.count else None


def first(sample: Sample) -> float | None:
    """Milliseconds to the first frame, of half of the streams."""
    return sample.first.p50 if sample.first.count else None


def stall(sample: Sample) -> float | None:
    """Milliseconds of the longest pause of any stream."""
    return sample.stall.max if sample.stall.count else None


def peak(sample: Sample) -> float | None:
    """MB that the service held at most."""
    held = sample.memory.get("service")
    return held.peak if held else None


def read(path: Path) -> Results:
    """Read the file that `write` wrote."""
    return msgspec.json.decode(path.read_bytes(), type=Results)


def write(results: Results, path: Path) -> None:
    """As JSON, every sample of every round."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
