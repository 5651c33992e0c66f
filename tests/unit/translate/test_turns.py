"""Order of turns, and the place of instructions, by the model's capabilities."""

from pathlib import Path
from typing import Any

import pytest

from extproc.bedrock.capability_table import BUILT_IN
from extproc.translate.tools import Tools
from extproc.translate.turns import INSTRUCTION
from tests.unit.translate.message_parts import (
    TOOLS,
    assistant,
    call,
    operators,
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

README = Path(__file__).parents[3] / "README.md"


def test_a_model_that_lets_the_assistant_begin_gets_no_placeholder() -> None:
    outcome = turns(assistant("Hello!"), user("Hi"), to=takes(opens_with_assistant=True))
    assert outcome == [turn("assistant", "Hello!"), turn("user", "Hi")]


@pytest.mark.parametrize("opens", [True, False])
def test_without_system_instructions_open_the_first_user_turn(opens: bool) -> None:
    to = takes(system=False, opens_with_assistant=opens)
    assert translate(system("s"), user("a"), system("t"), to=to) == (
        [],
        [turn("user", "s", "a", operators("t"))],
    )
    assert turns(system("s"), assistant("b"), user("c"), to=to)[:2] == [turn("user", "s"), turn("assistant", "b")]
    assert turns(system("s"), to=to) == [turn("user", "s")]


def test_the_gateways_instructions_follow_the_clients() -> None:
    assert translate(system("s"), user("a"), instruction="i") == (texts_of("s", "i"), [turn("user", "a")])
    assert translate(system("s"), instruction="i") == (texts_of("i"), [turn("user", "s")])
    outcome = translate(system("s"), user("a"), instruction="i", to=takes(system=False))
    assert outcome == ([], [turn("user", "s", "i", "a")])


APART = takes(text_beside_tool_calls=False)


@pytest.mark.parametrize(
    ("messages", "before"),
    [
        ([assistant("Let me see.", call())], [turn("assistant", "Let me see."), turn("user", "Continue.")]),
        (
            [assistant("Let me"), assistant("see.", call())],
            [turn("assistant", "Let me", "see."), turn("user", "Continue.")],
        ),
        (
            [assistant("Let me see."), assistant(None, call())],
            [turn("assistant", "Let me see."), turn("user", "Continue.")],
        ),
        ([assistant(None, call())], []),
        ([assistant(" ", call())], []),
    ],
)
def test_text_may_need_a_turn_before_the_calls_that_follow_it(messages: Any, before: Any) -> None:
    outcome = turns(user("a"), *messages, result(), assistant("Done."), user("b"), to=APART)
    assert outcome[1:] == [
        *before,
        turn("assistant", use()),
        turn("user", result_block()),
        turn("assistant", "Done."),
        turn("user", "b"),
    ]
    together = turns(user("a"), *messages, result(), assistant("Done."), user("b"), to=takes())
    assert [one["role"] for one in together] == ["user", "assistant", "user", "assistant", "user"]


def test_a_history_that_begins_with_text_and_a_call_begins_with_the_user_there_too() -> None:
    outcome = turns(assistant("Let me see.", call()), result(), to=APART)
    assert [one["role"] for one in outcome] == ["user", "assistant", "user", "assistant", "user"]


def test_calls_that_become_text_need_no_turn_of_their_own() -> None:
    outcome = turns(user("a"), assistant("Let me see.", call()), result(), to=APART, tools=Tools())
    assert outcome[1] == turn("assistant", "Let me see.", "[Called f with {}]")


ROUND = (assistant(None, call()), result())
CALLED = (turn("assistant", use()), turn("user", result_block()))


@pytest.mark.parametrize(
    ("messages", "sent"),
    [
        ([system("s"), user("a")], [turn("user", "a")]),
        ([user("a"), system("s")], [turn("user", "a"), turn("system", "s")]),
        (
            [user("a"), system("s"), {**system("t"), "role": "developer"}, assistant("b"), user("c")],
            [turn("user", "a"), turn("system", "s", "t"), turn("assistant", "b"), turn("user", "c")],
        ),
        ([user("a"), system("s"), user("b")], [turn("user", "a", "b"), turn("system", "s")]),
        (
            [user("a"), assistant("b"), system("s"), user("c")],
            [turn("user", "a"), turn("assistant", "b"), turn("user", "c"), turn("system", "s")],
        ),
        (
            [user("a"), assistant("b"), system("s")],
            [turn("user", "a"), turn("assistant", "b"), turn("user", "Continue."), turn("system", "s")],
        ),
        (
            [user("a"), assistant("b"), system("s"), assistant("c"), user("d")],
            [
                *(turn("user", "a"), turn("assistant", "b"), turn("user", "Continue."), turn("system", "s")),
                *(turn("assistant", "c"), turn("user", "d")),
            ],
        ),
        ([user("a"), ROUND[0], system("s"), ROUND[1]], [turn("user", "a"), *CALLED, turn("system", "s")]),
        (
            [user("a"), *ROUND, system("s"), user("b")],
            [turn("user", "a"), CALLED[0], turn("user", result_block(), "b"), turn("system", "s")],
        ),
        ([user("a"), system(" "), user("b")], [turn("user", "a", "b")]),
    ],
)
def test_where_the_family_has_the_role_a_later_instruction_is_a_turn_behind_the_users(messages: Any, sent: Any) -> None:
    assert turns(*messages, to=takes(system_turns=True)) == sent


def test_an_instruction_may_precede_a_turn_that_the_model_continues() -> None:
    outcome = turns(user("a"), system("s"), assistant("b "), to=takes(system_turns=True, prefill=True), tools=Tools())
    assert outcome == [turn("user", "a"), turn("system", "s"), turn("assistant", "b")]


def test_an_instruction_stays_before_the_message_that_followed_it() -> None:
    """The response to the first request is the last message but one of the second; both have one beginning."""
    first = [user("a"), assistant("b"), system("s")]
    before = turns(*first, to=takes(system_turns=True))
    assert turns(*first, assistant("c"), user("d"), to=takes(system_turns=True))[: len(before)] == before


@pytest.mark.parametrize("family", ["nova", "llama", "claude-4-6", "mistral-7b", "qwen3", "gpt-5.6", "unknown"])
@pytest.mark.parametrize("role", ["system", "developer"])
def test_elsewhere_it_is_marked_as_the_operators_in_the_users_turn(family: str, role: str) -> None:
    later = {"role": role, "content": [text("s"), text("t")]}
    to = BUILT_IN.families[family]
    outcome = turns(user("a"), assistant("b"), later, user("c"), to=to)
    marks = (operators("s"), operators("t"))
    assert outcome == [turn("user", "a"), turn("assistant", "b"), turn("user", *marks, "c")]
    assert turns(user("a"), *ROUND, later, user("c"), to=takes(beside_tool_results=("text",)))[2] == turn(
        "user", result_block(), *marks, "c"
    )


@pytest.mark.parametrize("system_turns", [True, False])
def test_what_follows_changes_nothing_before_the_users_last_turn(system_turns: bool) -> None:
    """Otherwise every request would miss the prompt cache."""
    messages = [user("a"), system("s"), *ROUND, system("t"), assistant("b"), system("u"), user("c"), system("v")]
    whole = turns(*messages, assistant("d"), user("e"), to=takes(system_turns=system_turns))
    for count in (2, 5, 6, 9):
        part = turns(*messages[:count], to=takes(system_turns=system_turns, prefill=True), tools=TOOLS)
        kept = len(part) - 1 if part[-1] == turn("user", "Continue.") else len(part)
        assert part[:kept] == whole[:kept]


def test_the_mark_is_in_the_readme() -> None:
    opening, closing = INSTRUCTION.split("\n{}\n")
    page = README.read_text()
    assert opening in page
    assert closing in page
