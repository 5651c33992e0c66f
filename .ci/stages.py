"""Run what CI runs: every stage of a table, two at a time, all of them even if one fails.

A stage's output appears whole when it has ended, and stays in .run/ci; the last lines are the seconds of each and which
failed. `.ci/run NAME…` runs these alone, `.ci/run clusters` those with a cluster and what they need.

Decisions: docs/decisions.md, D84, D85.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOGS = ROOT / ".run" / "ci"
ENGINES = Path(os.environ.get("ENGINES") or ROOT.parent / "shared" / "engine")
"""The folder of the scripts that start clusters and controllers; what they build is cached outside of the checkout."""

UP = Path(os.environ.get("ENGINE_UP") or ENGINES / "up")
"""Starts a Docker engine, on machines that have such a program; others may have an engine that runs."""

CACHE = Path(tempfile.gettempdir()) / "engine"
"""Where those scripts, and the Makefile for Helm, keep what they have built."""

BUILT = ("envoy-gateway/bin-*/envoy-gateway", "istiod/bin-*/pilot-agent", "kube/bin/version", "helm/*/helm")

ANEW = f"{ENGINES / 'kube'} destroy"
"""Forgets a cluster, so that each stage has one of its own: nothing is left of another stage or of another run."""

CLUSTERS_TOO = os.environ.get("CI_CLUSTERS")
"""Whether to run the stages with a cluster: "1" builds what is missing, "0" leaves them out; by default they run where
everything is built."""

AT_ONCE = 2
LONGEST = 3600
"""Seconds after which a stage is killed."""

LONGEST_OF_CLUSTERS = 900
LATEST = 4200
"""Seconds after which no further stage with a cluster begins."""

CLEANING = 60
"""Seconds that a stage with a cluster has to stop it, when its own are over."""

GATEWAYS, CLUSTERS, ALONE = "gateways", "clusters", "alone"

STAGES = {
    # name: (command, stages that end before it, what it does not run beside)
    #
    # GATEWAYS: one of these at a time. They flood Envoys and measure their memory.
    # ALONE: nothing beside it. It measures time.
    # CLUSTERS: when all others have ended, and nothing beside it, each for 15 minutes at most, and none after 70.
    #   One that takes longer is left out, and is no failure: the machine is slow.
    #
    # The first that may run is next, so the longest chain comes first.
    "install": ("make installed", (), None),
    "engine": (str(UP) if os.access(UP, os.X_OK) else "docker info", (), None),
    "programs": ("make test-programs", ("install",), GATEWAYS),
    "lint": ("make lint", ("install",), None),
    "compile": ("make compiled", ("lint",), None),  # both use mypy's cache
    "grpcio": ("make test-grpcio", ("install",), GATEWAYS),
    "compiled-gateway": ("make test-compiled-gateway", ("compile",), GATEWAYS),
    "chaos": ("make test-chaos", ("install",), GATEWAYS),
    "unit": ("make test-unit", ("install",), None),
    "compose": ("make test-compose", ("install", "engine"), None),
    "compiled-unit": ("make test-compiled-unit", ("compile",), None),
    "fuzz": ('make fuzz SECONDS=60 ARGS="--jobs 1"', ("install",), None),
    "bench": ("make bench-smoke", ("compile",), ALONE),
    "engines": ("make engines", ("install", "engine"), CLUSTERS),
    "envoy-gateway": ("make test-envoy-gateway", ("engines",), CLUSTERS),
    "istio": ("make test-istio", ("engines",), CLUSTERS),
    "kubernetes": (f"{ANEW}; make test-kubernetes", ("engines",), CLUSTERS),
    "helm": (f"{ANEW}; make test-helm", ("engines",), CLUSTERS),
}

UNTESTED = "ci: the overlays and the chart are NOT tested with the real controllers"
WITH_CLUSTERS = [name for name, (_, _, beside) in STAGES.items() if beside is CLUSTERS]
NEEDED_BY_CLUSTERS = ["install", "engine", *WITH_CLUSTERS]


class Stage:
    """A stage that runs, in a process group of its own."""

    def __init__(self, name, latest):
        """Start it. Builds of `engines` end at `latest`, when no stage that needs them begins any more."""
        self.name, self.beside, self.log = name, STAGES[name][2], LOGS / f"{name}.log"
        self._cut_off, self._begun = False, time.monotonic()
        self._end = self._begun + (LONGEST_OF_CLUSTERS if self.beside is CLUSTERS else LONGEST)
        if name == "engines":
            self._end = min(self._begun + LONGEST, latest)
        print(f"ci: {name} begins", flush=True)
        with self.log.open("wb") as log:
            command = ["bash", "-c", STAGES[name][0]]
            streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            self._process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, **streams)

    def ended(self):
        """Return whether it has ended. One that takes too long is killed; one with a cluster may stop that first."""
        if time.monotonic() > self._end and self._process.poll() is None:
            self._cut_off = self.beside is CLUSTERS
            if self._cut_off:
                self._interrupt()
            self.kill()
        return self._process.poll() is not None

    def _interrupt(self):
        os.killpg(self._process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(CLEANING)

    def kill(self):
        """Kill it and what it has started."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def report(self):
        """Print its output; return its result, in one line."""
        code, seconds = self._process.returncode, time.monotonic() - self._begun
        outcome = "left out" if self._cut_off else "passed" if code == 0 else "FAILED"
        result = f"{self.name:17} {outcome} {seconds:6.0f} s"
        print(f"\n===== {self.name}: {STAGES[self.name][0]}\n{self.log.read_text(errors='replace')}", end="")
        print(f"===== {result}\n", flush=True)
        return result


