"""Marks for the prompt cache, in tools, instructions and messages: where the points are, how many, and how long."""

import json
from typing import Any

import pytest

from extproc.bedrock.capabilities import Capabilities
from extproc.openai.chat import decode_request
from extproc.translate.chat_request import plan

CACHING = Capabilities(cache=("system", "messages", "tools"), cache_ttls=("5m", "1h"))
HOUR, SHORT, UNSAID = ({"type": "ephemeral", **ttl} for ttl in ({"ttl": "1h"}, {"ttl": "5m"}, {}))
OPENAIS_HOUR = {"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}}


def tool(name: str, mark: Any = None) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}, "cache_control": mark}


def said(role: str, text: Any, mark: Any = None) -> dict[str, Any]:
    return {"role": role, "content": text, "cache_control": mark}


def lives(request: dict[str, Any], takes: Capabilities = CACHING) -> tuple[list[str | None], tuple[str, ...]]:
    """How long each point lives, in the order in which Bedrock reads them, and what is ignored."""
    planned = plan(decode_request(json.dumps({"model": "m", **request}).encode()), takes)
    sent = json.loads(planned.body)
    lists = [sent.get("toolConfig", {}).get("tools", []), sent.get("system", [])]
    lists += [message["content"] for message in sent["messages"]]
    points = [block["cachePoint"] for blocks in lists for block in blocks if "cachePoint" in block]
    return [point.get("ttl") for point in points], planned.ignored


# Bedrock refuses a longer life after a shorter one: "a ttl='1h' cache_control block must not come after a ttl='5m'…"


@pytest.mark.parametrize("short", [SHORT, UNSAID])
def test_an_hour_after_five_minutes_is_five_minutes_and_named(short: Any) -> None:
    messages = [said("system", "s", short), said("user", "a", HOUR)]
    assert lives({"messages": messages}) == ([short.get("ttl"), None], ("messages[].cache_control.ttl",))


def test_openais_own_mark_is_shortened_under_its_own_name() -> None:
    messages = [said("system", "s", SHORT), {**said("user", "a"), **OPENAIS_HOUR}]
    assert lives({"messages": messages}) == (["5m", None], ("messages[].prompt_cache_breakpoint.ttl",))


def test_tools_are_read_before_everything() -> None:
    request = {"tools": [tool("f", SHORT)], "messages": [said("system", "s", HOUR), said("user", "a", HOUR)]}
    assert lives(request) == (["5m", None, None], ("messages[].cache_control.ttl",))


def test_a_tool_after_a_tool_is_shortened_too() -> None:
    request = {"tools": [tool("f", UNSAID), tool("g", HOUR)], "messages": [said("user", "a", HOUR)]}
    assert lives(request) == ([None, None, None], ("tools[].cache_control.ttl", "messages[].cache_control.ttl"))


def test_hours_before_minutes_stay_hours() -> None:
    request = {
        "tools": [tool("f", HOUR)],
        "messages": [said("system", "s", HOUR), said("user", "a", SHORT), said("user", "b")],
    }
    assert lives(request) == (["1h", "1h", "5m"], ())


def test_a_short_point_that_is_too_many_shortens_nothing() -> None:
    messages = [said("system", "s", SHORT), *(said("user", str(number), HOUR) for number in range(4))]
    assert lives({"messages": messages}) == (["1h"] * 4, ("messages[].cache_control",))
    tools = [tool("f0", SHORT), *(tool(f"f{number}", HOUR) for number in range(1, 5))]
    assert lives({"tools": tools, "messages": [said("user", "a")]}) == (["1h"] * 4, ("tools[].cache_control",))


# Of several results in one turn there is one mark: a cache point cannot stand within a result


def called(*ids: str) -> list[dict[str, Any]]:
    calls = [{"id": one, "type": "function", "function": {"name": "f", "arguments": "{}"}} for one in ids]
    return [said("user", "Hi"), {"role": "assistant", "tool_calls": calls}]


def gave(call: str, content: Any = "x", **mark: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call, "content": content, **mark}


MARK = {"cache_control": UNSAID}
MARKED, PLAIN = {"type": "text", "text": "x", **MARK}, {"type": "text", "text": "x"}


@pytest.mark.parametrize(
    ("results", "ignored"),
    [
        ([gave("a", **MARK), gave("b", **MARK)], ("messages[].cache_control",)),
        ([gave("a", **OPENAIS_HOUR), gave("b", **MARK)], ("messages[].prompt_cache_breakpoint",)),
        ([gave("a", [MARKED, MARKED]), gave("b")], ("messages[].content[].cache_control",)),
        ([gave("a", [MARKED, PLAIN], **MARK), gave("b")], ("messages[].content[].cache_control",)),
        ([gave("a"), gave("b", [PLAIN, MARKED], **MARK)], ()),
        ([gave("a"), gave("b", **MARK)], ()),
    ],
    ids=["two results", "two names", "two parts", "a part, and the result", "one place", "one mark"],
)
def test_of_several_marks_among_results_one_is_kept_and_the_others_are_named(results: Any, ignored: Any) -> None:
    assert lives({"tools": [tool("f")], "messages": [*called("a", "b"), *results]}) == ([None], ignored)


def test_marks_of_results_of_different_turns_are_all_kept() -> None:
    messages = [*called("a"), gave("a", **MARK), *called("b")[1:], gave("b", **MARK)]
    assert lives({"tools": [tool("f")], "messages": messages}) == ([None, None], ())


def test_a_mark_on_what_says_nothing_is_named() -> None:
    assert lives({"messages": [said("user", "a"), said("user", " ", UNSAID)]}) == ([], ("messages[].cache_control",))


def test_of_two_marks_at_one_place_a_longer_life_is_named() -> None:
    part = {"type": "text", "text": "x", "cache_control": SHORT}
    assert lives({"messages": [said("user", [part], HOUR)]}) == (["5m"], ("messages[].cache_control.ttl",))
    assert lives({"messages": [said("user", [{**part, "cache_control": HOUR}], SHORT)]}) == (["1h"], ())
