"""A test that hangs fails, and the tests behind it run: by the project's own settings, with a shorter limit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.limits import ENGINE_LIMIT, ENGINES, INSTALLATION_LIMIT

ROOT = Path(__file__).parents[2]

HANGING = """
import asyncio, socket, subprocess, sys, threading
import pytest

@pytest.fixture
def program():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"]) as process:
        yield process
        process.kill()

def test_process(program):
    program.wait()

def test_lock():
    threading.Semaphore(0).acquire()

def test_socket():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.accept()

async def test_event():
    await asyncio.Event().wait()

async def test_thread(program):
    await asyncio.to_thread(program.wait)

@pytest.fixture
def hanging():
    yield
    threading.Semaphore(0).acquire()

def test_teardowns(program, hanging):
    program.wait()

@pytest.mark.timeout(60)
def test_last():
    pass
"""


MARKED = """
import pytest

@pytest.mark.parametrize("_", [pytest.param(each, marks=getattr(pytest.mark, each)) for each in ENGINES])
def test_slow(request, _):
    assert request.node.get_closest_marker("timeout").args == (LIMIT,)

def test_fast(request):
    assert request.node.get_closest_marker("timeout") is None
"""


def pytest_with(folder: Path, tests: str, *options: str) -> str:
    """Run these tests by the project's settings, and return the output."""
    (folder / "test_it.py").write_text(tests)
    plugins = ("-p", "tests.limits", "-p", "no:cacheprovider")
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), *plugins, *options, str(folder)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=120, check=False)
    return ended.stdout


def test_a_test_that_hangs_fails_and_the_next_one_runs(tmp_path: Path) -> None:
    output = pytest_with(tmp_path, HANGING, "--timeout", "1")
    assert "6 failed, 1 passed, 2 errors" in output, output


def test_tests_with_an_engine_may_take_longer(tmp_path: Path) -> None:
    tests = MARKED.replace("ENGINES", repr(ENGINES)).replace("LIMIT", str(ENGINE_LIMIT))
    output = pytest_with(tmp_path, tests, "-m", "")
    assert f"{len(ENGINES) + 1} passed" in output, output


def test_the_run_ends_behind_every_limit(pytestconfig: pytest.Config) -> None:
    assert pytestconfig.getini("timeout_method") == "signal"
    limits = [float(pytestconfig.getini("timeout")), INSTALLATION_LIMIT, ENGINE_LIMIT]
    assert 0 < min(limits) <= max(limits) < float(pytestconfig.getini("faulthandler_timeout"))
    assert pytestconfig.getini("faulthandler_exit_on_timeout")
