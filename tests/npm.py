"""Packages of npm's for tests, each set of them in a folder with its own lock."""

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest


def install(folder: Path) -> Path:
    """Install a folder's packages, unless what is installed there came from this very lock.

    Not by `npm ci`: it rejects a lock without the packages of every platform, and not every registry has them.
    """
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed: it fetches the programs for Node and a Node for them")
    stamp = folder / "node_modules" / ".lock-sha256"
    with (folder / "package-lock.json").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a single installation at a time, also of two test runs
        wanted = hashlib.sha256(lock.read()).hexdigest()
        if not stamp.exists() or stamp.read_text() != wanted:
            shutil.rmtree(folder / "node_modules", ignore_errors=True)
            command = [npm, "install", "--no-save"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            stamp.write_text(wanted)
    return folder
