"""pydantic-ai with its OpenAI provider: runs, streams, tools, structured output in both of its ways, embeddings."""

import base64
from collections.abc import AsyncIterator, Callable
from typing import Any

import openai
import pytest
from pydantic_ai import Agent, BinaryContent, Embedder, NativeOutput, PromptedOutput, ToolOutput, ToolReturn
from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import (
    FunctionToolCallEvent,
    FunctionToolResultEvent,
    ModelResponse,
    TextPart,
    ThinkingPart,
    ToolCallPart,
)
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.run import AgentRunResultEvent

from tests.clients.journey import Journey, Stop

CLAUDE = "anthropic.claude-sonnet-4-6"
NOVA = "amazon.nova-micro-v1:0"
TITAN = "amazon.titan-embed-text-v2:0"

Make = Callable[..., Agent[None, Any]]


@pytest.fixture
async def provider(gateway: Any, token: str) -> AsyncIterator[OpenAIProvider]:
    """As `OpenAIProvider(base_url=…, api_key=…)`, but without retries."""
    async with openai.AsyncOpenAI(base_url=gateway.url, api_key=token, max_retries=0, timeout=20) as client:
        yield OpenAIProvider(openai_client=client)


@pytest.fixture
def agent(provider: OpenAIProvider) -> Make:
    """Makes agents."""

    def make(model: str, **settings: Any) -> Agent[None, Any]:
        return Agent(OpenAIChatModel(model, provider=provider), **settings)

    return make


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"18 degrees in {city}"


def get_time() -> str:
    """The time."""
    return "noon"


# Text


async def test_a_run(agent: Make) -> None:
    ran = await agent(CLAUDE, instructions="Answer in verse.").run("Hello!")
    assert ran.output == 'You said: "Hello!" (1 text block, 0 images, 1 turn). System: "Answer in verse."'
    response = ran.response
    assert (response.finish_reason, response.model_name) == ("stop", CLAUDE)
    assert response.provider_response_id is not None
    assert response.provider_response_id.startswith("chatcmpl-")
    assert ran.usage.requests == 1
    assert ran.usage.input_tokens > 0
    assert ran.usage.output_tokens > 0


def test_a_run_without_asyncio(gateway: Any, token: str) -> None:
    model = OpenAIChatModel(NOVA, provider=OpenAIProvider(base_url=gateway.url, api_key=token))
    assert Agent(model).run_sync("Count to 9.").output == "1 2 3 4 5 6 7 8 9"


async def test_a_conversation(agent: Make) -> None:
    first = await agent(CLAUDE).run('Hello! [[local: reasoning="They greet."]]')
    assert [type(part) for part in first.response.parts] == [ThinkingPart, TextPart]
    assert first.response.thinking == "They greet."
    second = await agent(CLAUDE).run("And now?", message_history=first.all_messages())
    assert second.output == 'You said: "And now?" (1 text block, 0 images, 3 turns).'


async def test_settings_reach_the_model(agent: Make, local: Any) -> None:
    settings = {"max_tokens": 8, "temperature": 0.5, "top_p": 0.25, "stop_sequences": ["END"]}
    ran = await agent(NOVA, model_settings=settings).run("Count to 50.")
    assert ran.response.finish_reason == "length"
    assert local.call()["body"] == {
        "messages": [{"role": "user", "content": [{"text": "Count to 50."}]}],
        "inferenceConfig": {"temperature": 0.5, "topP": 0.25, "maxTokens": 8, "stopSequences": ["END"]},
    }


async def test_an_image(agent: Make) -> None:
    gif = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
    ran = await agent(CLAUDE).run(["What is it?", BinaryContent(gif, media_type="image/gif")])
    assert "1 image" in ran.output


async def test_a_document(agent: Make) -> None:
    ran = await agent(CLAUDE).run(["What is it?", BinaryContent(b"%PDF-1.4\n%%EOF\n", media_type="application/pdf")])
    assert "1 document" in ran.output


async def test_a_stream_arrives_while_the_model_is_still_producing(agent: Make, local: Any) -> None:
    read = []
    async with agent(NOVA).run_stream("Count to 9. [[local: hold=1]]") as stream:
        async for delta in stream.stream_text(delta=True, debounce_by=None):
            read.append(delta)
            if read == ["1"]:
                assert local.call()["state"] == "running"
                local.release()
        usage = stream.usage
    assert "".join(read) == "1 2 3 4 5 6 7 8 9"
    assert len(read) > 3
    buffered = await agent(NOVA).run("Count to 9.")
    assert usage.output_tokens == buffered.usage.output_tokens > 0


# Tools


@pytest.mark.parametrize("model", [CLAUDE, NOVA])
async def test_a_loop_of_tools(agent: Make, model: str) -> None:
    ran = await agent(model, tools=[get_weather, get_time]).run("What are the weather and the time in Paris?")
    assert ran.output == 'get_weather says "18 degrees in Paris". get_time says "noon".'
    assert ran.usage.requests == 2
    responses = [message for message in ran.all_messages() if isinstance(message, ModelResponse)]
    assert [response.finish_reason for response in responses] == ["tool_call", "stop"]
    calls = [part for part in responses[0].parts if isinstance(part, ToolCallPart)]
    assert [(call.tool_name, call.args_as_dict()) for call in calls] == [
        ("get_weather", {"city": "Paris"}),
        ("get_time", {}),
    ]


