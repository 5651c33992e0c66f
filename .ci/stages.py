"""Run what CI runs: every stage of a table, two at a time, all of them even if one fails.

A stage's output appears whole when it has ended, and stays in .run/ci; the last lines are the seconds of each and which
failed. `.ci/run NAME…` runs these alone.

Decisions: docs/decisions.md, D84, D85.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOGS = ROOT / ".run" / "ci"
ENGINES = Path(os.environ.get("ENGINES") or ROOT.parent / "shared" / "engine")
"""The folder of the scripts that start clusters and controllers; what they build is cached outside of the checkout."""

UP = Path(os.environ.get("ENGINE_UP") or ENGINES / "up")
"""Starts a Docker engine, on machines that have such a program; others may have an engine that runs."""

CLUSTERS_TOO = os.environ.get("CI_CLUSTERS") == "1"
"""Whether to run the stages with a cluster. Their builds, half an hour on two cores, slow the gateways' tests."""

AT_ONCE = 2
LONGEST = 2400
"""Seconds after which a stage is killed."""

LONGEST_OF_CLUSTERS = 900
LATEST = 4200
"""Seconds after which no further stage with a cluster begins."""

GATEWAYS, CLUSTERS, ALONE = "gateways", "clusters", "alone"

STAGES = {
    # name: (command, stages that end before it, what it does not run beside)
    #
    # GATEWAYS: one of these at a time. They flood Envoys and measure their memory.
    # CLUSTERS: one of these at a time, each for 15 minutes at most, and none after 70. They need ENGINES.
    # ALONE: nothing beside it. It measures time.
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
    "engines": ("make engines", ("unit",), None),  # half an hour of builds on a fresh machine, beside the gateways
    "compose": ("make test-compose", ("install", "engine"), None),
    "envoy-gateway": ("make test-envoy-gateway", ("engines",), CLUSTERS),
    "istio": ("make test-istio", ("engines",), CLUSTERS),
    "kubernetes": ("make test-kubernetes", ("engines", "compose"), CLUSTERS),  # both build images
    "compiled-unit": ("make test-compiled-unit", ("compile",), None),
    "fuzz": ('make fuzz SECONDS=60 ARGS="--jobs 1"', ("install",), None),
    "bench": ("make bench-smoke", ("compile",), ALONE),
}


class Stage:
    """A stage that runs, in a process group of its own."""

    def __init__(self, name):
        self.name, self.beside, self.log = name, STAGES[name][2], LOGS / f"{name}.log"
        longest = LONGEST_OF_CLUSTERS if self.beside is CLUSTERS else LONGEST
        self._longest = LATEST if name == "engines" else longest
        print(f"ci: {name} begins", flush=True)
        with self.log.open("wb") as log:
            command = ["bash", "-c", STAGES[name][0]]
            streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            self._process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, **streams)
        self._begun = time.monotonic()

    def ended(self):
        """Return whether it has ended. One that takes too long is killed."""
        if time.monotonic() - self._begun > self._longest:
            self.kill()
        return self._process.poll() is not None

    def kill(self):
        """Kill it and what it has started."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def report(self):
        """Print its output; return its result, in one line."""
        code, seconds = self._process.returncode, time.monotonic() - self._begun
        result = f"{self.name:17} {'passed' if code == 0 else 'FAILED'} {seconds:6.0f} s"
        print(f"\n===== {self.name}: {STAGES[self.name][0]}\n{self.log.read_text(errors='replace')}", end="")
        print(f"===== {result}\n", flush=True)
        return result


def may_run(name, waiting, running):
    """Return whether a stage that waits may run beside those that run."""
    _, before, beside = STAGES[name]
    loads = [stage.beside for stage in running]
    if ALONE in loads or (beside is ALONE and running) or (beside in (GATEWAYS, CLUSTERS) and beside in loads):
        return False
    return not {*waiting, *(stage.name for stage in running)} & {*before}


def left_out(waiting):
    """Return the stages with a cluster that do not begin any more."""
    return [name for name in waiting if STAGES[name][2] is CLUSTERS]


def run(waiting, begun):
    """Run the stages; return their results. `begun` is when the first may have begun."""
    running, results = [], []
    try:
        while waiting or running:
            if time.monotonic() - begun > LATEST and (late := left_out(waiting)):
                waiting = [name for name in waiting if name not in late]
                print(f"ci: {LATEST // 60} minutes have passed: NOT tested are {', '.join(late)}", flush=True)
                results += [f"{name:17} left out" for name in late]
                continue
            free = [name for name in waiting if len(running) < AT_ONCE and may_run(name, waiting, running)]
            if free:
                waiting.remove(free[0])
                running.append(Stage(free[0]))
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
        missing |= {"engine", "compose", "kubernetes"}
    scripts = [ENGINES / name for name in ("envoy-gateway", "istiod", "kube")]
    if not CLUSTERS_TOO or os.geteuid() != 0 or not all(os.access(script, os.X_OK) for script in scripts):
        missing |= {"engines", "envoy-gateway", "istio", "kubernetes"}
    return missing


def main():
    """Run the stages that the arguments name, or all; exit with 1 if one fails."""
    os.environ.update(NO_COLOR="1", TERM="dumb", PY_COLORS="0")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    names = sys.argv[1:] or list(STAGES)
    if unknown := {*names} - {*STAGES}:
        sys.exit(f"ci: no such stage: {', '.join(unknown)}; there are {', '.join(STAGES)}")
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)
    begun = time.monotonic()
    missing = unavailable()
    results = run([name for name in names if name not in missing], begun)
    if "compose" in missing:
        print("ci: no Docker engine responds: the images and docker-compose.yml are NOT tested")
    if "engines" in missing:
        print(
            "ci: no overlay is tested with a controller: that takes CI_CLUSTERS=1, root, and the scripts that start "
            f"controllers in {ENGINES}"
        )
    print("\n".join(results), f"all of it{'':15} {time.monotonic() - begun:6.0f} s", sep="\n")
    sys.exit(any("FAILED" in result for result in results))


if __name__ == "__main__":
    main()
