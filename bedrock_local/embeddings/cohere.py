"""Cohere's embedding models: v3 English and multilingual, and v4. Up to 96 inputs per call."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from bedrock_local import tokens
from bedrock_local.embeddings import vectors
from bedrock_local.embeddings.bodies import Check, Embedder, Reply, data_uri, many, record, text, whole
from bedrock_local.errors import invalid

_MOST_TEXTS, _MOST_CHARACTERS = 96, 2048
_V3_DIMENSIONS, _V4_DIMENSIONS, _V4_TOKENS = 1024, 1536, 128_000

_INPUT_TYPE = text(options=("search_document", "search_query", "classification", "clustering", "image"))
_TYPES = many(text(options=("float", "int8", "uint8", "binary", "ubinary")))


def _v3_texts(body: dict[str, Any]) -> list[str]:
    return list(body.get("texts", []))


def _v4_texts(body: dict[str, Any]) -> list[str]:
    parts = [part for entry in body.get("inputs", []) for part in entry["content"]]
    return [*body.get("texts", []), *(part["text"] for part in parts if "text" in part)]


def _v3(body: dict[str, Any]) -> Reply:
    seeds = body.get("texts") or body["images"]
    return _reply(body, seeds, _V3_DIMENSIONS, _v3_texts(body))


def _v4(body: dict[str, Any]) -> Reply:
    most, cut = body.get("max_tokens", _V4_TOKENS), body.get("truncate", "RIGHT") != "NONE"
    for value in _v4_texts(body):
        if tokens.count(value) > most and not cut:
            raise invalid(f"A text exceeds the maximum of {most} tokens and truncate is NONE.")
    seeds = body.get("texts") or body.get("images") or [json.dumps(entry["content"]) for entry in body["inputs"]]
    return _reply(body, seeds, body.get("output_dimension", _V4_DIMENSIONS), _v4_texts(body))


def _reply(body: dict[str, Any], seeds: list[str], dimensions: int, texts: list[str]) -> Reply:
    made = [vectors.unit(seed, dimensions) for seed in seeds]
    reply: dict[str, Any] = {"id": hashlib.sha256("".join(seeds).encode()).hexdigest()[:32]}
    if "embedding_types" in body:
        by_type = {kind: [vectors.quantised(vector, kind) for vector in made] for kind in body["embedding_types"]}
        reply |= {"response_type": "embeddings_by_type", "embeddings": by_type}
    else:
        reply |= {"response_type": "embeddings_floats", "embeddings": made}
    reply["texts"] = texts
    return Reply(reply, sum(max(tokens.count(value), 1) for value in texts))


def _schema(fields: Mapping[str, Check], one_of: tuple[str, ...]) -> Check:
    return record({"input_type": _INPUT_TYPE, "embedding_types": _TYPES, **fields}, ("input_type",), one_of)


_PART = record(
    {
        "type": text(options=("text", "image_url")),
        "text": text(least=1),
        "image_url": record({"url": data_uri}, ("url",)),
    },
    ("type",),
    ("text", "image_url"),
)

_V3 = Embedder(
    _schema(
        {
            "texts": many(text(least=1, most=_MOST_CHARACTERS), most=_MOST_TEXTS),
            "images": many(data_uri, most=1),
            "truncate": text(options=("NONE", "START", "END")),
        },
        ("texts", "images"),
    ),
    _v3_texts,
    _v3,
)

_V4 = Embedder(
    _schema(
        {
            "texts": many(text(least=1), most=_MOST_TEXTS),
            "images": many(data_uri, most=_MOST_TEXTS),
            "inputs": many(record({"content": many(_PART)}, ("content",)), most=_MOST_TEXTS),
            "output_dimension": whole(options=(256, 512, 1024, 1536)),
            "max_tokens": whole(most=_V4_TOKENS),
            "truncate": text(options=("NONE", "LEFT", "RIGHT")),
        },
        ("texts", "images", "inputs"),
    ),
    _v4_texts,
    _v4,
)

EMBEDDERS: Mapping[str, Embedder] = {
    "cohere.embed-english-v3": _V3,
    "cohere.embed-multilingual-v3": _V3,
    "cohere.embed-v4:0": _V4,
}
