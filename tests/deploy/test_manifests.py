"""Every object of deploy/kubernetes, against the schemas of the API and against what schemas cannot express."""

import base64
import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from extproc import config
from tests.deploy.conftest import KUBERNETES, Objects, render
from tests.kubernetes import overlays

FOLDERS = ("base", "overlays/local", "overlays/aws", "overlays/sidecar", "overlays/istio", "overlays/envoy-gateway")
VERSIONS = ("1.30", kubernetes_validate.latest_version())
"""The oldest Kubernetes that has all that is used here (an autoscaler by container), and the newest that is known."""

CUSTOM = re.compile(r"\.(istio\.io|k8s\.io|envoyproxy\.io)/")

folders = pytest.mark.parametrize("folder", FOLDERS)


def is_custom(each: Any) -> bool:
    return bool(CUSTOM.search(each["apiVersion"])) and not each["apiVersion"].startswith("networking.k8s.io/")


@folders
@pytest.mark.parametrize("version", VERSIONS)
def test_core_objects_are_valid(folder: str, version: str, objects_of: Any) -> None:
    core = [each for each in objects_of(folder) if not is_custom(each)]
    assert core
    for each in core:
        kubernetes_validate.validate(each, version, strict=True)


WITHOUT_SCHEMA = {"HTTPRouteFilter"}
"""Kinds that CRDS lacks: Envoy Gateway itself holds them against its schema in tests/clusters, and takes no other."""


@folders
def test_custom_objects_are_valid(folder: str, objects_of: Any, crd: Any) -> None:
    for each in filter(is_custom, objects_of(folder)):
        if each["kind"] in WITHOUT_SCHEMA:
            continue
        jsonschema.Draft202012Validator(crd(each["apiVersion"], each["kind"])).validate(each)


def test_a_misspelt_field_would_be_noticed(objects_of: Any, crd: Any) -> None:
    policy = objects_of("overlays/envoy-gateway").one("EnvoyExtensionPolicy")
    policy["spec"]["extProc"][0]["mesageTimeout"] = "1s"
    with pytest.raises(jsonschema.ValidationError, match="mesageTimeout"):
        jsonschema.Draft202012Validator(crd(policy["apiVersion"], policy["kind"])).validate(policy)
    deployment = objects_of("base").one("Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readinesProbe"):
        kubernetes_validate.validate(deployment, VERSIONS[0], strict=True)


@folders
def test_names_are_unique_and_everything_has_its_namespace(folder: str, objects_of: Any) -> None:
    identities = [(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects_of(folder)]
    assert len(identities) == len(set(identities))
    assert all(namespace for kind, namespace, _ in identities if kind not in ("Namespace", "GatewayClass"))


# Pods


def pods(objects: Any) -> Iterator[tuple[Any, Any]]:
    """Each Deployment, and its pods' specification."""
    for deployment in objects.of("Deployment"):
        yield deployment, deployment["spec"]["template"]["spec"]


def containers(pod: Any) -> Iterator[Any]:
    yield from pod.get("initContainers", [])
    yield from pod["containers"]


@folders
def test_pods_keep_to_the_restricted_standard(folder: str, objects_of: Any) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
    for _, pod in pods(objects_of(folder)):
        assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] != 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for volume in pod.get("volumes", []):
            assert volume.keys() & {"configMap", "secret", "emptyDir"}
        for container in containers(pod):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, container["name"]
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["readOnlyRootFilesystem"] is True
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("folder", ["base", "overlays/local", "overlays/aws", "overlays/sidecar"])
def test_worker_and_bootstrap_have_envoys_memory_limit(folder: str, objects_of: Any) -> None:
    for _, pod in pods(objects_of(folder)):
        by_name = {each["name"].removeprefix("oai-"): each for each in containers(pod)}
        if "extproc" not in by_name:
            continue
        limit = by_name["envoy"]["resources"]["limits"]["memory"]
        assert f"--envoy-memory={limit}" in by_name["extproc"]["args"]
        assert f"--envoy-memory {limit} " in " ".join(by_name["render"]["args"]) + " "


