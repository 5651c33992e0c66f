"""`check` and `models` of a gateway.yaml with a table, against a server with DynamoDB's API."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from extproc.aws.sdk import models as asking
from extproc.bedrock.seed import seed
from extproc.cli import main
from tests.dynamodb import server
from tests.dynamodb.server import Faulty

Run = Callable[..., Result]

TABLE = "checked"
SETTINGS = {"region": "us-east-1", "directory": {"dynamodb": {"table": TABLE}}}
CLAUDE, NOVA = "anthropic.claude-sonnet-4-6", "amazon.nova-micro-v1:0"
SHA = hashlib.sha256(b"qc_ci").hexdigest()
ORGANISATIONS = {"acme": {"models": {"deny": ["*nova*"]}}, "closed": {"enabled": False}}
TOKENS = [
    {"name": "ci", "sha256": SHA, "organisations": ["acme"], "models": {"allow": ["anthropic.*"]}},
    {"name": "both", "sha256": "1" * 63 + "a", "organisations": ["acme", "closed"], "scopes": ["chat"]},
]


@pytest.fixture(scope="module")
def proxy() -> Iterator[Faulty]:
    with server.dynalite() as port, server.faulty(port) as proxy:
        yield proxy


@pytest.fixture
def run(proxy: Faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run a command in a folder with a gateway.yaml that names a table, which is deleted afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(asking, "fetch", seed)
    for name, value in server.environment(proxy.url).items():
        monkeypatch.setenv(name, value)

    def command(*arguments: str, settings: object = SETTINGS) -> Result:
        (tmp_path / "gateway.yaml").write_text(yaml.safe_dump(settings))
        result = CliRunner().invoke(main, arguments)
        assert not (result.exception and not isinstance(result.exception, SystemExit)), result.exception
        return result

    yield command
    proxy.heal()
    client = server.client(proxy.upstream)
    for name in client.list_tables()["TableNames"]:
        client.delete_table(TableName=name)


@pytest.fixture
def filled(run: Run, tmp_path: Path) -> Run:
    """The same, with a table of two organisations and two tokens."""
    (tmp_path / "file.yaml").write_text(yaml.safe_dump({"organisations": ORGANISATIONS, "tokens": TOKENS}))
    assert run("directory", "init").exit_code == 0
    assert run("directory", "import", "--from", "file.yaml").exit_code == 0
    return run


def put(proxy: Faulty, key: str, text: object) -> None:
    item = {"pk": {"S": key}, "json": {"S": text if isinstance(text, str) else json.dumps(text)}}
    server.client(proxy.upstream).put_item(TableName=TABLE, Item=item)


def test_the_tables_tokens_and_organisations_are_shown_and_checked(filled: Run, proxy: Faulty) -> None:
    shown = filled("check")
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert "those of the DynamoDB table checked" in shown.stdout
    assert all(word in shown.stdout for word in ("acme", "*nova*", "closed", "disabled", "ci", "both"))
    put(proxy, "org#odd", {"models": {"allow": ["claude-*"]}, "aliases": {"gpt-4o": "amazon.nova-macro"}})
    put(proxy, "token#" + "2" * 63 + "a", {"name": "ci", "sha256": "2" * 63 + "a", "organisations": ["odd"]})
    warned = filled("check")
    assert warned.exit_code == 0
    for words in (
        "organisation 'odd' has the pattern `claude-*` in `models.allow`",
        "organisation 'odd' may call nothing",
        "organisations.odd.aliases.gpt-4o: `amazon.nova-macro` is no model",
        "several tokens have the name 'ci'",
    ):
        assert words in warned.stderr
    assert filled("check", "--strict").exit_code == 2


def test_items_that_cannot_be_used_are_errors_with_their_keys(filled: Run, proxy: Faulty) -> None:
    key = "token#" + "3" * 63 + "a"
    put(proxy, "org#newer", {"colour": "red"})
    put(proxy, "org#broken", "{")
    put(proxy, key, {"name": "lost", "sha256": "3" * 63 + "a", "organisations": ["acne"]})
    put(proxy, "token#" + "4" * 63 + "a", {"name": "moved", "sha256": SHA, "organisations": ["acme"]})
    server.client(proxy.upstream).put_item(TableName=TABLE, Item={"pk": {"S": "org#empty"}})
    shown = filled("check")
    assert (shown.exit_code, shown.stdout) == (2, "")
    for words in (
        "table checked: org#newer: Object contains unknown field `colour`",
        "org#broken: ",
        "org#empty: ",
        "4a: `sha256` is ",
        f"{key}: the token 'lost' is for the organisation `acne`, which the table has not, did you mean `acme`?",
    ):
        assert words in shown.stderr


def test_without_the_permission_to_scan_the_rest_is_checked(filled: Run, proxy: Faulty) -> None:
    proxy.denied = "Scan"
    shown = filled("check", "--strict")
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert "Its items were not checked: that takes the permission `dynamodb:Scan`" in shown.stdout


def test_offline_nothing_is_read(run: Run, proxy: Faulty) -> None:
    before = len(proxy.calls)
    shown = run("check", "--offline")
    assert shown.exit_code == 0
    assert "It was not read (--offline)." in shown.stdout
    assert len(proxy.calls) == before


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        ("throttled", 1, "throttles it (ProvisionedThroughputExceededException): let it be billed by request"),
        ("failing", 1, "check again"),
        ("cut", 1, "cannot be reached: look at the network"),
        ("denied", 2, "may not read it: give them the permission `dynamodb:GetItem`"),
    ],
)
@pytest.mark.parametrize("command", [("check",), ("models", "--organisation", "acme")], ids=["check", "models"])
def test_a_table_that_cannot_be_read(
    filled: Run, proxy: Faulty, command: tuple[str, ...], fault: str, status: int, words: str
) -> None:
    proxy.fail(fault)
    shown = filled(*command)
    assert (shown.exit_code, shown.stdout) == (status, "")
    assert f"table {TABLE} in us-east-1: " in shown.stderr
    assert words in shown.stderr


def test_a_table_that_there_is_not(run: Run) -> None:
    shown = run("check")
    assert shown.exit_code == 2
    assert "there is no such table" in shown.stderr
    assert "`oai-extproc directory init`" in shown.stderr


def test_a_table_in_another_region_than_the_settings_have(filled: Run) -> None:
    """dynalite has one region: its tables are in each."""
    elsewhere = {"region": "us-east-1", "directory": {"dynamodb": {"table": "absent", "region": "eu-west-1"}}}
    shown = filled("check", settings=elsewhere)
    assert shown.exit_code == 2
    assert "table absent in eu-west-1: there is no such table" in shown.stderr
    assert "name its region under `directory.dynamodb.region`" in shown.stderr


def test_a_region_that_there_is_not(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:1")
    misspelt = {"region": "us-east-1", "directory": {"dynamodb": {"table": TABLE, "region": "us-esat-1"}}}
    shown = run("check", settings=misspelt)
    assert shown.exit_code == 2
    assert "cannot be reached" in shown.stderr
    assert "The AWS region 'us-esat-1' is unknown, did you mean `us-" in shown.stderr


def test_a_table_with_another_key(run: Run, proxy: Faulty) -> None:
    server.client(proxy.upstream).create_table(
        TableName=TABLE,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    shown = run("check")
    assert shown.exit_code == 2
    assert "has another key than `pk`, a string" in shown.stderr


def test_without_credentials(filled: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in server.KEYS:
        monkeypatch.delenv(name)
    shown = filled("check")
    assert shown.exit_code == 2
    assert "there are no AWS credentials: set a profile" in shown.stderr


def test_a_directory_in_two_places_is_an_error_that_names_both(filled: Run) -> None:
    for key, value in (("tokens", TOKENS), ("organisations", {"acme": {}})):
        half = {**SETTINGS, "organisations": {"acme": {}, "closed": {}} if key == "tokens" else {}, key: value}
        shown = filled("check", settings=half)
        assert shown.exit_code == 2
        assert f"the table `{TABLE}` has the tokens and organisations, and this file has" in shown.stderr


# models


def test_models_of_an_organisation_and_of_a_token_of_the_table(filled: Run, proxy: Faulty) -> None:
    proxy.denied = "Scan"
    listed = filled("models", "--organisation", "acme")
    assert (listed.exit_code, listed.stderr) == (0, "")
    assert CLAUDE in listed.stdout.splitlines()
    assert "nova" not in listed.stdout
    denied = filled("models", "--token", "ci")
    assert denied.exit_code == 2
    assert "to find a token by its name takes the permission `dynamodb:Scan`" in denied.stderr
    proxy.heal()
    token = filled("models", "--token", "ci").stdout.splitlines()
    assert token == [name for name in listed.stdout.splitlines() if "anthropic." in name]
    assert set(token) < set(filled("models").stdout.splitlines())


def test_why_a_model_is_missing(filled: Run) -> None:
    missing = dict(line.split("\t") for line in filled("models", "--token", "ci", "--missing").stdout.splitlines())
    assert missing[NOVA] == "denied by the pattern `*nova*` of `models.deny`"
    assert missing["cohere.embed-v4:0"] == "not allowed by any pattern of `models.allow` of the token"
    assert CLAUDE not in missing


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--organisation", "acne"), "no organisation 'acne' in the table checked"),
        (("--token", "c"), "no token 'c'"),
        (("--token", "ci", "--organisation", "closed"), "the token 'ci' is not for the organisation 'closed'"),
        (("--token", "both"), "is for acme, closed: name one by --organisation"),
        (("--missing",), "add --organisation NAME or --token NAME"),
    ],
)
def test_callers_that_there_are_not(filled: Run, arguments: tuple[str, ...], words: str) -> None:
    shown = filled("models", *arguments)
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert words in shown.stderr
