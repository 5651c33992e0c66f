"""`token`: its output, its errors, and the files that it changes."""

import datetime
import errno
import hashlib
import json
import re
from pathlib import Path

import msgspec
import pytest
import yaml

from extproc import config
from extproc.cli.parameters import UserError
from extproc.cli.token_files import TokenFiles
from extproc.tenancy.api_keys import digest
from tests.unit.cli.running import Cli, is_rejected


def test_a_new_token_fits_its_lines(cli: Cli) -> None:
    shown = cli("token", "create", "--name", "ci", "--organisation", "acme", "--organisation", "research").stdout
    token = re.search(r"qc_[A-Za-z0-9_-]{43}", shown)
    assert token
    [entry] = yaml.safe_load("\n".join(line for line in shown.splitlines() if line.startswith(("  -", "    "))))
    assert entry == {"name": "ci", "sha256": digest(token[0]), "organisations": ["acme", "research"]}


@pytest.mark.parametrize(
    ("lifetime", "expected"),
    [
        ("2027-01-01", "2027-01-01T00:00:00+00:00"),
        ("2027-01-01T12:00:00Z", "2027-01-01T12:00:00+00:00"),
        ("2027-01-01T12:00:00+02:00", "2027-01-01T10:00:00+00:00"),
    ],
)
def test_a_tokens_end(cli: Cli, lifetime: str, expected: str) -> None:
    shown = cli("token", "create", "--name", "ci", "--organisation", "acme", "--expires", lifetime).stdout
    entries = yaml.safe_load("\n".join(line for line in shown.splitlines() if line.startswith(("  -", "    "))))
    [token] = msgspec.convert(entries, list[config.Token])
    assert token.expires is not None
    assert token.expires.isoformat() == expected


def test_a_tokens_end_in_days(cli: Cli) -> None:
    before = datetime.datetime.now(datetime.UTC)
    shown = cli("token", "create", "--name", "ci", "--organisation", "acme", "--expires", "90d").stdout
    expires = datetime.datetime.fromisoformat(re.findall(r"expires: (.*)", shown)[0])
    assert datetime.timedelta(days=89) < expires - before < datetime.timedelta(days=91)


def test_an_end_that_is_past_is_a_warning(cli: Cli) -> None:
    arguments = ("token", "create", "--name", "ci", "--organisation", "acme", "--expires")
    assert "warning: --expires 2020-01-01 00:00 UTC is past" in cli(*arguments, "2020-01-01").stderr
    assert cli(*arguments, "1d").stderr == ""


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
        (["--name", "ci", "--organisation", "acme", "--expires", "9999-12-31T23:59:59-14:00"], "90d"),
    ],
)
def test_options_that_make_no_token(cli: Cli, arguments: list[str], word: str) -> None:
    assert is_rejected(cli("token", "create", *arguments), word)


def test_the_hash_of_a_token(cli: Cli) -> None:
    shown = cli("token", "hash", stdin="qc_abc\n")
    assert shown.stdout == hashlib.sha256(b"qc_abc").hexdigest() + "\n"


@pytest.mark.parametrize("text", ["", "sk-abc", "qc_a qc_b", "\n"])
def test_a_text_that_is_no_token_is_rejected(cli: Cli, text: str) -> None:
    assert is_rejected(cli("token", "hash", stdin=text), "qc_")


# Files

FILE = """\
# The gateway of the platform team
region: us-east-1
organisations:
  acme: {}
  research: {}
  closed: {enabled: false}
tokens:
  - name: ci  # the build machines
    sha256: "%s"
    organisations: [acme, research]
    models: {allow: ["anthropic.*"]}
    scopes: [chat, models]
    features: [tools, images]
  # nightly runs at three
  - name: nightly
    sha256: "%s"
    organisations: [acme]
    expires: 2020-01-01T00:00:00Z
  - {name: dark, sha256: "%s", organisations: [closed], scopes: [], features: []}
  - {name: alone, sha256: "%s"}
"""
for digit in "abcd":
    FILE = FILE.replace("%s", digit * 64, 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text(FILE)
    return path


def lines(text: str) -> list[str]:
    return text.splitlines()


def test_the_models_scopes_and_features_of_a_new_token(cli: Cli, path: Path) -> None:
    arguments = ("token", "create", "--name", "small", "--organisation", "acme", "--append", "gateway.yaml")
    shown = cli(*arguments, "--models", "anthropic.*,*nova*", "--scopes", "chat, embeddings", "--features", "tools,s3")
    token = config.load(path).tokens[-1]
    assert token.sha256 == digest(shown.stdout.strip())
    assert (token.models, token.scopes) == (config.Models(allow=("anthropic.*", "*nova*")), ("chat", "embeddings"))
    assert token.features == ("tools", "s3")
    assert lines(path.read_text())[: len(lines(FILE))] == lines(FILE)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--models", "a b"), "--models: expected a pattern of model ids"),
        (("--scopes", "chat,chats"), "--scopes: expected `chat`, `embeddings`, `models`, `responses` or `usage`"),
        (("--features", "tools,hammers"), "--features: expected `tools`, `web_search`, `images`"),
    ],
)
def test_models_scopes_and_features_that_do_not_exist(cli: Cli, options: tuple[str, ...], word: str) -> None:
    assert is_rejected(cli("token", "create", "--name", "x", "--organisation", "acme", *options), word)


