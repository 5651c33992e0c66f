"""The jobs for which an exchange waits (`Wait`), and the results with which it continues (`Resumed`).

| job                 | result                                                     |
|---------------------|------------------------------------------------------------|
| `SideCalls`         | `SideResponses`, `SideResponse`, `SideFailure`, `SideIdle` |
| `Fetch`             | `FetchedImages`, `FetchFailure`                            |
| `Read`              | `HeldRequest`, `ApiError`                                  |
| `Plan`              | `TranslatedRequest`, `ApiError`                            |
| `Complete`          | `Completed`, `ApiError`                                    |
| `Lookup`            | `LookedUp`, `Unavailable`                                  |
| `Assume`            | `Assumed`                                                  |
| `QueryUsage`        | `UsagePage`, `UsageFailure`                                |
| `Admit`             | `Admission`                                                |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.catalogue import Target
from extproc.bedrock.sigv4 import Headers
from extproc.config.roles import RoleSettings
from extproc.exchange.endpoint import ApiEndpoint, Pending, ResponseContext, TranslatedRequest
from extproc.limits.counters import Decision, Scope
from extproc.limits.spending import Charge, Running, Verdict
from extproc.openai.errors import ApiError
from extproc.openai.usage_query import UsageQuery
from extproc.tenancy.store import Lookup, LookupResult
from extproc.translate.completed import Completed
from extproc.translate.media import RemoteImage
from extproc.translate.response_limits import MAX_RESPONSE_BYTES
from extproc.translate.rules import NO_RULES, Rules


@dataclass(frozen=True, slots=True)
class SideCall:
    """A signed POST to Bedrock's runtime endpoint, beside the exchange's own request."""

    path: str
    headers: Headers
    body: bytes
    max_bytes: int = MAX_RESPONSE_BYTES
    """Longest accepted body of the response; a longer one is not read to its end."""


@dataclass(frozen=True, slots=True)
class SideCalls:
    """Several calls of an organisation, at most `concurrency` of them in flight.

    `idle_seconds` is how long Bedrock may send nothing during one of them. `region` is where they go, empty for the
    gateway's own.
    """

    calls: tuple[SideCall, ...]
    concurrency: int
    idle_seconds: float
    organisation: str = ""
    region: str = ""


@dataclass(frozen=True, slots=True)
class SideResponse:
    """Bedrock's response to one side call; header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    begun: tuple[int, ...] = ()
    """Where it is an error: the places of the job's calls that Bedrock has served or may have begun, and bills."""


@dataclass(frozen=True, slots=True)
class SideFailure:
    """A side call without a response: `timed_out`, or Bedrock could not be reached, or the response was `too_large`."""

    timed_out: bool
    message: str
    too_large: bool = False
    begun: tuple[int, ...] = ()
    """The places of the job's calls that Bedrock has served or may have begun, and bills."""


@dataclass(frozen=True, slots=True)
class SideIdle:
    """A side call to which Bedrock sent nothing for `seconds`. It is not repeated: it may have begun."""

    seconds: float
    begun: tuple[int, ...] = ()
    """The places of the job's calls that Bedrock has served or may have begun, and bills."""


class SideResponses(tuple[SideResponse, ...]):
    """Bedrock's responses to all side calls, in the order of the calls, each of them a 200."""

    __slots__ = ()


SideResult = SideResponses | SideResponse | SideFailure | SideIdle
"""All responses, or the first failure: then no further call was made."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """Images to fetch from the URLs in an organisation's request, at most `concurrency` (1 or more) at a time.

    `max_bytes` is the most that one of them may have, `total_bytes` the most that all together may have.
    """

    urls: tuple[str, ...]
    max_bytes: int
    total_bytes: int
    concurrency: int
    organisation: str = ""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A fetched image. Its bytes begin like a PNG, JPEG, GIF or WebP, whatever the server's `content_type`."""

    data: bytes
    content_type: str


FetchCode = Literal[
    "invalid_image_url", "failed_to_download_image", "image_too_large", "invalid_image_format", "empty_image_file"
]
"""OpenAI's own codes for images that it could not fetch (`ResponseError.code` in its API description)."""


