"""The pods of deploy/kubernetes, run as processes: they serve, reload what is mounted, and end without a lost call."""

import hashlib
import http.client
import json
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import botocore
import httpx
import pytest
import yaml
from openai import OpenAI

from tests.deploy.pods import Pod, healthy, mount, placed, up
from tests.deploy.programs import running
from tests.envoy.conftest import validate  # noqa: F401
from tests.envoy.gateway.conftest import eventually  # noqa: F401
from tests.local_bedrock import LocalBedrock
from tests.programs import Program

CA = str(Path(botocore.__file__).with_name("cacert.pem"))
DEPLOYMENTS = {
    "base": "oai-gateway",
    "overlays/local": "oai-gateway",
    "overlays/aws": "oai-gateway",
    "overlays/sidecar": "shop",
}
DEMO = "qc_kubernetes-demo-for-trying-it-out-only-00000"
NOVA = "amazon.nova-micro-v1:0"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="pod-") as name:
        yield Path(name)


@pytest.mark.parametrize("overlay", DEPLOYMENTS)
def test_envoy_takes_the_configuration_that_a_pod_renders(
    overlay: str,
    objects_of: Any,
    folder: Path,
    validate: Any,  # noqa: F811
) -> None:
    services = {"/etc/ssl/certs/ca-certificates.crt": CA}
    with placed(objects_of(overlay), DEPLOYMENTS[overlay], folder, services) as pod:
        validate(pod.render())


@pytest.fixture
def bedrock(objects_of: Any, folder: Path) -> Iterator[LocalBedrock]:
    """The stand-in for Bedrock of overlays/local."""
    deployment = objects_of("overlays/local").one("Deployment", "bedrock-local")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["--listen", "0.0.0.0:9000"]
    command = [sys.executable, "-u", "-m", "bedrock_local", "--listen", "127.0.0.1:0"]
    with running(command, folder / "bedrock.log", {}) as program:
        yield LocalBedrock(program.wait_for(r"listens on (http://\S+)")[1])


@pytest.fixture
def pod(objects_of: Any, folder: Path, bedrock: LocalBedrock, eventually: Any) -> Iterator[Pod]:  # noqa: F811
    """A gateway of overlays/local that is ready."""
    services = {"http://bedrock-local:9000": bedrock.url}
    with placed(objects_of("overlays/local"), "oai-gateway", folder, services) as pod, up(pod):
        eventually(lambda: healthy(pod) == 200)
        yield pod


def test_a_pod_serves_the_demo_token(pod: Pod) -> None:
    with OpenAI(base_url=pod.url, api_key=DEMO, max_retries=0) as client:
        response = client.chat.completions.create(model=NOVA, messages=[{"role": "user", "content": "Hello!"}])
        assert response.choices[0].message.content
        stream = client.chat.completions.create(
            model=NOVA, messages=[{"role": "user", "content": "Count to 3."}], stream=True
        )
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


