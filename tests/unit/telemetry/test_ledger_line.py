"""A line of the ledger -> a struct."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.envoy_config.ledger import _fields
from extproc.telemetry.ledger_line import BEGINNING, LineDecoder


class Line(msgspec.Struct):
    organisation: str
    tokens: int | None = 0


DECODER = LineDecoder(Line)


def decoded(number: str) -> int | None:
    return DECODER.decode(f'{{"organisation":"acme","tokens":{number}}}'.encode()).tokens


@pytest.mark.parametrize(
    ("number", "tokens"),
    [("1e+05", 100_000), ("1E5", 100_000), ("2.5e+06", 2_500_000), ("7.0", 7), ("-2e+01", -20), ("null", None)],
)
def test_a_whole_number_in_any_form_is_an_integer(number: str, tokens: int | None) -> None:
    assert decoded(number) == tokens
    assert not isinstance(decoded(number), float)


@given(st.integers(0, 2**53))
def test_the_shortest_form_of_a_double_is_its_integer(number: int) -> None:
    assert decoded(f"{float(number):.17g}") == number
    assert decoded(f"{number:e}") == round(float(f"{number:e}"))


@pytest.mark.parametrize(
    "text",
    [
        b'{"organisation":"acme","tokens":1.5}',
        b'{"organisation":"acme","tokens":1e+400}',
        b'{"organisation":"acme","tokens":NaN}',
        b'{"organisation":"acme","tokens":"1e+05"}',
        b'{"organisation":7,"tokens":1e+05}',
        b'{"tokens":1e+05}',
        b'{"organisation":"acme","tokens":1e+05',
        b"[" * 60_000,
        b'{"tokens":' + b"[" * 60_000,
        json.dumps({"organisation": "acme", "tokens": 1e5, "more": "\ud800"}).encode(),
    ],
)
def test_what_is_no_such_line_is_an_error(text: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        DECODER.decode(text)


WHOLE = BEGINNING + b'"x","organisation":"acme","tokens":7}'


@pytest.mark.parametrize("half", [WHOLE[:1], WHOLE[:-1], WHOLE[:9] + WHOLE[:30], b"\xff"])
def test_a_record_behind_half_of_one_is_found(half: bytes) -> None:
    assert DECODER.rest(half + WHOLE) == Line("acme", 7)


@pytest.mark.parametrize("text", [b"", b"{", WHOLE[:-1], b"x" + WHOLE[:-1], b"x" + BEGINNING + b"[" * 60_000])
def test_without_a_whole_record_there_is_no_rest(text: bytes) -> None:
    assert DECODER.rest(text) is None


@given(st.text())
def test_no_value_is_taken_for_a_record(value: str) -> None:
    model = value + WHOLE.decode()
    text = BEGINNING + json.dumps({"model": model}, ensure_ascii=False)[1:].encode("utf-8", "replace")
    assert DECODER.rest(text[: len(text) // 2] + b"\n") is None
    assert DECODER.rest(text) is None


def test_each_line_of_envoys_begins_so() -> None:
    """Envoy writes its keys in their order."""
    assert f'{{"{min(_fields())}":'.encode() == BEGINNING