def test_the_list_as_json(cli: Cli, path: Path) -> None:
    rows = {row.pop("name"): row for row in json.loads(cli("token", "list", "--json").stdout)}
    assert rows["ci"] == {
        "organisations": ["acme", "research"],
        "models": {"allow": ["anthropic.*"], "deny": []},
        "scopes": ["chat", "models"],
        "features": ["tools", "images"],
        "expires": None,
        "last_used": None,
        "state": "active",
        "sha256_prefix": "a" * 8,
    }
    assert [(name, row["state"]) for name, row in rows.items()] == [
        ("ci", "active"),
        ("nightly", "expired"),
        ("dark", "organisation disabled"),
        ("alone", "no organisation"),
    ]
    assert [rows[name]["features"] for name in ("nightly", "dark")] == [None, []]
    assert rows["nightly"]["expires"] == "2020-01-01T00:00:00+00:00"


def test_the_list_as_a_table_shows_no_whole_hash(cli: Cli, path: Path) -> None:
    shown = cli("token", "list", COLUMNS="200").stdout
    assert re.search(r"ci +acme, research +anthropic\.\* +chat, models +tools, images +never +active +aaaaaaaa…", shown)
    assert re.search(r"dark +closed +all +none +none +never +organisation disabled", shown)
    assert "a" * 9 not in shown


def test_the_list_has_when_each_token_was_used_last(cli: Cli, path: Path) -> None:
    path.write_text(f"last_used_in: state/used.json\n{FILE}")
    assert re.search(r"ci .* never +not yet +active", cli("token", "list", COLUMNS="200").stdout)
    state = path.parent / "state" / "used.json"
    state.parent.mkdir()
    state.write_text(json.dumps({"last_used": {"a" * 64: "2026-11-30T09:05Z"}}))
    shown = cli("token", "list", COLUMNS="200").stdout
    assert re.search(r"ci .* never +2026-11-30T09:05Z +active", shown)
    assert re.search(r"dark .* never +not yet +organisation disabled", shown)
    rows = json.loads(cli("token", "list", "--json").stdout)
    assert [row["last_used"] for row in rows] == ["2026-11-30T09:05Z", None, None, None]


def test_last_uses_that_cannot_be_read_are_a_warning(cli: Cli, path: Path) -> None:
    path.write_text(f"last_used_in: used\n{FILE}")
    path.with_name("used").write_text("something else")
    done = cli("token", "list", COLUMNS="200")
    assert (done.exit_code, done.stderr.count("\n")) == (0, 1)
    assert "warning: used: it is no file of last uses" in done.stderr
    assert re.search(r"ci .* never +not yet +active", done.stdout)


def test_a_revoked_token_is_gone_and_the_rest_stays(cli: Cli, path: Path) -> None:
    done = cli("token", "revoke", "ci")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "Removed the token 'ci' from gateway.yaml" in done.stderr
    assert lines(path.read_text()) == [*lines(FILE)[:7], *lines(FILE)[13:]]


@pytest.mark.parametrize("command", [("revoke",), ("rotate", "--overlap", "7d")])
def test_a_name_that_no_token_has(cli: Cli, path: Path, command: tuple[str, ...]) -> None:
    assert is_rejected(cli("token", *command, "nightl"), "no token 'nightl', did you mean `nightly`?", "token list")
    assert path.read_text() == FILE


def test_a_rotated_token_has_a_new_key_with_all_of_the_old(cli: Cli, path: Path) -> None:
    before, (old, *_) = datetime.datetime.now(datetime.UTC), config.load(path).tokens
    done = cli("token", "rotate", "ci", "--overlap", "7d", "--expires", "2999-01-01")
    ended, *_, new = config.load(path).tokens
    assert ended.expires is not None
    assert ended.name == f"ci-until-{ended.expires:%Y-%m-%d}"
    assert datetime.timedelta(days=6.99) < ended.expires - before < datetime.timedelta(days=7.01)
    assert msgspec.structs.replace(ended, name="ci", expires=None) == old
    end = datetime.datetime(2999, 1, 1, tzinfo=datetime.UTC)
    assert new == msgspec.structs.replace(old, sha256=digest(done.stdout.strip()), expires=end)
    assert [line for line in lines(FILE) if line not in lines(path.read_text())] == [
        "  - name: ci  # the build machines"
    ]


def test_a_revoked_token_whose_earlier_keys_go_on_is_reported(cli: Cli, path: Path) -> None:
    for overlap in ("12h", "0d", "7d"):
        assert cli("token", "rotate", "ci", "--overlap", overlap).exit_code == 0
    first, ended, last = [each.name for each in config.load(path).tokens if each.name.startswith("ci-until-")]
    done = cli("token", "revoke", "ci")
    warning = f"warning: its earlier keys work until their ends: '{first}', '{last}'; revoke them by these names"
    assert warning in done.stderr
    assert ended not in done.stderr.replace(first, "").replace(last, "")
    for name in (first, last):
        assert "warning" not in cli("token", "revoke", name).stderr


