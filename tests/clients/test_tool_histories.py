"""Histories with tool calls, sent with OpenAI's Python SDK: what becomes of ids, arguments and failures."""

import json
from typing import Any

import pytest
from openai import OpenAI

from tests.clients.tool_calls import CLAUDE, NOVA, QUESTION, calls, result

LLAMA = "meta.llama3-3-70b-instruct-v1:0"


@pytest.mark.parametrize("stream", [False, True])
def test_text_beside_a_call_in_the_history_suits_a_model_that_takes_neither_beside_the_other(
    client: OpenAI, local: Any, weather: Any, stream: bool
) -> None:
    function = {"name": "get_weather", "arguments": '{"city":"Paris"}'}
    history: Any = [
        *QUESTION,
        {
            "role": "assistant",
            "content": "I'll look.",
            "tool_calls": [{"id": "c1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "18 degrees"},
    ]
    assert client.chat.completions.create(model=LLAMA, messages=history, tools=[weather], stream=stream)
    assert [turn["role"] for turn in local.call()["body"]["messages"]] == [
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
    ]


@pytest.mark.parametrize(("model", "status"), [(CLAUDE, "error"), (NOVA, "error"), (LLAMA, None)])
@pytest.mark.parametrize("stream", [False, True])
def test_a_failed_call_has_a_status_or_is_named(
    client: OpenAI, local: Any, weather: Any, model: str, status: str | None, stream: bool
) -> None:
    function = {"name": "get_weather", "arguments": '{"city":"Paris"}'}
    history: Any = [
        *QUESTION,
        {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": "c1", "content": "no such city", "is_error": True},
    ]
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=history, tools=[weather], stream=stream
    )
    assert list(raw.parse())
    assert raw.headers.get("x-oai-ignored-params") == (None if status else "messages[].is_error")
    [block] = local.call()["body"]["messages"][2]["content"]
    assert block["toolResult"].get("status") == status


def test_a_history_of_tools_without_tools(client: OpenAI) -> None:
    call: Any = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    history: Any = [
        *QUESTION,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "18 degrees"},
    ]
    response = client.chat.completions.create(model=CLAUDE, messages=history)
    assert response.choices[0].finish_reason == "stop"


def test_an_id_that_bedrock_would_reject(client: OpenAI, weather: Any) -> None:
    call: Any = {"id": "call|ü" * 30, "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    history: Any = [
        *QUESTION,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "18 degrees"},
    ]
    response = client.chat.completions.create(model=CLAUDE, messages=history, tools=[weather])
    assert response.choices[0].message.content == 'get_weather says "18 degrees".'


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", [CLAUDE, NOVA])
@pytest.mark.parametrize(
    ("arguments", "sent"),
    [("", "{}"), ("{}", "{}"), ('{"z": 1.0, "a": 123456789012345678901234567890}',) * 2],
)
def test_arguments_in_a_history_arrive_as_they_are(
    client: OpenAI, weather: Any, local: Any, model: str, arguments: str, sent: str, stream: bool
) -> None:
    call: Any = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}
    history: Any = [*QUESTION, {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "call_1"}]
    history[-1]["content"] = "18 degrees"
    reply: Any = client.chat.completions.create(model=model, messages=history, tools=[weather], stream=stream)
    pieces = [chunk.choices[0].delta.content or "" for chunk in reply] if stream else [reply.choices[0].message.content]
    assert "".join(pieces) == 'get_weather says "18 degrees".'
    assert json.dumps(local.call()["body"]["messages"][1]["content"][0]["toolUse"]["input"]) == sent


@pytest.mark.parametrize("model", [CLAUDE, NOVA])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ('{"city":"Paris","unit":"cel', {"city": "Paris"}),
        ("null", {"input": None}),
        ('["Paris"]', {"input": ["Paris"]}),
        ("Paris", {"input": "Paris"}),
    ],
)
def test_arguments_that_are_no_object_do_not_end_the_conversation(
    client: OpenAI, local: Any, weather: Any, model: str, stream: bool, arguments: str, sent: Any
) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}
    history: Any = [
        *QUESTION,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "The arguments are no JSON object."},
    ]
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=history, tools=[weather], stream=stream
    )
    assert list(raw.parse())
    assert raw.headers["x-oai-ignored-params"] == "messages[].tool_calls[].function.arguments"
    assert local.call()["body"]["messages"][1]["content"][0]["toolUse"]["input"] == sent


def test_a_call_that_was_cut_short_may_come_back(client: OpenAI, weather: Any) -> None:
    forced: Any = {"type": "function", "function": {"name": "get_weather"}}
    cut = client.chat.completions.create(
        model=CLAUDE, messages=QUESTION, tools=[weather], tool_choice=forced, max_tokens=2
    )
    [call] = calls(cut.choices[0].message)
    history: Any = [*QUESTION, cut.choices[0].message, result(call, "What city?")]
    assert client.chat.completions.create(model=CLAUDE, messages=history, tools=[weather]).choices[0].message
