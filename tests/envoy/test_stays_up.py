"""Faults under a running `up`: a program that is stuck, files that are removed. Callers notice little of it."""

import asyncio
import contextlib
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from openai import APIError, OpenAI

from extproc.envoy_admin.client import Admin
from extproc.stack.watch import WatchLimits
from tests.envoy.held_stream import HeldStream

DEADLINE = 90.0

FREEZER = "import signal, time\nsignal.signal(signal.SIGUSR1, lambda *_: time.sleep(3600))\n"
"""A worker with this holds its event loop from SIGUSR1 on."""


def client(gateway: Any) -> OpenAI:
    return OpenAI(base_url=gateway.url, api_key=gateway.tokens["ci"], max_retries=0, timeout=DEADLINE)


def until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not happened():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.02)


def responds(gateway: Any) -> bool:
    with contextlib.suppress(APIError):
        return bool(client(gateway).models.list().data)
    return False


def release(gateway: Any) -> None:
    subprocess.run(["curl", "-sf", "-X", "POST", f"{gateway.local_url}/_local/release"], check=True, timeout=DEADLINE)


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGUSR1], ids=["stopped", "loop held"])
def test_a_stuck_worker_is_replaced_and_the_others_calls_go_on(
    start_gateway: Any, tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "sitecustomize.py").write_text(FREEZER)
    paths = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    gateway = start_gateway({"workers": 2}, env={"PYTHONPATH": paths})
    gateway.expect_restarts()
    held = [HeldStream(gateway) for _ in range(8)]
    workers = gateway.pids("extproc.worker.command")
    since = len(gateway.log())
    os.kill(workers[0], number)
    stuck = gateway.wait_for(
        rf"(worker-\d): stuck: process {workers[0]} has not responded to 3 health checks in a row, .*killing it", since
    )
    gateway.wait_for(rf"{stuck[1]}: .*serving on", since + stuck.end())
    assert set(gateway.pids("extproc.worker.command")) & set(workers) == {workers[1]}
    release(gateway)
    ends = [each.rest() for each in held]
    assert "whole" in ends, "those of the other worker go on"
    until(lambda: responds(gateway))
    assert gateway.log().count("has not responded") == 1


def test_a_stuck_envoy_is_replaced(start_gateway: Any) -> None:
    gateway = start_gateway()
    gateway.expect_restarts()
    held = HeldStream(gateway)
    [envoy] = gateway.pids("envoy -c")
    since = len(gateway.log())
    os.kill(envoy, signal.SIGSTOP)
    stuck = gateway.wait_for(
        rf"envoy: stuck: process {envoy} has not responded to 3 health checks in a row, .*killing it", since
    )
    gateway.wait_for("envoy: was ended by SIGKILL, starting it again", since + stuck.end())
    assert held.rest() == "error"
    until(lambda: responds(gateway))
    assert envoy not in gateway.pids("envoy -c")
    assert gateway.log().count("has not responded") == 1


def test_an_envoy_without_open_files_is_not_taken_for_stuck(start_gateway: Any) -> None:
    gateway = start_gateway()
    held = HeldStream(gateway)
    [envoy] = gateway.pids("envoy -c")
    soft, hard = resource.prlimit(envoy, resource.RLIMIT_NOFILE)
    # The lowest numbers that are not in use are the next ones: from there on, nothing is opened.
    resource.prlimit(envoy, resource.RLIMIT_NOFILE, (first_free(envoy), hard))
    gateway.wait_for(rf"envoy: process {envoy} has not responded to 3 health checks, but .*: it stays")
    resource.prlimit(envoy, resource.RLIMIT_NOFILE, (soft, hard))
    until(lambda: responds(gateway))
    release(gateway)
    assert held.rest() == "whole"
    assert gateway.pids("envoy -c") == [envoy]


def first_free(pid: int) -> int:
    """Return the lowest number that no open file of a process has."""
    taken = set(map(int, os.listdir(f"/proc/{pid}/fd")))
    return next(number for number in range(len(taken) + 1) if number not in taken)


def test_an_envoy_that_is_drained_is_not_taken_for_stuck(start_gateway: Any) -> None:
    """What the stop of `up` does first makes Envoy respond to health checks with 503, for as long as a call takes."""
    gateway = start_gateway()
    admin = Admin(gateway.run_directory / "admin.sock")
    held = HeldStream(gateway)
    assert asyncio.run(admin.fail_health_checks())
    until(lambda: (asyncio.run(admin.gauge("http.admin.downstream_rq_5xx")) or 0) > WatchLimits().misses)
    gateway.process.send_signal(signal.SIGTERM)
    gateway.wait_for("waiting for calls in flight: 1")
    release(gateway)
    assert held.rest() == "whole"
    assert gateway.process.wait(DEADLINE) == 0
    assert "has not responded" not in gateway.log()


def test_files_that_are_removed_come_back_and_no_call_notices(start_gateway: Any) -> None:
    gateway = start_gateway({"workers": 2})
    gateway.expect_restarts()
    folder = gateway.run_directory
    names = {"admin.sock", "worker-0.sock", "worker-1.sock", "worker-0.settings", "worker-1.settings"}
    held = [HeldStream(gateway) for _ in range(4)]
    for name in (*names, "envoy.yaml"):
        (folder / name).unlink()
    until(lambda: names <= {path.name for path in folder.iterdir()})
    assert all(responds(gateway) for _ in range(10))
    release(gateway)
    assert [each.rest() for each in held] == ["whole"] * 4
    [envoy] = gateway.pids("envoy -c")
    os.kill(envoy, signal.SIGKILL)
    until(lambda: gateway.pids("envoy -c") not in ([], [envoy]))
    until(lambda: responds(gateway))
    last = HeldStream(gateway)
    gateway.process.send_signal(signal.SIGTERM)
    gateway.wait_for("waiting for calls in flight: 1")
    release(gateway)
    assert last.rest() == "whole"
    assert gateway.process.wait(DEADLINE) == 0


def test_the_whole_folder_may_go(start_gateway: Any, tmp_path: Path) -> None:
    gateway = start_gateway({"workers": 2})
    gateway.expect_restarts()
    folder = gateway.run_directory
    held = HeldStream(gateway)
    shutil.rmtree(folder.rename(tmp_path / "gone"))  # at once: what is missing is made anew meanwhile
    gateway.wait_for("admin.sock was removed, and Envoy makes it only when it starts: calls go on")
    until(lambda: {"worker-0.sock", "worker-1.sock"} <= {path.name for path in folder.iterdir()})
    assert folder.stat().st_mode & 0o777 == 0o700
    assert all(responds(gateway) for _ in range(10))
    release(gateway)
    assert held.rest() == "whole"
    os.kill(gateway.pids("envoy -c")[0], signal.SIGKILL)
    until(lambda: (folder / "admin.sock").exists() and responds(gateway))
    assert gateway.stop() == 0
    assert not folder.exists()
