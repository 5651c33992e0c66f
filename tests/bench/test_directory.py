"""The benchmark of the stores of tokens, in small; and its callers, against a server that always returns the same."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bench import native

Serve = Callable[..., int]

REQUEST = b"GET / HTTP/1.1\r\nauthorization: Bearer {token}\r\n\r\n"


def figures(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def call(port: int, folder: Path) -> dict[str, Any]:
    """Have callers with two tokens make 30 requests."""
    (folder / "request").write_bytes(REQUEST)
    (folder / "tokens").write_text("qc_a\nqc_b\n")
    numbers = (port, folder / "request", folder / "tokens", 100, 2, 0.3)
    return figures([sys.executable, "-m", "bench.callers", *map(str, numbers)])


def flood(port: int, folder: Path, connections: str) -> dict[str, Any]:
    """Try 30 random tokens from two addresses; `connections` are kept, or new for each."""
    (folder / "request").write_bytes(REQUEST)
    numbers = (port, folder / "request", 100, 2, 0.3, 2)
    return figures([str(native.program("flood")), *map(str, numbers), connections])


Attempt = Callable[[int, Path], dict[str, Any]]

TRIES = [call, partial(flood, connections="keep"), partial(flood, connections="new")]


@pytest.mark.parametrize("attempt", TRIES, ids=["callers", "a flood", "a flood of connections"])
def test_every_response_is_counted(
    attempt: Callable[[int, Path], dict[str, Any]], serve: Serve, tmp_path: Path
) -> None:
    denied = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n"
    done = attempt(serve(denied, b"no"), tmp_path)
    assert done["statuses"] == {"401": done["sent"]}
    assert 0 < done["sent"] <= 30, "and no more than are due"
    assert 0 < done["p50"] <= done["p99"] <= done["max"]


@pytest.mark.parametrize("attempt", TRIES, ids=["callers", "a flood", "a flood of connections"])
def test_broken_connections_are_counted(attempt: Attempt, serve: Serve, tmp_path: Path) -> None:
    done = attempt(serve(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", close=True), tmp_path)
    assert done["statuses"] == {"0": done["sent"]}
    assert done["sent"] > 0


@pytest.mark.timeout(300)
@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed: it fetches dynalite")
def test_the_benchmark_runs_in_small() -> None:
    command = [sys.executable, "-m", "bench.directory", "--smoke", "--stack", "interpreted"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    statuses = dict(re.findall(r"^(\S.*?) {2,}[\d.]+ +[\d.]+  (\d.*)$", done.stdout, re.MULTILINE))
    assert re.fullmatch(r"401: \d+, 429: \d+(, 503: \d+)?", statuses.pop("the flood itself"))
    assert len(statuses) == 6
    assert all(re.fullmatch(r"200: \d+", each) for each in statuses.values()), statuses
    for words in (
        "usual form",
        "a hit in the table's cache: ",
        "CPU of the worker for a list: ",
        "p99 beside misses, over without: ",
        "memory of service: ",
        "memory of envoy: ",
    ):
        assert words in done.stdout
