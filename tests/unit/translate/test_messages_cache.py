"""Marks for the prompt cache in messages, by the model's capabilities; test_cache.py has lifetimes and tools."""

import json
from typing import Any

import msgspec
import pytest

from extproc.bedrock.converse import CachePointBlock, CachePointContent, ToolConfig
from extproc.translate.tools import Tools
from tests.unit.translate.message_parts import (
    DOCUMENT,
    PICTURE,
    SENT_DOCUMENT,
    SENT_PICTURE,
    TOOL,
    assistant,
    call,
    operators,
    read,
    result,
    result_block,
    system,
    takes,
    text,
    texts_of,
    translate,
    turn,
    turns,
    user,
)


def mark(ttl: str | None = None) -> dict[str, Any]:
    return {"cache_control": {"type": "ephemeral", **({"ttl": ttl} if ttl else {})}}


def point(ttl: str | None = None) -> dict[str, Any]:
    return {"cachePoint": {"type": "default", **({"ttl": ttl} if ttl else {})}}


CACHES = takes(
    cache=("system", "messages", "tools"),
    cache_ttls=("5m", "1h"),
    documents=("pdf",),
    beside_tool_results=("text", "image", "document"),
)


def test_a_mark_becomes_a_cache_point_behind_its_content() -> None:
    parts = [{**text("a"), **mark()}, text("b"), {**PICTURE, **mark("5m")}]
    outcome = translate(
        {**system("s"), **mark("1h")},
        user(parts),
        {**assistant("c"), **mark()},
        {**user("d"), **mark()},
        to=takes(cache=("system", "messages"), cache_ttls=("5m", "1h"), cache_points=9),
    )
    assert outcome == (
        [*texts_of("s"), point("1h")],
        [
            turn("user", "a", point(), "b", SENT_PICTURE, point("5m")),
            turn("assistant", "c", point()),
            turn("user", "d", point()),
        ],
    )


def test_openais_own_mark_is_one_too() -> None:
    def marked(**fields: Any) -> dict[str, Any]:
        return user([{**text("a"), "prompt_cache_breakpoint": {"mode": "explicit", **fields}}])

    assert turns(marked(), to=CACHES) == [turn("user", "a", point(ttl="1h"))]
    assert turns(marked(ttl="30m"), to=CACHES) == [turn("user", "a", point("1h"))]
    assert read(marked(ttl="30m"), to=CACHES).ignored == ()
    assert read(marked(ttl="12h"), to=CACHES).ignored == ("messages[].content[].prompt_cache_breakpoint.ttl",)
    assert read(marked()).ignored == ("messages[].content[].prompt_cache_breakpoint",)


@pytest.mark.parametrize(
    ("ttl", "ignored"),
    [(None, ()), ("5m", ()), ("1h", ("messages[].cache_control.ttl",))],
    ids=["none", "short", "long"],
)
def test_a_model_without_ttls_gets_none(ttl: str | None, ignored: tuple[str, ...]) -> None:
    outcome = read({**user("a"), **mark(ttl)}, to=takes(cache=("messages",)))
    assert json.loads(msgspec.json.encode(outcome.turns)) == [turn("user", "a", point())]
    assert outcome.ignored == ignored


def test_a_mark_on_nothing_is_no_point() -> None:
    outcome = translate(
        system([{**text(" "), **mark()}, text("s")]),
        user([{**text(""), **mark()}, text("a"), {**text(" "), **mark()}]),
        {**assistant(None), **mark()},
        to=CACHES,
    )
    assert outcome == (texts_of("s"), [turn("user", "a", point())])


def test_two_marks_in_one_place_are_one_point() -> None:
    assert turns({**user([{**text("a"), **mark()}]), **mark()}, to=CACHES) == [turn("user", "a", point())]


def test_a_cache_point_never_follows_a_document_directly() -> None:
    assert turns(user([text("a"), {**DOCUMENT, **mark()}, text("b")]), to=CACHES) == [
        turn("user", "a", SENT_DOCUMENT, ".", point(), "b")
    ]


def test_a_mark_on_a_result_is_a_point_behind_all_results_of_the_turn() -> None:
    for marked in ({**result("c1"), **mark()}, result("c1", [{**text("done"), **mark()}])):
        calling = assistant(None, call("c1"), call("c2"))
        outcome = turns(user("a"), calling, marked, system("s"), result("c2"), user("b"), to=CACHES)
        assert outcome[2] == turn("user", result_block("c1"), result_block("c2"), point(), operators("s"), "b")
    calling = assistant(None, function_call={"name": "f"})
    outcome = turns(user("a"), calling, {"role": "function", "name": "f", "content": "x", **mark()}, to=CACHES)
    assert outcome[2]["content"][1:] == [point()]


def test_of_too_many_points_the_oldest_go() -> None:
    messages = (system("s"), user("a"), assistant("b"), user("c"), user("d"), user("e"))
    outcome = read(*({**message, **mark()} for message in messages), to=CACHES)
    assert (json.loads(msgspec.json.encode(outcome.system)), outcome.ignored) == (
        texts_of("s"),
        ("messages[].cache_control",),
    )
    assert json.loads(msgspec.json.encode(outcome.turns)) == [
        turn("user", "a"),
        turn("assistant", "b", point()),
        turn("user", "c", point(), "d", point(), "e", point()),
    ]


def test_points_beside_the_tools_count() -> None:
    tools = Tools(ToolConfig([TOOL, CachePointContent(CachePointBlock())]))
    [outcome] = turns(*({**user(str(number)), **mark()} for number in range(4)), to=CACHES, tools=tools)
    assert outcome == turn("user", "0", "1", point(), "2", point(), "3", point())


@pytest.mark.parametrize(
    ("cache", "outcome"),
    [
        (("messages",), (texts_of("s"), [turn("user", "a", point())])),
        (("system",), ([*texts_of("s"), point()], [turn("user", "a")])),
    ],
)
def test_a_mark_counts_where_the_model_takes_points(cache: Any, outcome: Any) -> None:
    messages = [{**system("s"), **mark()}, {**user("a"), **mark()}]
    assert translate(*messages, to=takes(cache=cache)) == outcome
    assert read(*messages, to=takes(cache=cache)).ignored == ("messages[].cache_control",)


def test_instructions_that_become_a_turn_keep_points_only_where_allowed() -> None:
    marked = {**system("s"), **mark()}
    assert turns(marked, to=CACHES) == [turn("user", "s", point())]
    assert turns(marked, to=takes(cache=("system",))) == [turn("user", "s")]
    assert turns(marked, user("a"), to=takes(cache=("messages",), system=False)) == [turn("user", "s", point(), "a")]
