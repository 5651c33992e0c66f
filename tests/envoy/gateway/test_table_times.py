"""Tokens and organisations in a table, by times that are shortened: revocation, and outages until the stale limit."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from extproc.build import compiled
from tests.conftest import CONFIG, Gateway, Starter
from tests.dynamodb import server
from tests.dynamodb.server import Faulty
from tests.envoy.gateway.tables import (
    IN_TABLE,
    PATIENT,
    TABLE,
    chat,
    command,
    environment,
    key_of,
    models,
)
from tests.envoy.gateway.tables import dynamodb as dynamodb
from tests.envoy.gateway.tables import new_token as new_token
from tests.envoy.gateway.tables import table as table

pytestmark = pytest.mark.skipif(compiled(), reason="compiled code has the times as constants")

HURRIED = """
import extproc.tenancy.table_store as times

times.REFRESH, times.FRESH, times.STALE, times.MISSING, times.FAILING, times.PROBE = 0.7, 1.0, 12.0, 0.5, 3.0, 0.3
"""
"""Shorter times, put into every program of a gateway before it starts."""


@pytest.fixture(scope="module")
def hurried(
    start_shared: Starter, client_of: Callable[[Gateway], Any], table: Faulty, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """A client of a gateway in which a minute is a second."""
    hurry = environment(table, tmp_path_factory.mktemp("hurried"), PATIENT + HURRIED)
    return client_of(start_shared(IN_TABLE, env=hurry))


def test_a_token_is_revoked_and_given_back(
    hurried: Any, dynamodb: int, new_token: Callable[..., str], eventually: Callable[..., Any]
) -> None:
    secret, boto3 = new_token(), server.client(dynamodb)
    key = {"pk": {"S": key_of(secret)}}
    assert models(hurried, secret).status == 200
    item = boto3.get_item(TableName=TABLE, Key=key)["Item"]
    boto3.delete_item(TableName=TABLE, Key=key)
    eventually(lambda: models(hurried, secret).status == 401)
    assert models(hurried, secret).error["code"] == "invalid_api_key"
    boto3.put_item(TableName=TABLE, Item=item)
    eventually(lambda: models(hurried, secret).status == 200)


def test_a_keys_life_by_the_commands(
    hurried: Any, table: Faulty, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    (tmp_path / "gateway.yaml").write_text(yaml.safe_dump({**CONFIG, **IN_TABLE}))
    token = functools.partial(command, "token", url=table.url, folder=tmp_path)
    create = ("create", "--append", "gateway.yaml", "--organisation", "acme", "--scopes", "models", "--name")
    first, other = token(*create, "lived").strip(), token(*create, "other").strip()
    assert models(hurried, first).status == models(hurried, other).status == 200, "a new token counts at once"
    assert chat(hurried, first, "amazon.nova-micro-v1:0").error["code"] == "insufficient_scope"
    second = token("rotate", "lived", "--overlap", "0d").strip()
    assert models(hurried, second).status == 200
    eventually(lambda: models(hurried, first).status == 401)
    assert "`lived-until-" in models(hurried, first).error["message"]
    token("revoke", "lived")
    eventually(lambda: models(hurried, second).status == 401)
    assert "has been revoked" in models(hurried, second).error["message"]
    assert models(hurried, other).status == 200


def test_an_organisation_is_disabled(
    hurried: Any, dynamodb: int, new_token: Callable[..., str], eventually: Callable[..., Any]
) -> None:
    boto3 = server.client(dynamodb)
    for text in ("{}", '{"models":{"allow":["amazon.*"]}}', '{"enabled":false}'):
        boto3.put_item(TableName=TABLE, Item={"pk": {"S": "org#fleeting"}, "json": {"S": text}})
        secret = new_token("fleeting")
        expected = {"{}": (200, 200), '{"enabled":false}': (403, 403)}.get(text, (404, 200))
        claude = functools.partial(chat, hurried, secret, "anthropic.claude-sonnet-4-6")
        eventually(lambda ask=claude, status=expected[0]: ask().status == status)
        assert chat(hurried, secret, "amazon.nova-micro-v1:0").status == expected[1]


def test_an_organisation_that_is_deleted_is_a_rejection(
    hurried: Any, dynamodb: int, new_token: Callable[..., str], eventually: Callable[..., Any]
) -> None:
    """Its tokens are still there: neither they nor those of others as well may call without it, or as another one."""
    boto3, key = server.client(dynamodb), {"pk": {"S": "org#leaving"}}
    boto3.put_item(TableName=TABLE, Item={**key, "json": {"S": "{}"}})
    alone, shared = new_token("leaving"), new_token("leaving", "acme")
    assert models(hurried, alone).status == 200
    boto3.delete_item(TableName=TABLE, Key=key)
    eventually(lambda: models(hurried, alone).status == 403)
    assert models(hurried, alone).error["code"] == "organisation_not_allowed"
    assert models(hurried, shared).error["code"] == "organisation_required"


@pytest.mark.parametrize("fault", ["cut", "throttled", "slow"])
def test_known_callers_go_on_in_an_outage_until_the_stale_limit(
    hurried: Any, table: Faulty, new_token: Callable[..., str], eventually: Callable[..., Any], fault: str
) -> None:
    known, unknown = new_token(), new_token()
    assert models(hurried, known).status == 200
    table.fail(fault)
    try:
        before = len(table.calls)
        while len(table.calls) < before + 8:  # it is long past its fresh time, and was probed again and again
            assert models(hurried, known).status == 200
        assert models(hurried, unknown).status == 503
        eventually(lambda: models(hurried, known).status == 503)
    finally:
        table.heal()
    eventually(lambda: models(hurried, known).status == 200)
    assert models(hurried, unknown).status == 200