@pytest.mark.parametrize("model", [CLAUDE, NOVA])
async def test_a_streamed_loop_of_tools(agent: Make, model: str) -> None:
    question = "What are the weather and the time in Paris?"
    async with agent(model, tools=[get_weather, get_time]).run_stream_events(question) as stream:
        events = [event async for event in stream]
    called = [event.part for event in events if isinstance(event, FunctionToolCallEvent)]
    assert [(call.tool_name, call.args_as_dict()) for call in called] == [
        ("get_weather", {"city": "Paris"}),
        ("get_time", {}),
    ]
    assert len([event for event in events if isinstance(event, FunctionToolResultEvent)]) == 2
    assert isinstance(events[-1], AgentRunResultEvent)
    assert events[-1].result.output == 'get_weather says "18 degrees in Paris". get_time says "noon".'


async def test_reasoning_in_a_loop_of_tools(agent: Make) -> None:
    """pydantic-ai gives the reasoning back without its signature."""
    thinker = agent(CLAUDE, tools=[get_weather], model_settings={"openai_reasoning_effort": "low"})
    ran = await thinker.run("What is the weather in Paris?")
    assert ran.output == 'get_weather says "18 degrees in Paris".'
    thoughts = [part for message in ran.all_messages() for part in message.parts if isinstance(part, ThinkingPart)]
    assert thoughts[0].content.startswith("Thinking about")


# Structured output

QUESTION = "Plan a journey to Paris for 3 nights."
PARIS = Journey(title="Paris", by="train", stops=[Stop(city="city", nights=3)])
WAYS = {
    "by a tool": Journey,
    "by a strict tool": ToolOutput(Journey, name="journey", strict=True),
    "by a schema": NativeOutput(Journey),
    "by a strict schema": NativeOutput(Journey, name="journey", strict=True),
    "in words": PromptedOutput(Journey),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", [CLAUDE, NOVA])
async def test_structured_output(agent: Make, model: str, way: str) -> None:
    planner = agent(model, output_type=WAYS[way])
    assert (await planner.run(QUESTION)).output == PARIS
    async with planner.run_stream(QUESTION) as stream:
        partial = [output async for output in stream.stream_output(debounce_by=None)]
    assert len(partial) > 1
    assert partial[-1] == PARIS


def ask_weather(city: str) -> ToolReturn:
    """The weather in a city."""
    return ToolReturn(return_value=f"18 degrees in {city}", content=QUESTION)


@pytest.mark.parametrize("output", [ToolOutput(Journey, name="journey"), NativeOutput(Journey, name="journey")])
@pytest.mark.parametrize("model", [CLAUDE, NOVA])
async def test_structured_output_after_tools(agent: Make, model: str, output: Any) -> None:
    ran = await agent(model, output_type=output, tools=[ask_weather]).run("What is the weather in Paris?")
    assert ran.output == PARIS
    assert ran.usage.requests == 2
    assert ran.usage.tool_calls == 1


@pytest.mark.parametrize("model", [CLAUDE, NOVA])
async def test_output_by_pydantic_ais_own_tool_after_tools(agent: Make, model: str) -> None:
    """With `output_type=Journey` every request demands some tool: the user's, or `final_result`."""
    planner = agent(model, output_type=Journey, tools=[get_weather])
    ran = await planner.run("What is the weather in Paris?")
    assert isinstance(ran.output, Journey)
    assert (ran.usage.requests, ran.usage.tool_calls) == (2, 1)
    async with planner.run_stream("What is the weather in Paris?") as stream:
        assert await stream.get_output() == ran.output


@pytest.mark.parametrize("model", [CLAUDE, NOVA])
async def test_native_output_after_tools(agent: Make, model: str) -> None:
    planner = agent(model, output_type=NativeOutput(Journey), tools=[get_weather])
    ran = await planner.run("What is the weather in Paris?")
    assert isinstance(ran.output, Journey)
    assert (ran.usage.requests, ran.usage.tool_calls) == (2, 1)


# Failures


@pytest.mark.parametrize(
    ("model", "order", "status"),
    [(NOVA, "[[local: status=429]]", 429), (NOVA, "[[local: status=503]]", 503), ("gpt-4o", "", 404)],
)
async def test_failures_are_pydantic_ais_exceptions(agent: Make, model: str, order: str, status: int) -> None:
    with pytest.raises(ModelHTTPError) as rejected:
        await agent(model).run(f"Hello! {order}")
    assert rejected.value.status_code == status
    assert isinstance(rejected.value.body, dict)
    assert {"message", "type", "param", "code"} <= rejected.value.body.keys()


async def read_into(read: list[str], opening: Any) -> None:
    async with opening as stream:
        async for delta in stream.stream_text(delta=True, debounce_by=None):  # one at a time
            read.append(delta)  # noqa: PERF401


async def test_a_failure_inside_a_stream_is_raised(agent: Make) -> None:
    read: list[str] = []
    opening = agent(NOVA).run_stream("Count to 9. [[local: exception=modelStreamErrorException after=3]]")
    with pytest.raises(ModelHTTPError) as failed:
        await read_into(read, opening)
    assert isinstance(failed.value.body, dict)
    assert failed.value.body["code"] == "model_error"
    assert read[0] == "1"


# Embeddings


async def test_embeddings(provider: OpenAIProvider, client: openai.OpenAI) -> None:
    embedder = Embedder(OpenAIEmbeddingModel(TITAN, provider=provider))
    embedded = await embedder.embed_documents(["one", "two"])
    theirs = client.embeddings.create(model=TITAN, input=["one", "two"])
    assert [list(vector) for vector in embedded.embeddings] == [
        pytest.approx(item.embedding, abs=1e-6) for item in theirs.data
    ]
    assert embedded.usage.input_tokens == theirs.usage.prompt_tokens
