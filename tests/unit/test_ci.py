import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.scripts import load

RUN = Path(__file__).resolve().parents[2] / ".ci" / "run"


@pytest.mark.parametrize("shell", ["bash", "sh", None])
def test_it_starts_however_it_is_called(shell: str | None, tmp_path: Path):
    command = [str(RUN)] if shell is None else [str(shutil.which(shell)), str(RUN)]

    completed = subprocess.run([*command, "no-such"], cwd=tmp_path, capture_output=True, text=True, timeout=60)

    assert completed.stderr.startswith("ci: no such stage: no-such; there are install, ")
    assert completed.returncode == 1


@pytest.fixture
def ci(tmp_path: Path) -> Any:
    """Load the program without running a stage."""
    module = load(RUN.with_name("stages.py"))
    module.LOGS = tmp_path
    module.TABLE, module.STAGES = module.STAGES, {}
    return module


def names(results: list[str], word: str) -> list[str]:
    return [result.split()[0] for result in results if word in result]


def test_stages_wait_for_stages_that_there_are(ci: Any):
    for _, before, _ in ci.TABLE.values():
        assert {*before} <= {*ci.TABLE}
    assert ci.WITH_CLUSTERS == ["envoy-gateway", "istio", "engines", "kubernetes", "helm"]
    assert all("engines" in ci.TABLE[name][1] for name in ci.WITH_CLUSTERS if name != "engines")
    needed = {name for each in ci.WITH_CLUSTERS for name in ci.TABLE[each][1]}
    assert {*ci.NEEDED_BY_CLUSTERS} == needed | {*ci.WITH_CLUSTERS}


def test_each_stage_with_a_node_has_a_cluster_of_its_own(ci: Any):
    assert {name for name, (command, _, _) in ci.TABLE.items() if command.startswith(ci.ANEW)} == {"kubernetes", "helm"}


class RunningStage:
    """A stage that runs."""

    def __init__(self, kind: str | None, name: str = "another") -> None:
        self.kind, self.name = kind, name


@pytest.fixture
def may_run(ci: Any) -> Callable[..., bool]:
    """Whether a stage may run beside stages of these kinds, while others wait."""
    ci.STAGES = ci.TABLE

    def asked(name: str, *beside: str | None, waiting: Sequence[str] = ()) -> bool:
        allowed: bool = ci.may_run(name, [name, *waiting], [RunningStage(kind) for kind in beside])
        return allowed

    return asked


def test_two_stages_run_at_once_and_one_that_floods(ci: Any, may_run: Any):
    assert may_run("unit")
    assert may_run("unit", ci.FLOODS)
    assert may_run("chaos", None)
    assert not may_run("chaos", ci.FLOODS)
    assert not may_run("unit", None, ci.FLOODS)
    assert not may_run("compile", None, waiting=["lint"])


def test_a_stage_that_only_waits_takes_no_place(ci: Any, may_run: Any):
    assert may_run("waiting", None, ci.FLOODS)
    assert may_run("unit", ci.FLOODS, ci.WAITS)
    assert not may_run("waiting", ci.ALONE)


def test_both_meshes_share_a_place_and_no_floods_are_beside_them(ci: Any, may_run: Any):
    assert may_run("istio", ci.MESHES, None)
    assert may_run("istio", None, ci.WAITS, waiting=["helm", "unit"])
    assert may_run("unit", ci.MESHES, ci.MESHES)
    assert not may_run("istio", ci.FLOODS)
    assert not may_run("chaos", ci.MESHES)
    assert not may_run("istio", None, None)
    assert not may_run("istio", waiting=["engines"])


def test_a_cluster_runs_when_all_others_have_ended_and_beside_a_patient_stage_alone(ci: Any, may_run: Any):
    assert may_run("helm", waiting=["fuzz", "bench"])
    assert may_run("helm", ci.PATIENT, waiting=["fuzz"])
    assert may_run("fuzz", ci.CLUSTERS)
    assert may_run("engines", waiting=["istio", "helm"])
    assert may_run("helm", ci.PATIENT, ci.PATIENT)
    assert not may_run("fuzz", ci.PATIENT, ci.PATIENT), "there is a place for a cluster"
    assert not may_run("helm", waiting=["unit"])
    for kind in (None, ci.CLUSTERS, ci.MESHES, ci.WAITS, ci.FLOODS, ci.ALONE):
        assert not may_run("helm", kind)
    assert not may_run("unit", ci.CLUSTERS)


def test_nothing_runs_beside_the_benchmark(ci: Any, may_run: Any):
    assert may_run("bench")
    for kind in (None, ci.CLUSTERS, ci.MESHES, ci.WAITS, ci.FLOODS, ci.PATIENT):
        assert not may_run("bench", kind)
        assert not ci.disturb(kind, None) or kind is ci.CLUSTERS
    assert not may_run("fuzz", ci.ALONE)