def test_metrics_are_at_the_annotated_place(pod: Pod, objects_of: Any) -> None:
    template = objects_of("overlays/local").one("Deployment", "oai-gateway")["spec"]["template"]
    annotations = template["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == "8081"
    metrics = httpx.get(pod.health + annotations["prometheus.io/path"])
    assert 'envoy_http_downstream_rq_total{envoy_http_conn_manager_prefix="oai"}' in metrics.text


def test_probes_report_the_state(pod: Pod) -> None:
    startup = pod.container("extproc")["startupProbe"]["exec"]["command"]
    assert pod.run(startup, "extproc").returncode == 0
    assert pod.programs["extproc"].stop() == 0
    assert pod.run(startup, "extproc").returncode == 1
    assert healthy(pod) == 503


def status(pod: Pod, token: str) -> int:
    return httpx.get(f"{pod.url}/models", headers={"authorization": f"Bearer {token}"}).status_code


def test_tokens_and_organisations_are_reloaded_while_it_runs(pod: Pod, eventually: Any) -> None:  # noqa: F811
    fresh = "qc_" + "n" * 43
    entry = {"name": "new", "sha256": hashlib.sha256(fresh.encode()).hexdigest(), "organisations": ["new"]}
    assert status(pod, fresh) == 401
    mount(pod.folder / "tokens", {"tokens.yaml": yaml.safe_dump({"tokens": [entry]}).encode()})
    pod.programs["extproc"].wait_for("no organisation `new`")
    assert status(pod, DEMO) == 200
    config = {"region": "us-east-1", "organisations": {"new": {}}, "tokens_from": "../tokens"}
    mount(pod.folder / "config", {"gateway.yaml": yaml.safe_dump(config).encode()})
    eventually(lambda: status(pod, fresh) == 200)
    assert status(pod, DEMO) == 401


# A container that has to be started again


@contextmanager
def restarted(pod: Pod, eventually: Any) -> Iterator[Program]:  # noqa: F811
    """Do what the kubelet does when the worker's container has ended, until it serves."""
    with pod.started("extproc") as worker:
        worker.wait_for("serving on unix:")
        eventually(lambda: healthy(pod) == 200)
        yield worker


def test_a_broken_config_map_and_a_worker_that_dies(pod: Pod, eventually: Any) -> None:  # noqa: F811
    mount(pod.folder / "config", {"gateway.yaml": b"nonsense: true"})
    pod.programs["extproc"].wait_for("nonsense")
    pod.programs["extproc"].process.kill()
    pod.programs["extproc"].process.wait()
    with restarted(pod, eventually) as worker:
        assert "starting with the last good settings" in worker.output()
        assert status(pod, DEMO) == 200


def test_a_worker_that_is_stuck_is_detected_and_the_pod_serves_again(pod: Pod, eventually: Any) -> None:  # noqa: F811
    """The kubelet's order: the probe fails, the hook runs, SIGTERM has no effect, SIGKILL after the probe's grace."""
    probe = pod.container("extproc")["livenessProbe"]
    assert probe["terminationGracePeriodSeconds"] <= 60
    assert pod.run(probe["exec"]["command"], "extproc").returncode == 0
    stuck = pod.programs["extproc"].process
    stuck.send_signal(signal.SIGSTOP)
    failed = pod.run(probe["exec"]["command"], "extproc")
    assert failed.returncode == 1
    assert "no response within" in failed.stderr
    hook = pod.run(pod.container("extproc")["lifecycle"]["preStop"]["exec"]["command"], "extproc")
    assert hook.returncode == 0
    assert "Envoy stays in service" in hook.stderr
    stuck.kill()
    stuck.wait()
    with restarted(pod, eventually):
        assert status(pod, DEMO) == 200


def test_only_an_envoy_that_is_stuck_fails_its_liveness_probe(pod: Pod) -> None:
    """Neither one without a worker, nor one that is told to end."""
    probe = pod.container("envoy")["livenessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 60
    assert probe["terminationGracePeriodSeconds"] <= 60

    def returned() -> int:
        return pod.run(probe["exec"]["command"], "envoy").returncode

    assert returned() == 0
    assert pod.programs["extproc"].stop() == 0
    assert (healthy(pod), returned()) == (503, 0)
    with httpx.Client(transport=httpx.HTTPTransport(uds=f"{pod.folder}/run/admin.sock")) as admin:
        assert admin.post("http://envoy/healthcheck/fail").text == "OK\n"
        assert admin.post("http://envoy/drain_listeners?graceful&skip_exit").text == "OK\n"
    assert returned() == 0
    envoy = pod.programs["envoy"].process
    envoy.send_signal(signal.SIGSTOP)
    try:
        assert returned() == 1
    finally:
        envoy.kill()
    envoy.wait()
    assert returned() == 1, "nor does one that is gone pass"


def test_an_envoy_beside_an_application_has_the_same_probe(objects_of: Any) -> None:
    def probe(overlay: str, deployment: str, name: str, port: int) -> Any:
        spec = objects_of(overlay).one("Deployment", deployment)["spec"]["template"]["spec"]
        [container] = [each for each in (*spec["initContainers"], *spec["containers"]) if each["name"] == name]
        assert f"/dev/tcp/localhost/{port} " in container["livenessProbe"]["exec"]["command"][2]
        return json.loads(json.dumps(container["livenessProbe"]).replace(str(port), "PORT"))

    assert probe("overlays/sidecar", "shop", "oai-envoy", 10081) == probe(
        "overlays/local", "oai-gateway", "envoy", 8081
    )


def test_the_probe_of_a_worker_with_tls_reaches_its_event_loop(objects_of: Any) -> None:
    spec = objects_of("processor").one("Deployment", "oai-extproc")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    probe = container["livenessProbe"]
    assert probe["exec"]["command"] == ["oai-extproc", "health", "unix:/run/oai/health.sock"]
    assert "--health=unix:/run/oai/health.sock" in container["args"]
    assert "/run/oai" in [each["mountPath"] for each in container["volumeMounts"]]


# The end of a pod


@dataclass
class CallersOfPod:
    """Callers who go on until they have seen that the pod is not to be sent anything."""

    pod: Pod
    gone: threading.Event = field(default_factory=threading.Event)
    served: int = 0
    failures: list[object] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def call(self, connection: http.client.HTTPConnection) -> bool:
        """Make one call; return whether the connection may be used again."""
        body = json.dumps({"model": NOVA, "messages": [{"role": "user", "content": "Hello!"}]})
        headers = {"authorization": f"Bearer {DEMO}", "content-type": "application/json"}
        connection.request("POST", "/oai/v1/chat/completions", body, headers)
        response = connection.getresponse()
        content = response.read()
        with self.lock:
            self.served += 1
            if response.status != 200:
                self.failures.append((response.status, content))
        return response.getheader("connection") != "close"

    def caller(self, keeps: bool) -> None:
        """Call after call, on one connection as long as it lasts, or each on one of its own."""
        while not self.gone.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self.pod.ports[0], timeout=30)
            try:
                while self.call(connection) and keeps and not self.gone.is_set():
                    pass
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(error)
            finally:
                connection.close()


def hurried(command: list[str]) -> list[str]:
    """The same hook, with less notice than a cluster needs."""
    changed = [re.sub(r"--notice=\d+", "--notice=2", word) for word in command]
    assert changed != command
    return changed


def test_a_pod_ends_without_failing_a_call(
    pod: Pod,
    bedrock: LocalBedrock,
    eventually: Any,  # noqa: F811
) -> None:
    """The kubelet's order: all hooks at once; SIGTERM to a container after its hook, to a sidecar after the others."""
    load = CallersOfPod(pod)
    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(10))
        client = stack.enter_context(OpenAI(base_url=pod.url, api_key=DEMO, max_retries=0))
        text: Any = [{"role": "user", "content": "Count to 9. [[local: hold]]"}]
        streams = [client.chat.completions.create(model=NOVA, messages=text, stream=True) for _ in range(3)]
        callers = [threads.submit(load.caller, index % 2 == 0) for index in range(4)]
        hooks = [threads.submit(run_hook, pod, name) for name in ("extproc", "envoy")]
        eventually(lambda: healthy(pod) == 503)
        time.sleep(1)  # the cluster's delay, half of the notice: calls still come, and are served
        load.gone.set()
        for caller in callers:
            caller.result()
        assert not [hook for hook in hooks if hook.done()]
        bedrock.release()
        for stream in streams:
            assert [chunk.choices[0].finish_reason for chunk in stream if chunk.choices][-1] == "stop"
        assert [hook.result() for hook in hooks] == [0, 200]
    assert load.served > 20
    assert load.failures == []
    pod.programs["envoy"].stop()
    assert pod.programs["extproc"].stop() == 0


