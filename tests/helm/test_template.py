"""The chart's objects with many sets of values: the API's schemas, what schemas cannot express, and pods' restarts."""

import re
from collections.abc import Callable
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from extproc.envoy_config.forbidden import find
from tests.deploy import test_manifests as manifests
from tests.deploy.conftest import ROOT, Objects
from tests.helm.conftest import CHART, EXAMPLES, Helm, Template
from tests.helm.test_equality import CHECKSUM

SETS = {
    "fewest objects": [
        "--set=podDisruptionBudget.enabled=false,networkPolicy.enabled=false,autoscaling.enabled=false",
        "--set=serviceAccount.create=false,config.existingConfigMap=mine",
    ],
    "everything": [
        "--set=podMonitor.enabled=true,serviceMonitor.enabled=true,bedrockLocal.enabled=true,service.type=LoadBalancer",
        "--set=service.annotations.a=b,serviceAccount.annotations.a=b,serviceAccount.labels.a=b,podLabels.a=b,podAnnotations.a=b",
        "--set=podMonitor.labels.a=b,serviceMonitor.labels.a=b,imagePullSecrets[0].name=registry,nodeSelector.a=b",
        "--set=tolerations[0].operator=Exists,priorityClassName=high,test.tokenSecret.name=caller,image.digest=sha256:"
        + "0" * 64,
        '--set-json=affinity={"nodeAffinity":{}}',
        '--set-json=extraEnv=[{"name":"AWS_CA_BUNDLE","value":"/etc/ca/ca.pem"}]',
        '--set-json=envoy.extraEnv=[{"name":"OAI_PROXY_AUTHORIZATION","valueFrom":{"secretKeyRef":{"name":"p","key":"k"}}}]',
        '--set-json=extraVolumes=[{"name":"ca","configMap":{"name":"ca"}}]',
        '--set-json=extraVolumeMounts=[{"name":"ca","mountPath":"/etc/ca"}]',
        '--set-json=networkPolicy={"from":[{"podSelector":{}}],"egress":[{"ports":[{"port":80}]}]}',
        '--set-json=topologySpreadConstraints=[{"topologyKey":"a","maxSkew":1,"whenUnsatisfiable":"DoNotSchedule","labelSelector":{}}]',
        "--set=podDisruptionBudget.maxUnavailable=25%,aws.existingSecret=oai-aws-keys",
        "--set=service.tls.existingSecret=callers,service.port=443",
    ],
    "workers": ["--set=mode=worker", '--set-json=networkPolicy.from=[{"namespaceSelector":{}}]'],
    "workers for nobody": ["--set=mode=worker"],
    "istio with TLS": [
        "--set=mode=istio,istio.port.protocol=HTTPS,istio.tls.mode=SIMPLE,istio.tls.credentialName=oai",
        "--set=istio.namespace=edge,istio.selector.istio=edge",
    ],
    "istio with its own gateway": ["--set=mode=istio,istio.existingGateway=edge/main"],
}

each_set = pytest.mark.parametrize("name", [*SETS, *EXAMPLES])


def rendered(name: str, template: Template, release: str | None = None) -> Objects:
    """The objects of a set of values, or of an example."""
    return template(name, release=release) if name in EXAMPLES else template(None, *SETS[name], release=release)


@pytest.mark.parametrize("name", [None, *EXAMPLES])
def test_lint_has_nothing_against_the_chart(name: str | None, helm: Helm) -> None:
    values = [f"--values={CHART / 'examples' / f'{name}.yaml'}"] if name else []
    done = helm("lint", "--strict", str(CHART), *values)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout + done.stderr
    assert "[ERROR]" not in done.stdout + done.stderr


@each_set
@pytest.mark.parametrize("version", manifests.VERSIONS)
def test_objects_are_valid(name: str, version: str, template: Template, crd: Callable[[str, str], Any]) -> None:
    for each in rendered(name, template):
        if each["apiVersion"].startswith("monitoring.coreos.com/") or each["kind"] in manifests.WITHOUT_SCHEMA:
            continue
        if manifests.is_custom(each):
            jsonschema.Draft202012Validator(crd(each["apiVersion"], each["kind"])).validate(each)
        else:
            kubernetes_validate.validate(each, version, strict=True)