@folders
def test_mounts_of_pods_exist_and_are_never_a_sub_path(folder: str, objects_of: Any) -> None:
    """A file that is mounted by `subPath` never changes."""
    objects = objects_of(folder)
    elsewhere = {"oai-extproc-tls"}  # made by whoever makes certificates
    for _, pod in pods(objects):
        names = {volume["name"] for volume in pod.get("volumes", [])}
        for volume in pod.get("volumes", []):
            if "configMap" in volume:
                objects.one("ConfigMap", volume["configMap"]["name"])
            if "secret" in volume and volume["secret"]["secretName"] not in elsewhere:
                objects.one("Secret", volume["secret"]["secretName"])
        for container in containers(pod):
            for mount in container.get("volumeMounts", []):
                assert mount["name"] in names
                assert "subPath" not in mount


@folders
def test_selectors_select_pods(folder: str, objects_of: Any) -> None:
    objects = objects_of(folder)
    labelled = [each["spec"]["template"]["metadata"]["labels"] for each in objects.of("Deployment")]
    wanted = [each["spec"]["selector"] for each in objects.of("Service")]
    wanted += [each["spec"]["selector"]["matchLabels"] for each in objects.of("PodDisruptionBudget")]
    wanted += [each["spec"]["podSelector"]["matchLabels"] for each in objects.of("NetworkPolicy")]
    wanted += [each["spec"]["selector"]["matchLabels"] for each in objects.of("Deployment")]
    for selector in wanted:
        assert [labels for labels in labelled if selector.items() <= labels.items()], selector
    for scaler in objects.of("HorizontalPodAutoscaler"):
        target = objects.one("Deployment", scaler["spec"]["scaleTargetRef"]["name"])
        there = {container["name"] for container in containers(target["spec"]["template"]["spec"])}
        assert {metric["containerResource"]["container"] for metric in scaler["spec"]["metrics"]} <= there


def lets_out(rules: list[Any], address: str, protocol: str, port: int) -> bool:
    """Return whether these rules let pods out to this address; an address outside is matched by ipBlocks only."""
    for rule in rules:
        blocks = [ipaddress.ip_network(peer["ipBlock"]["cidr"]) for peer in rule.get("to", []) if "ipBlock" in peer]
        anywhere = "to" not in rule
        if (anywhere or any(ipaddress.ip_address(address) in block for block in blocks)) and (
            {"protocol": protocol, "port": port} in rule["ports"]
        ):
            return True
    return False


@folders
@pytest.mark.parametrize("protocol", ["UDP", "TCP"])
def test_names_can_be_resolved_by_a_cache_on_the_node(folder: str, protocol: str, objects_of: Any) -> None:
    """The cache is on the node's network, so no selector of pods finds it; the rule lets in nothing else there."""
    rules: dict[str, list[Any]] = {}
    for policy in objects_of(folder).of("NetworkPolicy"):
        pods_name = policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/name"]
        rules.setdefault(pods_name, []).extend(policy["spec"].get("egress", []))
    assert rules.pop("bedrock-local", []) == [], "it has nobody to ask for"
    assert rules or folder == "overlays/sidecar", "whose application has a policy of its own, if any"
    for egress in rules.values():
        assert lets_out(egress, "169.254.20.10", protocol, 53)
        assert not lets_out(egress, "169.254.20.10", protocol, 80)
        assert not lets_out(egress, "169.254.169.254", protocol, 80)


