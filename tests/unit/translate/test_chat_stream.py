"""ConverseStream events as chunks, read back by the openai package's own stream."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import httpx2
import pytest
from openai import APIError, OpenAI
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk, ParsedChatCompletion
from pydantic import BaseModel

from extproc.openai.completion import Chunks, Usage
from extproc.openai.sse import DONE
from extproc.openai.sse import event as sse_event
from extproc.translate.chat_stream import ChatStream, State, StreamError
from extproc.translate.shape import Shape

Event = Callable[..., bytes]
Say = tuple[str, dict[str, Any]]

START: Say = ("messageStart", {"role": "assistant", "p": "abcd"})
END: Say = ("messageStop", {"stopReason": "end_turn", "p": "ab"})
USAGE: Say = ("metadata", {"usage": {"inputTokens": 10, "outputTokens": 20, "totalTokens": 30}, "metrics": {}})


def text(value: str, block: int = 0) -> Say:
    return ("contentBlockDelta", {"contentBlockIndex": block, "delta": {"text": value}, "p": "abcdefgh"})


def tool(block: int, name: str = "f", call_id: str = "c1") -> Say:
    return (
        "contentBlockStart",
        {"contentBlockIndex": block, "start": {"toolUse": {"toolUseId": call_id, "name": name}}},
    )


def piece(value: str, block: int) -> Say:
    return ("contentBlockDelta", {"contentBlockIndex": block, "delta": {"toolUse": {"input": value}}})


def reasoning(block: int = 0, **delta: Any) -> Say:
    return ("contentBlockDelta", {"contentBlockIndex": block, "delta": {"reasoningContent": delta}})


def close(block: int = 0) -> Say:
    return ("contentBlockStop", {"contentBlockIndex": block})


def stop(reason: str) -> Say:
    return ("messageStop", {"stopReason": reason})


class Player:
    """Plays events to a new `ChatStream`, all at once, and reads what it wrote."""

    def __init__(self, event: Event) -> None:
        self.event = event

    def encode(self, events: Iterable[Say]) -> bytes:
        return b"".join(self.event(*said) for said in events)

    def stream(self, *, usage: bool = False, **options: Any) -> ChatStream:
        return ChatStream(Chunks("chatcmpl-1", 1_790_000_000, "m", include_usage=usage), **options)

    def written(self, *events: Say, **options: Any) -> bytes:
        stream = self.stream(**options)
        return stream.feed(self.encode(events)) + stream.end()

    def chunks(self, *events: Say, **options: Any) -> list[Any]:
        """What was written, event by event, each as the openai package's type takes it, without `[DONE]`."""
        *parts, done, rest = self.written(*events, **options).split(b"\n\n")
        assert (done, rest) == (b"data: [DONE]", b"")
        found = [json.loads(part.removeprefix(b"data: ")) for part in parts]
        for chunk in found:
            ChatCompletionChunk.model_validate(chunk, strict=True)
        return found

    def deltas(self, *events: Say, **options: Any) -> list[Any]:
        """The deltas between the role and the finish."""
        chunks = self.chunks(*events, **options)
        assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
        assert chunks[-1]["choices"][0]["delta"] == {}
        return [chunk["choices"][0]["delta"] for chunk in chunks[1:-1]]

    def failure(self, *events: Say | bytes, **options: Any) -> StreamError:
        stream = self.stream(**options)
        data = b"".join(said if isinstance(said, bytes) else self.event(*said) for said in events)
        with pytest.raises(StreamError) as caught:
            _ = stream.feed(data), stream.end()
        assert stream.state is State.FAILED
        return caught.value


@pytest.fixture
def play(event: Event) -> Player:
    return Player(event)


def client(body: bytes) -> OpenAI:
    """The openai package's client, to which every call is answered with this stream."""
    headers = {"content-type": "text/event-stream; charset=utf-8"}
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, content=body, headers=headers))
    return OpenAI(base_url="http://x/v1", api_key="k", max_retries=0, http_client=httpx2.Client(transport=transport))


