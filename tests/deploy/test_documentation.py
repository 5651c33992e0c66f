"""The page docs/kubernetes.md: each command is run, here or on a cluster; what can be compared is compared.

Those that need a cluster are run by tests/kubernetes, and the mesh's by tests/clusters; here they are compared with
the rendered folders, and every one has its row in `ON_A_CLUSTER`.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from extproc import config
from tests.deploy.conftest import KUBERNETES, ROOT, Objects, render
from tests.deploy.programs import environment
from tests.deploy.test_pods import bedrock, folder, pod  # noqa: F401
from tests.envoy.gateway.conftest import eventually  # noqa: F401
from tests.kubernetes import figures, overlays

DOCS = ROOT / "docs" / "kubernetes.md"
TEXT = DOCS.read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def commands() -> Iterator[str]:
    """Every line of every shell block; continued lines are one."""
    for language, code in BLOCKS:
        if language == "sh":
            yield from (line for line in code.replace("\\\n", " ").splitlines() if line)


@pytest.fixture(scope="session")
def everything(objects_of: Any) -> Objects:
    """The objects of all folders that the page has a reader apply."""
    folders = set(re.findall(r"apply -k deploy/kubernetes/(\S+)", TEXT))
    return Objects(each for name in folders for each in objects_of(name.replace("/mine", "/aws")))


def words(line: str) -> list[str]:
    return shlex.split(line, comments=True)


def option(line: list[str], name: str) -> str:
    return line[line.index(name) + 1]


def applies(line: list[str], everything: Objects) -> None:
    assert (ROOT / option(line, "-k").replace("/mine", "/aws") / "kustomization.yaml").exists()


def rolls(line: list[str], everything: Objects) -> None:
    kind, name = line[-1].split("/")
    assert kind == "deployment"
    assert [each for each in everything.of("Deployment", name) if each["metadata"]["namespace"] == option(line, "-n")]


def forwards(line: list[str], everything: Objects) -> None:
    services = list(everything.of("Service", line[-2].removeprefix("service/")))
    assert services
    for service in services:
        assert service["metadata"]["namespace"] == option(line, "-n")
        assert int(line[-1].split(":")[1]) in [port["port"] for port in service["spec"]["ports"]]


def makes_a_secret(line: list[str], everything: Objects) -> None:
    """Check that its name and namespace are those that something refers to."""
    name, namespace = line[line.index("generic") + 1], option(line, "-n")
    text = json.dumps([each for each in everything if each["metadata"].get("namespace") == namespace])
    assert f'"{name}"' in text or f"kubernetes://{name}" in text
    assert line[-1] in ("--from-file=certificates/server", "--from-file=certificates/client")


def makes_a_namespace(line: list[str], everything: Objects) -> None:
    assert list(everything.of("Namespace", line[-1]))


KUBECTL: dict[str, Callable[[list[str], Objects], None]] = {
    "apply": applies,
    "rollout": rolls,
    "port-forward": forwards,
    "secret": makes_a_secret,
    "namespace": makes_a_namespace,
}


ON_A_CLUSTER = {
    "make image": "tests/kubernetes/conftest.py",
    "kind load docker-image": "tests/kubernetes/conftest.py",
    "kubectl apply -k deploy/kubernetes/overlays/local": "tests/kubernetes/conftest.py",
    "kubectl -n oai-gateway rollout status": "tests/kubernetes/conftest.py",
    "kubectl -n oai-gateway port-forward": "tests/kubernetes/test_local.py",
    "curl -s": "tests/kubernetes/test_local.py",
    "docker tag": "tests/kubernetes/conftest.py",
    "docker push": "tests/kubernetes/conftest.py",
    "cp -r": "tests/kubernetes/conftest.py",
    "oai-extproc token create": "tests/kubernetes/conftest.py",
    "kubectl apply -k deploy/kubernetes/overlays/mine": "tests/kubernetes/conftest.py",
    "kubectl -n oai-gateway rollout restart": "tests/kubernetes/test_aws.py",
    "deploy/kubernetes/processor/make-certificates": "tests/kubernetes/test_objects.py",
    "kubectl create namespace": "tests/kubernetes/test_objects.py",
    "kubectl -n oai-gateway create secret generic oai-extproc-tls": "tests/kubernetes/test_objects.py",
    "kubectl -n istio-system create secret generic oai-extproc-client": "tests/kubernetes/test_objects.py",
    "kubectl -n oai-gateway create secret generic oai-extproc-client": "tests/kubernetes/test_objects.py",
    "kubectl apply -k deploy/kubernetes/overlays/istio": "tests/clusters/__main__.py",
    "kubectl apply -k deploy/kubernetes/overlays/envoy-gateway": "tests/clusters/__main__.py",
}
"""The first words of each command of the page, and the file of the test that runs it on a cluster."""


def test_every_command_is_run_on_a_cluster() -> None:
    for line in commands():
        assert len([start for start in ON_A_CLUSTER if line.startswith(start)]) == 1, line
    for start, path in ON_A_CLUSTER.items():
        assert [line for line in commands() if line.startswith(start)], start
        assert (ROOT / path).exists()


IN_SENTENCES = {
    "kubectl apply -k": ("tests/kubernetes/cluster.py", 'kubectl("apply", "-k"'),
    "kubectl rollout restart": ("tests/kubernetes/test_local.py", 'kubectl("rollout", "restart"'),
    "kubectl scale": ("tests/kubernetes/test_aws.py", 'kubectl("scale"'),
    "kind load": ("tests/kubernetes/conftest.py", '["kind", "load"'),
    "oai-extproc drain": ("deploy/kubernetes/base/deployment.yaml", "- drain\n"),
    "drain --worker": ("deploy/kubernetes/base/deployment.yaml", "- --worker=unix:"),
    "serve --health": ("deploy/kubernetes/processor/deployment.yaml", "- --health=unix:"),
    "serve --last-good": ("deploy/kubernetes/base/deployment.yaml", "- --last-good="),
    "make test-kubernetes": ("Makefile", "\ntest-kubernetes:"),
    "make test-istio": ("Makefile", "\ntest-istio:"),
    "make test-envoy-gateway": ("Makefile", "\ntest-envoy-gateway:"),
}
"""Commands outside of the blocks, and where a test or a pod that a test starts runs each."""

ELSEWHERE = {"minikube image load oai-extproc:latest"}
"""Commands that no test runs: minikube is none of the engines."""


def test_every_command_in_a_sentence_is_run() -> None:
    prose = re.sub(r"^```.*?^```$", "", TEXT, flags=re.DOTALL | re.MULTILINE)
    programs = r"(kubectl|kind|minikube|docker|helm|make|oai-extproc|drain|serve|envoy-config) "
    spans = {span for span in re.findall(r"`([^`\n]+)`", prose) if re.match(programs, span)}
    assert spans == {*IN_SENTENCES, *ELSEWHERE}
    for path, code in IN_SENTENCES.values():
        assert code in (ROOT / path).read_text()


def test_the_figures_are_those_that_the_tests_wrote() -> None:
    text = figures.block()
    written = figures.parse(text)
    assert written.complete()
    assert figures.render(written) == text
    assert f"envoyproxy/envoy:v{written.versions['Envoy']}" in (KUBERNETES / "base" / "deployment.yaml").read_text()
    assert f" {written.versions['Kubernetes'].rpartition('.')[0]}" in f" {kubernetes_validate.latest_version()}"
    assert max(written.seconds[name] for name in ("config", "tokens", "keys")) <= 60, "the page names a minute"


def test_the_component_for_aws_keys_is_added_as_the_page_has_it() -> None:
    (shown,) = (yaml.safe_load(code) for language, code in BLOCKS if language == "yaml" and "aws-keys" in code)
    added = overlays.added({})
    assert shown == {name: added[name] for name in shown}
    assert shown.keys() == {"components", "secretGenerator"}


@pytest.mark.parametrize("line", [line for line in commands() if line.startswith("kubectl ")])
def test_arguments_of_kubectl_fit_the_objects(line: str, everything: Objects) -> None:
    parts = words(line)
    (judge,) = (KUBECTL[word] for word in parts if word in KUBECTL)
    judge(parts, everything)


def test_the_images_that_are_loaded_are_those_that_pods_run(objects_of: Any) -> None:
    (loaded,) = (words(line)[3:] for line in commands() if line.startswith("kind load"))
    text = json.dumps(objects_of("overlays/local"))
    used = set(re.findall(r'"image": "([^"]+)"', text)) - {"envoyproxy/envoy:v1.40.0"}
    assert {f"{image}:latest" for image in used} == set(loaded)
    assert '"imagePullPolicy": "Always"' not in text
    assert text.count('"imagePullPolicy": "IfNotPresent"') == text.count('"image": ')


def test_the_image_that_is_pushed_is_the_one_that_overlays_name() -> None:
    tag, push = (words(line) for line in commands() if line.startswith("docker "))
    assert (tag[1], push[1], tag[3]) == ("tag", "push", push[2])
    for overlay in ("aws", "istio", "envoy-gateway", "sidecar"):
        document = yaml.safe_load((KUBERNETES / "overlays" / overlay / "kustomization.yaml").read_text())
        (image,) = document["images"]
        assert tag[2:] == [f"{image['name']}:latest", f"{image['newName']}:{image['newTag']}"]


def test_every_line_that_is_marked_is_on_the_page() -> None:
    files = sorted((KUBERNETES / "overlays").glob("*/*.yaml"))
    marked: dict[tuple[str, str, str], list[str]] = {}
    for path in files:
        for line, change in re.findall(r"^(.*?) +# CHANGE: (.*)$", path.read_text(), re.MULTILINE):
            marked.setdefault((path.name, line.strip().removeprefix("- "), change), []).append(path.parent.name)
    rows = [
        f"| {', '.join(dict.fromkeys(overlays))} | `{file}` | `{line}` | {change} |"
        for (file, line, change), overlays in marked.items()
    ]
    section = TEXT.partition("## What is marked CHANGE")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"^\| .*`.*$", section, re.MULTILINE)) == sorted(rows)
    text = "".join(path.read_text() for path in files)
    assert text.count("CHANGE") - text.count("marked CHANGE") == sum(map(len, marked.values())), "a mark without words"


@pytest.mark.parametrize("overlay", ["istio", "envoy-gateway"])
def test_the_region_is_in_one_place(overlay: str, tmp_path: Path) -> None:
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    path = tmp_path / "kubernetes" / "overlays" / overlay / "kustomization.yaml"
    before, after = path.read_text(), path.read_text().replace("us-east-1", "eu-central-2")
    assert before.count("us-east-1") == 1
    path.write_text(after)
    text = render(str(path.parent))
    assert "us-east-1" not in text
    objects = Objects(yaml.safe_load_all(text))
    (container,) = objects.one("Deployment")["spec"]["template"]["spec"]["containers"]
    assert {"name": "AWS_REGION", "value": "eu-central-2"} in container["env"]
    assert text.count("bedrock-runtime.eu-central-2.amazonaws.com") == 2


def test_the_curl_line_gets_a_response(pod: Any, eventually: Any) -> None:  # noqa: F811
    (line,) = (line for line in commands() if line.startswith("curl "))
    here = line.replace("http://127.0.0.1:8080", pod.url.removesuffix("/oai/v1"))
    done = subprocess.run(["sh", "-c", here], capture_output=True, text=True, timeout=60, check=True)
    assert "You said" in json.loads(done.stdout)["choices"][0]["message"]["content"]


def test_the_other_commands_run(tmp_path: Path) -> None:
    others = [line for line in commands() if not line.startswith(("kubectl ", "curl ", "kind ", "docker "))]
    expected = ["make image", "cp -r", "oai-extproc token create", "deploy/kubernetes/processor/make-certificates"]
    assert [line.startswith(start) for line, start in zip(others, expected, strict=True)] == [True] * 4
    subprocess.run(["make", "-n", "image"], cwd=ROOT, capture_output=True, timeout=60, check=True)
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    token, certificates = words(others[2])[1:], others[3]
    subprocess.run([sys.executable, "-m", "extproc", *token], env=environment({}), capture_output=True, check=True)
    subprocess.run(["sh", "-c", certificates], cwd=tmp_path, timeout=60, check=True)
    for side in ("server", "client"):
        assert {path.name for path in (tmp_path / "certificates" / side).iterdir()} == {"tls.crt", "tls.key", "ca.crt"}


def test_the_example_of_a_sidecar_is_the_one_that_is_there() -> None:
    (shown,) = (code for language, code in BLOCKS if language == "yaml" and "kustomization.yaml" in code)
    there = yaml.safe_load((KUBERNETES / "overlays" / "sidecar" / "kustomization.yaml").read_text())
    assert yaml.safe_load(shown) == {key: value for key, value in there.items() if key not in ("apiVersion", "kind")}


def test_the_roles_policy_allows_what_the_gateway_calls() -> None:
    (policy,) = (json.loads(code) for language, code in BLOCKS if language == "json")
    allowed = {action for statement in policy["Statement"] for action in statement["Action"]}
    for action in ("bedrock:ListFoundationModels", "bedrock:ListInferenceProfiles"):
        assert action in allowed
        assert action in (ROOT / "docs" / "configuration.md").read_text()
    security = (ROOT / "docs" / "security.md").read_text()
    assert allowed <= set(re.findall(r"`(bedrock:\w+)`", security))


def test_messages_have_the_time_of_side_calls(objects_of: Any) -> None:
    """Every message has the whole time where a worker cannot request more."""
    longest = config.Settings().longest_wait + 30
    policy = objects_of("overlays/envoy-gateway").one("EnvoyExtensionPolicy")
    assert policy["spec"]["extProc"][0]["messageTimeout"] == f"{longest:g}s"
    patches = objects_of("overlays/istio").one("EnvoyFilter")["spec"]["configPatches"]
    (patch,) = (patch["patch"]["value"] for patch in patches if patch["applyTo"] == "HTTP_FILTER")
    assert patch["typed_config"]["max_message_timeout"] == f"{longest:g}s"


def test_istios_filter_routes_clusters_and_replies_are_what_envoy_config_prints(
    objects_of: Any, tmp_path: Path
) -> None:
    """Exact but for the clusters' names, and what Istio's Envoys may not have yet."""
    (tmp_path / "gateway.yaml").write_text("region: us-east-1")
    command = [sys.executable, "-m", "extproc", "envoy-config", "--config", str(tmp_path / "gateway.yaml")]
    command += ["--ca-file", "/etc/ssl/certs/ca-certificates.crt"]
    printed = {
        part: yaml.safe_load(
            subprocess.run(
                [*command, "--only", part], env=environment({}), capture_output=True, check=True, timeout=60, text=True
            ).stdout.replace("'unprocessed'", "'oai-unprocessed'")
        )
        for part in ("filter", "route", "cluster", "reply")
    }
    patches = objects_of("overlays/istio").one("EnvoyFilter")["spec"]["configPatches"]
    ours: dict[str, list[Any]] = {}
    for patch in patches:
        ours.setdefault(patch["applyTo"], []).append(in_seconds(patch["patch"]["value"]))
    (chain,) = in_seconds(printed["filter"])
    assert chain["typed_config"].pop("allow_content_length_header") is True
    chain["typed_config"]["grpc_service"]["envoy_grpc"]["cluster_name"] = "oai-extproc"
    assert ours["HTTP_FILTER"][0]["typed_config"].pop("failure_mode_allow") is False
    namespaces = ours["HTTP_FILTER"][0]["typed_config"]["metadata_options"]["receiving_namespaces"]["untyped"]
    assert namespaces.pop() == "envoy.ai.token_usage", "for a gateway.yaml that has `usage.envoy_ai`, too"
    assert ours["HTTP_FILTER"] == [chain]
    for route in printed["route"]:
        route["name"] = f"oai-extproc-{route['name']}"
        route["route"]["cluster"] = f"oai-{route['route']['cluster']}"
    theirs = {route["name"]: route for route in in_seconds(printed["route"])}
    theirs["oai-extproc-bedrock"]["request_headers_to_remove"] += [
        "x-envoy-decorator-operation",
        "x-envoy-attempt-count",
    ]
    assert {route["name"]: route for route in ours["HTTP_ROUTE"]} == theirs
    _, outside, unused = in_seconds(printed["cluster"])
    for cluster in (outside, unused):
        cluster["name"] = f"oai-{cluster['name']}"
    outside["load_assignment"]["cluster_name"] = "oai-bedrock"
    outside["circuit_breakers"]["thresholds"][0]["max_connections"] = 10000
    assert ours["CLUSTER"][1:] == [outside, unused]
    (manager,) = ours["NETWORK_FILTER"]
    assert manager["typed_config"]["local_reply_config"]["mappers"] == in_seconds(printed["reply"])


def in_seconds(value: Any) -> Any:
    """The same, with each duration in its shortest form."""
    if isinstance(value, dict):
        return {key: in_seconds(each) for key, each in value.items()}
    if isinstance(value, list):
        return [in_seconds(each) for each in value]
    duration = re.fullmatch(r"(\d+(?:\.\d+)?)s", value) if isinstance(value, str) else None
    return f"{float(duration[1]):g}s" if duration else value


def test_istios_response_without_the_filter_is_the_one_that_others_have(objects_of: Any) -> None:
    (rule,) = objects_of("overlays/istio").one("VirtualService")["spec"]["http"]
    body = json.loads(rule["directResponse"]["body"]["string"])
    unprocessed = objects_of("overlays/envoy-gateway").one("HTTPRouteFilter", "oai-unprocessed")
    assert json.loads(unprocessed["spec"]["directResponse"]["body"]["inline"]) == body
    patches = objects_of("overlays/istio").one("EnvoyFilter")["spec"]["configPatches"]
    (manager,) = (patch["patch"]["value"] for patch in patches if patch["applyTo"] == "NETWORK_FILTER")
    mapper = manager["typed_config"]["local_reply_config"]["mappers"][-1]
    formatted = mapper["body_format_override"]["json_format"]
    assert formatted["error"].pop("param") == "%DYNAMIC_METADATA(oai:none)%", "kubectl would take a null out"
    assert (formatted["error"], body["error"].pop("param")) == (body["error"], None)


def test_istios_flags_are_strings_that_the_agent_takes() -> None:
    (annotation,) = re.findall(r"^ +proxy\.istio\.io/config: '(.*)'$", TEXT, re.MULTILINE)
    flags = json.loads(annotation)["runtimeValues"]
    assert flags == {"http.max_requests_per_io_cycle": "1", "overload.premature_reset_total_stream_count": "100"}
