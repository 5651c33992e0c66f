"""With equal settings the chart and deploy/kubernetes are the same objects.

Differences of form are removed first: names and labels of a release, defaults of the API,
policies that add up, and the region, which a gateway of kustomize has in gateway.yaml.

Decision: docs/decisions.md, D105.
"""

import functools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.conftest import KUBERNETES, Object, Objects, render
from tests.helm.conftest import EXAMPLES, Template

NAME, INSTANCE = "app.kubernetes.io/name", "app.kubernetes.io/instance"
HELMS = ("app.kubernetes.io/", "helm.sh/")
CHECKSUM = "checksum/read-at-start"

RENAMED = {
    "oai-gateway": {"bedrock-local": "oai-gateway-bedrock-local"},
    "oai-extproc": {
        "oai": "oai-extproc",
        "oai-gateway": "oai-extproc",
        "oai-bedrock": "oai-extproc-bedrock",
        "oai-bedrock-host": "oai-extproc-bedrock-host",
        "oai-unprocessed": "oai-extproc-unprocessed",
        "bedrock-runtime": "oai-extproc-bedrock",
    },
}
"""By release: what kustomize's names are in the chart, which derives all from the release's name."""
NAMES = {"name", "serviceAccountName", "gateways", "cluster", "cluster_name", NAME}
"""Keys that hold such names."""


def normalised(value: Any, names: dict[str, str], key: str = "") -> Any:
    """A value with the names of a release, a release's labels as one, and lists of named things in order."""
    if isinstance(value, dict):
        new = {each: normalised(item, names, each) for each, item in value.items()}
        if INSTANCE in new:
            new[NAME] = new.pop(INSTANCE)
        return new
    if isinstance(value, list):
        new = [normalised(item, names, key) for item in value]
        return sorted(new, key=lambda item: str(item["name"])) if key in ("volumes", "volumeMounts") else new
    if key == "value" and isinstance(value, str):  # an address in an environment
        return value.replace("//bedrock-local:", "//oai-gateway-bedrock-local:")
    if key == "expression":  # a condition that names a cluster
        return value.replace("'oai-unprocessed'", "'oai-extproc-unprocessed'")
    return names.get(value, value) if key in NAMES else value


def defaults(each: Object) -> None:
    """Write out what the API takes for what is left out, and leave out what is empty."""
    metadata = each["metadata"]
    labels = {name: value for name, value in metadata.pop("labels", {}).items() if not name.startswith(HELMS)}
    metadata |= {"labels": labels} if labels else {}
    if each["kind"] == "Service":
        each["spec"].setdefault("type", "ClusterIP")
        each["spec"].get("clusterIP") == "None" or each["spec"].pop("clusterIP", None)
    if each["kind"] == "Deployment":
        each["spec"].setdefault("replicas", 1)
        annotations = each["spec"]["template"]["metadata"].pop("annotations", {})
        annotations.pop(CHECKSUM, None)
        each["spec"]["template"]["metadata"]["annotations"] = annotations
        for container in containers(each):
            untagged = ":" not in container["image"].rpartition("/")[2]
            container["image"] += ":latest" if untagged else ""
            container.setdefault("imagePullPolicy", "Always" if untagged else "IfNotPresent")


def containers(deployment: Object) -> Iterator[Object]:
    """The containers of a Deployment, initial ones among them."""
    pod = deployment["spec"]["template"]["spec"]
    yield from pod.get("initContainers", [])
    yield from pod["containers"]


def regions(objects: list[Object]) -> set[str]:
    """Take the region out of gateway.yaml and of every environment; return it."""
    names = set()
    for each in objects:
        if each["kind"] == "ConfigMap":
            settings = yaml.safe_load(each["data"]["gateway.yaml"])
            names |= {settings.pop("region")} if "region" in settings else set()
            settings.setdefault("organisations", {})
            each["data"]["gateway.yaml"] = settings
        for container in containers(each) if each["kind"] == "Deployment" else ():
            environment = container.pop("env", [])
            names |= {item["value"] for item in environment if item["name"] == "AWS_REGION"}
            rest = [item for item in environment if item["name"] != "AWS_REGION"]
            container |= {"env": rest} if rest else {}
    return names


canonical = functools.partial(json.dumps, sort_keys=True)


def added_up(objects: list[Object]) -> list[Object]:
    """Merge the NetworkPolicies for the pods that several select."""
    whole: dict[str, Object] = {}
    for policy in objects:
        spec = policy["spec"]
        one = whole.setdefault(canonical(spec["podSelector"]), {"ingress": [], "egress": [], "types": []})
        for direction in ("ingress", "egress"):
            one[direction] = sorted([*one[direction], *spec.get(direction, [])], key=canonical)
        one["types"] = sorted({*one["types"], *spec["policyTypes"]})
    return list(whole.values())


def compared(objects: Objects, release: str) -> tuple[dict[str, Any], set[str]]:
    """The objects by kind and name in one form, and their regions."""
    ours = [
        normalised(each, RENAMED[release])
        for each in objects
        if each["kind"] not in ("Namespace", "Secret") and "helm.sh/hook" not in each["metadata"].get("annotations", {})
    ]
    names = regions(ours)
    for each in ours:
        defaults(each)
    policies = added_up([each for each in ours if each["kind"] == "NetworkPolicy"])
    rest = {f"{each['kind']} {each['metadata']['name']}": each for each in ours if each["kind"] != "NetworkPolicy"}
    return {**rest, "NetworkPolicies": sorted(policies, key=canonical)}, names


def same(chart: Objects, kustomize: Objects, release: str) -> None:
    """Fail if they differ."""
    (ours, our_region), (theirs, their_region) = compared(chart, release), compared(kustomize, release)
    assert ours.keys() == theirs.keys()
    for name, each in ours.items():
        assert each == theirs[name], name
    assert our_region == their_region
    assert len(our_region) == 1


@pytest.mark.parametrize("overlay", EXAMPLES)
def test_an_example_equals_the_overlay_of_its_name(overlay: str, template: Template) -> None:
    same(template(overlay), Objects(yaml.safe_load_all(render(f"overlays/{overlay}"))), EXAMPLES[overlay])


def test_the_defaults_equal_the_base(template: Template) -> None:
    image = "--set=image.tag=latest,image.pullPolicy=Always"
    same(template(None, image), Objects(yaml.safe_load_all(render("base"))), "oai-gateway")


@pytest.mark.parametrize("overlay", EXAMPLES)
def test_the_region_is_one_value(overlay: str, template: Template, tmp_path: Path) -> None:
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    folder = tmp_path / "kubernetes" / "overlays" / overlay
    for path in folder.glob("*.yaml"):
        if path.name in ("kustomization.yaml", "gateway.yaml"):
            path.write_text(path.read_text().replace("us-east-1", "eu-central-2"))
    chart = template(overlay, "--set=region=eu-central-2")
    assert "us-east-1" not in str(chart)
    same(chart, Objects(yaml.safe_load_all(render(str(folder)))), EXAMPLES[overlay])


def test_a_difference_would_be_noticed(template: Template) -> None:
    kustomize = Objects(yaml.safe_load_all(render("overlays/aws")))
    for option in ("--set=envoy.concurrency=3", "--set=podLabels.a=b", "--set=autoscaling.maxReplicas=11"):
        with pytest.raises(AssertionError):
            same(template("aws", option), kustomize, "oai-gateway")
