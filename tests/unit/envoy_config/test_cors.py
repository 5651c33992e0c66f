"""CORS: preflights, and what pages may read."""

import json
import re
from pathlib import Path
from typing import get_args

from extproc import envoy_config
from extproc.envoy_config import Fragment
from extproc.envoy_config.cors import EXPOSED
from tests.unit.envoy_config.documents import CORS, Edit, fragment, one, one_cluster, routes


def test_only_with_the_key_is_there_cors(document: Edit) -> None:
    assert "cors" not in json.dumps([document(), *map(fragment, get_args(Fragment))])
    filters = one(document(CORS)["static_resources"]["listeners"][0], "http_filters")
    assert [each["name"] for each in fragment("filter", CORS)] == ["oai-cors", "oai-extproc"]
    assert fragment("filter", CORS) == filters[1:-1]
    both = fragment("filter", CORS + "\nlimits: {address_requests_per_second: 7}")
    names = ["oai-cors", "oai-address-limit", "oai-address-limit-route", "oai-extproc"]
    assert [each["name"] for each in both] == names, "a 429 has it, too"


def test_a_preflight_has_a_route_without_a_worker_before_the_others(document: Edit) -> None:
    first, *others = fragment("route", CORS)
    assert [first["name"], *(route["name"] for route in others)] == ["preflight", "bedrock", "api"]
    assert list(routes(document(CORS))) == ["health", "preflight", "bedrock", "api", "elsewhere"]
    assert first["typed_per_filter_config"].keys() == {"oai-cors"}
    assert one_cluster(first) == "unprocessed"
    assert {each["name"] for each in first["match"]["headers"]} == {
        ":method",
        "origin",
        "access-control-request-method",
    }


def test_all_routes_for_pages_have_the_same_policy(document: Edit) -> None:
    policies = [
        route["typed_per_filter_config"]["oai-cors"]["config"]
        for name, route in routes(document(CORS)).items()
        if name != "health"
    ]
    assert all(policy == policies[0] for policy in policies)
    assert policies[0]["allow_origin_string_match"] == [{"exact": "https://chat.example.com"}]
    assert "allow_credentials" not in policies[0]


def test_a_rejected_preflight_is_no_absent_worker() -> None:
    """Its cluster has no endpoint either."""
    _, preflight, processor = fragment("reply", CORS)
    assert "xds.route_name == 'preflight'" in one(preflight, "expression")
    assert (preflight["status_code"], processor["status_code"]) == (403, 503)


def test_pages_may_read_every_header_that_the_gateway_sends() -> None:
    """Names of our own, of OpenAI's, and of retries, wherever they stand in the code."""
    root = Path(envoy_config.__file__).parents[1]
    texts = [path.read_text() for path in root.rglob("*.py") if path.parent.name in ("exchange", "openai", "translate")]
    names = {
        name
        for text in texts
        for name in re.findall(r"\"((?:x-oai-|openai-|x-ratelimit-|retry-|x-should-|x-request-)[a-z-]+)\"", text)
    }
    assert {"x-request-id", "retry-after", "x-oai-ignored-params", "openai-organization", "x-should-retry"} <= names
    assert names <= {*EXPOSED}
