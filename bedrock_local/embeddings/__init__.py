"""InvokeModel for the embedding models: each body checked as its provider does, vectors made of the text alone.

`embed` is the whole interface. A model is one entry of the table in its provider's module: which keys its body may
have, and a function from a checked body to the reply.
"""

from collections.abc import Mapping
from typing import Any

from bedrock_local.embeddings import amazon, cohere
from bedrock_local.embeddings.bodies import Embedder, Reply
from bedrock_local.errors import AwsError, invalid

_EMBEDDERS: Mapping[str, Embedder] = {**amazon.EMBEDDERS, **cohere.EMBEDDERS}


def texts(model_id: str, body: dict[str, Any]) -> list[str]:
    """Validate a body and list its texts; raise AwsError where the model would reject it."""
    embedder = _embedder(model_id)
    embedder.check(body)
    return embedder.texts(body)


def embed(model_id: str, body: dict[str, Any]) -> Reply:
    """Return the reply to a valid body; raise AwsError if a text is too long for the model."""
    return _embedder(model_id).embed(body)


def _embedder(model_id: str) -> Embedder:
    if model_id not in _EMBEDDERS:
        raise _not_served(model_id)
    return _EMBEDDERS[model_id]


def _not_served(model_id: str) -> AwsError:
    return invalid(f"bedrock_local serves InvokeModel for embedding models only, not for {model_id}. Use Converse.")
