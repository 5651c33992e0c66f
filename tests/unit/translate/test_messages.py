"""OpenAI's messages as Bedrock's `system` and turns.

A conversation is written as a list of messages, the outcome as `(system, turns)`, both as JSON has them. What a
model takes is the field's; see also `test_turns`, `test_messages_results`, `test_messages_cache`.
"""

from typing import Any

import pytest

from extproc.bedrock.converse import (
    JsonSchemaDefinition,
    OutputFormat,
    OutputFormatStructure,
)
from extproc.translate.tools import Tools
from tests.unit.translate.message_parts import (
    BLANKS,
    DOCUMENT,
    IMAGE,
    PICTURE,
    SENT_DOCUMENT,
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
    translate,
    turn,
    turns,
    use,
    user,
)

DOCUMENTS = takes(documents=("pdf", "txt"), beside_tool_results=("text", "image", "document"))
TEXT_FORMAT = OutputFormat(OutputFormatStructure(JsonSchemaDefinition("{}")))


# Instructions


def test_leading_instructions_of_either_name_become_the_system_texts() -> None:
    outcome = translate(system("a"), system("b", "developer"), user("Hi"))
    assert outcome == (texts_of("a", "b"), [turn("user", "Hi")])


def test_each_part_of_an_instruction_is_a_text_of_its_own() -> None:
    assert translate(system([text("a"), text(" "), text("b")]), user("Hi"))[0] == texts_of("a", "b")


@pytest.mark.parametrize("blank", [*BLANKS, []])
def test_a_blank_instruction_is_left_out(blank: Any) -> None:
    assert translate(system(blank), user("Hi"))[0] == []


def test_a_later_instruction_stays_in_its_place_marked_as_the_operators() -> None:
    outcome = translate(system("a"), user("Hi"), assistant("Ho"), system("b"), user("go on"))
    assert outcome == (
        texts_of("a"),
        [turn("user", "Hi"), turn("assistant", "Ho"), turn("user", operators("b"), "go on")],
    )


def test_an_instruction_after_a_blank_message_still_leads() -> None:
    assert translate(user(" "), system("a"), user("Hi"))[0] == texts_of("a")


def test_an_instruction_between_a_call_and_its_results_waits_for_them() -> None:
    outcome = turns(
        user("Hi"),
        assistant(None, call("c1"), call("c2")),
        system("a"),
        result("c1"),
        system("b"),
        result("c2"),
        user("go on"),
    )
    assert outcome == [
        turn("user", "Hi"),
        turn("assistant", use("c1"), use("c2")),
        turn("user", result_block("c1"), result_block("c2"), operators("a"), operators("b"), "go on"),
    ]


def test_a_deferred_instruction_is_sent_once() -> None:
    rounds = [assistant(None, call("c1")), system("a"), result("c1"), assistant(None, call("c2")), result("c2")]
    assert [outcome["content"][1:] for outcome in turns(user("Hi"), *rounds)] == [[], [], [operators("a")], [], []]


def test_instructions_alone_become_a_user_turn() -> None:
    assert translate(system("a"), system("b")) == ([], [turn("user", "a", "b")])


# Turns


def test_a_plain_conversation_is_itself() -> None:
    assert turns(user("a"), assistant("b"), user("c")) == [turn("user", "a"), turn("assistant", "b"), turn("user", "c")]


def test_neighbours_of_one_role_become_one_turn() -> None:
    outcome = turns(user("a"), user("b"), assistant("c"), assistant("d"), user("e"))
    assert outcome == [turn("user", "a", "b"), turn("assistant", "c", "d"), turn("user", "e")]


@pytest.mark.parametrize("blank", [*BLANKS, [], [text(" ")]])
def test_a_blank_message_disappears_and_its_neighbours_meet(blank: Any) -> None:
    assert turns(user("a"), assistant(blank), user("b")) == [turn("user", "a", "b")]


def test_an_empty_assistant_message_disappears() -> None:
    assert turns(user("a"), assistant(None), assistant("b"), user("c"))[1] == turn("assistant", "b")


@pytest.mark.parametrize("messages", [[user(" ")], [system(""), user([])], [assistant(None)]])
def test_a_conversation_of_blanks_is_rejected(messages: list[dict[str, Any]]) -> None:
    error = rejection(*messages)
    assert error.param == "messages"
    assert "blank" in error.message


def test_a_placeholder_precedes_an_assistant_that_begins() -> None:
    assert turns(assistant("Hello!"), user("Hi")) == [
        turn("user", "."),
        turn("assistant", "Hello!"),
        turn("user", "Hi"),
    ]


