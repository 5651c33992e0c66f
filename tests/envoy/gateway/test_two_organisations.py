"""Two organisations that differ in all that they can: each call that Bedrock receives is its own organisation's.

With the file as with a table, whose organisations and tokens the gateway meets for the first time here.
"""

import json
import shutil
import sqlite3
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from hashlib import sha256
from typing import Any

import pytest
import yaml

from extproc.config import Organisation
from tests.conftest import CONFIG, Gateway
from tests.dynamodb import server
from tests.envoy.gateway.tables import IN_TABLE, PATIENT, command, environment

NOVA, PRO, TITAN = "amazon.nova-micro-v1:0", "amazon.nova-pro-v1:0", "amazon.titan-embed-text-v2:0"
SONNET = "anthropic.claude-sonnet-4-6"
ROLES = {"acme": "arn:aws:iam::111111111111:role/acme", "umbrella": "arn:aws:iam::222222222222:role/umbrella"}
REGIONS = {"acme": "eu-central-1", "umbrella": "us-east-1"}
PROJECTS = {name: f"arn:aws:bedrock:{region}:123456789012:project/proj_{name}" for name, region in REGIONS.items()}
ORGANISATIONS: dict[str, dict[str, Any]] = {
    "acme": {
        "models": {"allow": ["anthropic.*", NOVA, TITAN]},
        "aliases": {"usual": NOVA, "embedder": TITAN, "swift": NOVA},
        "default_model": "usual",
        "region": REGIONS["acme"],
        "geography": "strict",
        "role": {"arn": ROLES["acme"]},
        "guardrail": {"id": "gracme", "version": "1"},
        "project": PROJECTS["acme"],
        "request_metadata": {"team": "search"},
        "max_tokens": 100,
        "features": ["documents", "responses", "tools"],
        "limits": {"requests_per_minute": 5000},
        "endpoints": {"responses": True},
        "caching": "implicit",
        "pdf": "text",
        "budgets": [{"tokens": "100M", "per": "month"}],
        "user_budgets": [],
    },
    "umbrella": {
        "models": {"allow": ["amazon.*", "anthropic.*"], "deny": [NOVA]},
        "aliases": {"usual": PRO, "embedder": TITAN},
        "default_model": PRO,
        "region": REGIONS["umbrella"],
        "geography": "global",
        "role": {"arn": ROLES["umbrella"]},
        "guardrail": {"id": "grumbrella", "version": "7"},
        "project": PROJECTS["umbrella"],
        "request_metadata": {"cost": "42"},
        "max_tokens": 200,
        "features": ["documents", "responses", "structured_output"],
        "limits": {"requests_per_minute": 7000},
        "endpoints": {"responses": False},
        "caching": "explicit",
        "pdf": "visual",
        "budgets": [{"tokens": "100M", "per": "week"}],
        "user_budgets": [{"tokens": "100M", "per": "day"}],
    },
    "limited": {},
    "closed": {},
}
SPENT = "spent.sqlite"
IN_CENTS = {"monthly_budget_cents", "daily_budget_cents", "warning_threshold_percent"}
IN_CENTS |= {"per_user_monthly_budget_cents", "per_user_daily_budget_cents"}
"""Keys that are budgets in other words."""
KEY = sha256(b"two organisations").hexdigest()
OTHERS = {"aws": {}, "regions": [REGIONS["acme"]], "responses": {"keys": [KEY]}, "budgets": {"sqlite": SPENT}}
SETTINGS = {**OTHERS, "organisations": ORGANISATIONS}
EXPECTED: dict[str, dict[str, Any]] = {
    "acme": {
        "model": NOVA,
        "guardrail": {"guardrailIdentifier": "gracme", "guardrailVersion": "1"},
        "metadata": {"oai.organisation": "acme", "oai.token": "both", "team": "search"},
        "max_tokens": 100,
    },
    "umbrella": {
        "model": PRO,
        "guardrail": {"guardrailIdentifier": "grumbrella", "guardrailVersion": "7"},
        "metadata": {"oai.organisation": "umbrella", "oai.token": "both", "cost": "42"},
        "max_tokens": 200,
    },
}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
LARGE = "word " * 120_000
"""A text that makes a request large enough for the process that translates such requests."""


def from_table(start_shared: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with a table of these organisations, written by our own commands."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed: it fetches dynalite")
    folder = tmp_path_factory.mktemp("two")
    in_table = {**OTHERS, **IN_TABLE}
    (folder / "file.yaml").write_text(yaml.safe_dump({**CONFIG, **SETTINGS}))
    (folder / "table.yaml").write_text(yaml.safe_dump({**CONFIG, **in_table}))
    with server.dynalite() as port, server.faulty(port) as table:
        command("directory", "init", "--config", "table.yaml", url=table.url, folder=folder)
        command("directory", "import", "--config", "table.yaml", "--from", "file.yaml", url=table.url, folder=folder)
        yield start_shared(in_table, env=environment(table, folder, PATIENT))


