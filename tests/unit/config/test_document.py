"""gateway.yaml as a document: the cost of reading it, and quotations in error messages."""

import contextlib
import gc
import sys
import time
import tracemalloc
from collections.abc import Callable

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from extproc import config
from extproc.config import ConfigError, Token, document, parse, tokens
from tests.unit.test_config import WHOLE


def calls(text: bytes) -> int:
    """Count the function calls that reading `text` takes, whether it can be used or not."""
    count = 0

    def call(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += 1

    sys.setprofile(call)
    try:
        with contextlib.suppress(ConfigError):
            parse(text)
    finally:
        sys.setprofile(None)
    return count


def with_tokens(count: int) -> bytes:
    tokens = (f"- {{name: t{index}, sha256: '{index:064x}', organisations: [acme]}}" for index in range(count))
    return "\n".join(["organisations: {acme: {}}", "tokens:", *tokens]).encode()


def test_many_tokens_take_time_in_proportion() -> None:
    few, many = calls(with_tokens(100)), calls(with_tokens(1600))
    assert many < 17 * few
    assert many < 250 * 1600  # with a node of each value it is 700, with Python's own parser 10,000


def test_many_tokens_take_memory_in_proportion_and_little_of_it() -> None:
    def peak(count: int) -> int:
        text = with_tokens(count)
        tracemalloc.start()
        try:
            parse(text)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    parse(with_tokens(1))  # what is made once
    few, many = peak(100), peak(1600)
    assert many < 18 * few  # dictionaries grow in steps
    assert many < 2500 * 1600  # with a node of each value it is 7,000


@pytest.mark.parametrize("last", ["- {name: a, name: b}", "- [", "- {name: a, sha256: x}"])
def test_a_fault_behind_many_tokens_takes_no_longer(last: str) -> None:
    few, many = (calls(with_tokens(count) + f"\n{last}".encode()) for count in (100, 1600))
    assert many < 17 * few
    assert many < 250 * 1600


VALUES = st.recursive(
    st.sampled_from(["a", "1", "0x1", "1.5", "yes", "null", "~", "''", '"a\\tb"', "2027-01-01", "2027-01-01T00:00:00Z"])
    | st.sampled_from(["|\n  text\n", "!!str 1", "&x a", "*x", "=", "<<", "'<<'", "2027-13-01", "", "1:30", "\u2028"]),
    lambda inner: (
        st.builds(lambda each: f"[{', '.join(each)}]", st.lists(inner, max_size=3))
        | st.builds(
            lambda each: "{" + ", ".join(f"{key}: {value}" for key, value in each) + "}",
            st.lists(st.tuples(inner, inner), max_size=3),
        )
    ),
    max_leaves=12,
)


@given(st.lists(st.tuples(VALUES, VALUES), max_size=4), st.sampled_from(["", "---\n", "--- a\n", "# c\n"]))
def test_a_document_is_what_it_is_by_its_nodes(pairs: list[tuple[str, str]], before: str) -> None:
    """PyYAML's own composer and constructor, which uncommon documents have, are the oracle."""
    text = (before + "".join(f"{key}: {value}\n" for key, value in pairs)).encode()
    outcomes = [outcome(document._constructed, text), outcome(document._construct, text)]
    assert outcomes[0] == outcomes[1]


def outcome(construct: Callable[[bytes], object], text: bytes) -> str:
    """Return the document; of several faults, either way may report another one."""
    try:
        return repr(construct(text))
    except (yaml.YAMLError, ConfigError, *document._CONSTRUCTOR_BUGS):
        return "rejected"


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_as_it_was(enabled: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        parse(WHOLE)
        with pytest.raises(ConfigError):
            parse(b"[")
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_reading_makes_no_round_of_the_collector() -> None:
    """A round over all the nodes would hold the event loop; the few on the way there are not to be seen."""
    text, rounds = with_tokens(3000), []

    def round_of(phase: str, info: dict[str, int]) -> None:
        rounds.append(info["generation"])

    gc.callbacks.append(round_of)
    try:
        document.read(text)
    finally:
        gc.callbacks.remove(round_of)
    assert len(rounds) <= 2


def test_many_organisations_of_a_token_take_time_in_proportion() -> None:
    def seconds(count: int) -> float:
        names = [f"o{index}" for index in range(count)]
        token = Token(name="a", sha256="0" * 64, organisations=tuple(names))
        organisations = dict.fromkeys(names, config.Organisation())
        start = time.process_time()
        tokens.check_organisations(token, organisations, 0)
        return time.process_time() - start

    assert seconds(16_000) < 64 * min(seconds(1000) for _ in range(5))  # with the square it is 256


MULTIPLIED = {
    "merge keys": lambda above: "{<<: [" + ", ".join([f"*{above}"] * 20) + "]}",
    "lists": lambda above: "[" + ", ".join([f"*{above}"] * 20) + "]",
    "mappings": lambda above: "{" + ", ".join(f"k{index}: *{above}" for index in range(20)) + "}",
}


@pytest.mark.parametrize("kind", MULTIPLIED)
def test_aliases_that_multiply_are_rejected(kind: str) -> None:
    """ "Billion laughs": few lines that expand to more than any memory holds."""
    lines = ["a0: &a0 {k: v}", *(f"a{n}: &a{n} {MULTIPLIED[kind](f'a{n - 1}')}" for n in range(1, 9))]
    with pytest.raises(ConfigError, match="aliases and merge keys add more than 1000000 values"):
        parse("\n".join(lines).encode())


def test_a_long_list_with_many_aliases_is_rejected() -> None:
    names = [f"o{index}" for index in range(5000)]
    lines = ["organisations: {" + ", ".join(f"{name}: {{}}" for name in names) + "}", "tokens:"]
    lines += [f"- {{name: a, sha256: {'a' * 64}, organisations: &all [{', '.join(names)}]}}"]
    lines += [f"- {{name: t{index}, sha256: '{index:064x}', organisations: *all}}" for index in range(1, 300)]
    with pytest.raises(ConfigError, match="aliases and merge keys add more than"):
        parse("\n".join(lines).encode())


def test_many_tokens_may_share_an_anchor() -> None:
    lines = ["organisations: {acme: {}}", "tokens:", f"- &t {{name: a, sha256: {'a' * 64}, organisations: &o [acme]}}"]
    lines += [f"- {{<<: *t, name: t{index}, sha256: '{index:064x}', organisations: *o}}" for index in range(1, 2000)]
    assert len(parse("\n".join(lines).encode()).tokens) == 2000


@pytest.mark.parametrize(
    "text",
    [
        r'"a\e[31m\nb": 1',
        '"a\\e[31m\\nb": 1\n"a\\e[31m\\nb": 2',
        r'organisations: {"a\e[31m\nb": {}}',
        r'organisations: {acme: {"a\e[31m\nb": {}}}',
        "organisations: !<%1b%5b31m> {}",
        r'capabilities: [{family: "a\e[31m\nb", like: "c\e[31m\n"}]',
        r'media: {deny: ["\e[31m/\u202e8"]}',
    ],
)
def test_a_quotation_in_a_message_has_no_control_characters(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text.encode(), "gate\x1bway.yaml")
    assert str(caught.value).isprintable()
