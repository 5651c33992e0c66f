"""The translation of large requests, in two steps that another process can take: read a body, then plan its calls.

Between the two the exchange decides on the model and fetches images. What a step needs and gives are plain values;
`worker/translator` carries them to the process and back. An `ApiError` is a result like any other.

`is_large` decides which requests go this way. It looks at the number of bytes, and of the characters that separate
JSON values, which are a bound on the number of values whether or not they are inside of strings; each escape in a
reference of a schema is as much work as a value, and counts as one. What is below both bounds is translated by the
event loop itself, in a few milliseconds.

Invariant: a request becomes the same calls, or the same error, whichever way it goes.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256

import msgspec
from msgspec import Struct

from extproc.bedrock.capabilities import Capabilities
from extproc.openai import embeddings as openai_embeddings
from extproc.openai.chat import ChatRequest, decode_request
from extproc.openai.embeddings import Detokeniser, EmbeddingsRequest
from extproc.openai.limits import check_values
from extproc.payload import Payload, segments
from extproc.translate import chat_request
from extproc.translate import embeddings as embeddings_translation
from extproc.translate.chat_request import ChatPlan
from extproc.translate.media import RemoteImage, remote_images

LARGE_BODY = 1 << 20
"""Bytes of a body that is always read in the other process."""
LARGE_RESPONSE = 1 << 20
"""Bytes of Bedrock's embeddings responses of one request that are put together in the other process."""
SMALL_BODY = 65_536
"""Bytes of a body that the event loop always reads itself, uncounted."""
MANY_SEPARATORS = 8_000
"""Commas, opening brackets and percent signs of a body that is read in the other process."""
_SEPARATORS = b",[{%"

Request = ChatRequest | EmbeddingsRequest


class Ready(Struct, frozen=True):
    """The fields of a body that the exchange needs once it has been read."""

    model: str
    ignored: tuple[str, ...] = ()
    """Fields of an embeddings request that change nothing."""
    encoding_format: openai_embeddings.Format | None = None
    remote: dict[str, RemoteImage] = {}
    """Images at http(s) URLs, by URL."""


class Planned(Struct, frozen=True):
    """The calls of a request: their bodies, and the SHA-256 of each."""

    bodies: tuple[Payload, ...]
    digests: tuple[str, ...]
    chat: ChatPlan | None = None
    """Without its body."""
    counts: tuple[int, ...] = ()
    """Vectors that each call is to bring."""
    max_answers: tuple[int, ...] = ()
    """Bytes of the longest response to each call."""


def is_large(body: bytes | bytearray) -> bool:
    """Return whether the body may take the event loop too long."""
    size = len(body)
    if size < SMALL_BODY:
        return False
    if size >= LARGE_BODY:
        return True
    return size - len(body.translate(None, _SEPARATORS)) >= MANY_SEPARATORS


def release(body: bytes | bytearray) -> None:
    """Free a body that has been decoded. One that is still referred to (inline media) stays."""
    if isinstance(body, bytearray):
        with suppress(BufferError):
            body.clear()


def read(body: bytes | bytearray, operation: str) -> tuple[Request, Ready]:
    """Decode a body. Raises `ApiError`."""
    check_values(body)
    if operation == "chat":
        chat = decode_request(body)
        return chat, Ready(chat.model, remote=remote_images(chat.messages))
    embeddings = openai_embeddings.decode(body)
    ignored = () if embeddings.user is None else ("user",)
    return embeddings, Ready(embeddings.model, ignored, embeddings.encoding_format)


def plan(
    request: Request,
    capabilities: Capabilities,
    foundation: str | None,
    images: Mapping[str, bytes],
    detokenise: Detokeniser,
) -> Planned:
    """Translate a decoded request. Raises `ApiError`."""
    if isinstance(request, ChatRequest):
        chat = chat_request.plan(request, capabilities, images)
        return Planned((chat.body,), (digest(chat.body),), msgspec.structs.replace(chat, body=b""))
    embeddings = embeddings_translation.plan(request, foundation, detokenise)
    sizes = zip(embeddings.counts, embeddings.bodies, strict=True)
    return Planned(
        embeddings.bodies,
        tuple(map(digest, embeddings.bodies)),
        counts=embeddings.counts,
        max_answers=tuple(embeddings_translation.max_answer(embeddings, count, body) for count, body in sizes),
    )


def complete(
    model: str,
    foundation: str | None,
    encoding_format: openai_embeddings.Format | None,
    counts: Sequence[int],
    responses: Sequence[tuple[Mapping[str, str], bytes]],
) -> tuple[bytes, int]:
    """Put the vectors of Bedrock's responses together. Raises `ApiError`."""
    request = EmbeddingsRequest(model, "", encoding_format=encoding_format)
    made = embeddings_translation.Plan(embeddings_translation.embedding_model(model, foundation), (), tuple(counts), 0)
    return embeddings_translation.answer(request, made, responses)


def digest(body: Payload) -> str:
    """Return the SHA-256 of a body, as SigV4 wants it."""
    found = sha256()
    for part in segments(body):
        found.update(part)
    return found.hexdigest()
