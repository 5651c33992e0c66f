"""Tools with OpenAI's Python SDK: defined, called, answered with results, forced, forbidden."""

import json
from typing import Any

import pytest
from openai import BadRequestError, OpenAI

from tests.clients.tool_calls import CLAUDE, NOVA, QUESTION, calls, result


@pytest.mark.parametrize("model", [CLAUDE, NOVA])
@pytest.mark.parametrize("choice", [{}, {"tool_choice": "auto"}])
def test_a_call_its_result_and_the_response(client: OpenAI, weather: Any, model: str, choice: Any) -> None:
    first = client.chat.completions.create(model=model, messages=QUESTION, tools=[weather], **choice)
    assert first.choices[0].finish_reason == "tool_calls"
    [call] = calls(first.choices[0].message)
    assert (call.type, call.function.name) == ("function", "get_weather")
    assert json.loads(call.function.arguments) == {"city": "Paris"}

    history: Any = [*QUESTION, first.choices[0].message, result(call, "18 degrees")]
    second = client.chat.completions.create(model=model, messages=history, tools=[weather], **choice)
    assert second.choices[0].finish_reason == "stop"
    assert second.choices[0].message.content == 'get_weather says "18 degrees".'
    assert not second.choices[0].message.tool_calls


def test_tools_that_are_not_needed(client: OpenAI, weather: Any) -> None:
    messages: Any = [{"role": "user", "content": "Hello!"}]
    response = client.chat.completions.create(model=CLAUDE, messages=messages, tools=[weather])
    assert response.choices[0].finish_reason == "stop"
    assert response.choices[0].message.tool_calls is None


def test_several_calls_at_once(client: OpenAI, weather: Any, clock: Any) -> None:
    question: Any = [{"role": "user", "content": "What are the weather and the time in Paris?"}]
    tools = [weather, clock]
    first = client.chat.completions.create(model=CLAUDE, messages=question, tools=tools)
    called = calls(first.choices[0].message)
    assert [call.function.name for call in called] == ["get_weather", "get_time"]
    assert called[0].id != called[1].id
    assert json.loads(called[1].function.arguments) == {}

    results = [result(called[1], "noon"), result(called[0], "18 degrees")]
    history: Any = [*question, first.choices[0].message, *results]
    second = client.chat.completions.create(model=CLAUDE, messages=history, tools=tools)
    assert second.choices[0].message.content is not None
    assert 'get_weather says "18 degrees".' in second.choices[0].message.content
    assert 'get_time says "noon".' in second.choices[0].message.content


def test_a_named_tool_is_called_and_left_to_the_client(client: OpenAI, weather: Any, clock: Any) -> None:
    forced: Any = {"type": "function", "function": {"name": "get_time"}}
    messages: Any = [{"role": "user", "content": "Hello!"}]
    response = client.chat.completions.create(
        model=CLAUDE, messages=messages, tools=[weather, clock], tool_choice=forced
    )
    assert [call.function.name for call in calls(response.choices[0].message)] == ["get_time"]
    assert response.choices[0].finish_reason == "tool_calls"


def test_some_tool_must_be_called(client: OpenAI, weather: Any, local: Any) -> None:
    messages: Any = [{"role": "user", "content": "Hello!"}]
    response = client.chat.completions.create(model=NOVA, messages=messages, tools=[weather], tool_choice="required")
    assert [call.function.name for call in calls(response.choices[0].message)] == ["get_weather"]
    assert local.call()["body"]["toolConfig"]["toolChoice"] == {"any": {}}


def test_none_really_means_none(client: OpenAI, weather: Any, local: Any) -> None:
    response = client.chat.completions.create(model=CLAUDE, messages=QUESTION, tools=[weather], tool_choice="none")
    assert response.choices[0].finish_reason == "stop"
    assert response.choices[0].message.tool_calls is None
    assert response.choices[0].message.content is not None
    assert "toolConfig" not in local.call()["body"]


@pytest.mark.parametrize("stream", [False, True])
def test_none_after_a_call(client: OpenAI, weather: Any, local: Any, stream: bool) -> None:
    call: Any = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
    }
    history: Any = [
        *QUESTION,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "18 degrees"},
        {"role": "user", "content": "And the weather in Rome?"},
    ]
    reply: Any = client.chat.completions.create(
        model=CLAUDE, messages=history, tools=[weather], tool_choice="none", stream=stream
    )
    if stream:
        choices = [chunk.choices[0] for chunk in reply]
        assert not any(choice.delta.tool_calls for choice in choices)
        assert choices[-1].finish_reason == "stop"
    else:
        assert reply.choices[0].message.tool_calls is None
        assert reply.choices[0].finish_reason == "stop"
    body = local.call()["body"]
    assert "toolConfig" not in body
    blocks = [block for message in body["messages"] for block in message["content"]]
    assert {kind for block in blocks for kind in block} == {"text"}
    assert any("18 degrees" in block["text"] for block in blocks)


