"""Reasoning and code fences that models write into their text, taken out of it."""

import pytest

from extproc.translate.response_text import Fence, InlineReasoning

BLANK = " " * 65


def divided(*pieces: str, tag: str = "thinking") -> tuple[str, str]:
    inline = InlineReasoning(tag)
    parts = [*map(inline.feed, pieces), inline.end()]
    return "".join(reasoning for reasoning, _ in parts), "".join(content for _, content in parts)


def unfenced(*pieces: str) -> str:
    fence = Fence()
    return "".join([*map(fence.feed, pieces), fence.end()])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<thinking> I know this. </thinking>\nHello!", (" I know this. ", "Hello!")),
        ("\n <thinking>a</thinking>b", ("a", "b")),
        ("<thinking>a</thinking>\n\n<thinking>b</thinking>\n\nc", ("ab", "c")),
        ("<thinking>a</thinking>\n", ("a", "")),
        ("<thinking></thinking>a", ("", "a")),
        ("<thinking>a <thinking> b</thinking>c", ("a <thinking> b", "c")),
        ("<thinking>cut off </thin", ("cut off </thin", "")),
        ("<thinking>", ("", "")),
        ("<thinking>a</thinking> <thinkin", ("a", "<thinkin")),
    ],
)
def test_reasoning_at_the_beginning_is_no_content(text: str, expected: tuple[str, str]) -> None:
    assert divided(text) == expected
    assert divided(*text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "Hello <thinking>a</thinking>",
        "```\n<thinking>a</thinking>\n```",
        "<thinking",
        "<Thinking>a</Thinking>",
        "<thinker>a</thinker>",
        "</thinking>a",
        BLANK + "<thinking>a</thinking>",
        BLANK,
    ],
)
def test_a_tag_anywhere_else_is_content(text: str) -> None:
    assert divided(text) == ("", text)
    assert divided(*text) == ("", text)


def test_tags_beyond_those_that_models_write_are_content() -> None:
    text = "<thinking>a</thinking> \n" * 18
    rest = text[-2 * len("<thinking>a</thinking> \n") :]
    assert divided(text) == ("a" * 16, rest)
    assert divided(*text) == ("a" * 16, rest)


def test_the_tag_is_the_familys() -> None:
    assert divided("<think>a</think>b", tag="think") == ("a", "b")
    assert divided("<thinking>a</thinking>b", tag="think") == ("", "<thinking>a</thinking>b")


def test_reasoning_is_streamed_but_for_what_may_be_the_end_of_it() -> None:
    inline = InlineReasoning("thinking")
    pieces = ["<thin", "king> I know", " this. </thi", "nking>\n", "Hello"]
    assert [inline.feed(piece) for piece in pieces] == [
        ("", ""),
        (" I know", ""),
        (" this. ", ""),
        ("", ""),
        ("", "Hello"),
    ]


JSON = '{"a": "```"}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"```json\n{JSON}\n```", JSON),
        (f"```\n{JSON}\n```\n", JSON),
        (f"\n ```JSON\r\n{JSON}\r\n```\r\n", JSON),
        (f"```json {JSON}```", JSON),
        (f"````json\n{JSON}\n````", JSON),
        (f"~~~\n{JSON}\n~~~", JSON),
        ("```json\n[1]\n```", "[1]"),
        ('```json\n{"cut": "off', '{"cut": "off'),
        (f"```json\n{JSON}\n```\nThis is it.", f"{JSON}\n```\nThis is it."),
        (f"```json\n{JSON}\n```{' ' * 9}", f"{JSON}\n```{' ' * 9}"),
    ],
)
def test_a_fence_around_json_is_taken_off(text: str, expected: str) -> None:
    assert unfenced(text) == expected
    assert unfenced(*text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        JSON,
        f"{JSON}\n```",
        f"Here it is:\n```json\n{JSON}\n```",
        "```",
        "```json",
        "```json\n",
        "```json\nno JSON\n```",
        "``{}``",
        '{"text": "```json\\n{}\\n```"}',
        f"{BLANK}```json\n{{}}\n```",
        f"```{'x' * 17}\n{{}}\n```",
        f"```json{BLANK}{{}}\n```",
    ],
)
def test_any_other_fence_stays(text: str) -> None:
    assert unfenced(text) == text
    assert unfenced(*text) == text


def test_json_without_a_fence_is_not_withheld() -> None:
    fence = Fence()
    assert (fence.feed("\n"), fence.feed('{"a'), fence.feed('"')) == ("", '\n{"a', '"')


def test_json_in_a_fence_is_streamed_but_for_its_last_characters() -> None:
    fence = Fence()
    assert fence.feed("```json\n" + "[" + "1," * 50) == "[" + "1," * 42
    assert fence.feed("1]\n```") + fence.end() == "1," * 8 + "1]"


def test_places_in_the_text_are_places_in_the_content() -> None:
    fence = Fence()
    assert fence.feed("```json\n[12]\n```") + fence.end() == "[12]"
    assert [fence.place(at) for at in (0, 7, 8, 9, 12, 16)] == [0, 0, 0, 1, 4, 4]