def test_a_prefilled_turn_loses_its_trailing_white_space() -> None:
    outcome = turns(user("a"), assistant("one \n"), assistant("two \n"), to=takes(prefill=True), tools=Tools())
    assert outcome == [turn("user", "a"), turn("assistant", "one \n", "two")]


@pytest.mark.parametrize(
    ("prefill", "options"),
    [
        (False, {"tools": Tools()}),
        (True, {}),
        (True, {"tools": Tools(output=TEXT_FORMAT)}),
    ],
    ids=["never", "beside tools", "beside a schema"],
)
def test_a_user_turn_follows_where_a_model_does_not_continue(prefill: bool, options: Any) -> None:
    assert turns(user("a"), assistant("one "), to=takes(prefill=prefill), **options) == [
        turn("user", "a"),
        turn("assistant", "one "),
        turn("user", "Continue."),
    ]


def test_white_space_within_the_conversation_stays() -> None:
    assert turns(user(" a\n"), assistant(" b\n"), user("c ")) == [
        turn("user", " a\n"),
        turn("assistant", " b\n"),
        turn("user", "c "),
    ]


def test_an_assistants_refusal_is_text_of_its_turn() -> None:
    parts = [text("Well."), {"type": "refusal", "refusal": "I will not."}, {"type": "refusal", "refusal": " "}]
    assert turns(user("a"), assistant(parts), assistant(None, refusal="No."), user("b"))[1] == turn(
        "assistant", "Well.", "I will not.", "No."
    )


# User messages


def test_texts_and_images_keep_their_order() -> None:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}", "detail": "high"}}
    sent = {"image": {"format": "png", "source": {"bytes": IMAGE}}}
    assert turns(user([image, text("What is this?"), text(" "), image])) == [turn("user", sent, "What is this?", sent)]


def test_a_bad_image_is_named_by_its_path() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    error = rejection(user("a"), user([text("b"), image]))
    assert (error.param, error.code) == ("messages[1].content[1].image_url.url", "invalid_image")


def test_an_image_at_a_url_has_the_fetched_bytes() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://x/a.png"}}
    sent = {"image": {"format": "png", "source": {"bytes": IMAGE}}}
    assert turns(user([image, image])) == [turn("user", sent, sent)]


def test_unsupported_content_is_named_by_its_path() -> None:
    sound = {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}
    error = rejection(user([text("a"), sound]))
    assert (error.param, error.code) == ("messages[0].content[1].type", "unsupported_value")


def test_a_document_alone_gets_a_text_beside_it() -> None:
    assert turns(user([DOCUMENT]), to=DOCUMENTS) == [turn("user", SENT_DOCUMENT, ".")]


def test_a_document_beside_a_text_of_the_same_turn_needs_none() -> None:
    assert turns(user([DOCUMENT]), user("Read."), to=DOCUMENTS) == [turn("user", SENT_DOCUMENT, "Read.")]


def test_documents_of_one_name_are_numbered_throughout_the_conversation() -> None:
    outcome = turns(user([DOCUMENT, text("a")]), assistant("b"), user([text("c"), DOCUMENT]), to=DOCUMENTS)
    assert outcome[0]["content"][0]["document"]["name"] == "a"
    assert outcome[2]["content"][1]["document"]["name"] == "a-2"


def test_a_request_has_five_documents_at_most() -> None:
    three = user([text("a"), *[DOCUMENT] * 3])
    assert len(turns(three, assistant("b"), user([DOCUMENT] * 2), to=DOCUMENTS)) == 3
    error = rejection(three, assistant("b"), user([DOCUMENT] * 3), to=DOCUMENTS)
    assert (error.param, error.code) == ("messages[2].content[2]", "too_many_documents")


# Fields that change nothing


def test_fields_without_effect_are_reported_as_ignored() -> None:
    image = {**PICTURE, "image_url": {**PICTURE["image_url"], "detail": "low"}}
    outcome = read(
        {**user([image]), "name": "ann"},
        assistant("b", name="bob"),
        {**user("c"), "cache_control": {"type": "ephemeral"}},
    )
    assert outcome.ignored == ("messages[].content[].image_url.detail", "messages[].name", "messages[].cache_control")


@pytest.mark.parametrize("detail", [None, "auto"])
def test_fields_that_never_have_an_effect_are_not_reported(detail: Any) -> None:
    image = {**PICTURE, "image_url": {**PICTURE["image_url"], "detail": detail}}
    assert read({**user([image]), "name": None, "cache_control": None}).ignored == ()
