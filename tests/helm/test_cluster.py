"""docs/helm.md and the chart in a real cluster: the API server's own checks, and every command of the page.

The cluster is the one that the engine script `kube` starts. Namespaces begin with `helm-`.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.deploy.conftest import ROOT, Object
from tests.helm.conftest import CHART, EXAMPLES, Template
from tests.helm.test_template import SETS, rendered

ENGINES = Path(os.environ.get("ENGINES") or ROOT.parent / "shared" / "engine")
"""The folder of the script `kube`, which starts a cluster."""

PAGE = (ROOT / "docs" / "helm.md").read_text()
DEMO = "qc_kubernetes-demo-for-trying-it-out-only-00000"
DEADLINE = 300.0
"""Seconds after which what was waited for is not going to happen."""

NAMESPACES = ("helm-try", "helm-mine", "helm-workers", "helm-checks")


def commands(title: str) -> list[str]:
    """The lines of all shell blocks below a heading; continued lines are one."""
    section = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    return [line for code in blocks for line in code.replace("\\\n", " ").splitlines() if line]


@dataclass(frozen=True)
class Cluster:
    """A cluster, with the programs that reach it on the PATH."""

    environment: dict[str, str] = field(repr=False)

    def run(self, command: str, *, stdin: str | None = None, cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
        """Run a line of a shell; it may fail."""
        return subprocess.run(
            ["bash", "-c", command],
            input=stdin,
            env=self.environment,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )

    def done(self, command: str, **options: Any) -> str:
        """Run a line of a shell that succeeds; return its output."""
        done = self.run(command, **options)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def read(self, command: str) -> Any:
        """Return the objects that a command of kubectl prints."""
        return json.loads(self.done(f"kubectl {command} -o json"))

    @contextmanager
    def background(self, command: str, pattern: str) -> Iterator[str]:
        """Run a command until the end of the block; yield the match of `pattern` in its first line."""
        streams: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        with subprocess.Popen(shlex.split(command), env=self.environment, **streams) as process:
            try:
                line = process.stdout.readline()  # type: ignore[union-attr]
                match = re.search(pattern, line)
                assert match, line
                yield match[1]
            finally:
                process.terminate()

    def delete(self, namespace: str) -> None:
        """Delete a namespace, without waiting for drains, and wait until it is gone.

        It ends first, so that no new pod takes the place of one that is deleted.
        """
        self.done(f"kubectl delete namespace {namespace} --ignore-not-found --wait=false")
        self.run(f"kubectl -n {namespace} delete pods --all --grace-period=0 --force --wait=false")
        self.done(f"kubectl wait --for=delete namespace/{namespace} --timeout=180s")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """The running cluster, with the images in it and the tests' namespaces gone."""
    script = ENGINES / "kube"
    assert script.exists(), f"{script} does not exist: set ENGINES to the folder of the script that starts a cluster"
    done = subprocess.run([script, "up"], capture_output=True, text=True, check=False, timeout=3000)
    match = re.search(r"export PATH=(\S+):\$PATH KUBECONFIG=(\S+)", done.stdout)
    assert match, done.stdout + done.stderr
    helm = Path(os.environ.get("HELM", "helm")).parent
    path = f"{match[1]}:{helm}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    here = Cluster({**os.environ, "PATH": path, "KUBECONFIG": match[2]})
    here.done(f"{script} load envoyproxy/envoy:v1.40.0")
    for namespace in NAMESPACES:
        here.delete(namespace)
    yield here
    for namespace in NAMESPACES:
        here.delete(namespace)


def until(description: str, condition: Callable[[], Any]) -> Any:
    """Wait until a condition is true; return its value."""
    end = time.monotonic() + DEADLINE
    while not (value := condition()):
        assert time.monotonic() < end, f"it does not happen: {description}"
        time.sleep(0.2)
    return value


def namespace(cluster: Cluster, name: str) -> str:
    """Make a namespace with the restricted standard."""
    cluster.done(f"kubectl create namespace {name}")
    cluster.done(f"kubectl label namespace {name} pod-security.kubernetes.io/enforce=restricted")
    return name


# The API server's own checks


@pytest.fixture(scope="module")
def checked(cluster: Cluster) -> str:
    """A namespace with the restricted standard, in which nothing runs."""
    return namespace(cluster, "helm-checks")


@pytest.mark.parametrize("name", [*SETS, *EXAMPLES])
def test_the_api_server_takes_the_objects(name: str, cluster: Cluster, checked: str, template: Template) -> None:
    """Apply, as a dry run, all whose kinds it has, and a pod of each Deployment, for the restricted standard."""
    lines = map(str.split, cluster.done("kubectl api-resources --no-headers").splitlines())
    known = {(line[-3], line[-1]) for line in lines}
    objects = [each for each in rendered(name, template) if (each["apiVersion"], each["kind"]) in known]
    assert {"Deployment", "Service", "Pod"} <= {each["kind"] for each in objects}
    objects += [pod_of(each) for each in objects if each["kind"] == "Deployment"]
    for each in objects:
        each["metadata"]["namespace"] = checked
    done = cluster.run("kubectl apply --dry-run=server --validate=strict -f -", stdin=yaml.safe_dump_all(objects))
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    assert done.stdout.count("(server dry run)") == len(objects)


