"""LiteLLM as a client: `litellm.completion(model="openai/…", api_base=…)`, in a Python of its own (programs/)."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.journey import Journey, Stop
from tests.limits import INSTALLATION_LIMIT

pytestmark = pytest.mark.timeout(INSTALLATION_LIMIT)

CLAUDE = "openai/anthropic.claude-sonnet-4-6"
NOVA = "openai/amazon.nova-micro-v1:0"
TITAN = "openai/amazon.titan-embed-text-v2:0"
COHERE = "openai/cohere.embed-english-v3"

PROGRAM = Path(__file__).parent / "programs" / "litellm_calls.py"


class LiteLLM:
    """LiteLLM's functions by their names, done by another process; what they give and raise as JSON."""

    def __init__(self, process: "subprocess.Popen[str]", settings: dict[str, Any]) -> None:
        self._process = process
        self._settings = settings

    def reply(self, function: str, **arguments: Any) -> dict[str, Any]:
        """The outcome of a call: `chunks`, and `answer` or `error`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"function": function, "arguments": {**self._settings, **arguments}}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"LiteLLM's process ended: {self._process.wait(20)}"
        reply: dict[str, Any] = json.loads(line)
        return reply

    def __call__(self, function: str, **arguments: Any) -> dict[str, Any]:
        """Return the function's result; an error fails the test."""
        reply = self.reply(function, **arguments)
        assert "error" not in reply, reply["error"]
        response: dict[str, Any] = reply["answer"]
        return response


@pytest.fixture(scope="module")
def litellm(gateway: Any, token: str, python_with: Callable[[str], Path]) -> Iterator[LiteLLM]:
    command = [str(python_with("openai-2")), str(PROGRAM)]
    settings = {"api_base": gateway.url, "api_key": token, "max_retries": 0, "timeout": 20}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield LiteLLM(process, settings)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(20) == 0


