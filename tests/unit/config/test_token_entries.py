"""Changes of tokens in a text: every layout keeps the rest, or is an error."""

import datetime
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from extproc.config.document import ConfigError, read
from extproc.config.token_entries import EntryError, entry_lines, with_successor, with_token, without_token

ENTRY = {"name": "n", "sha256": "ab" * 32, "organisations": ["acme"]}

LAYOUTS = [
    "a: 1\ntokens:\n  - {name: x}\n\n# the end\n",
    "tokens:\n- name: x\n  organisations: [a] # here\n# below\na: 1\n",
    "tokens:\n    -   name: x\n        organisations:\n        - a\n\na: 1",
    "tokens: []  # none yet\na: 1\n",
    "tokens:   # none yet\na: 1\n",
    "tokens: [{name: x}, {name: y}, ]  # inline\n",
    "tokens: [\n  {name: x},  # first\n]\na: 1\n",
    "a: {tokens: [1]}",
    "a: 1\n# no tokens\n",
    'é: \N{GRINNING FACE}\r\ntokens:\r\n  - name: "\N{GRINNING FACE}"  # \N{GRINNING FACE}\r\nb: 2\r\n',
    "tokens:\n  - name: x\n    expires:\n  # comment\n",
]


@pytest.mark.parametrize("text", LAYOUTS)
def test_every_layout_gets_the_entry_and_keeps_the_rest(text: str) -> None:
    before, added = read(text.encode()), with_token(text, ENTRY)
    assert read(added.encode()) == {**before, "tokens": [*(before.get("tokens") or []), ENTRY]}  # type: ignore[misc]
    for comment in re.findall(r"#.*", text):
        assert added.count(comment) == 1
    assert text.splitlines()[0].split("#")[0].rstrip(" []") in added.splitlines()[0]


@pytest.mark.parametrize("text", ["{}", "tokens: &a\n  - name: x\nb: *a\n", "a: 1\n...\n"])
def test_a_layout_that_takes_no_entry_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match="without --append"):
        with_token(text, ENTRY)


@pytest.mark.parametrize("text", ["tokens: {a: 1}", "tokens: text", "tokens: 1"])
def test_tokens_that_are_no_list_are_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match="tokens: expected a list"):
        with_token(text, ENTRY)


END = datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)
CHANGES = {"name": "x-until-2027-01-01", "expires": END}
WITH_ENTRIES = [text for text in LAYOUTS if "name: " in text]


@pytest.mark.parametrize("text", WITH_ENTRIES)
def test_every_layout_gets_a_successor_and_keeps_the_rest(text: str) -> None:
    before, after = read(text.encode()), with_successor(text, 0, CHANGES, ENTRY)
    first, *others = before["tokens"]  # type: ignore[misc]
    assert read(after.encode()) == {**before, "tokens": [{**first, **CHANGES}, *others, ENTRY]}  # type: ignore[misc]
    for comment in re.findall(r"#.*", text):
        assert after.count(comment) == 1


@pytest.mark.parametrize("text", WITH_ENTRIES)
def test_every_layout_loses_its_first_token(text: str) -> None:
    before, after = read(text.encode()), without_token(text, 0)
    assert read(after.encode()) == {**before, "tokens": before["tokens"][1:]}  # type: ignore[index]


THREE = """\
# The tokens
tokens:  # by team
  - name: a  # a's
    sha256: "00"
  # b is for the nightly job
  - {name: b, sha256: "01"}
  - name: c
    models:
      allow:
        - x  # the last
# after

z: 1  # the end
"""


@pytest.mark.parametrize(
    ("index", "gone"),
    [
        (0, ["  - name: a  # a's", '    sha256: "00"']),
        (1, ['  - {name: b, sha256: "01"}']),
        (2, ["  - name: c", "    models:", "      allow:", "        - x  # the last"]),
    ],
)
def test_an_entry_goes_with_its_own_lines_only(index: int, gone: list[str]) -> None:
    after = without_token(THREE, index).splitlines()
    assert after == [line for line in THREE.splitlines() if line not in gone]


def test_the_last_entry_leaves_an_empty_list() -> None:
    text = "tokens:  # by team\n  - name: a\n# after\nz: 1\n"
    assert without_token(text, 0) == "tokens: []  # by team\n# after\nz: 1\n"
    assert without_token("tokens: [{name: a}]  # here\n", 0) == "tokens: []  # here\n"
    assert without_token("tokens: [{name: a}, ]", 0) == "tokens: []\n"


def test_a_successor_comes_last_and_the_old_entry_gets_its_end() -> None:
    after = with_successor(THREE, 2, {"name": "c-old", "expires": END}, ENTRY)
    assert after == THREE.replace("name: c\n", "name: c-old\n").replace(
        "# the last\n", "# the last\n    expires: 2027-01-01T00:00:00+00:00\n" + entry_lines(ENTRY)
    )


def test_an_end_that_is_there_is_replaced() -> None:
    text = "tokens:\n  - name: a\n    expires: 2026-01-01  # soon\n    sha256: x\n"
    after = with_successor(text, 0, {"expires": END}, ENTRY)
    assert after == text.replace("2026-01-01 ", "2027-01-01T00:00:00+00:00 ") + entry_lines(ENTRY)


@pytest.mark.parametrize(
    "text",
    [
        "tokens: &a\n  - name: x\nb: *a\n",
        "tokens:\n  - &a {name: x}\nb: *a\n",
        "a: &a {name: x}\ntokens: [*a]\n",
        "tokens:\n  - ? name\n    : x\n",
    ],
)
def test_a_layout_that_cannot_be_changed_is_an_error_and_never_another_document(text: str) -> None:
    before = read(text.encode())
    for change in (lambda: without_token(text, 0), lambda: with_successor(text, 0, CHANGES, ENTRY)):
        try:
            after = change()
        except EntryError:
            continue
        assert {**read(after.encode()), "tokens": 0} == {**before, "tokens": 0}


NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufeff\ufffe\uffff"), min_size=1)


@given(st.lists(NAMES, min_size=1, max_size=4, unique=True), st.booleans(), st.integers(0, 3))
def test_any_names_in_lists_as_pyyaml_writes_them(names: list[str], flow: bool, index: int) -> None:
    tokens = [{"name": name, "organisations": ["acme"]} for name in names]
    text = yaml.safe_dump({"a": 1, "tokens": tokens, "z": [1]}, default_flow_style=flow, allow_unicode=True, width=9999)
    index %= len(names)
    assert read(without_token(text, index).encode())["tokens"] == [*tokens[:index], *tokens[index + 1 :]]
    after = read(with_successor(text, index, CHANGES, {**ENTRY, "name": names[0] + "!"}).encode())
    assert [token["name"] for token in after["tokens"]][-1] == names[0] + "!"  # type: ignore[attr-defined]
