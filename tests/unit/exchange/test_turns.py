"""Whose turn a request is, where many wait to be begun."""

import pytest

from extproc.config import Organisation, Settings, Token
from extproc.exchange.admission import turn_of
from extproc.exchange.events import RequestHeaders
from extproc.tenancy.api_keys import digest
from extproc.tenancy.directory import Directory

NOW = 1_800_000_000.0
DIRECTORY = Directory(
    Settings(
        organisations={"acme": Organisation(), "beta": Organisation()},
        tokens=(Token(name="one", sha256=digest("qc_one"), organisations=("acme", "beta")),),
    )
)
ADDRESS = {"x-envoy-external-address": "192.0.2.1"}


@pytest.mark.parametrize(
    ("headers", "turn"),
    [
        ({"authorization": "Bearer qc_one", "openai-organization": "acme"}, ("acme", "one")),
        ({"authorization": "Bearer qc_one", "openai-organization": "beta"}, ("beta", "one")),
        ({"authorization": "Bearer qc_one", "openai-organization": "invented"}, ("", "192.0.2.1")),
        ({"authorization": "Bearer qc_invented"}, ("", "192.0.2.1")),
        ({}, ("", "192.0.2.1")),
    ],
)
def test_strangers_share_a_turn_by_their_addresses(headers: dict[str, str], turn: tuple[str, str]) -> None:
    assert turn_of(DIRECTORY, RequestHeaders({**ADDRESS, **headers}), NOW) == turn


def test_an_envoy_that_names_no_address_is_served() -> None:
    assert turn_of(DIRECTORY, RequestHeaders({}), NOW) == ("", "")
