"""Fixtures of the tests of `chat_stream`: a player of ConverseStream's events, and the openai package as the reader."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import httpx2
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionChunk, ParsedChatCompletion

from extproc.openai.chunks import ChunkEncoder
from extproc.translate.chat_sse import ChatSse, StreamError
from extproc.translate.chat_stream import ChatStream, State
from tests.unit.translate.stream_events import USAGE, StreamEvent

Event = Callable[..., bytes]


class Player:
    """A player that feeds events to a new `ChatSse`, all at once, and reads its output."""

    def __init__(self, event: Event) -> None:
        self.event = event

    def encode(self, events: Iterable[StreamEvent]) -> bytes:
        return b"".join(self.event(*item) for item in events)

    def stream(self, *, usage: bool = False, **options: Any) -> ChatSse:
        return ChatSse(ChatStream(**options), ChunkEncoder("chatcmpl-1", 1_790_000_000, "m", include_usage=usage))

    def written(self, *events: StreamEvent, **options: Any) -> bytes:
        """Return the output. A test that ends with messageStop does not care about the metadata that follow it."""
        stream = self.stream(**options)
        counted = [USAGE] if events[-1][0] == "messageStop" else []
        return stream.feed(self.encode([*events, *counted])) + stream.end()

    def chunks(self, *events: StreamEvent, **options: Any) -> list[Any]:
        """Return the written chunks, validated by the openai package's type, without `[DONE]`."""
        *parts, done, rest = self.written(*events, **options).split(b"\n\n")
        assert (done, rest) == (b"data: [DONE]", b"")
        decoded = [json.loads(part.removeprefix(b"data: ")) for part in parts]
        for chunk in decoded:
            ChatCompletionChunk.model_validate(chunk, strict=True)
        return decoded

    def deltas(self, *events: StreamEvent, **options: Any) -> list[Any]:
        """Return the deltas between the role and the finish."""
        chunks = self.chunks(*events, **options)
        assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
        assert chunks[-1]["choices"][0]["delta"] == {}
        return [chunk["choices"][0]["delta"] for chunk in chunks[1:-1]]

    def failure(self, *events: StreamEvent | bytes, **options: Any) -> StreamError:
        stream = self.stream(**options)
        data = b"".join(item if isinstance(item, bytes) else self.event(*item) for item in events)
        with pytest.raises(StreamError) as caught:
            _ = stream.feed(data), stream.end()
        assert stream.state is State.FAILED
        return caught.value


@pytest.fixture
def play(event: Event) -> Player:
    return Player(event)


def _client(body: bytes) -> OpenAI:
    """Return the openai package's client, which gets this stream as the response to every call."""
    headers = {"content-type": "text/event-stream; charset=utf-8"}
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, content=body, headers=headers))
    return OpenAI(base_url="http://x/v1", api_key="k", max_retries=0, http_client=httpx2.Client(transport=transport))


@pytest.fixture
def client() -> Callable[[bytes], OpenAI]:
    """Return a function that makes the openai package's client, which gets this stream for every call."""
    return _client


@pytest.fixture
def final() -> Callable[..., ParsedChatCompletion[Any]]:
    """Return a function that assembles the whole completion by the openai package's stream helper."""

    def put_together(body: bytes, **options: Any) -> ParsedChatCompletion[Any]:
        with _client(body).chat.completions.stream(model="m", messages=[], **options) as stream:
            return stream.get_final_completion()

    return put_together
