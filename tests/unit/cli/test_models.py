"""`models`: its output and its errors."""

import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from extproc.aws import catalogue_keeper
from extproc.aws.sdk import models as asking
from extproc.bedrock.seed import seed
from tests.unit.cli.running import Cli, is_rejected


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make AWS list the models of the built-in list."""
    monkeypatch.setattr(asking, "fetch", seed)


@pytest.mark.usefixtures("aws", "gateway_yaml")
def test_models_lists_the_models_that_the_patterns_permit(cli: Cli) -> None:
    shown = cli("models", "--organisation", "acme").stdout.splitlines()
    assert "anthropic.claude-sonnet-4-6" in shown
    assert "amazon.nova-micro-v1:0" in shown
    assert not any("titan" in name or "cohere" in name for name in shown)


@pytest.mark.usefixtures("aws", "gateway_yaml")
def test_models_of_all_organisations(cli: Cli) -> None:
    shown = cli("models").stdout.splitlines()
    assert set(cli("models", "--organisation", "acme").stdout.splitlines()) < set(shown)
    assert any("cohere" in name for name in shown)


@pytest.mark.usefixtures("aws", "gateway_yaml")
def test_a_disabled_organisation_has_no_models(cli: Cli) -> None:
    assert cli("models", "--organisation", "closed").stdout == ""


@pytest.mark.usefixtures("aws", "gateway_yaml")
def test_models_of_an_unknown_organisation(cli: Cli) -> None:
    assert is_rejected(cli("models", "--organisation", "acne"), "'acne'", "acme, research, closed")


@pytest.mark.usefixtures("gateway_yaml")
def test_when_aws_lists_nothing_the_built_in_list_is_shown(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(region: str) -> Any:
        raise catalogue_keeper.ListingDeniedError((catalogue_keeper.LIST_MODELS,))

    monkeypatch.setattr(asking, "fetch", denied)
    shown = cli("models")
    assert "anthropic.claude-sonnet-4-6" in shown.stdout
    assert catalogue_keeper.LIST_MODELS in shown.stderr


@pytest.mark.usefixtures("aws")
def test_models_lists_the_aliases_that_may_be_used(cli: Cli, gateway_yaml: Path) -> None:
    gateway_yaml.write_text(
        "region: us-east-1\naliases: {chat: anthropic.claude-sonnet-4-6, small: amazon.nova-micro-v1:0}\n"
        "organisations:\n  acme: {models: {allow: ['amazon.*']}, aliases: {mine: amazon.nova-pro-v1:0}}\n  beta: {}\n"
    )
    aliases = {"chat", "small", "mine"}
    assert aliases & set(cli("models", "--organisation", "acme").stdout.splitlines()) == {"small", "mine"}
    assert aliases & set(cli("models", "--organisation", "beta").stdout.splitlines()) == {"chat", "small"}
    assert aliases & set(cli("models").stdout.splitlines()) == aliases


@pytest.mark.usefixtures("aws", "gateway_yaml")
def test_models_that_are_missing_with_the_reason(cli: Cli) -> None:
    rows = dict(row.split("\t") for row in cli("models", "--organisation", "acme", "--missing").stdout.splitlines())
    listed = cli("models", "--organisation", "acme").stdout.splitlines()
    assert not rows.keys() & {*listed}
    assert rows["amazon.titan-embed-text-v2:0"] == "denied by the pattern `amazon.titan-*` of `models.deny`"
    assert rows["cohere.embed-v4:0"] == "not allowed by any pattern of `models.allow`"


@pytest.mark.usefixtures("aws")
def test_models_of_a_token(cli: Cli, gateway_yaml: Path) -> None:
    token = "{name: %s, sha256: '%s', organisations: [acme], models: {allow: ['*nova*']}, %s}"
    gateway_yaml.write_text(
        "region: us-east-1\norganisations: {acme: {}, closed: {enabled: false}}\ntokens:\n"
        f"- {token % ('ci', 'ab' * 32, '')}\n"
        f"- {token % ('old', 'cd' * 32, 'scopes: [chat], expires: 2020-01-01T00:00:00Z')}\n"
    )
    shown = cli("models", "--token", "ci")
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert shown.stdout
    assert all("nova" in name for name in shown.stdout.splitlines())
    old = cli("models", "--token", "old")
    assert old.stdout == shown.stdout
    assert "'old' has expired" in old.stderr
    assert "has not the scope `models`" in old.stderr
    assert "'closed' is disabled: every call for it gets a 403" in cli("models", "--organisation", "closed").stderr


def test_a_terminal_gets_both_lists(gateway_yaml: Path) -> None:
    terminal, other = os.openpty()
    nothing = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    variables = {**os.environ, **nothing, "AWS_EC2_METADATA_DISABLED": "true", "COLUMNS": "150", "TERM": "xterm"}
    command = [sys.executable, "-m", "extproc", "models", "--organisation", "acme"]
    with subprocess.Popen(
        command, cwd=gateway_yaml.parent, env=variables, stdout=other, stderr=subprocess.DEVNULL
    ) as process:
        os.close(other)
        shown = b""
        with suppress(OSError):  # how Linux tells that the other end is closed
            while piece := os.read(terminal, 65_536):
                shown += piece
        assert process.wait(60) == 0
    os.close(terminal)
    lines = [line.split() for line in re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).splitlines()]
    assert ["model", "served", "by", "organisations"] in lines
    assert ["not", "in", "the", "list", "why"] in lines
    denied = ["denied", "by", "the", "pattern", "`amazon.titan-*`", "of", "`models.deny`"]
    assert ["amazon.titan-embed-text-v2:0", *denied] in lines


@pytest.mark.usefixtures("aws")
def test_models_of_an_organisations_region_and_geography(cli: Cli, gateway_yaml: Path) -> None:
    gateway_yaml.write_text(
        "region: us-east-1\nregions: [eu-central-1]\norganisations:\n"
        "  acme: {region: eu-central-1, geography: strict}\n  beta: {region: eu-central-1}\n  home: {}\n"
    )
    shown = {name: cli("models", "--organisation", name).stdout.splitlines() for name in ("acme", "beta", "home")}
    has = lambda name, prefix: any(each.startswith(prefix) for each in shown[name])  # noqa: E731
    prefixes = ("us.", "eu.", "global.")
    assert [has("acme", prefix) for prefix in prefixes] == [False, True, False]
    assert [has("beta", prefix) for prefix in prefixes] == [False, True, True]
    assert [has("home", prefix) for prefix in prefixes] == [True, False, True]
