"""Streamed chat with OpenAI's Python SDK."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from openai import (
    APIConnectionError,
    APIError,
    APIStatusError,
    AsyncOpenAI,
    InternalServerError,
    OpenAI,
    RateLimitError,
)
from openai.types.chat import ChatCompletionChunk

NOVA = "amazon.nova-micro-v1:0"
CLAUDE = "anthropic.claude-sonnet-4-6"


def user_messages(text: str) -> Any:
    return [{"role": "user", "content": text}]


def content(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_chunks_one_after_the_other(client: OpenAI) -> None:
    chunks = list(client.chat.completions.create(model=NOVA, messages=user_messages("Count to 9."), stream=True))
    for chunk in chunks:
        ChatCompletionChunk.model_validate_json(chunk.model_dump_json(), strict=True)
    assert len({(chunk.id, chunk.created, chunk.model, chunk.object) for chunk in chunks}) == 1
    assert chunks[0].id.startswith("chatcmpl-")
    assert chunks[0].model == NOVA
    assert content(chunks) == "1 2 3 4 5 6 7 8 9"
    assert len([chunk for chunk in chunks if chunk.choices[0].delta.content]) > 3
    assert [chunk.choices[0].delta.role for chunk in chunks] == ["assistant"] + [None] * (len(chunks) - 1)
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]


async def test_the_asynchronous_client(async_client: AsyncOpenAI) -> None:
    stream = await async_client.chat.completions.create(model=NOVA, messages=user_messages("Count to 9."), stream=True)
    assert content([chunk async for chunk in stream]) == "1 2 3 4 5 6 7 8 9"


def test_a_stream_has_the_content_of_a_buffered_response(client: OpenAI) -> None:
    question = user_messages('Say "grüß Gott", 你好 😀 \\ "quoted"\nand a second line.')
    buffered = client.chat.completions.create(model=CLAUDE, messages=question)
    streamed = list(client.chat.completions.create(model=CLAUDE, messages=question, stream=True))
    assert content(streamed) == buffered.choices[0].message.content


def test_usage_comes_last_and_alone(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model=NOVA, messages=user_messages("Count to 9."), stream=True, stream_options={"include_usage": True}
    )
    *before, last = stream
    assert {chunk.usage for chunk in before} == {None}
    assert all("usage" in chunk.model_fields_set for chunk in before)
    assert last.choices == []
    assert last.usage is not None
    buffered = client.chat.completions.create(model=NOVA, messages=user_messages("Count to 9."))
    assert last.usage == buffered.usage


def test_no_usage_without_a_request_for_it(client: OpenAI) -> None:
    for chunk in client.chat.completions.create(model=NOVA, messages=user_messages("Hello!"), stream=True):
        assert chunk.usage is None
        assert chunk.choices


def test_the_helper_yields_events_and_builds_the_completion(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model=NOVA, messages=user_messages("Count to 9."), stream_options={"include_usage": True}
    ) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    assert "".join(event.delta for event in events if event.type == "content.delta") == "1 2 3 4 5 6 7 8 9"
    [done] = [event for event in events if event.type == "content.done"]
    assert done.content == "1 2 3 4 5 6 7 8 9"
    assert final.choices[0].message.role == "assistant"
    assert final.choices[0].message.content == done.content
    assert final.choices[0].finish_reason == "stop"
    assert final.usage is not None
    assert final.usage.total_tokens == final.usage.prompt_tokens + final.usage.completion_tokens


async def test_the_asynchronous_helper(async_client: AsyncOpenAI) -> None:
    async with async_client.chat.completions.stream(model=NOVA, messages=user_messages("Count to 9.")) as stream:
        deltas = [event.delta async for event in stream if event.type == "content.delta"]
        final = await stream.get_final_completion()
    assert "".join(deltas) == final.choices[0].message.content == "1 2 3 4 5 6 7 8 9"


def test_the_headers_of_a_stream(client: OpenAI) -> None:
    with client.chat.completions.with_streaming_response.create(
        model=NOVA, messages=user_messages("Hello!"), stream=True, seed=1
    ) as response:
        lines = [line for line in response.iter_lines() if line]
        headers = response.headers
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["x-request-id"]
    assert headers["openai-organization"] == "acme"
    assert headers["x-oai-ignored-params"] == "seed"
    assert "content-length" not in headers
    assert not [name for name in headers if name.startswith("x-amz")]
    assert lines[-1] == "data: [DONE]"
    assert all(line.startswith("data: {") for line in lines[:-1])


def test_reasoning_streams_beside_the_content(client: OpenAI) -> None:
    question = user_messages('Hello! [[local: reasoning="They greet me."]]')
    chunks = list(client.chat.completions.create(model=CLAUDE, messages=question, stream=True))
    thoughts = [(chunk.choices[0].delta.model_extra or {}).get("reasoning_content") or "" for chunk in chunks]
    assert "".join(thoughts) == "They greet me."
    assert "They greet" not in content(chunks)


def test_unknown_events_are_ignored(client: OpenAI) -> None:
    question = user_messages("Count to 3. [[local: unknown]]")
    assert content(list(client.chat.completions.create(model=NOVA, messages=question, stream=True))) == "1 2 3"


def test_a_response_without_content(client: OpenAI) -> None:
    stream = client.chat.completions.create(model=NOVA, messages=user_messages("Hello! [[local: empty]]"), stream=True)
    chunks = list(stream)
    assert content(chunks) == ""
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_stop_sequence(client: OpenAI) -> None:
    stream = client.chat.completions.create(model=NOVA, messages=user_messages("Count to 9."), stop="4", stream=True)
    chunks = list(stream)
    assert content(chunks).strip() == "1 2 3"
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_stream_that_was_cut_short_has_finish_reason_length(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model=NOVA, messages=user_messages("Count to 50."), max_tokens=8, stream=True
    )
    chunks = list(stream)
    assert content(chunks).startswith("1 2 3")
    assert chunks[-1].choices[0].finish_reason == "length"


def test_a_deployment_may_report_stop_instead(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway({"compat": {"streaming_truncation": "stop"}})
    with OpenAI(base_url=gateway.url, api_key=gateway.tokens["ci"], max_retries=0) as client:
        question: Any = {"model": NOVA, "messages": user_messages("Count to 50."), "max_tokens": 8}
        assert list(client.chat.completions.create(**question, stream=True))[-1].choices[0].finish_reason == "stop"
        assert client.chat.completions.create(**question).choices[0].finish_reason == "length"


# While the model is still producing


def test_the_first_token_arrives_while_the_model_is_still_producing(client: OpenAI, local: Any) -> None:
    stream = client.chat.completions.create(
        model=NOVA, messages=user_messages("Count to 9. [[local: hold=1]]"), stream=True
    )
    read = []
    for chunk in stream:
        read.append(chunk)
        if chunk.choices[0].delta.content:
            break
    assert content(read) == "1"
    assert local.call()["state"] == "running"
    local.release()
    read.extend(stream)
    assert content(read) == "1 2 3 4 5 6 7 8 9"


async def test_the_same_with_the_asynchronous_client(async_client: AsyncOpenAI, local: Any) -> None:
    question = user_messages("Count to 9. [[local: hold=1]]")
    stream = await async_client.chat.completions.create(model=NOVA, messages=question, stream=True)
    read = []
    async for chunk in stream:
        read.append(chunk)
        if chunk.choices[0].delta.content:
            break
    assert local.call()["state"] == "running"
    local.release()
    read.extend([chunk async for chunk in stream])
    assert content(read) == "1 2 3 4 5 6 7 8 9"


def test_a_client_that_reads_to_the_end_aborts_nothing(client: OpenAI, local: Any) -> None:
    list(client.chat.completions.create(model=NOVA, messages=user_messages("Count to 9."), stream=True))
    assert local.call()["state"] == "finished"


def test_streams_that_are_read_to_the_end_are_accounted_as_whole(start_gateway: Callable[..., Any]) -> None:
    """The SDK hangs up as soon as it reads `[DONE]`: nothing that matters may come after it."""
    gateway = start_gateway(args=["--access-log"])
    with OpenAI(base_url=gateway.url, api_key=gateway.tokens["ci"], max_retries=0) as client:
        usage = client.chat.completions.create(model=NOVA, messages=user_messages("Count to 9.")).usage
        for _ in range(8):
            list(client.chat.completions.create(model=NOVA, messages=user_messages("Count to 9."), stream=True))
    gateway.wait_for(r'(?s:("stream":true.*?){8})\n')
    lines = [json.loads(line) for line in gateway.log().splitlines() if line.startswith("{")]
    assert usage is not None
    assert {line["oai"]["finish"] for line in lines} == {"stop"}
    assert {line["oai"]["input_tokens"] for line in lines} == {usage.prompt_tokens}
    assert {line["oai"]["output_tokens"] for line in lines} == {usage.completion_tokens}
    assert [line["flags"] for line in lines] == ["-"] * 9  # DC: the client left before the end


def test_a_client_that_leaves_ends_the_call_to_the_model(client: OpenAI, local: Any) -> None:
    stream = client.chat.completions.create(
        model=NOVA, messages=user_messages("Count to 9. [[local: hold=1]]"), stream=True
    )
    for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    assert local.call()["state"] == "running"
    stream.close()
    [call] = local.wait_for("aborted")
    assert call["frames"] > 0


async def test_a_helper_that_is_left_ends_the_call_to_the_model(async_client: AsyncOpenAI, local: Any) -> None:
    question = user_messages("Count to 9. [[local: hold=1]]")
    async with async_client.chat.completions.stream(model=NOVA, messages=question) as stream:
        async for event in stream:
            if event.type == "content.delta":
                break
    local.wait_for("aborted")


def test_a_client_that_gives_up_waiting_ends_a_buffered_call_too(client: OpenAI, local: Any) -> None:
    question = user_messages("Hello! [[local: hold=1]]")
    with pytest.raises(APIError, match="timed out"):
        client.chat.completions.create(model=NOVA, messages=question, timeout=1)
    local.wait_for("aborted")


# Failures


@pytest.mark.parametrize(
    ("order", "code"),
    [
        ("exception=modelStreamErrorException after=3", "model_error"),
        ("exception=throttlingException after=3", "rate_limit_exceeded"),
        ("error=internalFailure after=3", "bedrock_error"),
        ("corrupt after=3", "bad_upstream_answer"),
    ],
)
def test_a_failure_inside_a_stream_is_raised(client: OpenAI, order: str, code: str) -> None:
    stream = client.chat.completions.create(
        model=NOVA, messages=user_messages(f"Count to 9. [[local: {order}]]"), stream=True
    )
    read: list[ChatCompletionChunk] = []
    with pytest.raises(APIError) as failed:
        read.extend(stream)
    assert content(read).startswith("1")
    assert not any(chunk.choices[0].finish_reason for chunk in read)
    assert failed.value.code == code
    assert failed.value.message
    assert failed.value.type


async def test_the_asynchronous_helper_raises_it_too(async_client: AsyncOpenAI) -> None:
    question = user_messages("Count to 9. [[local: exception=modelStreamErrorException after=3]]")
    with pytest.raises(APIError) as failed:
        async with async_client.chat.completions.stream(model=NOVA, messages=question) as stream:
            await stream.until_done()
    assert failed.value.code == "model_error"


def test_a_cut_connection_is_no_silent_end(client: OpenAI, local: Any) -> None:
    """Envoy resets its client's connection with its upstream's: no filter can send anything then.

    What is on its way may be lost with it: so it breaks once the first word has been read.
    """
    question = user_messages("Count to 9. [[local: cut after=3 hold=1]]")
    read: list[ChatCompletionChunk] = []

    def read_on() -> None:
        for chunk in client.chat.completions.create(model=NOVA, messages=question, stream=True):
            read.append(chunk)
            if content([chunk]) == "1":
                local.release()

    with pytest.raises(APIConnectionError):
        read_on()
    assert content(read).startswith("1")
    assert not any(chunk.choices[0].finish_reason for chunk in read)


@pytest.mark.parametrize(
    ("order", "expected", "status"),
    [
        ("exception=throttlingException", RateLimitError, 429),
        ("exception=serviceUnavailableException", InternalServerError, 503),
        ("cut", InternalServerError, 502),
    ],
)
def test_a_failure_before_the_first_word_is_a_status(
    client: OpenAI, order: str, expected: type[APIStatusError], status: int
) -> None:
    question = user_messages(f"Count to 9. [[local: {order} after=0]]")
    with pytest.raises(expected) as failed:
        client.chat.completions.create(model=NOVA, messages=question, stream=True)
    assert failed.value.status_code == status


def test_a_rejected_stream_is_a_status_too(client: OpenAI) -> None:
    question = user_messages("Hello! [[local: status=429]]")
    with pytest.raises(RateLimitError) as rejected:
        client.chat.completions.create(model=NOVA, messages=question, stream=True)
    assert rejected.value.code == "rate_limit_exceeded"
    assert rejected.value.response.headers["content-type"] == "application/json"
