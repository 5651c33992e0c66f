"""Targets, and whether a run meets them.

Each target is of the transport that is the default on unix sockets. One whose workload or stack was not run is not
judged, and one with bad responses is not met, whatever its figure.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench import results as of
from bench.results import BARE, FLOOR, GRPCIO, LITELLM, ByRound, Results
from bench.spread import Spread, differences, ratios, spread

LINEAR = 1.25
"""A byte of a 10 MB body may cost so much more than one of a 1 MB body: the difference is the caches' and the
allocator's; anything that is done once more for each doubling is above that. Of the worker: what Envoy does with a
large body, it does for the floor too."""


@dataclass(frozen=True, slots=True)
class Target:
    """A target: at most `limit` (`unit`), measured by `figure`, on these workloads and stacks."""

    text: str
    limit: float
    unit: str
    figure: Callable[[Results, str], ByRound]
    workloads: tuple[str, ...]
    other: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target's result. `measured` is None without a measurement; `failed` is the number of bad responses."""

    target: Target
    measured: Spread | None
    failed: int

    @property
    def met(self) -> bool | None:
        """By the median; None where nothing was measured."""
        if self.measured is None:
            return None
        return self.measured.median <= self.target.limit and not self.failed


def judge(results: Results) -> list[Verdict]:
    """Every target, in order."""
    gateway = results.gateway
    return list(_verdicts(results, gateway)) if gateway else []


def _verdicts(results: Results, gateway: str) -> Iterator[Verdict]:
    for target in TARGETS:
        stacks = [gateway, target.other] if target.other else [gateway]
        failed = results.failed(stacks, target.workloads)
        if not target.workloads:
            failed = sum(cold.failed for cold in results.cold if cold.stack == gateway)
        yield Verdict(target, spread(target.figure(results, gateway).values()), failed)


def _own(workload: str, figure: of.Figure, scale: float = 1) -> Callable[[Results, str], ByRound]:
    def find(results: Results, gateway: str) -> ByRound:
        return {at: value * scale for at, value in results.by_round(gateway, workload, figure).items()}

    return find


def _over(other: str, workload: str, figure: of.Figure) -> Callable[[Results, str], ByRound]:
    return lambda results, gateway: results.ratio(gateway, other, workload, figure)


def _added(workload: str, figure: of.Figure) -> Callable[[Results, str], ByRound]:
    def find(results: Results, gateway: str) -> ByRound:
        return differences(results.by_round(gateway, workload, figure), results.by_round(BARE, workload, figure))

    return find


def _over_grpcio(results: Results, gateway: str) -> ByRound:
    """Nothing while grpcio is the only transport: it would be compared with itself."""
    return {} if gateway == GRPCIO else results.ratio(gateway, GRPCIO, "chat-32", of.service)


def linearity(results: Results, stack: str, figure: of.Figure = of.service) -> ByRound:
    """Return the cost of a byte between 1 and 10 MB over one between 100 KB and 1 MB, in CPU time (the worker's)."""
    costs = {name: results.by_round(stack, f"body-{name}", figure) for name in ("100KB", "1MB", "10MB")}
    upper = differences(costs["10MB"], costs["1MB"])
    lower = differences(costs["1MB"], costs["100KB"])
    return {number: value / 10 for number, value in ratios(upper, lower).items()}  # 9 MB over 0.9 MB


def _copies(results: Results, gateway: str) -> ByRound:
    return {cold.round: cold.copies for cold in results.cold if cold.stack == gateway}


def _start(results: Results, gateway: str) -> ByRound:
    return {cold.round: cold.start_seconds for cold in results.cold if cold.stack == gateway}


def _rss(results: Results, gateway: str) -> ByRound:
    return {cold.round: cold.rss for cold in results.cold if cold.stack == gateway}


_BODIES = ("body-100KB", "body-1MB", "body-10MB")

_CHAT = ("chat-32",)
_THOUSAND = ("paced-1000",)

TARGETS = (
    Target("Python CPU per buffered request, 32 connections", 0.16, "ms", _own("chat-32", of.service, 1e-3), _CHAT),
    Target("the same, over the grpcio transport's", 1 / 6, "", _over_grpcio, _CHAT, GRPCIO),
    Target("whole CPU over bare Envoy's, 32 connections", 4.2, "", _over(BARE, "chat-32", of.whole), _CHAT, BARE),
    Target("whole CPU over the no-op floor's", 1.3, "", _over(FLOOR, "chat-32", of.whole), _CHAT, FLOOR),
    Target("added latency at one connection, p50", 0.9, "ms", _added("chat-1", of.p50), ("chat-1",), BARE),
    Target("Python CPU per streamed frame, 200 streams", 23, "µs", _own("paced-200", of.service), ("paced-200",)),
    Target("added time to first token, 20 streams, p50", 2, "ms", _added("paced-20", of.first), ("paced-20",), BARE),
    Target("1,000 paced streams: the longest stall", 250, "ms", _own("paced-1000", of.stall), _THOUSAND),
    Target("1,000 paced streams: memory of the worker", 250, "MB", _own("paced-1000", of.peak), _THOUSAND),
    Target("CPU per request over LiteLLM's proxy", 1 / 60, "", _over(LITELLM, "chat-32", of.whole), _CHAT, LITELLM),
    Target("Python CPU of a byte at 10 MB over one at 1 MB", LINEAR, "", linearity, _BODIES),
    Target("copies of a 10 MB body held", 2, "", _copies, ()),
    Target("start of a worker", 0.5, "s", _start, ()),
    Target("resident memory of a fresh worker", 60, "MB", _rss, ()),
)
