"""Documents that issuers publish as their keys: what the real Envoy makes of them, and what `check` says."""

import hashlib
import hmac
import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from extproc.cli import main
from extproc.cli.issuers import KeysError, usable_keys
from tests.conftest import CONFIG, Gateway
from tests.envoy.gateway.issuers import Issuer
from tests.envoy.gateway.proxies import PASSWORD, URL_OF_USER, TinyProxy
from tests.envoy.gateway.test_jwt import encoded, models

SECRET = b"a key that everybody can read, of 256 bits and more"
SYMMETRIC = {"kty": "oct", "kid": "s", "alg": "HS256", "k": encoded(SECRET)}


def documents(issuer: Issuer, certificate: str) -> dict[str, bytes]:
    """Return documents by what they are: with the issuer's keys, or with something of them changed."""
    rsa, curve = json.loads(issuer.jwks())["keys"]

    def keys(*entries: object) -> bytes:
        return json.dumps({"keys": entries}).encode()

    def without(key: dict[str, Any], *names: str) -> dict[str, Any]:
        return {name: value for name, value in key.items() if name not in names}

    return {
        "both": keys(rsa, curve),
        "RSA without use": keys(without(rsa, "use")),
        "RSA for encryption": keys({**rsa, "use": "enc"}),
        "RSA with another alg": keys({**rsa, "alg": "HS256"}),
        "RSA without n": keys(without(rsa, "n")),
        "RSA with padding": keys({**rsa, "n": rsa["n"] + "=="}),
        "a curve with another alg": keys({**curve, "alg": "ES384"}),
        "a curve without its name": keys(without(curve, "crv")),
        "another curve": keys({**curve, "crv": "secp256k1"}),
        "one of two": keys({"kty": "other"}, 7, without(curve, "x"), rsa),
        "Ed25519": keys({"kty": "OKP", "crv": "Ed25519", "x": encoded(b"x" * 32)}),
        "certificates": json.dumps({"a": certificate}).encode(),
        "none": keys(),
        "no JSON": b"<html>Please log in</html>",
    }


NAMES = [
    "both",
    "RSA without use",
    "RSA for encryption",
    "RSA with another alg",
    "RSA without n",
    "RSA with padding",
    "a curve with another alg",
    "a curve without its name",
    "another curve",
    "one of two",
    "Ed25519",
    "certificates",
    "none",
    "no JSON",
]


@pytest.fixture(scope="module")
def issuers(authority: Any) -> Iterator[dict[str, Issuer]]:
    """An issuer for each document, and two with a symmetric key."""
    made = {name: Issuer(f"https://{index}.example.com/") for index, name in enumerate([*NAMES, "oct", "oct and RSA"])}
    for name, issuer in made.items():
        if name.startswith("oct"):
            more = json.loads(issuer.jwks())["keys"] if name != "oct" else []
            issuer.document = json.dumps({"keys": [SYMMETRIC, *more]}).encode()
        else:
            issuer.add_key("curve", curve=True)
            issuer.document = documents(issuer, authority.certificate.read_text())[name]
    yield made
    for issuer in made.values():
        issuer.close()


@pytest.fixture(scope="module")
def gateway(start_shared: Any, issuers: dict[str, Issuer]) -> Gateway:
    """A gateway with all of them."""
    running: Gateway = start_shared({"jwt": [issuer.entry() for issuer in issuers.values()]})
    return running


@pytest.fixture(scope="module")
def judged(gateway: Gateway, eventually: Any, issuers: dict[str, Issuer]) -> None:
    """Envoy asks each issuer again, so it has judged each first document."""
    eventually(lambda: all(issuer.fetches >= 2 for issuer in issuers.values()))


@pytest.mark.usefixtures("judged")
@pytest.mark.parametrize("name", NAMES)
def test_check_counts_keys_where_envoy_can_use_them(client: Any, issuers: dict[str, Issuer], name: str) -> None:
    issuer, count = issuers[name], 0
    assert issuer.document is not None
    with suppress(KeysError):
        count = usable_keys(issuer.document)
    responses = [models(client, issuer.token(kid)) for kid in ("a", "curve")]
    lacks_keys = {"issuer_unavailable"} == {response.status >= 400 and response.error["code"] for response in responses}
    assert lacks_keys == (not count)
    if name not in ("Ed25519", "certificates"):
        assert [response.status for response in responses].count(200) == count


@pytest.mark.usefixtures("judged")
@pytest.mark.parametrize("name", ["oct", "oct and RSA"])
def test_a_token_by_a_symmetric_key_that_an_issuer_publishes_is_rejected(
    client: Any, issuers: dict[str, Issuer], name: str
) -> None:
    issuer = issuers[name]
    content = f"{encoded({'alg': 'HS256', 'kid': 's'})}.{encoded(issuer.claims())}"
    token = f"{content}.{encoded(hmac.new(SECRET, content.encode(), hashlib.sha256).digest())}"
    response = models(client, token)
    assert (response.status, response.error["code"]) == (401, "invalid_api_key")
    assert "Its `alg` is none of" in response.error["message"], "Envoy has accepted it"
    assert models(client, issuer.token()).status == (401 if name == "oct" else 200)


