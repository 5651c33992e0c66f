"""Custom tools, and functions from before there were tools, with OpenAI's Python SDK."""

import json
from typing import Any

from openai import OpenAI

from tests.clients.tool_calls import CLAUDE, NOVA, QUESTION, result


def test_a_custom_tool_is_called_with_a_text_and_gets_its_result(client: OpenAI, local: Any) -> None:
    tool: Any = {"type": "custom", "custom": {"name": "shell", "description": "Runs a command."}}
    parameters: Any = {"model": CLAUDE, "tools": [tool], "tool_choice": {"type": "custom", "custom": {"name": "shell"}}}
    message = client.chat.completions.create(messages=QUESTION, **parameters).choices[0].message
    [call] = message.tool_calls or []
    assert call.type == "custom"
    assert call.custom.name == "shell"
    history: Any = [*QUESTION, message, result(call, "done")]
    response = client.chat.completions.create(messages=history, model=CLAUDE, tools=[tool])
    assert response.choices[0].message.content == 'shell says "done".'
    sent = local.calls()[-1]["body"]["messages"][1]["content"][-1]["toolUse"]
    assert sent["input"] == {"input": call.custom.input}


def test_a_custom_call_is_streamed_as_openai_does(client: OpenAI) -> None:
    """The openai package's type of a streamed call has no custom ones yet, so they are among its extras."""
    tool: Any = {"type": "custom", "custom": {"name": "shell"}}
    choice: Any = {"type": "custom", "custom": {"name": "shell"}}
    chunks = list(
        client.chat.completions.create(model=NOVA, messages=QUESTION, tools=[tool], tool_choice=choice, stream=True)
    )
    [first, *rest] = [delta for chunk in chunks for delta in chunk.choices[0].delta.tool_calls or []]
    assert (first.index, first.type, bool(first.id)) == (0, "custom", True)
    assert first.model_extra == {"custom": {"name": "shell", "input": ""}}
    assert "".join((delta.model_extra or {})["custom"]["input"] for delta in rest)
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_functions_from_before_there_were_tools(client: OpenAI, weather: Any) -> None:
    parameters: Any = {"model": CLAUDE, "functions": [weather["function"]]}
    choice = client.chat.completions.create(messages=QUESTION, **parameters).choices[0]
    assert choice.finish_reason == "function_call"
    assert choice.message.function_call is not None
    assert json.loads(choice.message.function_call.arguments) == {"city": "Paris"}
    function_message: Any = {"role": "function", "name": "get_weather", "content": "18 degrees"}
    history: Any = [*QUESTION, choice.message.to_dict(), function_message]
    response = client.chat.completions.create(messages=history, **parameters)
    assert response.choices[0].message.content == 'get_weather says "18 degrees".'


def test_a_function_call_streams_in_the_form_from_before_there_were_tools(client: OpenAI, weather: Any) -> None:
    functions: Any = [{"name": "get_time", "parameters": {}}, weather["function"]]
    named: Any = {"name": "get_weather"}
    stream = client.chat.completions.create(
        model=NOVA, messages=QUESTION, functions=functions, function_call=named, stream=True
    )
    chunks = list(stream)
    assert not any(chunk.choices[0].delta.tool_calls for chunk in chunks)
    [first, *rest] = [call for chunk in chunks if (call := chunk.choices[0].delta.function_call)]
    assert first.name == "get_weather"
    assert not any(call.name for call in rest)
    assert json.loads("".join(call.arguments or "" for call in [first, *rest])) == {"city": "Paris"}
    assert chunks[-1].choices[0].finish_reason == "function_call"


def test_functions_that_may_not_be_called(client: OpenAI, weather: Any, local: Any) -> None:
    choice = client.chat.completions.create(
        model=CLAUDE, messages=QUESTION, functions=[weather["function"]], function_call="none"
    ).choices[0]
    assert (choice.finish_reason, choice.message.function_call) == ("stop", None)
    assert "toolConfig" not in local.call()["body"]
