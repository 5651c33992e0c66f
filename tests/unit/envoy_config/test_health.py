"""The listener for health, metrics and the drain."""

from typing import Any

import pytest

from extproc.net import Address
from tests.unit.envoy_config.documents import Edit, cluster, every, one


def health(document: Any) -> Any:
    [section] = [each for each in document["static_resources"]["listeners"] if each["name"] == "health"]
    return section


CALLS = {"processor", "bedrock", "unprocessed"}
"""The clusters of callers' requests."""


def clusters(document: Any) -> set[str]:
    return {each["name"] for each in document["static_resources"]["clusters"]}


def test_without_an_address_there_is_no_listener_for_health(document: Edit) -> None:
    rendered = document(admin=Address(path="/run/oai/admin.sock"))
    assert [each["name"] for each in rendered["static_resources"]["listeners"]] == ["oai"]
    assert clusters(rendered) == CALLS


def test_health_checks_are_not_counted_among_callers(document: Edit) -> None:
    rendered = document(health=Address("127.0.0.1", 8081))
    assert "oai" not in every(health(rendered), "stat_prefix")
    assert health(rendered)["ignore_global_conn_limit"] is True
    assert [each["name"] for each in one(health(rendered), "http_filters")] == [
        "envoy.filters.http.health_check",
        "oai-scrapes",
        "envoy.filters.http.router",
    ]


@pytest.mark.parametrize(("files", "limit"), [({}, 1000), ({"files": 1024}, 128), ({"files": 64}, 1)])
def test_connections_have_a_limit_of_their_own(document: Edit, files: dict[str, int], limit: int) -> None:
    flag = "envoy.resource_limits.listener.health.connection_limit"
    assert one(document(health=Address("127.0.0.1", 8081), **files), flag) == limit
    assert list(every(document(**files), flag)) == []


@pytest.mark.parametrize(
    ("admin", "served"),
    [
        (None, set()),
        (Address("127.0.0.1", 9901), {"/metrics"}),
        (Address(path="/run/oai/admin.sock"), {"/metrics", "/drained"}),
    ],
)
def test_metrics_and_drained_are_where_there_is_an_admin_interface(
    document: Edit, admin: Address | None, served: set[str]
) -> None:
    rendered = document(health=Address("127.0.0.1", 8081), admin=admin)
    assert {match["path"] for match in every(health(rendered), "match") if "path" in match} == served
    led_to = {route["cluster"] for route in every(health(rendered), "route")}
    assert led_to == clusters(rendered) - CALLS


def test_the_drain_is_beside_the_admin_interface(document: Edit) -> None:
    rendered = document(health=Address("127.0.0.1", 8081), admin=Address(path="/run/x/admin.sock"))
    assert one(cluster(rendered, "drain"), "pipe") == {"path": "/run/x/drain.sock"}
    assert one(cluster(rendered, "admin"), "pipe") == {"path": "/run/x/admin.sock"}
