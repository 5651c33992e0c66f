"""The translation of large requests, in steps that another process can take: read a body, then plan its calls.

Between the two the exchange decides on the model and fetches images. Both steps are the endpoint's own (`endpoint`);
`worker/translator` carries their values to the process and back. An `ApiError` is a result like any other.

`is_large` decides which requests go this way. It counts the bytes, and the characters that separate JSON values, which
bound the number of values whether or not they are inside strings; each escape in a reference of a schema is as much
work as a value, and counts as one. A request below both bounds is translated by the event loop itself, in a few
milliseconds; but not one of many that an organisation sends at once, for which all others would wait: the process
takes the organisations in turns. The smallest go that way only if they may be much work for their size.

Invariant: a request becomes the same calls, or the same error, whichever way it goes.

Decisions: docs/decisions.md, D187, D200, D203, D222, D328.
"""

from collections.abc import Collection
from contextlib import suppress
from hashlib import sha256

from msgspec import Raw, json
from msgspec.structs import replace

from extproc.exchange.endpoint import ApiEndpoint, DecodedRequest, TranslatedRequest
from extproc.openai.decoding import decode
from extproc.openai.errors import ApiError
from extproc.openai.limits import check_values
from extproc.payload import Payload, segments

LARGE_BODY = 1 << 19
"""Bytes of a body that is always read in the other process."""
SMALL_BODY = 8_192
"""Bytes of a body that the event loop reads itself, uncounted, unless it is one of many that come at once."""
MANY_AT_ONCE = 8
"""Bodies that an organisation's other requests have announced; with so many, one over `SMALL_BODY` is read in the other
process, and a smaller one if it `_may_multiply`."""
MANY_SEPARATORS = 8_000
"""Commas, opening brackets and percent signs of a body that is read in the other process."""
MANY_OBJECTS = 2_000
"""Opening braces, `true` and `false` of such a body: each message, part, tool call and schema is an object or, of the
schemas, a boolean, and more work than a value."""
MANY_OBJECTS_OF_A_SMALL_BODY = 256
"""Of a body below `SMALL_BODY` that is one of many: so many take up to three milliseconds."""
MANY_SEPARATORS_OF_A_SMALL_BODY = 1_000
"""Of such a body: inputs of embeddings, or brackets in brackets. Conversations and tools have up to 800."""
_OBJECTS = (b"{", b"true", b"false")
_SEPARATORS = b",[{%"
_WITHOUT_MODEL = ("missing_required_parameter", "invalid_value")
"""The codes of errors for a request that names no model, or an empty one."""
_ESCAPED = (b"\\u002", b"\\u005", b"\\u007")
"""The beginnings of their escapes, and of those of a few other characters."""


def is_large(body: bytes | bytearray, awaited: int = 0) -> bool:
    """Return whether the body, with `awaited` others of its organisation, may take the event loop too long."""
    size = len(body)
    if size < SMALL_BODY:
        return awaited >= MANY_AT_ONCE and _may_multiply(body)
    if size >= LARGE_BODY or awaited >= MANY_AT_ONCE:
        return True
    if sum(map(body.count, _OBJECTS)) >= MANY_OBJECTS:
        return True
    return _separators(body) + _escaped(body) >= MANY_SEPARATORS


def _may_multiply(body: bytes | bytearray) -> bool:
    """Return whether a small body may be much work: by references, spelled in any way, by objects or by values."""
    if b"$ref" in body or b"\\u00" in body or _separators(body) >= MANY_SEPARATORS_OF_A_SMALL_BODY:
        return True
    return sum(map(body.count, _OBJECTS)) >= MANY_OBJECTS_OF_A_SMALL_BODY


def _separators(body: bytes | bytearray) -> int:
    return len(body) - len(body.translate(None, _SEPARATORS))


def _escaped(body: bytes | bytearray) -> int:
    """Return how many characters like separators are written as escapes: in a string that is JSON they separate too."""
    return sum(map(body.count, _ESCAPED)) if b"\\u00" in body else 0


def release(body: bytes | bytearray) -> None:
    """Free a body that has been decoded. One that is still referred to (inline media) stays."""
    if isinstance(body, bytearray):
        with suppress(BufferError):
            body.clear()


def read(
    body: bytes | bytearray,
    endpoint: ApiEndpoint,
    passed_over: Collection[str] = (),
    default_model: str | None = None,
    denied: int = 0,
) -> DecodedRequest:
    """Decode a large body, as `decoded` does. Raises `ApiError`."""
    check_values(body)
    return decoded(body, endpoint, passed_over, default_model, denied)


def decoded(
    body: bytes | bytearray,
    endpoint: ApiEndpoint,
    passed_over: Collection[str],
    default_model: str | None,
    denied: int,
) -> DecodedRequest:
    """Decode a body, without the unknown fields at the paths `passed_over`. Raises `ApiError`.

    One without a model, or with an empty name, is decoded again with `default_model`, if there is one. `denied` are
    the bits of the features that it may not use: known before anything is done for it, such as a fetch of its images.
    """
    request = _decoded(body, endpoint, passed_over, default_model)
    if denied:
        request.check_features(denied)
    return request


def _decoded(
    body: bytes | bytearray, endpoint: ApiEndpoint, passed_over: Collection[str], default_model: str | None
) -> DecodedRequest:
    try:
        return endpoint.decode(body, passed_over)
    except ApiError as error:
        if default_model is None or error.param != "model" or error.code not in _WITHOUT_MODEL:
            raise
        fields = decode(body, dict[str, Raw])
        if bytes(fields.get("model", b'""')) != b'""':
            raise
    fields["model"] = Raw(json.encode(default_model))
    return endpoint.decode(json.encode(fields), passed_over)


def with_digests(translated: TranslatedRequest) -> TranslatedRequest:
    """Return the calls with the SHA-256 of each body, as SigV4 wants it."""
    return TranslatedRequest(
        tuple([replace(call, digest=_digest(call.body)) for call in translated.calls]), translated.pending
    )


def _digest(body: Payload) -> str:
    digest = sha256()
    for part in segments(body):
        digest.update(part)
    return digest.hexdigest()
