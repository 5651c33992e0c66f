"""Signed tokens: what Envoy says of them -> a token of one request, or an error response."""

from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.config import Models, Organisation, Settings
from extproc.config.jwt import JwtIssuer
from extproc.openai.errors import ApiError
from extproc.tenancy.directory import Caller, Directory, KnownTokenError
from extproc.tenancy.jwt_tokens import MAX_LENGTH, MAX_NAME, Claim, JwtResult, is_jwt
from extproc.tenancy.store import LookedUp, Lookup
from extproc.tenancy.table_store import TableStore

NOW = 1_800_000_000.0
ISSUER = JwtIssuer("https://a/", ("one", "two"), "https://a/keys", "org")
SCOPED = JwtIssuer("https://b/", ("one",), "https://b/keys", "tenant", "scp")
BOUND = JwtIssuer("https://c/", ("one",), "https://c/keys", "org", organisations=("beta",))
"""It speaks for one organisation only."""
SETTINGS = Settings(
    organisations={"acme": Organisation(), "beta": Organisation(), "closed": Organisation(enabled=False)},
    jwt=(ISSUER, SCOPED, BOUND),
)
DIRECTORY = Directory(SETTINGS)


def signed(head: bytes) -> str:
    """Return a header with a token that begins with these bytes."""
    return f"Bearer {urlsafe_b64encode(head).rstrip(b'=').decode()}.e30.c2ln"


HEADER = signed(b'{"alg":"RS256"}')
GOOD: Mapping[str, Claim] = {"iss": "https://a/", "aud": "two", "exp": NOW + 1, "sub": "alice", "org": "acme"}


def call(organisation: str = "", header: str = HEADER, **claims: Any) -> Caller | Lookup:
    content = {name: value for name, value in {**GOOD, **claims}.items() if value is not None}
    return DIRECTORY.authenticate(header, organisation, NOW, None, JwtResult(content))


def caller(organisation: str = "", **claims: Any) -> Caller:
    found = call(organisation, **claims)
    assert isinstance(found, Caller)
    return found


def rejection(result: JwtResult | None = None, header: str = HEADER, **claims: Any) -> ApiError:
    found = JwtResult({name: claim for name, claim in {**GOOD, **claims}.items() if claim is not None})
    with pytest.raises(ApiError) as caught:
        DIRECTORY.authenticate(header, None, NOW, None, found if claims else result)
    return caught.value


def test_an_issuer_speaks_for_its_own_organisations_only() -> None:
    assert caller(iss="https://c/", aud="one", org=("acme", "beta")).organisation == "beta"
    assert rejection(iss="https://c/", aud="one", org="acme").status == 403
    assert rejection(iss="https://c/", aud="one", org=("acme",)).status == 403


def test_verified_claims_make_a_caller() -> None:
    assert caller() == Caller("jwt:alice", "acme", Models())
    assert caller(aud=("x", "one"), org=("beta", "acme"), organisation="acme").organisation == "acme"


def test_only_whom_envoy_has_verified_is_known() -> None:
    assert DIRECTORY.known(HEADER, None, NOW, JwtResult(GOOD)) == ("acme", "jwt:alice")
    assert DIRECTORY.known(HEADER, None, NOW, JwtResult({**GOOD, "org": "closed"})) is None
    assert DIRECTORY.known(HEADER, None, NOW, JwtResult(None, 3, "")) is None
    assert DIRECTORY.known(HEADER, None, NOW, None) is None


@pytest.mark.parametrize("alg", ["RS256", "PS384", "ES512", "EdDSA"])
def test_signatures_by_a_private_key_count(alg: str) -> None:
    assert isinstance(call(header=signed(b'{"typ":"JWT","alg":"%s"}' % alg.encode())), Caller)


