"""When keys were used last, as the gateway writes it and `token list` shows it: in a file, and in a table."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from extproc.config import Token
from extproc.config.items import token_item
from extproc.tenancy.api_keys import digest
from extproc.worker.last_used import minute_text
from extproc.worker.last_used_file import read_last_used
from tests.conftest import CONFIG, TOKENS, Gateway, Starter
from tests.dynamodb import server
from tests.dynamodb.server import Faulty

TABLE = "uses"
IN_TABLE = {"organisations": {}, "tokens": [], "directory": {"dynamodb": {"table": TABLE, "last_used": True}}}

HURRIED = """
import extproc.worker.last_used as times
import extproc.worker.table_lookups

times.MINUTE_SECONDS, times.SPREAD_SECONDS = 1.0, 0.0
extproc.worker.table_lookups.ANSWER_SECONDS = 1.2
"""
"""Writes every second, put into each program of a gateway before it starts; the minutes that are written are real."""


@pytest.fixture(scope="module")
def hurry(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Return what makes a gateway write every second."""
    folder = tmp_path_factory.mktemp("hurry")
    (folder / "sitecustomize.py").write_text(HURRIED)
    return {"PYTHONPATH": os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))}


def listed(config: Path, **variables: str) -> dict[str, str | None]:
    """Return what `token list` has of each token's last use."""
    command = [sys.executable, "-m", "extproc", "token", "list", "--json", "--config", str(config)]
    environment = {**os.environ, **variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return {row["name"]: row["last_used"] for row in json.loads(done.stdout)}


def test_the_last_use_of_each_key_is_in_the_file(
    start_gateway: Starter,
    client_of: Callable[[Gateway], Any],
    hurry: Mapping[str, str],
    eventually: Callable[..., Any],
) -> None:
    gateway = start_gateway({"last_used_in": "used.json", "workers": 2}, env=hurry)
    client, path, before = client_of(gateway), gateway.folder / "used.json", minute_text(time.time())
    assert client.chat("Hello!").status == 200
    assert client.exchange("GET", "/oai/v1/models", token="limited").status == 200
    assert client.chat("Hello!", token="expired").status == 401
    assert client.chat("Hello!", token="nobody").status == 403
    eventually(lambda: len(read_last_used(path)) == 2)
    assert set(read_last_used(path)) == {digest(TOKENS["ci"]), digest(TOKENS["limited"])}
    uses = listed(gateway.config_path)
    assert {name for name, minute in uses.items() if minute} == {"ci", "limited"}
    assert uses["ci"] is not None
    assert before <= uses["ci"] <= minute_text(time.time())
    assert TOKENS["ci"] not in path.read_text()


def test_a_gateway_that_ends_writes_what_it_has(start_gateway: Starter, client_of: Callable[[Gateway], Any]) -> None:
    gateway = start_gateway({"last_used_in": "used.json"})
    assert client_of(gateway).chat("Hello!").status == 200
    assert gateway.stop() == 0
    assert set(read_last_used(gateway.folder / "used.json")) == {digest(TOKENS["ci"])}


def test_a_file_that_cannot_be_written_costs_no_call_and_is_written_later(
    start_gateway: Starter,
    client_of: Callable[[Gateway], Any],
    hurry: Mapping[str, str],
    eventually: Callable[..., Any],
) -> None:
    gateway = start_gateway({"last_used_in": "state/used.json"}, env=hurry)
    client = client_of(gateway)
    assert client.chat("Hello!").status == 200
    gateway.wait_for(r"the last use of tokens cannot be written to \S+/state/used\.json: No such file or directory")
    assert client.chat("Hello!").status == 200
    (gateway.folder / "state").mkdir()
    eventually(lambda: read_last_used(gateway.folder / "state" / "used.json"))
    gateway.wait_for(r"the last use of tokens is written to \S+/state/used\.json again")


def test_it_is_switched_on_and_off_without_a_restart(
    start_gateway: Starter,
    client_of: Callable[[Gateway], Any],
    hurry: Mapping[str, str],
    eventually: Callable[..., Any],
) -> None:
    gateway = start_gateway(env=hurry)
    client, path = client_of(gateway), gateway.folder / "used.json"

    def switch(**settings: str) -> None:
        since = len(gateway.log())
        gateway.config_path.write_text(yaml.safe_dump({**CONFIG, **settings}))
        gateway.wait_for("gateway.yaml has changed", since)

    switch(last_used_in="used.json")
    assert client.chat("Hello!").status == 200
    eventually(lambda: digest(TOKENS["ci"]) in read_last_used(path))
    switch()
    path.unlink()
    assert client.chat("Hello!").status == 200
    assert gateway.stop() == 0
    assert not path.exists()


# The table


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    """A table with the tokens and organisations of CONFIG, behind a proxy."""
    folder = tmp_path_factory.mktemp("table")
    (folder / "file.yaml").write_text(yaml.safe_dump(CONFIG))
    (folder / "table.yaml").write_text(yaml.safe_dump({**CONFIG, **IN_TABLE}))
    with server.dynalite() as port, server.faulty(port) as proxy:
        for arguments in (("init",), ("import", "--from", "file.yaml")):
            command = [sys.executable, "-m", "extproc", "directory", *arguments, "--config", "table.yaml"]
            variables = {**os.environ, **server.environment(proxy.url)}
            subprocess.run(command, cwd=folder, env=variables, capture_output=True, timeout=120, check=True)
        yield proxy


@pytest.fixture(scope="module")
def shared(start_shared: Starter, hurry: Mapping[str, str], table: Faulty) -> Gateway:
    """A gateway with the table."""
    return start_shared(IN_TABLE, env={**hurry, "AWS_ENDPOINT_URL_DYNAMODB": table.url})


def stamps(table: Faulty) -> dict[str, str]:
    """Return the last uses in the table."""
    items = server.client(table.upstream).scan(TableName=TABLE)["Items"]
    return {item["pk"]["S"][5:]: item["minute"]["S"] for item in items if item["pk"]["S"].startswith("used#")}


def test_the_last_use_of_each_key_is_in_the_table(
    shared: Gateway, client_of: Callable[[Gateway], Any], table: Faulty, eventually: Callable[..., Any]
) -> None:
    client, before = client_of(shared), minute_text(time.time())
    ci, limited = digest(TOKENS["ci"]), digest(TOKENS["limited"])
    assert client.chat("Hello!").status == 200
    eventually(lambda: set(stamps(table)) == {ci})
    assert before <= stamps(table)[ci] <= minute_text(time.time())
    uses = listed(shared.config_path, **server.environment(table.url))
    assert {name for name, minute in uses.items() if minute} == {"ci"}
    assert client.exchange("GET", "/oai/v1/models", token="limited").status == 200
    eventually(lambda: set(stamps(table)) == {ci, limited})


@pytest.mark.parametrize("fault", ["throttled", "denied", "cut", "slow", server.UNWRITTEN])
def test_a_table_that_takes_no_writes_costs_no_call(
    shared: Gateway, client_of: Callable[[Gateway], Any], table: Faulty, eventually: Callable[..., Any], fault: str
) -> None:
    secret = f"qc_{fault.ljust(43, '0')}"
    boto3 = server.client(table.upstream)
    item = token_item(Token(name=fault, sha256=digest(secret), organisations=("acme",)))
    boto3.put_item(TableName=TABLE, Item={name: {"S": text} for name, text in item.items()})
    client, headers, since = client_of(shared), [("authorization", f"Bearer {secret}")], len(shared.log())

    def call() -> int:
        status: int = client.exchange("GET", "/oai/v1/models", token=None, headers=headers).status
        return status

    assert call() == 200
    table.fail(fault)
    try:
        assert call() == 200
        shared.wait_for("the last use of tokens cannot be written to the table uses: ", since)
        assert [call() for _ in range(5)] == [200] * 5
    finally:
        table.heal()
    eventually(lambda: digest(secret) in stamps(table))
    shared.wait_for("the last use of tokens is written to the table uses again", since)
    assert not re.search("Traceback|ended in error", shared.log())
