"""The search of programs' logs, by which a crash fails the test in whose time it happened."""

from pathlib import Path

import pytest

from tests.logs import Watch


@pytest.mark.parametrize(
    "line",
    [
        "[2026-11-28 10:00:00.000][7][critical][backtrace] Caught Segmentation fault, suspect faulting address 0x0",
        "envoy: was ended by SIGSEGV, starting it again",
        "worker-0: was ended by SIGKILL, starting it again",
    ],
)
def test_a_crash_is_found_once(tmp_path: Path, line: str) -> None:
    watch, log = Watch(), tmp_path / "log"
    watch.add(log)
    log.write_text(f"serving\n{line}\nserving\n")
    with pytest.raises(AssertionError, match=line[-20:]):
        watch.check()
    watch.check()


def test_a_line_that_is_not_whole_is_searched_when_it_is(tmp_path: Path) -> None:
    watch, log = Watch(), tmp_path / "log"
    watch.add(log)
    log.write_text("envoy: was ended by SIGS")
    watch.check()
    log.write_text("envoy: was ended by SIGSEGV\n")
    with pytest.raises(AssertionError):
        watch.check()


def test_a_test_that_ends_programs_may_see_restarts_but_no_crash(tmp_path: Path) -> None:
    watch, log = Watch(), tmp_path / "log"
    watch.add(log).restarts = True
    log.write_text("worker-0: was ended by SIGKILL, starting it again\n")
    watch.check()
    log.write_text(log.read_text() + "envoy: was ended by SIGSEGV, starting it again\n")
    with pytest.raises(AssertionError):
        watch.check()