@dataclass(frozen=True, slots=True)
class FetchFailure:
    """An image that could not be fetched: `urls[index]`, and a `reason` for the client with the remedy."""

    index: int
    reason: str
    code: FetchCode


class FetchedImages(tuple[Fetched, ...]):
    """The images, in the order of the URLs."""

    __slots__ = ()


FetchResult = FetchedImages | FetchFailure
"""All images, or the first failure: then nothing more was fetched."""


@dataclass(frozen=True, slots=True)
class Read:
    """A large body, to be decoded in another process, in a turn of `organisation`, and of its token `token`.

    Unknown fields at the paths `passed_over` are left out.
    """

    body: bytes | bytearray
    endpoint: ApiEndpoint
    organisation: str
    passed_over: tuple[str, ...] = ()
    default_model: str | None = None
    """The model of a request that names none."""
    denied: int = 0
    """The bits of the features that the request may not use."""
    token: str = ""


class HeldRequest:
    """A decoded request that another process holds. The job runner subclasses it; dropped with the last reference."""

    __slots__ = ("images", "model")

    def __init__(self, model: str, images: Mapping[str, RemoteImage]) -> None:
        self.model = model
        self.images = images
        """The images that the request names by http(s) URLs, by URL."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A held request, to be translated for a model; `images` are those that it names by URL."""

    request: HeldRequest
    target: Target
    capabilities: Capabilities
    images: Mapping[str, bytes]
    organisation: str
    keys: tuple[bytes, ...] = ()
    """As in `AskContext`."""
    rules: Rules = NO_RULES
    token: str = ""


@dataclass(frozen=True, slots=True)
class Complete:
    """Bedrock's responses to the calls of a request, to be assembled in another process."""

    endpoint: ApiEndpoint
    pending: Pending
    context: ResponseContext
    responses: tuple[SideResponse, ...]
    organisation: str
    token: str = ""


@dataclass(frozen=True, slots=True)
class Assume:
    """A role of an organisation, to be assumed for its calls in a region."""

    region: str
    role: RoleSettings


@dataclass(frozen=True, slots=True)
class Assumed:
    """The end of an `Assume`, whether or not there are credentials now."""


@dataclass(frozen=True, slots=True)
class QueryUsage:
    """The usage of an organisation, to be read from the sums of the ledger."""

    organisation: str
    query: UsageQuery


@dataclass(frozen=True, slots=True)
class UsagePage:
    """A page of usage, as JSON."""

    body: bytes


@dataclass(frozen=True, slots=True)
class UsageFailure:
    """The reason why there is no page: the sums lack some of the ledger, or took too long, or cannot be read."""

    reason: Literal["behind", "slow", "broken"]


UsageResult = UsagePage | UsageFailure


@dataclass(frozen=True, slots=True)
class Admission:
    """What a store has decided: about rates, and about budgets. None: nothing was to be decided."""

    decision: Decision | ApiError | None = None
    verdict: Verdict | ApiError | None = None
    """None also where a call is served though it cannot be counted."""


class Admit:
    """A request to be counted in a store that takes a round trip.

    `scopes` are those of its rates, and `tokens` its reservation of them; `charges` are those of its budgets, and
    `running` returns their costs so far. `call` is its name.
    """

    __slots__ = ("admission", "call", "charges", "running", "scopes", "stream", "tokens", "withdrawn")

    def __init__(
        self,
        call: str,
        scopes: Sequence[Scope],
        tokens: int,
        stream: bool,
        charges: Sequence[Charge],
        running: Running | None,
    ) -> None:
        self.call = call
        self.scopes = scopes
        self.tokens = tokens
        self.stream = stream
        self.charges = charges
        self.running = running
        self.admission: Admission | None = None
        """Its result, once there is one."""
        self.withdrawn = False
        """Whether the request is over before it was admitted."""


TranslationJob = Read | Plan | Complete
TranslationResult = HeldRequest | TranslatedRequest | Completed | ApiError

Job = SideCalls | Fetch | Read | Plan | Complete | Lookup | Assume | QueryUsage | Admit
JobResult = SideResult | FetchResult | TranslationResult | LookupResult | Assumed | UsageResult | Admission
