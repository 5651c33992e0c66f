"""The benchmark of limits, in small."""

import re
import subprocess
import sys

import pytest


@pytest.mark.timeout(300)
def test_the_benchmark_runs_in_small() -> None:
    command = [sys.executable, "-m", "bench.limits", "--smoke", "--stack", "interpreted"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r"^(without limits|limits in memory|limits in SQLite) +[\d.-]+", done.stdout, re.MULTILINE)
    assert rows == ["without limits", "limits in memory", "limits in SQLite"] * 2 + rows[:2]
    for words in ("running usage: ", "limits take "):
        assert words in done.stdout
