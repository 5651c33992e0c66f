"""Run what CI runs: every stage of a table, two at a time, all of them even if one fails.

A stage's output appears whole when it has ended, and stays in .run/ci; the last lines are the seconds of each and which
failed. `.ci/run NAME…` runs these alone.
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
UP = Path(os.environ.get("ENGINE_UP") or ROOT.parent / "shared" / "engine" / "up")
"""Starts a Docker engine, on machines that have such a program; others may have an engine that runs."""

AT_ONCE = 2
LONGEST = 2400
"""Seconds after which a stage is killed."""

GATEWAYS, ALONE = "gateways", "alone"

STAGES = {
    # name: (command, stages that end before it, what it does not run beside)
    #
    # GATEWAYS: one of these at a time. They flood Envoys and measure their memory.
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
    "compose": ("make test-compose", ("install", "engine"), None),
    "unit": ("make test-unit", ("install",), None),
    "compiled-unit": ("make test-compiled-unit", ("compile",), None),
    "fuzz": ('make fuzz SECONDS=60 ARGS="--jobs 1"', ("install",), None),
    "bench": ("make bench-smoke", ("compile",), ALONE),
}


class Stage:
    """A stage that runs, in a process group of its own."""

    def __init__(self, name):
        self.name, self.beside, self.log = name, STAGES[name][2], LOGS / f"{name}.log"
        print(f"ci: {name} begins", flush=True)
        with self.log.open("wb") as log:
            command = ["bash", "-c", STAGES[name][0]]
            streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            self._process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, **streams)
        self._begun = time.monotonic()

    def ended(self):
        """Return whether it has ended. One that takes too long is killed."""
        if time.monotonic() - self._begun > LONGEST:
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
    if ALONE in loads or (beside is ALONE and running) or (beside is GATEWAYS and GATEWAYS in loads):
        return False
    return not {*waiting, *(stage.name for stage in running)} & {*before}


def run(waiting):
    """Run the stages; return their results."""
    running, results = [], []
    try:
        while waiting or running:
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


def main():
    """Run the stages that the arguments name, or all; exit with 1 if one fails."""
    os.environ.update(NO_COLOR="1", TERM="dumb", PY_COLORS="0")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    names = sys.argv[1:] or list(STAGES)
    if unknown := {*names} - {*STAGES}:
        sys.exit(f"ci: no such stage: {', '.join(unknown)}; there are {', '.join(STAGES)}")
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)
    engine = engine_answers()
    begun = time.monotonic()
    results = run([name for name in names if engine or name not in ("engine", "compose")])
    if not engine:
        print("ci: no Docker engine responds: the images and docker-compose.yml are NOT tested")
    print("\n".join(results), f"all of it{'':15} {time.monotonic() - begun:6.0f} s", sep="\n")
    sys.exit(any("FAILED" in result for result in results))


if __name__ == "__main__":
    main()
