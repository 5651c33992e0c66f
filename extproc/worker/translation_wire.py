"""The messages between a worker and its translation process: over one socket, a header in JSON and then bytes.

Each message is the length of its header (4 bytes, big-endian), the header, and the blobs whose lengths it names. Bodies
are blobs: they are neither escaped nor, where it can be helped, copied.
"""

import socket
import struct
from collections.abc import Sequence
from typing import TypeVar

import msgspec
from msgspec import Struct

from extproc.bedrock.capabilities import Capabilities
from extproc.exchange.endpoint import ResponseContext
from extproc.openai.completion import Usage
from extproc.openai.errors import ApiError, invalid
from extproc.translate.errors import ModelError
from extproc.translate.media import RemoteImage
from extproc.translate.rules import NO_RULES, Rules

T = TypeVar("T")

UsageFields = tuple[int, int, int, int, int | None, int, int | None]
"""The fields of a `Usage`, whose module may be compiled, so that msgspec cannot read it."""

_LENGTH = struct.Struct(">I")
_MOST_PARTS = 512
"""Buffers of one `sendmsg`: below the 1,024 that Linux takes."""

TOO_COMPLEX = invalid(
    "The request takes too long to translate. Send fewer or smaller messages, tools and schemas, or several requests.",
    code="request_too_complex",
)
"""The error of a request that takes more CPU than one may."""


class ReadRequest(Struct, tag="read"):
    """Decode the blob, a body for the endpoint at `path`, and keep the request under `id`.

    Unknown fields at the paths `passed_over` are left out; `default_model` is the model of a request that names none,
    and `denied` are the bits of the features that it may not use.
    """

    id: int
    path: str
    passed_over: tuple[str, ...] = ()
    default_model: str | None = None
    denied: int = 0


class PlanRequest(Struct, tag="plan"):
    """Translate the request `id` for a model, and forget it; the blobs are the images at `images`."""

    id: int
    capabilities: Capabilities
    model_id: str
    foundation: str | None
    images: tuple[str, ...]
    project: str | None = None
    keys: tuple[bytes, ...] = ()
    rules: Rules = NO_RULES


class CompleteRequest(Struct, tag="complete"):
    """Put Bedrock's responses together: their headers, and their bodies as blobs, behind the pending request's."""

    path: str
    context: ResponseContext
    headers: tuple[dict[str, str], ...]


class Header(Struct):
    """A message to the process; `drop` names requests that will not be asked for again."""

    request: ReadRequest | PlanRequest | CompleteRequest
    lengths: tuple[int, ...]
    drop: tuple[int, ...] = ()


class Error(Struct, tag="error", tag_field="reply"):
    """An `ApiError`; with `usage` a `ModelError`."""

    status: int
    message: str
    type: str
    param: str | None
    code: str | None
    headers: dict[str, str] = {}
    usage: UsageFields | None = None


class ReadReply(Struct, tag="read", tag_field="reply"):
    """The fields of a decoded request."""

    model: str
    images: dict[str, RemoteImage]


class CallFields(Struct):
    """A `BedrockCall` without its body, which is in `blobs` blobs."""

    path: str
    accept: str
    max_response: int
    digest: str | None
    response: int
    inputs: int
    blobs: int
    project: str | None = None
    metadata: str | None = None
    most_output: int = 0
    billed: bool = True
    user: str | None = None
    priority: bool = False
    reasons: bool = False
    page_tokens: int = 0


class SeriesFields(Struct):
    """The fields in which the calls of a `CallSeries` differ, in their order. All bodies together are one blob."""

    sizes: tuple[int, ...]
    """Bytes of their bodies."""
    digests: tuple[str, ...]
    max_responses: tuple[int, ...]
    responses: tuple[int, ...]
    inputs: tuple[int, ...]


class PlanReply(Struct, tag="plan", tag_field="reply"):
    """The calls of a request, in order. Before their bodies there is a blob with the pending request.

    It is not in the header: it may repeat JSON of the client's that is nested as deep as can be read. Of a series,
    `calls` has the first alone, with all that they have in common.
    """

    calls: tuple[CallFields, ...]
    series: SeriesFields | None = None


class CompleteReply(Struct, tag="complete", tag_field="reply"):
    """A `Completed`, whose body is the blob."""

    usage: UsageFields
    finish: str
    content_type: str


class ProcessReply(Struct):
    """A message from the process."""

    reply: ReadReply | PlanReply | CompleteReply | Error
    lengths: tuple[int, ...] = ()


def error_of(error: ApiError) -> Error:
    """Return `error` as it is sent."""
    usage = usage_fields(error.usage) if isinstance(error, ModelError) else None
    return Error(error.status, error.message, error.type, error.param, error.code, error.headers, usage)


def api_error(error: Error) -> ApiError:
    """Return `error` as it is raised."""
    failure = ApiError(
        error.status, error.message, type=error.type, param=error.param, code=error.code, headers=error.headers
    )
    return failure if error.usage is None else ModelError(failure, Usage(*error.usage))


def usage_fields(usage: Usage) -> UsageFields:
    """Return `usage` as it is sent."""
    counts = (usage.prompt, usage.completion, usage.cached, usage.cache_written)
    return (*counts, usage.reasoning, usage.written_for_an_hour, usage.uncounted)


def send(connection: socket.socket, header: object, blobs: Sequence[bytes | bytearray | memoryview]) -> None:
    """Send one message; blocks."""
    head = msgspec.json.encode(header)
    waiting = [memoryview(_LENGTH.pack(len(head)) + head), *(memoryview(blob) for blob in blobs if blob)]
    start = 0
    while start < len(waiting):
        sent = connection.sendmsg(waiting[start : start + _MOST_PARTS])
        while start < len(waiting) and sent >= len(waiting[start]):
            sent -= len(waiting[start])
            start += 1
        if sent:
            waiting[start] = waiting[start][sent:]


def receive_header(connection: socket.socket, kind: type[T]) -> T | None:
    """Return the header of the next message, None if there is none; blocks. Raises `EOFError`."""
    try:
        length = receive_blob(connection, _LENGTH.size)
    except EOFError:
        return None
    return msgspec.json.decode(receive_blob(connection, _LENGTH.unpack(length)[0]), type=kind)


def receive_blob(connection: socket.socket, length: int) -> bytearray:
    """Return the next `length` bytes; blocks. Raises `EOFError` if the other side has gone."""
    blob = bytearray(length)
    view = memoryview(blob)
    while view:
        received = connection.recv_into(view)
        if not received:
            raise EOFError("the other side has gone")
        view = view[received:]
    return blob
