"""`oai-extproc token` on a table, against a server with DynamoDB's API: what it writes, prints and rejects."""

import datetime
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from extproc.aws.sdk.table import ConflictError, DynamoDbTable
from extproc.cli import main, token
from extproc.config import Organisation, Token
from extproc.config.items import KEY, VALUE, organisation_item, token_item
from extproc.tenancy.api_keys import digest
from tests.dynamodb import server

TABLE = "token-commands"
WHERE = f"the table {TABLE} in us-east-1"
OLD = Token(name="old", sha256="0" * 64, organisations=("acme",), scopes=("chat",), features=("tools",))

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with server.dynalite() as port:
        yield port


@pytest.fixture
def boto3(port: int) -> Any:
    return server.client(port)


@pytest.fixture
def run(port: int, boto3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run a command of `token` in a folder whose gateway.yaml names a table with two organisations and one token."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gateway.yaml").write_text(f"{{region: us-east-1, directory: {{dynamodb: {{table: {TABLE}}}}}}}")
    for name, value in server.environment(f"http://127.0.0.1:{port}").items():
        monkeypatch.setenv(name, value)
    DynamoDbTable(TABLE, "us-east-1").create()
    organisations = [
        organisation_item("acme", Organisation()),
        organisation_item("closed", Organisation(enabled=False)),
    ]
    for item in (*organisations, token_item(OLD)):
        boto3.put_item(TableName=TABLE, Item={name: {"S": text} for name, text in item.items()})

    def command(*arguments: str) -> Result:
        result = CliRunner(env={"COLUMNS": "200"}).invoke(main, ["token", *arguments])
        assert not (result.exception and not isinstance(result.exception, SystemExit)), result.exception
        return result

    yield command
    boto3.delete_table(TableName=TABLE)


def create(run: Run, name: str, *options: str) -> Result:
    return run("create", "--append", "gateway.yaml", "--name", name, *options)


def items(boto3: Any) -> dict[str, Any]:
    found = boto3.scan(TableName=TABLE)["Items"]
    return {item["pk"]["S"]: json.loads(item["json"]["S"]) for item in found if "json" in item}


def is_rejected(result: Result, boto3: Any, before: dict[str, Any], *words: str) -> bool:
    assert (result.exit_code, result.stdout, items(boto3)) == (2, "", before), result.output
    for word in words:
        assert word in result.stderr
    return True


def test_a_new_token_is_an_item_without_its_secret(run: Run, boto3: Any) -> None:
    options = ("--organisation", "acme", "--organisation", "closed", "--expires", "2999-01-01")
    done = create(run, "ci", *options, "--models", "anthropic.*", "--scopes", "chat,usage", "--features", "images")
    assert re.fullmatch(r"qc_[A-Za-z0-9_-]{43}\n", done.stdout)
    secret = done.stdout.strip()
    assert done.stderr == (
        f"Added the token 'ci' to {WHERE}; running gateways notice within a minute. It is shown this once:\n"
    )
    assert items(boto3)[f"token#{digest(secret)}"] == {
        "name": "ci",
        "sha256": digest(secret),
        "organisations": ["acme", "closed"],
        "expires": "2999-01-01T00:00:00Z",
        "models": {"allow": ["anthropic.*"], "deny": []},
        "scopes": ["chat", "usage"],
        "features": ["images"],
    }
    assert secret not in json.dumps(boto3.scan(TableName=TABLE)["Items"])


@pytest.mark.parametrize(
    ("name", "options", "word"),
    [
        ("old", ("--organisation", "acme"), f"{WHERE}: a token has the name 'old' already; choose another --name"),
        ("ci", ("--organisation", "acmee"), "no organisation 'acmee', did you mean `acme`?; write it first"),
        ("ci", ("--organisation", "acme", "--organisation", "acme"), "`organisations` has a name twice; keep one"),
        ("ci", ("--organisation", "acme", "--models", ",".join(f"a{n}" for n in range(501))), "501 patterns"),
        ("ci", ("--organisation", "acme", "--scopes", "chats"), "--scopes: expected `chat`, `embeddings`"),
        ("ci", ("--organisation", "acme", "--features", "hammers"), "--features: expected `tools`, `web_search`"),
        ("ci", (), "--organisation"),
    ],
)
def test_what_makes_no_token(run: Run, boto3: Any, name: str, options: tuple[str, ...], word: str) -> None:
    before = items(boto3)
    assert is_rejected(create(run, name, *options), boto3, before, word)


