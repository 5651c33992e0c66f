"""The end of streams: finish reason, usage, and every failure, as the openai package reads it."""

from typing import Any

import pytest
from openai import APIError

from extproc.openai.completion import Usage
from extproc.openai.sse import DONE
from extproc.openai.sse import event as sse_event
from extproc.translate.chat_sse import StreamError
from extproc.translate.chat_stream import State
from extproc.translate.response_shape import ResponseShape
from tests.unit.translate.stop_reasons import FINISH_REASONS
from tests.unit.translate.stream_events import (
    END,
    START,
    USAGE,
    Client,
    StreamEvent,
    close,
    piece,
    reasoning,
    server_tool,
    stop,
    text,
    tool,
)

# The finish reason


@pytest.mark.parametrize(("reason", "alone", "with_a_call"), FINISH_REASONS)
def test_a_stop_reason_becomes_openais_finish_reason(reason: str, alone: str, with_a_call: str, play: Any) -> None:
    for content, expected in (([text("a"), close()], alone), ([tool(0), close()], with_a_call)):
        assert play.chunks(START, *content, stop(reason))[-1]["choices"][0]["finish_reason"] == expected


def test_a_deployment_may_call_truncation_by_another_name(play: Any) -> None:
    chunks = play.chunks(START, text("a"), stop("max_tokens"), truncation="stop")
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("reason", ["malformed_model_output", "malformed_tool_use"])
def test_a_malformed_response_fails_after_the_chunks_before_it(reason: str, play: Any) -> None:
    failure = play.failure(START, text("a"), stop(reason), USAGE)
    assert (failure.error.status, failure.error.code) == (502, reason)
    assert b'"content":"a"' in failure.written
    assert DONE not in failure.written
    assert play.failure(START, text("a"), stop(reason)).error.code == reason


def test_a_malformed_response_is_counted(play: Any) -> None:
    stream = play.stream()
    stream.feed(play.encode([START, text("a"), stop("malformed_model_output")]))
    with pytest.raises(StreamError) as failure:
        stream.feed(play.encode([USAGE]))
    assert (stream.counted, stream.usage) == (True, Usage(10, 20))
    assert failure.value.error.code == "malformed_model_output"


# Usage and the end


def test_usage_comes_last_and_without_choices(play: Any) -> None:
    *others, last = play.chunks(START, text("a"), END, USAGE, usage=True)
    assert last["choices"] == []
    assert last["usage"] == Usage(10, 20).as_object()
    assert [chunk["usage"] for chunk in others] == [None] * 3


def test_usage_is_counted_even_if_not_requested(play: Any) -> None:
    stream = play.stream()
    cached = {"inputTokens": 10, "outputTokens": 20, "cacheReadInputTokens": 5, "cacheWriteInputTokens": 7}
    stream.feed(play.encode([START, END, ("metadata", {"usage": cached})]))
    assert stream.usage == Usage(22, 20, cached=5, cache_written=7)
    assert (stream.state, stream.finish) == (State.COUNTED, "stop")


def test_the_usage_has_the_tokens_of_reasoning_that_came_with_the_stop(play: Any) -> None:
    own = {"usage": {"output_tokens_details": {"thinking_tokens": 7}}}
    stopped = ("messageStop", {"stopReason": "end_turn", "additionalModelResponseFields": own})
    *_, last = play.chunks(START, text("a"), stopped, USAGE, usage=True)
    assert last["usage"] == Usage(10, 20, reasoning=7).as_object()
    assert last["usage"]["completion_tokens_details"] == {"reasoning_tokens": 7}


def test_an_end_without_metadata_is_a_cut(play: Any) -> None:
    """Without it the usage is unknown, and the response would be accounted as free of charge."""
    stream = play.stream(usage=True)
    written = stream.feed(play.encode([START, text("a"), close(), END]))
    assert b'"content":"a"' in written
    assert b'"finish_reason":"' not in written
    with pytest.raises(StreamError) as failure:
        stream.end()
    assert (failure.value.error.status, failure.value.error.code, failure.value.written) == (502, "cut_off", b"")


