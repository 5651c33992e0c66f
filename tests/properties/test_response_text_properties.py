"""Reasoning and fences in a text that is cut anywhere, against what regular expressions make of the whole text."""

import re

from hypothesis import given
from hypothesis import strategies as st

from extproc.translate.response_text import Fence, InlineReasoning

PARTS = [
    *("<thinking>", "</thinking>", "<thin", "king>", "</thi", "nking>", "<", ">", "/"),
    *("```", "`", "~~~", "````", "json", "\n", "\r\n", " ", "{", "}", "[", "x", " " * 63, "\t"),
]
texts = st.lists(st.sampled_from(PARTS), max_size=12).map("".join)
cuts = st.lists(st.integers(0, 80), max_size=8)

REASONING = re.compile(r"\s{0,64}<thinking>(.*?)(?:</thinking>|\Z)", re.DOTALL)
MORE_REASONING = re.compile(r"\s*<thinking>(.*?)(?:</thinking>|\Z)", re.DOTALL)
FENCED = re.compile(r"\s{0,64}(`{3,6}|~{3,6})[\w+-]{0,16}\s{0,64}([\[{].*)", re.DOTALL)


def cut(text: str, places: list[int]) -> list[str]:
    ends = sorted({min(place, len(text)) for place in places} | {len(text)})
    return [text[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def divided(pieces: list[str]) -> tuple[str, str]:
    inline = InlineReasoning("thinking")
    parts = [*map(inline.feed, pieces), inline.end()]
    return "".join(reasoning for reasoning, _ in parts), "".join(content for _, content in parts)


def unfenced(pieces: list[str]) -> str:
    fence = Fence()
    return "".join([*map(fence.feed, pieces), fence.end()])


def divided_at_once(text: str) -> tuple[str, str]:
    thoughts, pattern, at = [], REASONING, 0
    while (found := pattern.match(text, at)) is not None:
        thoughts.append(found[1])
        pattern, at = MORE_REASONING, found.end()
    return "".join(thoughts), text[at:].lstrip() if thoughts or at else text


def unfenced_at_once(text: str) -> str:
    found = FENCED.match(text)
    if found is None:
        return text
    closing = re.compile(rf"(?:\r?\n|\r)?{found[1]}\s{{0,8}}\Z")
    body = found[2]
    places = [place for place in range(max(0, len(body) - 20), len(body)) if closing.match(body, place)]
    return body[: places[0]] if places else body


@given(texts, cuts)
def test_a_text_cut_anywhere_has_the_same_reasoning_and_content(text: str, places: list[int]) -> None:
    expected = divided_at_once(text)
    assert divided([text]) == expected
    assert divided(cut(text, places)) == expected
    assert divided(list(text)) == expected


@given(texts, cuts)
def test_a_text_cut_anywhere_loses_the_same_fence(text: str, places: list[int]) -> None:
    expected = unfenced_at_once(text)
    assert unfenced([text]) == expected
    assert unfenced(cut(text, places)) == expected
    assert unfenced(list(text)) == expected
