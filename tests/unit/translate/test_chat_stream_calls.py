"""ConverseStream's tool calls as chunks, read back by the openai package's own stream."""

import json
from typing import Any

import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from pydantic import BaseModel

from extproc.translate.response_shape import ResponseShape
from tests.unit.translate.stream_events import (
    END,
    START,
    USAGE,
    Client,
    Final,
    StreamEvent,
    citation,
    close,
    piece,
    reasoning,
    server_tool,
    stop,
    text,
    tool,
)

# Tool calls


def test_a_call_begins_once_and_its_arguments_follow(play: Any) -> None:
    events = [text("Let me see."), close(), tool(1), piece('{"x"', 1), piece("", 1), piece(": 7}", 1), close(1)]
    begun = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}
    assert play.deltas(START, *events, stop("tool_use")) == [
        {"content": "Let me see."},
        {"tool_calls": [begun]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"x"'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ": 7}"}}]},
    ]


@pytest.mark.parametrize(
    "events",
    [
        [tool(0), close()],
        [tool(0), piece("", 0), close()],
        [tool(0), ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"toolUse": {}}}), close()],
        [tool(0), close(), close()],
        [tool(0)],
    ],
    ids=["no piece", "an empty piece", "a piece without input", "stopped twice", "never stopped"],
)
def test_a_call_without_arguments_has_an_empty_object(events: list[StreamEvent], play: Any) -> None:
    deltas = play.deltas(START, *events, stop("tool_use"))
    assert "".join(delta["tool_calls"][0]["function"]["arguments"] for delta in deltas) == "{}"


def test_the_client_puts_several_calls_together(play: Any, final: Final) -> None:
    """Blocks of text between them do not count: the client takes calls at 0, 1, 2."""
    completion = final(
        play.written(
            START,
            reasoning(text="Hm."),
            close(0),
            text("a", 1),
            close(1),
            tool(2, "f", "c1"),
            piece('{"x":', 2),
            piece(" 1}", 2),
            close(2),
            text("b", 3),
            close(3),
            tool(4, "g", "c2"),
            close(4),
            tool(5, "f", "c3"),
            piece("{}", 5),
            close(5),
            stop("tool_use"),
            USAGE,
        )
    )
    calls = completion.choices[0].message.tool_calls
    assert calls is not None
    assert [(call.id, call.type, call.function.name, call.function.arguments) for call in calls] == [
        ("c1", "function", "f", '{"x": 1}'),
        ("c2", "function", "g", "{}"),
        ("c3", "function", "f", "{}"),
    ]
    assert completion.choices[0].message.content == "ab"
    assert completion.choices[0].finish_reason == "tool_calls"


def test_the_client_puts_interleaved_calls_together(play: Any, final: Final) -> None:
    events = [
        tool(0, "f", "c1"),
        tool(1, "g", "c2"),
        piece('{"a":', 0),
        piece('{"b":', 1),
        piece("1}", 0),
        piece("2}", 1),
    ]
    calls = final(play.written(START, *events, close(0), close(1), stop("tool_use"))).choices[0].message.tool_calls
    assert calls is not None
    assert [call.function.arguments for call in calls] == ['{"a":1}', '{"b":2}']


def test_tools_have_the_clients_names(play: Any, final: Final) -> None:
    events = [tool(0, "files_read_1a2b"), close(), tool(1, "g", "c2"), close(1)]
    shape = ResponseShape(names={"files_read_1a2b": "files/read.txt"})
    calls = final(play.written(START, *events, stop("tool_use"), shape=shape)).choices[0].message.tool_calls
    assert [call.function.name for call in calls or ()] == ["files/read.txt", "g"]


def test_a_call_that_aws_itself_executes_is_none_of_the_clients(play: Any) -> None:
    events = [
        server_tool(0),
        piece('{"q":1}', 0),
        close(),
        ("contentBlockStart", {"contentBlockIndex": 1, "start": {"toolResult": {"toolUseId": "s1"}}}),
        ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"toolResult": [{"text": "x"}]}}),
        close(1),
        text("Hi", 2),
    ]
    chunks = play.chunks(START, *events, END)
    assert [chunk["choices"][0]["delta"] for chunk in chunks[1:-1]] == [{"content": "Hi"}]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


