"""Fragments for an Envoy of one's own."""

import pytest

from extproc.bedrock.endpoints import Endpoint
from tests.unit.envoy_config.documents import AWS, Edit, fragment, one, routes


def test_fragments_are_parts_of_the_bootstrap(document: Edit) -> None:
    whole = document()
    assert fragment("filter") == one(whole["static_resources"]["listeners"][0], "http_filters")[1:-1]
    assert fragment("cluster") == whole["static_resources"]["clusters"]
    assert fragment("route") == [routes(whole)["bedrock"], routes(whole)["api"]]


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        (AWS, AWS.host),
        (Endpoint("http", "127.0.0.1", 9000), "127.0.0.1:9000"),
        (Endpoint("https", "::1", 443), "[::1]"),
    ],
)
def test_the_route_writes_the_host_that_is_signed(endpoint: Endpoint, host: str) -> None:
    """Before that the host is the caller's, by which Envoy selects the virtual host."""
    bedrock, api = fragment("route", bedrock=endpoint)
    assert bedrock["route"]["host_rewrite_literal"] == host == endpoint.authority
    assert "host_rewrite_literal" not in api["route"]
    [ext_proc] = fragment("filter")
    assert one(ext_proc, "disallow_expression") == {"regex": "^:authority$"}


def test_the_route_brings_its_own_limit_of_bodies() -> None:
    both = fragment("route", "limits: {request_bytes: 1000000}")
    assert [int(route["request_body_buffer_limit"]) for route in both] == [1_250_000, 1_250_000]
