"""Tokens and organisations in a DynamoDB table, through the real Envoy: calls, lookups, floods.

Revocation and outages are in test_table_times.py.
"""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from extproc.config import Organisation, Token
from extproc.config.items import organisation_item, token_item
from extproc.config.roles import RoleSettings
from extproc.tenancy import api_keys
from extproc.tenancy.api_keys import digest
from tests.conftest import TOKENS, Gateway, Starter
from tests.dynamodb import server
from tests.dynamodb.server import Faulty
from tests.envoy.gateway.issuers import Issuer
from tests.envoy.gateway.tables import IN_TABLE, PATIENT, TABLE, chat, environment, key_of, models
from tests.envoy.gateway.tables import dynamodb as dynamodb
from tests.envoy.gateway.tables import new_token as new_token
from tests.envoy.gateway.tables import table as table


@pytest.fixture(scope="module")
def shared(start_shared: Starter, table: Faulty, tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    """A gateway with the table."""
    return start_shared(IN_TABLE, env=environment(table, tmp_path_factory.mktemp("patient"), PATIENT))


@pytest.fixture
def client(shared: Gateway, client_of: Callable[[Gateway], Any], table: Faulty) -> Iterator[Any]:
    """A client of it, whose table is well again afterwards."""
    yield client_of(shared)
    table.heal()
    assert "Traceback" not in shared.log()
    assert "ended in error" not in shared.log()


def test_calls_with_tokens_of_a_table(client: Any, table: Faulty) -> None:
    ci = key_of(TOKENS["ci"])
    assert "Hello!" in client.chat("Hello!").content
    assert "Hello!" in client.chat("Hello!").content
    assert client.exchange("GET", "/oai/v1/models").status == 200
    assert (table.count(ci), table.count("org#acme")) == (1, 1), "further calls are answered from the cache"
    assert client.chat("Hello!", token="limited", model="anthropic.claude-sonnet-4-6").status == 404
    assert client.chat("Hello!", token="nobody").status == 403
    assert client.chat("Hello!", token="closed").status == 403
    assert client.chat("Hello!", token="expired").status == 401
    assert client.chat("Hello!", token="both").error["code"] == "organisation_required"
    umbrella = client.exchange("GET", "/oai/v1/models", token="both", headers=[("openai-organization", "umbrella")])
    assert umbrella.headers["openai-organization"] == "umbrella"


def test_features_of_organisations_and_tokens_in_a_table(client: Any, dynamodb: int) -> None:
    boto3, secret, narrow = server.client(dynamodb), api_keys.new_token(), api_keys.new_token()
    for item in (
        organisation_item("careful", Organisation(features=("tools",))),
        token_item(Token(name="careful", sha256=digest(secret), organisations=("careful",))),
        token_item(Token(name="narrow", sha256=digest(narrow), organisations=("careful",), features=("images",))),
    ):
        boto3.put_item(TableName=TABLE, Item={name: {"S": text} for name, text in item.items()})
    body = {"model": "amazon.nova-micro-v1:0", "messages": [{"role": "user", "content": "Hello!"}]}
    tools = {"tools": [{"type": "function", "function": {"name": "f"}}]}
    json = {"response_format": {"type": "json_object"}}
    for one, fields, param in ((secret, tools, None), (secret, json, "response_format"), (narrow, tools, "tools")):
        headers = [("authorization", f"Bearer {one}")]
        response = client.post("chat/completions", {**body, **fields}, token=None, headers=headers)
        assert response.status == (403 if param else 200)
        assert param is None or (response.error["code"], response.error["param"]) == ("feature_not_allowed", param)


def test_a_large_body_waits_for_its_caller_to_be_looked_up(
    client: Any, table: Faulty, new_token: Callable[..., str]
) -> None:
    table.delay = 0.2
    try:
        body = {"model": "amazon.nova-lite-v1:0", "messages": [{"role": "user", "content": "x" * 600_000}]}
        headers = [("authorization", f"Bearer {new_token()}")]
        assert client.post("chat/completions", body, token=None, headers=headers).status == 200
    finally:
        table.delay = 0.0


def test_an_unknown_token_is_rejected_and_asked_for_once(client: Any, table: Faulty) -> None:
    stranger = api_keys.new_token()
    answers = [models(client, stranger) for _ in range(5)]
    assert {(answer.status, answer.error["code"]) for answer in answers} == {(401, "invalid_api_key")}
    assert table.count(key_of(stranger)) == 1


@pytest.mark.parametrize("fault", ["cut", "slow", "corrupt", *server.FAULTS])
def test_an_unknown_caller_gets_a_503_while_the_table_fails_and_a_known_one_goes_on(
    client: Any, table: Faulty, new_token: Callable[..., str], fault: str
) -> None:
    secret, known = new_token(), new_token()
    assert models(client, known).status == 200
    table.fail(fault)
    answer = models(client, secret)
    assert (answer.status, answer.error["code"]) == (503, "directory_unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert models(client, api_keys.new_token()).status == 503, "nor is a token rejected that nobody knows"
    assert models(client, known).status == 200
    table.heal()
    assert models(client, secret).status == 200


@pytest.mark.parametrize("fault", ["throttled", "cut", "failing"])
def test_a_single_failure_is_no_callers_matter(
    client: Any, table: Faulty, new_token: Callable[..., str], fault: str
) -> None:
    table.fail(fault, times=1)
    assert models(client, new_token()).status == 200


def test_a_client_that_leaves_during_the_lookup_harms_nobody(
    client: Any, table: Faulty, new_token: Callable[..., str]
) -> None:
    secret = new_token()
    table.delay = 0.5
    try:
        leaving = client.connect()
        client.send(leaving, "GET", "/oai/v1/models", token=None, headers=[("authorization", f"Bearer {secret}")])
        leaving.close()
    finally:
        table.delay = 0.0
    assert models(client, secret).status == 200


def test_a_flood_of_invented_tokens_reaches_the_table_in_part_only(
    client: Any, shared: Gateway, table: Faulty, new_token: Callable[..., str]
) -> None:
    known = new_token()
    assert models(client, known).status == 200
    before = len(table.calls)
    statuses: list[int] = []

    def flood() -> None:
        connection = client.connect()
        for _ in range(100):
            headers = [("authorization", f"Bearer {api_keys.new_token()}")]
            arguments = {"token": None, "headers": headers, "connection": connection}
            statuses.append(client.exchange("GET", "/oai/v1/models", **arguments).status)
        connection.close()

    threads = [threading.Thread(target=flood) for _ in range(16)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert models(client, known).status == 200
    assert set(statuses) == {401, 503}
    assert len(statuses) == 1600
    assert len(table.calls) - before < 1600
    assert "more unknown keys than are looked up" in shared.log()


def test_organisations_of_a_table_have_regions_and_roles(
    start_gateway: Starter,
    client_of: Callable[[Gateway], Any],
    local_of: Any,
    dynamodb: int,
    table: Faulty,
    new_token: Callable[..., str],
    tmp_path: Path,
) -> None:
    """The role is assumed with the first call; a region without a way to it is an error by name."""
    arn = "arn:aws:iam::111111111111:role/abroad"
    organisations = {
        "abroad": Organisation(region="eu-central-1", role=RoleSettings(arn=arn)),
        "denied": Organisation(role=RoleSettings(arn="arn:aws:iam::111111111111:role/denied")),
        "far": Organisation(region="eu-west-1"),
    }
    boto3 = server.client(dynamodb)
    for name, own in organisations.items():
        item = organisation_item(name, own)
        boto3.put_item(TableName=TABLE, Item={key: {"S": text} for key, text in item.items()})
    settings = {**IN_TABLE, "regions": ["eu-central-1"]}
    gateway = start_gateway(settings, env=environment(table, tmp_path, PATIENT))
    client, local = client_of(gateway), local_of(gateway.local_url)
    responses = {name: chat(client, new_token(name), "amazon.nova-micro-v1:0") for name in organisations}
    assert responses["abroad"].status == 200
    assert (responses["denied"].status, responses["denied"].error["code"]) == (502, "gateway_credentials")
    assert (responses["far"].status, responses["far"].error["code"]) == (503, "directory_unavailable")
    gateway.wait_for("org#far.region: `eu-west-1` is not in `regions`")
    call = local.call()
    assert call["region"] == "eu-central-1"
    assert call["access_key"].startswith("ASIA")


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    yield issuer
    issuer.close()


def test_signed_tokens_are_of_organisations_in_a_table(
    start_shared: Starter, table: Faulty, issuer: Issuer, client_of: Any, tmp_path: Path, eventually: Any
) -> None:
    config = {**IN_TABLE, "jwt": [issuer.entry()]}
    client = client_of(start_shared(config, env=environment(table, tmp_path, PATIENT)))
    eventually(lambda: models(client, issuer.token()).status == 200)
    counted = table.count("org#acme")
    assert chat(client, issuer.token(), "amazon.nova-micro-v1:0").headers["openai-organization"] == "acme"
    assert table.count("org#acme") == counted, "further calls are answered from the cache"
    assert chat(client, issuer.token(org="limited"), "anthropic.claude-sonnet-4-6").status == 404
    for name, message in (("nowhere", "no organisation `nowhere`"), ("closed", "is disabled")):
        rejected = models(client, issuer.token(org=name))
        assert (rejected.status, rejected.error["code"]) == (403, "organisation_not_allowed")
        assert message in rejected.error["message"]
    assert table.count("token#") == 0
    table.fail("failing")
    try:
        assert models(client, issuer.token()).status == 200
        unknown = models(client, issuer.token(org="umbrella"))
        assert (unknown.status, unknown.error["code"]) == (503, "directory_unavailable")
    finally:
        table.heal()
