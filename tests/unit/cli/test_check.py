"""`check`: its output and its errors."""

import contextlib
import os
import re
from pathlib import Path

import pytest

from extproc.aws.credentials import NoCredentialsError
from extproc.cli import alias_warnings, model_warnings, roles
from extproc.config.roles import RoleSettings
from extproc.worker.spending_file import SpendingFile
from tests.unit.cli.running import CONFIG, Cli, is_rejected


def test_check_shows_the_resulting_settings(cli: Cli, gateway_yaml: Path) -> None:
    shown = cli("check")
    assert shown.exit_code == 0
    for words in (
        "gateway.yaml is fine",
        "us-east-1",
        "acme",
        "anthropic.*",
        "amazon.titan-*",
        "disabled",
        "ci",
        "2999",
    ):
        assert words in shown.stdout
    assert shown.stderr == ""


def test_check_warns_of_probable_mistakes(cli: Cli, gateway_yaml: Path) -> None:
    gateway_yaml.write_text(
        f"region: eu-west-1\norganisations: {{lonely: {{models: {{allow: []}}}}}}\n"
        f"tokens: [{{name: old, sha256: '{'cd' * 32}', expires: 2020-01-01T00:00:00Z}}]"
    )
    shown = cli("check")
    assert shown.exit_code == 0
    warnings = shown.stderr.splitlines()
    assert len(warnings) == 4
    for words in ("'old' has no organisation", "'old' expired", "'lonely' has no token", "'lonely' allows no model"):
        assert any(words in warning for warning in warnings)


JWT = """
jwt: [{issuer: "https://a/", audiences: [api], jwks_uri: "https://a/keys", organisation: org, scopes: scp}]
"""


def test_check_shows_issuers_and_needs_no_tokens_beside_them(cli: Cli, gateway_yaml: Path) -> None:
    gateway_yaml.write_text("region: us-east-1\norganisations: {acme: {}}" + JWT)
    shown = cli("check", "--strict", "--offline")
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert re.search(r"https://a/ +api +org +scp +not fetched", shown.stdout)
    gateway_yaml.write_text("region: us-east-1" + JWT)
    assert "warning: there are no organisations: every call with a signed token" in cli("check", "--offline").stderr


@pytest.mark.parametrize(
    ("models", "words"),
    [
        ('{allow: ["claude-*"]}', ("`claude-*` in `models.allow`", "did you mean `*.claude-*`", "may call nothing")),
        ('{allow: ["anthropic.claude-sonnet"]}', ("did you mean `anthropic.claude-sonnet*`?", "may call nothing")),
        ('{allow: ["*"], deny: ["NOVA-PRO"]}', ("`NOVA-PRO` in `models.deny`", "did you mean `*NOVA-PRO*`?")),
        ('{allow: ["anthropic.*"], deny: ["*"]}', ("'acme' may call nothing: its patterns permit no known model",)),
        ('{allow: ["us-gov.amazon.*"]}', ("'acme' may call nothing", "us-east-1")),
        ('{allow: ["nothing.*"]}', ("`nothing.*`", "no model of the built-in list", "may call nothing")),
        ("{allow: []}", ("'acme' allows no model: `models.allow` is empty",)),
        ('{allow: ["*"], deny: ["global.*", "*nova-pro*", "arn:*"]}', ()),
        ('{allow: ["arn:aws:bedrock:us-east-1:1:application-inference-profile/*"]}', ()),
        ('{allow: ["us.anthropic.*", "eu.amazon.nova-micro-v1:0", "amazon.titan-embed-text-v?:0"]}', ()),
    ],
)
def test_check_warns_of_models_that_nobody_can_call(
    cli: Cli, gateway_yaml: Path, models: str, words: tuple[str, ...]
) -> None:
    token = f"{{name: ci, sha256: '{'ab' * 32}', organisations: [acme]}}"
    gateway_yaml.write_text(f"region: us-east-1\norganisations: {{acme: {{models: {models}}}}}\ntokens: [{token}]")
    shown, strict = cli("check"), cli("check", "--strict")
    assert shown.exit_code == 0
    assert all(word in shown.stderr for word in words), shown.stderr
    assert bool(words) == bool(shown.stderr)
    assert strict.exit_code == (2 if words else 0)
    assert ("--strict" in strict.stderr) == bool(words)


def test_check_lists_the_first_of_very_many(cli: Cli, gateway_yaml: Path) -> None:
    tokens = (f"- {{name: t{index}, sha256: '{index + 16:064x}', organisations: [acme]}}" for index in range(1200))
    gateway_yaml.write_text("\n".join(["region: us-east-1", "organisations: {acme: {}}", "tokens:", *tokens]))
    shown = cli("check").stdout
    assert "t999 " in shown
    assert "t1000" not in shown
    assert "… and 200 more" in shown


