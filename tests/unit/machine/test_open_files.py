"""Open files: the limit is raised as far as it goes, and a low one is reported."""

import subprocess
import sys

import pytest

from extproc.machine.open_files import too_few

RAISE = (
    "from extproc.machine.open_files import raise_limit; import resource; print(raise_limit(), *resource.getrlimit(7))"
)


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_NOFILE has another number")
@pytest.mark.parametrize(("soft", "hard"), [(256, 600), (600, 600)])
def test_the_soft_limit_becomes_the_hard_one(soft: int, hard: int) -> None:
    command = f"ulimit -Sn {soft} && ulimit -Hn {hard} && exec '{sys.executable}' -c '{RAISE}'"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == [str(hard)] * 3


def test_a_low_limit_is_reported_with_its_effect_and_a_sufficient_value() -> None:
    warning = too_few(1024)
    assert warning is not None
    assert all(number in warning for number in ("1024", "384", "40256"))
    assert too_few(4096) is None