def test_every_stage_comes_to_run(ci: Any):
    """Whatever ends first, no stage waits for ever."""
    ci.STAGES = ci.TABLE
    for end in (0, -1):
        waiting, running = [*ci.STAGES], []
        while waiting or running:
            if free := [name for name in waiting if ci.may_run(name, waiting, running)]:
                waiting.remove(free[0])
                running.append(RunningStage(ci.STAGES[free[0]][2], free[0]))
            else:
                del running[end]


def test_a_patient_stage_lets_everybody_else_go_first(ci: Any, tmp_path: Path):
    ci.STAGES = {"fuzz": (f"nice >{tmp_path}/fuzz", (), ci.PATIENT), "unit": (f"nice >{tmp_path}/unit", (), None)}
    assert sorted(names(ci.run([*ci.STAGES], time.monotonic()), "passed")) == ["fuzz", "unit"]
    assert (tmp_path / "fuzz").read_text() == "19\n"
    assert (tmp_path / "unit").read_text() == subprocess.run("nice", capture_output=True, text=True).stdout


def test_the_seconds_of_a_stage_and_those_of_its_processor_are_printed(ci: Any):
    ci.STAGES = {"unit": ("exit 3", (), None)}
    [result] = ci.run(["unit"], time.monotonic())
    assert re.fullmatch(r"unit +FAILED +\d+ s +\d+ s of a processor", result)


