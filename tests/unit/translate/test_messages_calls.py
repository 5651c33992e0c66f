"""Tool calls and their results in earlier messages, as blocks of Bedrock's turns.

Each field of the capabilities names an ability of the model; see also `test_messages_results`.
"""

import json
from typing import Any

import msgspec
import pytest

from extproc.translate.tools import Tools
from tests.unit.translate.message_parts import (
    BLANKS,
    IMAGE,
    TOOLS,
    assistant,
    call,
    read,
    rejection,
    result,
    result_block,
    system,
    text,
    texts_of,
    turn,
    turns,
    use,
    user,
)

# Tool calls and results


def test_a_call_and_its_result_become_blocks() -> None:
    outcome = turns(user("a"), assistant(None, call("c1", "f", '{"x": 1}')), result("c1", "42"), user("b"))
    assert outcome == [
        turn("user", "a"),
        turn("assistant", use("c1", "f", {"x": 1})),
        turn("user", result_block("c1", "42"), "b"),
    ]


@pytest.mark.parametrize("content", [None, "", " ", []])
def test_a_call_without_text_is_only_the_call(content: Any) -> None:
    assert turns(user("a"), assistant(content, call()), result())[1] == turn("assistant", use())


def test_text_precedes_the_calls_of_its_message() -> None:
    assert turns(user("a"), assistant("Let me see."), assistant("Now.", call()), result())[1] == turn(
        "assistant", "Let me see.", "Now.", use()
    )


def test_parallel_results_may_come_in_any_order() -> None:
    outcome = turns(
        user("a"), assistant(None, call("c1"), call("c2"), call("c3")), result("c3"), result("c1"), result("c2")
    )
    assert outcome[2] == turn("user", result_block("c3"), result_block("c1"), result_block("c2"))


@pytest.mark.parametrize("blank", [*BLANKS, [], [text("")]])
def test_an_empty_tool_result_becomes_a_placeholder(blank: Any) -> None:
    assert turns(user("a"), assistant(None, call()), result(content=blank))[2] == turn(
        "user", result_block("c1", "(no output)")
    )


def test_each_part_of_a_result_is_a_text_of_its_own() -> None:
    parts = [text("a"), text(" "), text("b")]
    assert turns(user("a"), assistant(None, call()), result(content=parts))[2] == turn(
        "user", result_block("c1", "a", "b")
    )


@pytest.mark.parametrize("arguments", ["", " ", "\n"])
def test_a_call_without_arguments_has_an_empty_object(arguments: str) -> None:
    assert turns(user("a"), assistant(None, call(arguments=arguments)), result())[1] == turn("assistant", use())


def test_arguments_go_out_byte_for_byte() -> None:
    arguments = '{"b": 1.0, "a": [1e2, 123456789012345678901234567890, "\\u00e9"], "b": 2}'
    outcome = read(user("a"), assistant(None, call(arguments=arguments)), result())
    assert arguments.encode() in msgspec.json.encode(outcome.turns)


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ("null", {"input": None}),
        ('["a"]', {"input": ["a"]}),
        ("not json", {"input": "not json"}),
        ('{"city":"Paris","days":', {"city": "Paris"}),
    ],
)
def test_arguments_that_are_no_object_are_sent_as_far_as_they_can_be_read_and_named(arguments: str, sent: Any) -> None:
    outcome = read(user("a"), assistant(None, call(), call("c2", arguments=arguments)), result(), result("c2"))
    assert json.loads(msgspec.json.encode(outcome.turns[1].content[1])) == use("c2", arguments=sent)
    assert outcome.ignored == ("messages[].tool_calls[].function.arguments",)


def test_arguments_of_a_call_from_before_tools_need_not_be_json_either() -> None:
    outcome = read(user("a"), function_call(arguments='{"x": 1, "y'), function())
    assert json.loads(msgspec.json.encode(outcome.turns[1].content[0]))["toolUse"]["input"] == {"x": 1}
    assert outcome.ignored == ("messages[].function_call.arguments",)


def test_a_call_without_a_name_is_rejected() -> None:
    assert rejection(user("a"), assistant(None, call(name="")), result()).param == (
        "messages[1].tool_calls[0].function.name"
    )


@pytest.mark.parametrize("name", ["a.b", "a" * 65, "f\n"])
def test_a_name_that_bedrock_rejects_is_sent_under_its_replacement(name: str) -> None:
    outcome = turns(user("a"), assistant(None, call(name=name)), result())
    assert outcome[1] == turn("assistant", use(name=TOOLS.bedrock_name(name)))