def final(body: bytes, **options: Any) -> ParsedChatCompletion[Any]:
    """The whole completion, put together by the openai package's stream helper."""
    with client(body).chat.completions.stream(model="m", messages=[], **options) as stream:
        return stream.get_final_completion()


# Text


def test_text_is_streamed_piece_by_piece(play: Player) -> None:
    assert play.chunks(START, text("Hel"), text("lo"), close(), END, USAGE) == [
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1_790_000_000,
            "model": "m",
            "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
        }
        for delta, finish in [
            ({"role": "assistant", "content": "", "refusal": None}, None),
            ({"content": "Hel"}, None),
            ({"content": "lo"}, None),
            ({}, "stop"),
        ]
    ]


def test_texts_of_several_blocks_follow_each_other(play: Player) -> None:
    assert play.deltas(START, text("a"), close(), text("b", 1), close(1), END) == [{"content": "a"}, {"content": "b"}]


@pytest.mark.parametrize("said", [text(""), ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {}})])
def test_a_piece_of_nothing_writes_nothing(said: Say, play: Player) -> None:
    assert play.deltas(START, said, END) == []


def test_reasoning_stands_apart_from_the_content_and_comes_back_in_blocks(play: Player) -> None:
    said = [
        reasoning(text="Hm"),
        reasoning(text="."),
        reasoning(signature="s1"),
        reasoning(signature="s2"),
        close(),
        reasoning(1, redactedContent="eA=="),
        close(1),
        text("Hi", 2),
        close(2),
        reasoning(3, text="So."),
        close(3),
    ]
    blocks = [
        {"type": "thinking", "thinking": "Hm.", "signature": "s1s2"},
        {"type": "redacted_thinking", "data": "eA=="},
        {"type": "thinking", "thinking": "So."},
    ]
    assert play.deltas(START, *said, END) == [
        {"reasoning_content": "Hm"},
        {"reasoning_content": "."},
        {"content": "Hi"},
        {"reasoning_content": "So."},
        {"reasoning_content": "", "thinking_blocks": blocks},
    ]


def test_a_signature_without_words_is_kept(play: Player) -> None:
    """What the model thought may be withheld from us, and is signed all the same."""
    blocks = [{"type": "thinking", "thinking": "", "signature": "s"}]
    assert play.deltas(START, reasoning(signature="s"), close(), END) == [
        {"reasoning_content": "", "thinking_blocks": blocks}
    ]


def test_reasoning_of_nothing_is_no_block(play: Player) -> None:
    said = [reasoning(text=""), reasoning(1, signature=""), reasoning(2, redactedContent=""), reasoning(3)]
    assert play.deltas(START, *said, END) == []


def test_withheld_reasoning_in_pieces_is_one_base64(play: Player) -> None:
    said = [reasoning(redactedContent="eA=="), reasoning(redactedContent="eXo="), close()]
    [delta] = play.deltas(START, *said, END)
    assert delta["thinking_blocks"] == [{"type": "redacted_thinking", "data": "eHl6"}]


def test_withheld_reasoning_that_is_no_base64_is_a_bad_answer(play: Player) -> None:
    said = [reasoning(redactedContent="e"), reasoning(redactedContent="é")]
    assert play.failure(START, *said, END).error.code == "bad_upstream_answer"


def test_the_client_puts_reasoning_together(play: Player) -> None:
    said = [reasoning(text="Hm"), reasoning(text="."), reasoning(signature="s"), close(), text("Hi", 1), close(1)]
    said += [reasoning(2, redactedContent="eA=="), close(2)]
    message: Any = final(play.written(START, *said, END, USAGE, usage=True)).choices[0].message
    assert (message.content, message.reasoning_content) == ("Hi", "Hm.")
    assert message.thinking_blocks == [
        {"type": "thinking", "thinking": "Hm.", "signature": "s"},
        {"type": "redacted_thinking", "data": "eA=="},
    ]


# Citations


def citation(block: int, url: str | None, **fields: Any) -> Say:
    location = {"web": {"url": url, "domain": "x.org"}} if url else {"documentPage": {"documentIndex": 0}}
    return ("contentBlockDelta", {"contentBlockIndex": block, "delta": {"citation": {"location": location, **fields}}})


