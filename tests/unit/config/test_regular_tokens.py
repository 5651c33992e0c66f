"""Token files in the usual form: read without YAML's parser, and never otherwise than by it."""

import datetime
import hashlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from extproc.config.document import ConfigError, read, read_yaml
from extproc.config.regular_tokens import read_regular_tokens
from extproc.config.token_entries import entry_lines

DIGEST = "ab" * 32
USUAL = f"""\
# Tokens of the platform team

tokens:
  # one
  - name: ci runner
    sha256: {DIGEST}
    organisations: [acme, 'research']
    models:
      allow: [anthropic.*, "*nova*"]
      deny: []
    scopes: [chat]
    expires: 2027-01-01T12:00:00+02:00

  - sha256: '{"1" * 64}'
    expires: 2027-01-01
    name: "1"
"""


def test_the_usual_form_is_read_without_yaml() -> None:
    document = read_regular_tokens(USUAL.encode())
    assert document == read_yaml(USUAL.encode()) == read(USUAL.encode())
    assert document is not None


def test_what_the_command_writes_is_of_the_usual_form() -> None:
    entry = {
        "name": "no",
        "sha256": hashlib.sha256(b"qc_a").hexdigest(),
        "organisations": ["acme", "on", "1"],
        "models": {"allow": ["anthropic.*", "*nova*"]},
        "scopes": ["chat", "models"],
        "features": ["tools"],
        "expires": datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC),
    }
    text = f"tokens:\n{entry_lines(entry)}{entry_lines({**entry, 'name': 'ci'})}"
    assert read_regular_tokens(text.encode()) == {"tokens": [entry, {**entry, "name": "ci"}]}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tokens: []\n",
        "tokens:\n",
        USUAL.rstrip("\n"),
        USUAL + "z: 1\n",
        USUAL.replace("ci runner", "no"),
        USUAL.replace("ci runner", "é"),
        USUAL.replace("ci runner", "ci  # the runner"),
        USUAL.replace(DIGEST, "1" * 64),
        USUAL.replace(DIGEST, "0b" + "1" * 62),
        USUAL.replace("2027-01-01\n", "2027-02-30\n"),
        USUAL.replace("    scopes: [chat]\n", "    scopes: [chat]\n    scopes: [chat]\n"),
        USUAL.replace("      deny: []\n", "      allow: []\n"),
        USUAL.replace("    scopes: [chat]\n", "   scopes: [chat]\n"),
        USUAL.replace('      allow: [anthropic.*, "*nova*"]\n      deny: []\n', ""),
        USUAL.replace("\n", "\r\n"),
        "---\n" + USUAL,
    ],
)
def test_anything_else_is_left_to_yaml(text: str) -> None:
    assert read_regular_tokens(text.encode()) is None


WORDS = [
    "a",
    "no",
    "Null",
    "1",
    "1e3",
    "-",
    "a b",
    "a: b",
    "a #b",
    "'x'",
    "''",
    "'it''s'",
    '"x"',
    '"\\n"',
    "*a",
    "&a b",
    "!x y",
    "a*",
]
WORDS += [
    "y",
    "~",
    "<<",
    "=",
    "0x1",
    "1.5",
    "2027-01-01",
    "[a]",
    "{a: 1}",
    "a,b",
    "a-",
    "| ",
    ">",
    "%a",
    "@a",
    "a:",
    "",
    "a.b-c_d",
]
DIGESTS = [
    DIGEST,
    f'"{DIGEST}"',
    f"'{DIGEST}'",
    "1" * 64,
    "0b" + "01" * 31,
    "0b" + "a1" * 31,
    "1e" + "5" * 62,
    "f" * 64,
    "ab",
]
TIMES = [
    "2027-01-01",
    "2027-01-01T00:00:00Z",
    "2027-01-01 00:00:00+00:00",
    "2027-01-01 00:00:00-08:30",
    "2027-13-01",
    "0000-01-01",
]
TIMES += [
    "2027-01-01T24:00:00Z",
    "2027-01-01T00:00:00",
    "2027-01-01T00:00:00+25:00",
    "2027-01-01T00:00:60Z",
    "null",
    "0001-01-01T00:00:00+14:00",
]
TIMES += ["2027-01-01T00:00:00-00:00", "2027-01-01 00:00:00.5Z", "2027-1-1"]

words = st.sampled_from(WORDS)
lists = st.lists(words, max_size=3).map(lambda items: f"[{', '.join(items)}]")
pairs = st.one_of(
    words.map("name: {}".format),
    st.sampled_from(DIGESTS).map("sha256: {}".format),
    st.sampled_from(TIMES).map("expires: {}".format),
    st.tuples(st.sampled_from(["organisations", "scopes", "allow", "deny"]), lists).map(": ".join),
    st.sampled_from(["models:", "models: {}", "other: 1", "# comment", "", "- x", "- name: a"]),
)
indents = st.sampled_from(["", "  ", "  ", "    ", "    ", "      ", "  - ", "  - ", "- ", "    - "])
lines = st.tuples(indents, pairs).map("".join)


@given(st.lists(lines, max_size=8), st.sampled_from(["\n", "\n", "\n", "\r\n", "\n\n"]))
@example(["  - name: a", "    expires: 2027-01-01T00:00:00-00:00"], "\n")
@example(["  - models:", "      allow: [a]", "  - name: b"], "\n")
@example(["- name: a", "  models:", "    allow: [a]"], "\n")
@example(["  - models:", "    name: b"], "\n")
@example(["    # comment", "    - name: a", "      sha256: " + DIGEST], "\n")
def test_it_is_read_as_yaml_reads_it_or_not_at_all(parts: list[str], end: str) -> None:
    text = ("tokens:" + end + end.join(parts) + end).encode()
    document = read_regular_tokens(text)
    if document is not None:
        assert document == read_yaml(text)


entries = st.lists(
    st.tuples(
        st.sampled_from(["  - name: a", "  - name: 'b'", "  - name: c d"]),
        st.lists(
            st.one_of(
                st.sampled_from(DIGESTS).map("    sha256: {}".format),
                st.sampled_from(TIMES).map("    expires: {}".format),
                lists.map("    organisations: {}".format),
                lists.map("    models:\n      allow: {}".format),
                st.sampled_from(["    scopes: [chat]", "  # comment", ""]),
            ),
            max_size=4,
        ),
    ),
    min_size=1,
    max_size=4,
)


@given(entries)
def test_almost_usual_files_too(entries: list[tuple[str, list[str]]]) -> None:
    text = "tokens:\n" + "".join("\n".join([first, *rest]) + "\n" for first, rest in entries)
    document = read_regular_tokens(text.encode())
    if document is None:
        return
    try:
        assert document == read_yaml(text.encode())
    except ConfigError:
        pytest.fail(f"YAML rejects this: {text}")