# check


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    yield issuer
    issuer.close()


Check = Callable[..., Result]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Runs `check` with these entries of `jwt`."""

    def run(*entries: Any, arguments: tuple[str, ...] = (), **env: str) -> Result:
        (tmp_path / "gateway.yaml").write_text(yaml.safe_dump({**CONFIG, "jwt": list(entries)}))
        command = ["check", "--config", str(tmp_path / "gateway.yaml"), *arguments]
        result = CliRunner(env={"COLUMNS": "200", **env}).invoke(main, command)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run


def test_check_says_how_many_keys_each_issuer_has(check: Check, issuer: Issuer) -> None:
    issuer.add_key("b", curve=True)
    done = check(issuer.entry())
    assert (done.exit_code, issuer.fetches) == (0, 1), done.stderr
    assert re.search(r"https://login.example.com/ .* 2 *$", done.stdout, re.MULTILINE)
    done = check(issuer.entry(), arguments=("--offline",))
    assert (done.exit_code, issuer.fetches) == (0, 1)
    assert "not fetched" in done.stdout


def unreachable() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/keys"


FAULTS: dict[str, tuple[int, bytes, int, str]] = {
    "not there": (404, b"", 2, "answered 404: write the `jwks_uri` that https://login.example.com/.well-known/"),
    "failing": (503, b"", 1, "answered 503: check again"),
    "no JSON": (200, b"<html>", 2, "has no JSON"),
    "another document": (200, b'{"issuer": "a"}', 2, "has no list `keys`: it has to be a JSON Web Key Set, not"),
    "no keys": (200, b'{"keys": []}', 2, "has no key that can be used (the list is empty)"),
    "symmetric keys": (
        200,
        json.dumps({"keys": [SYMMETRIC]}).encode(),
        2,
        "has no key that can be used (s: it is symmetric (`oct`)",
    ),
    "too large": (200, b" " * (1024 * 1024 + 1), 2, "has more than 1048576 bytes"),
}


@pytest.mark.parametrize(("status", "document", "code", "words"), FAULTS.values(), ids=FAULTS)
def test_check_names_what_is_wrong_with_an_issuer(
    check: Check, issuer: Issuer, status: int, document: bytes, code: int, words: str
) -> None:
    issuer.status, issuer.document = status, document
    done = check(issuer.entry())
    assert done.exit_code == code, done.stderr
    assert f"jwt[0].jwks_uri: {issuer.jwks_uri} {words}" in done.stderr


def test_check_follows_no_redirect(check: Check, issuer: Issuer) -> None:
    issuer.status, issuer.location = 302, f"{issuer.jwks_uri}/there"
    done = check(issuer.entry())
    assert (done.exit_code, issuer.fetches) == (2, 1)
    assert f"answered 302, and Envoy follows no redirect: write its target, {issuer.location}" in done.stderr


def test_check_names_all_issuers_that_are_wrong(check: Check, issuer: Issuer) -> None:
    issuer.document = b"{}"
    away = issuer.entry(issuer="https://away.example.com", jwks_uri=unreachable())
    done = check(away)
    assert done.exit_code == 1
    assert "cannot be reached" in done.stderr
    done = check(away, issuer.entry())
    assert done.exit_code == 2
    assert "jwt[0].jwks_uri: " in done.stderr
    assert "jwt[1].jwks_uri: " in done.stderr


def test_check_waits_for_no_issuer(check: Check, issuer: Issuer) -> None:
    issuer.open.clear()
    done = check(issuer.entry())
    assert done.exit_code == 1
    assert "did not answer in 5 seconds" in done.stderr


def test_check_trusts_the_authorities_that_envoy_trusts(check: Check, authority: Any, tmp_path: Path) -> None:
    issuer = Issuer(context=authority.certify("localhost"), host="localhost")
    proxy = TinyProxy(tmp_path / "proxy", issuer.port, password=True)
    try:
        trusted = {"AWS_CA_BUNDLE": str(authority.certificate)}
        done = check(issuer.entry())
        assert done.exit_code == 2
        assert "has a certificate that is not accepted" in done.stderr
        assert check(issuer.entry(), **trusted).exit_code == 0
        assert (issuer.fetches, proxy.connects()) == (1, [])
        through = f"http://{URL_OF_USER}@127.0.0.1:{proxy.port}"
        done = check(issuer.entry(), HTTPS_PROXY=through, **trusted)
        assert (done.exit_code, issuer.fetches) == (0, 2), done.stderr
        assert proxy.connects() == [f"localhost:{issuer.port}"]
        done = check(issuer.entry(), HTTPS_PROXY=f"http://127.0.0.1:{proxy.port}", **trusted)
        assert done.exit_code == 2
        assert f"cannot be reached through http://127.0.0.1:{proxy.port}, which answered 407" in done.stderr
        assert PASSWORD not in done.stderr
    finally:
        proxy.close()
        issuer.close()