def cited(start: int, end: int, title: str, url: str) -> dict[str, Any]:
    span = {"start_index": start, "end_index": end, "title": title, "url": url}
    return {"type": "url_citation", "url_citation": span}


def test_citations_of_the_web_are_annotations_of_their_blocks_text(play: Player) -> None:
    said = [
        text("Look: "),
        close(),
        text("😀 it", 1),
        citation(1, "https://x.org/a", title="A"),
        citation(1, None, title="a document"),
        text(" is so", 1),
        citation(1, "https://x.org/b"),
        close(1),
        text(".", 2),
        close(2),
    ]
    *contents, last = play.deltas(START, *said, END)
    assert "".join(delta["content"] for delta in contents) == "Look: 😀 it is so."
    found = [cited(6, 16, "A", "https://x.org/a"), cited(6, 16, "x.org", "https://x.org/b")]
    assert last == {"annotations": found}
    assert "".join(delta["content"] for delta in contents)[6:16] == "😀 it is so"


def test_the_client_puts_annotations_together(play: Player) -> None:
    said = [text("a"), citation(0, "https://x.org/a"), close(), text("b", 1), citation(1, "https://x.org/b"), close(1)]
    message = final(play.written(START, *said, END, USAGE, usage=True)).choices[0].message
    assert message.annotations is not None
    assert [each.url_citation.url for each in message.annotations] == ["https://x.org/a", "https://x.org/b"]
    assert message.annotations[1].url_citation.start_index == 1


@pytest.mark.parametrize(
    "delta",
    [{"citation": {}}, {"citation": {"location": {}}}, {"citation": {"location": {"web": {}}, "title": "t"}}],
)
def test_a_citation_that_leads_nowhere_is_passed_over(delta: Any, play: Player) -> None:
    said = ("contentBlockDelta", {"contentBlockIndex": 0, "delta": delta})
    assert play.deltas(START, text("a"), said, close(), END) == [{"content": "a"}]


def test_the_client_puts_the_text_together(play: Player) -> None:
    pieces = ["Hel", "lo \u2028", "w\u00f6rld\x85", " \U0001f600\r\n", '"\\', "data: [DONE]\n\n"]
    found = final(play.written(START, *map(text, pieces), close(), END, USAGE, usage=True))
    assert found.choices[0].message.content == "".join(pieces)
    assert found.choices[0].message.role == "assistant"
    assert found.choices[0].finish_reason == "stop"
    assert found.usage is not None
    assert found.usage.total_tokens == 30


# Tool calls


def test_a_call_begins_once_and_its_arguments_follow(play: Player) -> None:
    said = [text("Let me see."), close(), tool(1), piece('{"x"', 1), piece("", 1), piece(": 7}", 1), close(1)]
    begun = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}
    assert play.deltas(START, *said, stop("tool_use")) == [
        {"content": "Let me see."},
        {"tool_calls": [begun]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"x"'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ": 7}"}}]},
    ]


@pytest.mark.parametrize(
    "said",
    [
        [tool(0), close()],
        [tool(0), piece("", 0), close()],
        [tool(0), ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"toolUse": {}}}), close()],
        [tool(0), close(), close()],
        [tool(0)],
    ],
    ids=["no piece", "an empty piece", "a piece without input", "stopped twice", "never stopped"],
)
def test_a_call_without_arguments_has_an_empty_object(said: list[Say], play: Player) -> None:
    deltas = play.deltas(START, *said, stop("tool_use"))
    assert "".join(delta["tool_calls"][0]["function"]["arguments"] for delta in deltas) == "{}"


