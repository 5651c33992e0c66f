"""The demo: one token that stays, and a configuration that the gateway takes."""

import stat
from pathlib import Path

import pytest

from extproc import config
from extproc.stack.demo import DemoError, demo_config, demo_token
from extproc.tenancy.directory import Directory


def test_the_token_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / ".run" / "demo-token"
    token = demo_token(path)
    assert demo_token(path) == token
    assert path.read_text() == token + "\n"


def test_the_token_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / ".run" / "demo-token"
    demo_token(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path], "no draft is left"


def test_a_file_that_holds_no_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hello")
    with pytest.raises(DemoError, match="holds no token; remove it"):
        demo_token(tmp_path / "token")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DemoError, match="--config"):
        demo_token(tmp_path / "file" / "token")


def test_the_configuration_lets_the_token_in(tmp_path: Path) -> None:
    token = demo_token(tmp_path / "token")
    settings = config.parse(demo_config(token, "eu-west-1").encode())
    assert settings.region == "eu-west-1"
    caller = Directory(settings).authenticate(f"Bearer {token}", None, 0)
    assert (caller.token, caller.organisation) == ("demo", "demo")
    assert caller.models.allow == ("*",)
