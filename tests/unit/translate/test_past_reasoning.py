"""Reasoning in earlier messages, sent back as far as the model accepts it."""

import json
from typing import Any

import msgspec
import pytest

from extproc.openai.chat import decode_request
from extproc.translate.past_reasoning import lacks_reasoning
from tests.unit.translate.message_parts import (
    PICTURE,
    assistant,
    call,
    read,
    rejection,
    result,
    system,
    takes,
    text,
    turn,
    turns,
    use,
    user,
)

SIGNED = {"type": "thinking", "thinking": "Hm.", "signature": "sig+/="}
UNSIGNED = {"type": "thinking", "thinking": "Hm."}
WITHHELD = {"type": "redacted_thinking", "data": "eHk="}
ALL = [SIGNED, UNSIGNED, WITHHELD]
REDACTED = {"reasoningContent": {"redactedContent": "eHk="}}


def thinking(content: str, signature: str | None = None) -> dict[str, Any]:
    signed = {"signature": signature} if signature else {}
    return {"reasoningContent": {"reasoningText": {"text": content, **signed}}}


@pytest.mark.parametrize(
    ("history", "fields", "sent", "ignored"),
    [
        ("signed", {"thinking_blocks": [SIGNED, WITHHELD]}, [thinking("Hm.", "sig+/="), REDACTED], ()),
        ("signed", {"thinking_blocks": ALL}, [thinking("Hm.", "sig+/="), REDACTED], ("messages[].thinking_blocks",)),
        ("signed", {"thinking_blocks": [{**SIGNED, "thinking": ""}]}, [thinking("", "sig+/=")], ()),
        ("signed", {"thinking_blocks": [{**SIGNED, "signature": ""}]}, [], ("messages[].thinking_blocks",)),
        ("signed", {"thinking_blocks": [SIGNED], "reasoning_content": "Hm."}, [thinking("Hm.", "sig+/=")], ()),
        ("signed", {"reasoning_content": "Hm."}, [], ("messages[].reasoning_content",)),
        ("unsigned", {"thinking_blocks": ALL}, [thinking("Hm."), thinking("Hm.")], ("messages[].thinking_blocks",)),
        ("unsigned", {"thinking_blocks": [SIGNED], "reasoning_content": "Other."}, [thinking("Hm.")], ()),
        ("unsigned", {"reasoning_content": "Hm."}, [thinking("Hm.")], ()),
        ("unsigned", {"reasoning_content": " "}, [], ()),
        ("redacted", {"thinking_blocks": ALL}, [REDACTED], ("messages[].thinking_blocks",)),
        ("redacted", {"reasoning_content": "Hm."}, [], ("messages[].reasoning_content",)),
        ("redacted", {"thinking_blocks": [{**WITHHELD, "data": ""}]}, [], ("messages[].thinking_blocks",)),
        ("none", {"thinking_blocks": ALL, "reasoning_content": "Hm."}, [], ("messages[].thinking_blocks",)),
        ("none", {"thinking_blocks": [], "reasoning_content": ""}, [], ()),
        ("none", {"thinking_blocks": None, "reasoning_content": None}, [], ()),
    ],
)
def test_earlier_reasoning_is_sent_back_as_far_as_the_model_accepts_it(
    history: str, fields: Any, sent: Any, ignored: tuple[str, ...]
) -> None:
    before = assistant("So.", call(), refusal="No.", **fields)
    outcome = read(user("a"), before, result(), to=takes(reasoning_history=history))
    assert json.loads(msgspec.json.encode(outcome.turns))[1] == turn("assistant", *sent, "So.", "No.", use())
    assert outcome.ignored == ignored


@pytest.mark.parametrize(
    ("history", "fields", "ignored"),
    [
        ("signed", {"thinking_blocks": [SIGNED]}, "messages[].thinking_blocks"),
        ("unsigned", {"reasoning_content": "Hm."}, "messages[].reasoning_content"),
    ],
)
def test_reasoning_alone_is_no_turn_and_reported_as_ignored(history: str, fields: Any, ignored: str) -> None:
    outcome = read(user("a"), assistant("", **fields), user("b"), to=takes(reasoning_history=history))
    assert json.loads(msgspec.json.encode(outcome.turns)) == [turn("user", "a", "b")]
    assert outcome.ignored == (ignored,)


@pytest.mark.parametrize("data", ["a", "é", "%%%%"])
def test_withheld_reasoning_that_was_damaged_is_rejected(data: str) -> None:
    damaged = assistant("b", thinking_blocks=[SIGNED, {**WITHHELD, "data": data}])
    error = rejection(user("a"), damaged, user("c"), to=takes(reasoning_history="signed"))
    assert error.param == "messages[1].thinking_blocks[1].data"


@pytest.mark.parametrize(
    ("messages", "lacks"),
    [
        ([user("a")], False),
        ([user("a"), assistant("b"), user("c")], False),
        ([user("a"), assistant(None, call()), result()], True),
        ([user("a"), assistant(None, call(), thinking_blocks=[SIGNED]), result()], False),
        ([user("a"), assistant(None, call(), thinking_blocks=[UNSIGNED]), result()], True),
        ([user("a"), assistant(None, call(), reasoning_content="Hm."), result()], True),
        ([user("a"), assistant(None, call()), result(), user("b"), assistant("c"), user("d")], False),
        ([user("a"), assistant("b"), assistant(None, call(), thinking_blocks=[SIGNED]), result()], False),
        ([user("a"), assistant("b", thinking_blocks=[SIGNED]), assistant(None, call()), result(), system("s")], False),
        ([user("a"), assistant(None, function_call={"name": "f"}), {**system("s"), "role": "developer"}], True),
        (
            [user("a"), assistant(None, call()), result(), user(" "), assistant([text("")], thinking_blocks=[SIGNED])],
            True,
        ),
        ([assistant("b", thinking_blocks=[SIGNED]), user([text(" ")]), assistant(None, call()), result()], False),
        ([assistant("b", thinking_blocks=[SIGNED]), user([PICTURE]), assistant(None, call()), result()], True),
    ],
)
def test_whether_the_last_call_lacks_its_reasoning(messages: list[Any], lacks: bool) -> None:
    request = decode_request(json.dumps({"model": "m", "messages": messages}).encode())
    assert lacks_reasoning(request.messages, takes(reasoning_history="signed")) is lacks


@pytest.mark.parametrize(
    ("messages", "sent"),
    [
        ([assistant("b"), assistant("c", thinking_blocks=[SIGNED])], ["b", "Continue.", "thinking c"]),
        ([assistant("b", thinking_blocks=[SIGNED]), assistant("c")], ["thinking b c"]),
        ([assistant("b"), assistant("c", thinking_blocks=[UNSIGNED])], ["b c"]),
        (
            [assistant("b", thinking_blocks=[SIGNED]), assistant("c", thinking_blocks=[WITHHELD])],
            ["thinking b", "Continue.", "thinking c"],
        ),
    ],
)
def test_reasoning_begins_a_turn(messages: list[Any], sent: list[str]) -> None:
    """Claude rejects a turn with reasoning whose first block is a text."""
    kinds = {"text": None, "reasoningContent": "thinking"}
    outcome = turns(user("a"), *messages, user("d"), to=takes(reasoning_history="signed"))
    blocks = [[kinds[kind] or block[kind] for block in one["content"] for kind in block] for one in outcome]
    assert [" ".join(one) for one in blocks] == ["a", *sent, "d"]
