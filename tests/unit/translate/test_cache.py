"""Marks for the prompt cache, in tools, instructions and messages: places, number and lifetime of the points."""

import json
from typing import Any

import pytest

from extproc.bedrock.capabilities import Capabilities
from extproc.openai.chat import decode_request
from extproc.translate.chat_request import plan

CACHING = Capabilities(cache=("system", "messages", "tools"), cache_ttls=("5m", "1h"))
HOUR, SHORT, WITHOUT_TTL = ({"type": "ephemeral", **ttl} for ttl in ({"ttl": "1h"}, {"ttl": "5m"}, {}))
OPENAIS_HOUR = {"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}}


def tool(name: str, mark: Any = None) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}, "cache_control": mark}


def chat_message(role: str, text: Any, mark: Any = None) -> dict[str, Any]:
    return {"role": role, "content": text, "cache_control": mark}


def lives(request: dict[str, Any], takes: Capabilities = CACHING) -> tuple[list[str | None], tuple[str, ...]]:
    """Return the lifetime of each point in the order in which Bedrock reads them, and the ignored fields."""
    planned = plan(decode_request(json.dumps({"model": "m", **request}).encode()), takes)
    sent = json.loads(planned.body)
    lists = [sent.get("toolConfig", {}).get("tools", []), sent.get("system", [])]
    lists += [message["content"] for message in sent["messages"]]
    points = [block["cachePoint"] for blocks in lists for block in blocks if "cachePoint" in block]
    return [point.get("ttl") for point in points], planned.ignored


# Bedrock rejects a longer life after a shorter one: "a ttl='1h' cache_control block must not come after a ttl='5m'…"


@pytest.mark.parametrize("short", [SHORT, WITHOUT_TTL])
def test_an_hour_after_five_minutes_is_five_minutes_and_named(short: Any) -> None:
    messages = [chat_message("system", "s", short), chat_message("user", "a", HOUR)]
    assert lives({"messages": messages}) == ([short.get("ttl"), None], ("messages[].cache_control.ttl",))


def test_openais_own_mark_is_shortened_under_its_own_name() -> None:
    messages = [chat_message("system", "s", SHORT), {**chat_message("user", "a"), **OPENAIS_HOUR}]
    assert lives({"messages": messages}) == (["5m", None], ("messages[].prompt_cache_breakpoint.ttl",))


def test_tools_are_read_before_everything() -> None:
    request = {
        "tools": [tool("f", SHORT)],
        "messages": [chat_message("system", "s", HOUR), chat_message("user", "a", HOUR)],
    }
    assert lives(request) == (["5m", None, None], ("messages[].cache_control.ttl",))


def test_a_tool_after_a_tool_is_shortened_too() -> None:
    request = {"tools": [tool("f", WITHOUT_TTL), tool("g", HOUR)], "messages": [chat_message("user", "a", HOUR)]}
    assert lives(request) == ([None, None, None], ("tools[].cache_control.ttl", "messages[].cache_control.ttl"))


def test_hours_before_minutes_stay_hours() -> None:
    request = {
        "tools": [tool("f", HOUR)],
        "messages": [chat_message("system", "s", HOUR), chat_message("user", "a", SHORT), chat_message("user", "b")],
    }
    assert lives(request) == (["1h", "1h", "5m"], ())


def test_a_short_point_that_is_too_many_shortens_nothing() -> None:
    messages = [chat_message("system", "s", SHORT), *(chat_message("user", str(number), HOUR) for number in range(4))]
    assert lives({"messages": messages}) == (["1h"] * 4, ("messages[].cache_control",))
    tools = [tool("f0", SHORT), *(tool(f"f{number}", HOUR) for number in range(1, 5))]
    assert lives({"tools": tools, "messages": [chat_message("user", "a")]}) == (["1h"] * 4, ("tools[].cache_control",))


# Of several results in one turn there is one mark: a result cannot contain a cache point


def called(*ids: str) -> list[dict[str, Any]]:
    calls = [{"id": one, "type": "function", "function": {"name": "f", "arguments": "{}"}} for one in ids]
    return [chat_message("user", "Hi"), {"role": "assistant", "tool_calls": calls}]


def tool_result(call: str, content: Any = "x", **mark: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call, "content": content, **mark}


MARK = {"cache_control": WITHOUT_TTL}
MARKED, PLAIN = {"type": "text", "text": "x", **MARK}, {"type": "text", "text": "x"}