def test_the_client_puts_several_calls_together(play: Player) -> None:
    """Blocks of text between them do not count: the client takes calls at 0, 1, 2."""
    found = final(
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
    calls = found.choices[0].message.tool_calls
    assert calls is not None
    assert [(call.id, call.type, call.function.name, call.function.arguments) for call in calls] == [
        ("c1", "function", "f", '{"x": 1}'),
        ("c2", "function", "g", "{}"),
        ("c3", "function", "f", "{}"),
    ]
    assert found.choices[0].message.content == "ab"
    assert found.choices[0].finish_reason == "tool_calls"


def test_the_client_puts_interleaved_calls_together(play: Player) -> None:
    said = [
        tool(0, "f", "c1"),
        tool(1, "g", "c2"),
        piece('{"a":', 0),
        piece('{"b":', 1),
        piece("1}", 0),
        piece("2}", 1),
    ]
    calls = final(play.written(START, *said, close(0), close(1), stop("tool_use"))).choices[0].message.tool_calls
    assert calls is not None
    assert [call.function.arguments for call in calls] == ['{"a":1}', '{"b":2}']


def test_tools_have_the_clients_names(play: Player) -> None:
    said = [tool(0, "files_read_1a2b"), close(), tool(1, "g", "c2"), close(1)]
    shape = Shape(names={"files_read_1a2b": "files/read.txt"})
    calls = final(play.written(START, *said, stop("tool_use"), shape=shape)).choices[0].message.tool_calls
    assert [call.function.name for call in calls or ()] == ["files/read.txt", "g"]


def test_a_call_that_aws_itself_executes_is_none_of_the_clients(play: Player) -> None:
    use = {"toolUseId": "c1", "name": "nova_grounding", "type": "server_tool_use"}
    said = [
        ("contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": use}}),
        piece('{"q":1}', 0),
        close(),
        ("contentBlockStart", {"contentBlockIndex": 1, "start": {"toolResult": {"toolUseId": "c1"}}}),
        ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"toolResult": [{"text": "x"}]}}),
        close(1),
        text("Hi", 2),
    ]
    chunks = play.chunks(START, *said, END)
    assert [chunk["choices"][0]["delta"] for chunk in chunks[1:-1]] == [{"content": "Hi"}]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


# Custom tools and functions from before tools

SHELL = Shape(names={"shell_1": "my shell"}, custom=frozenset({"my shell"}))


def test_a_custom_tools_input_is_a_text(play: Player) -> None:
    said = [tool(0, "f"), close(), tool(1, "shell_1", "c2"), piece('{"input":', 1), piece('"ls \\"x\\""}', 1), close(1)]
    written = play.written(START, *said, stop("tool_use"), shape=SHELL)
    deltas = [json.loads(part[6:])["choices"][0]["delta"] for part in written.split(b"\n\n")[3:-3]]
    assert deltas == [
        {"tool_calls": [{"index": 1, "id": "c2", "type": "custom", "custom": {"name": "my shell", "input": ""}}]},
        {"tool_calls": [{"index": 1, "custom": {"input": 'ls "x"'}}]},
    ]


def test_the_client_puts_a_custom_call_together(play: Player) -> None:
    said = [tool(0, "shell_1"), piece('{"input":"ls"}', 0), close(), tool(1, "f", "c2"), close(1)]
    body = play.written(START, *said, stop("tool_use"), USAGE, usage=True, shape=SHELL)
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
    ("pieces", "told"),
    [
        ([], ""),
        (["{}"], ""),
        (['{"input":""}'], ""),
        (['{"command":"ls"}'], '{"command":"ls"}'),
        (['{"input":5}'], '{"input":5}'),
        (['{"input":"l'], '{"input":"l'),
    ],
)
def test_a_custom_call_that_is_not_as_agreed_keeps_all_it_has(pieces: list[str], told: str, play: Player) -> None:
    said = [tool(0, "shell_1"), *(piece(each, 0) for each in pieces), close()]
    written = play.written(START, *said, stop("tool_use"), shape=SHELL)
    [last] = json.loads(written.split(b"\n\n")[2][6:])["choices"][0]["delta"]["tool_calls"]
    assert last["custom"]["input"] == told


def test_a_function_from_before_tools_is_called_in_the_old_shape(play: Player) -> None:
    said = [text("a"), close(), tool(1, "f_1"), piece('{"x":', 1), piece("1}", 1), close(1)]
    shape = Shape(names={"f_1": "f"}, legacy=True)
    chunks = play.chunks(START, *said, stop("tool_use"), shape=shape)
    assert [chunk["choices"][0]["delta"] for chunk in chunks[1:-1]] == [
        {"content": "a"},
        {"function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": '{"x":'}},
        {"function_call": {"arguments": "1}"}},
    ]
    assert chunks[-1]["choices"][0]["finish_reason"] == "function_call"


