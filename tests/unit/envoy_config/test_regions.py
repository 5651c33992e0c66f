"""Several regions in the bootstrap: a cluster and a route for each."""

from extproc.bedrock.endpoints import Endpoint
from extproc.net import Address
from extproc.proxy import Proxy
from tests.unit.envoy_config.documents import AWS, Edit, cluster, every, one, routes

FRANKFURT = Endpoint("https", "bedrock-runtime.eu-central-1.amazonaws.com", 443)
SYDNEY = Endpoint("https", "bedrock-runtime.ap-southeast-2.amazonaws.com", 443)


def test_each_region_has_a_cluster_and_a_route_that_its_own_mark_opens(document: Edit) -> None:
    rendered = document(elsewhere={"eu-central-1": FRANKFURT, "ap-southeast-2": SYDNEY})
    there = {name: route for name, route in routes(rendered).items() if name.startswith("bedrock")}
    assert list(there) == ["bedrock-eu-central-1", "bedrock-ap-southeast-2", "bedrock"]
    marks = {name: one(route["match"]["dynamic_metadata"], "value") for name, route in there.items()}
    assert marks == {
        "bedrock-eu-central-1": {"string_match": {"exact": "eu-central-1"}},
        "bedrock-ap-southeast-2": {"string_match": {"exact": "ap-southeast-2"}},
        "bedrock": {"bool_match": True},
    }
    for name, endpoint in {"bedrock-eu-central-1": FRANKFURT, "bedrock-ap-southeast-2": SYDNEY, "bedrock": AWS}.items():
        assert there[name]["route"]["cluster"] == name
        assert there[name]["route"]["host_rewrite_literal"] == endpoint.host
        assert one(cluster(rendered, name), "socket_address")["address"] == endpoint.host


def test_behind_a_proxy_each_region_has_a_tunnel(document: Edit) -> None:
    rendered = document(elsewhere={"eu-central-1": FRANKFURT}, proxy=Proxy(Address("proxy.example", 3128)))
    tunnels = {each["hostname"] for each in every(rendered, "tunneling_config")}
    assert tunnels == {f"{AWS.host}:443", f"{FRANKFURT.host}:443"}
    names = {each["name"] for each in rendered["static_resources"]["listeners"] if "internal_listener" in each}
    for name in ("bedrock", "bedrock-eu-central-1"):
        assert one(cluster(rendered, name), "server_listener_name") in names
    assert len(names) == 2
