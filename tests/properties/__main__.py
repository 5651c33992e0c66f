"""Look for a counterexample to what tools' schemas promise, for as long as it may take: `python -m tests.properties`.

The files `FILES` run with Hypothesis' profile `search` (conftest.py), a seed after the other, in one process at a time;
the last seed begins before `--seconds` have passed. What they came to goes to .run/properties.json, and from there to
docs/reliability.md.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FILES = ("test_schema_fitting_properties.py", "test_tools_properties.py")
LONGEST = 3600
"""Seconds for one property."""
STATISTICS = re.compile(r"generate phase \(.*?\n    - (\d+) passing, (\d+) failing", re.DOTALL)
"""Examples of one property, as Hypothesis reports them."""


def run(seed: int) -> str:
    """Return pytest's report of one seed."""
    files = [str(HERE / name) for name in FILES]
    options = [f"--hypothesis-seed={seed}", "--hypothesis-show-statistics", "-q"]
    options += ["-o", f"timeout={LONGEST}", "-o", f"faulthandler_timeout={LONGEST}"]
    environment = {**os.environ, "HYPOTHESIS_PROFILE": "search"}
    command = [sys.executable, "-m", "pytest", *files, *options]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode > 1:
        sys.exit(f"pytest ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def figures(reports: Iterable[str]) -> dict[str, int]:
    """Return the most properties of a report, and the examples and failures of all of them."""
    outcomes = [[(int(passing), int(failing)) for passing, failing in STATISTICS.findall(one)] for one in reports]
    examples = sum(passing + failing for one in outcomes for passing, failing in one)
    failures = sum(failing > 0 for one in outcomes for _, failing in one)
    return {
        "properties": max(map(len, outcomes)),
        "seeds": len(outcomes),
        "examples": examples,
        "failures": failures,
    }


def write(path: Path, found: Mapping[str, Any]) -> None:
    """Write the figures of a run, without a word about it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"about": "", **found}, indent=1) + "\n")


def main() -> None:
    """Run seeds until the time is over, and exit with 1 if a property has a counterexample."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600.0)
    begun, reports = time.monotonic(), list[str]()
    end = begun + parser.parse_args().seconds
    for seed in count(1):
        reports.append(run(seed))
        print(reports[-1].splitlines()[-1], flush=True)
        if time.monotonic() >= end:
            break
    found = figures(reports)
    write(ROOT / ".run" / "properties.json", {**found, "seconds": round(time.monotonic() - begun)})
    sys.exit(found["failures"] > 0)


if __name__ == "__main__":
    main()
