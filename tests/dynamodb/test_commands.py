"""`oai-extproc directory` against a server with DynamoDB's API."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from extproc.aws.sdk.table import DynamoDbTable, TableError
from extproc.cli import main
from tests.dynamodb import server

Run = Callable[..., Result]
FIRST = {
    "organisations": {"acme": {"models": {"allow": ["amazon.*"]}}, "old": {}},
    "tokens": [
        {"name": name, "sha256": hashlib.sha256(name.encode()).hexdigest().upper(), "organisations": ["acme"]}
        for name in ("a", "b")
    ],
}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with server.dynalite() as port:
        yield port


@pytest.fixture
def run(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run a command in a folder with a gateway.yaml that names a table, which is deleted afterwards."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gateway.yaml").write_text("{region: us-east-1, directory: {dynamodb: {table: commands}}}")
    for name, value in server.environment(f"http://127.0.0.1:{port}").items():
        monkeypatch.setenv(name, value)

    def command(*arguments: str, **content: object) -> Result:
        (tmp_path / "file.yaml").write_text(yaml.safe_dump(content))
        result = CliRunner().invoke(main, ["directory", *arguments])
        assert not (result.exception and not isinstance(result.exception, SystemExit)), result.exception
        return result

    yield command
    client = server.client(port)
    if "commands" in client.list_tables()["TableNames"]:
        client.delete_table(TableName="commands")


def items(port: int) -> dict[str, object]:
    found = server.client(port).scan(TableName="commands")["Items"]
    return {item["pk"]["S"]: json.loads(item["json"]["S"]) for item in found if "json" in item}


def test_a_file_is_copied_and_later_pruned(run: Run, port: int) -> None:
    assert "Made the table commands in us-east-1" in run("init").output
    assert run("import", "--from", "file.yaml", **FIRST).exit_code == 0
    a, b = (hashlib.sha256(name).hexdigest() for name in (b"a", b"b"))
    assert items(port) == {
        "org#acme": {"models": {"allow": ["amazon.*"], "deny": []}},
        "org#old": {},
        f"token#{a}": {"name": "a", "sha256": a, "organisations": ["acme"]},
        f"token#{b}": {"name": "b", "sha256": b, "organisations": ["acme"]},
    }
    server.client(port).put_item(TableName="commands", Item={"pk": {"S": "note"}, "text": {"S": "not ours"}})
    fewer = {"organisations": {"acme": {}}, "tokens": FIRST["tokens"][:1]}
    kept = run("import", "--from", "file.yaml", **fewer)
    assert kept.output == "Wrote 1 organisations and 1 tokens to the table commands in us-east-1.\n"
    assert len(items(port)) == 4
    pruned = run("import", "--from", "file.yaml", "--prune", **fewer)
    assert "and deleted 2 items." in pruned.output
    assert set(items(port)) == {"org#acme", f"token#{a}"}
    assert len(server.client(port).scan(TableName="commands")["Items"]) == 3, "what is not ours stays"


def test_a_table_is_made_once(run: Run) -> None:
    assert run("init").output.startswith("Made the table")
    assert run("init").output == "There is the table commands in us-east-1 already: nothing to do.\n"


def test_a_table_with_another_key_is_rejected(run: Run, port: int) -> None:
    server.client(port).create_table(
        TableName="commands",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    result = run("init")
    assert result.exit_code == 2
    assert "has another key than `pk`, a string: name another table" in result.output


def test_a_table_that_there_is_not(run: Run) -> None:
    result = run("import", "--from", "file.yaml", **FIRST)
    assert result.exit_code == 2
    assert "table commands in us-east-1:" in result.output
    with pytest.raises(TableError):
        DynamoDbTable("commands", "us-east-1").prune(())


def test_thousands_of_tokens(run: Run, port: int) -> None:
    run("init")
    tokens = [{"name": f"t{number}", "sha256": f"{number:064x}", "organisations": ["acme"]} for number in range(1500)]
    run("import", "--from", "file.yaml", organisations={"acme": {}}, tokens=tokens)
    assert (
        "deleted 1498 items"
        in run("import", "--from", "file.yaml", "--prune", organisations={"acme": {}}, tokens=tokens[:2]).output
    )
    assert len(items(port)) == 3
