"""Embeddings from the request to bodies, and from Bedrock's responses to the response."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from extproc.bedrock.invoke import EMBEDDING_MODELS
from extproc.openai.embeddings import EmbeddingsRequest, decode
from extproc.openai.errors import ApiError
from extproc.translate.embeddings import EmbeddingsPlan, max_response, plan, translate_responses

TITAN = "amazon.titan-embed-text-v2:0"
COHERE = "cohere.embed-english-v3"
HEADER = "x-amzn-bedrock-input-token-count"


def spelled(ids: Sequence[int]) -> str:
    return "".join(chr(ord("a") + token) for token in ids)


def request(model: str = TITAN, **fields: Any) -> EmbeddingsRequest:
    return decode(json.dumps({"model": model, "input": "x"} | fields).encode())


def planned(parsed: EmbeddingsRequest, foundation: str | None = None) -> EmbeddingsPlan:
    return plan(parsed, foundation or parsed.model, spelled)


def bodies(made: EmbeddingsPlan) -> list[dict[str, Any]]:
    return [json.loads(body) for body in made.bodies]


def rejection(parsed: EmbeddingsRequest, foundation: str | None = None) -> ApiError:
    with pytest.raises(ApiError) as caught:
        planned(parsed, foundation)
    assert caught.value.status == 400
    return caught.value


# Out


def test_one_text_is_one_call() -> None:
    made = planned(request(dimensions=256))
    assert bodies(made) == [{"inputText": "x", "dimensions": 256, "normalize": True}]


def test_titan_gets_a_call_for_each_text_in_order() -> None:
    made = planned(request(input=["c", "a", "b"]))
    assert [body["inputText"] for body in bodies(made)] == ["c", "a", "b"]
    assert made.counts == (1, 1, 1)


def test_cohere_gets_chunks_of_96_in_order() -> None:
    inputs = [f"text {number}" for number in range(200)]
    made = planned(request(COHERE, input=inputs))
    assert made.counts == (96, 96, 8)
    assert [text for body in bodies(made) for text in body["texts"]] == inputs


def test_tokens_go_out_as_text() -> None:
    made = planned(request(input=[[7, 8], [1, 24, 4]]))
    assert [body["inputText"] for body in bodies(made)] == ["hi", "bye"]


def test_the_model_is_known_by_its_foundation_and_not_by_its_name() -> None:
    parsed = request("eu.cohere.embed-v4:0", dimensions=1536)
    assert bodies(planned(parsed, "cohere.embed-v4:0"))[0]["output_dimension"] == 1536


@pytest.mark.parametrize(
    ("model", "foundation"),
    [
        ("amazon.nova-micro-v1:0", "amazon.nova-micro-v1:0"),
        ("amazon.titan-embed-text-v9:0", "amazon.titan-embed-text-v9:0"),
        ("arn:aws:bedrock:us-east-1:1:application-inference-profile/titan-embed-text-v2", None),
    ],
)
def test_a_model_without_embeddings_is_rejected_with_those_that_have_them(model: str, foundation: str | None) -> None:
    error = rejection(request(model), foundation)
    assert error.param == "model"
    assert f"'{model}'" in error.message
    assert TITAN in error.message
    assert COHERE in error.message


@pytest.mark.parametrize(
    ("model", "dimensions", "allowed"),
    [
        (TITAN, 1536, "256, 512, 1024"),
        ("amazon.titan-embed-text-v1", 1024, "1536"),
        (COHERE, 512, "1024"),
        ("amazon.nova-2-multimodal-embeddings-v1:0", 512, "256, 384, 1024, 3072"),
    ],
)
def test_unsupported_dimensions_are_rejected_with_the_supported_ones(model: str, dimensions: int, allowed: str) -> None:
    error = rejection(request(model, dimensions=dimensions))
    assert error.param == "dimensions"
    assert f"vectors of {allowed} dimensions" in error.message


@pytest.mark.parametrize(
    ("model", "value", "param"),
    [
        (TITAN, "x" * 50_001, "input"),
        (COHERE, ["x" * 2048, "x" * 2049], "input[1]"),
        (COHERE, ["x" * 2049], "input[0]"),
        (COHERE, [0] * 2049, "input"),
        (COHERE, [[0] * 2048, [0] * 2049], "input[1]"),
    ],
)
def test_a_text_too_long_is_rejected_and_named(model: str, value: object, param: str) -> None:
    error = rejection(request(model, input=value))
    assert error.param == param
    assert "too long" in error.message


def test_a_text_as_long_as_may_be_is_let_through() -> None:
    assert len(planned(request(input="x" * 50_000)).bodies) == 1
    assert len(planned(request("cohere.embed-v4:0", input="x" * 100_000)).bodies) == 1


# Back


def test_vectors_keep_their_order_and_tokens_are_summed() -> None:
    parsed = request(COHERE, input=["x"] * 97)
    first = json.dumps({"embeddings": [[float(n)] * 1024 for n in range(96)]}).encode()
    second = json.dumps({"embeddings": {"float": [[96.0] * 1024]}}).encode()
    body, _ = translate_responses(parsed, planned(parsed), [({HEADER: "300"}, first), ({HEADER: "4"}, second)])
    body_json = json.loads(body)
    assert [item["embedding"] for item in body_json["data"]] == [[float(n)] * 1024 for n in range(97)]
    assert [item["index"] for item in body_json["data"]] == list(range(97))
    assert body_json["usage"] == {"prompt_tokens": 304, "total_tokens": 304}


def test_the_client_sees_the_model_that_it_requested() -> None:
    parsed = request("eu.cohere.embed-v4:0", dimensions=256)
    made = planned(parsed, "cohere.embed-v4:0")
    response = json.dumps({"embeddings": [[1] * 256]}).encode()
    body_json = json.loads(translate_responses(parsed, made, [({}, response)])[0])
    assert body_json["model"] == "eu.cohere.embed-v4:0"


@pytest.mark.parametrize(("form", "vector"), [(None, [1.0]), ("float", [1.0]), ("base64", "AACAPw==")], ids=str)
def test_the_format_is_the_requested_one_and_floats_by_default(form: str | None, vector: object) -> None:
    parsed = request(encoding_format=form)
    made = replace(planned(parsed), dimensions=1)
    body_json = json.loads(translate_responses(parsed, made, [({}, b'{"embedding":[1]}')])[0])
    assert body_json["data"][0]["embedding"] == vector


@pytest.mark.parametrize("body", [b"{}", b'{"embeddings":[[1]]}', b'{"embeddings":[[1],[2],[3]]}'])
def test_a_response_that_does_not_match_is_a_502_and_never_a_shifted_list(body: bytes) -> None:
    parsed = request(COHERE, input=["a", "b"])
    with pytest.raises(ApiError) as caught:
        translate_responses(parsed, planned(parsed), [({}, body)])
    assert caught.value.status == 502
    assert caught.value.type == "server_error"


LENGTHS: dict[str, tuple[str, int | None, list[int]]] = {
    "short": (TITAN, None, [10]),
    "empty": (TITAN, None, [0]),
    "long": (TITAN, None, [2000]),
    "not the requested dimensions": (TITAN, 256, [1024]),
    "one of several": (TITAN, 256, [256, 256, 3]),
    "one of a call": (COHERE, None, [1024, 3, 1024]),
    "the only length": ("amazon.titan-embed-text-v1", None, [1024]),
}


@pytest.mark.parametrize("name", LENGTHS)
@pytest.mark.parametrize("form", ["float", "base64"])
def test_a_vector_of_another_length_is_a_502(name: str, form: str) -> None:
    model, dimensions, lengths = LENGTHS[name]
    parsed = request(model, input=["a"] * len(lengths), dimensions=dimensions, encoding_format=form)
    vectors = [[0.5] * length for length in lengths]
    bodies = [{"embeddings": vectors}] if model == COHERE else [{"embedding": vector} for vector in vectors]
    with pytest.raises(ApiError) as caught:
        translate_responses(parsed, planned(parsed), [({}, json.dumps(body).encode()) for body in bodies])
    assert (caught.value.status, caught.value.code) == (502, "bad_upstream_answer")


@pytest.mark.parametrize("number", ["1e300", "-1e39", "3.5e38", "1" + "0" * 40])
@pytest.mark.parametrize("form", ["float", "base64"])
@pytest.mark.parametrize("model", [TITAN, COHERE, "cohere.embed-v4:0", "amazon.nova-2-multimodal-embeddings-v1:0"])
def test_a_number_that_is_no_32_bit_float_is_a_502(model: str, form: str, number: str) -> None:
    """In base64, which both SDKs ask for, it would be infinite."""
    parsed = request(model, encoding_format=form)
    made = replace(planned(parsed), dimensions=2)
    body = {"float": [["HERE", 1]]} if model == "cohere.embed-v4:0" else [["HERE", 1]]
    key: dict[str, Any] = {"embedding": ["HERE", 1]} if model == TITAN else {"embeddings": body}
    if "nova" in model:
        key = {"embeddings": [{"embedding": ["HERE", 1]}]}
    for value, works in ((number, False), ("3.4028234663852886e38", True), ("-1e-300", True)):
        response = json.dumps(key).replace('"HERE"', value).encode()
        if works:
            assert b"Infinity" not in translate_responses(parsed, made, [({}, response)])[0]
            continue
        with pytest.raises(ApiError) as caught:
            translate_responses(parsed, made, [({}, response)])
        assert (caught.value.status, caught.value.code) == (502, "bad_upstream_answer")


# The longest response


@pytest.mark.parametrize("model", EMBEDDING_MODELS)
@pytest.mark.parametrize("text", ["a", "\u0001", "é", "🙂", '"'])
def test_the_longest_response_is_within_the_bound_and_not_far_below_it(model: str, text: str) -> None:
    """The longest numbers, written with white space, and the texts sent back, every character escaped."""
    texts = [text * 100] * EMBEDDING_MODELS[model].texts_per_call
    made = planned(request(model, input=texts))
    (count,), (body,) = made.counts, made.bodies
    vectors = [[-1.2345678901234567e-300] * made.dimensions] * count
    whole = json.dumps(
        {"id": "x" * 64, "embeddings": {"float": vectors}, "texts": texts, "message": "x" * 4096}
    ).encode()
    assert len(whole) <= max_response(made, count, body) <= 3 * len(whole) + 16_384 + 6 * len(body)
