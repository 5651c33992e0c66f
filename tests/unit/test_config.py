"""gateway.yaml: accepted documents, and the error messages for all others."""

import datetime
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from extproc import config
from extproc.bedrock import capability_table
from extproc.config import ConfigError, Settings, parse

DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"

WHOLE = f"""
region: us-east-1
organisations:
  acme:
    models: {{allow: ["anthropic.*", "amazon.*"], deny: []}}
tokens:
  - name: ci
    sha256: {DIGEST}
    organisations: [acme]
    expires: 2027-01-01T00:00:00Z
""".encode()


def test_the_agreed_file() -> None:
    settings = parse(WHOLE)
    assert settings.region == "us-east-1"
    assert settings.organisations["acme"].models.allow == ("anthropic.*", "amazon.*")
    [token] = settings.tokens
    assert (token.name, token.sha256, token.organisations) == ("ci", DIGEST, ("acme",))
    assert token.expires == datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)
    assert settings.limits.request_bytes == 32 * 1024 * 1024


def test_an_empty_mapping_is_all_defaults() -> None:
    assert parse(b"{}") == Settings()


def test_load_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_bytes(WHOLE)
    assert config.load(path) == parse(WHOLE)
    path.write_text("nope: 1")
    with pytest.raises(ConfigError, match=rf"^{re.escape(str(path))}: nope: unknown key"):
        config.load(path)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("state/usage.jsonl", "{folder}/state/usage.jsonl"), ("/var/usage.jsonl", "/var/usage.jsonl")],
)
def test_the_ledger_has_a_whole_path_wherever_the_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, meant: str
) -> None:
    (tmp_path / "gateway.yaml").write_text(f"usage: {{ledger: {written}}}")
    monkeypatch.chdir(tmp_path)
    for path in (Path("gateway.yaml"), tmp_path / "gateway.yaml"):
        assert config.load(path).usage.ledger == meant.format(folder=tmp_path)


def test_the_sums_are_beside_the_file_too(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text("usage: {ledger: a, sqlite: b/c, keep_days: 3}")
    assert config.load(tmp_path / "gateway.yaml").usage.sqlite == f"{tmp_path}/b/c"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gateway\.yaml: No such file.*--config"):
        config.load(tmp_path / "gateway.yaml")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2027-01-01T00:00:00Z", datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)),
        ("'2027-01-01T00:00:00Z'", datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)),
        ("2027-01-01 02:00:00 +02:00", datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)),
        ("2027-01-01", datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)),
        ("null", None),
    ],
)
def test_expires(written: str, meant: datetime.datetime | None) -> None:
    [token] = parse(f"tokens: [{{name: a, sha256: {DIGEST}, expires: {written}}}]".encode()).tokens
    assert token.expires == meant


def test_digests_in_upper_case_are_the_same_digests() -> None:
    [token] = parse(f"tokens: [{{name: a, sha256: {DIGEST.upper()}}}]".encode()).tokens
    assert token.sha256 == DIGEST
    with pytest.raises(ConfigError, match=r"tokens\[1\]\.sha256: the same as in tokens\[0\]"):
        parse(f"tokens: [{{name: a, sha256: {DIGEST}}}, {{name: b, sha256: {DIGEST.upper()}}}]".encode())


def test_seconds_may_be_whole() -> None:
    assert parse(b"streaming: {keepalive_seconds: 5}").streaming.keepalive_seconds == 5.0


def test_anchors_aliases_and_merge_keys() -> None:
    settings = parse(b"""
organisations:
  acme: &acme
    models: &claude {allow: ["anthropic.*"]}
  beta: {models: *claude}
  gamma: {<<: *acme, enabled: false}
""")
    assert settings.organisations["beta"] == settings.organisations["acme"]
    assert settings.organisations["gamma"].models.allow == ("anthropic.*",)
    assert not settings.organisations["gamma"].enabled


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "https://chat.example.com",
        "http://localhost:3000",
        "http://[::1]:8080",
        "app://obsidian.md",
        "https://a:80",
    ],
)
def test_an_origin_is_what_browsers_send(origin: str) -> None:
    assert parse(f"cors: {{origins: ['{origin}']}}".encode()).cors.origins == (origin,)


def test_models_capabilities_can_be_configured() -> None:
    text = b"capabilities: [{family: acme, match: ['acme.*'], like: claude-4-6, tools: false, minimum_budget: null}]"
    table = capability_table.BUILT_IN.with_overrides(parse(text).capabilities)
    matched, model = table.of("eu.acme.chat-1"), table.families["claude-4-6"]
    assert msgspec.structs.replace(matched, family="claude-4-6", tools=True, minimum_budget=1024) == model


def test_an_effort_may_go_to_the_output_config() -> None:
    [row] = parse(b"capabilities: [{family: claude-newer, effort_path: [outputConfig, effort]}]").capabilities
    assert row.effort_path == ("outputConfig", "effort")


def test_every_built_in_family_can_be_named_in_a_row() -> None:
    for name in capability_table.BUILT_IN.families:
        parse(f"capabilities: [{{family: {name}}}]".encode())


@pytest.mark.parametrize(("own", "other"), [(60, 60), (61, 100), (61, "unlimited"), (61, None)])
def test_a_token_of_several_organisations_may_have_the_limit_of_the_largest(own: int, other: Any) -> None:
    organisations = {"acme": {"limits": {"requests_per_minute": 60}}, "umbrella": {}}
    if other is not None:
        organisations["umbrella"] = {"limits": {"requests_per_minute": other}}
    limits = {"requests_per_minute": own}
    token = {"name": "a", "sha256": DIGEST, "organisations": ["acme", "umbrella"], "limits": limits}
    settings = parse(yaml.safe_dump({"organisations": organisations, "tokens": [token]}).encode())
    assert settings.tokens[0].limits is not None
    assert settings.tokens[0].limits.requests_per_minute == own
