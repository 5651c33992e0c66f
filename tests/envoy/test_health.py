"""`oai-extproc health` and a worker of a gateway that runs."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any


def health(address: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "extproc", "health", address]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_it_follows_a_worker_to_its_end(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway()
    address = f"unix:{gateway.run_directory}/worker-0.sock"
    serving = health(address)
    assert (serving.returncode, serving.stdout, serving.stderr) == (0, f"{address}: serving\n", "")
    gateway.stop()
    gone = health(address)
    assert gone.returncode == 1
    assert gone.stderr.startswith(f"Error: {address}: the health check failed: ")