def test_a_schema_arrives_as_it_was_sent(client: OpenAI, local: Any) -> None:
    schema: Any = {
        "type": "object",
        "$defs": {"where": {"enum": ["Paris", "Rome"]}},
        "properties": {"z": {"$ref": "#/$defs/where"}, "a": {"type": "number", "minimum": 1.0, "maximum": 1e3}},
        "additionalProperties": False,
    }
    function = {"name": "look-up_1", "description": "Looks it up.", "parameters": schema, "strict": True}
    tool: Any = {"type": "function", "function": function}
    client.chat.completions.create(model=CLAUDE, messages=QUESTION, tools=[tool])
    [spec] = local.call()["body"]["toolConfig"]["tools"]
    assert spec["toolSpec"]["inputSchema"]["json"] == schema
    assert list(spec["toolSpec"]["inputSchema"]["json"]["properties"]) == ["z", "a"]
    assert spec["toolSpec"]["description"] == "Looks it up."


def test_a_tool_call_cut_short_is_length(client: OpenAI, weather: Any) -> None:
    forced: Any = {"type": "function", "function": {"name": "get_weather"}}
    response = client.chat.completions.create(
        model=CLAUDE, messages=QUESTION, tools=[weather], tool_choice=forced, max_tokens=2
    )
    assert response.choices[0].finish_reason == "length"


# Streamed


def test_streamed_calls_accumulate_to_json(client: OpenAI, weather: Any, clock: Any) -> None:
    question: Any = [{"role": "user", "content": "What are the weather and the time in Paris?"}]
    stream = client.chat.completions.create(model=CLAUDE, messages=question, tools=[weather, clock], stream=True)
    chunks = list(stream)
    deltas = [delta for chunk in chunks for delta in chunk.choices[0].delta.tool_calls or []]
    starts = [delta for delta in deltas if delta.id]
    assert [(delta.index, delta.type, delta.function.name) for delta in starts if delta.function] == [
        (0, "function", "get_weather"),
        (1, "function", "get_time"),
    ]
    assert all(delta.function is not None for delta in deltas)
    assert not any(delta.function.name for delta in deltas if delta not in starts and delta.function)
    for index, arguments in enumerate(({"city": "Paris"}, {})):
        pieces = [delta.function.arguments or "" for delta in deltas if delta.index == index and delta.function]
        assert json.loads("".join(pieces)) == arguments
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_a_call_without_arguments_streams_an_empty_object(client: OpenAI, clock: Any) -> None:
    with client.chat.completions.stream(
        model=CLAUDE, messages=[{"role": "user", "content": "What time is it?"}], tools=[clock]
    ) as stream:
        final = stream.get_final_completion()
    [call] = calls(final.choices[0].message)
    assert call.function.arguments == "{}"


def test_the_helper_yields_calls_and_the_turn_goes_on(client: OpenAI, weather: Any) -> None:
    with client.chat.completions.stream(model=NOVA, messages=QUESTION, tools=[weather]) as stream:
        events = list(stream)
        message = stream.get_final_completion().choices[0].message
    pieces = [event.arguments_delta for event in events if event.type == "tool_calls.function.arguments.delta"]
    [done] = [event for event in events if event.type == "tool_calls.function.arguments.done"]
    assert "".join(pieces) == done.arguments
    assert (done.name, json.loads(done.arguments)) == ("get_weather", {"city": "Paris"})

    [call] = calls(message)
    assert (call.type, call.function.name) == ("function", "get_weather")
    history: Any = [*QUESTION, message, result(call, "18 degrees")]
    with client.chat.completions.stream(model=NOVA, messages=history, tools=[weather]) as stream:
        response = stream.get_final_completion()
    assert response.choices[0].message.content == 'get_weather says "18 degrees".'


# Names that Bedrock rejects, and tools of other kinds


