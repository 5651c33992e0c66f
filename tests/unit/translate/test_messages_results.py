"""Results of tools with more than text, by the model's capabilities."""

import json
from typing import Any

import msgspec
import pytest

from extproc.bedrock.capability_table import BUILT_IN
from extproc.translate.tools import Tools
from tests.unit.translate.message_parts import (
    DOCUMENT,
    PICTURE,
    SENT_DOCUMENT,
    SENT_PICTURE,
    assistant,
    call,
    operators,
    read,
    rejection,
    result,
    result_block,
    system,
    takes,
    text,
    texts_of,
    turn,
    turns,
    user,
)


def test_an_image_stays_in_its_result_where_the_model_takes_it_there() -> None:
    shown = result(content=[text("look"), PICTURE])
    [outcome] = turns(user("a"), assistant(None, call()), shown, to=takes(tool_result_images=True))[2:]
    assert outcome["content"] == [{"toolResult": {"toolUseId": "c1", "content": [{"text": "look"}, SENT_PICTURE]}}]


def test_a_document_stays_in_its_result_where_the_model_takes_its_format_there() -> None:
    to = takes(documents=("pdf", "txt"), tool_result_documents=("pdf",))
    [outcome] = turns(user("a"), assistant(None, call()), result(content=[DOCUMENT]), to=to)[2:]
    assert outcome["content"] == [{"toolResult": {"toolUseId": "c1", "content": [SENT_DOCUMENT]}}]


def test_an_image_follows_the_results_where_the_model_takes_it_beside_them() -> None:
    results = [result("c1", [PICTURE, text("look")]), result("c2")]
    outcome = turns(user("a"), assistant(None, call("c1"), call("c2")), *results, user("b"))
    assert outcome[2] == turn(
        "user", result_block("c1", "(it follows below)", "look"), result_block("c2"), "[From f:]", SENT_PICTURE, "b"
    )


def test_an_image_gets_its_own_turn_where_it_may_not_accompany_results() -> None:
    to = takes(beside_tool_results=("text",))
    assert turns(user("a"), assistant(None, call()), result(content=[PICTURE]), to=to)[2:] == [
        turn("user", result_block("c1", "(it follows below)")),
        turn("assistant", "."),
        turn("user", "[From f:]", SENT_PICTURE),
    ]


def test_an_image_in_a_result_that_the_model_cannot_see_is_rejected() -> None:
    shown = result(content=[text("x"), PICTURE])
    error = rejection(user("a"), assistant(None, call()), shown, to=takes(images=False))
    assert (error.param, error.code) == ("messages[2].content[1].type", "unsupported_value")


@pytest.mark.parametrize(
    ("beside", "following", "splits"),
    [
        ((), user("b"), True),
        (("text",), user("b"), False),
        (("text",), user([text("b"), PICTURE]), True),
        (("text", "image"), user([text("b"), PICTURE]), False),
        (("text", "image"), user([text("b"), DOCUMENT]), True),
        ((), system("b"), True),
        (("text",), system("b"), False),
    ],
)
def test_content_not_allowed_beside_results_moves_to_the_next_turn(beside: Any, following: Any, splits: bool) -> None:
    to = takes(beside_tool_results=beside, documents=("pdf",))
    outcome = turns(user("a"), assistant(None, call()), result(), following, to=to)
    assert [one["role"] for one in outcome[2:]] == ["user", *(["assistant", "user"] if splits else [])]
    assert outcome[2]["content"][0] == result_block()
    if splits:
        assert outcome[2]["content"] == [result_block()]
        assert (outcome[3], outcome[4]["content"][0]) in [
            (turn("assistant", "."), first) for first in (*texts_of("b"), operators("b"))
        ]


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ('{"b": 1.0, "a": []}', {"json": {"b": 1.0, "a": []}}),
        ("  {} ", {"json": {}}),
        ("[1]", {"text": "[1]"}),
        ("42", {"text": "42"}),
        ('{"a":', {"text": '{"a":'}),
        ("plain", {"text": "plain"}),
    ],
)
def test_an_object_goes_back_as_json_where_the_model_wants_it(value: str, sent: Any) -> None:
    for content in (value, [text(value)]):
        outcome = turns(
            user("a"), assistant(None, call()), result(content=content), to=takes(tool_result_format="json")
        )
        assert outcome[2]["content"][0]["toolResult"]["content"] == [sent]
    assert turns(user("a"), assistant(None, call()), result(content=value))[2] == turn(
        "user", result_block("c1", value)
    )


@pytest.mark.parametrize(
    ("family", "is_sent"), [("claude-5", True), ("nova", True), ("llama", False), ("qwen3", False)]
)
def test_a_failed_call_has_a_status_where_the_family_has_one(family: str, is_sent: bool) -> None:
    failed = {**result("c1"), "is_error": True}
    messages = (user("a"), assistant(None, call("c1"), call("c2")), failed, {**result("c2"), "is_error": False})
    outcome = read(*messages, to=BUILT_IN.families[family])
    results = [block["toolResult"] for block in json.loads(msgspec.json.encode(outcome.turns[2].content))]
    assert results[0].get("status") == ("error" if is_sent else None)
    assert "status" not in results[1]
    assert outcome.ignored == (() if is_sent else ("messages[].is_error",))


def test_a_failed_call_is_a_text_where_nothing_may_be_called() -> None:
    failed = {**result(), "is_error": True}
    assert turns(user("a"), assistant(None, call()), failed, tools=Tools())[2] == turn("user", "[f failed: done]")