def test_a_hash_that_exists_is_an_error_and_stays_as_it_is(
    run: Run, boto3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token, "new_token", lambda: "qc_same")
    assert create(run, "first", "--organisation", "acme").exit_code == 0
    before = items(boto3)
    again = create(run, "second", "--organisation", "acme")
    assert is_rejected(
        again, boto3, before, f"there is an item token#{digest('qc_same')} already, and it is left as it is"
    )


def test_the_list(run: Run, boto3: Any) -> None:
    for name, organisation in (("dark", "closed"), ("lost", "nobody")):
        item = token_item(Token(name=name, sha256=name.encode().hex().zfill(64), organisations=(organisation,)))
        boto3.put_item(TableName=TABLE, Item={key: {"S": text} for key, text in item.items()})
    boto3.put_item(TableName=TABLE, Item={"pk": {"S": "token#broken"}, "json": {"S": "{}"}})
    boto3.put_item(TableName=TABLE, Item={"pk": {"S": "note"}, "text": {"S": "not ours"}})
    shown = run("list", "--json")
    assert [(row["name"], row["state"]) for row in json.loads(shown.stdout)] == [
        ("dark", "organisation disabled"),
        ("lost", "organisation missing"),
        ("old", "active"),
    ]
    assert f"warning: {WHERE}: an item that no gateway can use is left out: token#broken" in shown.stderr
    assert re.search(r"old +acme +all +chat +tools +never +active +00000000…", run("list").stdout)


def stamp(boto3: Any, sha256: str) -> None:
    item = {"pk": {"S": f"used#{sha256}"}, "minute": {"S": "2026-11-30T09:05Z"}}
    boto3.put_item(TableName=TABLE, Item=item)


def test_the_list_has_when_each_token_was_used_last(run: Run, boto3: Any, tmp_path: Path) -> None:
    assert "last used" not in run("list").stdout
    create(run, "fresh", "--organisation", "acme")
    stamp(boto3, OLD.sha256)
    stamp(boto3, "f" * 64)
    rows = json.loads(run("list", "--json").stdout)
    assert [(row["name"], row["last_used"]) for row in rows] == [("fresh", None), ("old", "2026-11-30T09:05Z")]
    shown = run("list").stdout
    assert re.search(r"fresh .* never +not yet +active", shown)
    assert re.search(r"old .* never +2026-11-30T09:05Z +active", shown)
    boto3.delete_item(TableName=TABLE, Key={"pk": {"S": f"used#{OLD.sha256}"}})
    boto3.delete_item(TableName=TABLE, Key={"pk": {"S": "used#" + "f" * 64}})
    text = f"{{region: us-east-1, directory: {{dynamodb: {{table: {TABLE}, last_used: true}}}}}}"
    (tmp_path / "gateway.yaml").write_text(text)
    assert re.search(r"old .* never +not yet +active", run("list").stdout)


def stamps(boto3: Any) -> set[str]:
    return {item["pk"]["S"] for item in boto3.scan(TableName=TABLE)["Items"] if item["pk"]["S"].startswith("used#")}


def test_the_last_use_goes_with_the_token(run: Run, boto3: Any) -> None:
    for sha256 in (OLD.sha256, "e" * 64, "f" * 64):
        stamp(boto3, sha256)
    run("revoke", "old")
    assert stamps(boto3) == {"used#" + "e" * 64, "used#" + "f" * 64}
    assert DynamoDbTable(TABLE, "us-east-1").prune({"token#" + "e" * 64, "org#acme"}) == 1
    assert stamps(boto3) == {"used#" + "e" * 64}


def test_a_revoked_token_is_gone_and_the_rest_stays(run: Run, boto3: Any) -> None:
    create(run, "ci", "--organisation", "acme")
    before = items(boto3)
    done = run("revoke", "old")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == f"Removed the token 'old' from {WHERE}; running gateways notice within a minute.\n"
    assert items(boto3) == {key: value for key, value in before.items() if key != f"token#{OLD.sha256}"}