# Custom tools and functions from before tools

SHELL = ResponseShape(names={"shell_1": "my shell"}, custom=frozenset({"my shell"}))


def test_a_custom_tools_input_is_a_text(play: Any) -> None:
    events = [
        tool(0, "f"),
        close(),
        tool(1, "shell_1", "c2"),
        piece('{"input":', 1),
        piece('"ls \\"x\\""}', 1),
        close(1),
    ]
    written = play.written(START, *events, stop("tool_use"), shape=SHELL)
    deltas = [json.loads(part[6:])["choices"][0]["delta"] for part in written.split(b"\n\n")[3:-3]]
    assert deltas == [
        {"tool_calls": [{"index": 1, "id": "c2", "type": "custom", "custom": {"name": "my shell", "input": ""}}]},
        {"tool_calls": [{"index": 1, "custom": {"input": 'ls "x"'}}]},
    ]


def test_the_client_puts_a_custom_call_together(play: Any, client: Client) -> None:
    events = [tool(0, "shell_1"), piece('{"input":"ls"}', 0), close(), tool(1, "f", "c2"), close(1)]
    body = play.written(START, *events, stop("tool_use"), USAGE, usage=True, shape=SHELL)
    state: ChatCompletionStreamState[Any] = ChatCompletionStreamState()
    for chunk in client(body).chat.completions.create(model="m", messages=[], stream=True):
        state.handle_chunk(chunk)
    choice = state.current_completion_snapshot.choices[0]
    custom: Any
    custom, function = choice.message.tool_calls or ()
    assert (custom.id, custom.type) == ("c1", "custom")
    assert custom.custom == {"name": "my shell", "input": "ls"}
    assert (function.id, function.type, function.function.name, function.function.arguments) == (
        "c2",
        "function",
        "f",
        "{}",
    )
    assert choice.finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([], ""),
        (["{}"], ""),
        (['{"input":""}'], ""),
        (['{"command":"ls"}'], '{"command":"ls"}'),
        (['{"input":5}'], '{"input":5}'),
        (['{"input":"l'], '{"input":"l'),
    ],
)
def test_a_custom_call_that_is_not_as_agreed_keeps_all_it_has(pieces: list[str], expected: str, play: Any) -> None:
    events = [tool(0, "shell_1"), *(piece(each, 0) for each in pieces), close()]
    written = play.written(START, *events, stop("tool_use"), shape=SHELL)
    [last] = json.loads(written.split(b"\n\n")[2][6:])["choices"][0]["delta"]["tool_calls"]
    assert last["custom"]["input"] == expected


def test_a_function_from_before_tools_is_called_in_the_old_shape(play: Any) -> None:
    events = [text("a"), close(), tool(1, "f_1"), piece('{"x":', 1), piece("1}", 1), close(1)]
    shape = ResponseShape(names={"f_1": "f"}, legacy=True)
    chunks = play.chunks(START, *events, stop("tool_use"), shape=shape)
    assert [chunk["choices"][0]["delta"] for chunk in chunks[1:-1]] == [
        {"content": "a"},
        {"function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": '{"x":'}},
        {"function_call": {"arguments": "1}"}},
    ]
    assert chunks[-1]["choices"][0]["finish_reason"] == "function_call"


def test_the_input_of_an_old_second_call_is_dropped(play: Any) -> None:
    events = [tool(0), piece("{}", 0), close(), tool(1, "g", "c2"), piece('{"x":', 1), piece("1}", 1), close(1)]
    deltas = play.deltas(START, *events, stop("tool_use"), shape=ResponseShape(legacy=True))
    assert deltas == [{"function_call": {"name": "f", "arguments": ""}}, {"function_call": {"arguments": "{}"}}]


