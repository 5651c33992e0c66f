"""Tokens: made, digested, read from a header, shown."""

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.tenancy.api_keys import MAX_LENGTH, digest, masked, new_token, parse_bearer


def test_a_new_token_is_qc_and_43_url_safe_characters() -> None:
    assert re.fullmatch(r"qc_[A-Za-z0-9_-]{43}", new_token())
    assert len({new_token() for _ in range(100)}) == 100


def test_the_digest_is_of_the_whole_token() -> None:
    assert digest("qc_abc") == hashlib.sha256(b"qc_abc").hexdigest()


@pytest.mark.parametrize("header", ["Bearer qc_x", "bearer qc_x", "BEARER   qc_x", " Bearer qc_x \t"])
def test_bearer(header: str) -> None:
    assert parse_bearer(header) == "qc_x"


def test_tokens_of_other_lengths_pass() -> None:
    assert parse_bearer("Bearer qc_" + "x" * (MAX_LENGTH - 3)) == "qc_" + "x" * (MAX_LENGTH - 3)
    assert parse_bearer("Bearer qc_a.b~c/d=") == "qc_a.b~c/d="


@pytest.mark.parametrize(
    "header",
    [
        "",
        "qc_x",
        "Basic qc_x",
        "Bearer",
        "Bearer ",
        "Bearer qc_",
        "Bearer sk-proj-abc",
        "Bearer QC_x",
        "Bearer qc_x y",
        "Bearer qc_x, Bearer qc_y",
        "Bearer\tqc_x",
        "Bearer qc_ü",
        "Bearer qc_x\x00",
        "Bearer qc_x\x7f",
        "Bearer qc_" + "x" * (MAX_LENGTH - 2),
    ],
)
def test_anything_else_is_no_token(header: str) -> None:
    assert parse_bearer(header) is None


@given(st.text())
def test_any_header_yields_a_token_or_none(header: str) -> None:
    token = parse_bearer(header)
    if token is not None:
        assert token.startswith("qc_")
        assert token.isascii()
        assert token.isprintable()
        assert " " not in token
        assert len(token) <= MAX_LENGTH


def test_every_new_token_can_be_sent() -> None:
    token = new_token()
    assert parse_bearer(f"Bearer {token}") == token


def test_masked_shows_four_characters_of_a_long_token_and_none_of_a_short_one() -> None:
    token = new_token()
    assert masked(token) == f"qc_…{token[-4:]}"
    assert masked("qc_hunter2") == "qc_…"
