"""A copy of the checkout with a commit of its own, the wheel that `make wheel` builds of it, and what is installed.

Nothing here sees the environment of the tests: a package that the wheel lacks would be found there.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.inherited import default_signals
from tests.limits import INSTALLATION_LIMIT
from tests.repository import commit_all, git

ROOT = Path(__file__).parents[2]
DEADLINE = 90.0
"""Seconds after which a gateway is not going to be ready, or to end."""

OURS = ("ARGS", "PROGRAMS", "UNIT", "AWS_", "OPENAI_", "GIT_", "PYTHON", "VIRTUAL_ENV", "UV_PYTHON", "MAKE", "MFLAGS")
"""Beginnings of the variables that a fresh terminal has not."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give all tests here the time that installing takes."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(INSTALLATION_LIMIT))


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return that of a fresh terminal, in which no AWS credentials are found."""
    theirs = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    nothing = {"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
    # pip takes much of its time for bytecode, which a first call does not need. As its page has it, "0" is "do not".
    return {**theirs, **nothing, "AWS_EC2_METADATA_DISABLED": "true", "PIP_NO_COMPILE": "0", **more}


@dataclass(frozen=True, eq=False)
class Terminal:
    """A shell in a folder."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    def run(self, code: str, *, fails: bool = False) -> str:
        """Return what a shell prints for this code, on both streams where it is to fail."""
        done = subprocess.run(
            ["sh", "-euc", code],
            cwd=self.folder,
            env=environment(self.variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALLATION_LIMIT,
            check=False,
        )
        assert (done.returncode != 0) == fails, f"{code}\n{done.stdout}{done.stderr}"
        return done.stdout + (done.stderr if fails else "")

    @contextmanager
    def running(self, code: str, pattern: str) -> Iterator["re.Match[str]"]:
        """Run a program in the background, from when its output matches; SIGTERM must end it well."""
        log = self.folder / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["sh", "-euc", code],
                cwd=self.folder,
                env=environment(self.variables),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=default_signals,
            )
        try:
            yield until(process, log, pattern)
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE) == 0, log.read_text()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def until(process: "subprocess.Popen[bytes]", log: Path, pattern: str) -> "re.Match[str]":
    """Wait until what a program prints matches."""
    end = time.monotonic() + DEADLINE
    while (match := re.search(pattern, log.read_text())) is None:
        assert process.poll() is None, f"it ended with exit code {process.returncode}:\n{log.read_text()}"
        assert time.monotonic() < end, f"it does not print {pattern!r}:\n{log.read_text()}"
        time.sleep(0.05)
    return match


@dataclass(frozen=True)
class Checkout:
    """A copy of the checkout, as a repository with one commit."""

    folder: Path
    commit: str


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """What Git has, and what it would take, of the working tree."""
    folder = tmp_path_factory.mktemp("checkout")
    listed = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    git(folder, "init", "--quiet")
    return Checkout(folder, commit_all(folder))


@pytest.fixture(scope="session")
def wheel(checkout: Checkout) -> Path:
    """The wheel of the copy, by `make wheel` in it."""
    Terminal(checkout.folder).run(f"make wheel PYTHON={sys.executable}")
    [path] = (checkout.folder / "dist").glob("*.whl")
    return path
