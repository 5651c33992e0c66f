"""Embeddings over generated requests: bodies or a 400, every text once and in order."""

import base64
import json
import struct
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bedrock_local import embeddings, shapes
from bedrock_local.errors import AwsError
from extproc import cl100k_base
from extproc.bedrock.invoke import EMBEDDING_MODELS
from extproc.openai.embeddings import decode
from extproc.openai.errors import ApiError
from extproc.translate.embeddings import EmbeddingsPlan, plan, translate_responses

models = st.sampled_from([*EMBEDDING_MODELS, "amazon.nova-micro-v1:0"])
text = st.text(min_size=1, max_size=20)
ids = st.integers(0, 100_276)
inputs = st.one_of(
    text,
    st.lists(text, min_size=1, max_size=120),
    st.lists(ids, min_size=1, max_size=20),
    st.lists(st.lists(ids, min_size=1, max_size=5), min_size=1, max_size=5),
    st.builds(lambda times: "x" * times, st.integers(1, 60_000)),
)
requests = st.fixed_dictionaries(
    {"model": models, "input": inputs},
    optional={
        "dimensions": st.none() | st.sampled_from([256, 384, 512, 1024, 1536, 3072]) | st.integers(1),
        "encoding_format": st.sampled_from(["float", "base64", None]),
        "user": st.none() | st.text(max_size=5),
    },
)
numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
anything = st.dictionaries(
    st.sampled_from(["model", "input", "dimensions", "encoding_format", "user", "other"]),
    json_values | st.sampled_from(["cohere.embed-english-v3", "float"]),
)


def planned(body: bytes) -> tuple[Any, EmbeddingsPlan] | None:
    """Return the request and its plan; None for a 400."""
    try:
        request = decode(body)
        return request, plan(request, request.model, cl100k_base.decode)
    except ApiError as error:
        if error.status != 400:
            raise
        return None


@given(requests)
def test_any_request_becomes_bodies_or_a_400_never_another_exception(request: dict[str, Any]) -> None:
    made = planned(json.dumps(request).encode())
    assert made is None or made[1].bodies


@given(requests)
def test_the_local_bedrock_accepts_any_translated_request(request: dict[str, Any]) -> None:
    """A text of too many tokens is excepted: each model counts its own, and Bedrock's 400 reaches the client."""
    made = planned(json.dumps(request).encode())
    for body in made[1].bodies if made else ():
        model, sent = EMBEDDING_MODELS[request["model"]].ids[0], shapes.read_json(body)
        assert embeddings.texts(model, sent)
        try:
            embeddings.embed(model, sent)
        except AwsError as rejection:
            if "tokens" not in rejection.message:
                raise


@given(st.builds(lambda value: json.dumps(value).encode(), anything | json_values) | st.binary(max_size=50))
def test_any_bytes_become_bodies_or_a_400_never_another_exception(body: bytes) -> None:
    planned(body)


@given(st.sampled_from(list(EMBEDDING_MODELS)), st.lists(text, min_size=1, max_size=300))
def test_the_bodies_hold_every_text_once_in_order(model: str, texts: list[str]) -> None:
    made = planned(json.dumps({"model": model, "input": texts}).encode())
    assert made is not None
    sent: list[str] = []
    for body in map(json.loads, made[1].bodies):
        alone = body.get("inputText") or body.get("singleEmbeddingParams", {}).get("text", {}).get("value")
        sent += [alone] if alone else body["texts"]
    assert sent == texts


@given(
    st.sampled_from(["cohere.embed-english-v3", "amazon.titan-embed-text-v2:0"]),
    st.integers(1, 8).flatmap(lambda size: st.lists(st.lists(numbers, min_size=size, max_size=size), min_size=1)),
    st.sampled_from(["float", "base64"]),
)
def test_the_response_has_one_vector_for_each_text_in_order(model: str, vectors: list[list[float]], form: str) -> None:
    request = {"model": model, "input": ["x"] * len(vectors), "encoding_format": form}
    made = planned(json.dumps(request).encode())
    assert made is not None
    parsed, calls = made[0], replace(made[1], dimensions=len(vectors[0]))
    left = iter(vectors)
    responses = []
    for count in calls.counts:
        chunk = [next(left) for _ in range(count)]
        body = {"embeddings": chunk} if model.startswith("cohere") else {"embedding": chunk[0]}
        responses.append(({"x-amzn-bedrock-input-token-count": str(count)}, json.dumps(body).encode()))

    decoded = json.loads(translate_responses(parsed, calls, responses)[0])

    assert decoded["usage"]["total_tokens"] == len(vectors)
    assert [item["index"] for item in decoded["data"]] == list(range(len(vectors)))
    assert [_floats(item["embedding"]) for item in decoded["data"]] == vectors


def _floats(embedding: list[float] | str) -> list[float]:
    if isinstance(embedding, str):
        raw = base64.b64decode(embedding)
        return list(struct.unpack(f"<{len(raw) // 4}f", raw))
    return embedding
