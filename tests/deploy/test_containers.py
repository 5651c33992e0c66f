"""The pod of overlays/local in containers: images, command lines, mounts and security settings unchanged.

Nothing of a container is changed. What a pod has beside its containers is imitated: one container keeps the network
that the others share, a tmpfs is the emptyDir, folders are the ConfigMap and the Secret as the kubelet lays them out.
It takes a Docker engine with today's images (`make image`).
"""

import base64
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from docker import DockerClient, from_env
from openai import OpenAI

from tests.containers import Containers
from tests.deploy.conftest import Object, Objects
from tests.deploy.pods import mount
from tests.deploy.test_pods import DEMO, NOVA
from tests.envoy.gateway.conftest import eventually  # noqa: F401

pytestmark = pytest.mark.compose

IMAGES = ("oai-extproc", "oai-extproc-bedrock-local", "envoyproxy/envoy:v1.40.0")


def docker(*arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def engine() -> Iterator[DockerClient]:
    if shutil.which("docker") is None or docker("info", check=False).returncode:
        pytest.skip("no Docker engine answers: it runs the pod's containers")
    for image in IMAGES:
        if docker("image", "inspect", image, check=False).returncode:
            pytest.skip(f"the engine has no image {image}: `make image` builds ours")
    client = from_env()
    yield client
    client.close()


@dataclass(frozen=True)
class DockerPod:
    """Containers that share a network and a tmpfs; `spec` is that of the Deployment's template."""

    spec: Object
    name: str
    folder: Path

    def container(self, name: str) -> Object:
        (container,) = (
            each for each in (*self.spec["initContainers"], *self.spec["containers"]) if each["name"] == name
        )
        return container

    def start(self, name: str, *options: str) -> None:
        """Start one container, as the pod has it."""
        container, pod = self.container(name), self.spec["securityContext"]
        context = container["securityContext"]
        assert context == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        locked = ["--user", f"{pod['runAsUser']}:{pod['runAsGroup']}", "--group-add", str(pod["fsGroup"])]
        locked += ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
        limit = container["resources"]["limits"]["memory"].replace("Mi", "m").replace("Gi", "g")
        environment = [f"--env={each['name']}={each['value']}" for each in container.get("env", [])]
        places = {
            "run": f"{self.name}-run",
            "config": str(self.folder / "config"),
            "tokens": str(self.folder / "tokens"),
        }
        mounts = [
            f"--volume={places[each['name']]}:{each['mountPath']}{':ro' if each.get('readOnly') else ''}"
            for each in container["volumeMounts"]
        ]
        command, *arguments = [*container["command"], *container["args"]]
        shared = ["--name", f"{self.name}-{name}", f"--network=container:{self.name}-pause", f"--memory={limit}"]
        every = [*options, *shared, *locked, *environment, *mounts, "--entrypoint", command]
        docker("run", *every, container["image"], *arguments)

    def run(self, name: str, command: list[str]) -> int:
        """A probe or a hook in a container; its exit code."""
        return docker("exec", f"{self.name}-{name}", *command, check=False).returncode

    def url(self, port: int) -> str:
        return "http://" + docker("port", f"{self.name}-pause", str(port)).stdout.split()[0]

    def stop(self, name: str) -> int:
        """SIGTERM, and the exit code."""
        docker("stop", "--time", "30", f"{self.name}-{name}")
        return int(docker("inspect", "--format", "{{.State.ExitCode}}", f"{self.name}-{name}").stdout)


@pytest.fixture
def pod(
    engine: DockerClient,
    objects_of: Callable[[str], Objects],
    tmp_path: Path,
    eventually: Any,  # noqa: F811
) -> Iterator[DockerPod]:
    objects = objects_of("overlays/local")
    pod = DockerPod(
        objects.one("Deployment", "oai-gateway")["spec"]["template"]["spec"], f"pod-{tmp_path.name}", tmp_path
    )
    containers = Containers(engine, (pod.name,))
    tmp_path.chmod(0o755)
    texts = objects.one("ConfigMap", "oai-gateway")["data"]
    mount(tmp_path / "config", {name: text.encode() for name, text in texts.items()})
    secret = objects.one("Secret", "oai-tokens")["data"]
    mount(tmp_path / "tokens", {name: base64.b64decode(text) for name, text in secret.items()})
    (bedrock,) = objects.one("Deployment", "bedrock-local")["spec"]["template"]["spec"]["containers"]
    try:
        docker("network", "create", pod.name)
        tmpfs = ["--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=size=16m,gid=65532,mode=2777"]
        docker("volume", "create", *tmpfs, f"{pod.name}-run")
        locked = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", "65532:65532"]
        placement = ["--name", f"{pod.name}-bedrock", f"--network={pod.name}", "--network-alias=bedrock-local"]
        docker("run", "--detach", *placement, *locked, bedrock["image"], *bedrock["args"])
        # This container keeps the tmpfs as well, which ends with its last container.
        keeper = [
            f"--volume={pod.name}-run:/run/oai",
            "--publish=127.0.0.1::8080",
            "--publish=127.0.0.1::8081",
            "--entrypoint=sleep",
        ]
        docker("run", "--detach", f"--name={pod.name}-pause", f"--network={pod.name}", *keeper, IMAGES[1], "infinity")
        pod.start("render", "--rm")
        pod.start("extproc", "--detach")
        startup = pod.container("extproc")["startupProbe"]["exec"]["command"]
        eventually(lambda: pod.run("extproc", startup) == 0)
        pod.start("envoy", "--detach")
        eventually(lambda: status(pod) == 200)
        yield pod
        containers.check()
    except BaseException:
        for name in ("extproc", "envoy"):
            done = docker("logs", f"{pod.name}-{name}", check=False)
            print(done.stdout + done.stderr)
        raise
    finally:
        names = [f"{pod.name}-{name}" for name in ("envoy", "extproc", "render", "pause", "bedrock")]
        docker("rm", "--force", *names, check=False)
        docker("volume", "rm", f"{pod.name}-run", check=False)
        docker("network", "rm", pod.name, check=False)


def status(pod: DockerPod) -> int:
    """Return the status that Envoy's readiness probe gets."""
    try:
        return httpx.get(pod.url(8081) + pod.container("envoy")["readinessProbe"]["httpGet"]["path"]).status_code
    except httpx.HTTPError:
        return 0


def test_the_pod_serves_reloads_and_drains(pod: DockerPod, eventually: Any) -> None:  # noqa: F811
    with OpenAI(base_url=f"{pod.url(8080)}/oai/v1", api_key=DEMO, max_retries=0) as client:
        request: Any = {"model": NOVA, "messages": [{"role": "user", "content": "Count to 5."}]}
        assert client.chat.completions.create(**request).choices[0].message.content
        disabled = {
            "region": "us-east-1",
            "organisations": {"demo": {"enabled": False}},
            "tokens_from": "/etc/oai/tokens",
        }
        mount(pod.folder / "config", {"gateway.yaml": json.dumps(disabled).encode()})
        models, key = f"{pod.url(8080)}/oai/v1/models", {"authorization": f"Bearer {DEMO}"}
        eventually(lambda: httpx.get(models, headers=key).status_code == 403)
    hook = [word.replace("--notice=15", "--notice=1") for word in pre_stop(pod, "extproc")["exec"]["command"]]
    drain = subprocess.Popen(["docker", "exec", f"{pod.name}-extproc", *hook], stderr=subprocess.PIPE, text=True)
    drained = httpx.get(pod.url(8081) + pre_stop(pod, "envoy")["httpGet"]["path"], timeout=60)
    assert (drained.status_code, drained.text) == (200, "drained\n")
    assert drain.wait(60) == 0, drain.stderr
    assert pod.stop("envoy") == 0
    assert pod.stop("extproc") == 0


def pre_stop(pod: DockerPod, name: str) -> Any:
    return pod.container(name)["lifecycle"]["preStop"]