@pytest.mark.parametrize("stream", [False, True])
def test_a_name_that_bedrock_rejects_comes_back_as_it_was_sent(client: OpenAI, local: Any, stream: bool) -> None:
    name = "mcp.weather/" + "get_" * 20
    tool: Any = {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    forced: Any = {"type": "function", "function": {"name": name}}
    parameters: Any = {"model": CLAUDE, "messages": QUESTION, "tools": [tool]}
    if stream:
        with client.chat.completions.stream(**parameters, tool_choice=forced) as events:
            message = events.get_final_completion().choices[0].message
    else:
        message = client.chat.completions.create(**parameters, tool_choice=forced).choices[0].message
    [call] = calls(message)
    assert call.function.name == name
    [sent] = local.call()["body"]["toolConfig"]["tools"]
    assert len(sent["toolSpec"]["name"]) <= 64

    history: Any = [*QUESTION, {"role": "assistant", "tool_calls": [call.to_dict()]}, result(call, "18 degrees")]
    client.chat.completions.create(model=CLAUDE, messages=history, tools=[tool])
    used = local.calls()[-1]["body"]["messages"][1]["content"][0]["toolUse"]
    assert used["name"] == sent["toolSpec"]["name"]


def test_only_allowed_tools_are_sent(client: OpenAI, weather: Any, clock: Any, local: Any) -> None:
    reference = {"type": "function", "function": {"name": "get_time"}}
    allowed: Any = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [reference]}}
    response = client.chat.completions.create(
        model=CLAUDE, messages=QUESTION, tools=[weather, clock], tool_choice=allowed
    )
    assert [call.function.name for call in calls(response.choices[0].message)] == ["get_time"]
    assert len(local.call()["body"]["toolConfig"]["tools"]) == 1


def test_allowed_tools_may_be_left_alone_and_others_stay_in_the_history(
    client: OpenAI, weather: Any, clock: Any
) -> None:
    question: Any = [{"role": "user", "content": "What are the weather and the time in Paris?"}]
    parameters: Any = {"model": NOVA, "tools": [clock, weather]}

    def complete(messages: Any, allowed: str) -> Any:
        named = [{"type": "function", "function": {"name": allowed}}]
        choice: Any = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": named}}
        return client.chat.completions.create(messages=messages, **parameters, tool_choice=choice).choices[0].message

    first = complete(question, "get_weather")
    [call] = calls(first)
    assert call.function.name == "get_weather"
    second = complete([*question, first, result(call, "18 degrees")], "get_time")
    assert second.content == 'get_weather says "18 degrees".'
    assert second.tool_calls is None


@pytest.mark.parametrize("stream", [False, True])
def test_one_call_at_a_time(client: OpenAI, weather: Any, clock: Any, stream: bool) -> None:
    question: Any = [{"role": "user", "content": "What are the weather and the time in Paris?"}]
    parameters: Any = {"model": CLAUDE, "messages": question, "tools": [weather, clock], "parallel_tool_calls": False}
    if stream:
        with client.chat.completions.stream(**parameters) as events:
            message = events.get_final_completion().choices[0].message
    else:
        message = client.chat.completions.create(**parameters).choices[0].message
    assert len(calls(message)) == 1


def test_a_model_that_cannot_be_limited_to_one_call_is_an_error(client: OpenAI, weather: Any, clock: Any) -> None:
    question: Any = [{"role": "user", "content": "What are the weather and the time in Paris?"}]
    raw = client.chat.completions.with_raw_response.create(
        model=NOVA, messages=question, tools=[weather, clock], parallel_tool_calls=False
    )
    assert raw.headers["x-oai-ignored-params"] == "parallel_tool_calls"
    assert len(calls(raw.parse().choices[0].message)) == 2


# Rejected


def test_a_call_without_its_result(client: OpenAI, weather: Any, local: Any) -> None:
    call: Any = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    history: Any = [*QUESTION, {"role": "assistant", "content": None, "tool_calls": [call]}, *QUESTION]
    with pytest.raises(BadRequestError, match="call_1"):
        client.chat.completions.create(model=CLAUDE, messages=history, tools=[weather])
    assert local.calls() == []


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"tool_choice": {"type": "function", "function": {"name": "nope"}}}, "tool_choice.function.name"),
        ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0].custom.name"),
        ({"tools": [{"type": "function", "function": {"name": ""}}]}, "tools[0].function.name"),
        ({"tools": [], "tool_choice": "required"}, "tool_choice"),
    ],
)
def test_invalid_tools_are_rejected(client: OpenAI, weather: Any, local: Any, change: Any, param: str) -> None:
    parameters: Any = {"model": CLAUDE, "messages": QUESTION, "tools": [weather], **change}
    with pytest.raises(BadRequestError) as rejected:
        client.chat.completions.create(**parameters)
    assert rejected.value.param == param
    assert local.calls() == []
