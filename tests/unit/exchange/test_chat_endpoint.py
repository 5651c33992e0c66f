"""Bedrock's response to a chat call, translated into the form that the client requested."""

import json
from typing import Any

import pytest

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.catalogue import Target
from extproc.exchange.chat_endpoint import decode
from extproc.exchange.endpoint import AskContext, ResponseContext, TranslatedRequest
from extproc.translate.completed import Completed

NOW = 1_790_000_000
CONTEXT = ResponseContext("1", NOW, NOW, "length")
TARGET = Target("meta.llama3-1-8b-instruct-v1:0", "meta.llama3-1-8b-instruct-v1:0")
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
USE = {"toolUse": {"toolUseId": "c1", "name": "f", "input": {"x": 1}}}


def plan_of(takes: Any = None, **fields: Any) -> TranslatedRequest:
    """Return a request for a model with these capabilities."""
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    capabilities = Capabilities(family="f", tool_choices=("auto",), **(takes or {}))
    return decode(json.dumps(body).encode()).ask(TARGET, capabilities, AskContext({}, lambda _: ""))


def action(made: TranslatedRequest) -> str:
    [call] = made.calls
    return call.path.rsplit("/", 1)[1]


def completed(made: TranslatedRequest, *blocks: Any) -> Completed:
    usage = {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}
    message = {"role": "assistant", "content": list(blocks)}
    body = {"output": {"message": message}, "stopReason": "end_turn", "usage": usage}
    return made.pending.complete(CONTEXT, [({}, json.dumps(body).encode())])


def test_bedrock_streams_where_the_model_can() -> None:
    made = plan_of(stream=True)
    assert (action(made), made.pending.streams) == ("converse-stream", True)
    assert made.pending.stream(CONTEXT, lambda: NOW) is not None


def test_a_whole_response_is_one_json_document() -> None:
    made = plan_of()
    assert (action(made), made.pending.streams) == ("converse", False)
    assert made.pending.stream(CONTEXT, lambda: NOW) is None
    response = completed(made, {"text": "Ho"})
    assert response.content_type == "application/json"
    assert json.loads(response.body)["choices"][0]["message"]["content"] == "Ho"


@pytest.mark.parametrize(
    ("takes", "fields"),
    [({"streams": False}, {}), ({"streams_with_tools": False}, {"tools": [TOOL]})],
    ids=["never", "with tools"],
)
def test_where_the_model_cannot_stream_the_client_still_gets_one(takes: Any, fields: Any) -> None:
    made = plan_of(takes, stream=True, stream_options={"include_usage": True}, **fields)
    assert action(made) == "converse"
    assert made.pending.stream(CONTEXT, lambda: NOW) is None
    response = completed(made, {"text": "Ho"}, USE)
    assert response.content_type.startswith("text/event-stream")
    assert (response.usage.prompt, response.usage.completion, response.finish) == (1, 2, "tool_calls")
    *events, done, rest = response.body.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    chunks = [json.loads(event.removeprefix(b"data: ")) for event in events]
    assert {(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks} == {("chatcmpl-1", 1_790_000_000, "m")}
    assert chunks[-1]["usage"]["total_tokens"] == 3
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"


def test_where_the_model_cannot_stream_with_tools_it_streams_without() -> None:
    assert action(plan_of({"streams_with_tools": False}, stream=True)) == "converse-stream"