@pytest.mark.parametrize(
    ("results", "ignored"),
    [
        ([tool_result("a", **MARK), tool_result("b", **MARK)], ("messages[].cache_control",)),
        ([tool_result("a", **OPENAIS_HOUR), tool_result("b", **MARK)], ("messages[].prompt_cache_breakpoint",)),
        ([tool_result("a", [MARKED, MARKED]), tool_result("b")], ("messages[].content[].cache_control",)),
        ([tool_result("a", [MARKED, PLAIN], **MARK), tool_result("b")], ("messages[].content[].cache_control",)),
        ([tool_result("a"), tool_result("b", [PLAIN, MARKED], **MARK)], ()),
        ([tool_result("a"), tool_result("b", **MARK)], ()),
    ],
    ids=["two results", "two names", "two parts", "a part, and the result", "one place", "one mark"],
)
def test_of_several_marks_among_results_one_is_kept_and_the_others_are_named(results: Any, ignored: Any) -> None:
    assert lives({"tools": [tool("f")], "messages": [*called("a", "b"), *results]}) == ([None], ignored)


def test_marks_of_results_of_different_turns_are_all_kept() -> None:
    messages = [*called("a"), tool_result("a", **MARK), *called("b")[1:], tool_result("b", **MARK)]
    assert lives({"tools": [tool("f")], "messages": messages}) == ([None, None], ())


def test_a_mark_on_empty_content_is_reported_as_ignored() -> None:
    assert lives({"messages": [chat_message("user", "a"), chat_message("user", " ", WITHOUT_TTL)]}) == (
        [],
        ("messages[].cache_control",),
    )


def test_of_two_marks_at_one_place_a_longer_life_is_named() -> None:
    part = {"type": "text", "text": "x", "cache_control": SHORT}
    assert lives({"messages": [chat_message("user", [part], HOUR)]}) == (["5m"], ("messages[].cache_control.ttl",))
    assert lives({"messages": [chat_message("user", [{**part, "cache_control": HOUR}], SHORT)]}) == (["1h"], ())


# OpenAI's own marks and options

BARE = {"prompt_cache_breakpoint": {"mode": "explicit"}}
FIVE_MINUTES = Capabilities(cache=("system", "messages"))
IMPLICIT = Capabilities(cache=("system", "messages", "tools"), cache_ttls=("5m", "1h"), implicit_caching=True)


def marked(*marks: Any, **options: Any) -> dict[str, Any]:
    return {
        "messages": [chat_message("system", "s"), *({**chat_message("user", "a"), **mark} for mark in marks)],
        "prompt_cache_options": options or None,
    }


@pytest.mark.parametrize(
    ("request_", "takes", "expected"),
    [
        (marked(BARE), CACHING, (["1h"], ())),  # OpenAI's default is half an hour
        (marked(BARE, ttl="30m"), CACHING, (["1h"], ())),
        (marked(BARE, ttl="12h"), CACHING, (["1h"], ("messages[].prompt_cache_breakpoint.ttl",))),
        (marked(BARE, ttl="30m"), FIVE_MINUTES, ([None], ("prompt_cache_options.ttl",))),
        (marked(BARE), FIVE_MINUTES, ([None], ())),
        (marked({}, ttl="30m"), CACHING, ([], ("prompt_cache_options.ttl",))),
        (marked({"cache_control": WITHOUT_TTL}, ttl="30m"), CACHING, ([None], ("prompt_cache_options.ttl",))),
        (marked(BARE, mode="explicit"), CACHING, (["1h"], ())),
        (marked(BARE, mode="implicit"), CACHING, (["1h"], ("prompt_cache_options.mode",))),
    ],
)
def test_a_bare_breakpoint_lives_as_long_as_the_options_have_it(request_: Any, takes: Any, expected: Any) -> None:
    assert lives(request_, takes) == expected


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (marked({}), ([None, None], ())),
        (marked({}, {}), ([None, None], ())),
        (marked({}, ttl="30m"), (["1h", "1h"], ())),
        (marked({}, mode="implicit"), ([None, None], ())),
        (marked({}, mode="explicit"), ([], ())),
        (marked(BARE, {}), (["1h", None], ())),  # the client's own mark, and the last turn
        (marked({}, BARE), (["1h"], ())),
        ({"tools": [tool("f", HOUR)], **marked({})}, (["1h", None], ())),
    ],
)
def test_implicit_points_are_behind_the_last_turn_and_the_instructions(request_: Any, expected: Any) -> None:
    assert lives(request_, IMPLICIT) == expected


def test_a_family_without_a_cache_has_no_implicit_points() -> None:
    takes = Capabilities(implicit_caching=True)
    assert lives(marked({}, mode="implicit"), takes) == ([], ("prompt_cache_options.mode",))


def test_implicit_points_are_the_first_to_go_where_there_are_too_many() -> None:
    request = marked(*[BARE] * 4, {})
    assert lives(request, IMPLICIT) == (["1h", "1h", "1h", None], ("messages[].prompt_cache_breakpoint",))
