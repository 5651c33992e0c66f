"""Figures of `make test-kubernetes`, and their place in docs/kubernetes.md.

The tests record; `python -m tests.kubernetes` writes the block when all of them have passed. A unit test compares the
block with `render`, so that the page cannot differ.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.kubernetes.load import KINDS, STREAM_SECONDS
from tests.kubernetes.page import DOCS

BEGIN, END = "<!-- `make test-kubernetes` writes this block -->\n", "<!-- the end of that block -->\n"

LOADS = {
    "delete": "`overlays/aws`: one of two pods is deleted",
    "restart": "`overlays/aws`: `kubectl rollout restart`, two pods",
    "scale": "`overlays/aws`: `kubectl scale`, from two pods to three and back",
    "config": "`overlays/aws`: the ConfigMap is changed",
    "tokens": "`overlays/aws`: callers' tokens are replaced in the Secret",
    "keys": "`overlays/aws`: AWS keys are replaced in the Secret",
    "restart-one": "`overlays/local`: `kubectl rollout restart`, one pod, two CPUs",
    "delete-only": "`overlays/local`: the only pod is deleted",
}
"""Actions while callers called; each lost no call."""

TIMES = {
    "config": "a change of the ConfigMap is in force in every pod",
    "tokens": "a change of the Secret's tokens is in force in every pod",
    "keys": "a change of the Secret's AWS keys is in force in every pod",
    "kill-worker": "the worker was killed (`SIGKILL`): calls are served again",
    "kill-envoy": "Envoy was killed: calls are served again",
    "stuck": "the worker is stuck (`SIGSTOP`): it has been replaced, and calls are served again",
}
"""Seconds from a change or a failure until its effect."""


@dataclass
class Figures:
    """Versions, counts of calls, and seconds."""

    versions: dict[str, str] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, int] = field(default_factory=dict)

    def complete(self) -> bool:
        """Return whether every row has been measured."""
        return self.calls.keys() == LOADS.keys() and self.seconds.keys() == TIMES.keys()

    def save(self, path: Path) -> None:
        """Write them to a file, for `read`."""
        path.write_text(json.dumps(vars(self)))

    def add(self, path: Path) -> None:
        """Add those of a file."""
        for name, values in json.loads(path.read_text()).items():
            getattr(self, name).update(values)


def render(figures: Figures) -> str:
    """Return the block."""
    versions = ", ".join(f"{name} {version}" for name, version in figures.versions.items())
    callers = (
        f"{KINDS['kept']} on kept connections, {KINDS['fresh']} on a new connection for each call, and "
        f"{KINDS['streams']} that read streams of {STREAM_SECONDS:g} s"
    )
    lines = [
        "## What was measured",
        "",
        f"Measured with {versions}.",
        "",
        f"| under load of {sum(KINDS.values())} callers | calls | lost |",
    ]
    lines += ["|---|---|---|"]
    lines += [f"| {text} | {figures.calls[name]:,} | 0 |" for name, text in LOADS.items()]
    lines += ["", f"The callers are {callers}.", "", "| | seconds |", "|---|---|"]
    lines += [f"| {text} | {figures.seconds[name]} |" for name, text in TIMES.items()]
    return "\n".join(lines) + "\n"


def block() -> str:
    """Return the contents of the page's block."""
    match = re.search(re.escape(BEGIN) + "(.*?)" + re.escape(END), DOCS.read_text(), re.DOTALL)
    assert match is not None, "docs/kubernetes.md has no block of figures"
    return match[1]


def parse(text: str) -> Figures:
    """Return the figures of a block; what is no figure is for `render` to compare."""
    rows = dict(re.findall(r"^\| (.*?) \| ([\d,]+) \|", text, re.MULTILINE))
    numbers = {name: int(value.replace(",", "")) for name, value in rows.items()}
    first = re.search(r"^Measured with (.*)\.\n", text, re.MULTILINE)
    versions = dict(part.rsplit(" ", 1) for part in first[1].split(", ")) if first else {}

    def of(table: dict[str, str]) -> dict[str, Any]:
        return {key: numbers[row] for key, row in table.items() if row in numbers}

    return Figures(versions, of(LOADS), of(TIMES))


def write(figures: Figures) -> None:
    """Replace the page's block."""
    before = block()
    DOCS.write_text(DOCS.read_text().replace(BEGIN + before + END, BEGIN + render(figures) + END))
