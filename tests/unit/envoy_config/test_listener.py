"""The listener of callers."""

import json

from tests.unit.envoy_config.documents import Edit, one


def test_connections_are_accepted_between_other_work(document: Edit) -> None:
    assert document()["static_resources"]["listeners"][0]["max_connections_to_accept_per_socket_event"] == 1


def test_only_with_the_key_are_proxies_trusted(document: Edit) -> None:
    assert "xff_num_trusted_hops" not in json.dumps(document())
    assert one(document("trusted_hops: 2"), "xff_num_trusted_hops") == 2
