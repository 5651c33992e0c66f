"""Tokens and organisations as items of a table, and back."""

import datetime
import json

import pytest

from extproc.config import ConfigError, Models, Organisation, Token, parse
from extproc.config.items import organisation_item, read_organisation, read_token, token_item

SHA = "0a" * 32
TOKEN = Token(
    name="ci",
    sha256=SHA,
    organisations=("acme", "beta"),
    expires=datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC),
)
FILE = b"""
organisations:
  plain: {}
  rich:
    models: {allow: ["a.*"], deny: ["b.*"]}
    enabled: false
    pdf: text
    caching: implicit
    endpoints: {responses: true}
    features: [tools]
"""


def test_a_token_comes_back() -> None:
    item = token_item(TOKEN)
    assert item["pk"] == f"token#{SHA}"
    assert read_token(item["pk"], item["json"]) == TOKEN


@pytest.mark.parametrize("name", ["plain", "rich"])
def test_an_organisation_comes_back(name: str) -> None:
    organisation = parse(FILE).organisations[name]
    item = organisation_item(name, organisation)
    assert item["pk"] == f"org#{name}"
    assert read_organisation(item["pk"], item["json"]) == organisation


def test_defaults_are_left_out_so_that_an_older_gateway_can_read_the_item() -> None:
    assert json.loads(organisation_item("plain", Organisation())["json"]) == {}
    assert json.loads(token_item(Token(name="a", sha256=SHA))["json"]) == {"name": "a", "sha256": SHA}


def written(more: str) -> str:
    """Return the text of a token with more fields."""
    return f'{{"name":"a","sha256":"{SHA}",{more}}}'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "truncated"),
        ("[]", "Expected `object`"),
        ('{"name":"a"}', "sha256"),
        (written('"scope":"all"'), "unknown field `scope`"),
        ('{"name":"a","sha256":"%s"}' % ("0b" * 32), "another token's key"),
        (written('"organisations":["x","x"]'), "twice"),
        (written('"organisations":["not a name"]'), "organisations"),
        (written('"expires":"2027-01-01T00:00:00"'), "expires"),
        (written('"scopes":["models"],"scopes":null'), "the key `scopes` is repeated"),
        (written('"models":{"allow":[],"\\u0061llow":["*"]}'), "the key `allow` is repeated"),
    ],
)
def test_an_item_that_is_no_token_is_an_error_with_its_key(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=f"token#{SHA}.*{words}"):
        read_token(f"token#{SHA}", text)


def test_an_organisation_has_to_pass_the_checks_of_the_file() -> None:
    with pytest.raises(ConfigError, match="org#acme: the key `enabled` is repeated; keep one"):
        read_organisation("org#acme", '{"enabled":false,"enabled":true}')
    item = organisation_item("acme", Organisation(models=Models(allow=("a",) * 501)))
    with pytest.raises(ConfigError, match=r"organisations\.acme\.models\.allow: 501 patterns"):
        read_organisation(item["pk"], item["json"])
    item = organisation_item("acme", Organisation(request_metadata={"oai.organisation": "forged"}))
    with pytest.raises(ConfigError, match=r"request_metadata\.oai\.organisation: .* the gateway's"):
        read_organisation(item["pk"], item["json"])
    item = organisation_item("acme", Organisation(aliases={"a": "b", "b": "amazon.nova-micro-v1:0"}))
    with pytest.raises(ConfigError, match=r"organisations\.acme\.aliases\.a: `b` is an alias too"):
        read_organisation(item["pk"], item["json"])
    narrow = token_item(Token(name="a", sha256=SHA, models=Models(deny=("a",) * 501), scopes=(), features=()))
    written = json.loads(narrow["json"])
    assert (written["scopes"], written["features"]) == ([], []), "which is not the same as none"
    with pytest.raises(ConfigError, match=r"token#.*\.models\.deny: 501 patterns"):
        read_token(narrow["pk"], narrow["json"])
    with pytest.raises(ConfigError, match=r"org#acme: .*unknown field `allow`"):
        read_organisation("org#acme", '{"allow": []}')


@pytest.mark.parametrize(
    ("more", "key"),
    [
        (b"organisations: {acme: {}}", "organisations"),
        (b"tokens: [{name: a, sha256: '%s'}]" % SHA.encode(), "tokens"),
        (b"tokens_from: tokens", "tokens_from"),
    ],
)
def test_a_table_and_tokens_in_the_file_is_an_error_that_names_both(more: bytes, key: str) -> None:
    with pytest.raises(ConfigError, match=f"table `tenants` .* this file has `{key}` as well"):
        parse(b"directory: {dynamodb: {table: tenants}}\n" + more)


def test_responses_with_a_table_need_a_key_of_their_own() -> None:
    text = b"directory: {dynamodb: {table: tenants}}\nendpoints: {responses: true}\n"
    with pytest.raises(ConfigError, match=r"responses\.keys: missing"):
        parse(text)
    assert parse(text + b"responses: {keys: [%s]}" % (b"k" * 32)).endpoints.responses


@pytest.mark.parametrize("name", ["ab", "a b", "a" * 256, "", "täble"])
def test_names_that_no_table_has(name: str) -> None:
    with pytest.raises(ConfigError, match=r"directory\.dynamodb\.table"):
        parse(f"directory: {{dynamodb: {{table: {json.dumps(name)}}}}}".encode())
