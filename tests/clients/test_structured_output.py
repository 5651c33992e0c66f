"""`response_format` with OpenAI's Python SDK: `.parse()`, the stream helper, JSON schemas and JSON objects."""

import json
from typing import Any

import openai
import pytest
from openai import LengthFinishReasonError, OpenAI

from tests.clients.journey import Journey, Stop

CLAUDE = "anthropic.claude-sonnet-4-6"
NOVA = "amazon.nova-micro-v1:0"
LLAMA = "meta.llama3-3-70b-instruct-v1:0"


QUESTION: Any = [{"role": "user", "content": "Plan a journey to Paris for 3 nights."}]


@pytest.mark.parametrize("model", [CLAUDE, NOVA])
def test_parse(client: OpenAI, model: str) -> None:
    response = client.chat.completions.parse(model=model, messages=QUESTION, response_format=Journey)
    message = response.choices[0].message
    assert isinstance(message.parsed, Journey)
    assert message.parsed.by == "train"
    assert message.parsed.stops[0].nights == 3
    assert message.content is not None
    assert Journey.model_validate_json(message.content) == message.parsed
    assert not message.tool_calls
    assert response.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("model", [CLAUDE, NOVA])
def test_the_stream_helper_parses(client: OpenAI, model: str) -> None:
    with client.chat.completions.stream(model=model, messages=QUESTION, response_format=Journey) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    assert len([event for event in events if event.type == "content.delta"]) > 3
    [done] = [event for event in events if event.type == "content.done"]
    assert isinstance(done.parsed, Journey)
    assert final.choices[0].message.parsed == done.parsed
    assert final.choices[0].finish_reason == "stop"
    assert not final.choices[0].message.tool_calls


def test_parse_beside_tools_that_are_called(client: OpenAI, weather: Any) -> None:
    strict = openai.pydantic_function_tool(Stop, name="book_hotel")
    response = client.chat.completions.parse(
        model=CLAUDE,
        messages=[{"role": "user", "content": "Book a hotel in Paris for 3 nights."}],
        tools=[weather_strict(weather), strict],
        response_format=Journey,
    )
    message = response.choices[0].message
    assert message.tool_calls is not None
    [call] = message.tool_calls
    assert call.function.name == "book_hotel"
    assert call.function.parsed_arguments == Stop(city="Paris", nights=3)
    assert message.parsed is None
    assert response.choices[0].finish_reason == "tool_calls"


def weather_strict(weather: Any) -> Any:
    """`.parse()` takes only strict tools."""
    return {**weather, "function": {**weather["function"], "strict": True}}


def test_a_response_cut_short_raises_as_openais_does(client: OpenAI) -> None:
    with pytest.raises(LengthFinishReasonError):
        client.chat.completions.parse(model=CLAUDE, messages=QUESTION, response_format=Journey, max_tokens=3)


def test_a_schema_by_hand(client: OpenAI) -> None:
    schema: Any = {"type": "object", "properties": {"answer": {"const": 42}}, "required": ["answer"]}
    form: Any = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
    response = client.chat.completions.create(model=CLAUDE, messages=QUESTION, response_format=form)
    assert response.choices[0].message.content is not None
    assert json.loads(response.choices[0].message.content) == {"answer": 42}
    streamed = client.chat.completions.create(model=CLAUDE, messages=QUESTION, response_format=form, stream=True)
    pieces = [chunk.choices[0].delta.content or "" for chunk in streamed]
    assert json.loads("".join(pieces)) == {"answer": 42}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", [CLAUDE, NOVA])
def test_a_json_object_without_a_schema(client: OpenAI, local: Any, model: str, stream: bool) -> None:
    form: Any = {"type": "json_object"}
    result: Any = client.chat.completions.create(model=model, messages=QUESTION, response_format=form, stream=stream)
    if stream:
        chunks = list(result)
        content = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert len(chunks) > 3
        assert chunks[-1].choices[0].finish_reason == "stop"
    else:
        content = result.choices[0].message.content
        assert result.choices[0].finish_reason == "stop"
    assert json.loads(content)["answer"].startswith('You said: "Plan a journey')
    [system_block] = local.call()["body"]["system"]
    assert "JSON object" in system_block["text"]
    assert not local.call()["body"].keys() & {"toolConfig", "outputConfig"}


@pytest.mark.parametrize("stream", [False, True])
def test_a_json_object_beside_the_clients_own_instructions_and_tools(
    client: OpenAI, local: Any, weather: Any, stream: bool
) -> None:
    messages: Any = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Weather in Paris, as JSON?"},
    ]
    parameters: Any = {"model": NOVA, "tools": [weather], "response_format": {"type": "json_object"}}
    [call] = client.chat.completions.create(messages=messages, **parameters).choices[0].message.tool_calls or []
    assert call.type == "function"
    messages += [{"role": "assistant", "tool_calls": [call.to_dict()]}]
    messages += [{"role": "tool", "tool_call_id": call.id, "content": "18 degrees"}]
    result: Any = client.chat.completions.create(messages=messages, **parameters, stream=stream)
    pieces = (
        [chunk.choices[0].delta.content or "" for chunk in result] if stream else [result.choices[0].message.content]
    )
    assert json.loads("".join(pieces)) == {"answer": 'get_weather says "18 degrees".'}
    assert local.calls()[-1]["body"]["system"][0] == {"text": "Be kind."}


def test_a_schema_that_can_only_be_requested_in_words(client: OpenAI, local: Any) -> None:
    raw = client.chat.completions.with_raw_response.parse(model=LLAMA, messages=QUESTION, response_format=Journey)
    parsed = raw.parse().choices[0].message.parsed
    assert isinstance(parsed, Journey)
    assert parsed.stops[0].nights == 3
    assert raw.headers["x-oai-ignored-params"] == "response_format.json_schema.strict"
    [system_block] = local.call()["body"]["system"]
    assert "JSON Schema" in system_block["text"]
    with client.chat.completions.stream(model=LLAMA, messages=QUESTION, response_format=Journey) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == parsed


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", [CLAUDE, NOVA])
def test_a_code_fence_around_json_is_taken_off(client: OpenAI, model: str, stream: bool) -> None:
    parameters: Any = {
        "model": model,
        "messages": [{"role": "user", "content": "Count to 30. [[local: fence]]"}],
        "response_format": {"type": "json_object"},
    }
    if stream:
        chunks = list(client.chat.completions.create(**parameters, stream=True))
        content = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    else:
        content = client.chat.completions.create(**parameters).choices[0].message.content or ""
    assert json.loads(content) == {"answer": " ".join(map(str, range(1, 31)))}


def test_a_code_fence_in_a_text_stays(client: OpenAI) -> None:
    question: Any = [{"role": "user", "content": "Count to 3. [[local: fence]]"}]
    response = client.chat.completions.create(model=CLAUDE, messages=question)
    assert response.choices[0].message.content == "```json\n1 2 3\n```\n"


def test_text_changes_nothing(client: OpenAI, local: Any) -> None:
    client.chat.completions.create(model=CLAUDE, messages=QUESTION, response_format={"type": "text"})
    assert not local.call()["body"].keys() & {"system", "toolConfig", "outputConfig"}
