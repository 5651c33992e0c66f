"""Envoy's health check: silence is no proof that it is stuck."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from extproc.stack.envoy_health import EnvoyHealth, cpu_time, may_open_files

DEADLINE = 60.0


async def silent(seconds: float) -> bool | None:
    return False


async def unasked(seconds: float) -> bool | None:
    return None


@pytest.fixture
def busy() -> Iterator["subprocess.Popen[bytes]"]:
    """A process whose main thread uses all the CPU time that it gets."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        yield process
        process.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_busy_main_thread_is_not_stuck_and_a_stopped_one_is(busy: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + DEADLINE
    folder = Path(f"/proc/{busy.pid}")

    async def silent_while_it_works(seconds: float) -> bool | None:
        before = cpu_time(folder)
        while cpu_time(folder) == before:
            assert time.monotonic() < end, "it does not work"
            await asyncio.sleep(0.01)
        return False

    lines: list[str] = []
    working = EnvoyHealth(silent_while_it_works, lambda: busy.pid, lines.append)
    assert [await working(1) for _ in range(5)] == [False, True, True, True, True]
    reason = "has not responded to 3 health checks, but its main thread is busy: it stays"
    assert lines == [f"envoy: process {busy.pid} {reason}"]
    busy.send_signal(signal.SIGSTOP)
    while "\nState:\tT" not in (folder / "status").read_text():
        assert time.monotonic() < end
    stopped = EnvoyHealth(silent, lambda: busy.pid, lines.append)
    assert [await stopped(1) for _ in range(4)] == [False] * 4


def process(folder: Path, ticks: int, files: int, most: str = "8") -> None:
    """Write what the kernel tells of process 7."""
    (folder / "7/task/7").mkdir(parents=True, exist_ok=True)
    (folder / "7/task/7/stat").write_text(f"7 (a) S 1) S {'0 ' * 10}{ticks} 3 0 0 20")
    (folder / "7/limits").write_text(f"Limit  Soft Limit  Hard Limit  Units\nMax open files  {most}  4096  files\n")
    (folder / "7/fd").mkdir(exist_ok=True)
    for number in range(files):
        (folder / "7/fd" / str(number)).touch()


async def test_without_open_files_it_is_not_stuck(tmp_path: Path) -> None:
    lines: list[str] = []
    health = EnvoyHealth(silent, lambda: 7, lines.append, tmp_path)
    process(tmp_path, ticks=5, files=7)
    assert [await health(1) for _ in range(3)] == [False] * 3
    process(tmp_path, ticks=5, files=8)
    assert [await health(1) for _ in range(3)] == [True] * 3
    assert lines == ["envoy: process 7 has not responded to 3 health checks, but it has no open files left: it stays"]


async def test_ticks_of_another_process_are_no_sign_of_life(tmp_path: Path) -> None:
    process(tmp_path, ticks=5, files=1)
    pids = iter([7, 8, 7, 7])
    health = EnvoyHealth(silent, lambda: next(pids), print, tmp_path)
    assert [await health(1) for _ in range(2)] == [False] * 2
    process(tmp_path, ticks=6, files=1)
    assert [await health(1) for _ in range(2)] == [False] * 2


async def test_where_the_kernel_tells_nothing_silence_counts(tmp_path: Path) -> None:
    health = EnvoyHealth(silent, lambda: 7, print, tmp_path)
    assert [await health(1) for _ in range(2)] == [False] * 2
    process(tmp_path, ticks=5, files=8, most="unlimited")
    assert may_open_files(tmp_path / "7")


async def test_a_check_that_cannot_be_made_says_nothing(tmp_path: Path) -> None:
    process(tmp_path, ticks=5, files=8)
    health = EnvoyHealth(unasked, lambda: 7, print, tmp_path)
    assert await health(1) is None
