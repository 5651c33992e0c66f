"""gateway.yaml as a document: the cost of reading it, and quotations in error messages."""

import gc
import sys
import time

import pytest

from extproc import config
from extproc.config import ConfigError, Token, document, parse
from tests.unit.test_config import WHOLE


def calls(text: bytes) -> int:
    """Count the function calls that reading `text` takes."""
    count = 0

    def call(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += 1

    sys.setprofile(call)
    try:
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
    assert many < 1000 * 1600  # Python's own parser takes ten times as many


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
        config._check_organisations(token, organisations, "tokens[0]")
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