@pytest.fixture(scope="module", params=["file", "table"])
def gateway(request: Any, start_shared: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with both organisations, in either store."""
    if request.param == "file":
        yield start_shared(SETTINGS)
    else:
        yield from from_table(start_shared, tmp_path_factory)


def post(client: Any, organisation: str, path: str, **body: Any) -> Any:
    return client.post(path, body, headers=[("openai-organization", organisation)], token="both")


def question(text: str, organisation: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"{text} for {organisation}"}]


def key_of(organisation: str) -> str:
    """The access key id that the local STS gives for the organisation's role."""
    return f"ASIA{sha256(ROLES[organisation].encode()).hexdigest()[:16].upper()}"


def test_they_differ_in_everything_that_an_organisation_can_have() -> None:
    fields = set(Organisation.__struct_fields__) - {"enabled"} - IN_CENTS
    acme, umbrella = ORGANISATIONS["acme"], ORGANISATIONS["umbrella"]
    assert {name for name in fields if acme[name] != umbrella[name]} == fields, "a new key needs a test here"


def check_signature(call: Any, organisation: str) -> None:
    """Check who a call was made by, and where."""
    assert (call["access_key"], call["region"]) == (key_of(organisation), REGIONS[organisation])
    assert call["headers"]["x-amz-security-token"].startswith("token-of-")


def check_chat(call: Any, organisation: str) -> None:
    """Check everything of a chat that depends on the organisation."""
    check_signature(call, organisation)
    expected, body = EXPECTED[organisation], call["body"]
    assert call["model"] == expected["model"]
    assert body["guardrailConfig"] == expected["guardrail"]
    assert body["requestMetadata"] == expected["metadata"]
    assert body["inferenceConfig"] == {"maxTokens": expected["max_tokens"]}
    assert body["projectIdentifier"] == PROJECTS[organisation]


@pytest.mark.parametrize("organisation", EXPECTED)
@pytest.mark.parametrize("text", ["Hello", LARGE], ids=["small", "large"])
@pytest.mark.parametrize("model", [{"model": "usual"}, {}], ids=["alias", "default"])
def test_a_chat_is_its_organisations_in_everything(
    client: Any, local: Any, organisation: str, text: str, model: Any
) -> None:
    response = post(client, organisation, "chat/completions", **model, messages=question(text, organisation))
    assert response.status == 200, response
    check_chat(local.call(), organisation)


@pytest.mark.parametrize("organisation", EXPECTED)
def test_so_are_embeddings(client: Any, local: Any, organisation: str) -> None:
    assert post(client, organisation, "embeddings", model="embedder", input=["one", "two"]).status == 200
    calls = local.calls()
    assert len(calls) == 2
    for call in calls:
        check_signature(call, organisation)
        assert call["model"] == TITAN
        metadata = json.loads(call["headers"]["x-amzn-bedrock-request-metadata"])
        assert metadata == EXPECTED[organisation]["metadata"]
        assert call["headers"]["x-amzn-bedrock-projectidentifier"] == PROJECTS[organisation]


@pytest.mark.parametrize(
    ("organisation", "fields", "status"),
    [
        ("acme", {"model": PRO}, 404),
        ("umbrella", {"model": NOVA}, 404),
        ("umbrella", {"model": "swift"}, 404),
        ("acme", {"model": f"global.{SONNET}"}, 404),
        ("umbrella", {"tools": [TOOL]}, 403),
        ("acme", {"response_format": {"type": "json_object"}}, 403),
        ("acme", {"max_tokens": 101}, 400),
        ("acme", {"guardrailConfig": EXPECTED["umbrella"]["guardrail"]}, 400),
        ("umbrella", {"guardrailConfig": EXPECTED["acme"]["guardrail"]}, 400),
        ("acme", {"metadata": {"team": "other"}}, 400),
        ("umbrella", {"metadata": {"cost": "1"}}, 400),
    ],
)
def test_what_is_the_others_is_rejected(client: Any, local: Any, organisation: str, fields: Any, status: int) -> None:
    body = {"model": "usual", "messages": question("Hello", organisation), **fields}
    assert post(client, organisation, "chat/completions", **body).status == status
    assert local.calls() == []


@pytest.mark.parametrize(
    ("organisation", "fields"),
    [
        ("acme", {"model": "swift"}),
        ("umbrella", {"model": f"global.{SONNET}"}),
        ("acme", {"tools": [TOOL]}),
        ("umbrella", {"response_format": {"type": "json_object"}}),
    ],
)
def test_what_only_one_may_is_called(client: Any, local: Any, organisation: str, fields: Any) -> None:
    body = {"model": "usual", "messages": question("Hello", organisation), **fields}
    assert post(client, organisation, "chat/completions", **body).status == 200
    check_signature(local.call(), organisation)


def test_the_endpoint_of_responses_is_one_organisations(client: Any, local: Any) -> None:
    body = {"model": "usual", "input": "Hello", "store": False}
    assert post(client, "acme", "responses", **body).status == 200
    check_signature(local.call(), "acme")
    assert post(client, "umbrella", "responses", **body).status == 404


@pytest.mark.parametrize(
    ("organisation", "profile", "cached", "visual"),
    [("acme", f"eu.{SONNET}", True, False), ("umbrella", f"us.{SONNET}", False, True)],
)
def test_caches_and_documents_are_as_each_has_them(
    client: Any, local: Any, organisation: str, profile: str, cached: bool, visual: bool
) -> None:
    file = {"filename": "a.pdf", "file_data": "data:application/pdf;base64," + b64encode(b"%PDF-1.4 a").decode()}
    content = [{"type": "text", "text": "What is it?"}, {"type": "file", "file": file}]
    assert (
        post(
            client, organisation, "chat/completions", model=SONNET, messages=[{"role": "user", "content": content}]
        ).status
        == 200
    )
    call = local.call()
    check_signature(call, organisation)
    assert call["model"] == profile
    [message] = call["body"]["messages"]
    [document] = [block["document"] for block in message["content"] if "document" in block]
    assert ("citations" in document) == visual
    assert any("cachePoint" in block for block in message["content"]) == cached


@pytest.mark.parametrize("organisation", EXPECTED)
def test_the_limits_are_each_ones_own(client: Any, organisation: str) -> None:
    response = post(client, organisation, "chat/completions", messages=question("Hello", organisation))
    limit = ORGANISATIONS[organisation]["limits"]["requests_per_minute"]
    assert int(response.headers["x-ratelimit-limit-requests"]) == limit
    assert limit - 100 < int(response.headers["x-ratelimit-remaining-requests"]) < limit


def test_what_is_spent_is_counted_in_each_ones_budgets(client: Any, gateway: Gateway) -> None:
    for organisation in EXPECTED:
        messages = question("Hello", organisation)
        assert post(client, organisation, "chat/completions", messages=messages, user="ann").status == 200
    with closing(sqlite3.connect(gateway.folder / SPENT)) as connection:
        keys = [key.split(" ") for (key,) in connection.execute("select key from accounts")]
    assert {tuple(key[:4]) for key in keys if key[0] in ("organisation", "user")} == {
        ("organisation", "acme", "tokens", "month"),
        ("organisation", "umbrella", "tokens", "week"),
        ("user", "umbrella", "tokens", "day"),
    }


def test_what_only_the_other_may_not_write_is_free(client: Any, local: Any) -> None:
    body = {"model": "usual", "messages": question("Hello", "umbrella"), "metadata": {"team": "x"}, "max_tokens": 101}
    assert post(client, "umbrella", "chat/completions", **body).status == 200
    body = local.call()["body"]
    assert body["inferenceConfig"] == {"maxTokens": 101}
    assert body["requestMetadata"] == {**EXPECTED["umbrella"]["metadata"], "team": "x"}


def test_the_lists_of_models_differ(client: Any) -> None:
    acme, umbrella = models(client, "acme"), models(client, "umbrella")
    application = f"arn:aws:bedrock:{REGIONS['acme']}:123456789012:application-inference-profile/a1b2c3d4e5f6"
    assert {f"eu.{SONNET}", NOVA, "usual", "swift", application} < acme
    assert not {f"us.{SONNET}", f"global.{SONNET}", PRO} & acme
    assert {f"us.{SONNET}", f"global.{SONNET}", PRO, "usual"} < umbrella
    assert not {f"eu.{SONNET}", NOVA, "swift", application} & umbrella


def models(client: Any, organisation: str) -> set[str]:
    headers = [("openai-organization", organisation)]
    response = client.exchange("GET", "/oai/v1/models", headers=headers, token="both")
    return {model["id"] for model in response.json()["data"]}


def test_calls_at_the_same_time_are_not_mixed_up(client: Any, local: Any) -> None:
    turns = [*EXPECTED] * 12

    def ask(organisation: str) -> int:
        body = {"model": "usual", "messages": question("Hello", organisation)}
        status: int = post(client, organisation, "chat/completions", **body).status
        return status

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, turns)) == [200] * len(turns)
    calls = local.calls()
    assert len(calls) == len(turns)
    for call in calls:
        text = call["body"]["messages"][0]["content"][0]["text"]
        check_chat(call, text.rpartition(" ")[2])
