"""InvokeModel by boto3: each embedding model's bodies, responses and errors."""

import json
import math

import pytest

TITAN_1, TITAN_2 = "amazon.titan-embed-text-v1", "amazon.titan-embed-text-v2:0"
TITAN_IMAGE, NOVA = "amazon.titan-embed-image-v1", "amazon.nova-2-multimodal-embeddings-v1:0"
COHERE_3, COHERE_3_ENGLISH = "cohere.embed-multilingual-v3", "cohere.embed-english-v3"
COHERE_4 = "us.cohere.embed-v4:0"
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def nova(text="hello", mode="END", **more):
    params = {"embeddingPurpose": "GENERIC_INDEX", "text": {"truncationMode": mode, "value": text}, **more}
    return {
        "schemaVersion": "nova-multimodal-embed-v1",
        "taskType": "SINGLE_EMBEDDING",
        "singleEmbeddingParams": params,
    }


def cohere(*texts, **more):
    return {"texts": list(texts), "input_type": "search_document", **more}


@pytest.fixture
def embed(local):
    def invoke(model, body):
        response = local.runtime.invoke_model(modelId=model, body=json.dumps(body))
        return json.loads(response["body"].read()), response["ResponseMetadata"]["HTTPHeaders"]

    return invoke


def is_unit(vector):
    return math.isclose(math.hypot(*vector), 1)


@pytest.mark.parametrize(
    ("model", "body", "find", "dimensions"),
    [
        (TITAN_1, {"inputText": "hello"}, lambda a: a["embedding"], 1536),
        (TITAN_2, {"inputText": "hello"}, lambda a: a["embedding"], 1024),
        (TITAN_2, {"inputText": "hello", "dimensions": 256}, lambda a: a["embeddingsByType"]["float"], 256),
        (TITAN_IMAGE, {"inputText": "hello"}, lambda a: a["embedding"], 1024),
        (
            TITAN_IMAGE,
            {"inputText": "a", "embeddingConfig": {"outputEmbeddingLength": 384}},
            lambda a: a["embedding"],
            384,
        ),
        (TITAN_IMAGE, {"inputImage": "iVBORw0KGgo="}, lambda a: a["embedding"], 1024),
        (NOVA, nova(), lambda a: a["embeddings"][0]["embedding"], 3072),
        (NOVA, nova(embeddingDimension=256), lambda a: a["embeddings"][0]["embedding"], 256),
        (COHERE_3, cohere("hello"), lambda a: a["embeddings"][0], 1024),
        (COHERE_3_ENGLISH, cohere("hello", embedding_types=["float"]), lambda a: a["embeddings"]["float"][0], 1024),
        (COHERE_3, {"images": [PIXEL], "input_type": "image"}, lambda a: a["embeddings"][0], 1024),
        (COHERE_4, cohere("hello"), lambda a: a["embeddings"][0], 1536),
        (
            COHERE_4,
            cohere("hello", output_dimension=512, embedding_types=["float"], truncate="LEFT"),
            lambda a: a["embeddings"]["float"][0],
            512,
        ),
        (
            COHERE_4,
            {
                "input_type": "search_query",
                "inputs": [
                    {
                        "content": [
                            {"type": "text", "text": "a"},
                            {"type": "image_url", "image_url": {"url": PIXEL}},
                        ]
                    }
                ],
            },
            lambda a: a["embeddings"][0],
            1536,
        ),
    ],
)
def test_vectors_have_the_right_length(embed, model, body, find, dimensions):
    response, headers = embed(model, body)
    vector = find(response)
    assert len(vector) == dimensions
    assert is_unit(vector)
    assert headers["content-type"] == "application/json"
    assert int(headers["x-amzn-bedrock-input-token-count"]) >= 0
    assert headers["x-amzn-bedrock-output-token-count"] == "0"
    assert int(headers["x-amzn-bedrock-invocation-latency"]) >= 0
    assert find(embed(model, body)[0]) == vector


