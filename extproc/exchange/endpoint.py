"""The parts of an endpoint that calls Bedrock. `routes.ENDPOINTS` is the registry.

| part                | gives                                                                                  |
|---------------------|----------------------------------------------------------------------------------------|
| `ApiEndpoint`       | method, path, and `decode`: a body -> a `DecodedRequest`                               |
| `DecodedRequest`    | the model's id, the images at URLs, and `ask`: a target -> a `TranslatedRequest`       |
| `TranslatedRequest` | the calls to Bedrock, and the `Pending` request                                        |
| `Pending`           | `complete`: Bedrock's responses -> the client's; or `stream`: the translator of frames |

The exchange around them authenticates, resolves the model, fetches images, signs, sends and handles failures, in the
same way for all. A large request takes the same steps in another process (`translation`): there `DecodedRequest`
stays, and `Pending`, a `msgspec.Struct`, comes back as JSON.

Invariant: nothing here or in an endpoint performs I/O; an `ApiError` that one of the methods raises is for the caller.

Decisions: docs/decisions.md, D96, D322.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from msgspec import Raw, Struct

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.catalogue import Target
from extproc.openai.embeddings import Detokeniser
from extproc.payload import Payload
from extproc.translate.chat_sse import ChatSse
from extproc.translate.completed import Completed
from extproc.translate.media import RemoteImage
from extproc.translate.response_limits import MAX_RESPONSE_BYTES, MAX_WHOLE_TEXT
from extproc.translate.rules import NO_RULES, Rules

Clock = Callable[[], float]
"""Returns the time of the exchange's latest event, in unix seconds."""

Response = tuple[Mapping[str, str], bytes]
"""The headers, with lower-case names, and the body of a 200 of Bedrock's."""


LARGE_RESPONSES = 1 << 20
"""Bytes of the responses to one request that are put together in another process: no text of a model's is as long."""
MANY_OBJECTS = 4_000
"""Opening braces of such responses: a call has three, and takes the event loop up to 20 µs."""


def are_large(responses: Sequence[Response]) -> bool:
    """Return whether the responses to one request may take the event loop too long."""
    size = sum([len(body) for _, body in responses])
    if size < 2 * MANY_OBJECTS:
        return False
    return size >= LARGE_RESPONSES or sum([body.count(b"{") for _, body in responses]) >= MANY_OBJECTS


class BedrockCall(Struct, frozen=True):
    """A POST to Bedrock."""

    path: str
    body: Payload
    accept: str = "application/json"
    max_response: int = MAX_RESPONSE_BYTES
    """Longest accepted response, in bytes."""
    digest: str | None = None
    """The body's SHA-256 in hex, where it is known."""
    response: int = 0
    """Bytes of the response that is expected, where all of it is kept before the client gets any."""
    inputs: int = 0
    """Inputs of the client's that the response is for, where `response` grows with their number."""
    project: str | None = None
    """The project that the call belongs to, where the body does not name it."""
    metadata: str | None = None
    """The call's request metadata as JSON, where the body does not have it."""
    most_output: int = 0
    """Most tokens of its output, 0 where there is no limit."""
    billed: bool = True
    """Whether AWS bills its tokens."""
    user: str | None = None
    """The client's user, whose budget it counts in."""
    priority: bool = False
    """Whether it requests the service tier `priority`, which costs more."""
    reasons: bool = False
    """Whether the model reasons, which need not show in the response."""
    page_tokens: int = 0
    """Tokens of the pages of its PDFs, beyond those that the files have by their lengths."""


class AskContext(Struct, frozen=True):
    """What the translation of a request needs beside the request and the model."""

    images: Mapping[str, bytes]
    """The fetched images, by the http(s) URLs that name them."""
    detokenise: Detokeniser
    keys: tuple[bytes, ...] = ()
    """The keys that authenticate what clients keep for this gateway (`responses.keys`)."""
    rules: Rules = NO_RULES
    """The rules of the caller's organisation."""


class ResponseContext(Struct, frozen=True):
    """The values of a response that come from the exchange and the settings."""

    id: str
    created: int
    """When the request came, in unix seconds."""
    now: int
    """The time, in unix seconds; a stream has a clock instead."""
    truncation: str
    """The finish reason of a streamed message that was cut short (`compat.streaming_truncation`)."""
    keys: tuple[bytes, ...] = ()
    """As in `AskContext`."""
    most_text: int = MAX_WHOLE_TEXT
    """Bytes of text that a whole response may have."""


class Pending(Protocol):
    """A request whose calls have been planned: the values that its response depends on. A `msgspec.Struct`."""

    @property
    def ignored(self) -> tuple[str, ...]:
        """Fields of the request that change nothing, by their paths."""

    @property
    def streams(self) -> bool:
        """Whether Bedrock streams its response."""

    @property
    def params(self) -> Mapping[str, str]:
        """The client's names of fields that Bedrock's errors call by another."""

    def complete(self, context: ResponseContext, responses: Sequence[Response]) -> Completed:
        """Return the client's response, from Bedrock's in the order of the calls. Raises `ApiError`."""

    def is_large(self, responses: Sequence[Response]) -> bool:
        """Return whether `complete` may take the event loop too long for these responses."""

    def stream(self, context: ResponseContext, clock: Clock) -> ChatSse | None:
        """Return the translator of a streamed response; None where the response is one document."""


class TranslatedRequest(Struct, frozen=True):
    """A translated request: one call goes through Envoy, several are side calls."""

    calls: Sequence[BedrockCall]
    """A tuple, or a `CallSeries` of many."""
    pending: Pending


class DecodedRequest(Protocol):
    """The decoded body of a request."""

    @property
    def model(self) -> str:
        """The id of the model that the client sent."""

    @property
    def images(self) -> Mapping[str, RemoteImage]:
        """The images that the request names by http(s) URLs, by URL."""

    def check_features(self, denied: int) -> None:
        """Raise a 403 `ApiError` that names the field if the request uses one of the features with these bits."""

    def ask(self, target: Target, capabilities: Capabilities, context: AskContext) -> TranslatedRequest:
        """Translate the request for a model. Raises `ApiError`."""


class ApiEndpoint(Struct, frozen=True):
    """An endpoint below `/oai/v1` whose requests go to Bedrock."""

    operation: str
    """Its name in records and metrics."""
    method: str
    path: str
    decode: Callable[[bytes | bytearray, Collection[str]], DecodedRequest]
    """Decode a body, without the unknown fields at these paths. Raises `ApiError`."""
    decode_pending: Callable[[Raw | bytearray], Pending]
    """Decode the JSON of a pending request, which another process has planned."""
    scope: str
    """The scope that a token with scopes needs for it."""
    switch: str = ""
    """The key of `endpoints` by which an operator switches it on; empty for one that is always there."""
