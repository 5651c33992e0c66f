"""The jobs and their results are closed unions: a type checker finds a job that nobody runs."""

import subprocess
import sys
import typing
from pathlib import Path

import pytest

from extproc.exchange import jobs
from extproc.exchange.directives import Wait
from extproc.exchange.events import Resumed

ROOT = Path(__file__).parents[3]


def test_a_wait_is_for_one_of_the_jobs() -> None:
    assert typing.get_type_hints(Wait)["job"] == (
        jobs.SideCalls
        | jobs.Fetch
        | jobs.Read
        | jobs.Plan
        | jobs.Complete
        | jobs.Lookup
        | jobs.Assume
        | jobs.QueryUsage
        | jobs.Admit
    )


def test_each_result_is_a_class_of_its_own() -> None:
    members = typing.get_args(typing.get_type_hints(Resumed)["result"])
    assert len(members) == len({*members})
    assert all(isinstance(member, type) for member in members)
    assert object not in members


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("expression", "passes"), [('Wait("not a job", 1.0)', False), ("Wait(jobs.SideCalls((), 1, 1.0), 1.0)", True)]
)
def test_mypy_rejects_a_value_that_is_no_job(expression: str, passes: bool, tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    imports = "from extproc.exchange import jobs\nfrom extproc.exchange.directives import Wait\n\n"
    module.write_text(f"{imports}{expression}\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", str(module)]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert (checked.returncode == 0) is passes, checked.stdout + checked.stderr
    assert passes or 'Argument 1 to "Wait" has incompatible type "str"' in checked.stdout
