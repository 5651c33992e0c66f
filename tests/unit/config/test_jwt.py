"""The issuers of signed tokens in gateway.yaml: what is accepted, and what is wrong with the rest."""

import json
from typing import Any

import pytest

from extproc.bedrock.endpoints import Endpoint
from extproc.config import ConfigError, Settings, parse
from extproc.config.jwt import jwks_endpoint

ENTRY = {"issuer": "https://a/", "audiences": ["api"], "jwks_uri": "https://a/keys", "organisation": "org"}
SHA = "a" * 64


def settings(*entries: dict[str, Any], **more: Any) -> Settings:
    return parse(json.dumps({"jwt": list(entries), **more}).encode())


def test_an_entry_with_defaults() -> None:
    [issuer] = settings(ENTRY).jwt
    assert (issuer.scopes, issuer.refresh_seconds) == (None, 300.0)
    assert settings().jwt == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"issuer": ""}, "jwt[0].issuer: expected the `iss` of the tokens"),
        ({"issuer": "a b"}, "jwt[0].issuer: expected"),
        ({"audiences": []}, "jwt[0].audiences: expected 1 to 64"),
        ({"audiences": [str(n) for n in range(65)]}, "jwt[0].audiences: expected 1 to 64"),
        ({"audiences": "api"}, "jwt[0].audiences: expected a list"),
        ({"jwks_uri": "a/keys"}, "jwt[0].jwks_uri: expected the URL"),
        ({"jwks_uri": "https://user:secret@a/keys"}, "jwt[0].jwks_uri: expected the URL"),
        ({"jwks_uri": "https://a:0/keys"}, "jwt[0].jwks_uri: not the URL of a server"),
        ({"jwks_uri": "https://a:99999/keys"}, "jwt[0].jwks_uri: not the URL of a server"),
        ({"jwks_uri": "https://[::zz]/keys"}, "jwt[0].jwks_uri: "),
        ({"jwks_uri": "https://[1:2]/keys"}, "jwt[0].jwks_uri: not the URL of a server"),
        ({"jwks_uri": "http://a/keys"}, "jwt[0].jwks_uri: the keys would come in plain text"),
        ({"jwks_uri": "http://10.0.0.1/keys"}, "jwt[0].jwks_uri: the keys would come in plain text"),
        ({"refresh_seconds": 1}, "jwt[0].refresh_seconds: expected a number of seconds from 5"),
        ({"organisation": ""}, "jwt[0].organisation: expected the name of a claim"),
        ({"organisations": []}, "jwt[0].organisations: an empty list"),
        ({"organisations": ["a b"]}, "jwt[0].organisations[0]: expected a machine name"),
        ({"scope": "scp"}, "jwt[0].scope: unknown key, did you mean `scopes`?"),
    ],
)
def test_a_fault_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings({**ENTRY, **change})
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


def test_an_issuer_has_one_entry() -> None:
    with pytest.raises(ConfigError, match=r"jwt\[1\]\.issuer: the same as in jwt\[0\]"):
        settings(ENTRY, {**ENTRY, "audiences": ["other"]})
    with pytest.raises(ConfigError, match="17 issuers, at most 16"):
        settings(*[{**ENTRY, "issuer": f"https://{n}/"} for n in range(17)])


@pytest.mark.parametrize("key", ["organisation", "issuer", "audiences", "jwks_uri"])
def test_no_key_is_left_out(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"jwt\[0\]\.{key}: missing"):
        settings({name: value for name, value in ENTRY.items() if name != key})


def test_no_api_key_has_the_name_of_a_signed_token() -> None:
    tokens = [{"name": "jwt:alice", "sha256": SHA}]
    with pytest.raises(ConfigError, match="the name `jwt:alice` begins with `jwt:`"):
        settings(ENTRY, tokens=tokens)
    assert settings(tokens=tokens).tokens[0].name == "jwt:alice"


def test_where_callers_have_signed_tokens_alone_responses_need_a_key() -> None:
    more = {"organisations": {"acme": {"endpoints": {"responses": True}}}}
    with pytest.raises(ConfigError, match=r"responses\.keys: missing; .* signed tokens"):
        settings(ENTRY, **more)
    assert settings(ENTRY, **more, responses={"keys": ["k" * 32]}).jwt
    assert settings(ENTRY, **more, tokens=[{"name": "ci", "sha256": SHA}]).jwt
    assert settings(ENTRY, organisations={"acme": {}}).jwt


@pytest.mark.parametrize(
    ("uri", "endpoint"),
    [
        ("https://a", Endpoint("https", "a", 443)),
        ("https://a:8443/keys?x=y", Endpoint("https", "a", 8443)),
        ("http://127.0.0.1/keys", Endpoint("http", "127.0.0.1", 80)),
        ("http://[::1]:9/keys", Endpoint("http", "::1", 9)),
    ],
)
def test_keys_are_fetched_from_the_host_of_their_url(uri: str, endpoint: Endpoint) -> None:
    assert jwks_endpoint(uri) == endpoint
