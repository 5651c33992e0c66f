"""`init` and `token create --append`: a first gateway.yaml, and more tokens in it."""

import fcntl
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from extproc import config
from extproc.tenancy.api_keys import digest
from tests.unit.cli.running import ROOT, Cli, is_rejected

APPEND = ("token", "create", "--name", "more", "--organisation", "acme", "--append", "gateway.yaml")


def test_init_writes_a_configuration_that_check_takes(cli: Cli, tmp_path: Path) -> None:
    shown = cli("init", "--organisation", "acme", "--name", "ci")
    assert shown.exit_code == 0
    token = shown.stdout.removesuffix("\n")
    assert re.fullmatch(r"qc_[A-Za-z0-9_-]{43}", token)
    settings = config.load(tmp_path / "gateway.yaml")
    [entry] = settings.tokens
    assert (entry.name, entry.sha256, entry.organisations) == ("ci", digest(token), ("acme",))
    assert settings.region == "us-east-1"
    checked = cli("check")
    assert "gateway.yaml is fine" in checked.stdout
    assert checked.stderr == ""


def test_init_leaves_the_region_to_awss_settings_where_they_have_one(cli: Cli, tmp_path: Path) -> None:
    assert "eu-west-3" in cli("init", AWS_REGION="eu-west-3").stderr
    assert config.load(tmp_path / "gateway.yaml").region is None


def test_init_overwrites_nothing(cli: Cli, gateway_yaml: Path) -> None:
    before = gateway_yaml.read_text()
    assert is_rejected(cli("init"), "gateway.yaml exists", "token create --append gateway.yaml")
    assert gateway_yaml.read_text() == before


def test_init_in_a_folder_that_is_not_there(cli: Cli) -> None:
    assert is_rejected(cli("init", "--config", "nowhere/gateway.yaml"), "nowhere/gateway.yaml: No such file")


@pytest.mark.parametrize("name", ["no", "1", "null", "1e3"])
def test_an_organisation_that_yaml_reads_as_something_else(cli: Cli, tmp_path: Path, name: str) -> None:
    assert cli("init", "--organisation", name).exit_code == 0
    assert list(config.load(tmp_path / "gateway.yaml").organisations) == [name]


def test_tokens_that_are_appended_at_once_are_all_there(gateway_yaml: Path) -> None:
    """Each of the commands reads the file, and writes it with its own token."""
    before = len(config.load(gateway_yaml).tokens)
    command = [sys.executable, "-P", "-m", "extproc", *APPEND[:-1], str(gateway_yaml), "--name"]
    running = [subprocess.Popen([*command, f"t{number}"], stdout=subprocess.DEVNULL) for number in range(6)]
    assert [process.wait(60) for process in running] == [0] * 6
    assert len(config.load(gateway_yaml).tokens) == before + 6


def test_a_lock_that_somebody_keeps_is_reported(cli: Cli, gateway_yaml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extproc.cli.token_files.LOCK_SECONDS", 0.0)
    folder = os.open(gateway_yaml.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        assert is_rejected(cli(*APPEND), "holds a lock")
    finally:
        os.close(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")
def test_root_leaves_the_file_to_its_owner(cli: Cli, gateway_yaml: Path) -> None:
    gateway_yaml.chmod(0o640)
    os.chown(gateway_yaml, 65532, 65533)
    assert cli(*APPEND).exit_code == 0
    after = gateway_yaml.stat()
    assert (after.st_uid, after.st_gid, after.st_mode & 0o777) == (65532, 65533, 0o640)


def test_a_token_is_appended_and_comments_stay(cli: Cli, tmp_path: Path) -> None:
    example = (ROOT / "gateway.example.yaml").read_text()
    (tmp_path / "gateway.yaml").write_text(example)
    shown = cli(*APPEND, "--expires", "90d")
    assert shown.exit_code == 0
    text = (tmp_path / "gateway.yaml").read_text()
    assert [line for line in text.splitlines() if line not in example.splitlines()] == [
        "  - name: more",
        f"    sha256: {digest(shown.stdout.strip())}",
        next(line for line in text.splitlines() if re.match(r" {4}expires: .*\+00:00$", line)),
    ]
    assert [line for line in example.splitlines() if line not in text.splitlines()] == []
    assert [token.name for token in config.parse(text.encode()).tokens] == ["ci", "notebooks", "more"]


def test_the_file_keeps_its_mode_and_a_link_its_file(cli: Cli, gateway_yaml: Path, tmp_path: Path) -> None:
    real = gateway_yaml.rename(tmp_path / "real.yaml")
    real.chmod(0o640)
    gateway_yaml.symlink_to(real)
    assert cli(*APPEND).exit_code == 0
    assert gateway_yaml.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gateway.yaml", "real.yaml"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--name", "ci", "--organisation", "acme"), ("tokens[0] has the name 'ci' already", "token rotate")),
        (("--name", "more", "--organisation", "acmee"), ("no organisation `acmee`", "did you mean `acme`")),
    ],
)
def test_a_token_that_the_file_would_not_take(
    cli: Cli, gateway_yaml: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    before = gateway_yaml.read_text()
    assert is_rejected(cli("token", "create", *arguments, "--append", "gateway.yaml"), *words)
    assert gateway_yaml.read_text() == before


def test_a_file_that_is_not_there_or_no_text(cli: Cli, gateway_yaml: Path) -> None:
    gateway_yaml.write_bytes(b"organisations: {acme: {}}  # \xff")
    assert is_rejected(cli(*APPEND), "gateway.yaml", "UTF-8")
    gateway_yaml.unlink()
    assert is_rejected(cli(*APPEND), "gateway.yaml: No such file")


def test_what_no_entry_can_be_added_to_is_an_error_of_the_command(cli: Cli, gateway_yaml: Path) -> None:
    gateway_yaml.write_text("{organisations: {acme: {}}}")
    assert is_rejected(cli(*APPEND), "gateway.yaml: `tokens` has a layout")


@pytest.mark.parametrize("page", ["README.md", "docs/docker.md", "docs/configuration.md", "gateway.example.yaml"])
def test_check_rejects_the_placeholders_of_pages_by_name(cli: Cli, gateway_yaml: Path, page: str) -> None:
    digests = re.findall(r"sha256: *\"?([0-9a-f]{64})", (ROOT / page).read_text())
    tokens = [{"name": f"t{index}", "sha256": each} for index, each in enumerate(dict.fromkeys(digests))]
    gateway_yaml.write_text(yaml.safe_dump({"region": "us-east-1", "tokens": tokens}))
    if tokens:
        assert is_rejected(
            cli("check"), *(repr(token["name"]) for token in tokens), "placeholder", "token create --append"
        )


@pytest.mark.parametrize("digest_of_a_word", [b"test", b"test2"])
def test_check_rejects_the_placeholders_of_earlier_pages(cli: Cli, gateway_yaml: Path, digest_of_a_word: bytes) -> None:
    digest_ = digest(digest_of_a_word.decode())
    gateway_yaml.write_text(f"region: us-east-1\ntokens: [{{name: old, sha256: {digest_}}}]")
    assert is_rejected(cli("check"), "'old'", "placeholder")
