"""ConverseStream events as chunks, read back by the openai package's own stream."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import httpx2
import pytest
from openai import APIError, OpenAI
from openai.types.chat import ChatCompletionChunk, ParsedChatCompletion
from pydantic import BaseModel

from extproc.openai.chat import Chunks, Usage
from extproc.openai.sse import DONE
from extproc.openai.sse import event as sse_event
from extproc.translate.chat_stream import ChatStream, State, StreamError

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


def test_reasoning_stands_apart_from_the_content(play: Player) -> None:
    said = [reasoning(text="Hm."), reasoning(signature="s"), reasoning(redactedContent="eA=="), text("Hi", 1)]
    assert play.deltas(START, *said, close(1), END) == [{"reasoning_content": "Hm."}, {"content": "Hi"}]


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
    assert last["usage"] == {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
    assert [chunk["usage"] for chunk in others] == [None] * 3


def test_usage_is_counted_whether_it_is_asked_for_or_not(play: Player) -> None:
    stream = play.stream()
    cached = {"inputTokens": 10, "outputTokens": 20, "cacheReadInputTokens": 5, "cacheWriteInputTokens": 7}
    stream.feed(play.encode([START, END, ("metadata", {"usage": cached})]))
    assert stream.usage == Usage(22, 20, cached=5, cache_written=7)
    assert (stream.state, stream.finish) == (State.COUNTED, "stop")


def test_an_end_without_metadata_is_an_end_without_usage(play: Player) -> None:
    assert all(chunk["choices"] for chunk in play.chunks(START, text("a"), END, usage=True))


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
    chunks = play.chunks(START, *said, stop("tool_use"), answer_tool="report")
    assert [chunk["choices"][0]["delta"].get("content") for chunk in chunks] == ["", '{"a"', ": 1}", None]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_the_client_parses_the_answer(play: Player) -> None:
    class Report(BaseModel):
        a: int

    said = [text("Here: "), close(), tool(1, "report"), piece('{"a"', 1), piece(": 1}", 1), close(1), text("!", 2)]
    body = play.written(START, *said, stop("tool_use"), USAGE, answer_tool="report")
    found = final(body, response_format=Report).choices[0].message
    assert found.parsed == Report(a=1)
    assert not found.tool_calls


@pytest.mark.parametrize("said", [[close()], [piece("", 0), close()], [close(), close()], []])
def test_an_empty_answer_is_an_empty_object(said: list[Say], play: Player) -> None:
    deltas = play.deltas(START, tool(0, "report"), *said, stop("tool_use"), answer_tool="report")
    assert deltas == [{"content": "{}"}]


def test_a_second_answer_is_not_heard(play: Player) -> None:
    said = [tool(0, "report"), piece('{"a":1}', 0), close(), tool(1, "report"), piece('{"a":2}', 1), close(1)]
    assert play.deltas(START, *said, END, answer_tool="report") == [{"content": '{"a":1}'}]


def test_without_the_answer_tool_the_text_is_all_there_is(play: Player) -> None:
    said = [text("I "), text("cannot."), close()]
    assert play.deltas(START, *said, END, answer_tool="report") == [{"content": "I cannot."}]


def test_other_calls_beside_the_answer_are_calls(play: Player) -> None:
    said = [tool(0, "report"), piece("{}", 0), close(), tool(1), piece("{}", 1), close(1)]
    found = final(play.written(START, *said, stop("tool_use"), answer_tool="report")).choices[0]
    assert found.message.content == "{}"
    assert [call.function.name for call in found.message.tool_calls or ()] == ["f"]
    assert found.finish_reason == "tool_calls"


def test_where_another_tool_is_called_the_text_is_content(play: Player) -> None:
    said = [text("Let me see."), close(), tool(1), close(1)]
    found = final(play.written(START, *said, stop("tool_use"), answer_tool="report")).choices[0]
    assert found.message.content == "Let me see."
    assert found.finish_reason == "tool_calls"


# Failures


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("throttlingException", 429),
        ("validationException", 400),
        ("internalServerException", 500),
        ("modelStreamErrorException", 502),
        ("serviceUnavailableException", 503),
    ],
)
def test_an_exception_at_the_beginning_can_still_become_a_status(kind: str, status: int, play: Player) -> None:
    failure = play.failure(play.event(kind, {"message": "Because."}, message="exception"))
    assert (failure.error.status, failure.error.message, failure.written) == (status, "Because.", b"")


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
