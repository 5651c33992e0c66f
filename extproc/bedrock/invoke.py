"""InvokeModel for embeddings: the models, and the bodies of their requests and responses.

A model's limits are data (`embedding_models.json`); the form of its bodies is its dialect. A model is found by its
whole foundation id, never by a part of it.

Invariant: a text that is too long for its model is rejected, here or by Bedrock, and never silently cut.

Source: "Inference request parameters and response fields for foundation models" in Bedrock's user guide, and for
Nova the "Complete embeddings request and response schema" of its own; the limits in characters are those that
Bedrock's ValidationException names ("expected maxLength: 50000").
"""

import re
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from extproc.bedrock.converse_response import Tokens

Dialect = Literal["titan_v1", "titan_v2", "titan_image", "cohere_v3", "cohere_v4", "nova_multimodal"]
Vectors = list[list[float]]

_COUNT = re.compile(r"[0-9]{1,9}", re.ASCII)
"""A number of tokens that is believed."""


class EmbeddingResponseError(Exception):
    """Bedrock's response has no vectors in the place that the dialect has for them."""


class EmbeddingModel(Struct, frozen=True, forbid_unknown_fields=True):
    """An embeddings model and its limits."""

    ids: tuple[str, ...]
    """Its foundation ids, the plain one first, then those of its provisioned variants."""
    dialect: Dialect
    dimensions: tuple[int, ...]
    default_dimensions: int
    texts_per_call: int
    max_characters: int | None
    """Longest text; None where Bedrock limits tokens only."""
    input_types: Mapping[str, str] = {}
    """The wire's values by those of `input_type`; empty where the model makes no difference."""


def _load() -> Mapping[str, EmbeddingModel]:
    data = (files("extproc.bedrock") / "embedding_models.json").read_bytes()
    models = msgspec.json.decode(data, type=list[EmbeddingModel])
    return {name: model for model in models for name in model.ids}


USUAL_INPUT = "search_document"
"""The `input_type` of a request without one."""

_PLACE = "?"
"""A text that no value of a body is beside texts."""

EMBEDDING_MODELS = _load()
"""By foundation id."""


def request_body(
    model: EmbeddingModel, texts: Sequence[str], dimensions: int | None, input_type: str = USUAL_INPUT
) -> bytes:
    """Return the request's body for `texts`, which are at most `model.texts_per_call`.

    An `input_type` that the model does not know is that of a document.
    """
    write, _ = _DIALECTS[model.dialect]
    known = model.input_types.get(input_type) or model.input_types.get(USUAL_INPUT, "")
    return msgspec.json.encode(write(texts, dimensions or model.default_dimensions, known))


def request_bodies(
    model: EmbeddingModel, texts: Sequence[str], dimensions: int | None, input_type: str = USUAL_INPUT
) -> tuple[bytes, ...]:
    """Return the bodies of as few requests as the model takes `texts` in, in their order.

    A model that takes one text a request may have thousands of them: what their bodies share is encoded once.
    """
    size = model.texts_per_call
    if size > 1:
        starts = range(0, len(texts), size)
        return tuple([request_body(model, texts[at : at + size], dimensions, input_type) for at in starts])
    before, _, after = request_body(model, [_PLACE], dimensions, input_type).partition(msgspec.json.encode(_PLACE))
    return tuple([b"".join((before, text, after)) for text in map(msgspec.json.encode, texts)])