def test_check_compares_the_first_of_very_many_patterns(
    cli: Cli, gateway_yaml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_warnings, "MAX_COMPARED", 5)
    lines = [f"  o{number}: {{models: {{allow: ['*'], deny: [amazon.no{number}]}}}}" for number in range(4)]
    gateway_yaml.write_text("\n".join(["region: us-east-1", "organisations:", *lines]))
    shown = cli("check")
    assert shown.exit_code == 0
    assert "more than 5 patterns of models: those from organisation 'o2' on were not compared" in shown.stderr
    assert "'o1' has the pattern" in shown.stderr
    assert "'o2' has the pattern" not in shown.stderr


def test_check_shows_names_without_control_characters(cli: Cli, gateway_yaml: Path) -> None:
    token = f"{{name: \"a\\u009b31m\\u202eb\", sha256: '{'a' * 64}', organisations: [acme]}}"
    gateway_yaml.write_text(f"region: us-east-1\norganisations: {{acme: {{}}}}\ntokens: [{token}]\n")
    shown = cli("check")
    assert "a\\x9b31m\\u202eb" in shown.stdout
    assert all(line.isprintable() for line in (shown.stdout + shown.stderr).splitlines())


def test_check_searches_another_envoys_configuration(cli: Cli, gateway_yaml: Path, tmp_path: Path) -> None:
    flag = "envoy.reloadable_features.ext_proc_graceful_grpc_close"
    bad, good = tmp_path / "envoy.yaml", tmp_path / "good.yaml"
    bad.write_text(f"layered_runtime: {{layers: [{{name: static, static_layer: {{{flag}: true}}}}]}}")
    good.write_text("static_resources: {}")
    result = cli("check", "--config", str(gateway_yaml), "--envoy", str(good), "--envoy", str(bad))
    assert result.exit_code == 2
    assert f"{bad}: layered_runtime.layers[0].static_layer.{flag}: remove this runtime flag" in result.output
    assert cli("check", "--config", str(gateway_yaml), "--envoy", str(good)).exit_code == 0
    good.write_text(
        "routes: [{match: {prefix: /}, route: {cluster: bedrock}}]\nclusters: [{name: bedrock, load_assignment: {}}]"
    )
    result = cli("check", "--config", str(gateway_yaml), "--envoy", str(good))
    assert result.exit_code == 0
    assert f"warning: {good}: routes[0]: this route leads to Bedrock" in result.stderr
    bad.write_text("a: [")
    result = cli("check", "--config", str(gateway_yaml), "--envoy", str(bad))
    assert result.exit_code == 2
    assert "not YAML or JSON" in result.output


def test_check_without_a_region(cli: Cli, gateway_yaml: Path) -> None:
    gateway_yaml.write_text("organisations: {}")
    assert is_rejected(cli("check"), "no AWS region", "AWS_REGION")
    assert "region ap-south-1" in cli("check", AWS_REGION="ap-south-1").stdout


def test_check_warns_of_an_unknown_region(cli: Cli, gateway_yaml: Path) -> None:
    gateway_yaml.write_text("region: eu-wset-1")
    assert "warning: the AWS region 'eu-wset-1' is unknown, did you mean `eu-west-1`?" in cli("check").stderr
    assert "region" not in cli("check", AWS_ENDPOINT_URL_BEDROCK_RUNTIME="http://127.0.0.1:1").stderr


def test_text_that_looks_like_markup_stays_text(cli: Cli, gateway_yaml: Path) -> None:
    gateway_yaml.write_text('region: us-east-1\norganisations: {acme: {models: {allow: ["[red]*"]}}}')
    assert "[red]*" in cli("check").stdout


ALIASES = """
region: us-east-1
aliases: {small: amazon.nova-micro-v1:0, chat: anthropic.claude-sonnet-4-6%s}
organisations:
  acme: {models: {allow: ["amazon.*"]}%s}
tokens: [{name: ci, sha256: "%s", organisations: [acme]}]
"""


@pytest.mark.parametrize(
    ("common", "own", "words"),
    [
        ("", "", ("aliases.chat: no organisation may call `anthropic.claude-sonnet-4-6`; permit it in",)),
        (
            ", x: amazon.nova-micro",
            "",
            ("aliases.x: `amazon.nova-micro` is no model of the built-in list", "did you mean"),
        ),
        (
            "",
            ", aliases: {mine: cohere.embed-english-v3}",
            ("organisations.acme.aliases.mine: the organisation may not",),
        ),
        (
            "",
            ", aliases: {mine: 'arn:aws:bedrock:us-east-1:123456789012:provisioned-model/a1b2c3d4e5f6'}",
            ("may not call `arn:aws",),
        ),
    ],
)
def test_check_warns_of_aliases_that_nobody_can_use(
    cli: Cli, gateway_yaml: Path, common: str, own: str, words: tuple[str, ...]
) -> None:
    gateway_yaml.write_text(ALIASES % (common, own, "ab" * 32))
    shown = cli("check")
    assert shown.exit_code == 0
    assert "small" in shown.stdout
    for word in words:
        assert word in shown.stderr
    assert not any("aliases.small" in warning for warning in shown.stderr.splitlines())


