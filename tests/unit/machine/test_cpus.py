"""The number of workers for `auto`."""

import os
from pathlib import Path

import pytest

from extproc.config import parse
from extproc.machine.cpus import available_cpus, worker_count


@pytest.mark.parametrize(("cpus", "workers"), [(1, 1), (2, 1), (3, 1), (4, 2), (64, 32), (1000, 64)])
def test_auto_is_a_worker_for_every_two_cpus(cpus: int, workers: int) -> None:
    assert worker_count(parse(b"workers: auto"), cpus) == workers


def test_a_number_is_that_number() -> None:
    assert worker_count(parse(b"workers: 3"), 64) == 3
    assert worker_count(parse(b"{}"), 64) == 1


@pytest.mark.parametrize(
    ("limit", "cpus"),
    [("max 100000\n", 10**6), ("50000 100000\n", 1), ("150000 100000\n", 2), ("nonsense", 10**6), ("1 0", 10**6)],
)
def test_a_containers_limit_counts(tmp_path: Path, limit: str, cpus: int) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text(limit)
    here = len(os.sched_getaffinity(0))
    assert available_cpus(quota) == min(here, cpus)
    assert available_cpus(tmp_path / "nowhere") == here
