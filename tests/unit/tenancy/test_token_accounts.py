"""The name by which a token's rates and budgets are counted, before and after it gets a new key."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from extproc import config
from extproc.cli.token import token as commands
from extproc.config import Token
from extproc.tenancy.token_accounts import account_of

SHA256 = "0" * 64
GATEWAY = f"""
organisations: {{acme: {{}}, umbrella: {{}}}}
tokens:
  - {{name: ci, sha256: "{SHA256}", organisations: [umbrella, acme], budgets: [{{tokens: 10M, per: week}}]}}
  - {{name: other, sha256: "{SHA256[1:]}1", organisations: [umbrella, acme]}}
budgets: {{sqlite: spent.sqlite}}
"""


@pytest.mark.parametrize(
    ("name", "account"),
    [
        ("ci", "ci"),
        ("ci-until-2026-12-06", "ci"),
        ("ci-until-2026-12-06-2", "ci"),
        ("ci-until-2026-12-06-until-2026-12-07", "ci"),
        ("ci-until-then", "ci-until-then"),
        ("ci-until-2026-12-06 x", "ci-until-2026-12-06 x"),
        ("-until-2026-12-06", "-until-2026-12-06"),
    ],
)
def test_an_old_key_counts_as_its_successor(name: str, account: str) -> None:
    assert account_of(Token(name, SHA256, ("acme",)), "acme") == f"token acme {account}"


def test_a_token_counts_as_one_in_all_of_its_organisations() -> None:
    token = Token("ci", SHA256, ("acme", "umbrella"))
    assert account_of(token, "umbrella") == account_of(token, "acme") == "token acme ci"


def test_signed_tokens_of_two_organisations_share_nothing() -> None:
    assert account_of(Token("jwt:a-until-2026-12-06", ""), "acme") == "signed acme jwt:a-until-2026-12-06"


def test_a_key_that_is_rotated_has_no_second_account(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(GATEWAY)
    for _ in range(2):
        found = CliRunner().invoke(commands, ["rotate", "ci", "--overlap", "7d", "--config", str(path)])
        assert found.exit_code == 0, found.output
    tokens = config.load(path).tokens
    assert len({token.sha256 for token in tokens}) == 4
    assert sorted({account_of(token, "acme") for token in tokens}) == ["token umbrella ci", "token umbrella other"]
