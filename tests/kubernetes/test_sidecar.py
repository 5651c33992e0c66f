"""overlays/sidecar with an application: the pair is there before it and after it."""

import subprocess
from collections.abc import Callable
from typing import Any

from tests.kubernetes.cluster import Namespace, status, until

CLIENT_TESTS = ("chat", "streaming")


def pod_of(sidecar: Namespace) -> Any:
    """Return the application's one pod."""
    (pod,) = sidecar.pods("shop")
    return pod


def test_pods_keep_to_the_restricted_standard(sidecar: Namespace, restricted: Callable[[Namespace], None]) -> None:
    restricted(sidecar)


def test_the_application_calls_at_its_start(sidecar: Namespace) -> None:
    pod = pod_of(sidecar)
    name = pod["metadata"]["name"]
    until("it has called", lambda: "at the start: message whole" in sidecar.log(name, "shop"))
    assert status(pod, "shop")["restartCount"] == 0


def test_the_client_tests_pass(sidecar: Namespace, client_tests: Callable[..., None]) -> None:
    """Through a port that is forwarded: the pair listens on the pod's loopback."""
    bedrock = f"http://{sidecar.address('bedrock-local')}"
    with sidecar.forwarded("deployment/shop", 10080) as address:
        client_tests(f"http://{address}/oai/v1", bedrock, *CLIENT_TESTS)


def test_the_application_calls_during_its_termination(sidecar: Namespace) -> None:
    name = pod_of(sidecar)["metadata"]["name"]
    command = ["kubectl", "-n", sidecar.name, "logs", "--follow", name, "-c", "shop"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as log:
        sidecar.kubectl("delete", "pod", name)
        output, _ = log.communicate(timeout=60)
    assert output.splitlines() == [
        "at the start: message whole",
        "at the end: message whole",
        "at the end: stream whole",
    ]
