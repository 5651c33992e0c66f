"""pydantic-ai and LangChain on Responses: runs, streams, loops of tools with reasoning, structured output, media."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import SecretStr
from pydantic_ai import Agent, BinaryContent
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import ThinkingPart
from pydantic_ai.models.openai import OpenAIResponsesModel
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.openai import OpenAIProvider

from tests.clients.conftest import DEADLINE, LocalBedrock
from tests.clients.journey import Journey, Stop
from tests.conftest import Gateway

CLAUDE = "anthropic.claude-sonnet-4-6"
NOVA = "amazon.nova-lite-v1:0"
GIF = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
WEATHER_AND_TIME = "What are the weather and the time in Paris?"
ANSWER = 'get_weather says "18 degrees in Paris". get_time says "noon".'
JOURNEY = "Plan a journey to Paris for 3 nights."
PARIS = Journey(title="Paris", by="train", stops=[Stop(city="city", nights=3)])

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # LangChain's, of what it has parsed


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"18 degrees in {city}"


def get_time() -> str:
    """The time."""
    return "noon"


def past_kinds(local: LocalBedrock) -> list[str]:
    """The kinds of blocks of the assistant's turn in the last call to the model."""
    [turn] = [turn for turn in local.calls()[-1]["body"]["messages"] if turn["role"] == "assistant"]
    return [next(iter(block)) for block in turn["content"]]


# pydantic-ai


@pytest.fixture
async def provider(responses_gateway: Gateway) -> AsyncIterator[OpenAIProvider]:
    key = responses_gateway.tokens["ci"]
    async with openai.AsyncOpenAI(
        base_url=responses_gateway.url, api_key=key, max_retries=0, timeout=DEADLINE
    ) as client:
        yield OpenAIProvider(openai_client=client)


def agent(provider: OpenAIProvider, model: str, **settings: Any) -> Agent[None, Any]:
    return Agent(OpenAIResponsesModel(model, provider=provider), **settings)