@pytest.mark.parametrize(("tier", "expected"), [("default", "default"), ("flex", "flex"), ("reserved", "scale")])
@pytest.mark.parametrize("usage", [False, True])
def test_the_last_chunks_have_the_service_tier(tier: str, expected: str, usage: bool, play: Any) -> None:
    counted = ("metadata", {**USAGE[1], "serviceTier": {"type": tier}})
    chunks = play.chunks(START, text("a"), END, counted, usage=usage)
    assert [chunk.get("service_tier") for chunk in chunks] == [None, None] + [expected] * (1 + usage)


@pytest.mark.parametrize(
    "served",
    [
        {},
        {"serviceTier": None},
        {"serviceTier": {}},
        {"serviceTier": {"type": ""}},
        {"serviceTier": {"type": "brand_new_tier"}},
    ],
)
def test_without_a_tier_there_is_no_tier(served: Any, play: Any) -> None:
    counted = ("metadata", {**USAGE[1], **served})
    assert all("service_tier" not in chunk for chunk in play.chunks(START, END, counted, usage=True))


@pytest.mark.parametrize("usage", [False, True])
def test_the_chunk_with_the_finish_reason_has_the_guardrails_trace(usage: bool, play: Any) -> None:
    trace = {"guardrail": {"inputAssessment": {"gr1": {"x": [1.0, "a\nb", {}, None]}}, "actionReason": "No action."}}
    counted = ("metadata", {**USAGE[1], "trace": trace})
    chunks = play.chunks(START, text("a"), END, counted, usage=usage, shape=ResponseShape(trace=True))
    assert [chunk.get("trace") for chunk in chunks] == [None, None, trace] + [None] * usage
    assert chunks[2]["choices"][0]["finish_reason"] == "stop"


def test_the_guardrails_trace_is_not_returned_unless_requested(play: Any) -> None:
    counted = ("metadata", {**USAGE[1], "trace": {"guardrail": {"modelOutput": ["a secret"]}}})
    assert b"secret" not in play.written(START, END, counted)


def test_the_client_finds_the_trace_in_a_chunk(client: Client, play: Any) -> None:
    counted = ("metadata", {**USAGE[1], "trace": {"guardrail": {"actionReason": "No action."}}})
    body = play.written(START, text("a"), END, counted, usage=True, shape=ResponseShape(trace=True))
    chunks: list[Any] = list(client(body).chat.completions.create(model="m", messages=[], stream=True))
    [trace] = [chunk.trace for chunk in chunks if "trace" in (chunk.model_extra or {})]
    assert trace == {"guardrail": {"actionReason": "No action."}}


def test_the_finish_reason_waits_for_the_usage(play: Any) -> None:
    """A client that leaves as soon as it has read it has been counted."""
    stream = play.stream()
    assert b'"finish_reason":"stop"' not in stream.feed(play.encode([START, text("a"), close(), END]))
    assert (stream.state, stream.finish) == (State.STOPPED, "stop")
    assert b'"finish_reason":"stop"' in stream.feed(play.encode([USAGE]))
    assert stream.state is State.COUNTED


def test_an_exception_in_place_of_the_usage_leaves_the_response_unfinished(play: Any) -> None:
    failure = play.failure(START, text("a"), END, play.event("internalServerException", {}, message="exception"))
    assert b'"finish_reason":"' not in failure.written


def test_done_waits_for_the_end_of_the_bytes(play: Any) -> None:
    stream = play.stream()
    assert DONE not in stream.feed(play.encode([START, END, USAGE]))
    assert stream.state is State.COUNTED
    assert stream.end() == DONE
    assert stream.state is State.WHOLE


@pytest.mark.parametrize(
    "late", [b"this-is-the-end", text("late"), USAGE], ids=["bytes that are no message", "an event", "metadata again"]
)
def test_nothing_may_follow_the_metadata(late: StreamEvent | bytes, play: Any) -> None:
    stream = play.stream()
    stream.feed(play.encode([START, END, USAGE]))
    with pytest.raises(StreamError) as failure:  # noqa: PT012 - as soon as the first, at the latest with the second
        stream.feed(late if isinstance(late, bytes) else play.event(*late))
        stream.end()
    assert failure.value.error.code == "bad_upstream_answer"