def test_the_client_puts_an_old_call_together(play: Player) -> None:
    """There is room for one; what the model called beside it is not heard."""
    said = [tool(0, "f"), close(), tool(1, "g", "c2"), piece('{"x":1}', 1), close(1)]
    choice = final(play.written(START, *said, stop("tool_use"), shape=Shape(legacy=True))).choices[0]
    assert choice.message.function_call is not None
    assert (choice.message.function_call.name, choice.message.function_call.arguments) == ("f", "{}")
    assert choice.message.tool_calls is None
    assert choice.finish_reason == "function_call"


def test_without_a_call_the_old_shape_ends_as_any_other(play: Player) -> None:
    assert play.chunks(START, text("a"), END, shape=Shape(legacy=True))[-1]["choices"][0]["finish_reason"] == "stop"


# The finish reason


@pytest.mark.parametrize(
    ("reason", "alone", "with_a_call"),
    [
        ("end_turn", "stop", "tool_calls"),
        ("stop_sequence", "stop", "tool_calls"),
        ("tool_use", "stop", "tool_calls"),
        ("max_tokens", "length", "length"),
        ("model_context_window_exceeded", "length", "length"),
        ("guardrail_intervened", "content_filter", "content_filter"),
        ("content_filtered", "content_filter", "content_filter"),
        ("refusal", "content_filter", "content_filter"),
        ("brand_new_reason", "stop", "tool_calls"),
    ],
)
def test_a_stop_reason_is_told_in_openais_words(reason: str, alone: str, with_a_call: str, play: Player) -> None:
    for said, told in (([text("a"), close()], alone), ([tool(0), close()], with_a_call)):
        assert play.chunks(START, *said, stop(reason))[-1]["choices"][0]["finish_reason"] == told


def test_a_deployment_may_call_truncation_by_another_name(play: Player) -> None:
    chunks = play.chunks(START, text("a"), stop("max_tokens"), truncation="stop")
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("reason", ["malformed_model_output", "malformed_tool_use"])
def test_a_botched_answer_fails_after_what_was_written(reason: str, play: Player) -> None:
    failure = play.failure(START, text("a"), stop(reason))
    assert (failure.error.status, failure.error.code) == (502, reason)
    assert b'"content":"a"' in failure.written
    assert DONE not in failure.written


# Usage and the end


def test_usage_comes_last_and_without_choices(play: Player) -> None:
    *others, last = play.chunks(START, text("a"), END, USAGE, usage=True)
    assert last["choices"] == []
    assert last["usage"] == Usage(10, 20).as_object()
    assert [chunk["usage"] for chunk in others] == [None] * 3


def test_usage_is_counted_whether_it_is_asked_for_or_not(play: Player) -> None:
    stream = play.stream()
    cached = {"inputTokens": 10, "outputTokens": 20, "cacheReadInputTokens": 5, "cacheWriteInputTokens": 7}
    stream.feed(play.encode([START, END, ("metadata", {"usage": cached})]))
    assert stream.usage == Usage(22, 20, cached=5, cache_written=7)
    assert (stream.state, stream.finish) == (State.COUNTED, "stop")


def test_an_end_without_metadata_is_an_end_without_usage(play: Player) -> None:
    assert all(chunk["choices"] for chunk in play.chunks(START, text("a"), END, usage=True))


@pytest.mark.parametrize(("tier", "told"), [("default", "default"), ("flex", "flex"), ("reserved", "scale")])
@pytest.mark.parametrize("usage", [False, True])
def test_the_last_chunks_say_at_which_tier_it_was_served(tier: str, told: str, usage: bool, play: Player) -> None:
    counted = ("metadata", {**USAGE[1], "serviceTier": {"type": tier}})
    chunks = play.chunks(START, text("a"), END, counted, usage=usage)
    assert [chunk.get("service_tier") for chunk in chunks] == [None, None] + [told] * (1 + usage)


