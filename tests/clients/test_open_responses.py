"""The list of https://github.com/openresponses/openresponses, with the openai package's types as they are declared.

OpenAI's package itself does not validate what it reads. Here every response and every event has to be of its declared
type, in pydantic's strict mode, and to have every key that Open Responses' `ResponseResource` requires.
"""

import json
import urllib.request
from dataclasses import dataclass
from typing import Any

import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from tests.clients.conftest import DEADLINE
from tests.conftest import Gateway

CLAUDE = "anthropic.claude-sonnet-4-6"
NOVA = "amazon.nova-2-lite-v1:0"
GIF = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)

_REQUIRED = """
    id object created_at completed_at status incomplete_details model previous_response_id instructions output error
    tools tool_choice truncation parallel_tool_calls text top_p presence_penalty frequency_penalty top_logprobs
    temperature reasoning user usage max_output_tokens max_tool_calls store background service_tier metadata
    safety_identifier prompt_cache_key
"""
REQUIRED = frozenset(_REQUIRED.split())
"""The keys that `schema/components/schemas/ResponseResource.json` requires."""

FUNCTION_TOOL = {"type", "name", "description", "parameters", "strict"}
"""Those of `FunctionTool` in schema/tools.tsp."""

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def message(role: str, content: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": content}


@dataclass(frozen=True)
class Case:
    """A request of the list: its fields, and the type of an item that the response has."""

    fields: dict[str, Any]
    item: str = "message"
    status: str = "completed"


QUESTION = "What is the weather in Paris?"
CASES = {
    "basic": Case({"input": [message("user", "Hello!")]}),
    "system prompt": Case({"input": [message("system", "Answer in verse."), message("user", "Hello!")]}),
    "tool calling": Case({"input": [message("user", QUESTION)], "tools": [WEATHER]}, "function_call"),
    "image": Case(
        {
            "input": [
                message(
                    "user", [{"type": "input_text", "text": "What is it?"}, {"type": "input_image", "image_url": GIF}]
                )
            ]
        }
    ),
    "multi-turn": Case(
        {"input": [message("user", "I am Alice."), message("assistant", "Hello, Alice!"), message("user", "Who am I?")]}
    ),
    "custom tool": Case(
        {"input": "Do it.", "tools": [{"type": "custom", "name": "shell"}], "tool_choice": "required"},
        "custom_tool_call",
    ),
    "reasoning": Case(
        {
            "input": QUESTION,
            "tools": [WEATHER],
            "reasoning": {"effort": "high", "summary": "auto"},
            "include": ["reasoning.encrypted_content"],
        },
        "reasoning",
    ),
    "schema": Case(
        {"input": "Go.", "text": {"format": {"type": "json_schema", "name": "a", "schema": WEATHER["parameters"]}}}
    ),
    "citation": Case({"input": "Hello! [[local: cite=https://example.com/a]]"}),
    "cut short": Case({"input": "Count to 9.", "max_output_tokens": 2}, status="incomplete"),
}


def post(gateway: Gateway, **body: Any) -> str:
    headers = {"Authorization": f"Bearer {gateway.tokens['ci']}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{gateway.url}/responses", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=DEADLINE) as response:
        return str(response.read().decode())


def check_object(value: dict[str, Any]) -> None:
    """A response is of its declared type, and has all of its keys."""
    Response.model_validate_json(json.dumps(value), strict=True)
    assert value.keys() >= REQUIRED
    assert (value["completed_at"] is not None) == (value["status"] == "completed")
    for tool in value["tools"]:
        assert tool["type"] != "function" or tool.keys() >= FUNCTION_TOOL
    form = value["text"]["format"]
    assert form["type"] != "json_schema" or isinstance(form["strict"], bool)
    assert value["reasoning"].keys() >= {"effort", "summary"}


def check_end(value: dict[str, Any], case: Case) -> None:
    check_object(value)
    assert value["status"] == case.status
    assert case.item in [item["type"] for item in value["output"]]
    assert value["usage"]["total_tokens"] == value["usage"]["input_tokens"] + value["usage"]["output_tokens"] > 0


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("model", [CLAUDE, NOVA])
def test_a_whole_response(responses_gateway: Gateway, model: str, name: str) -> None:
    case = CASES[name]
    check_end(json.loads(post(responses_gateway, model=model, **case.fields)), case)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("model", [CLAUDE, NOVA])
def test_a_stream(responses_gateway: Gateway, model: str, name: str) -> None:
    case = CASES[name]
    *written, rest = post(responses_gateway, model=model, stream=True, **case.fields).split("\n\n")
    assert rest == ""
    events = []
    for text in written:
        kind, data = text.split("\n")
        event = EVENT.validate_json(data.removeprefix("data: "), strict=True)
        assert kind == f"event: {event.type}"
        events.append(json.loads(data.removeprefix("data: ")))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    for event in events:
        if "response" in event:
            check_object(event["response"])
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1]["type"] == f"response.{case.status}"
    check_end(events[-1]["response"], case)
    assert outlines(events) == outlines_of(events[-1]["response"])


def outlines(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The type and the text of each item, put together from the deltas."""
    items: dict[int, tuple[str, str]] = {}
    for event in events:
        if event["type"] == "response.output_item.added":
            items[event["output_index"]] = (event["item"]["type"], "")
        elif event["type"].endswith(".delta"):
            kind, text = items[event["output_index"]]
            items[event["output_index"]] = (kind, text + event["delta"])
    return [items[index] for index in range(len(items))]


def outlines_of(response: dict[str, Any]) -> list[tuple[str, str]]:
    """The type and the text of each item of a response."""
    return [(item["type"], text_of(item)) for item in response["output"]]


def text_of(item: dict[str, Any]) -> str:
    match item["type"]:
        case "message":
            return "".join(part["text"] for part in item["content"])
        case "reasoning":
            return "".join(part["text"] for part in item["summary"])
        case "function_call":
            return str(item["arguments"])
    return str(item["input"])
