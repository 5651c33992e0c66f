"""The client of the table against a server with DynamoDB's API, with faults of every kind in between."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import pytest

from extproc.bedrock.credentials import BearerToken, Credentials
from extproc.bedrock.endpoints import Endpoint
from extproc.config import ConfigError
from extproc.worker import dynamodb
from extproc.worker.dynamodb import DynamoDb
from extproc.worker.table_lookups import TableLookupError
from tests.dynamodb import server
from tests.dynamodb.server import Faulty

TABLE = "client-tests"
NAMES = {"token#one": '{"name":"one"}', "token#zwei": '{"name":"zwei ü \\" \\n"}', "org#acme": "x" * 300_000}
IDENTITY = Credentials("AKIATEST", "test-secret", "session")


@pytest.fixture(scope="module")
def table() -> Iterator[Faulty]:
    with server.dynalite() as port, server.faulty(port) as proxy:
        client = server.client(port)
        keys = [{"AttributeName": "pk", "KeyType": "HASH"}]
        kinds = [{"AttributeName": "pk", "AttributeType": "S"}]
        client.create_table(TableName=TABLE, KeySchema=keys, AttributeDefinitions=kinds, BillingMode="PAY_PER_REQUEST")
        for key, text in NAMES.items():
            client.put_item(TableName=TABLE, Item={"pk": {"S": key}, "json": {"S": text}, "note": {"N": "1"}})
        client.put_item(TableName=TABLE, Item={"pk": {"S": "token#odd"}, "name": {"S": "no json"}})
        client.put_item(TableName=TABLE, Item={"pk": {"S": "token#map"}, "json": {"M": {"name": {"S": "ci"}}}})
        yield proxy


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait longer: a busy machine is no fault."""
    monkeypatch.setattr(dynamodb, "ANSWER_SECONDS", 30.0)
    monkeypatch.setattr(dynamodb, "CONNECT_SECONDS", 30.0)
    monkeypatch.setattr(dynamodb, "TRY_SECONDS", 60.0)


@pytest.fixture
async def client(table: Faulty) -> AsyncIterator[DynamoDb]:
    table.heal()
    table.calls.clear()
    table.writes.clear()
    async with client_of(table) as client:
        yield client
    table.heal()


def client_of(table: Faulty, identity: Credentials | BearerToken | None = IDENTITY, name: str = TABLE) -> DynamoDb:
    endpoint = Endpoint("http", "127.0.0.1", table.port)
    return DynamoDb(name, "us-east-1", endpoint, lambda: identity, os.environ)


@pytest.mark.parametrize("key", NAMES)
async def test_an_item(client: DynamoDb, key: str) -> None:
    assert await client.get(key) == NAMES[key]


async def test_no_item(client: DynamoDb) -> None:
    assert await client.get("token#two") is None


@pytest.mark.parametrize("key", ["token#odd", "token#map"])
async def test_an_item_that_is_none_of_ours_is_not_a_missing_one(client: DynamoDb, table: Faulty, key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: the attribute `json` is no string"):
        await client.get(key)
    assert table.calls == [key], "DynamoDB has responded: the same call would have the same result"


async def test_a_table_that_there_is_not(table: Faulty) -> None:
    table.calls.clear()
    async with client_of(table, name="nowhere") as client:
        with pytest.raises(TableLookupError, match="ResourceNotFoundException"):
            await client.get("token#one")
    assert len(table.calls) == 1


@pytest.mark.parametrize("identity", [None, BearerToken("a key of Bedrock")])
async def test_without_a_key_pair_nothing_is_sent(table: Faulty, identity: BearerToken | None) -> None:
    table.calls.clear()
    async with client_of(table, identity) as client:
        with pytest.raises(TableLookupError, match="set a profile, keys"):
            await client.get("token#one")
    assert table.calls == []


TRANSIENT = [*(name for name in server.FAULTS if name != "denied"), "cut", "corrupt"]


@pytest.mark.parametrize("fault", TRANSIENT)
async def test_one_failure_is_made_good_by_the_second_try(client: DynamoDb, table: Faulty, fault: str) -> None:
    table.fail(fault, 1)
    assert await client.get("token#one") == NAMES["token#one"]
    assert table.calls == ["token#one"] * 2


@pytest.mark.parametrize("fault", [*TRANSIENT, "denied"])
async def test_a_failure_is_never_a_missing_item(client: DynamoDb, table: Faulty, fault: str) -> None:
    table.fail(fault)
    with pytest.raises(TableLookupError):
        await client.get("token#one")
    assert len(table.calls) == (1 if fault == "denied" else 2)


async def test_silence_ends_after_two_tries(client: DynamoDb, table: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamodb, "TRY_SECONDS", 0.2)
    table.fail("slow")
    with pytest.raises(TableLookupError, match="did not answer in time"):
        await client.get("token#one")
    assert len(table.calls) == 2


async def test_nobody_there(table: Faulty) -> None:
    closed = Endpoint("http", "127.0.0.1", 1)
    async with DynamoDb(TABLE, "us-east-1", closed, lambda: IDENTITY, {}) as client:
        with pytest.raises(TableLookupError, match="could not be reached"):
            await client.get("token#one")


async def test_many_at_once(client: DynamoDb) -> None:
    assert await asyncio.gather(*(client.get("token#one") for _ in range(200))) == [NAMES["token#one"]] * 200


STAMPS = [{"pk": f"used#{number}", "minute": "2026-11-30T09:05Z"} for number in range(25)]


def written(table: Faulty) -> set[str]:
    """Return the keys of the stamps in the table, and delete them."""
    client = server.client(table.upstream)
    keys = {item["pk"]["S"] for item in client.scan(TableName=TABLE)["Items"] if item["pk"]["S"].startswith("used#")}
    for key in keys:
        client.delete_item(TableName=TABLE, Key={"pk": {"S": key}})
    return keys


async def test_items_are_written_in_one_call(client: DynamoDb, table: Faulty) -> None:
    assert list(await client.put(STAMPS)) == []
    item = server.client(table.upstream).get_item(TableName=TABLE, Key={"pk": {"S": "used#7"}})["Item"]
    assert item == {"pk": {"S": "used#7"}, "minute": {"S": "2026-11-30T09:05Z"}}
    assert written(table) == {stamp["pk"] for stamp in STAMPS}
    assert len(table.writes) == 1


async def test_what_is_throttled_in_part_is_named(client: DynamoDb, table: Faulty) -> None:
    table.fail(server.UNWRITTEN)
    assert list(await client.put(STAMPS)) == ["used#24"]
    assert written(table) == {stamp["pk"] for stamp in STAMPS[:-1]}


@pytest.mark.parametrize("fault", [*server.FAULTS, "cut", "corrupt"])
async def test_a_failed_write_is_an_error_and_is_not_repeated(client: DynamoDb, table: Faulty, fault: str) -> None:
    table.fail(fault)
    with pytest.raises(TableLookupError):
        await client.put(STAMPS[:2])
    assert len(table.writes) == 1
    table.heal()
    written(table)


async def test_a_table_that_there_is_not_takes_no_items(table: Faulty) -> None:
    async with client_of(table, name="nowhere") as client:
        with pytest.raises(TableLookupError, match="ResourceNotFoundException"):
            await client.put(STAMPS[:1])
