import shutil
import subprocess
import time
from pathlib import Path
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
    assert ci.WITH_CLUSTERS == ["engines", "envoy-gateway", "istio", "kubernetes", "helm"]
    assert all("engines" in ci.TABLE[name][1] for name in ci.WITH_CLUSTERS[1:])
    needed = {name for each in ci.WITH_CLUSTERS for name in ci.TABLE[each][1]}
    assert {*ci.NEEDED_BY_CLUSTERS} == needed | {*ci.WITH_CLUSTERS}


def test_each_stage_with_a_node_has_a_cluster_of_its_own(ci: Any):
    assert {name for name, (command, _, _) in ci.TABLE.items() if command.startswith(ci.ANEW)} == {"kubernetes", "helm"}


def test_a_cluster_runs_alone_when_all_other_stages_have_ended(ci: Any):
    class RunningStage:
        name, beside = "another", None

    ci.STAGES = ci.TABLE
    assert ci.may_run("istio", ["helm"], [])
    assert not ci.may_run("istio", ["helm"], [RunningStage()])
    assert not ci.may_run("istio", ["helm", "fuzz"], [])
    assert not ci.may_run("istio", ["engines"], [])
    RunningStage.beside = ci.CLUSTERS
    assert not ci.may_run("unit", [], [RunningStage()])
    RunningStage.beside = ci.GATEWAYS
    assert ci.may_run("unit", [], [RunningStage()])
    assert not ci.may_run("chaos", [], [RunningStage()])
    assert not ci.may_run("bench", [], [RunningStage()])


def test_a_cluster_that_would_begin_too_late_is_left_out_and_that_is_no_failure(ci: Any, capsys: Any):
    ci.STAGES = {
        "engines": ("true", (), None),
        "istio": ("true", ("engines",), ci.CLUSTERS),
        "unit": ("true", (), None),
    }
    results = ci.run([*ci.STAGES], time.monotonic() - ci.LATEST - 1)
    assert sorted(names(results, "passed")) == ["engines", "unit"]
    assert results[0] == f"{'istio':17} left out"
    assert "ci: 70 minutes have passed: NOT tested are istio\n" in capsys.readouterr().out
    assert names(ci.run([*ci.STAGES], time.monotonic()), "passed")[-1] == "istio"


def test_a_cluster_that_takes_too_long_may_stop_it_and_that_is_no_failure(ci: Any, tmp_path: Path):
    ci.LONGEST_OF_CLUSTERS = 1
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
    assert capable.chosen(["clusters"]) == (["install", "engine", *capable.WITH_CLUSTERS[1:]], [])
    assert capable.chosen(["engines"]) == (["engines"], [])