@pytest.mark.parametrize("served", [{}, {"serviceTier": None}, {"serviceTier": {}}, {"serviceTier": {"type": ""}}])
def test_without_a_tier_there_is_no_tier(served: Any, play: Player) -> None:
    counted = ("metadata", {**USAGE[1], **served})
    assert all("service_tier" not in chunk for chunk in play.chunks(START, END, counted, usage=True))


def test_the_finish_reason_waits_for_the_usage(play: Player) -> None:
    """A client that leaves as soon as it has read it has been counted."""
    stream = play.stream()
    assert b'"finish_reason":"stop"' not in stream.feed(play.encode([START, text("a"), close(), END]))
    assert (stream.state, stream.finish) == (State.STOPPED, "stop")
    assert b'"finish_reason":"stop"' in stream.feed(play.encode([USAGE]))
    assert stream.state is State.COUNTED


def test_an_exception_in_place_of_the_usage_leaves_the_answer_unfinished(play: Player) -> None:
    failure = play.failure(START, text("a"), END, play.event("internalServerException", {}, message="exception"))
    assert b'"finish_reason":"' not in failure.written


def test_done_waits_for_the_end_of_the_bytes(play: Player) -> None:
    stream = play.stream()
    assert DONE not in stream.feed(play.encode([START, END, USAGE]))
    assert stream.state is State.COUNTED
    assert stream.end() == DONE
    assert stream.state is State.WHOLE


@pytest.mark.parametrize(
    "late", [b"this-is-the-end", text("late"), USAGE], ids=["bytes that are no message", "an event", "metadata again"]
)
def test_nothing_may_follow_the_metadata(late: Say | bytes, play: Player) -> None:
    stream = play.stream()
    stream.feed(play.encode([START, END, USAGE]))
    with pytest.raises(StreamError) as failure:  # noqa: PT012 - as soon as the first, at the latest with the second
        stream.feed(late if isinstance(late, bytes) else play.event(*late))
        stream.end()
    assert failure.value.error.code == "bad_upstream_answer"


def test_an_exception_after_the_metadata_is_still_told(play: Player) -> None:
    late = play.event("internalServerException", {"message": "x"}, message="exception")
    with pytest.raises(StreamError) as failure:
        play.stream().feed(play.encode([START, END, USAGE]) + late)
    assert failure.value.error.message == "x"


# What is not known


@pytest.mark.parametrize(
    "said",
    [
        ("contentBlockPause", {"anything": 1}),
        ("contentBlockStart", {"contentBlockIndex": 0, "start": {"image": {"format": "png"}}}),
        ("contentBlockStart", {"contentBlockIndex": 0, "start": {}}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"citation": {"title": "t"}}}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"hologram": {"a": [None]}}}),
        ("contentBlockStop", {"contentBlockIndex": 9}),
    ],
)
def test_events_and_blocks_that_are_not_known_are_passed_over(said: Say, play: Player) -> None:
    assert play.deltas(START, said, text("a"), said, END, USAGE) == [{"content": "a"}]


# The answer tool


def test_the_input_of_the_answer_tool_streams_as_content(play: Player) -> None:
    said = [tool(0, "report"), piece('{"a"', 0), piece(": 1}", 0), close()]
    chunks = play.chunks(START, *said, stop("tool_use"), shape=Shape(answer_tool="report"))
    assert [chunk["choices"][0]["delta"].get("content") for chunk in chunks] == ["", '{"a"', ": 1}", None]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_the_client_parses_the_answer(play: Player) -> None:
    class Report(BaseModel):
        a: int

    said = [text("Here: "), close(), tool(1, "report"), piece('{"a"', 1), piece(": 1}", 1), close(1), text("!", 2)]
    body = play.written(START, *said, stop("tool_use"), USAGE, shape=Shape(answer_tool="report"))
    found = final(body, response_format=Report).choices[0].message
    assert found.parsed == Report(a=1)
    assert not found.tool_calls


@pytest.mark.parametrize("said", [[close()], [piece("", 0), close()], [close(), close()], []])
def test_an_empty_answer_is_an_empty_object(said: list[Say], play: Player) -> None:
    deltas = play.deltas(START, tool(0, "report"), *said, stop("tool_use"), shape=Shape(answer_tool="report"))
    assert deltas == [{"content": "{}"}]