def user_messages(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def content(chunks: list[dict[str, Any]]) -> str:
    return "".join(chunk["choices"][0]["delta"]["content"] or "" for chunk in chunks)


# Chat


def test_a_response(litellm: LiteLLM) -> None:
    messages = [{"role": "system", "content": "Answer in verse."}, *user_messages("Hello!")]
    response = litellm("completion", model=CLAUDE, messages=messages)
    [choice] = response["choices"]
    expected = 'You said: "Hello!" (1 text block, 0 images, 1 turn). System: "Answer in verse."'
    assert (choice["message"]["content"], choice["finish_reason"]) == (expected, "stop")
    assert response["id"].startswith("chatcmpl-")
    assert response["model"] == CLAUDE.removeprefix("openai/")
    usage = response["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0


def test_settings_reach_the_model(litellm: LiteLLM, local: Any) -> None:
    settings = {"temperature": 0.5, "top_p": 0.25, "max_tokens": 8, "stop": ["END"]}
    response = litellm("completion", model=NOVA, messages=user_messages("Count to 50."), **settings)
    assert response["choices"][0]["finish_reason"] == "length"
    assert local.call()["body"] == {
        "messages": [{"role": "user", "content": [{"text": "Count to 50."}]}],
        "inferenceConfig": {"temperature": 0.5, "topP": 0.25, "maxTokens": 8, "stopSequences": ["END"]},
    }


@pytest.mark.parametrize("function", ["completion", "acompletion"])
def test_a_stream(litellm: LiteLLM, function: str) -> None:
    parameters = {"model": NOVA, "messages": user_messages("Count to 9.")}
    reply = litellm.reply(function, **parameters, stream=True, stream_options={"include_usage": True})
    assert len([chunk for chunk in reply["chunks"] if chunk["choices"][0]["delta"]["content"]]) > 3
    assert content(reply["chunks"]) == "1 2 3 4 5 6 7 8 9"
    assert len({chunk["id"] for chunk in reply["chunks"]}) == 1
    buffered, built = litellm(function, **parameters), reply["answer"]
    assert built["choices"][0]["message"]["content"] == buffered["choices"][0]["message"]["content"]
    assert built["choices"][0]["finish_reason"] == "stop"
    for count in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert built["usage"][count] == buffered["usage"][count]


@pytest.mark.parametrize("stream", [False, True])
def test_reasoning_is_beside_the_content(litellm: LiteLLM, stream: bool) -> None:
    parameters = user_messages('Hello! [[local: reasoning="They greet."]]')
    message = litellm("completion", model=CLAUDE, messages=parameters, stream=stream)["choices"][0]["message"]
    assert message["reasoning_content"] == "They greet."
    assert message["content"].startswith('You said: "Hello!"')


def test_an_image(litellm: LiteLLM) -> None:
    url = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    response = litellm("completion", model=CLAUDE, messages=[{"role": "user", "content": parts}])
    assert "1 image" in response["choices"][0]["message"]["content"]


# Tools


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", [CLAUDE, NOVA])
def test_a_loop_of_tools(litellm: LiteLLM, weather: Any, clock: Any, model: str, stream: bool) -> None:
    settings: Any = {"model": model, "tools": [weather, clock], "stream": stream}
    history = user_messages("What are the weather and the time in Paris?")
    [first] = litellm("completion", messages=history, **settings)["choices"]
    assert first["finish_reason"] == "tool_calls"
    called = [
        (call["function"]["name"], json.loads(call["function"]["arguments"])) for call in first["message"]["tool_calls"]
    ]
    assert called == [("get_weather", {"city": "Paris"}), ("get_time", {})]
    results = zip(first["message"]["tool_calls"], ["18 degrees", "noon"], strict=True)
    history += [
        first["message"],
        *({"role": "tool", "tool_call_id": call["id"], "content": text} for call, text in results),
    ]
    [second] = litellm("completion", messages=history, **settings)["choices"]
    assert second["message"]["content"] == 'get_weather says "18 degrees". get_time says "noon".'
    assert second["finish_reason"] == "stop"
    assert not second["message"]["tool_calls"]


@pytest.mark.parametrize("stream", [False, True])
def test_reasoning_in_a_loop_of_tools(litellm: LiteLLM, weather: Any, local: Any, stream: bool) -> None:
    """LiteLLM gives the reasoning back, signature and all, and it reaches the model again."""
    settings: Any = {"model": CLAUDE, "tools": [weather], "reasoning_effort": "low", "stream": stream}
    history = user_messages("What is the weather in Paris?")
    message = litellm("completion", messages=history, **settings)["choices"][0]["message"]
    [block] = message["thinking_blocks"]
    assert block["thinking"] == message["reasoning_content"]
    [call] = message["tool_calls"]
    history += [message, {"role": "tool", "tool_call_id": call["id"], "content": "18 degrees"}]
    response = litellm("completion", messages=history, **settings)
    assert response["choices"][0]["message"]["content"] == 'get_weather says "18 degrees".'
    again = local.calls()[-1]["body"]["messages"][1]["content"][0]["reasoningContent"]["reasoningText"]
    assert again == {"text": block["thinking"], "signature": block["signature"]}


def test_a_demanded_tool(litellm: LiteLLM, weather: Any, clock: Any) -> None:
    choice = {"type": "function", "function": {"name": "get_time"}}
    parameters: Any = {"model": CLAUDE, "messages": user_messages("Hello!"), "tools": [weather, clock]}
    for tool_choice, name in ((choice, "get_time"), ("required", "get_weather")):
        message = litellm("completion", **parameters, tool_choice=tool_choice)["choices"][0]["message"]
        assert [call["function"]["name"] for call in message["tool_calls"]] == [name]


# Structured output


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", [CLAUDE, NOVA])
def test_structured_output(litellm: LiteLLM, model: str, stream: bool) -> None:
    schema = {"name": "Journey", "schema": Journey.model_json_schema(), "strict": True}
    parameters: Any = {
        "model": model,
        "messages": user_messages("Plan a journey to Paris for 3 nights."),
        "stream": stream,
    }
    form = {"type": "json_schema", "json_schema": schema}
    [choice] = litellm("completion", **parameters, response_format=form)["choices"]
    journey = Journey.model_validate_json(choice["message"]["content"])
    assert journey == Journey(title="Paris", by="train", stops=[Stop(city="city", nights=3)])
    assert choice["finish_reason"] == "stop"
    assert not choice["message"]["tool_calls"]


# Embeddings


@pytest.mark.parametrize("function", ["embedding", "aembedding"])
@pytest.mark.parametrize(("model", "size"), [(TITAN, 1024), (COHERE, 1024)])
def test_embeddings(litellm: LiteLLM, client: Any, function: str, model: str, size: int) -> None:
    response = litellm(function, model=model, input=["one", "two"])
    assert [(item["index"], len(item["embedding"])) for item in response["data"]] == [(0, size), (1, size)]
    theirs = client.embeddings.create(model=model.removeprefix("openai/"), input=["one", "two"])
    for item, own in zip(response["data"], theirs.data, strict=True):
        assert item["embedding"] == pytest.approx(own.embedding, abs=1e-6)
    assert response["usage"]["prompt_tokens"] == theirs.usage.prompt_tokens


# Failures


@pytest.mark.parametrize(
    ("change", "kind", "status"),
    [
        ({"messages": user_messages("Hello! [[local: status=429]]")}, "RateLimitError", 429),
        ({"model": "openai/gpt-4o"}, "NotFoundError", 404),
        ({"api_key": "qc_wrong"}, "AuthenticationError", 401),
    ],
)
def test_failures_are_litellms_exceptions(litellm: LiteLLM, change: Any, kind: str, status: int) -> None:
    parameters: Any = {"model": NOVA, "messages": user_messages("Hello!"), **change}
    error = litellm.reply("completion", **parameters)["error"]
    assert (error["type"], error["status"]) == (kind, status)


def test_a_failure_inside_a_stream_is_raised(litellm: LiteLLM) -> None:
    parameters = user_messages("Count to 9. [[local: exception=modelStreamErrorException after=3]]")
    reply = litellm.reply("completion", model=NOVA, messages=parameters, stream=True)
    assert content(reply["chunks"]).startswith("1")
    assert not any(chunk["choices"][0]["finish_reason"] for chunk in reply["chunks"])
    assert "modelStreamErrorException was ordered." in reply["error"]["message"]