def pod_of(deployment: Object) -> Object:
    """A pod as a Deployment makes it, but for what it names of other objects that are not in the cluster."""
    template = deployment["spec"]["template"]
    spec = {
        name: value
        for name, value in template["spec"].items()
        if name not in ("serviceAccountName", "priorityClassName")
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {**template["metadata"], "name": "any"}, "spec": spec}


# The page, and what becomes of its release


def here(line: str, name: str) -> str:
    """A line of the page for a namespace of the tests, and for this machine's cluster."""
    line = re.sub(r"(-n|namespace) oai-gateway", rf"\1 {name}", line)
    return re.sub(r"^kind load docker-image", f"{ENGINES / 'kube'} load", line)


HELLO = {"model": "anthropic.claude-sonnet-4-6", "messages": [{"role": "user", "content": "Hello!"}]}


@dataclass(frozen=True)
class Release:
    """The page's release `oai-gateway` in a namespace."""

    cluster: Cluster
    namespace: str
    url: str
    """The API, as the node reaches it through the Service."""

    def call(self, text: str = "Hello!") -> int:
        """Make a call on a connection of its own; return the response's status."""
        body = {**HELLO, "messages": [{"role": "user", "content": text}]}
        headers = {"authorization": f"Bearer {DEMO}"}
        return httpx.post(f"{self.url}/chat/completions", json=body, headers=headers, timeout=60).status_code

    def pods(self) -> set[str]:
        """Return the names of its pods that are not terminating."""
        items = self.cluster.read(f"-n {self.namespace} get pods -l app.kubernetes.io/instance=oai-gateway")["items"]
        return {each["metadata"]["name"] for each in items if "deletionTimestamp" not in each["metadata"]}

    def upgrade(self, *options: str) -> None:
        """Upgrade it by the page's line with more options, and wait."""
        line = next(line for line in commands("Try it") if line.startswith("helm install"))
        self.cluster.done(here(line.replace("install", "upgrade"), self.namespace) + " " + shlex.join(options))


@pytest.fixture(scope="module")
def release(cluster: Cluster) -> Release:
    """The release that the page's commands have made, up to the port that is forwarded."""
    lines = commands("Try it")
    starts = ["make image", "kind load", "kubectl create", "kubectl label", "kubectl -n", "helm install", "helm test"]
    assert [line.startswith(start) for line, start in zip(lines, starts, strict=False)] == [True] * 7
    assert len(lines) == 9
    cluster.done("make -n image")
    for line in lines[1:7]:
        cluster.done(here(line, "helm-try"))
    spec = cluster.read("-n helm-try get service oai-gateway")["spec"]
    return Release(cluster, "helm-try", f"http://{spec['clusterIP']}:{spec['ports'][0]['port']}/oai/v1")


def test_the_curl_line_gets_a_response(release: Release) -> None:
    forward, curl = commands("Try it")[-2:]
    line = here(forward, release.namespace).replace(" 8080:", " :")
    with release.cluster.background(line, r"from (127\.0\.0\.1:\d+)") as address:
        document = json.loads(release.cluster.done(curl.replace("127.0.0.1:8080", address)))
    assert "You said" in document["choices"][0]["message"]["content"]


def test_notes_print_the_next_commands(release: Release) -> None:
    notes = release.cluster.done("helm get notes oai-gateway -n helm-try")
    assert "kubectl -n helm-try port-forward service/oai-gateway 8080:80" in notes
    (curl,) = (line for line in notes.splitlines() if line.strip().startswith("curl "))
    here = curl.replace("http://127.0.0.1:8080/oai/v1", release.url)
    listed = json.loads(release.cluster.done(f"export OPENAI_API_KEY={DEMO}; {here}"))
    assert [model["id"] for model in listed["data"]]


def test_the_hook_lists_the_models_with_a_token(release: Release) -> None:
    release.cluster.done(f"kubectl -n helm-try create secret generic caller --from-literal=token={DEMO}")
    release.upgrade("--set=test.tokenSecret.name=caller")
    release.cluster.done("helm test oai-gateway -n helm-try")
    assert '"object":"list"' in release.cluster.done("kubectl -n helm-try logs oai-gateway-test").replace(" ", "")


def test_the_hook_fails_where_the_gateway_does_not_respond(release: Release) -> None:
    release.cluster.done("kubectl -n helm-try create secret generic wrong --from-literal=token=qc_wrong")
    release.upgrade("--set=test.tokenSecret.name=wrong")
    assert release.cluster.run("helm test oai-gateway -n helm-try").returncode != 0
    assert "invalid_api_key" in release.cluster.done("kubectl -n helm-try logs oai-gateway-test")


