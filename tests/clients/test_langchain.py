"""LangChain for Python: chat, tools, structured output, and embeddings, which it sends as token ids."""

import base64
import hashlib
import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import BaseTool, tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from openai import OpenAI
from pydantic import SecretStr

from tests.clients.journey import Journey, Stop

CLAUDE = "anthropic.claude-sonnet-4-6"
NOVA = "amazon.nova-micro-v1:0"
TITAN = "amazon.titan-embed-text-v2:0"
COHERE = "cohere.embed-english-v3"

Chat = Callable[..., ChatOpenAI]
Embeddings = Callable[..., OpenAIEmbeddings]

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # LangChain's, of what it has parsed

one_loop = pytest.mark.asyncio(loop_scope="module")
"""LangChain keeps one asynchronous HTTP client for all its models with one URL, and with it the first event loop."""


@pytest.fixture
def access(gateway: Any, token: str) -> dict[str, Any]:
    """Return an application's settings for the gateway, but without retries."""
    return {"base_url": gateway.url, "api_key": SecretStr(token), "max_retries": 0, "timeout": 20}


@pytest.fixture
def chat(access: dict[str, Any]) -> Chat:
    """Makes chat models."""

    def make(model: str, **settings: Any) -> ChatOpenAI:
        return ChatOpenAI(model=model, **{**access, **settings})

    return make


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"18 degrees in {city}"


@tool
def get_time() -> str:
    """The time."""
    return "noon"


TOOLS: dict[str, BaseTool] = {"get_weather": get_weather, "get_time": get_time}

# Chat


def test_a_response(chat: Chat) -> None:
    response = chat(CLAUDE).invoke([SystemMessage("Answer in verse."), HumanMessage("Hello!")])
    assert response.content == 'You said: "Hello!" (1 text block, 0 images, 1 turn). System: "Answer in verse."'
    assert response.response_metadata["finish_reason"] == "stop"
    assert response.response_metadata["model_name"] == CLAUDE
    assert response.response_metadata["id"].startswith("chatcmpl-")
    assert response.usage_metadata is not None
    assert response.usage_metadata["input_tokens"] > 0
    assert response.usage_metadata["output_tokens"] > 0
    total = response.usage_metadata["input_tokens"] + response.usage_metadata["output_tokens"]
    assert response.usage_metadata["total_tokens"] == total


@one_loop
async def test_the_asynchronous_client(chat: Chat) -> None:
    response = await chat(NOVA).ainvoke("Count to 9.")
    assert response.content == "1 2 3 4 5 6 7 8 9"


def test_a_chain(chat: Chat) -> None:
    prompt = ChatPromptTemplate.from_messages([("system", "Answer in {form}."), ("human", "{text}")])
    chain = prompt | chat(CLAUDE) | StrOutputParser()
    text = chain.invoke({"form": "verse", "text": "Hello!"})
    assert 'You said: "Hello!"' in text
    assert 'System: "Answer in verse."' in text
    assert len(list(chain.stream({"form": "verse", "text": "Hello!"}))) > 3


def test_a_batch(chat: Chat) -> None:
    responses = chat(NOVA).batch([f"number {number}" for number in range(10)])
    assert [f'"number {number}"' in responses[number].content for number in range(10)] == [True] * 10


def test_a_conversation(chat: Chat) -> None:
    history = [HumanMessage("Hello!"), AIMessage("Hello."), HumanMessage("And now?")]
    assert chat(NOVA).invoke(history).content == 'You said: "And now?" (1 text block, 0 images, 3 turns).'


def test_a_stream(chat: Chat) -> None:
    chunks = list(chat(NOVA, stream_usage=True).stream("Count to 9."))
    assert len([chunk for chunk in chunks if chunk.content]) > 3
    whole = sum(chunks[1:], chunks[0])
    assert whole.content == "1 2 3 4 5 6 7 8 9"
    assert whole.response_metadata["finish_reason"] == "stop"
    assert whole.response_metadata["model_name"] == NOVA
    buffered = chat(NOVA).invoke("Count to 9.")
    assert whole.usage_metadata == buffered.usage_metadata


@one_loop
async def test_an_asynchronous_stream_arrives_while_the_model_is_still_producing(chat: Chat, local: Any) -> None:
    read = ""
    async for chunk in chat(NOVA).astream("Count to 9. [[local: hold=1]]"):
        read += chunk.text
        if read == "1":
            assert local.call()["state"] == "running"
            local.release()
    assert read == "1 2 3 4 5 6 7 8 9"


def test_settings_reach_the_model(chat: Chat, local: Any) -> None:
    model = chat(NOVA, temperature=0.5, top_p=0.25, max_tokens=8, stop=["END"])
    response = model.invoke("Count to 50.")
    assert response.response_metadata["finish_reason"] == "length"
    assert local.call()["body"] == {
        "messages": [{"role": "user", "content": [{"text": "Count to 50."}]}],
        "inferenceConfig": {"temperature": 0.5, "topP": 0.25, "maxTokens": 8, "stopSequences": ["END"]},
    }


