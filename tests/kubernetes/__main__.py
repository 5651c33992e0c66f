"""Tests deploy/kubernetes on a real cluster: `python -m tests.kubernetes [pytest's arguments]`.

It has an engine script start the cluster, gives the node the images that `make image` built, runs groups of tests at
once, each in namespaces of its own, and writes what they measured to docs/kubernetes.md if all of them passed. The
cluster goes on running; the script's `down` stops it.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.deploy.conftest import ROOT
from tests.kubernetes.figures import Figures, write

ENGINE = Path(os.environ.get("ENGINES") or ROOT.parent / "shared" / "engine") / "kube"
"""The script that starts a cluster, loads images into it and stops it."""

WORK = ROOT / ".run" / "kubernetes"
IMAGES = ("oai-extproc:latest", "oai-extproc-bedrock-local:latest", "envoyproxy/envoy:v1.40.0")

GROUPS = {
    "aws": ["test_aws.py"],
    "local": ["test_local.py", "test_failures.py"],
    "sidecar": ["test_objects.py", "test_sidecar.py", "test_certificates.py"],
}
"""Files that share no namespace with another group's. They wait for drains and probes most of the time."""

NOTHING_SELECTED = 5
"""pytest's exit code."""


def main() -> int:
    if not ENGINE.exists():
        print(f"{ENGINE} does not exist: set ENGINES to the folder of the script `kube`, which starts a cluster")
        return 2
    environment = started()
    subprocess.run([ENGINE, "load", *IMAGES], env=environment, check=True)
    WORK.mkdir(parents=True, exist_ok=True)
    running = {name: group(name, files, environment) for name, files in GROUPS.items()}
    codes = {name: process.wait() for name, process in running.items()}
    for name in GROUPS:
        print(f"\n===== {name}: exit code {codes[name]}\n{(WORK / f'{name}.log').read_text(errors='replace')}")
    if set(codes.values()) - {0, NOTHING_SELECTED} or set(codes.values()) == {NOTHING_SELECTED}:
        return 1
    figures = Figures()
    for name in GROUPS:
        figures.add(WORK / f"{name}.json")
    if figures.complete():
        write(figures)
    return 0


def started() -> dict[str, str]:
    """Start the cluster; return the environment in which `kubectl` finds it."""
    done = subprocess.run([ENGINE, "up"], stdout=subprocess.PIPE, text=True, check=True)
    print(done.stdout, end="", flush=True)
    match = re.search(r"export PATH=(\S+):\$PATH KUBECONFIG=(\S+)", done.stdout)
    assert match is not None, done.stdout
    path = f"{match[1]}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "KUBECONFIG": match[2], "KUBE_ENGINE": str(ENGINE)}


def group(name: str, files: list[str], environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    """Start the tests of one group."""
    paths = [str(Path(__file__).parent / file) for file in files]
    figures = WORK / f"{name}.json"
    figures.write_text("{}")
    command = [sys.executable, "-m", "pytest", "-m", "kubernetes", "--durations=0", "--durations-min=1", *paths]
    command += [f"--figures={figures}", *sys.argv[1:]]
    with (WORK / f"{name}.log").open("wb") as log:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


if __name__ == "__main__":
    sys.exit(main())
