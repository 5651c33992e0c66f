"""docs/reliability.md, rendered from the committed results in docs/reliability/: `python -m tests.chaos.page`.

`--take DIRECTORY` first takes over what the last runs left there (chaos.json, fuzz.json, properties.json, soak.json).

Decision: docs/decisions.md, D78.
"""

import argparse
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.chaos.callers import BROKEN, ERROR, ERROR_EVENT, NO_RESPONSE, WHOLE
from tests.chaos.soak import PROGRAMS, growth

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULTS = ROOT / "docs" / "reliability"
PAGE = ROOT / "docs" / "reliability.md"
NAMES = ("chaos.json", "fuzz.json", "properties.json", "soak.json")

SEES = {
    WHOLE: "the whole response",
    BROKEN: "a connection that breaks",
    NO_RESPONSE: "a connection that closes before the response",
    ERROR_EVENT: "an error event, no `[DONE]`",
    "left": "nothing: the caller is gone",
    "the others": "nothing: the flood is not answered",
}
PHASES = {
    "": "",
    "headers": "in the request's headers",
    "body": "in the request's body",
    "waiting": "before Bedrock's response",
    "streaming": "in Bedrock's response",
    "ending": "before its last bytes",
}

INTRODUCTION = (HERE / "reliability.md.in").read_text()
"""The head of the page."""

WORDS = (HERE / "words.md.in").read_text()
"""Meanings of the words in its tables."""

CHAOS = """
The results below are of the {form} form: {number} scenarios in {seconds} s, on {places}.
"""
SECTION = """
## {section}

| fault | when | call | the caller sees | how soon | what is lost |
|---|---|---|---|---|---|
"""
FUZZ = """
## Fuzzing

`make fuzz` with atheris, {minutes:.0f} minutes in all. Each target states its invariant in `fuzz/targets`. {about}

| target | executions | edges reached | inputs kept | findings |
|---|---|---|---|---|
"""
PROPERTIES = """
## Properties

`make properties` looks for counterexamples with Hypothesis: {properties} properties of tools' schemas and names, such
as that whatever goes out is within a family's limits, and that what comes back is valid against the client's schema.
{examples:,} examples of {seeds} seeds in {minutes:.0f} minutes, {failures} counterexamples.{about}
"""
SOAK = """
## Soak

`make soak`: {number:,} calls in {seconds} s on one worker ({kinds}); {unexpected} ended in another way than they must.

| median | second quarter | last quarter |
|---|---|---|
"""


def render(results: Path = RESULTS) -> str:
    """Return the page."""
    chaos, fuzz, properties, soak = (json.loads((results / name).read_text()) for name in NAMES)
    return "".join([INTRODUCTION, *_chaos(chaos), WORDS, *_fuzz(fuzz), _properties(properties), *_soak(soak)])


def _chaos(chaos: Mapping[str, Any]) -> Iterator[str]:
    rows = chaos["rows"]
    places = sorted({(row["transport"], row["workers"]) for row in rows})
    named = ", ".join(f"{transport} with {workers} worker{'s' * (workers > 1)}" for transport, workers in places)
    yield CHAOS.format(form=chaos["form"], number=len(rows), seconds=chaos["seconds"], places=named)
    for section in sorted({row["section"] for row in rows}):
        yield SECTION.format(section=section)
        for same in _groups([row for row in rows if row["section"] == section]):
            yield _line(same)


def _groups(rows: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Yield the rows of each scenario, on all gateways."""
    order = list(PHASES)
    keys = {(row["fault"], order.index(row["phase"]), row["call"]) for row in rows}
    for fault, phase, call in sorted(keys):
        yield [row for row in rows if (row["fault"], order.index(row["phase"]), row["call"]) == (fault, phase, call)]


def _line(same: Sequence[Mapping[str, Any]]) -> str:
    first = same[0]
    sees = " or ".join(_unique(_outcome(row) for row in same))
    lost = "; ".join(_unique(_lost(row) for row in same))
    notes = "; ".join(_unique(row["note"] for row in same if row["note"]))
    fault = f"{first['fault']} ({notes})" if notes else first["fault"]
    seconds = _time(max(row["seconds"] for row in same))
    return f"| {fault} | {PHASES[first['phase']]} | {first['call']} | {sees} | {seconds} | {lost} |\n"


def _outcome(row: Mapping[str, Any]) -> str:
    if row["sees"] == ERROR:
        return f"{row['status']} `{row['code']}`"
    return SEES[row["sees"]] + (f" `{row['code']}`" if row["sees"] == ERROR_EVENT else "")


def _lost(row: Mapping[str, Any]) -> str:
    """Describe what was lost; a rejected flood loses nothing."""
    beside = f"{row['neighbours_lost']} of {row['neighbours']} calls beside it" if row["neighbours_lost"] else ""
    own = "the call" if row["sees"] in (ERROR, ERROR_EVENT, BROKEN, NO_RESPONSE) else ""
    return " and ".join(part for part in (own, beside) if part) or "nothing"


def _time(seconds: float) -> str:
    return "at once" if seconds < 0.1 else f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _fuzz(fuzz: Mapping[str, Any]) -> Iterator[str]:
    outcomes = fuzz["targets"]
    yield FUZZ.format(minutes=sum(one["seconds"] for one in outcomes) / 60, about=fuzz["about"])
    for one in outcomes:
        figures = (f"{one[name]:,}" for name in ("executions", "edges", "corpus", "findings"))
        yield f"| {one['target']} | {' | '.join(figures)} |\n"


def _properties(found: Mapping[str, Any]) -> str:
    about = f" {found['about']}" if found["about"] else ""
    return PROPERTIES.format(**{**found, "about": about}, minutes=found["seconds"] / 60)


def _soak(soak: Mapping[str, Any]) -> Iterator[str]:
    kinds = ", ".join(f"{kind}: {number}" for kind, number in soak["calls"].items())
    number, unexpected = sum(soak["calls"].values()), len(soak["unexpected"])
    yield SOAK.format(number=number, seconds=soak["seconds"], kinds=kinds, unexpected=unexpected)
    for description, (early, late) in growth(soak["samples"]).items():
        yield f"| {description} | {_figure(description, early)} | {_figure(description, late)} |\n"
    most = {name: max(one["memory"][name] for one in soak["samples"]) for name in PROGRAMS}
    yield f"\nThe most memory: {', '.join(f'{name} {size >> 20} MiB' for name, size in most.items())}.\n"


def _figure(description: str, value: float) -> str:
    if description.startswith("memory"):
        return f"{value / (1 << 20):.1f} MiB"
    return f"{value:.1f} ms" if description == "latency" else f"{value:.0f}"


def main() -> None:
    """Take over results, if any, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--take", type=Path)
    options = parser.parse_args()
    if options.take is not None:
        for name in NAMES:
            if (options.take / name).exists():
                shutil.copy(options.take / name, RESULTS / name)
    PAGE.write_text(render())


if __name__ == "__main__":
    main()