@pytest.mark.parametrize("command", [("revoke",), ("rotate", "--overlap", "7d")])
def test_a_name_that_no_token_has(run: Run, boto3: Any, command: tuple[str, ...]) -> None:
    words = (f"{WHERE}: no token 'olde', did you mean `old`?", "`oai-extproc token list` shows them")
    assert is_rejected(run(*command, "olde"), boto3, items(boto3), *words)


@pytest.mark.parametrize("command", [("revoke",), ("rotate", "--overlap", "7d")])
def test_a_name_that_two_tokens_have(run: Run, boto3: Any, command: tuple[str, ...]) -> None:
    twin = token_item(Token(name="old", sha256="1" * 64, organisations=("acme",)))
    boto3.put_item(TableName=TABLE, Item={key: {"S": text} for key, text in twin.items()})
    words = (f"the items token#{'0' * 64} and token#{'1' * 64} have the name 'old'",)
    assert is_rejected(run(*command, "old"), boto3, items(boto3), *words)


def test_a_rotated_token_has_a_new_key_with_all_of_the_old(run: Run, boto3: Any) -> None:
    key = {"pk": {"S": f"token#{OLD.sha256}"}}
    boto3.update_item(
        TableName=TABLE,
        Key=key,
        UpdateExpression="SET note = :note",
        ExpressionAttributeValues={":note": {"S": "of the operator's own"}},
    )
    before = datetime.datetime.now(datetime.UTC)
    done = run("rotate", "old", "--overlap", "7d")
    new, secret = items(boto3), done.stdout.strip()
    ended = new[f"token#{OLD.sha256}"]
    end = datetime.datetime.fromisoformat(ended["expires"])
    assert datetime.timedelta(days=6.99) < end - before < datetime.timedelta(days=7.01)
    assert ended["name"] == f"old-until-{end:%Y-%m-%d}"
    shared = {"organisations": ["acme"], "scopes": ["chat"], "features": ["tools"]}
    assert {name: ended[name] for name in shared} == shared
    assert new[f"token#{digest(secret)}"] == {"name": "old", "sha256": digest(secret), **shared}
    assert f"The token 'old' has a new key in {WHERE}; the old one is 'old-until-" in done.stderr
    assert "note" in boto3.get_item(TableName=TABLE, Key=key)["Item"], "other attributes stay"


def test_a_token_with_an_end_needs_another_for_its_new_key(run: Run, boto3: Any) -> None:
    create(run, "brief", "--organisation", "acme", "--expires", "2999-01-01")
    before = items(boto3)
    assert is_rejected(run("rotate", "brief", "--overlap", "7d"), boto3, before, "give the new key an end of its own")
    assert run("rotate", "brief", "--overlap", "7d", "--expires", "2999-06-01").exit_code == 0


def test_an_item_that_changes_meanwhile_stays_and_there_is_no_new_key(
    run: Run, boto3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = token_item(Token(name="old", sha256=OLD.sha256, organisations=("closed",)))
    added = DynamoDbTable.add

    def add_and_change(table: DynamoDbTable, item: Any) -> None:
        added(table, item)
        boto3.put_item(TableName=TABLE, Item={key: {"S": text} for key, text in changed.items()})

    monkeypatch.setattr(DynamoDbTable, "add", add_and_change)
    expected = {**items(boto3), f"token#{OLD.sha256}": json.loads(changed["json"])}
    done = run("rotate", "old", "--overlap", "7d")
    assert is_rejected(
        done,
        boto3,
        expected,
        "has changed meanwhile, and is left as it is; run the command again",
        "there is no new key yet",
    )


def test_a_call_that_boto3_repeats_is_no_conflict(run: Run) -> None:
    """A call whose response is lost has happened; the second one finds its own work."""
    table = DynamoDbTable(TABLE, "us-east-1")
    item = token_item(Token(name="ci", sha256="a" * 64, organisations=("acme",)))
    for _ in range(2):
        table.add(item)
    for _ in range(2):
        table.replace(item[KEY], item[VALUE], '{"changed":true}')
    with pytest.raises(ConflictError):
        table.remove(item[KEY], item[VALUE])
    for _ in range(2):
        table.remove(item[KEY], '{"changed":true}')


def test_a_table_that_there_is_not(run: Run, tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text("{region: us-east-1, directory: {dynamodb: {table: nowhere}}}")
    for arguments in (("list",), ("revoke", "old")):
        done = run(*arguments)
        assert done.exit_code == 2
        assert "the table nowhere in us-east-1:" in done.stderr
