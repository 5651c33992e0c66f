"""The slow things an exchange may ask for with `Wait`, and what each of them comes to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from extproc.bedrock.capabilities import Capabilities
from extproc.exchange.directives import Headers
from extproc.exchange.translation import Planned, Ready
from extproc.openai.embeddings import Format
from extproc.openai.errors import ApiError

MAX_ANSWER = 64 * 1024 * 1024
"""Bytes of the longest response that is read, where nothing is known of what it should have."""


@dataclass(frozen=True, slots=True)
class SideCall:
    """One signed POST to Bedrock's runtime endpoint, beside the exchange's own request."""

    path: str
    headers: Headers
    body: bytes
    max_bytes: int = MAX_ANSWER
    """Of the response's body; one that is longer is not read to its end."""


@dataclass(frozen=True, slots=True)
class SideCalls:
    """Several calls of an organisation, at most `concurrency` of them in flight.

    `silence` is how long Bedrock may send nothing during one of them, in seconds.
    """

    calls: tuple[SideCall, ...]
    concurrency: int
    silence: float
    organisation: str = ""


@dataclass(frozen=True, slots=True)
class SideAnswer:
    """Bedrock's answer to one side call; header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class SideFailure:
    """A side call without a response: `timed_out`, or Bedrock could not be reached, or the response was `too_large`."""

    timed_out: bool
    message: str
    too_large: bool = False


@dataclass(frozen=True, slots=True)
class SideSilence:
    """A side call to which Bedrock sent nothing for `seconds`. It is not repeated: it may have begun."""

    seconds: float


SideResult = tuple[SideAnswer, ...] | SideAnswer | SideFailure | SideSilence
"""All answers in the order of the calls, each a 200; or else the first failure, and no further call was made."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """Images at the URLs that a client of an organisation named, at most `concurrency` (1 or more) at a time.

    `max_bytes` is the most that one of them may have, `total_bytes` the most that all together may have.
    """

    urls: tuple[str, ...]
    max_bytes: int
    total_bytes: int
    concurrency: int
    organisation: str = ""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What one URL gave. It begins like a PNG, JPEG, GIF or WebP, whatever the server calls it in `content_type`."""

    data: bytes
    content_type: str


FetchCode = Literal[
    "invalid_image_url", "failed_to_download_image", "image_too_large", "invalid_image_format", "empty_image_file"
]
"""OpenAI's own codes for images that it could not have (`ResponseError.code` in its API description)."""


@dataclass(frozen=True, slots=True)
class FetchFailure:
    """An image that could not be had: `urls[index]`, and a `reason` for the client, which says what to do."""

    index: int
    reason: str
    code: FetchCode


FetchResult = tuple[Fetched, ...] | FetchFailure
"""All images in the order of the URLs; or else the first failure, and nothing more was fetched."""


@dataclass(frozen=True, slots=True)
class Read:
    """A large body, to be decoded in another process; `organisation` is whose turn it takes there."""

    body: bytes | bytearray
    operation: str
    organisation: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """A body that has been decoded; `request` is known to the job runner only. Dropped with the last reference."""

    ready: Ready
    request: object


@dataclass(frozen=True, slots=True)
class Plan:
    """A decoded request, to be translated for a model; `images` are those that it names by URL."""

    decoded: Decoded
    capabilities: Capabilities
    foundation: str | None
    images: Mapping[str, bytes]
    organisation: str


@dataclass(frozen=True, slots=True)
class Complete:
    """Bedrock's responses to the calls of an embeddings request, to be put together in another process."""

    model: str
    foundation: str | None
    encoding_format: Format | None
    counts: tuple[int, ...]
    responses: tuple[SideAnswer, ...]
    organisation: str


TranslationJob = Read | Plan | Complete
TranslationResult = Decoded | Planned | tuple[bytes, int] | ApiError
"""In the order of the jobs; an `ApiError` is for the caller."""
