"""`check --envoy` reports the routes that lead to Bedrock without a worker's mark."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from extproc.envoy_config.forbidden import UnreadableError
from extproc.envoy_config.open_routes import find_open

ROOT = Path(__file__).parents[2]
GOLDENS = sorted(ROOT.glob("envoy/*.yaml"))
MARK: dict[str, Any] = {"filter": "oai", "path": [{"key": "signed"}], "value": {"bool_match": True}}
HEADER: dict[str, Any] = {"name": "x-forwarded-client-cert", "string_match": {"exact": "signed"}}
AWS = "bedrock-runtime.eu-west-1.amazonaws.com"


def document(
    match: Any = None, *, action: Any = None, cluster: str = "aws", host: str = AWS
) -> dict[str, list[dict[str, Any]]]:
    address = {"socket_address": {"address": host, "port_value": 443}}
    assignment = {"endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}
    route = {"match": match or {"prefix": "/oai/v1"}, "route": action or {"cluster": cluster}}
    return {"routes": [route], "clusters": [{"name": cluster, "load_assignment": assignment}]}


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_rendered_configurations_have_no_open_route(path: Path) -> None:
    assert find_open(path.read_text()) == []


def test_the_rendering_without_its_mark_is_open() -> None:
    bootstrap = (ROOT / "envoy" / "bootstrap.yaml").read_text()
    [open_route] = find_open(bootstrap.replace("dynamic_metadata:", "headers:"))
    assert open_route.endswith("route_config.virtual_hosts[0].routes[1]")


@pytest.mark.parametrize(
    "open_route",
    [
        document(),
        document({"prefix": "/"}),
        document(host="vpce-1-abc.bedrock-runtime.eu-west-1.vpce.amazonaws.com"),
        document(cluster="bedrock", host="127.0.0.1"),
        document(action={"weighted_clusters": {"clusters": [{"name": "other"}, {"name": "aws", "weight": 1}]}}),
        document({"prefix": "/", "dynamic_metadata": [{**MARK, "filter": "jwt"}]}),
        document({"prefix": "/", "dynamic_metadata": [{**MARK, "invert": True}]}),
        document({"prefix": "/", "dynamic_metadata": [{**MARK, "value": {"present_match": True}}]}),
        document({"prefix": "/", "dynamic_metadata": {}}),
        document({"prefix": "/", "dynamic_metadata": [{**MARK, "value": {"string_match": {"prefix": "eu"}}}]}),
        document({"prefix": "/", "dynamic_metadata": [{**MARK, "value": {"string_match": {"exact": ""}}}]}),
        document(cluster="bedrock-eu-west-1", host="127.0.0.1"),
        document({"prefix": "/", "headers": [{**HEADER, "name": "x-oai-signed"}]}),
        document({"prefix": "/", "headers": [{**HEADER, "string_match": {"prefix": "signed"}}]}),
        document({"prefix": "/", "headers": [{**HEADER, "invert_match": True}]}),
        document({"prefix": "/", "headers": [{**HEADER, "treat_missing_header_as_empty": True}]}),
        document({"prefix": "/", "headers": [{"name": "x-forwarded-client-cert", "present_match": True}]}),
        {"manager": {"forward_client_cert_details": "ALWAYS_FORWARD_ONLY"}, **document({"headers": [HEADER]})},
        {"manager": {"forward_client_cert_details": "FORWARD_ONLY"}, **document({"headers": [HEADER]})},
    ],
)
def test_an_open_route_is_reported(open_route: Any) -> None:
    assert find_open(yaml.safe_dump(open_route)) == find_open(json.dumps(open_route)) == ["routes[0]"]


@pytest.mark.parametrize(
    "closed",
    [
        document({"prefix": "/", "dynamic_metadata": [MARK]}),
        document({"prefix": "/", "dynamic_metadata": [{**MARK, "value": {"string_match": {"exact": "eu-west-1"}}}]}),
        document({"prefix": "/", "headers": [{**HEADER, "string_match": {"exact": "eu-west-1"}}]}),
        document({"prefix": "/", "headers": [{"name": "x", "present_match": True}, HEADER]}),
        {"manager": {"forward_client_cert_details": "SANITIZE"}, **document({"headers": [HEADER]})},
        {"manager": {"forward_client_cert_details": "FORWARD_ONLY"}, **document({"dynamic_metadata": [MARK]})},
        document(host="example.com"),
        document(action={"cluster": "another"}),
        document(action={"cluster_header": "x"}),
        document(action={"weighted_clusters": {"clusters": "x"}}),
        document(action={"weighted_clusters": {"clusters": ["x"]}}),
        {"routes": [{"match": 1, "route": {"cluster": "bedrock"}}], "clusters": [{"name": "bedrock"}]},
        [],
        "text",
    ],
)
def test_no_other_route_is_open(closed: Any) -> None:
    assert find_open(yaml.safe_dump(closed)) == []


@pytest.mark.parametrize("text", ["a: [", "[" * 2000, "a:\n" + "".join(f"{' ' * n}k:\n" for n in range(1, 200))])
def test_an_unsearchable_document_is_reported(text: str) -> None:
    with pytest.raises(UnreadableError):
        find_open(text)


@given(st.text())
def test_any_text_is_searched_or_unreadable(text: str) -> None:
    with contextlib.suppress(UnreadableError):
        find_open(text)