def test_order_shows_in_the_vectors(embed):
    texts = ["one", "two", "one", "three"]
    vectors = embed(COHERE_3, cohere(*texts))[0]["embeddings"]
    assert vectors[0] == vectors[2]
    assert len({tuple(vector) for vector in vectors}) == 3
    assert vectors[1] == embed(COHERE_3, cohere("two"))[0]["embeddings"][0]


def test_cohere_names_the_shape_of_its_response(embed):
    plain, _ = embed(COHERE_3, cohere("a", "b"))
    assert (plain["response_type"], plain["texts"]) == ("embeddings_floats", ["a", "b"])
    typed, _ = embed(COHERE_4, cohere("a", embedding_types=["float", "int8", "uint8", "binary", "ubinary"]))
    assert typed["response_type"] == "embeddings_by_type"
    lengths = {kind: len(vectors[0]) for kind, vectors in typed["embeddings"].items()}
    assert lengths == {"float": 1536, "int8": 1536, "uint8": 1536, "binary": 192, "ubinary": 192}
    assert all(-128 <= value <= 127 for value in typed["embeddings"]["binary"][0])
    assert all(0 <= value <= 255 for value in typed["embeddings"]["ubinary"][0])


def test_titan_normalises_by_default_and_supports_bits(embed):
    raw, _ = embed(TITAN_2, {"inputText": "hello", "normalize": False})
    assert not is_unit(raw["embedding"])
    bits, _ = embed(TITAN_2, {"inputText": "hello", "embeddingTypes": ["binary"]})
    assert "embedding" not in bits
    assert set(bits["embeddingsByType"]["binary"]) == {0, 1}


def test_tokens_are_counted_in_body_and_header(embed):
    response, headers = embed(TITAN_2, {"inputText": "one two threefour"})
    assert response["inputTextTokenCount"] == 5
    assert headers["x-amzn-bedrock-input-token-count"] == "5"
    assert embed(COHERE_3, cohere("one", "two three"))[1]["x-amzn-bedrock-input-token-count"] == "4"
    assert "inputTextTokenCount" not in embed(NOVA, nova())[0]


def test_nova_reports_the_place_of_its_cut(embed):
    response, _ = embed(NOVA, nova("word " * 9000))
    assert response["embeddings"][0]["truncatedCharLength"] < 45_000


