"""The results as Markdown, for people."""

from collections.abc import Callable, Iterable, Sequence

from bench import results as of
from bench.measuring import Sample
from bench.results import BARE, FLOOR, ByRound, Results
from bench.spread import Spread, spread
from bench.targets import Verdict, judge, linearity
from bench.workloads import WORKLOADS, Workload

Cell = Callable[[Results, str, str], str]
"""Of a stack and a workload."""

MISSING = "-"
WORDS = {True: "met", False: "**missed**", None: "not measured"}

STACKS = {
    "bare": "Envoy alone",
    "floor": "Envoy, no-op ext_proc (the floor)",
    "grpcio": "this gateway on grpcio",
    "http2": "this gateway on http2",
    "interpreted": "the same, not compiled",
    "litellm": "LiteLLM's proxy",
}

_OPENING = """# Benchmark

Written by `make bench`; every sample is in [results.json](results.json). All stacks ran side by side, before the same
upstream and the same load generator, in random order within each round. CPU times are the kernel's, of the process, per
request or frame; Envoy has one thread. Cells are **median** (lower to upper quartile; least) over {rounds}, and
ratios are made within a round. The load generator and the upstream share the machine's cores: compare CPU times, and
take throughput as relative.
"""

_AGAIN = """## Again

```sh
make bench                                           # all of it, on a quiet machine: about half an hour
make bench-peers                                     # with LiteLLM's proxy beside it
make bench ARGS="--workload chat-32 --rounds 3"      # some of it; the report goes to .run/bench/report
```

What the workloads are is in `bench/workloads.py`, how a figure comes about in `bench/measuring.py`, and what bare Envoy
and the floor are in `bench/bootstraps.py` and `bench/noop.py`.
"""


def markdown(results: Results, pictures: Sequence[str] = ()) -> str:
    """The whole report; `pictures` are file names beside it."""
    parts = [
        _OPENING.format(rounds=_rounds(results.rounds)),
        _table(("", ""), ([name, value] for name, value in results.about.items() if value)),
        _failures(results),
        f"## Targets\n\nOf `{results.gateway}`.\n\n{_targets(judge(results))}" if results.gateway else "",
        *(f"![{name.removesuffix('.svg').replace('-', ' ')}]({name})\n" for name in pictures),
        _section(results, "Requests", _requests, lambda each: not each.streams and not each.name.startswith("body")),
        _section(results, "Streams", _streams, lambda each: each.streams),
        _section(results, "Size of the body", _sizes, lambda each: each.name.startswith("body")),
        _linear(results),
        _cold(results),
        _section(results, "Upstream and load generator", _others, lambda each: each.name in _LOADED),
        _AGAIN,
    ]
    return "\n".join(part for part in parts if part)


def figure(measured: Spread | None, digits: int | None = None) -> str:
    """A cell: the median in bold, the quartiles and the least."""
    if measured is None:
        return MISSING
    median, lower, upper, least = (
        number(each, digits) for each in (measured.median, measured.lower, measured.upper, measured.min)
    )
    return f"**{median}**" if measured.count == 1 else f"**{median}** ({lower} to {upper}; {least})"


def number(value: float, digits: int | None = None) -> str:
    """With three significant digits, or so many behind the point."""
    if digits is None:
        digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 4
    return f"{value:,.{digits}f}"


def _rounds(count: int) -> str:
    return "one round" if count == 1 else f"{count} rounds"


def _targets(verdicts: list[Verdict]) -> str:
    rows = []
    for verdict in verdicts:
        unit = verdict.target.unit
        word = WORDS[verdict.met] + (f", {verdict.failed} errors" if verdict.failed else "")
        rows.append([verdict.target.text, f"{number(verdict.target.limit)} {unit}", figure(verdict.measured), word])
    return _table(("", "at most", "measured", ""), rows)


def _failures(results: Results) -> str:
    """Return the section on bad responses, the first of the report."""
    rows = []
    for sample in results.samples:
        if sample.failed:
            kinds = ", ".join(f"{count} {kind}" for kind, count in sample.errors.items() if count)
            errors = f"{kinds} (`{sample.complaint}`)"
            rows.append([sample.stack, sample.workload, str(sample.round), f"{sample.answered}", errors])
    if not rows:
        return "No response was wrong, incomplete or missing.\n"
    return "**Some responses were bad:**\n\n" + _table(("stack", "workload", "round", "responses", "errors"), rows)


def _section(results: Results, title: str, columns: dict[str, Cell], wanted: Callable[[Workload], bool]) -> str:
    """A row for each workload and stack."""
    rows = [
        [workload.name, stack, *(cell(results, stack, workload.name) for cell in columns.values())]
        for workload in WORKLOADS
        if wanted(workload)
        for stack in results.stacks
        if results.of(stack, workload.name)
    ]
    return f"## {title}\n\n{_table(('workload', 'stack', *columns), rows)}" if rows else ""