def test_an_image(chat: Chat, local: Any) -> None:
    gif = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
    parts: Any = [{"type": "text", "text": "What is it?"}, {"type": "image", "base64": gif, "mime_type": "image/gif"}]
    assert "1 image" in chat(CLAUDE).invoke([HumanMessage(parts)]).content
    image = local.call()["body"]["messages"][0]["content"][1]["image"]
    assert image == {"format": "gif", "source": {"bytes": gif}}


def test_a_document(chat: Chat) -> None:
    pdf = base64.b64encode(b"%PDF-1.4\n%%EOF\n").decode()
    file = {"type": "file", "base64": pdf, "mime_type": "application/pdf", "filename": "report.pdf"}
    read: Any = [{"type": "text", "text": "What is it?"}, file]
    assert "1 document" in chat(CLAUDE).invoke([HumanMessage(read)]).content


# Tools


def response_of(model: Any, history: list[Any], streamed: bool) -> AIMessage:
    if not streamed:
        response: AIMessage = model.invoke(history)
        return response
    chunks = list(model.stream(history))
    whole: AIMessage = sum(chunks[1:], chunks[0])
    return whole


@pytest.mark.parametrize("strict", [None, True])
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("model", [CLAUDE, NOVA])
def test_a_loop_of_tools(chat: Chat, model: str, streamed: bool, strict: bool | None) -> None:
    bound = chat(model).bind_tools(list(TOOLS.values()), strict=strict)
    history: list[Any] = [HumanMessage("What are the weather and the time in Paris?")]
    first = response_of(bound, history, streamed)
    assert first.response_metadata["finish_reason"] == "tool_calls"
    assert [(call["name"], call["args"]) for call in first.tool_calls] == [
        ("get_weather", {"city": "Paris"}),
        ("get_time", {}),
    ]
    assert not first.invalid_tool_calls
    history += [first, *(TOOLS[call["name"]].invoke(call) for call in first.tool_calls)]
    second = response_of(bound, history, streamed)
    assert second.content == 'get_weather says "18 degrees in Paris". get_time says "noon".'
    assert second.response_metadata["finish_reason"] == "stop"
    assert not second.tool_calls


@pytest.mark.parametrize("streamed", [False, True])
def test_reasoning_in_a_loop_of_tools(chat: Chat, streamed: bool) -> None:
    """LangChain does not give the reasoning back, which Claude would have beside its calls."""
    bound = chat(CLAUDE, reasoning_effort="low").bind_tools([get_weather])
    history: list[Any] = [HumanMessage("What is the weather in Paris?")]
    first = response_of(bound, history, streamed)
    history += [first, *(get_weather.invoke(call) for call in first.tool_calls)]
    assert response_of(bound, history, streamed).content == 'get_weather says "18 degrees in Paris".'


@pytest.mark.parametrize(
    ("tools", "choice", "called"),
    [
        ([get_weather, get_time], "get_time", "get_time"),
        ([get_weather, get_time], "any", "get_weather"),
        ([get_time], True, "get_time"),
    ],
)
def test_a_demanded_tool(chat: Chat, tools: list[BaseTool], choice: Any, called: str) -> None:
    response = chat(CLAUDE).bind_tools(tools, tool_choice=choice).invoke("Hello!")
    assert [call["name"] for call in response.tool_calls] == [called]


# Structured output

QUESTION = "Plan a journey to Paris for 3 nights."
PARIS = Journey(title="Paris", by="train", stops=[Stop(city="city", nights=3)])


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
@pytest.mark.parametrize("model", [CLAUDE, NOVA])
def test_structured_output(chat: Chat, model: str, method: Any) -> None:
    structured = chat(model).with_structured_output(Journey, method=method)
    assert structured.invoke(QUESTION) == PARIS
    *_, last = structured.stream(QUESTION)
    assert last == PARIS


@one_loop
@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
async def test_structured_output_strictly_asynchronously_with_the_message(chat: Chat, method: Any) -> None:
    structured = chat(CLAUDE).with_structured_output(Journey, method=method, strict=True, include_raw=True)
    response: Any = await structured.ainvoke(QUESTION)
    assert response["parsed"] == PARIS
    assert response["parsing_error"] is None
    assert len(response["raw"].tool_calls) == (1 if method == "function_calling" else 0)


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_a_schema_by_hand(chat: Chat, method: Any) -> None:
    structured = chat(NOVA).with_structured_output(Journey.model_json_schema(), method=method)
    assert structured.invoke(QUESTION) == PARIS.model_dump()