def test_the_list_in_a_pipe_has_whole_names(cli: Cli, path: Path) -> None:
    name = f"{'n' * 60}-until-2026-12-07"
    path.write_text(FILE.replace("name: nightly", f"name: {name}"))
    shown = cli("token", "list").stdout
    assert name in shown
    assert "aaaaaaaa…" in shown


def test_a_token_that_is_rotated_twice_on_a_day(cli: Cli, path: Path) -> None:
    for _ in range(2):
        assert cli("token", "rotate", "ci", "--overlap", "12h").exit_code == 0
    names = [token.name for token in config.load(path).tokens]
    assert len(set(names)) == 6
    assert names[-1] == "ci"


def test_an_old_key_never_lives_longer_by_a_rotation(cli: Cli, path: Path) -> None:
    assert is_rejected(cli("token", "rotate", "nightly", "--overlap", "7d"), "--expires")
    assert path.read_text() == FILE
    assert cli("token", "rotate", "nightly", "--overlap", "7d", "--expires", "1d").exit_code == 0
    _, old, *_, new = config.load(path).tokens
    assert old.expires == datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    assert new.name == "nightly"
    assert new.expires is not None


@pytest.mark.parametrize("overlap", ["7", "-1d", "1w", "", "99999d"])
def test_an_overlap_that_is_no_duration(cli: Cli, path: Path, overlap: str) -> None:
    assert is_rejected(cli("token", "rotate", "ci", "--overlap", overlap), "7d, 12h or 30m")


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """Return a folder of token files, of which the second has the last two tokens."""
    text, _, tokens = FILE.partition("tokens:\n")
    first, second = tokens.split("  - {name: dark")
    (tmp_path / "gateway.yaml").write_text(text + "tokens_from: secrets\n")
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "a.yaml").write_text("tokens:\n" + first)
    (folder / "b.yaml").write_text("tokens:\n  - {name: dark" + second)
    return folder


def test_the_file_that_has_the_token_is_the_one_that_is_changed(cli: Cli, split: Path) -> None:
    first = (split / "a.yaml").read_text()
    assert cli("token", "revoke", "dark").exit_code == 0
    assert cli("token", "rotate", "alone", "--overlap", "0d").exit_code == 0
    assert (split / "a.yaml").read_text() == first
    assert [token.name for token in config.load(split.parent / "gateway.yaml").tokens][-1] == "alone"
    assert "dark" not in (split / "b.yaml").read_text()


def test_a_new_token_goes_to_the_only_token_file(cli: Cli, split: Path) -> None:
    create = ("token", "create", "--organisation", "acme", "--append", "gateway.yaml", "--name")
    assert cli(*create, "one").exit_code == 0
    assert "one" in (split.parent / "gateway.yaml").read_text()  # of two token files, neither is the one
    assert cli("token", "revoke", "one").exit_code == 0
    (split / "b.yaml").unlink()
    gateway_yaml = split.parent / "gateway.yaml"
    gateway_yaml.write_text(before := gateway_yaml.read_text().replace("tokens: []\n", ""))
    assert cli(*create, "two").exit_code == 0
    assert gateway_yaml.read_text() == before
    assert "two" in (split / "a.yaml").read_text()


def test_a_file_that_has_changed_meanwhile_is_left_as_it_is(path: Path) -> None:
    files = TokenFiles.load(path)

    def change(text: str) -> str:
        path.write_text(FILE + "# more\n")
        return text + "# mine\n"

    with pytest.raises(UserError, match="has changed meanwhile"):
        files.change(str(path), change)
    assert path.read_text() == FILE + "# more\n"
    assert [each.name for each in path.parent.iterdir()] == ["gateway.yaml"]


def test_what_would_not_be_valid_is_not_written(path: Path) -> None:
    with pytest.raises(UserError, match="no organisation `acmee`"):
        TokenFiles.load(path).change(str(path), lambda text: text.replace("[acme]", "[acmee]"))
    assert path.read_text() == FILE


def test_a_folder_that_cannot_be_written_to(cli: Cli, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("tempfile.mkstemp", fail)
    assert is_rejected(cli("token", "revoke", "ci"), "gateway.yaml: is left as it is: Read-only file system")


def test_a_change_keeps_the_mode_and_leaves_nothing_behind(cli: Cli, path: Path) -> None:
    path.chmod(0o604)
    assert cli("token", "revoke", "ci").exit_code == 0
    assert path.stat().st_mode & 0o777 == 0o604
    assert [each.name for each in path.parent.iterdir()] == ["gateway.yaml"]


def test_the_former_name_of_create_remains(cli: Cli, path: Path) -> None:
    shown = cli("token", "new", "--name", "more", "--organisation", "acme", "--append", str(path))
    assert shown.exit_code == 0, shown.stderr
    assert [token.name for token in config.load(path).tokens][-1] == "more"