MALFORMED = [
    (TITAN_1, {"inputText": "a", "dimensions": 256}, "extraneous key [dimensions] is not permitted"),
    (TITAN_1, {"inputText": ""}, "#/inputText: expected minLength: 1, actual: 0"),
    (TITAN_1, {}, "required key [inputText] not found"),
    (TITAN_2, {"inputText": ["a"]}, "#/inputText: expected type: String, found: JSONArray"),
    (TITAN_2, {"inputText": "a", "dimensions": 300}, "#/dimensions: 300 is not a valid enum value"),
    (TITAN_2, {"inputText": "a", "dimensions": True}, "#/dimensions: expected type: Integer, found: Boolean"),
    (TITAN_2, {"inputText": "a", "normalize": 1}, "#/normalize: expected type: Boolean, found: Integer"),
    (TITAN_2, {"inputText": "a", "embeddingTypes": ["int8"]}, "#/embeddingTypes/0: int8 is not a valid enum value"),
    (TITAN_2, {"inputText": "a" * 50_001}, "#/inputText: expected maxLength: 50000, actual: 50001"),
    (TITAN_IMAGE, {"inputImage": "?"}, "#/inputImage: expected a string of base64"),
    (TITAN_IMAGE, {"inputText": "a", "embeddingConfig": {"outputEmbeddingLength": 512}}, "512 is not a valid enum"),
    (COHERE_3, cohere(*["a"] * 97), "#/texts: expected maximum item count: 96, found: 97"),
    (COHERE_3, cohere(), "#/texts: expected minimum item count: 1, found: 0"),
    (COHERE_3, cohere("a", "b" * 2049), "#/texts/1: expected maxLength: 2048, actual: 2049"),
    (COHERE_3, cohere("a", truncate="LEFT"), "#/truncate: LEFT is not a valid enum value"),
    (COHERE_3, {"texts": ["a"]}, "required key [input_type] not found"),
    (COHERE_3, cohere("a", output_dimension=256), "extraneous key [output_dimension] is not permitted"),
    (COHERE_3, cohere("a", images=[PIXEL]), "exactly one of [texts, images] is required"),
    (COHERE_3, {"images": ["cat.png"], "input_type": "image"}, "#/images/0: expected a data URI"),
    (COHERE_4, cohere("a", truncate="END"), "#/truncate: END is not a valid enum value"),
    (COHERE_4, cohere("a", max_tokens=0), "#/max_tokens: 0 is not greater or equal to 1"),
    (COHERE_4, cohere("a", max_tokens=128_001), "#/max_tokens: 128001 is not less or equal to 128000"),
    (COHERE_4, cohere("a", output_dimension=1024.0), "#/output_dimension: expected type: Integer, found: BigDecimal"),
    (NOVA, nova(mode="LEFT"), "#/singleEmbeddingParams/text/truncationMode: LEFT is not a valid enum value"),
    (NOVA, {"taskType": "SINGLE_EMBEDDING"}, "required key [singleEmbeddingParams] not found"),
    (NOVA, nova(embeddingPurpose="FUN"), "#/singleEmbeddingParams/embeddingPurpose: FUN is not a valid enum value"),
]


@pytest.mark.parametrize(("model", "body", "reason"), MALFORMED)
def test_bodies_that_do_not_fit(local, rejected, model, body, reason):
    status, name, message = rejected(local.runtime.invoke_model, modelId=model, body=json.dumps(body))
    assert (status, name) == (400, "ValidationException")
    assert message.startswith("Malformed input request: #")
    assert message.endswith(", please reformat your input and try again.")
    assert reason in message


@pytest.mark.parametrize(
    ("model", "body", "reason"),
    [
        (TITAN_2, {"inputText": "a " * 8193}, "Too many input tokens. Max input tokens: 8192, request input token"),
        (TITAN_IMAGE, {"inputText": "a " * 257}, "Too many input tokens. Max input tokens: 256"),
        (TITAN_IMAGE, {}, "Either inputText or inputImage must be provided."),
        (NOVA, nova("a " * 8193, mode="NONE"), "truncationMode is NONE"),
        (COHERE_4, cohere("a b c", max_tokens=2, truncate="NONE"), "truncate is NONE"),
        ("amazon.nova-lite-v1:0", {"messages": []}, "serves InvokeModel for embedding models only"),
        ("cohere.embed-v4:0", cohere("a"), "on-demand throughput isn\u2019t supported"),
        ("cohere.embed-none", cohere("a"), "The provided model identifier is invalid."),
        (TITAN_2, {"inputText": "a [[local: status=429]]"}, "ThrottlingException was ordered."),
        (COHERE_3, cohere("a", "b [[local: status=500]]"), "InternalServerException was ordered."),
    ],
)
def test_errors_of_each_embedding_model(local, rejected, model, body, reason):
    _, name, message = rejected(local.runtime.invoke_model, modelId=model, body=json.dumps(body))
    assert reason in message
    if "was ordered" in reason:
        assert message == f"{name} was ordered."


def test_the_accepted_options(local, rejected):
    call = {"modelId": TITAN_1, "body": b'{"inputText": "a"}'}
    assert local.runtime.invoke_model(**call, accept="application/json")["contentType"] == "application/json"
    assert rejected(local.runtime.invoke_model, **call, accept="text/csv")[:2] == (400, "ValidationException")
    assert rejected(local.runtime.invoke_model, **call, contentType="text/csv")[:2] == (400, "SerializationException")