@pytest.mark.parametrize(
    "head",
    [
        b'{"alg":"HS256"}',
        b'{"alg":"none"}',
        b'{"alg":"rs256"}',
        b'{"\\u0061lg":"HS512"}',
        b'{"alg":"HS256","alg":"RS256"}',
        b'{"alg":"RS256","alg":"HS256"}',
        b'{"alg":["RS256"]}',
        b'{"typ":{"alg":"RS256"}}',
        b'{"alg":"RS256"',
        b'{"alg":"RS256\xff"}',
        b'{"a":' + b"[" * 3000,
    ],
)
def test_no_other_signature_counts_although_envoy_has_verified_it(head: bytes) -> None:
    error = rejection(JwtResult(GOOD), signed(head))
    assert (error.status, "Its `alg` is none of" in error.message) == (401, True)


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"iss": None}, "Its issuer"),
        ({"iss": "https://a"}, "Its issuer"),
        ({"iss": ("https://a/",)}, "Its issuer"),
        ({"aud": None}, "another audience"),
        ({"aud": "three"}, "another audience"),
        ({"aud": ()}, "another audience"),
        ({"iss": "https://b/", "aud": "two"}, "another audience"),
        ({"exp": None}, "expired"),
        ({"exp": NOW - 60}, "expired"),
        ({"exp": "9999999999"}, "expired"),
        ({"exp": (NOW + 1,)}, "expired"),
        ({"sub": None}, "no subject"),
        ({"sub": ""}, "no subject"),
        ({"sub": ("alice",)}, "no subject"),
    ],
)
def test_claims_count_only_with_an_issuer_an_audience_an_end_and_a_subject(
    claims: dict[str, Any], message: str
) -> None:
    error = rejection(**claims)
    assert (error.status, error.code) == (401, "invalid_api_key")
    assert message in error.message


def test_an_end_of_a_minute_ago_counts_for_clocks_that_differ() -> None:
    assert caller(exp=NOW - 59).organisation == "acme"


@pytest.mark.parametrize(
    ("result", "status", "message"),
    [
        (None, 401, "Its issuer"),
        (JwtResult(), 401, "It is invalid."),
        (JwtResult(None, 3, "Jwt is expired"), 401, "It has expired"),
        (JwtResult(None, 26, "Jwt verification fails"), 401, "Jwt verification fails."),
        (JwtResult(None, 32, "Jwks doesn't have key to match kid or alg from Jwt"), 401, "no key with this `kid`"),
        (JwtResult(None, 40, "Jwks remote fetch is failed"), 503, "keys cannot be fetched"),
        (JwtResult(None, 28, "Jwks is an invalid JSON"), 503, "keys cannot be fetched"),
    ],
)
def test_what_is_not_verified_lets_nobody_in(result: JwtResult | None, status: int, message: str) -> None:
    error = rejection(result)
    assert error.status == status
    assert message in error.message


def test_no_claims_are_no_caller() -> None:
    assert rejection(JwtResult({})).status == 401


def test_a_long_token_is_rejected_although_it_is_verified() -> None:
    assert "longer than" in rejection(JwtResult(GOOD), HEADER + "x" * MAX_LENGTH).message


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer ey",
        "Bearer eya.b",
        "bearer eya.b.c",
        "Bearer  eya.b.c",
        " Bearer eya.b.c",
        "Bearer eya.b.c ",
        "Bearer eya.b.c\n",
        "Bearer eya.b.c.d",
        "Bearer eya.b.c,Bearer eya.b.c",
        "Bearer eya.b.c=",
        "Bearer qc_eya.b.c",
        "Basic eya.b.c",
    ],
)
def test_claims_of_any_other_header_count_for_nothing(header: str | None) -> None:
    assert not is_jwt(header)
    with pytest.raises(ApiError) as caught:
        DIRECTORY.authenticate(header, None, NOW, None, JwtResult(GOOD))
    assert caught.value.status == 401


