"""`token`: its output and its errors."""

import datetime
import hashlib
import re

import msgspec
import pytest
import yaml

from extproc import config
from extproc.tenancy.api_keys import digest
from tests.unit.cli.running import Cli, is_rejected


def test_a_new_token_fits_its_lines(cli: Cli) -> None:
    shown = cli("token", "new", "--name", "ci", "--organisation", "acme", "--organisation", "research").stdout
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
    shown = cli("token", "new", "--name", "ci", "--organisation", "acme", "--expires", lifetime).stdout
    entries = yaml.safe_load("\n".join(line for line in shown.splitlines() if line.startswith(("  -", "    "))))
    [token] = msgspec.convert(entries, list[config.Token])
    assert token.expires is not None
    assert token.expires.isoformat() == expected


def test_a_tokens_end_in_days(cli: Cli) -> None:
    before = datetime.datetime.now(datetime.UTC)
    shown = cli("token", "new", "--name", "ci", "--organisation", "acme", "--expires", "90d").stdout
    expires = datetime.datetime.fromisoformat(re.findall(r"expires: (.*)", shown)[0])
    assert datetime.timedelta(days=89) < expires - before < datetime.timedelta(days=91)


def test_an_end_that_is_past_is_a_warning(cli: Cli) -> None:
    arguments = ("token", "new", "--name", "ci", "--organisation", "acme", "--expires")
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
    ],
)
def test_options_that_make_no_token(cli: Cli, arguments: list[str], word: str) -> None:
    assert is_rejected(cli("token", "new", *arguments), word)


def test_the_hash_of_a_token(cli: Cli) -> None:
    shown = cli("token", "hash", stdin="qc_abc\n")
    assert shown.stdout == hashlib.sha256(b"qc_abc").hexdigest() + "\n"


@pytest.mark.parametrize("text", ["", "sk-abc", "qc_a qc_b", "\n"])
def test_a_text_that_is_no_token_is_rejected(cli: Cli, text: str) -> None:
    assert is_rejected(cli("token", "hash", stdin=text), "qc_")
