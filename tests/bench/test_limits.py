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
    rows = re.findall(r"^(without limits|limits in \w+(?: Redis)?) +[\d.-]+", done.stdout, re.MULTILINE)
    stores = ["without limits", "limits in memory", "limits in SQLite"]
    if "no Redis is in PATH" not in done.stdout:
        stores.append("limits in a Redis")
    assert rows == stores * 2 + rows[:2]
    for words in ("running usage: ", "limits take "):
        assert words in done.stdout
