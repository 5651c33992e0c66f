"""Files that the gateway writes, at the places of files that it reads."""

import contextlib
from pathlib import Path

import pytest

from extproc import config
from extproc.config import ConfigError

KEYS = {
    "last_used_in": "last_used_in: {}",
    "rate_limits.sqlite": "rate_limits: {{sqlite: {}}}",
    "budgets.sqlite": "budgets: {{sqlite: {}}}",
    "usage.ledger": "usage: {{ledger: {}}}",
}
READ = {
    "redis.password_file": "redis: {{url: 'rediss://redis.example', password_file: {}}}",
    "redis.ca_file": "redis: {{url: 'rediss://redis.example', ca_file: {}}}",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tokens" / "more").mkdir(parents=True)
    (tmp_path / "tokens" / "a.yaml").write_text("tokens: []")
    (tmp_path / "link").symlink_to("tokens")
    return tmp_path


def load(folder: Path, *lines: str) -> config.Settings:
    (folder / "gateway.yaml").write_text("\n".join(lines))
    return config.load(folder / "gateway.yaml")


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("name", ["tokens/state", "link/state", "tokens/more/../state", "{}/tokens/state"])
def test_no_file_is_written_among_the_token_files(folder: Path, key: str, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"gateway\.yaml: {key}: the file lies in the folder of `tokens_from`"):
        load(folder, "tokens_from: tokens", KEYS[key].format(name.format(folder)))


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    ("name", "reason"),
    [("gateway.yaml", "gateway.yaml itself"), ("tokens/a.yaml", "what `tokens_from` names"), ("link/a.yaml", "what `")],
)
def test_no_file_is_written_that_is_read(folder: Path, key: str, name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: this is {reason}.*; name another file"):
        load(folder, "tokens_from: tokens/a.yaml", KEYS[key].format(name))


def test_no_file_is_written_by_two(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"usage\.ledger: this is the file of `last_used_in` as well"):
        load(folder, "last_used_in: state", "usage: {ledger: ./state}")


@pytest.mark.parametrize("key", READ)
def test_no_file_is_written_that_holds_a_secret(folder: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"usage\.ledger: this is the file of `{key}` as well; name another file"):
        load(folder, READ[key].format("secret"), "usage: {ledger: ./secret}")
    with pytest.raises(ConfigError, match=rf"{key}: the file lies in the folder of `tokens_from`"):
        load(folder, "tokens_from: tokens", READ[key].format("link/secret"))
    with pytest.raises(ConfigError, match=rf"{key}: this is gateway\.yaml itself"):
        load(folder, READ[key].format("gateway.yaml"))
    with pytest.raises(ConfigError, match=rf"{key}: this is what `tokens_from` names"):
        load(folder, "tokens_from: tokens/a.yaml", READ[key].format("tokens/a.yaml"))


@pytest.mark.parametrize("key", ["rate_limits.sqlite", "budgets.sqlite"])
@pytest.mark.parametrize("beside", ["x-wal", "x-shm", "x-journal", ".x.lock"])
def test_no_file_is_one_that_is_written_beside_another(folder: Path, key: str, beside: str) -> None:
    message = rf"{key}: `{beside}`, which is written beside it, is the file of `usage\.ledger` as well"
    with pytest.raises(ConfigError, match=message):
        load(folder, KEYS[key].format("x"), KEYS["usage.ledger"].format(beside))


@pytest.mark.parametrize(
    ("key", "beside"), [("usage.sqlite", "x-wal"), ("usage.sqlite", ".x.reader"), ("last_used_in", ".x.new")]
)
def test_nor_beside_these(folder: Path, key: str, beside: str) -> None:
    usage = "usage: {ledger: ledger, sqlite: x}" if key == "usage.sqlite" else "last_used_in: x"
    with pytest.raises(ConfigError, match=f"{key}: `{beside}`, which is written beside it"):
        load(folder, usage, KEYS["budgets.sqlite"].format(beside))


@pytest.mark.parametrize("name", ["usage.jsonl.1", "usage.jsonl-20261130"])
def test_no_file_is_read_as_a_rotated_ledger(folder: Path, name: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"usage\.ledger: `{name}` is a name for it after a rotation, and the file of"
    ):
        load(folder, f"usage: {{ledger: usage.jsonl, sqlite: {name}}}")
    assert load(folder, "usage: {ledger: usage.jsonl, sqlite: usage.jsonl.sqlite}").usage.sqlite


def test_other_places_are_good(folder: Path) -> None:
    names = ("a", "tokens/more/b", "c", "tokens/.ledger")
    lines = [line.format(name) for line, name in zip(KEYS.values(), names, strict=True)]
    settings = load(folder, "tokens_from: tokens", *lines)
    assert settings.last_used_in == str(folder / "a")
    assert load(folder, *lines).last_used_in == str(folder / "a")


def test_a_path_with_half_a_character(folder: Path) -> None:
    with pytest.raises(ConfigError):
        load(folder, 'last_used_in: "a\\uD800"')


def test_links_in_a_circle_are_no_other_exception(folder: Path) -> None:
    """Python 3.13 resolves them as far as it can, older ones raise `RuntimeError`."""
    (folder / "circle").symlink_to("circle")
    with contextlib.suppress(ConfigError):
        load(folder, "last_used_in: circle/state")
