"""POST /embeddings: the request as clients send it, and the response as they expect it.

Invariant: a request that `decode` accepts holds texts or token ids, never both, none of them empty, and
not more than `MAX_TEXTS`; `texts` returns one text for each vector that is to be made, in order.

Source: `CreateEmbeddingRequest` and `CreateEmbeddingResponse` in OpenAI's API description. Both SDKs ask for base64
unless their caller chose a format; a client that sends none gets floats.
"""

import sys
from array import array
from base64 import b64encode
from collections.abc import Callable, Collection, Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from extproc.openai.errors import invalid
from extproc.openai.passed_over import decode_without

MAX_TEXTS = 2048
MAX_TOKENS = 300_000
"""Token ids of one request, all of its inputs together: OpenAI's limit."""
MAX_TOKEN_ID = 100_276
"""The highest id of cl100k_base, the encoding of OpenAI's own embedding models."""

Text = Annotated[str, Meta(min_length=1)]
Token = Annotated[int, Meta(ge=0, le=MAX_TOKEN_ID)]
Tokens = Annotated[list[Token], Meta(min_length=1)]
Items = Annotated[list[Text | Token | Tokens], Meta(min_length=1)]
Format = Literal["float", "base64"]
InputType = Literal["search_document", "search_query", "classification", "clustering", "image"]

Detokeniser = Callable[[Sequence[int]], str]
"""Token ids -> text. Raises `KeyError(id)` for an unknown id, `ImportError` where no vocabulary is installed."""


class EmbeddingsRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """A request for embeddings. `user` is accepted and dropped: Bedrock has no such field.

    `input_type` is an extension, with Cohere's values: models that tell a query from a document find more with it.
    """

    model: Annotated[str, Meta(min_length=1, max_length=2048)]
    input: Text | Items
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    encoding_format: Format | None = None
    user: str | None = None
    input_type: InputType | None = None


class PartlyKnownEmbeddings(EmbeddingsRequest, frozen=True, kw_only=True):
    """A request that contained unknown fields, which were removed."""

    left_out: tuple[str, ...]
    """Paths of the removed fields."""


def decode(body: bytes | bytearray, passed_over: Collection[str] = ()) -> EmbeddingsRequest:
    """Decode a request body without the unknown fields at the paths `passed_over`.

    Raises a 400 `ApiError` whose `param` is the path of the offending field.
    """
    request, removed = decode_without(body, EmbeddingsRequest, passed_over)
    _check_input(request)
    return PartlyKnownEmbeddings(**msgspec.structs.asdict(request), left_out=removed) if removed else request


def _check_input(request: EmbeddingsRequest) -> None:
    """Raise a 400 `ApiError` for a mixture of inputs, and for too many."""
    if isinstance(request.input, str):
        return
    kind = type(request.input[0])
    if len(set(map(type, request.input))) > 1:
        index = next(index for index, item in enumerate(request.input) if type(item) is not kind)
        raise invalid(
            "Invalid value for 'input': send strings, or token ids, or arrays of token ids, not a mixture.",
            f"input[{index}]",
            "invalid_type",
        )
    if kind is not int and len(request.input) > MAX_TEXTS:
        raise invalid(
            f"Invalid 'input': {len(request.input)} texts are more than one request may hold; "
            f"send at most {MAX_TEXTS}.",
            "input",
            "array_above_max_length",
        )
    if kind is not str:
        _check_tokens(request.input)


def _check_tokens(items: Sequence[str | int | list[int]]) -> None:
    """Raise a 400 `ApiError` if there are more token ids than one request may hold."""
    tokens = len(items) if isinstance(items[0], int) else sum([len(ids) for ids in items if isinstance(ids, list)])
    if tokens > MAX_TOKENS:
        raise invalid(
            f"Invalid 'input': {tokens:,} token ids are more than one request may hold; send at most {MAX_TOKENS:,}.",
            "input",
            "array_above_max_length",
        )


def texts(request: EmbeddingsRequest, detokenise: Detokeniser) -> list[str]:
    """Return the texts to embed; token ids are decoded to text, as Bedrock's models have tokens of their own.

    Raises a 400 `ApiError` for ids outside the vocabulary and if no vocabulary is installed.
    """
    if isinstance(request.input, str):
        return [request.input]
    if isinstance(request.input[0], str):
        return [item for item in request.input if isinstance(item, str)]
    arrays, decoded = _arrays(request.input), list[str]()
    try:
        for ids in arrays:
            decoded.append(detokenise(ids))
    except ImportError as error:
        raise invalid(
            "Token ids need the vocabulary of cl100k_base, which this gateway has not installed (its extra `tokens`). "
            "Send strings instead.",
            path(request, len(decoded)),
        ) from error
    except KeyError as error:
        unknown = error.args[0]
        where = f"{path(request, len(decoded))}[{arrays[len(decoded)].index(unknown)}]"
        raise invalid(
            f"Invalid value for '{where}': {unknown} is no token id of cl100k_base.", where, "invalid_value"
        ) from error
    return decoded


def path(request: EmbeddingsRequest, index: int) -> str:
    """Return the path in the request of the text with this index."""
    alone = isinstance(request.input, str) or isinstance(request.input[0], int)
    return "input" if alone else f"input[{index}]"


def _arrays(items: Sequence[str | int | list[int]]) -> list[list[int]]:
    """Return the token ids of each vector: one array, or several."""
    ids = [item for item in items if isinstance(item, int)]
    return [ids] if ids else [item for item in items if isinstance(item, list)]


def encode(model: str, vectors: Sequence[Sequence[float]], tokens: int, form: Format) -> bytes:
    """Encode the response body: `vectors` in the order of the texts, `model` as the client named it.

    `tokens` were read and none written, so the two numbers of the usage are the same.
    """
    data = [
        {"object": "embedding", "index": index, "embedding": base64(vector) if form == "base64" else vector}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return msgspec.json.encode({"object": "list", "data": data, "model": model, "usage": usage})


def base64(vector: Sequence[float]) -> str:
    """Encode a vector as the SDKs decode it: little-endian 32-bit floats."""
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return b64encode(numbers).decode()