def test_an_id_that_bedrock_rejects_is_replaced_alike_in_call_and_result() -> None:
    outcome = turns(user("a"), assistant(None, call("id/1")), result("id/1"))
    sent = outcome[1]["content"][0]["toolUse"]["toolUseId"]
    assert sent.isalnum() or sent.startswith("call_")
    assert outcome[2]["content"][0]["toolResult"]["toolUseId"] == sent


def test_an_id_that_comes_again_in_a_later_turn_is_replaced() -> None:
    """Some clients count their calls from the start in each turn; ids must be unique in all of the conversation."""
    round_ = [assistant(None, call("c1"), call("c2")), result("c2", "two"), result("c1", "one")]
    outcome = turns(user("a"), *round_, *round_, *round_)
    calling = [block["toolUse"]["toolUseId"] for message in outcome[1::2] for block in message["content"]]
    results = [block["toolResult"]["toolUseId"] for message in outcome[2::2] for block in message["content"]]
    assert calling[:2] == ["c1", "c2"]
    assert len(set(calling)) == 6
    assert [results[at] for at in (1, 0, 3, 2, 5, 4)] == calling


def test_an_id_is_replaced_the_same_way_however_the_conversation_goes_on() -> None:
    """Otherwise every turn would miss the prompt cache."""
    round_ = [assistant(None, call()), result()]
    assert turns(user("a"), *round_, *round_, *round_)[:5] == turns(user("a"), *round_, *round_)


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([result()], "messages[0].tool_call_id"),
        ([user("a"), assistant("b"), result()], "messages[2].tool_call_id"),
        ([user("a"), assistant(None, call()), result("c2")], "messages[2].tool_call_id"),
        ([user("a"), assistant(None, call()), result(), result()], "messages[3].tool_call_id"),
        ([user("a"), assistant(None, call()), result(), user("b"), result()], "messages[4].tool_call_id"),
    ],
    ids=["first", "after words", "of another call", "twice", "too late"],
)
def test_a_result_without_its_call_is_rejected(messages: list[dict[str, Any]], param: str) -> None:
    assert rejection(*messages).param == param


@pytest.mark.parametrize(
    ("after", "param"),
    [
        ([], "messages[1].tool_calls"),
        ([user("b")], "messages[2]"),
        ([assistant("b")], "messages[2]"),
        ([result("c1"), user("b")], "messages[3]"),
        ([system("s")], "messages[1].tool_calls"),
    ],
    ids=["at the end", "by the user", "by the assistant", "half answered", "by instructions"],
)
def test_a_call_without_a_result_is_rejected(after: list[dict[str, Any]], param: str) -> None:
    error = rejection(user("a"), assistant(None, call("c1"), call("c2")), *after)
    assert error.param == param
    assert "c2" in error.message


def test_two_calls_of_one_id_are_rejected() -> None:
    assert rejection(user("a"), assistant(None, call(), call()), result()).param == "messages[1].tool_calls[1].id"


def test_a_custom_call_has_its_text_as_an_argument() -> None:
    custom = {"id": "c1", "type": "custom", "custom": {"name": "f", "input": 'say "é"\n'}}
    assert turns(user("a"), assistant(None, custom), result())[1:] == [
        turn("assistant", use(arguments={"input": 'say "é"\n'})),
        turn("user", result_block("c1", "done")),
    ]


def test_a_call_of_nothing_is_rejected() -> None:
    error = rejection(user("a"), assistant(None, {"id": "c1", "type": "function"}), result())
    assert (error.param, error.code) == ("messages[1].tool_calls[0]", "missing_required_parameter")


def function_call(name: str = "f", arguments: str = '{"x": 1}') -> dict[str, Any]:
    return assistant(None, function_call={"name": name, "arguments": arguments})


def function(name: str = "f", content: Any = "42") -> dict[str, Any]:
    return {"role": "function", "name": name, "content": content}


def test_calls_from_before_tools_are_calls_with_ids_of_their_own() -> None:
    outcome = turns(user("a"), function_call(), function(), function_call("g", ""), function("g", None), user("b"))
    first, second = (outcome[at]["content"][0]["toolUse"] for at in (1, 3))
    assert (first["name"], first["input"], second["name"], second["input"]) == ("f", {"x": 1}, "g", {})
    assert outcome[2] == turn("user", result_block(first["toolUseId"], "42"))
    assert outcome[4] == turn("user", result_block(second["toolUseId"], "(no output)"), "b")
    assert first["toolUseId"] != second["toolUseId"]


