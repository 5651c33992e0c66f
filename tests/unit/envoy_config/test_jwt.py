"""Signed tokens in the bootstrap: the filter that verifies them, and where its keys come from."""

import json
from typing import Any

from extproc.net import Address
from extproc.proxy import Proxy
from tests.unit.envoy_config.documents import Edit, cluster, every, one

ISSUERS = """
jwt:
- {issuer: "https://a/", audiences: [api, web], jwks_uri: "https://a.example.com/keys", organisation: org}
- {issuer: "https://b/", audiences: [api], jwks_uri: "http://127.0.0.1:9/keys", organisation: org, refresh_seconds: 60}
"""


def jwt_filter(document: Any) -> Any:
    [found] = [each for each in every(document, "typed_config") if "JwtAuthentication" in each["@type"]]
    return found


def test_without_issuers_nothing_is_rendered(document: Edit) -> None:
    text = json.dumps(document())
    assert "jwt" not in text
    assert "jwks" not in text
    assert "forwarding_namespaces" not in text


def test_signed_tokens_are_verified_before_the_worker_is_asked(document: Edit) -> None:
    rendered = document(ISSUERS)
    names = [each["name"] for each in next(every(rendered, "http_filters"))]
    assert names.index("oai-jwt") + 1 == names.index("oai-extproc")
    assert one(rendered, "forwarding_namespaces") == {"untyped": ["envoy.filters.http.jwt_authn"]}
    assert one(rendered, "receiving_namespaces") == {"untyped": ["oai"]}


def test_a_token_needs_issuer_audience_and_end_and_stands_in_one_place(document: Edit) -> None:
    providers = jwt_filter(document(ISSUERS))["providers"]
    assert {each["issuer"]: each["audiences"] for each in providers.values()} == {
        "https://a/": ["api", "web"],
        "https://b/": ["api"],
    }
    for provider in providers.values():
        assert provider["require_expiration"] is True
        assert provider["from_headers"] == [{"name": "Authorization", "value_prefix": "Bearer "}]
        assert provider["forward"] is True
        assert not {"from_params", "from_cookies", "claim_to_headers", "forward_payload_header"} & provider.keys()


def test_api_keys_and_other_paths_pass_the_filter_without_work(document: Edit) -> None:
    [rule] = jwt_filter(document(ISSUERS))["rules"]
    assert rule["match"]["path_separated_prefix"] == "/oai/v1"
    assert rule["match"]["headers"] == [{"name": "authorization", "string_match": {"prefix": "Bearer ey"}}]


def test_keys_come_by_tls_and_a_few_at_a_time(document: Edit) -> None:
    rendered = document(ISSUERS)
    first, second = cluster(rendered, "jwks-0"), cluster(rendered, "jwks-1")
    assert one(first["transport_socket"], "trusted_ca") == {"filename": "/etc/ssl/certs/ca-certificates.crt"}
    assert one(first, "upstream_http_protocol_options") == {"auto_sni": True, "auto_san_validation": True}
    assert "transport_socket" not in second
    for each in (first, second):
        [threshold] = one(each, "thresholds")
        assert set(threshold.values()) == {8}
    caches = [provider["remote_jwks"]["cache_duration"] for provider in jwt_filter(rendered)["providers"].values()]
    assert caches == ["300s", "60s"]


def test_keys_behind_a_proxy_have_a_tunnel_of_their_own(document: Edit) -> None:
    proxy = Proxy(Address("proxy.example", 3128), "Basic c2VjcmV0")
    rendered = document(ISSUERS, jwks_proxies={"https://a.example.com": proxy})
    [tunnel] = [each for each in rendered["static_resources"]["listeners"] if each["name"] == "jwks-0-tunnel"]
    assert one(tunnel, "tunneling_config")["hostname"] == "a.example.com:443"
    assert one(cluster(rendered, "jwks-0"), "server_listener_name") == "jwks-0-tunnel"
    assert "envoy_internal_address" not in json.dumps([cluster(rendered, "bedrock"), cluster(rendered, "jwks-1")])
    assert cluster(rendered, "bedrock-proxy")
    assert "c2VjcmV0" not in json.dumps(rendered)
    assert rendered["bootstrap_extensions"]
