"""The last good settings: how they are kept, and how a start uses them."""

import logging
import stat
from pathlib import Path

import pytest

from extproc import config
from extproc.config import ConfigError, Settings
from extproc.worker.last_good import LastGood
from extproc.worker.reload import SettingsFile
from tests.unit.worker.looks import polled

FULL = """
region: eu-west-1
organisations:
  acme: {models: {allow: ["anthropic.*"], deny: ["*-canvas-*"]}}
  closed: {enabled: false}
tokens:
  - {name: one, sha256: "%s", organisations: [acme], expires: 2027-01-01T00:00:00+02:00}
limits: {request_bytes: 2048}
media: {deny: [203.0.113.0/24]}
capabilities:
  - {family: mine, match: ["mine.*"], guardrails: false}
workers: auto
""" % ("a" * 64)
ONE = "organisations: {acme: {}}\ntokens: [{name: one, sha256: " + "b" * 64 + ", organisations: [acme]}]\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text(ONE)
    return path


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "run" / "worker-0.settings"


@pytest.fixture(autouse=True)
def folder(kept: Path) -> None:
    kept.parent.mkdir()


def start(path: Path, kept: Path) -> SettingsFile:
    return SettingsFile(path, LastGood(kept))


def settings(kept: Path) -> Settings:
    version = LastGood(kept).load()
    assert version is not None
    return version.settings


def test_settings_come_back_as_they_were(kept: Path) -> None:
    full = config.parse(FULL.encode())
    LastGood(kept).save(full, "c" * 64)
    assert settings(kept) == full


def test_only_its_owner_reads_it_and_nothing_else_is_left(path: Path, kept: Path) -> None:
    start(path, kept)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert list(kept.parent.iterdir()) == [kept]


def test_the_very_first_start_with_a_broken_file_is_an_error(path: Path, kept: Path) -> None:
    path.write_text("nonsense: true")
    with pytest.raises(ConfigError, match="nonsense"):
        start(path, kept)
    assert not kept.exists()


@pytest.mark.parametrize("broken", ["nonsense: true", "", "tokens: [", None])
def test_a_later_start_falls_back_and_logs_one_line(
    broken: str | None, path: Path, kept: Path, caplog: pytest.LogCaptureFixture
) -> None:
    start(path, kept)
    if broken is None:
        path.unlink()
    else:
        path.write_text(broken)
    file = start(path, kept)
    assert [token.name for token in file.settings.tokens] == ["one"]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert str(path) in record.getMessage()
    assert "starting with the last good settings, gateway.yaml of 20" in record.getMessage()
    assert polled(file) is None
    assert len(caplog.records) == 1


def test_it_goes_on_watching_after_a_fall_back(path: Path, kept: Path) -> None:
    start(path, kept)
    path.write_text("nonsense: true")
    file = start(path, kept)
    assert polled(file) is None
    path.write_text(ONE.replace("name: one", "name: mended"))
    after = polled(file)
    assert after is not None
    assert [token.name for token in after.tokens] == ["mended"]
    assert settings(kept) == after


def test_a_file_that_was_broken_and_restored_is_reported(path: Path, kept: Path) -> None:
    start(path, kept)
    path.write_text("nonsense: true")
    file = start(path, kept)
    path.write_text(ONE)
    assert polled(file) == file.settings


def test_token_files_are_a_part_of_it(path: Path, kept: Path, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.yaml"
    tokens.write_text("tokens: [{name: two, sha256: " + "d" * 64 + ", organisations: [acme]}]")
    path.write_text("organisations: {acme: {}}\ntokens_from: tokens.yaml\n")
    start(path, kept)
    tokens.write_text("tokens: [")
    assert [token.name for token in start(path, kept).settings.tokens] == ["two"]


def test_reloaded_settings_are_kept(path: Path, kept: Path) -> None:
    file = start(path, kept)
    path.write_text(FULL)
    after = polled(file)
    assert settings(kept) == after


def test_envoys_start_settings_stay_over_a_restart(path: Path, kept: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_text(FULL)
    start(path, kept)
    path.write_text(FULL.replace("eu-west-1", "us-east-1").replace("name: one", "name: new"))
    after = start(path, kept).settings
    assert after.region == "eu-west-1"
    assert [token.name for token in after.tokens] == ["new"]
    assert any(f"`region` has changed: the old one is in force, with which Envoy runs; for the new one, remove {kept}"
               in record.getMessage() for record in caplog.records)  # fmt: skip


def test_a_copy_that_is_gone_is_written_again(path: Path, kept: Path) -> None:
    file = start(path, kept)
    kept.unlink()
    assert polled(file) is None
    assert settings(kept) == file.settings


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"since": 1}'])
def test_a_copy_that_cannot_be_read_is_a_warning(
    content: bytes, path: Path, kept: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept.write_bytes(content)
    file = start(path, kept)
    assert "no settings can be read from it" in caplog.text
    assert settings(kept) == file.settings


def test_a_folder_that_is_gone_is_one_warning(path: Path, kept: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept.parent.rmdir()
    file = start(path, kept)
    for _ in range(3):
        polled(file)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "No such file or directory" in record.getMessage()