def run_hook(pod: Pod, name: str) -> int:
    """A container's preStop: a command's exit code, or a request's status."""
    hook = pod.container(name)["lifecycle"]["preStop"]
    if "exec" in hook:
        return pod.run(hurried(hook["exec"]["command"]), name).returncode
    return httpx.get(pod.health + hook["httpGet"]["path"], timeout=60).status_code


def test_the_sidecar_is_ready_before_the_application_starts(
    objects_of: Any,
    folder: Path,
    bedrock: LocalBedrock,
    eventually: Any,  # noqa: F811
) -> None:
    """The component's pair, with the local Bedrock and a token in its settings."""
    objects = objects_of("overlays/sidecar")
    names = [each["name"] for each in objects.one("Deployment")["spec"]["template"]["spec"]["initContainers"]]
    assert names == ["oai-render", "oai-extproc", "oai-envoy"]
    with placed(objects, "shop", folder, {}) as pod:
        endpoint = {
            "AWS_ENDPOINT_URL": bedrock.url,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local-secret",
        }
        for name in ("render", "extproc"):
            pod.container(name)["env"] = [{"name": key, "value": value} for key, value in endpoint.items()]
        entry = {"name": "shop", "sha256": hashlib.sha256(DEMO.encode()).hexdigest(), "organisations": ["shop"]}
        mount(folder / "tokens", {"tokens.yaml": yaml.safe_dump({"tokens": [entry]}).encode()})
        with up(pod):
            eventually(lambda: healthy(pod) == 200)
            assert status(pod, DEMO) == 200
            variable = pod.spec["containers"][0]["env"][0]
            assert variable == {"name": "OPENAI_BASE_URL", "value": "http://127.0.0.1:10080/oai/v1"}
