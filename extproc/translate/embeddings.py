"""POST /embeddings -> one or several InvokeModel bodies, and their answers -> one answer.

A request's texts are dealt out in order to as few calls as the model allows: one text each for Titan and Nova, 96
for Cohere. `plan` says what the bodies are, the exchange sends them, `answer` puts the vectors back in order.

Invariant: any request that `openai.embeddings.decode` lets through gives either bodies or a 400 `ApiError`, never
another exception; the bodies hold every text once, in order; the answer has one vector for each text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from extproc.bedrock.invoke import (
    EMBEDDING_MODELS,
    EmbeddingModel,
    EmbeddingResponseError,
    decode_response,
    request_body,
)
from extproc.openai.embeddings import Detokeniser, EmbeddingsRequest, encode, path, texts
from extproc.openai.errors import ApiError, invalid
from extproc.translate.errors import bad_answer

NUMBER_BYTES = 32
"""Of one number of a vector: 17 digits, sign, point and exponent are 24, and a comma with white space follows."""

FLOAT_BYTES = 16
"""Of one number as Bedrock's models send it: the longest decimal of a 32-bit float, and a comma."""

ESCAPED = 6
"""Bytes of a character that JSON escapes (`\\u0000`), for each byte that it had."""

RESPONSE_BYTES = 1024
"""Of everything else in an ordinary response."""

OTHER_BYTES = 16 * 1024
"""Of everything else in a response, and of an error."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The calls of one request: their bodies in order, and how many vectors each is to bring."""

    model: EmbeddingModel
    bodies: tuple[bytes, ...]
    counts: tuple[int, ...]
    dimensions: int


def plan(request: EmbeddingsRequest, foundation: str | None, detokenise: Detokeniser) -> Plan:
    """How to ask the model with this foundation id (None where it is not known) for the vectors.

    Raises a 400 `ApiError` for a model that makes no embeddings and for what this one does not take.
    """
    model = embedding_model(request.model, foundation)
    _check_dimensions(request.dimensions, model)
    inputs = texts(request, detokenise)
    _check_lengths(request, inputs, model)
    size = model.texts_per_call
    chunks = [inputs[start : start + size] for start in range(0, len(inputs), size)]
    bodies = tuple(request_body(model, chunk, request.dimensions) for chunk in chunks)
    return Plan(model, bodies, tuple(map(len, chunks)), request.dimensions or model.default_dimensions)


def max_answer(made: Plan, count: int, body: bytes) -> int:
    """Return the bytes of the longest response to a call with this body, which asks for `count` vectors.

    A number takes less than `NUMBER_BYTES`. Cohere's models send the texts back, each character escaped at worst.
    """
    return OTHER_BYTES + count * made.dimensions * NUMBER_BYTES + ESCAPED * len(body)


def expected_answer(made: Plan, count: int, body: bytes) -> int:
    """Return the bytes that the response to a call with this body should have, which asks for `count` vectors.

    Cohere's models send the texts back.
    """
    texts = len(body) if made.model.dialect in ("cohere_v3", "cohere_v4") else 0
    return RESPONSE_BYTES + count * made.dimensions * FLOAT_BYTES + texts


def answer(
    request: EmbeddingsRequest, made: Plan, answers: Sequence[tuple[Mapping[str, str], bytes]]
) -> tuple[bytes, int]:
    """The body of OpenAI's answer, and the tokens it cost, from the headers and bodies of Bedrock's 200s in order.

    Raises a 502 `ApiError` for an answer that is not what Bedrock documents.
    """
    vectors: list[list[float]] = []
    tokens = 0
    for (headers, body), count in zip(answers, made.counts, strict=True):
        try:
            found, cost = decode_response(made.model, headers, body)
        except EmbeddingResponseError as error:
            raise _unreadable(str(error)) from error
        if len(found) != count:
            raise _unreadable(f"{count} vectors were asked for, {len(found)} came")
        vectors += found
        tokens += cost
    return encode(request.model, vectors, tokens, request.encoding_format or "float"), tokens


def embedding_model(asked: str, foundation: str | None) -> EmbeddingModel:
    """Return the embedding model with this foundation id. Raises a 400 `ApiError`."""
    model = EMBEDDING_MODELS.get(foundation or asked)
    if model is None:
        known = ", ".join(dict.fromkeys(model.ids[0] for model in EMBEDDING_MODELS.values()))
        raise invalid(f"'{asked}' is not known to make embeddings. These models do: {known}.", "model")
    return model


def _check_dimensions(dimensions: int | None, model: EmbeddingModel) -> None:
    if dimensions is not None and dimensions not in model.dimensions:
        allowed = ", ".join(map(str, model.dimensions))
        raise invalid(
            f"Invalid value for 'dimensions': {model.ids[0]} makes vectors of {allowed} dimensions, "
            f"not of {dimensions}.",
            "dimensions",
            "invalid_value",
        )


def _check_lengths(request: EmbeddingsRequest, inputs: list[str], model: EmbeddingModel) -> None:
    """Refuse a text that Bedrock would refuse, naming the one among many."""
    if model.max_characters is None:
        return
    for index, text in enumerate(inputs):
        if len(text) > model.max_characters:
            where = path(request, index)
            raise invalid(
                f"Invalid value for '{where}': a text of {len(text)} characters is too long for "
                f"{model.ids[0]}, which takes at most {model.max_characters}. Split it.",
                where,
                "string_above_max_length",
            )


def _unreadable(why: str) -> ApiError:
    return bad_answer(why)