def decode_response(model: EmbeddingModel, headers: Mapping[str, str], body: bytes) -> tuple[Vectors, int | None]:
    """Return the vectors in Bedrock's response, in the order of the texts, and the number of input tokens.

    `headers` have lower-case names. The number is that of Bedrock's header, which AWS bills; without it the body's,
    which only Titan's have; without either None.
    Raises `EmbeddingResponseError`.
    """
    _, read = _DIALECTS[model.dialect]
    try:
        vectors, counted = read(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EmbeddingResponseError(str(error)) from error
    header = headers.get("x-amzn-bedrock-input-token-count", "")
    return vectors, int(header) if _COUNT.fullmatch(header) else counted


# Request bodies, by dialect


def _titan_v1(texts: Sequence[str], _dimensions: int, _input_type: str) -> dict[str, object]:
    return {"inputText": texts[0]}


def _titan_v2(texts: Sequence[str], dimensions: int, _input_type: str) -> dict[str, object]:
    return {"inputText": texts[0], "dimensions": dimensions, "normalize": True}


def _titan_image(texts: Sequence[str], dimensions: int, _input_type: str) -> dict[str, object]:
    return {"inputText": texts[0], "embeddingConfig": {"outputEmbeddingLength": dimensions}}


def _cohere_v3(texts: Sequence[str], _dimensions: int, input_type: str) -> dict[str, object]:
    # Without `truncate` the model silently cuts at 512 tokens (run-llama/llama_index#13376).
    return {"texts": texts, "input_type": input_type, "truncate": "NONE"}


def _cohere_v4(texts: Sequence[str], dimensions: int, input_type: str) -> dict[str, object]:
    return {
        "texts": texts,
        "input_type": input_type,
        "truncate": "NONE",
        "embedding_types": ["float"],
        "output_dimension": dimensions,
    }


def _nova_multimodal(texts: Sequence[str], dimensions: int, input_type: str) -> dict[str, object]:
    return {
        "schemaVersion": "nova-multimodal-embed-v1",
        "taskType": "SINGLE_EMBEDDING",
        "singleEmbeddingParams": {
            "embeddingPurpose": input_type,
            "embeddingDimension": dimensions,
            "text": {"truncationMode": "NONE", "value": texts[0]},
        },
    }


# Response bodies, by dialect -> the vectors, and the tokens if the body has their number

_LARGEST = 3.4028234663852886e38
"""The largest 32-bit float: in base64 a number beyond it would be infinite."""

_Vector = list[Annotated[float, Meta(ge=-_LARGEST, le=_LARGEST)]]


class _TitanResponse(Struct):
    embedding: _Vector | None = None
    inputTextTokenCount: Tokens | None = None  # noqa: N815 - the wire's own name
    message: str | None = None


class _ByType(Struct):
    floats: list[_Vector] = msgspec.field(name="float")


class _CohereResponse(Struct):
    embeddings: list[_Vector] | _ByType


class _NovaEmbedding(Struct):
    embedding: _Vector


class _NovaResponse(Struct):
    embeddings: list[_NovaEmbedding]


def _from_titan(body: bytes) -> tuple[Vectors, int | None]:
    response = msgspec.json.decode(body, type=_TitanResponse)
    if response.embedding is None:  # the image model then gives the reason
        raise EmbeddingResponseError(response.message or "no embedding")
    return [response.embedding], response.inputTextTokenCount


def _from_cohere(body: bytes) -> tuple[Vectors, int | None]:
    embeddings = msgspec.json.decode(body, type=_CohereResponse).embeddings
    return embeddings.floats if isinstance(embeddings, _ByType) else embeddings, None


def _from_nova(body: bytes) -> tuple[Vectors, int | None]:
    return [item.embedding for item in msgspec.json.decode(body, type=_NovaResponse).embeddings], None


_DIALECTS: dict[
    Dialect,
    tuple[Callable[[Sequence[str], int, str], dict[str, object]], Callable[[bytes], tuple[Vectors, int | None]]],
] = {
    "titan_v1": (_titan_v1, _from_titan),
    "titan_v2": (_titan_v2, _from_titan),
    "titan_image": (_titan_image, _from_titan),
    "cohere_v3": (_cohere_v3, _from_cohere),
    "cohere_v4": (_cohere_v4, _from_cohere),
    "nova_multimodal": (_nova_multimodal, _from_nova),
}