def test_upgrades_and_a_rollback(release: Release) -> None:
    """Organisations are reloaded, limits make new pods, a rollback undoes both; no call is lost."""
    failures: list[int | httpx.HTTPError] = []
    over = threading.Event()
    served = 0

    def calls() -> None:
        nonlocal served
        while not over.is_set():
            try:
                status: int | httpx.HTTPError = release.call()
            except httpx.HTTPError as error:
                status = error
            served += 1
            if status not in (200, 404):
                failures.append(status)

    load = threading.Thread(target=calls)
    load.start()
    try:
        before = release.pods()
        release.upgrade('--set-json=config.gateway.organisations.demo.models.allow=["amazon.*"]')
        until("the worker takes over the organisation", lambda: release.call() == 404)
        assert release.pods() == before
        release.upgrade("--set=config.gateway.limits.request_bytes=2000000")
        until("the old pods are told to end", lambda: not release.pods() & before)
        until("no call goes to the old pods", lambda: release.call("x" * 2_100_000) == 413)
        release.cluster.done("helm rollback oai-gateway 1 -n helm-try --wait")
        until("the first settings are back", lambda: release.call("x" * 2_100_000) == 200)
    finally:
        over.set()
        load.join()
    assert failures == []
    assert served > 20
    history = json.loads(release.cluster.done("helm history oai-gateway -n helm-try -o json"))
    assert history[-1]["status"] == "deployed"
    release.cluster.done("helm test oai-gateway -n helm-try")


def test_the_commands_for_the_real_bedrock(cluster: Cluster, tmp_path: Path) -> None:
    """Up to the pods: there is no AWS here."""
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    copy, token, secret, upgrade = commands("With the real Bedrock")
    namespace(cluster, "helm-mine")
    cluster.done(copy, cwd=tmp_path)
    lines = cluster.done(token, cwd=tmp_path)
    entry = lines[lines.index("- name:") :]
    (tmp_path / "tokens.yaml").write_text(f"tokens:\n{entry}")
    cluster.done(here(secret, "helm-mine"), cwd=tmp_path)
    cluster.done(here(upgrade, "helm-mine"), cwd=tmp_path)
    account = cluster.read("-n helm-mine get serviceaccount oai-gateway")
    assert account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"].endswith(":role/oai-gateway")
    deployment = cluster.read("-n helm-mine get deployment oai-gateway")
    condition = {each["type"]: each["status"] for each in deployment["status"].get("conditions", [])}
    assert condition.get("ReplicaFailure") is None
    cluster.done("helm uninstall oai-gateway -n helm-mine --wait=false")


def test_workers_for_another_envoy(cluster: Cluster, tmp_path: Path) -> None:
    """Mode `worker`, whose hook checks the certificate by the name that Envoys look for."""
    name = namespace(cluster, "helm-workers")
    script = f"NAME=oai-extproc.{name}.svc.cluster.local {ROOT}/deploy/kubernetes/processor/make-certificates"
    cluster.done(f"{script} certificates", cwd=tmp_path)
    create = f"kubectl -n {name} create secret generic"
    cluster.done(f"{create} oai-extproc-tls --from-file=certificates/server", cwd=tmp_path)
    cluster.done(f"{create} oai-tokens --from-file={ROOT}/deploy/kubernetes/overlays/local/tokens.yaml")
    options = (
        "--set=mode=worker,image.tag=latest,autoscaling.enabled=false,replicas=1,extproc.resources.requests.cpu=50m"
    )
    keys = "--set-json=extraEnv=" + shlex.quote(
        json.dumps([{"name": key, "value": "none"} for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")])
    )
    organisation = "--set-json=config.gateway.organisations.demo={}"
    cluster.done(f"helm install oai-extproc {CHART} -n {name} {options} {keys} {shlex.quote(organisation)}")
    cluster.done(
        f"kubectl -n {name} wait pod -l app.kubernetes.io/instance=oai-extproc --for=condition=Ready --timeout=120s"
    )
    cluster.done(f"helm test oai-extproc -n {name}")
    assert f"oai-extproc.{name}.svc.cluster.local" in cluster.done(f"kubectl -n {name} logs oai-extproc-test")
    cluster.done(f"helm uninstall oai-extproc -n {name} --wait=false")


def test_the_command_for_istio(cluster: Cluster) -> None:
    """Rendered for the cluster's version: its kinds are a mesh's, which `make test-istio` has."""
    (line,) = commands("With a mesh")
    printed = cluster.done(f"{line} --dry-run=client")
    assert {each["kind"] for each in yaml.safe_load_all(printed.partition("MANIFEST:")[2].partition("NOTES:")[0])} >= {
        "EnvoyFilter",
        "VirtualService",
    }
