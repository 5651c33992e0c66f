"""`response_format` with OpenAI's Python SDK: `.parse()`, the stream helper, JSON schemas and JSON objects."""

import json
from typing import Any, Literal

import openai
import pytest
from openai import LengthFinishReasonError, OpenAI
from pydantic import BaseModel

CLAUDE = "anthropic.claude-sonnet-4-6"
NOVA = "amazon.nova-micro-v1:0"


class Stop(BaseModel):
    city: str
    nights: int


class Journey(BaseModel):
    """Nested, with a reference and an enumeration."""

    title: str
    by: Literal["train", "boat"]
    stops: list[Stop]


QUESTION: Any = [{"role": "user", "content": "Plan a journey to Paris for 3 nights."}]


@pytest.mark.parametrize("model", [CLAUDE, NOVA])
def test_parse(client: OpenAI, model: str) -> None:
    answer = client.chat.completions.parse(model=model, messages=QUESTION, response_format=Journey)
    message = answer.choices[0].message
    assert isinstance(message.parsed, Journey)
    assert message.parsed.by == "train"
    assert message.parsed.stops[0].nights == 3
    assert message.content is not None
    assert Journey.model_validate_json(message.content) == message.parsed
    assert not message.tool_calls
    assert answer.choices[0].finish_reason == "stop"


def test_the_stream_helper_parses(client: OpenAI) -> None:
    with client.chat.completions.stream(model=CLAUDE, messages=QUESTION, response_format=Journey) as stream:
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
    answer = client.chat.completions.parse(
        model=CLAUDE,
        messages=[{"role": "user", "content": "Book a hotel in Paris for 3 nights."}],
        tools=[weather_strict(weather), strict],
        response_format=Journey,
    )
    message = answer.choices[0].message
    assert message.tool_calls is not None
    [call] = message.tool_calls
    assert call.function.name == "book_hotel"
    assert call.function.parsed_arguments == Stop(city="Paris", nights=3)
    assert message.parsed is None
    assert answer.choices[0].finish_reason == "tool_calls"


def weather_strict(weather: Any) -> Any:
    """`.parse()` takes only strict tools."""
    return {**weather, "function": {**weather["function"], "strict": True}}


def test_an_answer_cut_short_raises_as_openais_does(client: OpenAI) -> None:
    with pytest.raises(LengthFinishReasonError):
        client.chat.completions.parse(model=CLAUDE, messages=QUESTION, response_format=Journey, max_tokens=3)


def test_a_schema_by_hand(client: OpenAI) -> None:
    schema: Any = {"type": "object", "properties": {"answer": {"const": 42}}, "required": ["answer"]}
    form: Any = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
    answer = client.chat.completions.create(model=CLAUDE, messages=QUESTION, response_format=form)
    assert answer.choices[0].message.content is not None
    assert json.loads(answer.choices[0].message.content) == {"answer": 42}
    streamed = client.chat.completions.create(model=CLAUDE, messages=QUESTION, response_format=form, stream=True)
    pieces = [chunk.choices[0].delta.content or "" for chunk in streamed]
    assert json.loads("".join(pieces)) == {"answer": 42}


def test_json_object_asks_for_json(client: OpenAI, local: Any) -> None:
    answer = client.chat.completions.create(model=CLAUDE, messages=QUESTION, response_format={"type": "json_object"})
    assert answer.choices[0].finish_reason == "stop"
    [told] = local.call()["body"]["system"]
    assert "JSON object" in told["text"]
    assert "toolConfig" not in local.call()["body"]


def test_text_changes_nothing(client: OpenAI, local: Any) -> None:
    client.chat.completions.create(model=CLAUDE, messages=QUESTION, response_format={"type": "text"})
    assert not local.call()["body"].keys() & {"system", "toolConfig", "outputConfig"}