@pytest.mark.parametrize(
    ("messages", "texts"),
    [
        ([function_call(), user("b")], [turn("assistant", '[Called f with {"x": 1}]'), turn("user", "b")]),
        (
            [function_call(), function("g", "42")],
            [turn("assistant", '[Called f with {"x": 1}]'), turn("user", "[g gave: 42]")],
        ),
        ([assistant("b"), function()], [turn("assistant", "b"), turn("user", "[f gave: 42]")]),
    ],
    ids=["no result", "another's result", "no call"],
)
def test_unmatched_function_calls_and_results_become_text(messages: Any, texts: Any) -> None:
    assert turns(user("a"), *messages)[1:] == texts


def test_calls_from_before_tools_do_not_mix_with_later_ones() -> None:
    both = assistant(None, call(), function_call={"name": "f", "arguments": ""})
    assert rejection(user("a"), both, result()).param == "messages[1].function_call"
    assert rejection(user("a"), assistant(None, call()), function()).param == "messages[2]"


def test_an_audio_response_is_not_kept() -> None:
    error = rejection(user("a"), assistant(None, audio={"id": "a1"}), user("b"))
    assert (error.param, error.code) == ("messages[1].audio", "unsupported_value")


def test_several_objects_in_one_calls_arguments_are_several_calls() -> None:
    calling = assistant(None, call(arguments='{"x": 1.0} {"x": 2}{}'), call("c2"))
    outcome = turns(user("a"), calling, result("c2"), result())
    uses = [block["toolUse"] for block in outcome[1]["content"]]
    assert [one["input"] for one in uses] == [{"x": 1.0}, {"x": 2}, {}, {}]
    assert (uses[0]["toolUseId"], uses[3]["toolUseId"], len({one["toolUseId"] for one in uses})) == ("c1", "c2", 4)
    results = {block["toolResult"]["toolUseId"]: block["toolResult"]["content"] for block in outcome[2]["content"]}
    assert set(results) == {one["toolUseId"] for one in uses}
    assert results["c1"] == results["c2"] == texts_of("done")
    assert results[uses[1]["toolUseId"]] == texts_of("(answered with the call before)")


# Where nothing may be called


def test_calls_and_results_become_text() -> None:
    outcome = turns(
        user("a"),
        assistant("Now.", call("c1", "f", '{"x":1}'), call("c2", "g", "")),
        result("c2", [text("two"), text("more")]),
        result("c1", ""),
        user("b"),
        tools=Tools(),
    )
    assert outcome == [
        turn("user", "a"),
        turn("assistant", "Now.", '[Called f with {"x":1}]', "[Called g with {}]"),
        turn("user", "[g gave: two more]", "[f gave: (no output)]", "b"),
    ]


def test_images_in_tool_results_are_kept_there_too() -> None:
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}"}}
    sent = {"image": {"format": "png", "source": {"bytes": IMAGE}}}
    outcome = turns(user("a"), assistant(None, call()), result(content=[picture, text("look")]), tools=Tools())
    assert outcome[2] == turn("user", "[f gave: look]", sent)


def test_every_kind_of_call_becomes_text_there() -> None:
    custom = {"id": "c1", "type": "custom", "custom": {"name": "g", "input": "x"}}
    outcome = turns(user("a"), assistant(None, custom), result(), function_call(), function(), tools=Tools())
    assert outcome[1:] == [
        turn("assistant", "[Called g with x]"),
        turn("user", "[g gave: done]"),
        turn("assistant", '[Called f with {"x": 1}]'),
        turn("user", "[f gave: 42]"),
    ]


def test_arguments_that_become_text_need_not_be_json() -> None:
    outcome = turns(user("a"), assistant(None, call(arguments="oops")), result(), tools=Tools())
    assert outcome[1] == turn("assistant", "[Called f with oops]")


def test_calls_must_have_results_there_too() -> None:
    assert rejection(user("a"), assistant(None, call()), tools=Tools()).param == "messages[1].tool_calls"
    assert rejection(user("a"), result(), tools=Tools()).param == "messages[1].tool_call_id"
