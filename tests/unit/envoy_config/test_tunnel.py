"""Bedrock behind a proxy: tunnels that Envoy makes."""

import json

from extproc.net import Address
from extproc.proxy import Proxy
from tests.unit.envoy_config.documents import Edit, cluster, every, one


def test_a_proxy_is_named_and_bedrock_looked_up_by_it_alone(document: Edit) -> None:
    rendered = document(proxy=Proxy(Address("proxy.example", 3128), "Basic c2VjcmV0"))
    tunnel = one(rendered, "tunneling_config")
    assert tunnel["hostname"] == "bedrock-runtime.eu-west-1.amazonaws.com:443"
    assert one(tunnel, "header") == {"key": "proxy-authorization", "value": "%ENVIRONMENT(OAI_PROXY_AUTHORIZATION)%"}
    addresses = [*every(rendered["static_resources"], "socket_address")]
    assert {"address": "proxy.example", "port_value": 3128} in addresses
    assert not [address for address in addresses if "amazonaws" in address["address"]]
    assert one(cluster(rendered, "bedrock"), "upstream_http_protocol_options") == {
        "auto_sni": True,
        "auto_san_validation": True,
    }
    assert "c2VjcmV0" not in json.dumps(rendered)


def test_tunnels_do_not_count_as_callers_connections_and_buffer_little(document: Edit) -> None:
    rendered = document(proxy=Proxy(Address("proxy.example", 3128)))
    [_, tunnel] = rendered["static_resources"]["listeners"]
    assert tunnel["ignore_global_conn_limit"]
    assert "per_connection_buffer_high_watermark_timeout" not in tunnel
    assert tunnel["per_connection_buffer_limit_bytes"] == 32_768
    assert cluster(rendered, "bedrock-proxy")["per_connection_buffer_limit_bytes"] == 32_768
    assert one(rendered["bootstrap_extensions"], "buffer_size_kb") == 32
    assert "headers_to_add" not in one(tunnel, "tunneling_config")
