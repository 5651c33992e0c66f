"""The content of gateway.yaml and of token files, as types. Parts with many keys have modules of their own beside this.

Decision: docs/decisions.md, D54.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from extproc.bedrock.capability_table import Row
from extproc.config.budgets import BudgetSettings
from extproc.config.directory import DirectorySettings
from extproc.config.jwt import JwtIssuer
from extproc.config.kinds import (
    Aliases,
    Bytes,
    Cidr,
    Concurrency,
    FieldPath,
    InFlightBytes,
    MachineName,
    MetadataName,
    Origin,
    Pattern,
    Pdf,
    Place,
    Rate,
    Region,
    Regions,
    ResponseKey,
    Seconds,
    StateFile,
    Workers,
    YesNo,
)
from extproc.config.metrics import MetricsSettings
from extproc.config.organisations import EndpointSettings, Organisation
from extproc.config.prices import ModelPrices
from extproc.config.rate_limits import RateLimitSettings
from extproc.config.redis import RedisSettings
from extproc.config.tokens import Token
from extproc.config.usage import UsageSettings

TRANSLATION_SECONDS = 30.0
"""Timeout of a step in the translation process, in seconds, the wait for earlier requests included."""

LOOKUP_SECONDS = 3.0
"""Timeout of a lookup of a caller, in seconds, the wait for earlier ones and a second try included."""

ASSUME_SECONDS = 10.0
"""Timeout of the wait for a role that a worker has not assumed yet, in seconds."""

UPLOAD_BYTES_PER_SECOND = 512 * 1024
"""Speed of an upload beyond its first `limits.upload_seconds`."""


class CompatSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Deviations from OpenAI's behaviour that a deployment may need."""

    streaming_truncation: Annotated[Literal["length", "stop"], Meta(description="`length` or `stop`")] = "length"
    """The `finish_reason` of a stream that reached its token limit."""
    ignore_fields: tuple[FieldPath, ...] = ()
    """Unknown fields of requests that are left out and named in `x-oai-ignored-params`, by their paths."""


class LimitSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of requests."""

    request_bytes: Bytes = 32 * 1024 * 1024
    """Largest body of a request; a larger one gets a 413."""
    in_flight_bytes: InFlightBytes = "auto"
    """Bytes of all requests in flight; beyond it requests get a 503. `auto` derives it from the memory limit."""
    organisation_in_flight_bytes: InFlightBytes = "auto"
    """Bytes of one organisation's requests in flight; beyond it they get a 429. `auto` is half of `in_flight_bytes`
    if there are several organisations, and all of it if there is one."""

    upload_seconds: Seconds = 60.0
    """How long a request's body may take to arrive, and a second more for each 512 KiB; then it is a 408."""

    address_requests_per_second: Rate | None = None
    """Requests per second of one network address, with or without a token; beyond it they get a 429 from Envoy."""

    @property
    def body_bytes(self) -> int:
        """Return the largest body that Envoy may hold: a translated body may be 5/4 as long as the caller's."""
        return self.request_bytes * 5 // 4

    def upload_timeout(self, size: int) -> float:
        """Return how many seconds a body of so many bytes may take to arrive."""
        return self.upload_seconds + size / UPLOAD_BYTES_PER_SECOND


class EmbeddingsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of arrays of inputs, for models that take one text, or a few, in a call."""

    concurrency: Concurrency = 8
    """Calls of one request in flight."""
    seconds: Seconds = 120.0
    """Timeout of all calls of one request together."""


class MediaSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of media at URLs, which the gateway fetches."""

    fetch: YesNo = True
    """If false, a request with such a URL is rejected; images must be `data:` URLs."""
    max_bytes: Bytes = 3_750_000
    """Largest image; the default is Converse's limit."""
    total_bytes: Bytes = 15_000_000
    """Size of all images of one request together."""
    seconds: Seconds = 20.0
    """Timeout of all images of one request together."""
    concurrency: Concurrency = 4
    """Images of one request that are fetched at once."""
    deny: tuple[Cidr, ...] = ()
    """Networks with public addresses that nothing is fetched from, such as a VPC's IPv6 range."""
    pdf: Pdf = "visual"
    """How a model reads PDFs: `text` is the text alone, which takes fewer tokens."""
    s3: YesNo = False
    """Accept `s3://` URLs, which Bedrock reads with the gateway's own permissions: every caller can then read whatever
    the gateway's role can."""


class AwsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What AWS is told of a call beside the request."""

    request_metadata: tuple[MetadataName, ...] = ("organisation", "token")
    """The facts of a call that AWS's invocation logs have, as `oai.organisation`, `oai.token`, `oai.request_id`."""


class StreamingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Timers of responses."""

    keepalive_seconds: Seconds = 15.0
    """Idle time after which a stream gets an SSE comment."""
    idle_seconds: Seconds = 300.0
    """Idle timeout of Bedrock, after which the call fails."""


class ResponsesSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of `POST /oai/v1/responses`."""

    keys: tuple[ResponseKey, ...] = ()
    """Keys that authenticate the reasoning that clients send back (`encrypted_content`): the first is for new ones, all
    are accepted. Without any, one is derived from the tokens' hashes, which a change of tokens changes."""


class CorsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Calls from browsers. Only Envoy reads these, when it starts."""

    origins: tuple[Origin, ...] = ()
    """Origins whose pages may call the API; `*` is any."""


class CatalogueSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The refresh of the list of models."""

    refresh_seconds: Seconds = 3600.0


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of gateway.yaml."""

    region: Region | None = None
    """The AWS region; the default is that of AWS's settings (AWS_REGION, the profile)."""
    regions: Regions = ()
    """Other regions, which organisations may name: Envoy has a way to each from its start."""
    organisations: dict[MachineName, Organisation] = {}
    aliases: Aliases = {}
    """Names for models, which every organisation may use that may call the model."""
    tokens: tuple[Token, ...] = ()
    """After loading, including those of the token files."""
    tokens_from: Place | None = None
    """A file with more tokens, or a folder of such files; a relative path is relative to gateway.yaml."""
    last_used_in: StateFile | None = None
    """A file into which workers write when each token was used last, to the minute; a relative path is relative to
    gateway.yaml. After loading, the path of the file."""
    jwt: tuple[JwtIssuer, ...] = ()
    """The issuers of signed tokens that are accepted beside `tokens`. Envoy reads these when it starts."""
    directory: DirectorySettings | None = None
    """Where tokens and organisations are, if not in this file and its token files."""
    compat: CompatSettings = msgspec.field(default_factory=CompatSettings)
    limits: LimitSettings = msgspec.field(default_factory=LimitSettings)
    rate_limits: RateLimitSettings = msgspec.field(default_factory=RateLimitSettings)
    budgets: BudgetSettings = msgspec.field(default_factory=BudgetSettings)
    redis: RedisSettings | None = None
    """Where rates and budgets are counted, if not by each machine."""
    embeddings: EmbeddingsSettings = msgspec.field(default_factory=EmbeddingsSettings)
    streaming: StreamingSettings = msgspec.field(default_factory=StreamingSettings)
    catalogue: CatalogueSettings = msgspec.field(default_factory=CatalogueSettings)
    endpoints: EndpointSettings = msgspec.field(default_factory=EndpointSettings)
    responses: ResponsesSettings = msgspec.field(default_factory=ResponsesSettings)
    media: MediaSettings = msgspec.field(default_factory=MediaSettings)
    cors: CorsSettings = msgspec.field(default_factory=CorsSettings)
    metrics: MetricsSettings = msgspec.field(default_factory=MetricsSettings)
    usage: UsageSettings = msgspec.field(default_factory=UsageSettings)
    aws: AwsSettings = msgspec.field(default_factory=AwsSettings)
    capabilities: tuple[Row, ...] = ()
    """Corrections of the built-in table of models' features."""
    prices: dict[Pattern, ModelPrices] = {}
    """What tokens cost, by patterns of model ids, before the built-in table of AWS's list prices; the first that
    matches counts."""
    workers: Workers = 1
    """Python processes, one unix socket each; `auto` is one for every two CPUs."""
    transport: Annotated[Literal["auto", "http2", "grpcio"], Meta(description="`auto`, `http2` or `grpcio`")] = "auto"
    """The gRPC server for Envoy: `auto` is http2 on a unix socket, and grpcio elsewhere."""
    trusted_hops: Annotated[int, Meta(ge=0, le=16, description="a whole number from 0 to 16")] = 0
    """Proxies in front of Envoy, whose `x-forwarded-for` names the caller's address."""

    def offers(self, switch: str, organisation: Organisation) -> bool:
        """Return whether a key of `endpoints` is true for an organisation."""
        own = organisation.endpoints
        offered: bool = getattr(self.endpoints if own is None else own, switch)
        return offered

    @property
    def longest_wait(self) -> float:
        """Longest sum of the timeouts of a request's steps, in seconds, before or instead of Bedrock's response.

        Envoy grants a worker more time once for each message, not for each step: a chat request may be read, have
        its images fetched and be planned; an embeddings request may be read, planned, called for and completed.
        """
        chat = 2 * TRANSLATION_SECONDS + self.media.seconds
        embeddings = 3 * TRANSLATION_SECONDS + self.embeddings.seconds
        return max(chat, embeddings)


class TokenFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of a token file. Its other secrets are added to those of gateway.yaml."""

    tokens: tuple[Token, ...] = ()
    responses: ResponsesSettings = msgspec.field(default_factory=ResponsesSettings)
