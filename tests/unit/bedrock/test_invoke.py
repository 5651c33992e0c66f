"""Requests to the embedding models, and their responses."""

import json

import pytest

from extproc.bedrock.invoke import EMBEDDING_MODELS, EmbeddingResponseError, decode_response, request_body

HEADER = "x-amzn-bedrock-input-token-count"


def encoded(name: str, texts: list[str], dimensions: int | None = None) -> object:
    return json.loads(request_body(EMBEDDING_MODELS[name], texts, dimensions))


def read(name: str, response: object, headers: dict[str, str] | None = None) -> tuple[list[list[float]], int | None]:
    return decode_response(EMBEDDING_MODELS[name], headers or {}, json.dumps(response).encode())


@pytest.mark.parametrize(
    ("name", "dimensions", "body"),
    [
        ("amazon.titan-embed-text-v1", None, {"inputText": "Hi"}),
        ("amazon.titan-embed-text-v1", 1536, {"inputText": "Hi"}),
        (
            "amazon.titan-embed-text-v2:0",
            256,
            {"inputText": "Hi", "dimensions": 256, "normalize": True},
        ),
        (
            "amazon.titan-embed-text-v2:0:8k",
            None,
            {"inputText": "Hi", "dimensions": 1024, "normalize": True},
        ),
        (
            "amazon.titan-embed-image-v1",
            384,
            {"inputText": "Hi", "embeddingConfig": {"outputEmbeddingLength": 384}},
        ),
        (
            "cohere.embed-english-v3",
            None,
            {"texts": ["Hi"], "input_type": "search_document", "truncate": "NONE"},
        ),
        (
            "cohere.embed-v4:0",
            512,
            {
                "texts": ["Hi"],
                "input_type": "search_document",
                "truncate": "NONE",
                "embedding_types": ["float"],
                "output_dimension": 512,
            },
        ),
        (
            "amazon.nova-2-multimodal-embeddings-v1:0",
            None,
            {
                "schemaVersion": "nova-multimodal-embed-v1",
                "taskType": "SINGLE_EMBEDDING",
                "singleEmbeddingParams": {
                    "embeddingPurpose": "GENERIC_INDEX",
                    "embeddingDimension": 3072,
                    "text": {"truncationMode": "NONE", "value": "Hi"},
                },
            },
        ),
    ],
)
def test_each_dialect_is_encoded_as_documented(name: str, dimensions: int | None, body: object) -> None:
    assert encoded(name, ["Hi"], dimensions) == body


def test_cohere_takes_many_texts_in_order() -> None:
    body = encoded("cohere.embed-multilingual-v3", ["c", "a", "b"])
    assert isinstance(body, dict)
    assert body["texts"] == ["c", "a", "b"]


@pytest.mark.parametrize(
    ("name", "response", "vectors", "tokens"),
    [
        (
            "amazon.titan-embed-text-v2:0",
            {
                "embedding": [0.5, -1],
                "inputTextTokenCount": 3,
                "embeddingsByType": {"float": [0.5, -1], "binary": [1, 0]},
            },
            [[0.5, -1.0]],
            3,
        ),
        (
            "amazon.titan-embed-image-v1",
            {"embedding": [0.5], "inputTextTokenCount": 2, "message": None},
            [[0.5]],
            2,
        ),
        (
            "cohere.embed-english-v3",
            {"id": "1", "response_type": "embeddings_floats", "embeddings": [[0.5], [1.5]], "texts": ["a", "b"]},
            [[0.5], [1.5]],
            None,
        ),
        (
            "cohere.embed-v4:0",
            {"id": "1", "response_type": "embeddings_by_type", "embeddings": {"float": [[0.5], [1.5]]}},
            [[0.5], [1.5]],
            None,
        ),
        (
            "amazon.nova-2-multimodal-embeddings-v1:0",
            {"embeddings": [{"embeddingType": "TEXT", "embedding": [0.5, 1.5]}]},
            [[0.5, 1.5]],
            None,
        ),
    ],
)
def test_each_dialect_is_read_as_documented(
    name: str, response: object, vectors: list[list[float]], tokens: int | None
) -> None:
    assert read(name, response) == (vectors, tokens)


def test_the_header_is_believed_before_the_body() -> None:
    titan = {"embedding": [0.5], "inputTextTokenCount": 3}
    assert read("amazon.titan-embed-text-v1", titan, {HEADER: "4"})[1] == 4
    assert read("amazon.titan-embed-text-v1", titan, {HEADER: "many"})[1] == 3
    assert read("cohere.embed-v4:0", {"embeddings": []}, {HEADER: "12"})[1] == 12


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("amazon.titan-embed-text-v2:0", b"{}"),
        ("amazon.titan-embed-text-v2:0", b'{"embedding":["0.5"]}'),
        ("amazon.titan-embed-text-v2:0", b""),
        ("amazon.titan-embed-text-v2:0", b"<html>"),
        ("amazon.titan-embed-text-v2:0", b'{"embedding":[1e999]}'),
        ("amazon.titan-embed-text-v2:0", b'{"message":"\xff"}'),
        ("cohere.embed-english-v3", b'{"embeddings":{"int8":[[1]]}}'),
        ("cohere.embed-english-v3", b'{"embedding":[1]}'),
        ("amazon.nova-2-multimodal-embeddings-v1:0", b'{"embeddings":[[1]]}'),
    ],
)
def test_a_response_without_vectors_is_an_error(name: str, body: bytes) -> None:
    with pytest.raises(EmbeddingResponseError):
        decode_response(EMBEDDING_MODELS[name], {}, body)


def test_the_image_models_message_is_the_error() -> None:
    with pytest.raises(EmbeddingResponseError, match="too blurred"):
        read("amazon.titan-embed-image-v1", {"embedding": None, "message": "too blurred"})


def test_the_table_agrees_with_itself() -> None:
    for name, model in EMBEDDING_MODELS.items():
        assert name in model.ids
        assert model.default_dimensions in model.dimensions
        assert model.texts_per_call == (96 if model.dialect.startswith("cohere") else 1)


@pytest.mark.parametrize("count", ["-5", "1000000000", "1_0", "9" * 4_000, "\u0663", ""])
def test_a_count_that_cannot_be_is_not_believed(count: str) -> None:
    titan = {"embedding": [0.5], "inputTextTokenCount": 3}
    assert read("amazon.titan-embed-text-v1", titan, {HEADER: count})[1] == 3
    assert read("cohere.embed-v4:0", {"embeddings": []}, {HEADER: count})[1] is None


def test_a_count_in_the_body_that_cannot_be_is_a_bad_response() -> None:
    with pytest.raises(EmbeddingResponseError, match="inputTextTokenCount"):
        read("amazon.titan-embed-text-v1", {"embedding": [0.5], "inputTextTokenCount": -1})
