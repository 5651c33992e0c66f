"""Run what CI runs: every stage of a table, two at a time, all of them even if one fails.

A stage's output appears whole when it has ended, and stays in .run/ci. The last lines are the seconds of each, those of
the processor that it took (containers not counted), and which failed. `.ci/run NAME…` runs these alone,
`.ci/run clusters` those with a cluster and what they need.

Decisions: docs/decisions.md, D84, D85, D164, D165, D276, D315.
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

PLACES = 2
"""Stages that run at once, beside those that take less than a place."""

LONGEST = 3600
"""Seconds after which a stage is killed."""

LAST_LINES = 60
"""Lines that are printed again of the output of a stage that failed."""

LONGEST_OF_CLUSTERS = 900
LATEST = 4200
"""Seconds after which no further stage with a cluster begins."""

CLEANING = 60
"""Seconds that a stage with a cluster has to stop it, when its own are over."""

FLOODS, WAITS, PATIENT, MESHES, CLUSTERS, ALONE = "floods", "waits", "patient", "meshes", "clusters", "alone"

MOST_PATIENT = 2
"""Patient stages at once: where they took both places, none would be left for a cluster."""

TAKES = {WAITS: 0.0, MESHES: 0.5, PATIENT: 0.5}
"""Places of stages that wait most of the time, for others or for the processor; each of the others takes one."""

PATIENTLY = "{ echo 19 >/proc/self/autogroup; } 2>/dev/null; renice -n 19 -p $$ >/dev/null; "
"""Has what follows run when nobody else wants the processor. Linux may have a priority for each session, beside that
of each process."""

MINUTES = (
    "tests/envoy/gateway/test_long_calls.py::test_calls_of_minutes",
    "tests/envoy/gateway/test_proxy.py",
    "tests/envoy/gateway/test_table_times.py",
    "tests/envoy/test_stays_up.py",
)
"""Tests that wait for minutes, for the timers of a table or of a proxy's clients, or for a worker to be found stuck."""

FLOODS_OF_GRPCIO = "-k 'not (test_floods and http2)'"
"""Floods name their transport themselves; the stage of compiled code has those of HTTP/2."""

HEART = [f"tests/unit/{name}" for name in ("bedrock", "exchange", "limits", "openai", "tenancy", "translate")]
"""Unit tests of packages that do no I/O."""


def run_tests(target, variable=""):
    """Return a command for a target of the Makefile that runs tests; the slowest are named at the end."""
    return f"make {target} {variable} ARGS='--durations=15 --durations-min=5'"


def programs(folder, leave_out, deselect=()):
    """Return a command for the tests of a folder without some folders, and without some tests."""
    words = [folder, *(f"--ignore {each}" for each in leave_out), *(f"--deselect {each}" for each in deselect)]
    return run_tests("test-programs", f"PROGRAMS='{' '.join(words)}'")


STAGES = {
    # name: (command, stages that end before it, its kind)
    #
    # FLOODS: one of these at a time. They flood Envoys and measure their memory.
    # WAITS: beside any two. Nearly all of its time it waits, for timers or for containers.
    # PATIENT: also beside a cluster, with the lowest priority, two at once, so that a cluster has a place. It computes,
    #   and no test of it has programs to wait for.
    # MESHES: both at once, in one place; not beside floods. They wait for Envoy's health checks, one in 60 s.
    # CLUSTERS: when all but the patient ones have ended, and beside those only. MESHES and these: each for 15 minutes
    #   at most, and none after 70. One that takes longer is left out, and is no failure: the machine is slow.
    # ALONE: nothing beside it. It measures time.
    #
    # The first that may run is next: the longest chain comes first, and the patient stages, which fill the gaps, last.
    "install": ("make installed", (), None),
    "engine": (str(UP) if os.access(UP, os.X_OK) else "docker info", (), None),
    "debian": ("make debian", ("engine",), None),  # both ask apt
    "waiting": (programs(" ".join(MINUTES), ()), ("install",), WAITS),
    "grpcio": (run_tests("test-grpcio", f'FLOODS="{FLOODS_OF_GRPCIO}"'), ("install",), FLOODS),
    "lint": ("make lint", ("install",), None),
    "compile": ("make compiled", ("lint",), None),  # both use mypy's cache
    "compiled-gateway": (run_tests("test-compiled-gateway"), ("compile",), FLOODS),
    "chaos": (run_tests("test-chaos"), ("install",), FLOODS),
    "envoy": (programs("tests/envoy", ["tests/envoy/gateway"], MINUTES), ("install", "debian"), None),
    "compose": (run_tests("test-compose"), ("engine", "compile"), WAITS),  # its images are compiled, too
    "envoy-gateway": (run_tests("test-envoy-gateway"), ("install", "engines"), MESHES),
    "istio": (run_tests("test-istio"), ("install", "engines"), MESHES),
    "clients": (programs("tests", ["tests/unit", "tests/properties", "tests/envoy"]), ("install", "debian"), None),
    "unit": (
        run_tests("test-unit", f"UNIT='tests/unit {' '.join(f'--ignore {each}' for each in HEART)}'"),
        ("install",),
        None,
    ),
    "engines": ("make engines", ("install", "engine"), CLUSTERS),
    "kubernetes": (f"{ANEW}; make test-kubernetes", ("install", "engine", "engines"), CLUSTERS),
    "helm": (f"{ANEW}; {run_tests('test-helm')}", ("install", "engine", "engines"), CLUSTERS),
    "compiled-unit": (run_tests("test-compiled-unit"), ("compile",), PATIENT),
    "heart": (run_tests("test-unit", f"UNIT='{' '.join(HEART)}'"), ("install",), PATIENT),
    "fuzz": ('make fuzz SECONDS=60 ARGS="--jobs 1"', ("install",), PATIENT),
    "properties": (run_tests("test-unit", "UNIT=tests/properties"), ("install",), PATIENT),
    "bench": ("make bench-smoke", ("compile",), ALONE),
}