def _cell(wanted: of.Figure) -> Cell:
    return lambda results, stack, workload: figure(spread(results.by_round(stack, workload, wanted).values()))


def _ratio(other: str) -> Cell:
    def find(results: Results, stack: str, workload: str) -> str:
        return figure(spread(results.ratio(stack, other, workload, of.whole).values()), 2)

    return find


def _errors(results: Results, stack: str, workload: str) -> str:
    failed = results.failed([stack], [workload])
    return f"**{failed}**" if failed else "0"


def _per_core(wanted: of.Figure) -> Cell:
    """Return the cell with the number per second that one core would do."""

    def find(results: Results, stack: str, workload: str) -> str:
        costs: ByRound = results.by_round(stack, workload, wanted)
        return figure(spread(1e6 / cost for cost in costs.values() if cost))

    return find


def _first_p99(sample: Sample) -> float | None:
    return sample.first.p99 if sample.first.count else None


def _busy(role: str) -> of.Figure:
    """Per cent of one core."""
    return lambda sample: sample.cpu_us[role] / sample.seconds / 1e4 if sample.seconds else None


def _milliseconds(wanted: of.Figure) -> of.Figure:
    def find(sample: Sample) -> float | None:
        micros = wanted(sample)
        return None if micros is None else micros / 1000

    return find


_COST: dict[str, Cell] = {
    "service µs": _cell(of.service),
    "Envoy µs": _cell(of.envoy),
    "over bare": _ratio(BARE),
    "over floor": _ratio(FLOOR),
}
_requests: dict[str, Cell] = _COST | {
    "a second": _cell(of.per_second),
    "p50 ms": _cell(of.p50),
    "p99 ms": _cell(of.p99),
    "peak MB": _cell(of.peak),
    "errors": _errors,
}
_streams: dict[str, Cell] = _COST | {
    "frames a second": _cell(of.per_second),
    "frames a second per core of the service": _per_core(of.service),
    "first p50 ms": _cell(of.first),
    "first p99 ms": _cell(_first_p99),
    "longest stall ms": _cell(of.stall),
    "peak MB": _cell(of.peak),
    "errors": _errors,
}
_sizes: dict[str, Cell] = {
    "service ms": _cell(_milliseconds(of.service)),
    "Envoy ms": _cell(_milliseconds(of.envoy)),
    "over bare": _ratio(BARE),
    "p50 ms": _cell(of.p50),
    "peak MB": _cell(of.peak),
    "errors": _errors,
}
_LOADED = ("chat-32", "paced-200", "paced-1000", "burst-8")
_others: dict[str, Cell] = {
    "upstream, % of a core": _cell(_busy("upstream")),
    "load generator, % of a core": _cell(_busy("load")),
}


def _linear(results: Results) -> str:
    rows = [
        [stack, *(_linearity(results, stack, of_what) for of_what in (of.service, of.whole))]
        for stack in results.stacks
    ]
    if not any(whole for *_, whole in rows):
        return ""
    opening = "What a byte between 1 and 10 MB costs over one between 100 KB and 1 MB (1: linear):\n\n"
    head = ("stack", "service", "with Envoy")
    return opening + _table(head, ([stack, service or "-", whole] for stack, service, whole in rows if whole))


def _linearity(results: Results, stack: str, of_what: of.Figure) -> str:
    costs = spread(linearity(results, stack, of_what).values())
    return figure(costs) if costs else ""


_COPIES = ("copies, first body", "copies, many bodies", "in Envoy, first body", "in Envoy, many bodies")


def _cold(results: Results) -> str:
    """Of fresh workers."""
    rows = []
    for stack in dict.fromkeys(cold.stack for cold in results.cold):
        mine = [cold for cold in results.cold if cold.stack == stack]
        values: list[Iterable[float]] = [
            (cold.start_seconds for cold in mine),
            (cold.rss for cold in mine),
            (cold.pss for cold in mine),
            (cold.copies for cold in mine),
            (cold.later["service"] for cold in mine),
            (cold.first["envoy"] for cold in mine),
            (cold.later["envoy"] for cold in mine),
        ]
        failed = sum(cold.failed for cold in mine)
        rows.append([stack, *(figure(spread(value)) for value in values), f"**{failed}**" if failed else "0"])
    if not rows:
        return ""
    head = ("stack", "start s", "RSS MB", "PSS MB", *_COPIES, "errors")
    opening = (
        "## A fresh worker\n\nA copy is as much memory as the client's body is long, by the growth of the peak.\n\n"
    )
    return opening + _table(head, rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
