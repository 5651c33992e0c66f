"""Names of members in JSON that comes in pieces."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.translate.renaming import Renamer, renamed, renamed_json

NAMES = {"a": "Account Number", "b": 'q"\\é', "c": "d", "d": "c"}

KEYS = st.sampled_from([*NAMES, "x", "", "Account Number", "\U0001f600", "\\", '"', "{", ","])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | KEYS | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=10,
)


def with_names(value: Any) -> Any:
    if isinstance(value, dict):
        return {NAMES.get(key, key): with_names(below) for key, below in value.items()}
    return [with_names(below) for below in value] if isinstance(value, list) else value


def in_pieces(text: str, cuts: list[int]) -> str:
    renamer, places = Renamer(NAMES), sorted({min(cut, len(text)) for cut in cuts})
    pieces = [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]
    return "".join(map(renamer.feed, pieces)) + renamer.end()


@given(VALUES, st.booleans(), st.sampled_from([None, 1]), st.lists(st.integers(0, 60), max_size=6))
def test_names_are_replaced_however_the_text_is_cut(value: Any, plain: bool, indent: Any, cuts: list[int]) -> None:
    text = json.dumps(value, ensure_ascii=plain, indent=indent)
    whole = renamed(text, NAMES)
    assert json.loads(whole) == json.loads(json.dumps(with_names(value)))
    assert in_pieces(text, cuts) == whole


@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_names_in_utf_8_are_replaced_as_those_in_characters(value: Any, plain: bool, indent: Any) -> None:
    text = json.dumps(value, ensure_ascii=plain, indent=indent)
    assert renamed_json(text.encode(), NAMES) == renamed(text, NAMES).encode()


@given(st.text(alphabet='{}[],:"\\ abu0', max_size=30), st.lists(st.integers(0, 30), max_size=4))
def test_any_text_is_the_same_however_it_is_cut(text: str, cuts: list[int]) -> None:
    assert in_pieces(text, cuts) == renamed(text, NAMES)


@given(st.text(alphabet='{}[],:"\\ xyz0', max_size=30))
def test_a_text_without_such_names_keeps_every_byte(text: str) -> None:
    assert renamed(text, NAMES) == text


def test_values_are_passed_on_at_once_and_names_when_they_are_complete() -> None:
    renamer = Renamer(NAMES)
    pieces = ['{"', "a", '": "', "a", "b\\", 'n", "x', '": ["a', '"]}']
    assert [renamer.feed(piece) for piece in pieces] == [
        "{", "", '"Account Number": "', "a", "b", '\\n", ', '"x": ["a', '"]}',
    ]  # fmt: skip


def test_a_name_that_is_longer_than_those_that_are_replaced_is_passed_on() -> None:
    renamer = Renamer({"ab": "c"})
    pieces = ['{"', "x" * 1_024, "y", "z" * 1_000, '":1,"', "\\u0061\\u0062", '":2}']
    assert [renamer.feed(piece) for piece in pieces] == [
        "{", "", '"' + "x" * 1_024 + "y", "z" * 1_000, '":1,', "", '"c":2}',
    ]  # fmt: skip


@pytest.mark.parametrize("text", ['{"a', '{"a\\', '{"a": "x', '{"a": 1, "b', '{"\\"\\"\\"', "", "{"])
def test_a_text_that_is_cut_off_loses_nothing(text: str) -> None:
    assert len(renamed(text, {})) == len(text)
    assert renamed(text, {"zz": "y"}) == text


def test_names_with_escapes_are_read() -> None:
    assert renamed('{"\\u0061":1,"\\ud800":2,"a\\u0020":3}', NAMES) == '{"Account Number":1,"\\ud800":2,"a\\u0020":3}'


def test_numbers_and_blanks_stay() -> None:
    assert renamed('{ "a" : 1.0 , "e":[1e2,{"a":0.10}] }', {"a": "b"}) == '{ "b" : 1.0 , "e":[1e2,{"b":0.10}] }'


@pytest.mark.parametrize("cut", [49_999 * 3, 50_001 * 3, 50_010 * 3])
def test_behind_more_strings_than_any_model_writes_nothing_is_replaced(cut: int) -> None:
    name = '{"a":1}'
    text = "[" + name + '"",' * 50_000 + name + "]"
    assert in_pieces(text, [cut]) == "[" + '{"Account Number":1}' + '"",' * 50_000 + name + "]"
    assert in_pieces(text.replace('"",', ""), [cut]) == "[" + '{"Account Number":1}' * 2 + "]"


def test_levels_beyond_any_schema_are_passed_on() -> None:
    text = '{"x":' * 2_000 + '{"a":1}' + "}" * 2_000
    assert renamed(text, NAMES) == text
    assert renamed("[" * 900 + '{"a":1}' + "]" * 900, {"a": "b"}) == "[" * 900 + '{"b":1}' + "]" * 900


@pytest.mark.parametrize("escape", ["\\\\", "\\n", "\\u0041"])
@pytest.mark.parametrize("form", ['{"x":"%s"}', '{"%s":1}'])
def test_a_text_of_escapes_takes_memory_for_itself_alone(form: str, escape: str) -> None:
    """A repeated group that `re` could enter again by another way takes 120 bytes for each time."""
    text = form % (escape * 100_000)
    tracemalloc.start()
    assert renamed(text, NAMES) == text
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * len(text) + 65_536


@pytest.mark.parametrize("value", ["x" * 200_000, "\U0001f600\u00e9x" * 50_000, "x" * 65_530 + "\U0001f600" * 9])
@pytest.mark.parametrize("form", ['{"a":"%s","b":[{"a":1}]}', '{"%s":1,"a":2}', '{"a":"%s'])
def test_a_text_in_utf_8_becomes_what_it_becomes_as_characters(form: str, value: str) -> None:
    text = form % value
    assert renamed_json(text.encode(), NAMES) == renamed(text, NAMES).encode()


def test_a_text_in_utf_8_takes_memory_for_its_bytes_also_with_characters_of_four() -> None:
    text = ('{"a":"' + "x" * 2_000_000 + '\U0001f600"}').encode()
    tracemalloc.start()
    assert len(renamed_json(text, NAMES)) > len(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * len(text)