def test_python_keeps_what_it_compiles_whatever_the_machine_says(ci: Any, monkeypatch: Any):
    for name in ("NO_COLOR", "TERM", "PY_COLORS", "PIP_COMPILE"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    ci.prepare_environment()
    ci.STAGES = {"unit": ("python3 -c 'import sys; sys.exit(sys.dont_write_bytecode)'", (), None)}
    assert names(ci.run(["unit"], time.monotonic()), "passed") == ["unit"]


def selections(command: str) -> Iterator[tuple[list[str], list[str]]]:
    """List what each pytest of a stage is given, and what it leaves out: folders and files."""
    printed = subprocess.run(
        ["sh", "-c", command.replace("make ", "make --dry-run --no-print-directory ")],
        cwd=RUN.parents[1], capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    for line in printed.splitlines():
        if "-m pytest " in line:
            words = shlex.split(line)
            without = [words[at + 1] for at, word in enumerate(words) if word in ("--ignore", "--deselect")]
            yield [word for word in words if word.startswith("tests") and word not in without], without


def test_every_test_is_in_a_stage(ci: Any):
    """Those that need a controller or a cluster are started by programs in their folders."""
    chosen = [
        each
        for name, (command, _, _) in ci.TABLE.items()
        if "make test-" in command and name not in ("envoy-gateway", "istio", "kubernetes")
        for each in selections(command)
    ]
    root = RUN.parents[1]
    for path in root.glob("tests/**/test_*.py"):
        file = str(path.relative_to(root))
        assert any(
            any(file.startswith(word.partition("::")[0]) for word in given)
            and not any(file.startswith(word) for word in without)
            for given, without in chosen
        ), file


def test_a_cluster_that_would_begin_too_late_is_left_out_and_that_is_no_failure(ci: Any, capsys: Any):
    ci.STAGES = {
        "engines": ("true", (), None),
        "istio": ("true", ("engines",), ci.MESHES),
        "unit": ("true", (), None),
    }
    results = ci.run([*ci.STAGES], time.monotonic() - ci.LATEST - 1)
    assert sorted(names(results, "passed")) == ["engines", "unit"]
    assert results[0] == f"{'istio':17} left out"
    assert "ci: 70 minutes have passed: NOT tested are istio\n" in capsys.readouterr().out
    assert names(ci.run([*ci.STAGES], time.monotonic()), "passed")[-1] == "istio"


@pytest.fixture(params=[signal.default_int_handler, signal.SIG_IGN], ids=["foreground", "background"])
def interrupts(request: pytest.FixtureRequest) -> Iterator[None]:
    """Take SIGINT as a shell's job in the foreground does, and ignore it as one in the background."""
    before = signal.signal(signal.SIGINT, request.param)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts")
def test_a_cluster_that_takes_too_long_may_stop_it_and_that_is_no_failure(ci: Any, tmp_path: Path):
    def monotonic() -> float:
        """Return the time, a quarter of an hour later once the stage has begun."""
        return time.monotonic() + ((tmp_path / "begun").exists() and ci.LONGEST_OF_CLUSTERS)

    ci.time = SimpleNamespace(monotonic=monotonic, sleep=time.sleep)
    command = f"trap 'touch {tmp_path}/stopped; exit 1' INT; touch {tmp_path}/begun; while sleep 0.1; do :; done"
    ci.STAGES = {"istio": (command, (), ci.CLUSTERS), "unit": ("true", (), None)}
    results = ci.run([*ci.STAGES], time.monotonic())
    assert (names(results, "left out"), names(results, "passed")) == (["istio"], ["unit"])
    assert (tmp_path / "stopped").exists()


def test_a_cluster_that_does_not_stop_is_killed(ci: Any):
    ci.LONGEST_OF_CLUSTERS = ci.CLEANING = 1
    ci.STAGES = {"istio": ("trap '' INT; sleep 600", (), ci.CLUSTERS), "unit": ("exit 3", (), None)}
    results = ci.run([*ci.STAGES], time.monotonic())
    assert (names(results, "left out"), names(results, "FAILED")) == (["istio"], ["unit"])


def test_another_stage_that_takes_too_long_is_a_failure(ci: Any):
    ci.LONGEST = 0
    ci.STAGES = {"unit": ("sleep 600", (), None)}
    assert names(ci.run([*ci.STAGES], time.monotonic()), "FAILED") == ["unit"]


def test_the_end_of_what_a_failed_stage_printed_comes_once_more_at_the_end(ci: Any, capsys: Any):
    ci.STAGES = {"unit": ("seq 1000; exit 1", (), None), "lint": ("echo linted", (), None)}
    results = ci.run([*ci.STAGES], time.monotonic())
    capsys.readouterr()
    ci.show_failures([*results, f"{'istio':17} left out"])
    shown = capsys.readouterr().out.splitlines()
    assert shown == ["===== the end of unit, which failed", *map(str, range(1001 - ci.LAST_LINES, 1001))]


def test_builds_end_when_no_cluster_begins_any_more(ci: Any):
    ci.LATEST = 1
    ci.STAGES = {"engines": ("sleep 600", (), ci.CLUSTERS), "istio": ("true", ("engines",), ci.CLUSTERS)}
    assert names(ci.run([*ci.STAGES], time.monotonic()), "left out") == ["engines", "istio"]


def test_the_whole_run_ends_before_its_hard_limit(ci: Any):
    assert ci.LATEST + ci.LONGEST_OF_CLUSTERS + ci.CLEANING < 90 * 60


def test_stages_are_left_out_where_the_machine_lacks_something(ci: Any, tmp_path: Path, monkeypatch: Any):
    ci.ENGINES = tmp_path
    monkeypatch.setattr(ci, "engine_answers", lambda: False)
    controllers = {"engines", "envoy-gateway", "istio", "kubernetes", "helm"}
    assert ci.unavailable() == {"engine", "compose", *controllers}
    monkeypatch.setattr(ci, "engine_answers", lambda: True)
    assert ci.unavailable() == controllers
    for name in ("envoy-gateway", "istiod", "kube"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(ci.os, "geteuid", lambda: 0)
    assert ci.unavailable() == set()
    monkeypatch.setattr(ci.os, "geteuid", lambda: 1000)
    assert ci.unavailable() == controllers


@pytest.fixture
def capable(ci: Any, tmp_path: Path, monkeypatch: Any) -> Any:
    """The program on a machine that lacks nothing, and where nothing is built."""
    ci.STAGES, ci.CACHE, ci.CLUSTERS_TOO = ci.TABLE, tmp_path / "cache", None
    monkeypatch.setattr(ci, "unavailable", lambda: set())
    return ci


def build(ci: Any) -> None:
    """Have in the cache what the scripts build."""
    for pattern in ci.BUILT:
        path = ci.CACHE / pattern.replace("*", "1")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_clusters_run_by_default_where_they_are_built(capable: Any):
    names, (reason,) = capable.chosen([])
    assert names == [name for name in capable.STAGES if name not in capable.WITH_CLUSTERS]
    assert "NOT tested" in reason
    build(capable)
    assert capable.chosen([]) == ([name for name in capable.STAGES if name != "engines"], [])


def test_clusters_are_built_and_left_out_on_demand(capable: Any):
    capable.CLUSTERS_TOO = "1"
    assert capable.chosen([]) == ([*capable.STAGES], [])
    build(capable)
    capable.CLUSTERS_TOO = "0"
    names, (reason,) = capable.chosen([])
    assert not {*capable.WITH_CLUSTERS} & {*names}
    assert "CI_CLUSTERS is 0" in reason


def test_clusters_alone_are_built_and_run(capable: Any):
    assert capable.chosen(["clusters"]) == (["install", "engine", *capable.WITH_CLUSTERS], [])
    assert capable.chosen(["istio"]) == (["istio"], [])
    build(capable)
    without = [name for name in capable.WITH_CLUSTERS if name != "engines"]
    assert capable.chosen(["clusters"]) == (["install", "engine", *without], [])
    assert capable.chosen(["engines"]) == (["engines"], [])
