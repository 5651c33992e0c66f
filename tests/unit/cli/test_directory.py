"""`directory`: its errors; tests/envoy/gateway/test_table.py has it with a server."""

from pathlib import Path

import pytest

from tests.unit.cli.running import CONFIG, Cli, is_rejected

TABLE = "region: us-east-1\ndirectory: {dynamodb: {table: tenants}}\n"


NOWHERE = {
    "AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:1",
    "AWS_ACCESS_KEY_ID": "AKID",
    "AWS_SECRET_ACCESS_KEY": "secret",
}


def write(name: str, text: str) -> str:
    Path(name).write_text(text)
    return name


@pytest.mark.parametrize("command", [("init",), ("import", "--from", "gateway.yaml")])
def test_a_file_without_a_table(cli: Cli, command: tuple[str, ...]) -> None:
    write("gateway.yaml", CONFIG)
    assert is_rejected(cli("directory", *command), "names no table", "directory: {dynamodb: {table: NAME}}")


def test_a_table_is_no_source(cli: Cli) -> None:
    write("gateway.yaml", TABLE)
    assert is_rejected(cli("directory", "import", "--from", "gateway.yaml"), "names a table itself")


@pytest.mark.parametrize("command", [("init",), ("import", "--from", "file.yaml")])
def test_a_table_that_cannot_be_reached_is_named(cli: Cli, command: tuple[str, ...]) -> None:
    write("gateway.yaml", TABLE)
    write("file.yaml", CONFIG)
    assert is_rejected(cli("directory", *command, **NOWHERE), "table tenants in us-east-1:", "127.0.0.1:1")


def test_prune_does_not_empty_the_table(cli: Cli) -> None:
    write("gateway.yaml", TABLE)
    write("file.yaml", "organisations: {acme: {}}\n")
    assert is_rejected(cli("directory", "import", "--from", "file.yaml", "--prune", **NOWHERE), "has no tokens")


def test_check_names_the_table_and_does_not_miss_tokens(cli: Cli) -> None:
    write("gateway.yaml", TABLE)
    result = cli("check", "--strict", "--offline")
    assert result.exit_code == 0
    assert "DynamoDB table tenants" in result.stdout
    assert result.stderr == ""
