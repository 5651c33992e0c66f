"""Tokens in files of their own."""

from pathlib import Path

import pytest

from extproc import config
from extproc.config import ConfigError, Settings


def names(settings: Settings) -> list[str]:
    return [token.name for token in settings.tokens]


def entry(name: str, digit: str, organisation: str = "acme") -> str:
    return f"{{name: {name}, sha256: {digit * 64}, organisations: [{organisation}]}}"


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """Write a gateway.yaml with a token, and a folder with two more tokens in two files."""
    (tmp_path / "gateway.yaml").write_text(
        f"organisations: {{acme: {{}}}}\ntokens: [{entry('own', 'a')}]\ntokens_from: tokens\n"
    )
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens" / "b.yaml").write_text(f"tokens: [{entry('second', 'c')}]")
    (tmp_path / "tokens" / "a").write_text(f"tokens: [{entry('first', 'b')}]")
    (tmp_path / "tokens" / "..2026").mkdir()
    (tmp_path / "tokens" / "..data").symlink_to("..2026")
    (tmp_path / "tokens" / ".hidden").write_text("nonsense")
    return tmp_path


def test_tokens_of_a_folder_come_after_the_files_own_by_name(split: Path) -> None:
    assert names(config.load(split / "gateway.yaml")) == ["own", "first", "second"]


@pytest.mark.parametrize("name", ["a~", "a.bak", "b.yaml.orig", "#a#", "a.swp"])
def test_a_backup_of_a_token_file_brings_nothing_back(name: str, split: Path) -> None:
    (split / "tokens" / "a").rename(split / "tokens" / name)
    assert names(config.load(split / "gateway.yaml")) == ["own", "second"]


def test_tokens_of_one_file_at_an_absolute_path(split: Path, tmp_path: Path) -> None:
    (split / "gateway.yaml").write_text(f"organisations: {{acme: {{}}}}\ntokens_from: {tmp_path}/tokens/b.yaml")
    assert names(config.load(split / "gateway.yaml")) == ["second"]


def test_a_token_file_may_hold_an_explicit_empty_list(split: Path) -> None:
    (split / "tokens" / "a").write_text("tokens: []")
    assert names(config.load(split / "gateway.yaml")) == ["own", "second"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", r"tokens/b\.yaml: is empty"),
        ("token: []", r"tokens/b\.yaml: token: unknown key, did you mean `tokens`\?"),
        ("organisations: {acme: {}}", r"tokens/b\.yaml: organisations: unknown key"),
        ("tokens: [{name: x, sha256: abc}]", r"tokens/b\.yaml: tokens\[0\]\.sha256: expected 64 hex digits"),
        (
            f"tokens: [{entry('x', 'd', 'acne')}]",
            r"tokens/b\.yaml: tokens\[0\]\.organisations\[0\]: no organisation `acne`",
        ),
        (
            f"tokens: [{entry('first', 'd')}]",
            r"tokens/b\.yaml: tokens\[0\]\.name: the same as in .*tokens/a: tokens\[0\]; ",
        ),
        (
            f"tokens: [{entry('x', 'a')}]",
            r"tokens/b\.yaml: tokens\[0\]\.sha256: the same as in .*gateway\.yaml: tokens\[0\]",
        ),
    ],
)
def test_a_fault_in_a_token_file_is_reported_with_the_files_name(split: Path, text: str, fault: str) -> None:
    (split / "tokens" / "b.yaml").write_text(text)
    with pytest.raises(ConfigError, match=fault):
        config.load(split / "gateway.yaml")


def test_a_folder_without_token_files_is_rejected(split: Path) -> None:
    (split / "tokens" / "a").unlink()
    (split / "tokens" / "b.yaml").unlink()
    with pytest.raises(ConfigError, match=r"tokens: contains no file; add one with `tokens: \[\]`"):
        config.load(split / "gateway.yaml")


@pytest.mark.parametrize(
    ("place", "fault"),
    [
        ("nowhere", r"nowhere: No such file or directory; `tokens_from`"),
        (r'"a\0b"', r"tokens_from"),
        (r'"\uD800"', r"line 1, column 17: found invalid Unicode character"),
        ("x" * 4000, r"File name too long; `tokens_from`"),
        ("''", r"tokens_from: expected the path of a file or a folder"),
        ("[a]", r"tokens_from: expected the path of a file or a folder"),
    ],
)
def test_a_place_without_token_files_is_rejected(split: Path, place: str, fault: str) -> None:
    (split / "gateway.yaml").write_text(f"tokens_from: {place}")
    with pytest.raises(ConfigError, match=fault):
        config.load(split / "gateway.yaml")