def test_a_second_answer_is_not_heard(play: Player) -> None:
    said = [tool(0, "report"), piece('{"a":1}', 0), close(), tool(1, "report"), piece('{"a":2}', 1), close(1)]
    assert play.deltas(START, *said, END, shape=Shape(answer_tool="report")) == [{"content": '{"a":1}'}]


def test_without_the_answer_tool_the_text_is_all_there_is(play: Player) -> None:
    said = [text("I "), text("cannot."), close()]
    assert play.deltas(START, *said, END, shape=Shape(answer_tool="report")) == [{"content": "I cannot."}]


def test_other_calls_beside_the_answer_are_calls(play: Player) -> None:
    said = [tool(0, "report"), piece("{}", 0), close(), tool(1), piece("{}", 1), close(1)]
    found = final(play.written(START, *said, stop("tool_use"), shape=Shape(answer_tool="report"))).choices[0]
    assert found.message.content == "{}"
    assert [call.function.name for call in found.message.tool_calls or ()] == ["f"]
    assert found.finish_reason == "tool_calls"


def test_where_another_tool_is_called_there_is_nothing_to_parse(play: Player) -> None:
    """The client's `parse()` would raise at text that is not of its schema."""

    class Report(BaseModel):
        a: int

    said = [text("Let me see."), citation(0, "https://x.org"), close(), tool(1), close(1)]
    body = play.written(START, *said, stop("tool_use"), shape=Shape(answer_tool="report"))
    found = final(body, response_format=Report).choices[0]
    assert not found.message.content
    assert found.message.parsed is None
    assert found.message.annotations is None
    assert [call.function.name for call in found.message.tool_calls or ()] == ["f"]
    assert found.finish_reason == "tool_calls"


# Failures


STATUSES = [
    ("throttlingException", 429),
    ("validationException", 400),
    ("internalServerException", 500),
    ("modelStreamErrorException", 502),
    ("modelTimeoutException", 504),
    ("serviceUnavailableException", 503),
]


def frames(play: Player, kind: str) -> list[bytes]:
    """The ways in which a stream tells of a failure."""
    named = [kind, kind[0].upper() + kind[1:], kind.upper()]
    errors = [{":message-type": "error", ":error-code": name, ":error-message": "Because."} for name in named]
    exceptions = [play.event(name, {"message": "Because."}, message="exception") for name in named]
    return exceptions + [play.event("", b"", headers=headers) for headers in errors]


@pytest.mark.parametrize(("kind", "status"), STATUSES)
def test_an_exception_at_the_beginning_can_still_become_a_status(kind: str, status: int, play: Player) -> None:
    for frame in frames(play, kind):
        failure = play.failure(frame)
        assert (failure.error.status, failure.error.message, failure.written) == (status, "Because.", b"")


@pytest.mark.parametrize(("kind", "status"), STATUSES)
def test_an_exception_in_the_middle_is_the_same_failure(kind: str, status: int, play: Player) -> None:
    for frame in frames(play, kind):
        failure = play.failure(START, text("a"), frame)
        assert (failure.error.status, failure.error.message) == (status, "Because.")
        assert failure.written.endswith(b'"content":"a"},"logprobs":null,"finish_reason":null}]}\n\n')


@pytest.mark.parametrize(("original", "status"), [(429, 429), (400, 400), (529, 503), (504, 504), (500, 502)])
def test_a_models_own_status_counts(original: int, status: int, play: Player) -> None:
    payload = {"message": "The model failed.", "originalStatusCode": original, "originalMessage": "Because."}
    error = play.failure(play.event("modelStreamErrorException", payload, message="exception")).error
    assert (error.status, error.message) == (status, "The model failed. (Because.)")


def test_a_prompt_that_is_too_long_is_told_before_anything_is_written(play: Player) -> None:
    said = {"message": "The model returned the following errors: prompt is too long: 9 tokens > 8 maximum"}
    failure = play.failure(play.event("validationException", said, message="exception"))
    assert (failure.error.status, failure.error.code, failure.written) == (400, "context_length_exceeded", b"")


