"""The texts that models leave as arguments, as JSON objects."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from extproc.openai.limits import MAX_TOOL_CALLS
from extproc.translate.past_arguments import read_arguments


def inputs(text: str) -> list[Any]:
    return [json.loads(bytes(value)) for value in read_arguments(text).inputs]


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ('{"b": 1.0, "a": 1e2}', '{"b": 1.0, "a": 1e2}'),
        (' {"a":1}\n', '{"a":1}'),
        ("", "{}"),
        ("\n\t", "{}"),
    ],
)
def test_an_object_is_kept_byte_for_byte(text: str, sent: str) -> None:
    assert read_arguments(text) == ([msgspec.Raw(sent.encode())], True)


@pytest.mark.parametrize(
    ("text", "closed"),
    [
        ('{"path":"a.py","content":"def f():\\n  pri', '{"path":"a.py"}'),
        ('{"path":"a.py","content":"a\\', '{"path":"a.py"}'),
        ('{"path":"a.py","content":"\\ud83', '{"path":"a.py"}'),
        ('{"path":"a.py","content"', '{"path":"a.py"}'),
        ('{"path":"a.py","content":', '{"path":"a.py"}'),
        ('{"path":"a.py",', '{"path":"a.py"}'),
        ('{"path":"a.py"', '{"path":"a.py"}'),
        ('{"path" : "a.py" , "n" : 1', '{"path" : "a.py"}'),
        ('{"path":"a.py","n":1,"m":-', '{"path":"a.py","n":1}'),
        ('{"a":tru', None),
        ('{"a":true', '{"a":true}'),
        ('{"a":null,"b":nul', '{"a":null}'),
        ('{"edits":[{"old":"a","new":"b"},{"old":"c', '{"edits":[{"old":"a","new":"b"}]}'),
        ('{"edits":[{"old":"a","new":', '{"edits":[{"old":"a"}]}'),
        ('{"a":{},"b":{', '{"a":{}}'),
        ('{"a":[1,2,3', '{"a":[1,2]}'),
        ('{"a":[[],[', '{"a":[[]]}'),
        ('{"a":1,"a":2,"b', '{"a":1,"a":2}'),
        ('{"a":"x,\\\\","b":"{,\\"[","c":1,"d":"y,', '{"a":"x,\\\\","b":"{,\\"[","c":1}'),
        ('{"a":[[[[[[1]]]]],[2', '{"a":[[[[[[1]]]]]]}'),
        ('{"a":{"b":1,"c":{"d":[1,{"e":2},3', '{"a":{"b":1,"c":{"d":[1,{"e":2}]}}}'),
    ],
)
def test_a_cut_object_is_closed_after_its_last_whole_member(text: str, closed: str | None) -> None:
    expected = closed if closed is not None else json.dumps({"input": text}, separators=(",", ":"))
    assert read_arguments(text) == ([msgspec.Raw(expected.encode())], False)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None),
        ("[]", []),
        ('["a", 1]', ["a", 1]),
        ("12", 12),
        ('"Paris"', "Paris"),
        ("Paris", "Paris"),
        ('{"a":', '{"a":'),
        ("{", "{"),
        ('{"text": "He said "hi" to me", "to": "me"}', '{"text": "He said "hi" to me", "to": "me"}'),
        ('{"a":1,}', '{"a":1,}'),
        ('{"a":1 "b":', '{"a":1 "b":'),
        ('{,"a":', '{,"a":'),
        ('{"a":1,"b":[ ,', '{"a":1,"b":[ ,'),
        ('{"a":1,,"b":2', '{"a":1,,"b":2'),
        ('{"a":[{],"b":1,"c', '{"a":[{],"b":1,"c'),
        ('{"a":x},"b":1,"c', '{"a":x},"b":1,"c'),
        ('{\\"a":"b,c","d":1,"e', '{\\"a":"b,c","d":1,"e'),
        ('{"a":1]', '{"a":1]'),
        ('{"a":1,"b":"line\nbreak', '{"a":1,"b":"line\nbreak'),
        ('{"a":1,"b":"\\x', '{"a":1,"b":"\\x'),
        ("{a:1}", "{a:1}"),
        ('{"a":1}x', '{"a":1}x'),
        ("{}[]", "{}[]"),
        ("{},{}", "{},{}"),
        ("[" * 5000, "[" * 5000),
        ('{"a":1,"b":' + "[" * 5000, '{"a":1,"b":' + "[" * 5000),
        ('{"a":' * 5000 + "1" + "}" * 5000, '{"a":' * 5000 + "1" + "}" * 5000),
    ],
)
def test_anything_else_is_the_member_input(text: str, value: Any) -> None:
    arguments = read_arguments(text)
    assert ([json.loads(bytes(one)) for one in arguments.inputs], arguments.exact) == ([{"input": value}], False)


def test_several_objects_are_several_inputs() -> None:
    assert read_arguments('{"x": 1.0} {"x": 2}{}').exact
    assert inputs('{"x": 1.0} {"x": 2}{}') == [{"x": 1.0}, {"x": 2}, {}]


def test_the_last_of_several_may_be_cut() -> None:
    assert not read_arguments('{"x":1}{"x":2,"y').exact
    assert inputs('{"x":1}{"x":2,"y') == [{"x": 1}, {"x": 2}]
    assert inputs('{"x":1}{"y') == [{"input": '{"x":1}{"y'}]


def test_no_more_objects_are_read_than_a_request_may_have() -> None:
    assert len(inputs("{}" * 2 * MAX_TOOL_CALLS)) == MAX_TOOL_CALLS + 1


leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
objects = st.dictionaries(
    st.text(),
    st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8),
    max_size=4,
)


def is_part(part: Any, whole: Any) -> bool:
    """Return whether `part` is `whole` without some of its last members, at any depth."""
    if isinstance(part, dict) and isinstance(whole, dict):
        members = list(whole.items())[: len(part)]
        return list(part) == [key for key, _ in members] and all(is_part(part[key], value) for key, value in members)
    if isinstance(part, list) and isinstance(whole, list):
        return len(part) <= len(whole) and all(map(is_part, part, whole))
    return bool(part == whole)


@given(objects, st.booleans(), st.data())
@example({"a": "é\U0001f600", "b": [{"c": 1}, {"d": "\\"}]}, True, None)
def test_what_is_kept_of_a_cut_object_is_a_part_of_it(value: Any, ascii_only: bool, data: st.DataObject | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    ends = range(1, len(text)) if data is None else [data.draw(st.integers(1, len(text) - 1))]
    for end in ends:
        [kept] = inputs(text[:end])
        assert kept == {"input": text[:end].strip()} or is_part(kept, value)


@given(st.text() | st.text(st.sampled_from('{}[]:,"\\ 01eu-tn.a\n')))
def test_any_text_becomes_objects(text: str) -> None:
    arguments = read_arguments(text)
    assert arguments.inputs
    assert all(isinstance(json.loads(bytes(value)), dict) for value in arguments.inputs)
