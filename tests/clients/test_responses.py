"""Responses with the openai package."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import APIStatusError, NotFoundError, OpenAI, RateLimitError
from openai.types.responses import Response
from pydantic import BaseModel

from tests.clients.conftest import DEADLINE, LocalBedrock
from tests.conftest import Gateway

CLAUDE = "anthropic.claude-sonnet-4-6"
NOVA = "amazon.nova-lite-v1:0"
PNG = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8cfc0"
        "000000030001"
        "5b2a0d0a0000000049454e44ae426082"
    )
).decode()
WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "The weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}


@pytest.fixture(scope="module")
def openai(responses_gateway: Gateway) -> Iterator[OpenAI]:
    key = responses_gateway.tokens["ci"]
    with OpenAI(base_url=responses_gateway.url, api_key=key, max_retries=0, timeout=DEADLINE) as client:
        yield client


@pytest.fixture
def calls(responses_local: LocalBedrock) -> Callable[[], list[dict[str, Any]]]:
    """Return the calls that arrive at the local Bedrock from now on."""
    return responses_local.calls


def streamed(openai: OpenAI, **fields: Any) -> tuple[list[Any], Response]:
    """Return the events of a stream, and the response that the package makes of it."""
    with openai.responses.stream(**fields) as stream:
        events = list(stream)
        return events, stream.get_final_response()


@pytest.mark.parametrize("model", [CLAUDE, NOVA])
def test_a_text_is_answered_whole_and_as_a_stream(openai: OpenAI, model: str) -> None:
    whole = openai.responses.create(model=model, input="Hello", instructions="Be brief.")
    assert whole.output_text.startswith('You said: "Hello"')
    assert (whole.status, whole.store if hasattr(whole, "store") else None) == ("completed", False)
    events, final = streamed(openai, model=model, input="Hello", instructions="Be brief.")
    assert final.output_text == whole.output_text
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert final.usage == whole.usage


def test_an_image_is_seen(openai: OpenAI) -> None:
    content: Any = [
        {"type": "input_text", "text": "What is it?"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"},
    ]
    response = openai.responses.create(model=CLAUDE, input=[{"role": "user", "content": content}])
    assert "1 image" in response.output_text


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called_with_reasoning_that_comes_back(
    openai: OpenAI, calls: Callable[[], list[dict[str, Any]]], stream: bool
) -> None:
    question: Any = [{"role": "user", "content": "What is the weather?"}]
    fields: Any = {
        "model": CLAUDE,
        "tools": [WEATHER],
        "reasoning": {"effort": "high", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "store": False,
    }
    if stream:
        _, response = streamed(openai, input=question, **fields)
    else:
        response = openai.responses.create(input=question, **fields)
    kinds = [item.type for item in response.output]
    assert kinds == ["reasoning", "message", "function_call"]
    call: Any = response.output[-1]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny."}
    history = [*question, *[item.to_dict() for item in response.output], result]
    after = openai.responses.with_raw_response.create(input=history, **fields)
    assert "Sunny." in after.parse().output_text
    assert "x-oai-ignored-params" not in after.headers
    blocks = calls()[-1]["body"]["messages"][1]["content"]
    assert [next(iter(block)) for block in blocks] == ["reasoningContent", "text", "toolUse"]


class Place(BaseModel):
    city: str
    people: int


def test_a_schema_is_parsed(openai: OpenAI) -> None:
    parsed = openai.responses.parse(model=CLAUDE, input="Where?", text_format=Place)
    assert isinstance(parsed.output_parsed, Place)


def test_a_custom_tool_gets_a_text(openai: OpenAI) -> None:
    tool: Any = {"type": "custom", "name": "shell", "description": "Runs a command."}
    events, response = streamed(openai, model=CLAUDE, input="Use the shell", tools=[tool], tool_choice="required")
    [call] = response.output
    assert call.type == "custom_tool_call"
    assert [event.type for event in events if "custom" in event.type] == [
        "response.custom_tool_call_input.delta",
        "response.custom_tool_call_input.done",
    ]


def test_a_failure_before_the_stream_is_a_status(openai: OpenAI) -> None:
    with pytest.raises(RateLimitError, match="Slow down"):
        openai.responses.create(model=CLAUDE, stream=True, input='Hi [[local: status=429 message="Slow down."]]')


def test_a_stream_that_breaks_has_failed(openai: OpenAI) -> None:
    events = list(
        openai.responses.create(
            model=CLAUDE, stream=True, input="Hi [[local: exception=modelStreamErrorException after=5]]"
        )
    )
    assert events[-1].type == "response.failed"
    assert events[-1].response.status == "failed"
    assert events[-1].response.error is not None
    assert not [event for event in events if event.type == "response.completed"]


def test_a_short_limit_makes_it_incomplete(openai: OpenAI) -> None:
    *_, last = openai.responses.create(model=CLAUDE, input="count to 5", max_output_tokens=2, stream=True)
    assert last.type == "response.incomplete"
    response = last.response
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"


def test_tokens_are_counted_before_a_call(openai: OpenAI, calls: Callable[[], list[dict[str, Any]]]) -> None:
    counted = openai.responses.input_tokens.count(model=CLAUDE, input="Hello", tools=[WEATHER])
    response = openai.responses.create(model=CLAUDE, input="Hello", tools=[WEATHER])
    assert response.usage is not None
    assert counted.input_tokens == response.usage.input_tokens
    with pytest.raises(NotFoundError, match="does not count this model's tokens"):
        openai.responses.input_tokens.count(model=NOVA, input="Hello")


def test_what_is_stored_nowhere_is_not_found(openai: OpenAI) -> None:
    for attempt in (openai.responses.retrieve, openai.responses.delete, openai.responses.cancel):
        with pytest.raises(NotFoundError, match="Responses are not stored") as raised:
            attempt("resp_1")
        assert raised.value.code == "unknown_url"


@pytest.mark.parametrize("encoding", ["zstd", "gzip"])
def test_a_compressed_body_is_rejected_by_the_name_of_its_encoding(openai: OpenAI, encoding: str) -> None:
    with pytest.raises(APIStatusError, match=f"without content-encoding '{encoding}'") as raised:
        openai.responses.create(model=CLAUDE, input="Hello", extra_headers={"content-encoding": encoding})
    assert raised.value.status_code == 415


def test_recorded_turns_of_codex_are_served(openai: OpenAI, calls: Callable[[], list[dict[str, Any]]]) -> None:
    recorded = Path(__file__).parent / "data" / "codex-requests.jsonl"
    for line in recorded.read_text().splitlines():
        body = json.loads(line)["body"]
        answer = openai.post("/responses", body=body, cast_to=str)
        assert answer.rpartition("event: ")[2].startswith("response.completed\n")
    first, second = calls()
    assert len(first["body"]["toolConfig"]["tools"]) == len(second["body"]["toolConfig"]["tools"]) == 12
    assert [message["role"] for message in second["body"]["messages"]] == ["user", "assistant", "user"]
