"""values.yaml, its schema, the chart's README and Chart.yaml, held against each other and against Helm's own errors.

Decision: docs/decisions.md, D107.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml

from extproc import __version__
from tests.helm.conftest import CHART, EXAMPLES, Helm
from tests.helm.generated import README, readme, schema
from tests.helm.generated import SCHEMA as SCHEMA_FILE

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def test_the_readme_is_made_of_the_values() -> None:
    assert README.read_text() == readme(README.read_text()), "run `make docs`"


def test_the_schema_has_gateway_yamls_types() -> None:
    assert SCHEMA_FILE.read_text() == schema(SCHEMA_FILE.read_text()), "run `make docs`"


def test_helms_regular_expressions_take_every_pattern() -> None:
    """RE2 repeats nothing more than 1000 times (https://github.com/google/re2/wiki/Syntax)."""
    patterns = re.findall(r'"pattern": ("(?:[^"\\]|\\.)*")', SCHEMA_FILE.read_text())
    assert patterns
    counts = [int(count) for pattern in patterns for count in re.findall(r"\{\d*,?(\d+)\}", json.loads(pattern))]
    assert max(counts) <= 1000


def test_the_chart_has_the_projects_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == __version__


def merged(values: Any, more: Any) -> Any:
    """Values with others over them, as Helm merges them."""
    if not isinstance(values, dict) or not isinstance(more, dict):
        return more
    return values | {key: merged(values.get(key), value) for key, value in more.items()}


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_keeps_to_the_schema(example: str) -> None:
    VALIDATOR.validate(merged(VALUES, yaml.safe_load((CHART / "examples" / f"{example}.yaml").read_text())))


def test_every_example_is_known() -> None:
    assert {path.stem for path in (CHART / "examples").iterdir()} == {*EXAMPLES}


def test_no_example_and_no_default_has_a_token() -> None:
    texts = [path.read_text() for path in (CHART / "values.yaml", *(CHART / "examples").iterdir())]
    assert not [text for text in texts if re.search(r"qc_|sha256: *[0-9a-f]", text)]


AS_THEY_LIKE = (".extproc.resources", ".config.gateway")
"""Mappings of which values.yaml has only some keys."""


def resolved(schema: Any) -> Any:
    return SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def named(values: Any, schema: Any, path: str = "") -> Iterator[tuple[str, set[str], set[str]]]:
    """Of each mapping of ours: its path, the keys in values.yaml, and those in the schema."""
    schema = resolved(schema)
    if isinstance(values, dict) and schema.get("additionalProperties") is False and path not in AS_THEY_LIKE:
        yield path, {*values}, {*schema["properties"]}
        for key, value in values.items():
            yield from named(value, schema["properties"].get(key, {}), f"{path}.{key}")


def test_the_schema_and_the_values_have_the_same_keys() -> None:
    VALIDATOR.validate(VALUES)
    rows = list(named(VALUES, SCHEMA))
    assert len(rows) > 20
    for path, ours, allowed in rows:
        assert ours == allowed - {"global"}, path


@pytest.mark.parametrize(
    ("mode", "accepted"), [("gateway", True), ("worker", True), ("istio", False), ("envoy-gateway", False)]
)
def test_signed_tokens_are_for_an_envoy_with_the_filter(mode: str, accepted: bool) -> None:
    issuer = {"issuer": "https://a/", "audiences": ["api"], "jwks_uri": "https://a/keys", "organisation": "org"}
    values = merged(VALUES, {"mode": mode, "config": {"gateway": {"jwt": [issuer]}}})
    assert VALIDATOR.is_valid(values) is accepted
    assert VALIDATOR.is_valid(merged(VALUES, {"mode": mode}))


WRONG = {
    # the value that is set: the path in the message, and a part of it
    "replicas=three": ("/replicas", "want integer"),
    "replica=3": ("''", "'replica' not allowed"),
    "mode=sidecar": ("/mode", "'gateway', 'worker', 'istio', 'envoy-gateway'"),
    "region=US East": ("/region", "does not match"),
    "image.pullPolicy=Sometimes": ("/image/pullPolicy", "'Always'"),
    "image.digest=abc": ("/image/digest", "does not match"),
    "envoy.image.tags=v1": ("/envoy/image", "'tags' not allowed"),
    "envoy.resources.limits.memory=1.5Gi": ("/envoy/resources/limits/memory", "does not match"),
    "envoy.resources.limits.memory=null": ("/envoy/resources/limits", "missing property 'memory'"),
    "extproc.resources.limit.memory=1Gi": ("/extproc/resources", "'limit' not allowed"),
    "tokens.existingSecret=": ("/tokens/existingSecret", "does not match"),
    "tokens.values={a}": ("/tokens", "'values' not allowed"),
    "config.gateway.tokens={a}": ("/config/gateway", "'tokens' not allowed"),
    "config.gateway.region=us-east-1": ("/config/gateway", "'region' not allowed"),
    "config.gateway.limits.request_bytes=1": ("/config/gateway/limits/request_bytes", "minimum"),
    "config.gateway.organisations.acme.models.alow={a}": ("/config/gateway/organisations/acme/models", "'alow'"),
    "config.gateway.streaming.idle_seconds=long": ("/config/gateway/streaming/idle_seconds", "want number"),
    "config.existingConfigMap=mine,config.gateway.transport=grpcio": ("/config/gateway", "maxProperties"),
    "extraEnv[0].name=AWS_REGION": ("/extraEnv/0/name", "not"),
    "service.port=0": ("/service/port", "minimum"),
    "service.type=ExternalName": ("/service/type", "'ClusterIP'"),
    "serviceAccount.annotations.a=1": ("/serviceAccount/annotations/a", "want string"),
    "podDisruptionBudget.maxUnavailable=half": ("/podDisruptionBudget/maxUnavailable", "does not match"),
    "autoscaling.extprocCpu=fast": ("/autoscaling/extprocCpu", "does not match"),
    "networkPolicy.enabled=perhaps": ("/networkPolicy/enabled", "want boolean"),
    "podMonitor.interval=30": ("/podMonitor/interval", "want string"),
    "mode=istio,podMonitor.enabled=true": ("/podMonitor/enabled", "must be false"),
    "mode=istio,test.tokenSecret.name=caller": ("/test/tokenSecret/name", "maxLength"),
    "mode=worker,bedrockLocal.enabled=true": ("/bedrockLocal/enabled", "must be false"),
    "istio.selector=null": ("/istio", "missing property 'selector'"),
    "istio.port.protocol=UDP": ("/istio/port/protocol", "'HTTP'"),
    "envoyGateway.listener.port=none": ("/envoyGateway/listener/port", "want integer"),
    "test.tokenSecret.key=": ("/test/tokenSecret/key", "minLength"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_value_is_named_by_its_path(wrong: str, helm: Helm) -> None:
    done = helm("template", "oai-gateway", str(CHART), "--set", wrong)
    assert done.returncode != 0
    path, part = WRONG[wrong]
    assert re.search(rf"at '?{re.escape(path)}'?: [^\n]*{re.escape(part)}", done.stderr), done.stderr
