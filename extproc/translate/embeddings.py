"""POST /embeddings -> one or several InvokeModel bodies, and their responses -> one response.

A request's texts are spread in order over as few calls as the model allows: one text each for Titan and Nova, 96 for
Cohere. `plan` makes the bodies, the exchange sends them, `translate_responses` puts the vectors back in order.

Invariant: any request that `openai.embeddings.decode` lets through gives either bodies or a 400 `ApiError`, never
another exception; the bodies hold every text once, in order; the response has one vector for each text, of as
many numbers as were requested.

Decision: docs/decisions.md, D63.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from extproc.bedrock.invoke import (
    EMBEDDING_MODELS,
    USUAL_INPUT,
    EmbeddingModel,
    EmbeddingResponseError,
    decode_response,
    request_bodies,
)
from extproc.openai.embeddings import Detokeniser, EmbeddingsRequest, PartlyKnownEmbeddings, encode, path, texts
from extproc.openai.errors import ApiError, invalid
from extproc.translate.errors import bad_response

NUMBER_BYTES = 32
"""Most bytes of one number of a vector: 17 digits, sign, point and exponent are 24, then a comma and white space."""

FLOAT_BYTES = 16
"""Of one number as Bedrock's models send it: the longest decimal of a 32-bit float, and a comma."""

ESCAPED = 6
"""Bytes of a character that JSON escapes (`\\u0000`), for each byte that it had."""

RESPONSE_BYTES = 1024
"""Of everything else in an ordinary response."""

OTHER_BYTES = 16 * 1024
"""Most bytes of everything else in a response, and of an error."""


@dataclass(frozen=True, slots=True)
class EmbeddingsPlan:
    """The calls of one request: their bodies in order, and how many vectors each is to bring."""

    model: EmbeddingModel
    bodies: tuple[bytes, ...]
    counts: tuple[int, ...]
    dimensions: int
    ignored: tuple[str, ...] = ()
    """Fields of the request that change nothing."""


def plan(request: EmbeddingsRequest, foundation: str | None, detokenise: Detokeniser) -> EmbeddingsPlan:
    """EmbeddingsPlan the calls to the model with this foundation id (None if unknown).

    Raises a 400 `ApiError` for a model that makes no embeddings, and for values that this one does not accept.
    """
    model = embedding_model(request.model, foundation)
    _check_dimensions(request.dimensions, model)
    inputs = texts(request, detokenise)
    _check_lengths(request, inputs, model)
    bodies = request_bodies(model, inputs, request.dimensions, request.input_type or USUAL_INPUT)
    dimensions = request.dimensions or model.default_dimensions
    counts = _counts(len(inputs), model.texts_per_call)
    return EmbeddingsPlan(model, bodies, counts, dimensions, _ignored(request, model))


def _counts(inputs: int, size: int) -> tuple[int, ...]:
    """Return how many of the inputs each call has, of which one has `size` at most."""
    whole, rest = divmod(inputs, size)
    return (size,) * whole + ((rest,) if rest else ())


def _ignored(request: EmbeddingsRequest, model: EmbeddingModel) -> tuple[str, ...]:
    """Return the fields that the model does not apply; a document is what every model takes a text for."""
    input_type = request.input_type or USUAL_INPUT
    fields = {
        "user": request.user is not None,
        "input_type": input_type != USUAL_INPUT and input_type not in model.input_types,
    }
    left_out = request.left_out if isinstance(request, PartlyKnownEmbeddings) else ()
    return (*[name for name, is_ignored in fields.items() if is_ignored], *left_out)


def max_response(plan: EmbeddingsPlan, count: int, body: bytes) -> int:
    """Return the bytes of the longest response to a call with this body, which asks for `count` vectors.

    A number takes less than `NUMBER_BYTES`. Cohere's models send the texts back, each character escaped at worst.
    """
    return OTHER_BYTES + count * plan.dimensions * NUMBER_BYTES + ESCAPED * len(body)


def expected_response(plan: EmbeddingsPlan, count: int, size: int) -> int:
    """Return the bytes that the response to a call with a body of `size` should have, which asks for `count` vectors.

    Cohere's models send the texts back.
    """
    texts = size if plan.model.dialect in ("cohere_v3", "cohere_v4") else 0
    return RESPONSE_BYTES + count * plan.dimensions * FLOAT_BYTES + texts


def expected_responses(plan: EmbeddingsPlan) -> int:
    """Return the bytes that the responses to all calls should have."""
    rest = (len(plan.bodies) - 1) * RESPONSE_BYTES
    return rest + expected_response(plan, sum(plan.counts), sum(map(len, plan.bodies)))


def translate_responses(
    request: EmbeddingsRequest, plan: EmbeddingsPlan, responses: Sequence[tuple[Mapping[str, str], bytes]]
) -> tuple[bytes, int | None]:
    """Return the response's body and its tokens, from the headers and bodies of Bedrock's 200s in order.

    Without a number in one of them the tokens are None: Bedrock has not counted all.

    Raises a 502 `ApiError` for a response that is not as Bedrock documents it.
    """
    vectors: list[list[float]] = []
    tokens, uncounted = 0, False
    for (headers, body), count in zip(responses, plan.counts, strict=True):
        try:
            batch, cost = decode_response(plan.model, headers, body)
        except EmbeddingResponseError as error:
            raise _unreadable(str(error)) from error
        if len(batch) != count:
            raise _unreadable(f"{count} vectors were requested, {len(batch)} arrived")
        if lengths := set(map(len, batch)) - {plan.dimensions}:
            raise _unreadable(f"vectors of {plan.dimensions} numbers were requested, one of {min(lengths)} arrived")
        vectors += batch
        tokens += cost or 0
        uncounted = uncounted or cost is None
    encoded = encode(request.model, vectors, tokens, request.encoding_format or "float")
    return encoded, None if uncounted else tokens


def embedding_model(model_id: str, foundation: str | None) -> EmbeddingModel:
    """Return the embedding model with this foundation id. Raises a 400 `ApiError`."""
    model = EMBEDDING_MODELS.get(foundation or model_id)
    if model is None:
        known = ", ".join(dict.fromkeys(model.ids[0] for model in EMBEDDING_MODELS.values()))
        raise invalid(f"'{model_id}' is not known to make embeddings. These models do: {known}.", "model")
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
    """Reject a text that is too long for Bedrock. The error names its index."""
    if model.max_characters is None or max(map(len, inputs)) <= model.max_characters:
        return
    for index, text in enumerate(inputs):
        if len(text) > model.max_characters:
            param = path(request, index)
            raise invalid(
                f"Invalid value for '{param}': a text of {len(text)} characters is too long for "
                f"{model.ids[0]}, which takes at most {model.max_characters}. Split it.",
                param,
                "string_above_max_length",
            )


def _unreadable(why: str) -> ApiError:
    return bad_response(why)
