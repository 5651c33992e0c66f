"""Programs that are kept running, given up, and stopped: tiny Python children, real processes."""

import asyncio
import errno
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from extproc.stack.supervisor import Program, ProgramError, RestartPolicy, Supervisor

READY = re.compile(r"^ready (?P<pid>\d+)$")

SERVE = "import os, signal\nprint('ready', os.getpid(), flush=True)\nsignal.pause()\n"
"""A program that runs until it gets a signal."""

HURRIED = RestartPolicy(first_pause=0.001, longest_pause=0.01, short_life=60, short_lives=3)
"""Every life in a test is a short one."""

DEADLINE = 30.0


def python(name: str, code: str, **more: Any) -> Program:
    more = {"ready": READY, **more}
    return Program(name, lambda: [sys.executable, "-u", "-S", "-c", code], **more)


class Supervised:
    """A supervisor, and the lines that it reported."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.failures: list[ProgramError] = []
        self.news = asyncio.Event()
        self.supervisor = Supervisor(self._report, self._fail, HURRIED)

    def _report(self, line: str) -> None:
        self.lines.append(line)
        self.news.set()

    def _fail(self, error: ProgramError) -> None:
        self.failures.append(error)
        self.news.set()

    async def until(self, happened: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not happened():
                await self.news.wait()
                self.news.clear()

    def lives(self, name: str) -> list[int]:
        """Return the process ids of all runs of a program, oldest first."""
        matches = (re.match(rf"{name}: ready (\d+)$", line) for line in self.lines)
        return [int(match[1]) for match in matches if match]


@pytest.fixture
async def stage() -> AsyncIterator[Supervised]:
    stage = Supervised()
    yield stage
    stage.supervisor.kill()
    await stage.supervisor.stop_all()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# Starting


async def test_start_waits_for_the_line(stage: Supervised) -> None:
    match = await stage.supervisor.start(python("a", SERVE))
    assert match is not None
    assert int(match["pid"]) == stage.supervisor.pid("a")


async def test_without_a_line_it_is_ready_at_once(stage: Supervised) -> None:
    assert await stage.supervisor.start(python("a", "import signal; signal.pause()", ready=None)) is None
    assert stage.supervisor.pid("a") is not None


async def test_both_streams_are_relayed(stage: Supervised) -> None:
    code = "import sys; print('to the one', flush=True); print('to the other', file=sys.stderr, flush=True)\n"
    await stage.supervisor.start(python("a", code + SERVE))
    await stage.until(lambda: {"a: to the one", "a: to the other"} <= set(stage.lines))


async def test_lines_that_are_not_utf8_and_one_without_an_end(stage: Supervised) -> None:
    code = f"{SERVE.replace('signal.pause()', '')}import os; os.write(1, b'\\xff\\nno end'); os._exit(0)"
    await stage.supervisor.start(python("a", code))
    await stage.until(lambda: {"a: \ufffd", "a: no end"} <= set(stage.lines))


async def test_the_environment_is_the_programs_own(stage: Supervised) -> None:
    code = "import os; print(sorted(os.environ)); print('ready 1', flush=True); import signal; signal.pause()"
    await stage.supervisor.start(python("a", code, environment={"LC_ALL": "C", "X": "1"}))
    await stage.until(lambda: "a: ['LC_ALL', 'X']" in stage.lines)


async def test_a_program_that_ends_before_it_is_ready_is_not_tried_again(stage: Supervised) -> None:
    with pytest.raises(ProgramError, match=r"a ended with exit code 3 before it was ready; .*\n  no config"):
        await stage.supervisor.start(python("a", "print('no config'); raise SystemExit(3)"))
    assert stage.lines == ["a: no config"]
    assert stage.failures == []


async def test_a_program_that_does_not_exist(stage: Supervised) -> None:
    with pytest.raises(ProgramError, match="/nonexistent: No such file"):
        await stage.supervisor.start(Program("a", lambda: ["/nonexistent"]))


async def test_a_name_is_used_once(stage: Supervised) -> None:
    await stage.supervisor.start(python("a", SERVE))
    with pytest.raises(ValueError, match="'a' runs already"):
        await stage.supervisor.start(python("a", SERVE))


# Staying


async def test_a_crash_leads_to_a_new_life(stage: Supervised) -> None:
    await stage.supervisor.start(python("a", SERVE))
    os.kill(stage.lives("a")[0], signal.SIGKILL)
    await stage.until(lambda: len(stage.lives("a")) == 2)
    first, second = stage.lives("a")
    assert not alive(first)
    assert stage.supervisor.pid("a") == second
    assert "a: was ended by SIGKILL, starting it again" in stage.lines


async def test_each_restart_builds_its_command_anew(stage: Supervised) -> None:
    commands = iter([SERVE, "print('again')\n" + SERVE])
    program = Program("a", lambda: [sys.executable, "-S", "-u", "-c", next(commands)], ready=READY)
    await stage.supervisor.start(program)
    os.kill(stage.lives("a")[0], signal.SIGTERM)
    await stage.until(lambda: "a: again" in stage.lines)


async def test_it_is_given_up_after_too_many_early_exits(stage: Supervised) -> None:
    await stage.supervisor.start(
        python("a", "print('ready 1', flush=True); print('oh', flush=True); raise SystemExit(7)")
    )
    await stage.until(lambda: bool(stage.failures))
    [failure] = stage.failures
    assert re.search(r"a ended with exit code 7, 3 times in a row.*\n.*ready 1\n  oh", str(failure))
    assert stage.lines.count("a: oh") == 3
    assert stage.supervisor.pid("a") is None


async def test_long_lives_clear_the_record(stage: Supervised) -> None:
    stage.supervisor = Supervisor(stage._report, stage._fail, RestartPolicy(0.001, 0.01, short_life=0, short_lives=2))
    await stage.supervisor.start(python("a", "print('ready 1', flush=True)"))
    await stage.until(lambda: len(stage.lives("a")) == 5)
    assert stage.failures == []


def test_pauses_grow_up_to_the_longest() -> None:
    policy = RestartPolicy(first_pause=1, longest_pause=5)
    assert [policy.pause(lives) for lives in range(6)] == [1, 1, 2, 4, 5, 5]


async def test_a_stuck_one_is_replaced_although_it_ignores_signals(stage: Supervised) -> None:
    await stage.supervisor.start(python("a", "import signal; signal.signal(15, signal.SIG_IGN)\n" + SERVE))
    [stuck] = stage.lives("a")
    os.kill(stuck, signal.SIGSTOP)
    stage.supervisor.replace("a")
    await stage.until(lambda: len(stage.lives("a")) == 2)
    assert not alive(stuck)
    assert stage.failures == []
    stage.supervisor.replace("nobody")


async def test_a_later_start_that_fails_is_tried_again(stage: Supervised) -> None:
    """Such failures are a temporary lack of memory, processes or disk."""
    starts = iter(
        [[sys.executable, "-u", "-S", "-c", SERVE], ["/nonexistent"], [sys.executable, "-u", "-S", "-c", SERVE]]
    )
    await stage.supervisor.start(Program("a", lambda: next(starts), ready=READY))
    os.kill(stage.lives("a")[0], signal.SIGKILL)
    await stage.until(lambda: len(stage.lives("a")) == 2)
    assert "a: cannot be started: /nonexistent: No such file or directory, starting it again" in stage.lines


async def test_a_command_that_cannot_be_prepared_is_tried_again_until_it_can(stage: Supervised) -> None:
    """A full disk, for example, keeps its configuration from being written: the program does not start at all."""
    command = [sys.executable, "-u", "-S", "-c", SERVE]
    starts = 0

    def prepare() -> list[str]:
        nonlocal starts
        starts += 1
        if 1 < starts <= 21:
            raise OSError(errno.ENOSPC, "No space left on device", "envoy.yaml")
        return command

    await stage.supervisor.start(Program("a", prepare, ready=READY))
    os.kill(stage.lives("a")[0], signal.SIGKILL)
    await stage.until(lambda: len(stage.lives("a")) == 2)
    assert stage.failures == []
    assert "a: cannot be started: envoy.yaml: No space left on device, starting it again" in stage.lines


async def test_standard_output_goes_where_it_is_wanted_in_whole_lines(stage: Supervised) -> None:
    taken: list[bytes] = []
    code = (
        "import os; os.write(1, b'one\\ntw'); os.write(1, b'o\\n' + b'#' * 200000); print('ready 1', file=sys.stderr)"
    )
    await stage.supervisor.start(python("a", f"import sys; {code}", stdout=taken.append))
    await stage.until(lambda: any("starting it again" in line for line in stage.lines))
    await stage.supervisor.stop("a")
    assert all(each.endswith(b"\n") for each in taken)
    assert b"".join(taken).startswith(b"one\ntwo\n" + b"#" * 200000 + b"\n")
    assert not any("one" in line for line in stage.lines)


# Stopping


async def test_stop_is_sigterm(stage: Supervised) -> None:
    code = "import signal, sys; signal.signal(15, lambda *_: (print('bye', flush=True), sys.exit()))\n"
    await stage.supervisor.start(python("a", code + SERVE))
    pid = stage.supervisor.pid("a")
    await stage.supervisor.stop("a")
    assert stage.lines[-1] == "a: bye"
    assert pid is not None
    assert not alive(pid)


async def test_a_program_that_ignores_sigterm_is_killed(stage: Supervised) -> None:
    stubborn = "import signal; signal.signal(15, signal.SIG_IGN)\n" + SERVE
    await stage.supervisor.start(python("a", stubborn, stop_seconds=0.1))
    [pid] = stage.lives("a")
    await stage.supervisor.stop("a")
    assert not alive(pid)
    assert stage.lines[-1] == "a: did not stop within 0.1 s, killed"


async def test_a_requested_end_is_no_crash(stage: Supervised) -> None:
    await stage.supervisor.start(python("a", SERVE))
    await stage.supervisor.stop("a")
    assert len(stage.lives("a")) == 1
    assert not any("starting it again" in line for line in stage.lines)


async def test_stop_all_goes_backwards(stage: Supervised) -> None:
    code = "import signal, sys; signal.signal(15, lambda *_: (print('bye', flush=True), sys.exit()))\n" + SERVE
    for name in ("first", "second", "third"):
        await stage.supervisor.start(python(name, code))
    await stage.supervisor.stop_all()
    assert [line for line in stage.lines if "bye" in line] == ["third: bye", "second: bye", "first: bye"]


async def test_stop_while_it_waits_for_its_next_life(stage: Supervised) -> None:
    stage.supervisor = Supervisor(stage._report, stage._fail, RestartPolicy(first_pause=1000, longest_pause=1000))
    await stage.supervisor.start(python("a", "print('ready 1', flush=True)"))
    await stage.until(lambda: any("starting it again" in line for line in stage.lines))
    async with asyncio.timeout(DEADLINE):
        await stage.supervisor.stop("a")


async def test_stop_while_it_is_not_ready_yet(stage: Supervised) -> None:
    start = asyncio.create_task(stage.supervisor.start(python("a", "import signal; print(1); signal.pause()")))
    await stage.until(lambda: stage.lines == ["a: 1"])
    await stage.supervisor.stop("a")
    with pytest.raises(ProgramError, match="stopped before it was ready"):
        await start


async def test_stop_before_it_was_started_leaves_nothing(stage: Supervised) -> None:
    start = asyncio.create_task(stage.supervisor.start(python("a", SERVE)))
    await asyncio.sleep(0)  # it is known, its process is not there yet
    await stage.supervisor.stop("a")
    with pytest.raises(ProgramError):
        await start
    assert all(not alive(pid) for pid in stage.lives("a"))


async def test_kill_is_for_all_at_once(stage: Supervised) -> None:
    stubborn = "import signal; signal.signal(15, signal.SIG_IGN)\n" + SERVE
    for name in ("a", "b"):
        await stage.supervisor.start(python(name, stubborn, stop_seconds=DEADLINE))
    pids = [*stage.lives("a"), *stage.lives("b")]
    stage.supervisor.kill()
    async with asyncio.timeout(DEADLINE / 2):
        await stage.supervisor.stop_all()
    assert not any(map(alive, pids))


async def test_stopping_nothing_is_nothing(stage: Supervised) -> None:
    await stage.supervisor.stop("nobody")
    await stage.supervisor.stop_all()


# Dying

PARENT = f"""
import asyncio, re, sys
from extproc.stack.supervisor import Program, Supervisor

async def main():
    supervisor = Supervisor(lambda line: print(line, flush=True), print)
    child = Program("a", lambda: [sys.executable, "-S", "-u", "-c", {SERVE!r}], ready=re.compile("ready"))
    await supervisor.start(child)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_no_child_outlives_its_parent(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline().rpartition(" ")[2])
        child = os.pidfd_open(pid)
        parent.kill()
        parent.wait()
    with open(child, "rb", buffering=0) as gone:
        readable, _, _ = select.select([gone], [], [], DEADLINE)
    assert readable, "a pidfd is readable once its process has ended"