def test_an_exception_after_the_metadata_is_still_reported(play: Any) -> None:
    late = play.event("internalServerException", {"message": "x"}, message="exception")
    with pytest.raises(StreamError) as failure:
        play.stream().feed(play.encode([START, END, USAGE]) + late)
    assert failure.value.error.message == "x"


# Failures


STATUSES = [
    ("throttlingException", 429),
    ("validationException", 400),
    ("internalServerException", 500),
    ("modelStreamErrorException", 502),
    ("modelTimeoutException", 504),
    ("serviceUnavailableException", 503),
]


def frames(play: Any, kind: str) -> list[bytes]:
    """Return the frames by which a stream reports a failure."""
    named = [kind, kind[0].upper() + kind[1:], kind.upper()]
    errors = [{":message-type": "error", ":error-code": name, ":error-message": "Because."} for name in named]
    exceptions = [play.event(name, {"message": "Because."}, message="exception") for name in named]
    return exceptions + [play.event("", b"", headers=headers) for headers in errors]


@pytest.mark.parametrize(("kind", "status"), STATUSES)
def test_an_exception_at_the_beginning_can_still_become_a_status(kind: str, status: int, play: Any) -> None:
    for frame in frames(play, kind):
        failure = play.failure(frame)
        assert (failure.error.status, failure.error.message, failure.written) == (status, "Because.", b"")


@pytest.mark.parametrize(("kind", "status"), STATUSES)
def test_an_exception_in_the_middle_is_the_same_failure(kind: str, status: int, play: Any) -> None:
    for frame in frames(play, kind):
        failure = play.failure(START, text("a"), frame)
        assert (failure.error.status, failure.error.message) == (status, "Because.")
        assert failure.written.endswith(b'"content":"a"},"logprobs":null,"finish_reason":null}]}\n\n')


@pytest.mark.parametrize(("kind", "status"), STATUSES)
def test_an_exception_before_any_chunk_can_still_become_a_status(kind: str, status: int, play: Any) -> None:
    signed = reasoning(signature="s")  # with nothing sent to the client yet
    for frame in frames(play, kind):
        for begun in ([START], [START, close()], [START, signed]):
            failure = play.failure(*begun, frame)
            assert (failure.error.status, failure.written) == (status, b"")


def test_bedrocks_error_is_kept_for_the_operator(play: Any) -> None:
    content = {"message": "The security token is expired.\n\nThe Canonical String was 'secret'"}
    failure = play.failure(START, play.event("expiredTokenException", content, message="exception"))
    assert failure.bedrock_error == "ExpiredTokenException: The security token is expired."
    assert b"security token" not in failure.error.encode()
    document = b'{"__type":"ThrottlingException","message":"slow down"}'
    assert play.failure(document).bedrock_error == "ThrottlingException: slow down"
    assert play.failure(START, text("a")).bedrock_error == ""


@pytest.mark.parametrize(("original", "status"), [(429, 429), (400, 400), (529, 503), (504, 504), (500, 502)])
def test_a_models_own_status_counts(original: int, status: int, play: Any) -> None:
    payload = {"message": "The model failed.", "originalStatusCode": original, "originalMessage": "Because."}
    error = play.failure(play.event("modelStreamErrorException", payload, message="exception")).error
    assert (error.status, error.message) == (status, "The model failed. (Because.)")


def test_a_prompt_that_is_too_long_is_an_error_before_any_chunk(play: Any) -> None:
    content = {"message": "The model returned the following errors: prompt is too long: 9 tokens > 8 maximum"}
    failure = play.failure(play.event("validationException", content, message="exception"))
    assert (failure.error.status, failure.error.code, failure.written) == (400, "context_length_exceeded", b"")


def test_a_document_without_an_end_is_not_read_to_its_end(play: Any) -> None:
    stream = play.stream()
    for _ in range(65):
        assert stream.feed(b"{" + b"x" * 999) == b""
    with pytest.raises(StreamError):
        stream.feed(b"x" * 1000)


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
def test_a_document_in_place_of_a_stream_is_a_failure(document: bytes, status: int, code: str, play: Any) -> None:
    """AWS responds with it, and a status of 200, to an unknown operation."""
    for size in (len(document), 7):
        failure = play.failure(*(document[at : at + size] for at in range(0, len(document), size)))
        assert (failure.error.status, failure.error.code, failure.written) == (status, code, b"")


