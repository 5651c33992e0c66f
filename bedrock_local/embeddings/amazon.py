"""Amazon's embedding models: Titan text v1 and v2, Titan multimodal, Nova multimodal. One text per call."""

from collections.abc import Mapping
from typing import Any

from bedrock_local import tokens
from bedrock_local.embeddings import vectors
from bedrock_local.embeddings.bodies import Embedder, Reply, base64_text, boolean, many, record, text, whole
from bedrock_local.errors import invalid

_TITAN_TOKENS, _TITAN_CHARACTERS = 8192, 50_000
_TITAN_IMAGE_TOKENS = 256
_NOVA_TOKENS = 8192

_PURPOSES = (
    "GENERIC_INDEX",
    "GENERIC_RETRIEVAL",
    "TEXT_RETRIEVAL",
    "IMAGE_RETRIEVAL",
    "VIDEO_RETRIEVAL",
    "DOCUMENT_RETRIEVAL",
    "AUDIO_RETRIEVAL",
    "CLASSIFICATION",
    "CLUSTERING",
)


def _input_text(body: dict[str, Any]) -> list[str]:
    return [body["inputText"]] if "inputText" in body else []


def _count(value: str, most: int) -> int:
    number = max(tokens.count(value), 1)
    if number > most:
        raise invalid(
            f"400 Bad Request: Too many input tokens. Max input tokens: {most}, request input token count: {number} "
        )
    return number


def _titan_v1(body: dict[str, Any]) -> Reply:
    number = _count(body["inputText"], _TITAN_TOKENS)
    vector = vectors.unit(body["inputText"], 1536)
    return Reply({"embedding": vector, "inputTextTokenCount": number}, number)


def _titan_v2(body: dict[str, Any]) -> Reply:
    number = _count(body["inputText"], _TITAN_TOKENS)
    make = vectors.unit if body.get("normalize", True) else vectors.unscaled
    vector = make(body["inputText"], body.get("dimensions", 1024))
    kinds = body.get("embeddingTypes", ["float"])
    by_type = {kind: vector if kind == "float" else vectors.signs(vector) for kind in kinds}
    reply: dict[str, Any] = {"embeddingsByType": by_type, "inputTextTokenCount": number}
    return Reply({"embedding": vector, **reply} if "float" in by_type else reply, number)


def _titan_image(body: dict[str, Any]) -> Reply:
    if not body.keys() & {"inputText", "inputImage"}:
        raise invalid("Either inputText or inputImage must be provided.")
    number = _count(body["inputText"], _TITAN_IMAGE_TOKENS) if "inputText" in body else 0
    dimensions = body.get("embeddingConfig", {}).get("outputEmbeddingLength", 1024)
    seed = body.get("inputText", "") + body.get("inputImage", "")
    return Reply({"embedding": vectors.unit(seed, dimensions), "inputTextTokenCount": number, "message": None}, number)


def _nova(body: dict[str, Any]) -> Reply:
    parameters = body["singleEmbeddingParams"]
    value, mode = parameters["text"]["value"], parameters["text"]["truncationMode"]
    made: dict[str, Any] = {"embeddingType": "TEXT"}
    if tokens.count(value) > _NOVA_TOKENS:
        if mode == "NONE":
            raise invalid(f"The text exceeds the maximum of {_NOVA_TOKENS} tokens and truncationMode is NONE.")
        value = tokens.cut(value, _NOVA_TOKENS)
        made["truncatedCharLength"] = len(value)
    made["embedding"] = vectors.unit(value, parameters.get("embeddingDimension", 3072))
    return Reply({"embeddings": [made]}, max(tokens.count(value), 1))


_NOVA_BODY = record(
    {
        "schemaVersion": text(options=("nova-multimodal-embed-v1",)),
        "taskType": text(options=("SINGLE_EMBEDDING",)),
        "singleEmbeddingParams": record(
            {
                "embeddingPurpose": text(options=_PURPOSES),
                "embeddingDimension": whole(options=(256, 384, 1024, 3072)),
                "text": record(
                    {"truncationMode": text(options=("START", "END", "NONE")), "value": text(least=1)},
                    ("truncationMode", "value"),
                ),
            },
            ("embeddingPurpose", "text"),
        ),
    },
    ("taskType", "singleEmbeddingParams"),
)

_TITAN_TEXT = text(least=1, most=_TITAN_CHARACTERS)

EMBEDDERS: Mapping[str, Embedder] = {
    "amazon.titan-embed-text-v1": Embedder(record({"inputText": _TITAN_TEXT}, ("inputText",)), _input_text, _titan_v1),
    "amazon.titan-embed-text-v2:0": Embedder(
        record(
            {
                "inputText": _TITAN_TEXT,
                "dimensions": whole(options=(256, 512, 1024)),
                "normalize": boolean,
                "embeddingTypes": many(text(options=("float", "binary"))),
            },
            ("inputText",),
        ),
        _input_text,
        _titan_v2,
    ),
    "amazon.titan-embed-image-v1": Embedder(
        record(
            {
                "inputText": text(least=1),
                "inputImage": base64_text,
                "embeddingConfig": record({"outputEmbeddingLength": whole(options=(256, 384, 1024))}),
            }
        ),
        _input_text,
        _titan_image,
    ),
    "amazon.nova-2-multimodal-embeddings-v1:0": Embedder(
        _NOVA_BODY, lambda body: [body["singleEmbeddingParams"]["text"]["value"]], _nova
    ),
}