def test_an_agent_by_the_name_of_its_model(responses_gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", responses_gateway.url)
    monkeypatch.setenv("OPENAI_API_KEY", responses_gateway.tokens["ci"])
    ran = Agent(f"openai-responses:{CLAUDE}", instructions="Answer in verse.").run_sync("Hello!")
    assert ran.output == 'You said: "Hello!" (1 text block, 0 images, 1 turn). System: "Answer in verse."'
    assert ran.response.finish_reason == "stop"


@pytest.mark.parametrize("model", [CLAUDE, NOVA])
async def test_an_agents_loop_of_tools(provider: OpenAIProvider, model: str) -> None:
    ran = await agent(provider, model, tools=[get_weather, get_time]).run(WEATHER_AND_TIME)
    assert ran.output == ANSWER
    assert ran.usage.requests == 2
    again = await agent(provider, model).run("And now?", message_history=ran.all_messages())
    assert again.output.startswith('You said: "And now?"')


@pytest.mark.parametrize("effort", ["low", "high"])
async def test_an_agents_reasoning_comes_back(
    provider: OpenAIProvider, responses_local: LocalBedrock, effort: str
) -> None:
    settings: Any = {"openai_reasoning_effort": effort, "openai_reasoning_summary": "auto"}
    profile = OpenAIModelProfile(openai_supports_encrypted_reasoning_content=True)
    model = OpenAIResponsesModel(CLAUDE, provider=provider, profile=profile)
    thinking = Agent(model, tools=[get_weather], model_settings=settings)
    ran = await thinking.run("What is the weather in Paris?")
    assert ran.output == 'get_weather says "18 degrees in Paris".'
    first = ran.all_messages()[1]
    assert isinstance(first.parts[0], ThinkingPart)
    assert first.parts[0].content.startswith("Thinking about")
    assert past_kinds(responses_local) == ["reasoningContent", "text", "toolUse"]


async def test_an_agents_stream(provider: OpenAIProvider) -> None:
    async with agent(provider, NOVA).run_stream("Count to 9.") as stream:
        deltas = [delta async for delta in stream.stream_text(delta=True, debounce_by=None)]
    assert "".join(deltas) == "1 2 3 4 5 6 7 8 9"
    assert len(deltas) > 3


async def test_an_agents_loop_of_tools_in_streams(provider: OpenAIProvider) -> None:
    async with agent(provider, CLAUDE, tools=[get_weather, get_time]).iter(WEATHER_AND_TIME) as run:
        async for node in run:
            if Agent.is_model_request_node(node):
                async with node.stream(run.ctx) as stream:
                    assert len([event async for event in stream]) > 3
    assert run.result is not None
    assert run.result.output == ANSWER


@pytest.mark.parametrize("model", [CLAUDE, NOVA])
async def test_an_agents_structured_output(provider: OpenAIProvider, model: str) -> None:
    assert (await agent(provider, model, output_type=Journey).run(JOURNEY)).output == PARIS


async def test_an_agent_sees_an_image(provider: OpenAIProvider) -> None:
    image = BinaryContent(base64.b64decode(GIF), media_type="image/gif")
    assert "1 image" in (await agent(provider, CLAUDE).run(["What is it?", image])).output


async def test_an_agents_failures(provider: OpenAIProvider) -> None:
    with pytest.raises(ModelHTTPError) as rejected:
        await agent(provider, NOVA).run("Hello! [[local: status=429]]")
    assert rejected.value.status_code == 429


# LangChain


@pytest.fixture
def access(responses_gateway: Gateway) -> dict[str, Any]:
    key = SecretStr(responses_gateway.tokens["ci"])
    return {"base_url": responses_gateway.url, "api_key": key, "max_retries": 0, "timeout": DEADLINE}


def chat(access: dict[str, Any], model: str, **settings: Any) -> ChatOpenAI:
    return ChatOpenAI(model=model, use_responses_api=True, **access, **settings)


def response_of(model: Any, history: list[Any], streamed: bool) -> AIMessage:
    if not streamed:
        response: AIMessage = model.invoke(history)
        return response
    chunks = list(model.stream(history))
    whole: AIMessage = sum(chunks[1:], chunks[0])
    return whole


@pytest.mark.parametrize("streamed", [False, True])
def test_langchains_response(access: dict[str, Any], streamed: bool) -> None:
    response = response_of(chat(access, NOVA), [HumanMessage("Count to 9.")], streamed)
    assert response.text == "1 2 3 4 5 6 7 8 9"
    assert response.response_metadata["model_name"] == NOVA
    assert response.response_metadata["id"].startswith("resp_")
    assert response.usage_metadata is not None
    assert response.usage_metadata["output_tokens"] > 0


@pytest.mark.parametrize("store", [None, False])
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("model", [CLAUDE, NOVA])
def test_langchains_loop_of_tools(access: dict[str, Any], model: str, streamed: bool, store: bool | None) -> None:
    tools = {"get_weather": tool(get_weather), "get_time": tool(get_time)}
    bound = chat(access, model, store=store).bind_tools(list(tools.values()))
    history: list[Any] = [HumanMessage(WEATHER_AND_TIME)]
    first = response_of(bound, history, streamed)
    assert [(call["name"], call["args"]) for call in first.tool_calls] == [
        ("get_weather", {"city": "Paris"}),
        ("get_time", {}),
    ]
    history += [first, *(tools[call["name"]].invoke(call) for call in first.tool_calls)]
    assert response_of(bound, history, streamed).text == ANSWER


@pytest.mark.parametrize("streamed", [False, True])
def test_langchains_reasoning_comes_back(access: dict[str, Any], responses_local: LocalBedrock, streamed: bool) -> None:
    reasoning = {"effort": "high", "summary": "auto"}
    include = ["reasoning.encrypted_content"]
    bound = chat(access, CLAUDE, reasoning=reasoning, include=include, store=False).bind_tools([tool(get_weather)])
    history: list[Any] = [HumanMessage("What is the weather in Paris?")]
    first = response_of(bound, history, streamed)
    [call] = first.tool_calls
    history += [first, tool(get_weather).invoke(call)]
    assert response_of(bound, history, streamed).text == 'get_weather says "18 degrees in Paris".'
    assert past_kinds(responses_local) == ["reasoningContent", "text", "toolUse"]


@pytest.mark.parametrize("model", [CLAUDE, NOVA])
def test_langchains_structured_output(access: dict[str, Any], model: str) -> None:
    structured = chat(access, model).with_structured_output(Journey, method="json_schema")
    assert structured.invoke(JOURNEY) == PARIS
    *_, last = structured.stream(JOURNEY)
    assert last == PARIS


def test_langchains_image(access: dict[str, Any]) -> None:
    parts: Any = [{"type": "text", "text": "What is it?"}, {"type": "image", "base64": GIF, "mime_type": "image/gif"}]
    assert "1 image" in chat(access, CLAUDE).invoke([HumanMessage(parts)]).text


def test_langchains_failure_inside_a_stream(access: dict[str, Any]) -> None:
    read: list[Any] = []
    with pytest.raises(Exception, match="modelStreamErrorException was ordered"):
        read.extend(chat(access, NOVA).stream("Count to 9. [[local: exception=modelStreamErrorException after=3]]"))
    assert "".join(chunk.text for chunk in read).startswith("1")
