"""What a chat call makes of Bedrock's answer, in the form that the client asked for."""

import json
from typing import Any

import pytest

from extproc import config
from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.catalogue import Target
from extproc.exchange.calls import ChatCall, Completed

TARGET = Target("meta.llama3-1-8b-instruct-v1:0", "meta.llama3-1-8b-instruct-v1:0")
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
USE = {"toolUse": {"toolUseId": "c1", "name": "f", "input": {"x": 1}}}


def call(**fields: Any) -> ChatCall:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    return ChatCall(json.dumps(body).encode(), config.Settings(), "1", 1_790_000_000.5)


def asked(made: ChatCall, **takes: Any) -> str:
    """The path of the one question that goes to a model that takes this."""
    [question] = made.ask(TARGET, Capabilities(family="f", tool_choices=("auto",), **takes))
    return question.path.rsplit("/", 1)[1]


def completed(made: ChatCall, *blocks: Any) -> Completed:
    usage = {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}
    message = {"role": "assistant", "content": list(blocks)}
    body = {"output": {"message": message}, "stopReason": "end_turn", "usage": usage}
    return made.complete([({}, json.dumps(body).encode())])


def test_a_stream_is_asked_for_where_the_model_streams() -> None:
    made = call(stream=True)
    assert asked(made) == "converse-stream"
    assert made.stream() is not None


def test_a_whole_answer_is_one_json_document() -> None:
    made = call()
    assert asked(made) == "converse"
    assert made.stream() is None
    answer = completed(made, {"text": "Ho"})
    assert answer.content_type == "application/json"
    assert json.loads(answer.body)["choices"][0]["message"]["content"] == "Ho"


@pytest.mark.parametrize(
    ("takes", "fields"),
    [({"streams": False}, {}), ({"streams_with_tools": False}, {"tools": [TOOL]})],
    ids=["never", "with tools"],
)
def test_where_the_model_cannot_stream_the_client_still_gets_one(takes: Any, fields: Any) -> None:
    made = call(stream=True, stream_options={"include_usage": True}, **fields)
    assert asked(made, **takes) == "converse"
    assert made.stream() is None
    answer = completed(made, {"text": "Ho"}, USE)
    assert answer.content_type.startswith("text/event-stream")
    assert (answer.usage.prompt, answer.usage.completion, answer.finish) == (1, 2, "tool_calls")
    *events, done, rest = answer.body.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    chunks = [json.loads(event.removeprefix(b"data: ")) for event in events]
    assert {(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks} == {("chatcmpl-1", 1_790_000_000, "m")}
    assert chunks[-1]["usage"]["total_tokens"] == 3
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"


def test_where_the_model_cannot_stream_with_tools_it_streams_without() -> None:
    assert asked(call(stream=True), streams_with_tools=False) == "converse-stream"