UNTESTED = "ci: the overlays and the chart are NOT tested with the real controllers"
WITH_CLUSTERS = [name for name, (_, _, kind) in STAGES.items() if kind in (MESHES, CLUSTERS)]
NEEDED_BY_CLUSTERS = ["install", "engine", *WITH_CLUSTERS]


def take_interrupts():
    """Undo what a shell's job in the background inherits: SIGINT ignored, and no shell below can trap it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Stage:
    """A stage that runs, in a process group of its own."""

    def __init__(self, name, latest):
        """Start it. Builds of `engines` end at `latest`, when no stage that needs them begins any more."""
        self.name, self.kind, self.log = name, STAGES[name][2], LOGS / f"{name}.log"
        self._cut_off, self._begun, self._busy = False, time.monotonic(), 0.0
        self._end = self._begun + (LONGEST_OF_CLUSTERS if self.kind in (MESHES, CLUSTERS) else LONGEST)
        if name == "engines":
            self._end = min(self._begun + LONGEST, latest)
        print(f"ci: {name} begins", flush=True)
        with self.log.open("wb") as log:
            command = ["bash", "-c", (PATIENTLY if self.kind is PATIENT else "") + STAGES[name][0]]
            streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            self._process = subprocess.Popen(
                command, cwd=ROOT, start_new_session=True, preexec_fn=take_interrupts, **streams
            )

    def ended(self):
        """Return whether it has ended. One that takes too long is killed; one with a cluster may stop that first."""
        if not self._poll() and time.monotonic() > self._end:
            self._cut_off = self.kind in (MESHES, CLUSTERS)
            if self._cut_off:
                self._interrupt()
            self.kill()
        return self._poll()

    def _poll(self):
        """Return whether it has ended; note then for how long it has used a processor."""
        if self._process.returncode is None:
            pid, status, usage = os.wait4(self._process.pid, os.WNOHANG)
            if pid:
                self._process.returncode = os.waitstatus_to_exitcode(status)
                self._busy = usage.ru_utime + usage.ru_stime
        return self._process.returncode is not None

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
        result = f"{self.name:17} {outcome} {seconds:6.0f} s {self._busy:6.0f} s of a processor"
        print(f"\n===== {self.name}: {STAGES[self.name][0]}\n{self.log.read_text(errors='replace')}", end="")
        print(f"===== {result}\n", flush=True)
        return result


def disturb(kind, other):
    """Return whether stages of these kinds cannot run at once, whatever places there are."""
    kinds = {kind, other}
    if CLUSTERS in kinds:
        return PATIENT not in kinds
    return ALONE in kinds or (kinds <= {FLOODS, MESHES} and FLOODS in kinds)


def may_run(name, waiting, running):
    """Return whether a stage that waits may run beside those that run."""
    _, before, kind = STAGES[name]
    if {*before} & {*waiting, *(stage.name for stage in running)}:
        return False
    if sum(TAKES.get(each, 1) for each in (kind, *(stage.kind for stage in running))) > PLACES:
        return False
    if kind is PATIENT and [stage.kind for stage in running].count(PATIENT) == MOST_PATIENT:
        return False
    last = (CLUSTERS, MESHES, PATIENT, ALONE)
    if kind is CLUSTERS and any(STAGES[other][2] not in last for other in waiting):
        return False
    return not any(disturb(kind, stage.kind) for stage in running)


def left_out(waiting):
    """Return the stages with a cluster that do not begin any more."""
    return [name for name in waiting if STAGES[name][2] in (MESHES, CLUSTERS)]


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
            free = [name for name in waiting if may_run(name, waiting, running)]
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


def show_failures(results):
    """Print the ends of what failed stages have printed once more, where nobody has to look for them."""
    for name in [result.split()[0] for result in results if "FAILED" in result]:
        lines = (LOGS / f"{name}.log").read_text(errors="replace").splitlines()
        print(f"===== the end of {name}, which failed", *lines[-LAST_LINES:], sep="\n", flush=True)


def prepare_environment():
    """Have programs write without colours, and Python keep what it compiles: stages start it a thousand times.

    What pip installs is compiled when it is imported, which most of it never is.
    """
    os.environ.update(NO_COLOR="1", TERM="dumb", PY_COLORS="0", PIP_COMPILE="0")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def main():
    """Run the stages that the arguments name, or all; exit with 1 if one fails."""
    prepare_environment()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if unknown := {*sys.argv[1:]} - {*STAGES, "clusters"}:
        sys.exit(f"ci: no such stage: {', '.join(unknown)}; there are {', '.join(STAGES)}, and clusters")
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)
    begun = time.monotonic()
    names, reasons = chosen(sys.argv[1:])
    results = run(names, begun)
    show_failures(results)
    if {"kubernetes", "helm"} & {*names}:
        subprocess.run(["bash", "-c", ANEW], stdout=subprocess.DEVNULL, check=False)
    print(*reasons, sep="\n", end="\n" if reasons else "")
    print("\n".join(results), f"all of it{'':15} {time.monotonic() - begun:6.0f} s", sep="\n")
    sys.exit(any("FAILED" in result for result in results))


if __name__ == "__main__":
    main()