def may_run(name, waiting, running):
    """Return whether a stage that waits may run beside those that run."""
    _, before, beside = STAGES[name]
    loads = [stage.beside for stage in running]
    if {ALONE, CLUSTERS} & {*loads} or (beside in (ALONE, CLUSTERS) and running):
        return False
    if beside is GATEWAYS and GATEWAYS in loads:
        return False
    if beside is CLUSTERS and any(STAGES[other][2] is not CLUSTERS for other in waiting):
        return False
    return not {*waiting, *(stage.name for stage in running)} & {*before}


def left_out(waiting):
    """Return the stages with a cluster that do not begin any more."""
    return [name for name in waiting if STAGES[name][2] is CLUSTERS]


def run(waiting, begun):
    """Run the stages; return their results. `begun` is when the first may have begun."""
    running, results = [], []
    latest = begun + LATEST
    try:
        while waiting or running:
            if time.monotonic() > latest and (late := left_out(waiting)):
                waiting = [name for name in waiting if name not in late]
                print(f"ci: {LATEST // 60} minutes have passed: NOT tested are {', '.join(late)}", flush=True)
                results += [f"{name:17} left out" for name in late]
                continue
            free = [name for name in waiting if len(running) < AT_ONCE and may_run(name, waiting, running)]
            if free:
                waiting.remove(free[0])
                running.append(Stage(free[0], latest))
                continue
            time.sleep(0.2)
            for stage in [one for one in running if one.ended()]:
                running.remove(stage)
                results.append(stage.report())
    finally:
        for stage in running:
            stage.kill()
    return results


def engine_answers():
    """Return whether a Docker engine runs, or a program can start one."""
    return os.access(UP, os.X_OK) or (
        shutil.which("docker") and subprocess.run(["docker", "info"], capture_output=True).returncode == 0
    )


def unavailable():
    """Return the stages for which this machine lacks something."""
    missing = set()
    if not engine_answers():
        missing |= {"engine", "compose", "kubernetes", "helm"}
    scripts = [ENGINES / name for name in ("envoy-gateway", "istiod", "kube")]
    if os.geteuid() != 0 or not all(os.access(script, os.X_OK) for script in scripts):
        missing |= {*WITH_CLUSTERS}
    return missing


def built():
    """Return whether everything that the stages with a cluster start is built."""
    return all(any(CACHE.glob(pattern)) for pattern in BUILT)


def chosen(arguments):
    """Return the stages to run, and why others are not: those that the arguments name, or all that are possible."""
    missing, reasons = unavailable(), []
    names = [name for each in arguments for name in (NEEDED_BY_CLUSTERS if each == "clusters" else [each])]
    if "compose" in missing:
        reasons.append("ci: no Docker engine responds: the images and docker-compose.yml are NOT tested")
    if "istio" in missing:
        reasons.append(f"{UNTESTED}: that takes root, and the scripts that start controllers in {ENGINES}")
    elif not names and (CLUSTERS_TOO == "0" or not (CLUSTERS_TOO or built())):
        missing |= {*WITH_CLUSTERS}
        reasons.append(f"{UNTESTED}: they are not built here, or CI_CLUSTERS is 0; `.ci/run clusters` builds and tests")
    elif built() and "engines" not in arguments:
        missing.add("engines")
    return [name for name in names or STAGES if name not in missing], reasons


def main():
    """Run the stages that the arguments name, or all; exit with 1 if one fails."""
    os.environ.update(NO_COLOR="1", TERM="dumb", PY_COLORS="0")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if unknown := {*sys.argv[1:]} - {*STAGES, "clusters"}:
        sys.exit(f"ci: no such stage: {', '.join(unknown)}; there are {', '.join(STAGES)}, and clusters")
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)
    begun = time.monotonic()
    names, reasons = chosen(sys.argv[1:])
    results = run(names, begun)
    if {"kubernetes", "helm"} & {*names}:
        subprocess.run(["bash", "-c", ANEW], stdout=subprocess.DEVNULL, check=False)
    print(*reasons, sep="\n", end="\n" if reasons else "")
    print("\n".join(results), f"all of it{'':15} {time.monotonic() - begun:6.0f} s", sep="\n")
    sys.exit(any("FAILED" in result for result in results))


if __name__ == "__main__":
    main()