@each_set
def test_every_object_is_the_releases(name: str, template: Template) -> None:
    """Names begin with the release's; two releases of one namespace share nothing."""
    first, second = (
        {
            (each["kind"], each["metadata"]["namespace"], each["metadata"]["name"])
            for each in rendered(name, template, release)
            if each["metadata"]["name"] != "default"
        }
        for release in ("one", "two")
    )
    assert not first & second
    assert {identity[2].partition("-")[0] for identity in first} == {"one"}


TRUE_OF_ALL = (
    manifests.test_pods_keep_to_the_restricted_standard,
    manifests.test_mounts_of_pods_exist_and_are_never_a_sub_path,
    manifests.test_selectors_select_pods,
    manifests.test_services_and_probes_name_ports_that_there_are,
)


@pytest.mark.parametrize("example", EXAMPLES)
@pytest.mark.parametrize("test", TRUE_OF_ALL, ids=lambda test: test.__name__.removeprefix("test_"))
def test_checks_of_the_overlays_hold_for_the_chart(test: Callable[..., None], example: str, template: Template) -> None:
    objects = template(example)
    objects.append({"kind": "Secret", "metadata": {"name": "oai-tokens"}})
    hooks = [each for each in objects if "helm.sh/hook" in each["metadata"].get("annotations", {})]
    test(example, lambda _: Objects(each for each in objects if each not in hooks))


def test_memory_limits_go_to_the_worker_and_to_envoys_configuration(template: Template) -> None:
    objects = template("local", "--set=envoy.resources.limits.memory=1536Mi")
    manifests.test_worker_and_bootstrap_have_envoys_memory_limit("", lambda _: objects)
    assert "--envoy-memory=1536Mi" in str(objects.one("Deployment", "oai-gateway"))


@each_set
def test_envoy_has_no_flag_that_crashes_it(name: str, template: Template) -> None:
    assert not find(yaml.safe_dump_all(rendered(name, template)))


def test_a_digest_takes_the_place_of_the_tag(template: Template) -> None:
    digest = "sha256:" + "a" * 64
    objects = template("local", f"--set=image.digest={digest},envoy.image.digest={digest}")
    images = {each["image"] for _, pod in manifests.pods(objects) for each in manifests.containers(pod)}
    assert images == {f"oai-extproc@{digest}", f"envoyproxy/envoy@{digest}", "oai-extproc-bedrock-local:latest"}


@pytest.mark.parametrize("example", ["aws", "istio"])
def test_aws_keys_in_a_file_are_the_workers_alone(example: str, template: Template) -> None:
    (pod,) = (pod for _, pod in manifests.pods(template(example, "--set=aws.existingSecret=keys")))
    having = [each for each in manifests.containers(pod) if "oai-aws-keys" in str(each["volumeMounts"])]
    assert [each["name"] for each in having] == ["extproc"]
    variable = {"name": "AWS_SHARED_CREDENTIALS_FILE", "value": "/etc/oai/aws/credentials"}
    assert [each for each in manifests.containers(pod) if variable in each.get("env", [])] == having


def test_numbers_of_gateway_yaml_stay_what_they_are(template: Template) -> None:
    data = template("istio").one("ConfigMap")["data"]["gateway.yaml"]
    assert "in_flight_bytes: 115000000\n" in data


# Restarts of pods


def documented() -> list[tuple[str, bool]]:
    """The keys of gateway.yaml that values may have, and whether the page has them as read at start only."""
    table = re.findall(
        r"^\| `([\w.]+)` \|.*\| (restart|at once) \|", (ROOT / "docs" / "configuration.md").read_text(), re.M
    )
    elsewhere = ("region", "tokens_from", "workers")
    return [(key, when == "restart") for key, when in table if key not in elsewhere]


@pytest.mark.parametrize("example", ["aws", "istio"])
def test_pods_restart_for_what_is_read_at_start_and_for_nothing_else(example: str, template: Template) -> None:
    def checksum(*options: str) -> str:
        metadata = template(example, *options).one("Deployment")["spec"]["template"]["metadata"]
        return str(metadata["annotations"][CHECKSUM])

    keys = documented()
    assert len(keys) > 15
    before = checksum()
    for key, restarts in keys:
        assert (checksum(f"--set=config.gateway.{key}=1", "--skip-schema-validation") != before) is restarts, key
    assert checksum("--set=config.gateway.organisations.new.enabled=false") == before
