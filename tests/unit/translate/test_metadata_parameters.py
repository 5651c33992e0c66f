"""`metadata` and users: what of them AWS's invocation log has."""

from typing import Any

import pytest
from msgspec import UNSET

from extproc.translate.rules import Rules
from tests.unit.translate.parameter_plans import (
    parameters_of,
    rejection,
)


@pytest.mark.parametrize(
    ("fields", "sent", "ignored"),
    [
        ({"metadata": {}}, UNSET, ()),
        ({"metadata": {"team": "a b/c:d_e@f$g#h=i+j,k-l.m"}}, {"team": "a b/c:d_e@f$g#h=i+j,k-l.m"}, ()),
        ({"metadata": {"k" * 256: "v" * 256, "empty": ""}}, {"k" * 256: "v" * 256, "empty": ""}, ()),
        (
            {"user": "ann@example.com", "safety_identifier": "s-1"},
            {"user": "ann@example.com", "safety_identifier": "s-1"},
            (),
        ),
        ({"user": "", "safety_identifier": ""}, UNSET, ()),
        ({"user": "Zoë"}, UNSET, ("user",)),
        ({"user": "u" * 257}, UNSET, ("user",)),
        ({"user": "a\u00a0b"}, UNSET, ("user",)),
        ({"user": '{"id": 1}'}, UNSET, ("user",)),
        ({"user": "b", "metadata": {"user": "a"}}, {"user": "a"}, ("user",)),
        ({"user": "b", "metadata": {str(n): "" for n in range(16)}}, {str(n): "" for n in range(16)}, ("user",)),
    ],
)
def test_metadata_and_users_go_to_the_invocation_log(fields: Any, sent: Any, ignored: Any) -> None:
    result = parameters_of(**fields)
    assert (result.metadata, result.ignored) == (sent, ignored)


@pytest.mark.parametrize(
    ("key", "value", "path"),
    [
        ("user_id", '{"device_id":"704c"}', "metadata.user_id"),
        ("company", "Société", "metadata.company"),
        ("url", "https://example.com/?q=1", "metadata.url"),
        ("long", "v" * 257, "metadata.long"),
        ("", "a", "metadata.*"),
        ("k" * 257, "a", "metadata.*"),
        ("clé, and more", "a", "metadata.*"),
    ],
)
def test_a_pair_that_bedrock_does_not_take_is_left_out_and_named(key: str, value: str, path: str) -> None:
    alone = parameters_of(metadata={key: value})
    assert (alone.metadata, alone.ignored) == (UNSET, (path,))
    among = parameters_of(metadata={"team": "blue", key: value, "n": "1"}, user="ann")
    assert (among.metadata, among.ignored) == ({"team": "blue", "n": "1", "user": "ann"}, (path,))


def test_a_user_does_not_take_the_place_of_a_pair_that_is_left_out() -> None:
    result = parameters_of(metadata={"user": "Zoë"}, user="b")
    assert (result.metadata, result.ignored) == (UNSET, ("metadata.user", "user"))


OWN = Rules(metadata={"oai.organisation": "acme", "team": "search"})


@pytest.mark.parametrize(
    ("fields", "sent", "ignored"),
    [
        ({}, {}, ()),
        ({"metadata": {}}, {}, ()),
        ({"metadata": {"a": "b"}, "user": "ann"}, {"a": "b", "user": "ann"}, ()),
        ({"metadata": {str(n): "" for n in range(14)}, "user": "ann"}, {str(n): "" for n in range(14)}, ("user",)),
    ],
)
def test_the_gateways_pairs_stand_beside_the_clients(fields: Any, sent: Any, ignored: Any) -> None:
    result = parameters_of(rules=OWN, **fields)
    assert (result.metadata, result.ignored) == ({**OWN.metadata, **sent}, ignored)


def test_a_user_does_not_replace_the_organisations_own_pair() -> None:
    result = parameters_of(rules=Rules(metadata={"user": "search"}), user="ann")
    assert (result.metadata, result.ignored) == ({"user": "search"}, ("user",))


@pytest.mark.parametrize(
    ("metadata", "param", "words"),
    [
        ({"oai.organisation": "forged"}, "metadata", "that begin with 'oai.' are this gateway's"),
        ({" OAI.new": "x"}, "metadata", "that begin with 'oai.' are this gateway's"),
        ({"team": "other"}, "metadata.team", "'team' of 'metadata' is set by the operator"),
        ({str(n): "" for n in range(15)}, "metadata", "14 pairs at most: of Bedrock's 16, this gateway sets 2."),
    ],
)
def test_the_gateways_pairs_are_not_the_clients(metadata: Any, param: str, words: str) -> None:
    error = rejection(rules=OWN, metadata=metadata)
    assert (error.status, error.param, error.code) == (400, param, "invalid_value")
    assert words in error.message


def test_keys_like_the_gateways_are_rejected_where_it_sends_none() -> None:
    assert rejection(metadata={"oai.token": "forged"}).param == "metadata"
    assert parameters_of(metadata={"oai": "x", "my.oai.token": "y"}).ignored == ()


def test_more_metadata_than_openai_takes_are_rejected() -> None:
    error = rejection(metadata={str(n): "" for n in range(17)})
    assert (error.param, error.code) == ("metadata", "invalid_value")
