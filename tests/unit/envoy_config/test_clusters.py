"""The clusters of Bedrock and of the workers."""

import pytest

from extproc.bedrock.endpoints import Endpoint
from extproc.net import Address
from tests.unit.envoy_config.documents import AWS, Edit, cluster, every, one


def test_bedrock_over_tls(document: Edit) -> None:
    section = cluster(document(ca_file="/my/ca.pem"), "bedrock")
    assert section["type"] == "LOGICAL_DNS"
    assert one(section, "trusted_ca") == {"filename": "/my/ca.pem"}
    assert one(section, "upstream_http_protocol_options") == {"auto_sni": True, "auto_san_validation": True}
    assert one(section, "socket_address") == {"address": AWS.host, "port_value": 443}


@pytest.mark.parametrize(("host", "kind"), [("127.0.0.1", "STATIC"), ("::1", "STATIC"), ("localhost", "LOGICAL_DNS")])
def test_bedrock_in_plain_http(document: Edit, host: str, kind: str) -> None:
    section = cluster(document(bedrock=Endpoint("http", host, 9000)), "bedrock")
    assert "transport_socket" not in section
    assert one(section, "explicit_http_config") == {"http_protocol_options": {}}
    assert section["type"] == kind
    assert one(section, "socket_address") == {"address": host, "port_value": 9000}


def test_each_worker_is_an_endpoint(document: Edit) -> None:
    workers = (Address(path="/run/w0.sock"), Address(path="/run/w1.sock"))
    section = cluster(document(processors=workers), "processor")
    assert section["type"] == "STATIC"
    assert list(every(section, "pipe")) == [{"path": "/run/w0.sock"}, {"path": "/run/w1.sock"}]


def test_workers_that_have_a_name_are_looked_up(document: Edit) -> None:
    section = cluster(document(processors=(Address("oai", 9001),)), "processor")
    assert section["type"] == "STRICT_DNS"
