"""Messages by the model's capabilities: turns, images in results, earlier reasoning, cache points."""

import base64
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from extproc.bedrock.capabilities import BUILT_IN, Capabilities
from extproc.bedrock.converse import (
    CachePointBlock,
    CachePointContent,
    ToolConfig,
)
from extproc.openai.chat import decode_request
from extproc.openai.errors import ApiError
from extproc.translate.ignored import Ignored
from extproc.translate.messages import plan_conversation
from extproc.translate.past_reasoning import lacks_reasoning
from extproc.translate.tools import Tools
from extproc.translate.turns import INSTRUCTION
from tests.planned import Planned
from tests.unit.translate.message_parts import (
    TOOL,
    TOOLS,
    USUAL,
    assistant,
    operators,
    result,
    result_block,
    takes,
    text,
    texts_of,
    turn,
    user,
)


def system(text: Any) -> dict[str, Any]:
    return {"role": "system", "content": text}


def call(call_id: str = "c1") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": "f", "arguments": "{}"}}


def mark(ttl: str | None = None) -> dict[str, Any]:
    return {"cache_control": {"type": "ephemeral", **({"ttl": ttl} if ttl else {})}}


def use(call_id: str = "c1") -> dict[str, Any]:
    return {"toolUse": {"toolUseId": call_id, "name": "f", "input": {}}}


def point(ttl: str | None = None) -> dict[str, Any]:
    return {"cachePoint": {"type": "default", **({"ttl": ttl} if ttl else {})}}


README = Path(__file__).parents[3] / "README.md"
IMAGE = base64.b64encode(b"\x89PNG\r\n\x1a\n rest").decode()
PDF = base64.b64encode(b"%PDF-1.7").decode()
PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}"}}
SENT = {"image": {"format": "png", "source": {"bytes": IMAGE}}}
DOCUMENT = {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}}
SENT_DOCUMENT = {"document": {"format": "pdf", "name": "a", "source": {"bytes": PDF}}}


def read(*messages: Any, to: Capabilities = USUAL, tools: Tools = TOOLS, **options: Any) -> Planned:
    request = decode_request(json.dumps({"model": "m", "messages": list(messages)}).encode())
    ignored = Ignored()
    step = plan_conversation(request.messages, to, tools, {}, ignored, **options)
    return Planned(step, ignored)


def translate(*messages: Any, **options: Any) -> tuple[Any, Any]:
    outcome = read(*messages, **options)
    return json.loads(msgspec.json.encode(outcome.system)), json.loads(msgspec.json.encode(outcome.turns))


def turns(*messages: Any, **options: Any) -> Any:
    return translate(*messages, **options)[1]


def rejection(*messages: Any, **options: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        translate(*messages, **options)
    assert caught.value.status == 400
    return caught.value


# Results with more than text


def test_an_image_stays_in_its_result_where_the_model_takes_it_there() -> None:
    shown = result(content=[text("look"), PICTURE])
    [outcome] = turns(user("a"), assistant(None, call()), shown, to=takes(tool_result_images=True))[2:]
    assert outcome["content"] == [{"toolResult": {"toolUseId": "c1", "content": [{"text": "look"}, SENT]}}]


def test_a_document_stays_in_its_result_where_the_model_takes_its_format_there() -> None:
    to = takes(documents=("pdf", "txt"), tool_result_documents=("pdf",))
    [outcome] = turns(user("a"), assistant(None, call()), result(content=[DOCUMENT]), to=to)[2:]
    assert outcome["content"] == [{"toolResult": {"toolUseId": "c1", "content": [SENT_DOCUMENT]}}]


def test_an_image_follows_the_results_where_the_model_takes_it_beside_them() -> None:
    results = [result("c1", [PICTURE, text("look")]), result("c2")]
    outcome = turns(user("a"), assistant(None, call("c1"), call("c2")), *results, user("b"))
    assert outcome[2] == turn(
        "user", result_block("c1", "(it follows below)", "look"), result_block("c2"), "[From f:]", SENT, "b"
    )


def test_an_image_gets_its_own_turn_where_it_may_not_accompany_results() -> None:
    to = takes(beside_tool_results=("text",))
    assert turns(user("a"), assistant(None, call()), result(content=[PICTURE]), to=to)[2:] == [
        turn("user", result_block("c1", "(it follows below)")),
        turn("assistant", "."),
        turn("user", "[From f:]", SENT),
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


# Earlier reasoning

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
        ([user("a"), assistant("b"), assistant(None, call(), thinking_blocks=[SIGNED]), result()], True),
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


# Order of turns


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
            [turn("user", "a"), turn("assistant", "b", "c"), turn("user", "d"), turn("system", "s")],
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


# Fields that change nothing


def test_fields_without_effect_are_reported_as_ignored() -> None:
    image = {**PICTURE, "image_url": {**PICTURE["image_url"], "detail": "low"}}
    outcome = read({**user([image]), "name": "ann"}, assistant("b", name="bob"), {**user("c"), **mark()})
    assert outcome.ignored == ("messages[].content[].image_url.detail", "messages[].name", "messages[].cache_control")


@pytest.mark.parametrize("detail", [None, "auto"])
def test_fields_that_never_have_an_effect_are_not_reported(detail: Any) -> None:
    image = {**PICTURE, "image_url": {**PICTURE["image_url"], "detail": detail}}
    assert read({**user([image]), "name": None, "cache_control": None}).ignored == ()


# Marks for the prompt cache

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
            turn("user", "a", point(), "b", SENT, point("5m")),
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
