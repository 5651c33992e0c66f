"""Values of request metadata."""

import quopri
import re
import tracemalloc

import botocore.session
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.bedrock.request_metadata import LONGEST, PAIRS, fitted, is_own

SHAPE = botocore.session.get_session().get_service_model("bedrock-runtime").shape_for("RequestMetadata")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("ci", "ci"),
        ("a b/c:d_e@f$g#h+i,j-k.l", "a b/c:d_e@f$g#h+i,j-k.l"),
        ("Zoë", "Zo=C3=AB"),
        ("a=b", "a=3Db"),
        ("{x}", "=7Bx=7D"),
        ("x" * 256, "x" * 256),
        ("x" * 300, "x" * 256),
        ("x" * 254 + "ë", "x" * 254),
        ("x" * 253 + "ë", "x" * 253 + "=C3"),
    ],
)
def test_a_value_for_a_text(text: str, value: str) -> None:
    assert fitted(text) == value


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=128))
def test_aws_takes_every_value_and_it_can_be_read(text: str) -> None:
    value = fitted(text)
    assert re.fullmatch(SHAPE.value.metadata["pattern"], value)
    if len(value) < LONGEST - 3:
        assert quopri.decodestring(value.encode()).decode() == text


def test_the_limits_are_those_of_the_service_model() -> None:
    assert SHAPE.metadata["max"] == PAIRS
    assert (SHAPE.key.metadata["max"], SHAPE.value.metadata["max"]) == (LONGEST, LONGEST)


@pytest.mark.parametrize(("key", "own"), [("oai.x", True), (" \u2003 Oai.x", True), ("oai", False), ("a.oai.x", False)])
def test_keys_of_the_gateway(key: str, own: bool) -> None:
    assert is_own(key) == own


def test_a_long_key_is_not_copied_to_see_how_it_begins() -> None:
    key = "\U0001f600" * 200_000
    tracemalloc.start()
    assert not is_own(key)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 65_536