@pytest.mark.parametrize("model", [CLAUDE, NOVA])
def test_a_schema_in_the_instructions(chat: Chat, model: str) -> None:
    structured = chat(model).with_structured_output(Journey, method="json_mode")
    instructions = f"Follow this schema: {json.dumps(Journey.model_json_schema())}"
    messages = [SystemMessage(instructions), HumanMessage(QUESTION)]
    assert structured.invoke(messages) == PARIS
    *_, last = structured.stream(messages)
    assert last == PARIS


@pytest.mark.parametrize("model", [CLAUDE, NOVA])
def test_structured_output_beside_tools(chat: Chat, model: str) -> None:
    structured: Any = chat(model).with_structured_output(
        Journey, method="json_schema", tools=[get_weather], strict=True, include_raw=True
    )
    history: list[Any] = [HumanMessage("What is the weather in Paris?")]
    first = structured.invoke(history)
    [call] = first["raw"].tool_calls
    assert (call["name"], first["parsed"], first["parsing_error"]) == ("get_weather", None, None)
    history += [first["raw"], get_weather.invoke(call), HumanMessage(QUESTION)]
    second = structured.invoke(history)
    assert second["parsed"] == PARIS
    assert not second["raw"].tool_calls


# Failures


def test_throttling_is_openais_exception(chat: Chat) -> None:
    with pytest.raises(openai.RateLimitError) as rejected:
        chat(NOVA).invoke("Hello! [[local: status=429]]")
    assert rejected.value.code == "rate_limit_exceeded"


def test_a_failure_inside_a_stream_is_raised(chat: Chat) -> None:
    read: list[Any] = []
    with pytest.raises(openai.APIError) as failed:
        read.extend(chat(NOVA).stream("Count to 9. [[local: exception=modelStreamErrorException after=3]]"))
    assert failed.value.code == "model_error"
    assert "".join(chunk.content for chunk in read).startswith("1")


# Embeddings

VOCABULARY = "https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken"
TEXTS = ["Hello, world!", "naïve 日本語 😀", "def f(x):\n    return x\n"]


@pytest.fixture
def embeddings(access: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Embeddings:
    """Makes embedding models. Their tokeniser finds its vocabulary in its cache, where it would keep a download."""
    vocabulary = (files("tiktoken_ext") / "data" / "cl100k_base.tiktoken").read_bytes()
    (tmp_path / hashlib.sha1(VOCABULARY.encode()).hexdigest()).write_bytes(vocabulary)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))

    def make(model: str, **settings: Any) -> OpenAIEmbeddings:
        return OpenAIEmbeddings(model=model, **{**access, **settings})

    return make


def by_text(client: OpenAI, model: str, texts: list[str], **settings: Any) -> list[Any]:
    response = client.embeddings.create(model=model, input=texts, **settings)
    return [pytest.approx(item.embedding, abs=1e-6) for item in response.data]


@pytest.mark.parametrize("model", [TITAN, COHERE])
def test_token_arrays_embed_what_the_text_embeds(embeddings: Embeddings, client: OpenAI, model: str) -> None:
    assert embeddings(model).embed_documents(TEXTS) == by_text(client, model, TEXTS)
    assert embeddings(model).embed_query(TEXTS[1]) == by_text(client, model, TEXTS[1:2])[0]


@one_loop
async def test_they_reach_the_model_as_text(embeddings: Embeddings, local: Any) -> None:
    vectors = await embeddings(TITAN, dimensions=256).aembed_documents(TEXTS)
    assert [len(vector) for vector in vectors] == [256] * 3
    assert sorted(call["body"]["inputText"] for call in local.calls()) == sorted(TEXTS)


def test_a_text_longer_than_the_model_takes_is_sent_in_pieces(embeddings: Embeddings, local: Any) -> None:
    long = "word " * 9000
    [vector] = embeddings(TITAN, embedding_ctx_length=4096).embed_documents([long])
    assert len(vector) == 1024
    pieces = [call["body"]["inputText"] for call in local.calls()]
    assert len(pieces) == 3
    assert sum(map(len, pieces)) == len(long)
    assert " ".join(pieces).split() == ["word"] * 9000


def test_texts_as_such(embeddings: Embeddings, client: OpenAI) -> None:
    plain = embeddings(COHERE, check_embedding_ctx_length=False)
    assert plain.embed_documents(TEXTS) == by_text(client, COHERE, TEXTS)


def test_langchain_sends_token_arrays(embeddings: Embeddings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above rest on this."""
    model = embeddings(TITAN)
    create, sent = model.client.create, []

    def watched(**request: Any) -> Any:
        sent.append(request["input"])
        return create(**request)

    monkeypatch.setattr(model.client, "create", watched)
    assert len(model.embed_query("Hello, world!")) == 1024
    assert sent == [[[9906, 11, 1917, 0]]]
