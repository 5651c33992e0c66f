"""A client may send a response back: the assistant's message of one response in the next request."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from extproc.bedrock.capability_table import BUILT_IN
from extproc.openai.chat import decode_request
from extproc.openai.chunks import ChunkEncoder
from extproc.translate.chat_completion import translate_response
from extproc.translate.chat_request import plan
from extproc.translate.chat_sse import whole_stream
from extproc.translate.chat_stream import ChatStream
from extproc.translate.response_shape import ResponseShape

CLAUDE = BUILT_IN.of("anthropic.claude-sonnet-4-5-20250929-v1:0")
BLOCKS = [
    {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2lnbmF0dXJl"}}},
    {"reasoningContent": {"redactedContent": "d2l0aGhlbGQ="}},
    {"citationsContent": {"content": [{"text": "See."}], "citations": [{"location": {"web": {"url": "https://x"}}}]}},
    {"toolUse": {"toolUseId": "c1", "name": "f", "input": {"x": 1}}},
]
BODY = json.dumps(
    {"output": {"message": {"role": "assistant", "content": BLOCKS}}, "stopReason": "tool_use", "usage": {}}
).encode()


def buffered(body: bytes, shape: ResponseShape) -> dict[str, Any]:
    translated = translate_response(body, completion_id="i", created=1, model="m", shape=shape)
    message: dict[str, Any] = json.loads(translated.body)["choices"][0]["message"]
    return message


def streamed(body: bytes, shape: ResponseShape) -> dict[str, Any]:
    """Return the message as the openai package assembles it from the stream."""
    state: ChatCompletionStreamState[Any] = ChatCompletionStreamState()
    written = whole_stream(body, ChatStream(shape=shape), ChunkEncoder("i", 1, "m", include_usage=False)).body
    for event in written.split(b"\n\n")[:-2]:
        state.handle_chunk(ChatCompletionChunk.construct(**json.loads(event[6:])))
    return state.current_completion_snapshot.choices[0].message.to_dict()


ways = pytest.mark.parametrize("way", [buffered, streamed])
Way = Callable[[bytes, ResponseShape], dict[str, Any]]


@ways
def test_the_models_reasoning_is_sent_back_with_its_signatures(way: Way) -> None:
    request = {
        "model": "m",
        "reasoning_effort": "low",
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "messages": [
            {"role": "user", "content": "Hi"},
            way(BODY, ResponseShape()),
            {"role": "tool", "tool_call_id": "c1", "content": "9"},
        ],
    }
    planned = plan(decode_request(json.dumps(request).encode()), CLAUDE)
    reasoning, withheld, text_block, called = json.loads(planned.body)["messages"][1]["content"]
    assert [reasoning, withheld, text_block, called] == [*BLOCKS[:2], {"text": "See."}, BLOCKS[3]]


@ways
@pytest.mark.parametrize(
    "shape",
    [
        ResponseShape(legacy=True),
        ResponseShape(custom=frozenset({"f"})),
        ResponseShape(names={"f": "a/b.c"}),
        ResponseShape(answer_tool="f"),
    ],
)
def test_a_message_of_any_shape_can_be_sent_back(way: Way, shape: ResponseShape) -> None:
    message = way(BODY, shape)
    request = {"model": "m", "messages": [{"role": "user", "content": "Hi"}, message]}
    assert len(decode_request(json.dumps(request).encode()).messages) == 2