def test_without_issuers_claims_count_for_nothing() -> None:
    with pytest.raises(ApiError) as caught:
        Directory(Settings(organisations=SETTINGS.organisations)).authenticate(HEADER, None, NOW, None, JwtResult(GOOD))
    assert caught.value.status == 401
    assert "JWT" not in caught.value.message


def test_the_message_for_no_key_names_both_forms() -> None:
    assert "`Authorization: Bearer ey…`" in rejection(header="").message


@pytest.mark.parametrize(
    ("organisation", "header", "status", "message"),
    [
        (None, "", 403, "belongs to no organisation"),
        (7.0, "", 403, "belongs to no organisation"),
        ("a b", "", 403, "belongs to no organisation"),
        ("closed", "", 403, "`closed` is disabled"),
        ("nowhere", "", 403, "no organisation `nowhere`"),
        (("acme", "nowhere"), "nowhere", 403, "no organisation `nowhere`"),
        (("acme", "beta"), "", 400, "(acme, beta)"),
        (("acme", "beta"), "closed", 403, "it is for: acme, beta."),
        (tuple(f"o{n}" for n in range(4000)), "", 400, "o99, …)"),
    ],
)
def test_an_organisation_has_to_be_there_and_chosen(organisation: Any, header: str, status: int, message: str) -> None:
    with pytest.raises(KnownTokenError) as caught:
        call(header, org=organisation)
    assert (caught.value.status, caught.value.token) == (status, "jwt:alice")
    assert caught.value.organisation == "", "metrics would have a series of each name"
    assert message in caught.value.message
    assert len(caught.value.message) < 1000


@pytest.mark.parametrize(
    ("claim", "scopes"),
    [
        ("chat models", ("chat", "models")),
        ("openid  chat\tchat", ("chat",)),
        (("chat", "embeddings", "admin"), ("chat", "embeddings")),
        (("chat models",), ()),
        (None, ()),
        (1.0, ()),
        ("*", ()),
    ],
)
def test_scopes_are_those_of_the_claim_that_there_are(claim: Any, scopes: tuple[str, ...]) -> None:
    assert caller(iss="https://b/", aud="one", tenant="acme", scp=claim).scopes == scopes


def test_without_a_claim_of_scopes_in_the_settings_a_token_may_call_everything() -> None:
    assert caller(scp="chat").scopes is None


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_name_is_printable_bounded_and_tells_subjects_apart(first: str, second: str) -> None:
    names = [caller(sub=subject).token for subject in (first, second)]
    for name in names:
        assert name.startswith("jwt:")
        assert name.isascii()
        assert name.isprintable()
        assert len(name) <= MAX_NAME
    assert (names[0] == names[1]) == (first == second)


def test_a_subject_that_is_cut_is_told_from_others() -> None:
    assert caller(sub="x" * 200).token != caller(sub="x" * 201).token


@pytest.mark.parametrize("subject", ["müller@example.com", "x" * 200])
def test_a_subject_that_looks_like_anothers_name_has_its_own(subject: str) -> None:
    name = caller(sub=subject).token
    assert caller(sub=name.removeprefix("jwt:")).token != name


def test_with_a_table_the_organisation_is_looked_up_and_no_token() -> None:
    store = TableStore(lambda key: None)
    directory = Directory(Settings(jwt=(ISSUER,)), store)
    result = JwtResult({**GOOD, "org": ("acme", "beta")})
    lookup = directory.authenticate(HEADER, "acme", NOW, None, result)
    assert lookup == Lookup("", "acme")
    found = directory.authenticate(HEADER, "acme", NOW, LookedUp(None, "acme", Organisation()), result)
    assert isinstance(found, Caller)
    assert (found.token, found.organisation) == ("jwt:alice", "acme")
    with pytest.raises(ApiError, match="no organisation `acme`"):
        directory.authenticate(HEADER, "acme", NOW, LookedUp(None, "acme", None), result)
    store.put("org#acme", Organisation(), 2, NOW)
    assert directory.authenticate(HEADER, "acme", NOW, None, result) == found
