import importlib.util
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

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
    specification = importlib.util.spec_from_file_location("stages", RUN.with_name("stages.py"))
    assert specification is not None
    assert specification.loader is not None
    module: Any = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    module.LOGS = tmp_path
    module.TABLE, module.STAGES = module.STAGES, {}
    return module


def names(results: list[str], word: str) -> list[str]:
    return [result.split()[0] for result in results if word in result]


def test_stages_wait_for_stages_that_there_are(ci: Any):
    for _, before, _ in ci.TABLE.values():
        assert {*before} <= {*ci.TABLE}
    clusters = [name for name, (_, _, beside) in ci.TABLE.items() if beside is ci.CLUSTERS]
    assert clusters == ["envoy-gateway", "istio", "kubernetes"]
    assert all("engines" in ci.TABLE[name][1] for name in clusters)
    assert ci.TABLE["engines"][1] == ("unit",)


def test_images_for_clusters_are_built_beside_the_gateways_tests(ci: Any):
    class Running:
        name, beside = "another", ci.GATEWAYS

    ci.STAGES = ci.TABLE
    assert ci.may_run("engines", ["istio", "chaos"], [Running()])
    assert ci.may_run("istio", ["chaos"], [Running()])
    assert not ci.may_run("istio", ["engines"], [Running()])
    Running.beside = ci.CLUSTERS
    assert not ci.may_run("istio", ["chaos"], [Running()])


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


def test_a_cluster_that_takes_too_long_is_killed_and_that_is_a_failure(ci: Any):
    ci.LONGEST_OF_CLUSTERS = 0
    ci.STAGES = {"istio": ("sleep 600", (), ci.CLUSTERS), "unit": ("true", (), None)}
    results = ci.run([*ci.STAGES], time.monotonic())
    assert (names(results, "FAILED"), names(results, "passed")) == (["istio"], ["unit"])


def test_stages_are_left_out_where_the_machine_lacks_something(ci: Any, tmp_path: Path, monkeypatch: Any):
    ci.ENGINES = tmp_path
    ci.CLUSTERS_TOO = True
    monkeypatch.setattr(ci, "engine_answers", lambda: False)
    controllers = {"engines", "envoy-gateway", "istio", "kubernetes"}
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
    monkeypatch.setattr(ci.os, "geteuid", lambda: 0)
    ci.CLUSTERS_TOO = False
    assert ci.unavailable() == controllers