def test_a_later_exception_follows_the_chunks_before_it(play: Any) -> None:
    failure = play.failure(START, text("a"), play.event("throttlingException", {"message": "x"}, message="exception"))
    assert failure.error.status == 429
    assert failure.written.count(b"data: ") == 2
    assert DONE not in failure.written


def test_an_error_frame_is_a_failure_too(play: Any) -> None:
    headers = {":message-type": "error", ":error-code": "InternalServerException", ":error-message": "Oh."}
    failure = play.failure(START, play.event("", b"", headers=headers))
    assert (failure.error.status, failure.error.message) == (500, "Oh.")


@pytest.mark.parametrize("headers", [{":event-type": "metadata"}, {":event-type": "metadata", ":message-type": "x"}])
def test_a_message_without_a_type_is_a_failure(headers: dict[str, str], play: Any) -> None:
    failure = play.failure(START, END, play.event("", USAGE[1], headers=headers))
    assert (failure.error.status, failure.error.code) == (502, "bad_upstream_answer")
    assert failure.bedrock_error == ""


@pytest.mark.parametrize(
    "events",
    [[], [START], [START, text("a"), close()], [START, tool(0), piece('{"a"', 0)]],
    ids=["nothing", "only a start", "no stop", "within a call"],
)
def test_a_stream_that_breaks_off_is_never_taken_for_whole(events: list[StreamEvent], play: Any) -> None:
    failure = play.failure(*events)
    assert (failure.error.status, failure.error.code) == (502, "cut_off")


@pytest.mark.parametrize("events", [[], [START], [START, text("a"), END]])
def test_a_stream_that_breaks_off_within_a_message_is_a_failure(events: list[StreamEvent], play: Any) -> None:
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
def test_events_out_of_turn_are_a_failure(events: list[StreamEvent], play: Any) -> None:
    assert play.failure(*events).error.code == "bad_upstream_answer"


@pytest.mark.parametrize(
    "events",
    [
        [piece('{"a":1}', 0)],
        [text("a"), piece("{}", 0)],
        [tool(0), piece("{}", 1)],
        [tool(0), piece('{"a":', 0), close(), piece("1}", 0)],
        [tool(0), piece('{"a":', 0), tool(0, call_id="c2")],
        [server_tool(0), close(), piece("{}", 0)],
        [server_tool(0), tool(0)],
    ],
    ids=["no block", "a text", "another's", "ended", "begun twice", "ended, of AWS's", "begun twice, of AWS's"],
)
def test_tool_input_of_no_open_block_is_a_failure_and_never_a_shorter_call(
    events: list[StreamEvent], play: Any
) -> None:
    failure = play.failure(START, *events, stop("tool_use"), USAGE)
    assert (failure.error.status, failure.error.code) == (502, "bad_upstream_answer")
    assert DONE not in failure.written


def test_messages_before_damaged_bytes_are_written(play: Any) -> None:
    """The messages before the damage are valid, and are written before the error, with the next bytes or the end."""
    stream = play.stream()
    assert b'"content":"a"' in stream.feed(play.encode([START, text("a")]) + b"\xff" * 12)
    with pytest.raises(StreamError) as caught:
        stream.end()
    assert caught.value.error.code == "bad_upstream_answer"


def test_a_failed_stream_stays_failed(play: Any) -> None:
    stream = play.stream()
    with pytest.raises(StreamError):
        stream.feed(play.encode([START, START]))
    with pytest.raises(StreamError):
        stream.feed(play.encode([text("a"), END, USAGE]))
    with pytest.raises(StreamError):
        stream.end()


def test_the_client_raises_the_failure(play: Any, client: Client) -> None:
    failure = play.failure(
        START, text("a"), play.event("throttlingException", {"message": "Slow down."}, message="exception")
    )
    body = failure.written + sse_event(failure.error.encode())
    with pytest.raises(APIError, match=r"Slow down\.") as caught:
        list(client(body).chat.completions.create(model="m", messages=[], stream=True))
    assert caught.value.code == "rate_limit_exceeded"