@folders
def test_services_and_probes_name_ports_that_there_are(folder: str, objects_of: Any) -> None:
    objects = objects_of(folder)
    for service in objects.of("Service"):
        ports = {
            port["name"]
            for deployment, pod in pods(objects)
            if service["spec"]["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
            for container in containers(pod)
            for port in container.get("ports", [])
        }
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for _, pod in pods(objects):
        for container in containers(pod):
            named = {port["name"] for port in container.get("ports", [])}
            assert set(re.findall(r"'port': '(\w+)'", str(container))) <= named


@folders
def test_the_configuration_is_one_that_the_gateway_takes(folder: str, objects_of: Any, tmp_path: Path) -> None:
    objects = objects_of(folder)
    text = objects.one("ConfigMap", "oai-gateway")["data"]["gateway.yaml"]
    secret = objects.one("Secret", "oai-tokens")
    settings = config.draft(text.encode()).settings({"tokens.yaml": decoded(secret)["tokens.yaml"]})
    assert settings.tokens_from == "/etc/oai/tokens"
    assert settings.workers == 1
    names = {env["name"] for _, pod in pods(objects) for each in containers(pod) for env in each.get("env", [])}
    assert settings.region or "AWS_REGION" in names


def decoded(secret: Any) -> dict[str, bytes]:
    return {name: base64.b64decode(value) for name, value in secret["data"].items()}


@pytest.mark.parametrize("folder", ["base", "overlays/local", "overlays/aws"])
def test_a_pod_has_the_time_that_its_drain_takes(folder: str, objects_of: Any) -> None:
    pod = objects_of(folder).one("Deployment", "oai-gateway")["spec"]["template"]["spec"]
    (extproc,) = (each for each in pod["initContainers"] if each["name"] == "extproc")
    command = extproc["lifecycle"]["preStop"]["exec"]["command"]
    notice, timeout = (int(re.search(rf"--{name}=(\d+)", " ".join(command))[1]) for name in ("notice", "timeout"))  # type: ignore[index]
    assert pod["terminationGracePeriodSeconds"] >= notice + timeout + 30
    probe = pod["containers"][0]["readinessProbe"]
    earliest = probe["periodSeconds"] * (probe["failureThreshold"] - 1)
    assert earliest > notice, "the only pod there is counts as serving until its notice is over"
    assert timeout >= 3600  # the longest call, which Envoy ends


@pytest.mark.parametrize(
    ("overlay", "worker"),
    [("aws", "extproc"), ("sidecar", "oai-extproc"), ("istio", "extproc"), ("envoy-gateway", "extproc")],
)
def test_the_component_for_aws_keys_gives_them_to_the_worker_alone(overlay: str, worker: str, tmp_path: Path) -> None:
    folder = overlays.copied(tmp_path) / overlay
    (folder / "aws-credentials").write_text(overlays.credentials(overlays.OLD_KEY))
    added = overlays.added({})
    overlays.change(folder, overlay, {name: added[name] for name in ("components", "secretGenerator")})
    objects = Objects(yaml.safe_load_all(render(str(folder))))
    (spec,) = (pod for _, pod in pods(objects))
    for each in containers(spec):
        path = {env["name"]: env.get("value") for env in each.get("env", [])}.get("AWS_SHARED_CREDENTIALS_FILE")
        mounted = (
            [mount["mountPath"] for mount in each["volumeMounts"] if mount["name"] == "oai-aws-keys"] if path else []
        )
        assert (path, mounted) == (
            ("/etc/oai/aws/credentials", ["/etc/oai/aws"]) if each["name"] == worker else (None, [])
        )
    assert decoded(objects.one("Secret", "oai-aws-keys")).keys() == {"credentials"}
    for version in VERSIONS:
        kubernetes_validate.validate(objects.one("Deployment"), version, strict=True)


def test_istios_filter_is_in_every_chain_of_the_gateway(objects_of: Any) -> None:
    """The route is the same whichever port it is reached by: without the filter, calls there would be a 503."""
    patches = objects_of("overlays/istio").one("EnvoyFilter")["spec"]["configPatches"]
    (match,) = (patch["match"] for patch in patches if patch["applyTo"] == "HTTP_FILTER")
    assert match["context"] == "GATEWAY"
    assert set(match["listener"]) == {"filterChain"}
    assert set(match["listener"]["filterChain"]) == {"filter"}


def test_files_are_unambiguous_yaml() -> None:
    """Every file is one that kustomize reads: none is left over."""
    named = set()
    for path in KUBERNETES.rglob("kustomization.yaml"):
        named.add(path)
        document = yaml.safe_load(path.read_text())
        named |= {(path.parent / name).resolve() for name in document.get("resources", [])}
        named |= {(path.parent / patch["path"]).resolve() for patch in document.get("patches", []) if "path" in patch}
        for generator in (*document.get("configMapGenerator", []), *document.get("secretGenerator", [])):
            named |= {(path.parent / name).resolve() for name in generator.get("files", [])}
    assert set(KUBERNETES.rglob("*.yaml")) <= named
