"""Containers of overlays/local that die or get stuck, and settings that are broken: the pod recovers by itself."""

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.kubernetes.cluster import Namespace, send, status, until
from tests.kubernetes.conftest import DEMO, everywhere, ready
from tests.kubernetes.figures import Figures

GATEWAY = "oai-gateway"


def only(local: Namespace) -> Any:
    """Return the gateway's one pod as it is now."""
    (pod,) = local.pods(GATEWAY)
    return pod


def restarts(local: Namespace) -> dict[str, int]:
    """Return how often each container of the pod was started again."""
    pod = only(local)
    return {name: status(pod, name)["restartCount"] for name in ("extproc", "envoy")}


def serves(local: Namespace) -> bool:
    return everywhere(local, DEMO) == {200}


@pytest.fixture(autouse=True)
def fresh(local: Namespace) -> None:
    """A pod of its own for each test: the kubelet waits before it starts a container for the second time."""
    local.kubectl("delete", "pods", "-l", f"app.kubernetes.io/name={GATEWAY}", "--grace-period=1", "--wait=false")
    until("one pod is there, and ready", lambda: len(local.names(GATEWAY)) == len(ready(local)) == 1)
    until("it serves", lambda: serves(local))


def replaced(local: Namespace, container: str, number: signal.Signals) -> int:
    """Send a signal to a container, wait until it has been started again and calls are served; return the seconds."""
    before = restarts(local)
    started = time.monotonic()
    send(only(local), container, number)
    until(f"{container} is started again", lambda: restarts(local)[container] == before[container] + 1)
    until("calls are served", lambda: serves(local))
    assert restarts(local) == {**before, container: before[container] + 1}
    return round(time.monotonic() - started)


@pytest.mark.parametrize(("row", "container"), [("kill-worker", "extproc"), ("kill-envoy", "envoy")])
def test_a_container_that_is_killed_is_started_again(
    local: Namespace, figures: Figures, row: str, container: str
) -> None:
    figures.seconds[row] = replaced(local, container, signal.SIGKILL)


def test_a_worker_that_is_stuck_is_replaced_by_its_probe(local: Namespace, figures: Figures) -> None:
    figures.seconds["stuck"] = replaced(local, "extproc", signal.SIGSTOP)


def test_an_envoy_that_is_stuck_is_replaced_by_its_probe(local: Namespace) -> None:
    replaced(local, "envoy", signal.SIGSTOP)


def test_a_broken_config_map_leaves_the_last_good_settings_in_force(local: Namespace) -> None:
    pod = only(local)["metadata"]["name"]
    good = (local.folder / "gateway.yaml").read_text()
    try:
        changed(local, "nonsense: true\n")
        until("the worker says what is wrong", lambda: "nonsense" in local.log(pod, "extproc"))
        assert serves(local)
        replaced(local, "extproc", signal.SIGKILL)
        assert "starting with the last good settings" in local.log(pod, "extproc")
    finally:
        changed(local, good)


def changed(local: Namespace, text: str) -> None:
    """Change gateway.yaml, and apply it."""
    path: Path = local.folder / "gateway.yaml"
    path.write_text(text)
    local.apply()