@pytest.mark.parametrize("name", ["amazon.nova-pro-v1:0", "eu.anthropic.claude-sonnet-4-6"])
@pytest.mark.parametrize("own", [False, True])
def test_check_rejects_an_alias_with_the_name_of_a_model(cli: Cli, gateway_yaml: Path, name: str, own: bool) -> None:
    alias = f"'{name}': amazon.nova-micro-v1:0"
    gateway_yaml.write_text(ALIASES % (*(("", f", aliases: {{{alias}}}") if own else (f", {alias}", "")), "ab" * 32))
    where = "organisations.acme.aliases" if own else "aliases"
    assert is_rejected(cli("check"), f"{where}.{name}: this is the id of a model", "choose another name")


def test_check_compares_the_first_of_very_many_aliases(
    cli: Cli, gateway_yaml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alias_warnings, "MAX_COMPARED", 1)
    gateway_yaml.write_text(ALIASES % ("", ", aliases: {a: cohere.x, b: cohere.y}", "ab" * 32))
    assert "those from organisation 'acme' on were not compared with the rules" in cli("check").stderr


def test_check_judges_models_by_the_organisations_region_and_geography(cli: Cli, gateway_yaml: Path) -> None:
    gateway_yaml.write_text(
        "region: us-east-1\nregions: [eu-central-1]\norganisations:\n"
        "  acme: {region: eu-central-1, geography: strict, default_model: global.anthropic.claude-sonnet-4-6}\n"
        "  beta: {region: eu-central-1, models: {allow: ['us.*']}}\n"
        "  gone: {region: eu-central-1, geography: strict, models: {allow: ['global.*']}}\n"
    )
    shown = cli("check").stderr
    assert "organisations.acme.default_model: the organisation may not call `global.anthropic" in shown
    assert "organisation 'beta' may call nothing: its patterns permit no known model of eu-central-1" in shown
    assert "organisation 'gone' may call nothing: its patterns permit no known model of eu-central-1, and `geo" in shown


