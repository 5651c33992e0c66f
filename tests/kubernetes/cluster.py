"""A cluster that is there, as `kubectl` and the node's root see it.

Objects are those of deploy/kubernetes, in a copy in which only what a reader changes is changed, in namespaces that
begin with `oai-test-`. Nothing else of the cluster is touched.
"""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Object = dict[str, Any]

DEADLINE = 300.0
"""Seconds after which what was waited for is not going to happen."""


def kubectl(*arguments: str, stdin: str | None = None, check: bool = True, cwd: Path | None = None) -> str:
    """Run kubectl; return what it printed, warnings included."""
    done = subprocess.run(
        ["kubectl", *arguments], input=stdin, capture_output=True, text=True, timeout=2 * DEADLINE, check=False, cwd=cwd
    )
    assert not check or done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def read(*arguments: str) -> Any:
    """Return what `kubectl … -o json` prints."""
    done = subprocess.run(
        ["kubectl", *arguments, "-o", "json"], capture_output=True, text=True, timeout=DEADLINE, check=True
    )
    return json.loads(done.stdout)


def until(description: str, condition: Callable[[], Any], deadline: float = DEADLINE) -> Any:
    """Wait until a condition is true; return its value."""
    end = time.monotonic() + deadline
    while not (value := condition()):
        assert time.monotonic() < end, f"it does not happen: {description}"
        time.sleep(0.25)
    return value


@dataclass(frozen=True)
class Namespace:
    """A namespace, and the overlay that was applied there from `folder`."""

    name: str
    folder: Path

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """Run kubectl in the namespace."""
        return kubectl("-n", self.name, *arguments, stdin=stdin, check=check)

    def read(self, *arguments: str) -> Any:
        """Return objects of the namespace."""
        return read("-n", self.name, *arguments)

    def apply(self) -> str:
        """Apply the folder as it is now; what kubectl printed."""
        return kubectl("apply", "-k", str(self.folder))

    def rolled_out(self, deployment: str) -> None:
        """Wait for the end of a roll-out."""
        self.kubectl("rollout", "status", f"deployment/{deployment}", f"--timeout={DEADLINE:g}s")

    def pods(self, application: str) -> list[Object]:
        """Return the pods of an application that are not terminating."""
        items = self.read("get", "pods", "-l", f"app.kubernetes.io/name={application}")["items"]
        return [pod for pod in items if "deletionTimestamp" not in pod["metadata"]]

    def names(self, application: str) -> set[str]:
        """Return the names of all its pods, also of those that are terminating."""
        items = self.read("get", "pods", "-l", f"app.kubernetes.io/name={application}")["items"]
        return {pod["metadata"]["name"] for pod in items}

    def gone(self, application: str, names: set[str]) -> None:
        """Wait until these pods have ended."""
        until(f"{names} end", lambda: not names & self.names(application))

    def address(self, service: str) -> str:
        """Return host and port of a Service, as the node reaches it."""
        spec = self.read("get", "service", service)["spec"]
        return f"{spec['clusterIP']}:{spec['ports'][0]['port']}"

    @contextmanager
    def forwarded(self, target: str, port: int) -> Iterator[str]:
        """A port of the node that leads to a port of a pod; yields host and port."""
        with port_forward(["kubectl", "-n", self.name, "port-forward", target, f":{port}"]) as address:
            yield address

    def log(self, pod: str, container: str, *more: str) -> str:
        """Return what a container has logged so far."""
        return self.kubectl("logs", pod, "-c", container, *more)

    def delete(self) -> None:
        """Delete the namespace, without waiting for hooks and drains.

        It ends first, so that no new pod takes the place of one that is deleted.
        """
        kubectl("delete", "namespace", self.name, "--ignore-not-found", "--wait=false")
        self.kubectl("delete", "pods", "--all", "--grace-period=0", "--force", "--wait=false", check=False)


def cleared(name: str) -> None:
    """Delete a namespace that an earlier run has left, and wait until it is gone."""
    Namespace(name, Path()).delete()
    until(
        f"{name} is gone", lambda: name not in {each["metadata"]["name"] for each in read("get", "namespaces")["items"]}
    )


@contextmanager
def port_forward(command: list[str]) -> Iterator[str]:
    """Run `kubectl port-forward`; yield host and port."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            match = re.search(r"Forwarding from (127\.0\.0\.1:\d+)", line)
            assert match is not None, line + process.stdout.read()
            yield match[1]
        finally:
            process.terminate()


# Containers, from the node


def status(pod: Object, container: str) -> Object:
    """Return the status of one of a pod's containers."""
    both = [*pod["status"].get("initContainerStatuses", []), *pod["status"].get("containerStatuses", [])]
    (match,) = (each for each in both if each["name"] == container)
    return match


def process_of(pod: Object, container: str) -> int:
    """Return the pid, on this machine, of a container's first process."""
    identifier = status(pod, container)["containerID"].rpartition("/")[2]
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            inside = identifier in (folder / "cgroup").read_text()
            numbers = re.search(r"^NSpid:\s+(.*)$", (folder / "status").read_text(), re.MULTILINE)
        except OSError:  # the container has ended
            continue
        if inside and numbers and numbers[1].split()[-1] == "1":
            return int(folder.name)
    raise AssertionError(f"no process of this machine is {container} of {pod['metadata']['name']}")


def send(pod: Object, container: str, number: signal.Signals) -> None:
    """Send a signal to a container's first process, as the node's root does."""
    os.kill(process_of(pod, container), number)