@pytest.mark.parametrize(
    ("document", "status", "code"),
    [
        (b'{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"}}', 404, "model_not_found"),
        (b'{"__type":"ThrottlingException","message":"x"}', 429, "rate_limit_exceeded"),
        (b'{"output":{"message":{}}}', 502, "bad_upstream_answer"),
        (b"{", 502, "bad_upstream_answer"),
        (b"{" + b"x" * 100_000, 502, "bad_upstream_answer"),
    ],
)
def test_a_document_in_place_of_a_stream_is_a_failure(document: bytes, status: int, code: str, play: Player) -> None:
    """AWS answers so, with a status of 200, where it does not know the operation."""
    for size in (len(document), 7):
        failure = play.failure(*(document[at : at + size] for at in range(0, len(document), size)))
        assert (failure.error.status, failure.error.code, failure.written) == (status, code, b"")


def test_an_exception_later_comes_after_what_was_written(play: Player) -> None:
    failure = play.failure(START, text("a"), play.event("throttlingException", {"message": "x"}, message="exception"))
    assert failure.error.status == 429
    assert failure.written.count(b"data: ") == 2
    assert DONE not in failure.written


def test_an_error_frame_is_a_failure_too(play: Player) -> None:
    headers = {":message-type": "error", ":error-code": "InternalServerException", ":error-message": "Oh."}
    failure = play.failure(START, play.event("", b"", headers=headers))
    assert (failure.error.status, failure.error.message) == (500, "Oh.")


def test_a_message_that_does_not_say_what_it_is_is_a_failure(play: Player) -> None:
    assert play.failure(START, play.event("", b"", headers={})).error.status == 502


@pytest.mark.parametrize(
    "events",
    [[], [START], [START, text("a"), close()], [START, tool(0), piece('{"a"', 0)]],
    ids=["nothing", "only a start", "no stop", "within a call"],
)
def test_a_stream_that_breaks_off_is_never_taken_for_whole(events: list[Say], play: Player) -> None:
    failure = play.failure(*events)
    assert (failure.error.status, failure.error.code) == (502, "cut_off")


@pytest.mark.parametrize("events", [[], [START], [START, text("a"), END]])
def test_a_stream_that_breaks_off_within_a_message_is_a_failure(events: list[Say], play: Player) -> None:
    assert play.failure(*events, play.event(*USAGE)[:-1]).error.status == 502


@pytest.mark.parametrize(
    "events",
    [
        [text("a")],
        [END],
        [USAGE],
        [tool(0)],
        [close()],
        [START, START],
        [START, USAGE],
        [START, END, text("a")],
        [START, END, END],
        [START, END, tool(0)],
        [START, END, START],
    ],
)
def test_events_out_of_turn_are_a_failure(events: list[Say], play: Player) -> None:
    assert play.failure(*events).error.code == "bad_upstream_answer"


def test_what_stood_before_damaged_bytes_is_written(play: Player) -> None:
    """The messages before the damage are good, and are out before it is told, with the next bytes or the end."""
    stream = play.stream()
    assert b'"content":"a"' in stream.feed(play.encode([START, text("a")]) + b"\xff" * 12)
    with pytest.raises(StreamError) as caught:
        stream.end()
    assert caught.value.error.code == "bad_upstream_answer"


def test_a_failed_stream_stays_failed(play: Player) -> None:
    stream = play.stream()
    with pytest.raises(StreamError):
        stream.feed(play.encode([START, START]))
    with pytest.raises(StreamError):
        stream.feed(play.encode([text("a"), END, USAGE]))
    with pytest.raises(StreamError):
        stream.end()


def test_the_client_raises_what_failed(play: Player) -> None:
    failure = play.failure(
        START, text("a"), play.event("throttlingException", {"message": "Slow down."}, message="exception")
    )
    body = failure.written + sse_event(failure.error.encode())
    with pytest.raises(APIError, match=r"Slow down\.") as caught:
        list(client(body).chat.completions.create(model="m", messages=[], stream=True))
    assert caught.value.code == "rate_limit_exceeded"