def test_check_names_the_roles_that_cannot_be_assumed(
    cli: Cli, gateway_yaml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is assumed once, in its region, and only where that is asked for."""
    tried = []

    def assume(session: object, region: str, role: RoleSettings) -> None:
        tried.append((region, role.arn[-1]))
        if role.arn.endswith("x"):
            raise NoCredentialsError(f"the role {role.arn} cannot be assumed: AccessDenied")

    monkeypatch.setattr(roles, "assume", assume)
    arn = "arn:aws:iam::123456789012:role/"
    gateway_yaml.write_text(
        "region: us-east-1\nregions: [eu-central-1]\norganisations:\n"
        f"  acme: {{role: {{arn: '{arn}a'}}}}\n  twin: {{role: {{arn: '{arn}a'}}}}\n  home: {{}}\n"
        f"  far: {{role: {{arn: '{arn}x'}}, region: eu-central-1}}\n"
        f"  gone: {{role: {{arn: '{arn}x'}}, enabled: false}}\n"
    )
    assert cli("check").exit_code == 0
    assert tried == []
    shown = cli("check", "--roles")
    assert shown.exit_code != 0
    assert f"organisations.far.role: the role {arn}x cannot be assumed: AccessDenied; permit" in shown.stderr
    assert "acme" not in shown.stderr
    assert tried == [("us-east-1", "a"), ("eu-central-1", "x")]


@pytest.mark.parametrize(
    ("ledger", "reason"),
    [
        ("nowhere/usage.jsonl", "there is no folder"),
        ("folder", "it is not a regular file"),
        ("gateway.yaml/usage.jsonl", "there is no folder"),
    ],
)
def test_check_warns_of_a_ledger_that_cannot_be_written(cli: Cli, gateway_yaml: Path, ledger: str, reason: str) -> None:
    (gateway_yaml.parent / "folder").mkdir()
    gateway_yaml.write_text(f"{CONFIG}usage: {{ledger: {ledger}}}\n")
    shown = cli("check")
    assert shown.exit_code == 0
    assert f"warning: usage.ledger: {gateway_yaml.parent / ledger} cannot be written: {reason}" in shown.stderr


def test_check_warns_of_sums_that_cannot_be_written(cli: Cli, gateway_yaml: Path) -> None:
    gateway_yaml.write_text(f"{CONFIG}usage: {{ledger: usage.jsonl, sqlite: nowhere/usage.sqlite}}\n")
    shown = cli("check")
    assert f"warning: usage.sqlite: {gateway_yaml.parent}/nowhere/usage.sqlite cannot be written" in shown.stderr
    assert not list(gateway_yaml.parent.glob("usage*"))


@pytest.mark.parametrize(
    ("key", "setting"),
    [
        ("budgets.sqlite", "budgets: {{sqlite: {}}}"),
        ("rate_limits.sqlite", "rate_limits: {{sqlite: {}}}"),
        ("last_used_in", "last_used_in: {}"),
    ],
)
@pytest.mark.parametrize(
    ("name", "reason"), [("nowhere/state", "there is no folder"), ("folder", "it is not a regular file; name another")]
)
def test_check_warns_of_each_file_that_cannot_be_written(
    cli: Cli, gateway_yaml: Path, key: str, setting: str, name: str, reason: str
) -> None:
    (gateway_yaml.parent / "folder").mkdir()
    gateway_yaml.write_text(f"{CONFIG}{setting.format(name)}\n")
    shown = cli("check")
    assert shown.exit_code == 0
    assert f"warning: {key}: {name} cannot be written: {reason}" in shown.stderr


def test_check_warns_of_a_database_that_a_worker_would_not_open(cli: Cli, gateway_yaml: Path) -> None:
    (gateway_yaml.parent / "text").write_text("no database")
    (gateway_yaml.parent / "link").symlink_to("spent.sqlite")
    gateway_yaml.write_text(f"{CONFIG}budgets: {{sqlite: text}}\nrate_limits: {{sqlite: link}}\n")
    shown = cli("check")
    assert "text cannot be written: it is no database of SQLite; name another" in shown.stderr
    assert "link cannot be written: it is a link, which is not followed; name the file itself" in shown.stderr


def test_check_warns_of_no_database_that_workers_use(cli: Cli, gateway_yaml: Path) -> None:
    gateway_yaml.write_text(f"{CONFIG}budgets: {{sqlite: spent}}\nrate_limits: {{sqlite: rates}}\n")
    with contextlib.closing(SpendingFile(gateway_yaml.parent / "spent", "worker")) as file:
        file.count({})
        shown = cli("check", "--strict")
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert not (gateway_yaml.parent / "rates").exists()


def test_check_makes_no_ledger(cli: Cli, gateway_yaml: Path) -> None:
    gateway_yaml.write_text(f"{CONFIG}usage: {{ledger: usage.jsonl}}\n")
    assert cli("check", "--strict").exit_code == 0
    assert not (gateway_yaml.parent / "usage.jsonl").exists()


@pytest.mark.parametrize(
    ("ledger", "reason"),
    [("usage.jsonl", "this user may make no file in"), ("there.jsonl", "this user may not write to it")],
)
def test_check_warns_of_a_ledger_that_it_may_not_write(
    cli: Cli, gateway_yaml: Path, monkeypatch: pytest.MonkeyPatch, ledger: str, reason: str
) -> None:
    monkeypatch.setattr("os.access", lambda _, mode: not mode & os.W_OK)  # root may write anywhere
    gateway_yaml.write_text(f"{CONFIG}usage: {{ledger: {ledger}}}\n")
    gateway_yaml.with_name("there.jsonl").touch()
    assert reason in cli("check").stderr


@pytest.mark.parametrize(("choice", "words"), [("reject", "rejected"), ("free", "free")])
def test_check_names_models_without_a_price_under_a_budget(
    cli: Cli, gateway_yaml: Path, choice: str, words: str
) -> None:
    models = "{allow: [moonshotai.kimi-k3.1, amazon.nova-micro-v1:0]}"
    gateway_yaml.write_text(
        f"region: us-east-1\nbudgets: {{sqlite: spent.sqlite, on_unpriced: {choice}}}\n"
        f"organisations: {{acme: {{models: {models}, budgets: [{{usd: 5, per: day}}]}}, other: {{}}}}"
    )
    shown = cli("check").stdout
    assert f"Without a price, and so {words} under a budget in US dollars" in shown
    assert "moonshotai.kimi-k3.1. This is for: acme." in shown
    assert "nova-micro" not in shown.partition("Without a price")[2]


def test_check_asks_no_price_where_no_money_is_limited(cli: Cli, gateway_yaml: Path) -> None:
    gateway_yaml.write_text(
        "region: us-east-1\nbudgets: {sqlite: spent.sqlite, organisation: [{tokens: 5, per: day}]}\n"
        "organisations: {acme: {}, audited: {budgets: [{usd: 5, per: day, mode: audit}]}}"
    )
    assert "Without a price" not in cli("check").stdout