def test_the_client_puts_an_old_call_together(play: Any, final: Final) -> None:
    """The old form holds one call; further calls of the model are dropped."""
    events = [tool(0, "f"), close(), tool(1, "g", "c2"), piece('{"x":1}', 1), close(1)]
    choice = final(play.written(START, *events, stop("tool_use"), shape=ResponseShape(legacy=True))).choices[0]
    assert choice.message.function_call is not None
    assert (choice.message.function_call.name, choice.message.function_call.arguments) == ("f", "{}")
    assert choice.message.tool_calls is None
    assert choice.finish_reason == "function_call"


def test_without_a_call_the_old_shape_ends_as_any_other(play: Any) -> None:
    assert (
        play.chunks(START, text("a"), END, shape=ResponseShape(legacy=True))[-1]["choices"][0]["finish_reason"]
        == "stop"
    )


# The answer tool


def test_the_input_of_the_answer_tool_streams_as_content(play: Any) -> None:
    events = [tool(0, "report"), piece('{"a"', 0), piece(": 1}", 0), close()]
    chunks = play.chunks(START, *events, stop("tool_use"), shape=ResponseShape(answer_tool="report"))
    assert [chunk["choices"][0]["delta"].get("content") for chunk in chunks] == ["", '{"a"', ": 1}", None]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


class ReportOfA(BaseModel):
    a: int


def test_the_client_parses_the_response(play: Any, final: Final) -> None:
    events = [text("Here: "), close(), tool(1, "report"), piece('{"a"', 1), piece(": 1}", 1), close(1), text("!", 2)]
    body = play.written(START, *events, stop("tool_use"), USAGE, shape=ResponseShape(answer_tool="report"))
    completion = final(body, response_format=ReportOfA).choices[0].message
    assert completion.parsed == ReportOfA(a=1)
    assert not completion.tool_calls


@pytest.mark.parametrize("events", [[close()], [piece("", 0), close()], [close(), close()], []])
def test_an_empty_tool_input_is_an_empty_object(events: list[StreamEvent], play: Any) -> None:
    deltas = play.deltas(START, tool(0, "report"), *events, stop("tool_use"), shape=ResponseShape(answer_tool="report"))
    assert deltas == [{"content": "{}"}]


def test_a_second_call_of_the_answer_tool_is_ignored(play: Any) -> None:
    events = [tool(0, "report"), piece('{"a":1}', 0), close(), tool(1, "report"), piece('{"a":2}', 1), close(1)]
    assert play.deltas(START, *events, END, shape=ResponseShape(answer_tool="report")) == [{"content": '{"a":1}'}]


def test_without_a_call_of_the_answer_tool_the_text_is_the_content(play: Any) -> None:
    events = [text("I "), text("cannot."), close()]
    assert play.deltas(START, *events, END, shape=ResponseShape(answer_tool="report")) == [{"content": "I cannot."}]


def test_other_calls_beside_the_answer_tool_are_calls(play: Any, final: Final) -> None:
    events = [tool(0, "report"), piece("{}", 0), close(), tool(1), piece("{}", 1), close(1)]
    completion = final(
        play.written(START, *events, stop("tool_use"), shape=ResponseShape(answer_tool="report"))
    ).choices[0]
    assert completion.message.content == "{}"
    assert [call.function.name for call in completion.message.tool_calls or ()] == ["f"]
    assert completion.finish_reason == "tool_calls"


def test_where_another_tool_is_called_there_is_nothing_to_parse(play: Any, final: Final) -> None:
    """The client's `parse()` would raise at text that is not of its schema."""

    events = [text("Let me see."), citation(0, "https://x.org"), close(), tool(1), close(1)]
    body = play.written(START, *events, stop("tool_use"), shape=ResponseShape(answer_tool="report"))
    completion = final(body, response_format=ReportOfA).choices[0]
    assert not completion.message.content
    assert completion.message.parsed is None
    assert completion.message.annotations is None
    assert [call.function.name for call in completion.message.tool_calls or ()] == ["f"]
    assert completion.finish_reason == "tool_calls"
