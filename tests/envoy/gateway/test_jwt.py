"""Signed tokens (JWT) of an identity provider, beside API keys, through the real Envoy: who is let in, who is not."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import pytest

from tests.conftest import Gateway
from tests.envoy.gateway.issuers import AUDIENCE, ISSUER, SCOPED, Issuer, new_key

CHAT = "/oai/v1/chat/completions"


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    issuer.add_key("curve", curve=True)
    yield issuer
    issuer.close()


@pytest.fixture(scope="module")
def gateway(start_shared: Any, issuer: Issuer, scoped: Issuer) -> Gateway:
    """A gateway with both issuers."""
    entries = [issuer.entry(), scoped.entry(scopes="scp", organisation="https://scoped.example.com/tenant")]
    running: Gateway = start_shared({"jwt": entries, "aws": {}}, args=["--access-log"])
    return running


@pytest.fixture(autouse=True, scope="module")
def ready(gateway: Gateway, client_of: Any, eventually: Any, issuer: Issuer, scoped: Issuer) -> None:
    """Envoy has fetched the keys of both."""
    client = client_of(gateway)
    good = [issuer.token(), token_of(scoped, "models")]
    eventually(lambda: all(models(client, token).status == 200 for token in good))


def bearer(*tokens: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}") for token in tokens]


def models(client: Any, token: str, *more: tuple[str, str]) -> Any:
    return client.exchange("GET", "/oai/v1/models", token=None, headers=[*bearer(token), *more])


def chat(client: Any, token: str, *more: tuple[str, str], **fields: Any) -> Any:
    body = {"model": "amazon.nova-micro-v1:0", "messages": [{"role": "user", "content": "Hello"}], **fields}
    return client.post("chat/completions", body, token=None, headers=[*bearer(token), *more])


def token_of(scoped: Issuer, scopes: object, organisation: object = "acme") -> str:
    return scoped.token(org=None, scp=scopes, **{"https://scoped.example.com/tenant": organisation})


# Who is let in


@pytest.mark.parametrize("kid", ["a", "curve"])
def test_a_signed_token_makes_calls_for_its_organisation(client: Any, local: Any, issuer: Issuer, kid: str) -> None:
    response = chat(client, issuer.token(kid))
    assert response.status == 200
    assert response.headers["openai-organization"] == "acme"
    call = local.call()
    assert call["body"]["requestMetadata"] == {"oai.organisation": "acme", "oai.token": "jwt:alice"}
    assert "bearer" not in json.dumps(call["headers"]).lower()


def test_a_stream_is_whole(client: Any, issuer: Issuer) -> None:
    claims = {f"claim {n}": "x" * 100 for n in range(30)}
    caller = type(client)(client.host, client.port, {"ci": issuer.token(**claims)})
    with caller.stream("Count to 9.") as stream:
        assert stream.rest()[-1] == "[DONE]"
    assert caller.chat("x" * 300_000).status == 200


def test_api_keys_go_on_beside_it(client: Any) -> None:
    assert client.chat("Hello").status == 200
    assert models(client, "qc_" + "x" * 43).status == 401


@pytest.mark.parametrize("audience", [AUDIENCE, ["other", AUDIENCE]])
def test_one_of_several_audiences_is_enough(client: Any, issuer: Issuer, audience: object) -> None:
    assert models(client, issuer.token(aud=audience)).status == 200


def test_the_organisation_is_the_one_that_is_named_of_several(client: Any, issuer: Issuer) -> None:
    token = issuer.token(org=["acme", "umbrella", "everybody here", 7])
    for name in ("acme", "umbrella"):
        assert models(client, token, ("openai-organization", name)).headers["openai-organization"] == name
    unnamed = models(client, token)
    assert (unnamed.status, unnamed.error["code"]) == (400, "organisation_required")
    assert "(acme, umbrella)" in unnamed.error["message"]
    other = models(client, token, ("openai-organization", "limited"))
    assert (other.status, other.error["code"]) == (403, "organisation_not_allowed")


@pytest.mark.parametrize(
    ("organisation", "message"),
    [
        (None, "belongs to no organisation"),
        ("", "belongs to no organisation"),
        ([], "belongs to no organisation"),
        (7, "belongs to no organisation"),
        ({"name": "acme"}, "belongs to no organisation"),
        ("not a machine name", "belongs to no organisation"),
        ("nowhere", "no organisation `nowhere`"),
        ("ACME", "no organisation `ACME`"),
        ("closed", "is disabled"),
    ],
)
def test_an_organisation_that_there_is_not_is_forbidden(
    client: Any, issuer: Issuer, organisation: object, message: str
) -> None:
    response = client.exchange(
        "POST", CHAT, token=None, headers=[*bearer(issuer.token(org=organisation)), ("content-length", "1000000")]
    )
    assert (response.status, response.error["code"]) == (403, "organisation_not_allowed")
    assert message in response.error["message"]


def test_the_models_are_those_of_the_organisation(client: Any, issuer: Issuer) -> None:
    assert chat(client, issuer.token(org="limited"), model="anthropic.claude-sonnet-4-6").status == 404


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        ("chat", {"chat"}),
        ("openid chat  models", {"chat", "models"}),
        (["models", "chat", "admin"], {"chat", "models"}),
        ("", set()),
        (None, set()),
        (["chat models"], set()),
        ("*", set()),
        (7, set()),
    ],
)
def test_scopes_narrow_and_never_widen(client: Any, scoped: Issuer, scopes: object, allowed: set[str]) -> None:
    token = token_of(scoped, scopes)
    responses = {"chat": chat(client, token), "models": models(client, token)}
    assert {name for name, response in responses.items() if response.status == 200} == allowed
    for response in responses.values():
        if response.status != 200:
            assert (response.status, response.error["code"]) == (403, "insufficient_scope")
            assert "signed token `jwt:alice`" in response.error["message"]


# Who is not


def encoded(part: object) -> str:
    data = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed_by_secret(issuer: Issuer, secret: bytes) -> str:
    """Return a token with HS256; PyJWT takes no public key for a secret, an attacker does."""
    content = f"{encoded({'alg': 'HS256', 'kid': 'a'})}.{encoded(issuer.claims())}"
    return f"{content}.{encoded(hmac.new(secret, content.encode(), hashlib.sha256).digest())}"


def changed(token: str, **claims: Any) -> str:
    """Return a token whose claims were changed after it was signed."""
    head, payload, signature = token.split(".")
    content = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return ".".join([head, encoded({**content, **claims}), signature])


def with_payload(issuer: Issuer, payload: bytes) -> str:
    """Return a token that signs these bytes."""
    return jwt.api_jws.encode(payload, issuer.keys["a"], "RS256", headers={"kid": "a"})


FORGED: dict[str, Callable[[Issuer], str]] = {
    "not signed": lambda issuer: jwt.encode(issuer.claims(), None, "none"),
    "not signed, with a signature": lambda issuer: jwt.encode(issuer.claims(), None, "none") + "x",
    "no signature": lambda issuer: issuer.token().rpartition(".")[0] + ".",
    "HS256 with the public key": lambda issuer: signed_by_secret(issuer, issuer.pem()),
    "HS256 with nothing": lambda issuer: signed_by_secret(issuer, b""),
    "another key": lambda issuer: issuer.token(key=new_key()),
    "another key, with its own keys beside": lambda issuer: issuer.token(
        key=new_key(), headers={"jku": "http://127.0.0.1:1/keys", "jwk": {"kty": "RSA"}}
    ),
    "a key that nobody has": lambda issuer: issuer.token(headers={"kid": "z"}),
    "another issuer": lambda issuer: issuer.token(iss="https://evil.example.com/"),
    "an issuer without its slash": lambda issuer: issuer.token(iss=ISSUER.rstrip("/")),
    "the other issuer, by this one's key": lambda issuer: issuer.token(iss=SCOPED),
    "no issuer": lambda issuer: issuer.token(iss=None),
    "expired": lambda issuer: issuer.token(exp=int(time.time()) - 120),
    "no end": lambda issuer: issuer.token(exp=None),
    "an end that is a text": lambda issuer: with_payload(
        issuer, json.dumps({**issuer.claims(), "exp": "99999999999"}).encode()
    ),
    "not valid yet": lambda issuer: issuer.token(nbf=int(time.time()) + 600),
    "another audience": lambda issuer: issuer.token(aud="api://other"),
    "no audience": lambda issuer: issuer.token(aud=None),
    "an audience that begins like it": lambda issuer: issuer.token(aud=AUDIENCE + "/other"),
    "another organisation, after it was signed": lambda issuer: changed(issuer.token(), org="umbrella"),
    "longer than any": lambda issuer: issuer.token(filler="x" * 20_000),
    "a claim twice": lambda issuer: with_payload(
        issuer, json.dumps(issuer.claims()).replace('"org"', '"org": "umbrella", "org"').encode()
    ),
    "a list": lambda issuer: with_payload(issuer, b"[1]"),
    "no JSON": lambda issuer: with_payload(issuer, b"\xff"),
    "nested deeply": lambda issuer: with_payload(issuer, b'{"a":' * 1000 + b"1" + b"}" * 1000),
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_a_token_that_is_not_verified_is_a_401_before_any_body_is_read(
    client: Any, local: Any, issuer: Issuer, forged: Callable[[Issuer], str]
) -> None:
    headers = [*bearer(forged(issuer)), ("content-type", "application/json"), ("content-length", "1000000")]
    response = client.exchange("POST", CHAT, headers=headers, token=None)
    assert (response.status, response.error["code"]) == (401, "invalid_api_key")
    assert response.headers["www-authenticate"] == "Bearer"
    assert local.calls() == []


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"exp": 1_000_000_000}, "It has expired"),
        ({"aud": "api://other"}, "another audience"),
        ({"iss": "https://evil.example.com/"}, "none that this gateway trusts"),
    ],
)
def test_the_message_names_what_is_wrong(client: Any, issuer: Issuer, claims: dict[str, Any], message: str) -> None:
    assert message in models(client, issuer.token(**claims)).error["message"]


def payload_of(issuer: Issuer) -> dict[str, Any]:
    return issuer.claims(sub="mallory", org="umbrella", scp="chat models")


SPOOFED = [
    "x-jwt-payload",
    "x-jwt-assertion",
    "x-jwt-claim-org",
    "x-endpoint-api-userinfo",
    "x-goog-iap-jwt-assertion",
    "x-forwarded-user",
    "x-envoy-jwt",
    "x-envoy-metadata",
    "x-envoy-dynamic-metadata",
    "x-envoy-peer-metadata",
    "envoy.filters.http.jwt_authn",
    "oai-verified",
    "oai-failed",
    "oai-jwt",
    "x-oai-verified",
    "jwt",
    "x-amzn-oidc-data",
    "proxy-authorization",
    "x-authorization",
    "sec-istio-auth-userinfo",
]


@pytest.mark.parametrize("value", ["payload", "base64", "token", "metadata"])
def test_no_header_of_a_callers_counts(client: Any, issuer: Issuer, value: str) -> None:
    payload = payload_of(issuer)
    texts = {
        "payload": json.dumps(payload),
        "base64": encoded(payload),
        "token": issuer.token(org="umbrella"),
        "metadata": json.dumps({"envoy.filters.http.jwt_authn": {"oai-verified": payload}}),
    }
    spoofed = [(name, texts[value]) for name in SPOOFED]
    nobody = client.exchange("GET", "/oai/v1/models", token=None, headers=spoofed)
    assert nobody.status == 401
    unsigned = jwt.encode(payload, None, "none")
    assert models(client, unsigned, *spoofed).status == 401
    own = models(client, issuer.token(), *spoofed)
    assert (own.status, own.headers["openai-organization"]) == (200, "acme")


def test_a_body_changes_nothing(client: Any, local: Any, issuer: Issuer) -> None:
    written = {"envoy.filters.http.jwt_authn": "oai-verified", "organisation": "umbrella", "oai-verified": "umbrella"}
    response = chat(client, issuer.token(), metadata=written)
    assert (response.status, response.headers["openai-organization"]) == (200, "acme")
    assert local.call()["body"]["requestMetadata"]["oai.organisation"] == "acme"
    extra = {"metadata_context": {"filter_metadata": {"envoy.filters.http.jwt_authn": {"oai-verified": {}}}}}
    assert chat(client, jwt.encode(payload_of(issuer), None, "none"), **extra).status == 401


def spoofed_places(issuer: Issuer) -> dict[str, tuple[str, list[tuple[str, str]]]]:
    """Return the places where a good token does not count: the path, and the headers."""
    good, other = issuer.token(), issuer.token(org="umbrella")
    path, key = "/oai/v1/models", f"Bearer {'qc_' + 'x' * 43}"
    return {
        "in the query": (f"{path}?access_token={good}", []),
        "in a cookie": (path, [("cookie", f"access_token={good}; token={good}")]),
        "twice": (path, bearer(good, good)),
        "two of them": (path, bearer(good, other)),
        "behind one that is not signed": (path, bearer(jwt.encode(payload_of(issuer), None, "none"), good)),
        "before one that is not signed": (path, bearer(good, jwt.encode(payload_of(issuer), None, "none"))),
        "behind a key": (path, [("authorization", key), *bearer(good)]),
        "before a key": (path, [*bearer(good), ("authorization", key)]),
        "behind another scheme": (path, [("authorization", f"Basic eA== Bearer {good}")]),
        "with something behind it": (path, [("authorization", f"Bearer {good} x")]),
        "with a comma": (path, [("authorization", f"Bearer {good},")]),
        "with two blanks": (path, [("authorization", f"Bearer  {good}")]),
        "in another spelling of the scheme": (path, [("authorization", f"bearer {good}")]),
        "without a scheme": (path, [("authorization", good)]),
    }


def test_a_good_token_counts_alone_and_in_its_place_only(client: Any, issuer: Issuer) -> None:
    for place, (path, headers) in spoofed_places(issuer).items():
        response = client.exchange("GET", path, token=None, headers=headers)
        assert (place, response.status) == (place, 401)
        assert response.error["code"] == "invalid_api_key"


@pytest.mark.parametrize("subject", ["alice\r\nx: y", "\u0000", "\u202e", "ünï", "x" * 4000, "Bearer qc_abc"])
def test_a_subject_makes_a_name_that_a_log_can_have(client: Any, local: Any, issuer: Issuer, subject: Any) -> None:
    assert chat(client, issuer.token(sub=subject)).status == 200
    name = local.call()["body"]["requestMetadata"]["oai.token"]
    assert name.startswith("jwt:")
    assert len(name) <= 128
    assert name.isascii()
    assert name.isprintable()


@pytest.mark.parametrize("subject", [None, "", ["alice"]])
def test_without_a_subject_nobody_is_let_in(client: Any, local: Any, issuer: Issuer, subject: Any) -> None:
    response = chat(client, issuer.token(sub=subject))
    assert (response.status, response.error["code"]) == (401, "invalid_api_key")
    assert local.calls() == []


def test_the_access_log_has_the_subject_and_no_token(gateway: Gateway, client: Any, issuer: Issuer) -> None:
    token = issuer.token(sub="carol@example.com")
    forged = issuer.token(sub="dave@example.com", key=new_key())
    since = len(gateway.log())
    assert models(client, token).status == 200
    assert models(client, forged).status == 401
    record = json.loads(gateway.wait_for(r'(?m)^(\{.*"jwt:carol@example.com".*\})$', since)[1])
    assert (record["oai"]["token"], record["oai"]["organisation"]) == ("jwt:carol@example.com", "acme")
    for secret in (token, forged):
        assert not any(part in gateway.log() for part in secret.split(".")[1:])
    assert "dave" not in gateway.log()


# The life of keys


def test_a_new_key_counts_after_a_while_and_a_removed_one_no_more(client: Any, issuer: Issuer, eventually: Any) -> None:
    issuer.add_key("b")
    eventually(lambda: models(client, issuer.token("b")).status == 200)
    assert models(client, issuer.token("a")).status == 200
    old = issuer.keys.pop("a")
    try:
        eventually(lambda: models(client, issuer.token("a", key=old)).status == 401)
        assert models(client, issuer.token("b")).status == 200
    finally:
        issuer.keys["a"] = old
    eventually(lambda: models(client, issuer.token("a")).status == 200)


def test_the_keys_stay_while_the_issuer_is_away(client: Any, issuer: Issuer, eventually: Any) -> None:
    issuer.away = True
    try:
        fetches = issuer.fetches
        eventually(lambda: issuer.fetches >= fetches + 2)
        assert models(client, issuer.token()).status == 200
        assert models(client, issuer.token(key=new_key())).status == 401
    finally:
        issuer.away = False


def test_no_caller_makes_envoy_fetch_keys(client: Any, issuer: Issuer) -> None:
    fetches, began = issuer.fetches, time.monotonic()
    for _ in range(50):
        assert models(client, issuer.token(headers={"kid": "z"})).status == 401
    assert issuer.fetches - fetches <= 1 + (time.monotonic() - began) / 4
