"""The decoder of gateway.yaml: bytes -> typed settings.

Every key of the file is a field of a struct of this package, with its default. The description of a type is also the
error message for a wrong value. An unknown key, a repeated key, a wrong type or a value out of range is rejected with
the key's path. Nothing here reads the environment or AWS.

Tokens may be in files of their own, which `tokens_from` names: `Draft` is a gateway.yaml before those are read.

Invariant: for any bytes, `parse` returns `Settings` or raises `ConfigError`, never another exception.

Decision: docs/decisions.md, D54.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from extproc.bedrock.capability_table import Row
from extproc.config.aliases import check_aliases
from extproc.config.budgets import Budgets, BudgetSettings, any_budgets, check_defaults, check_store, placed
from extproc.config.capabilities import check_capabilities
from extproc.config.directory import DirectorySettings
from extproc.config.directory import DynamoDbSettings as DynamoDbSettings
from extproc.config.document import ConfigError as ConfigError
from extproc.config.document import naming, read
from extproc.config.faults import fault
from extproc.config.jwt import JwtIssuer, check_jwt
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
from extproc.config.organisations import EndpointSettings as EndpointSettings
from extproc.config.organisations import GuardrailSettings as GuardrailSettings
from extproc.config.organisations import Models as Models
from extproc.config.organisations import Organisation as Organisation
from extproc.config.organisations import check_organisation as check_organisation
from extproc.config.organisations import check_patterns as check_patterns
from extproc.config.prices import ModelPrices
from extproc.config.rate_limits import RateLimitSettings, check_own, check_service
from extproc.config.redis import RedisSettings, check_needed, check_redis, placed_redis
from extproc.config.regions import check_regions
from extproc.config.response_keys import check_keys
from extproc.config.sources import contents, token_texts
from extproc.config.state_files import check_state_files
from extproc.config.tokens import Token as Token
from extproc.config.tokens import check_tokens
from extproc.config.usage import UsageSettings, check_usage

Kind = TypeVar("Kind")

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


@dataclass(frozen=True, slots=True)
class Draft:
    """A gateway.yaml that is valid YAML; its content is checked once its token files are read as well."""

    source: str
    document: Mapping[object, object]

    @property
    def tokens_from(self) -> Path | None:
        """Return the path of the token files, None if there is none, or none that `settings` accepts."""
        place = self.document.get("tokens_from")
        return Path(self.source).parent / place if place and isinstance(place, str) else None

    def settings(self, token_texts: Mapping[str, bytes]) -> Settings:
        """Return the settings, with the tokens of `token_texts` (file -> text) after its own; raises `ConfigError`."""
        with naming(self.source):
            settings = _convert(self.document, Settings)
            check_capabilities(settings.capabilities)
            _check_networks(settings.media.deny)
            _check_origins(settings.cors.origins)
            check_service(settings.rate_limits)
            for name, organisation in settings.organisations.items():
                check_organisation(name, organisation)
                check_own(settings.rate_limits, organisation.limits, f"organisations.{name}.limits")
            _check_metadata(settings)
            check_defaults(settings.budgets)
            check_redis(settings.redis, settings.rate_limits, settings.budgets)
            check_aliases(settings.aliases, {name: own.aliases for name, own in settings.organisations.items()})
            _check_directory(settings)
            check_usage(settings.usage)
            check_regions(
                {name: own.region for name, own in settings.organisations.items()}, settings.region, settings.regions
            )
            check_state_files(self.source, self.tokens_from, settings)
        files, keys = {self.source: settings.tokens}, settings.responses.keys
        for source, text in token_texts.items():
            with naming(source):
                file = _convert(read(text), TokenFile)
            files[source] = file.tokens
            keys += file.responses.keys
        check_tokens(files, settings.organisations, settings.budgets.organisation, settings.rate_limits)
        tokens = tuple(token for tokens in files.values() for token in tokens)
        with naming(self.source):
            check_jwt(settings.jwt, (token.name for token in tokens))
            check_keys(settings, keys, tokens)
            check_kept(settings, tokens)
            _check_redis_needed(settings, tokens)
        return msgspec.structs.replace(
            settings,
            tokens=tokens,
            responses=ResponsesSettings(keys),
            last_used_in=settings.last_used_in and str(Path(self.source).parent / settings.last_used_in),
            rate_limits=settings.rate_limits.placed(Path(self.source).parent),
            usage=settings.usage.placed(Path(self.source).parent),
            budgets=placed(settings.budgets, Path(self.source).parent),
            redis=placed_redis(settings.redis, Path(self.source).parent),
        )


def check_kept(settings: Settings, tokens: tuple[Token, ...]) -> None:
    """Check that budgets, if there are any, are kept somewhere; raises `ConfigError`."""
    check_store(settings.budgets, settings.redis is not None, *_budgets_of(settings, tokens))


def _check_redis_needed(settings: Settings, tokens: tuple[Token, ...]) -> None:
    """Check that a Redis has something to keep; raises `ConfigError`."""
    others = settings.directory is not None or any_budgets(settings.budgets, *_budgets_of(settings, tokens))
    check_needed(settings.redis, settings.rate_limits, others)


def _budgets_of(
    settings: Settings, tokens: tuple[Token, ...]
) -> tuple[dict[str, tuple[Budgets | None, Budgets | None]], list[Budgets | None]]:
    """Return the budgets of organisations and their users, by name, and those of tokens."""
    organisations = {name: (own.budgets, own.user_budgets) for name, own in settings.organisations.items()}
    return organisations, [token.budgets for token in tokens]


def load(path: Path) -> Settings:
    """Read and check a gateway.yaml and its token files; raises `ConfigError`."""
    drafted = draft(contents(path), str(path))
    place = drafted.tokens_from
    return drafted.settings(token_texts(place) if place else {})


def draft(text: bytes, source: str = "gateway.yaml") -> Draft:
    """Read the gateway.yaml in `text`; raises `ConfigError`, whose message starts with `source`.

    An empty file is rejected: a reader may see one while an editor saves, and taking it for "no tokens" would reject
    every caller. `{}` is an explicit configuration without tokens.
    """
    with naming(source):
        return Draft(source, read(text))


def parse(text: bytes, source: str = "gateway.yaml") -> Settings:
    """Return the settings in `text`, without token files; raises `ConfigError`, whose message starts with `source`."""
    return draft(text, source).settings({})


def _convert(document: Mapping[object, object], kind: type[Kind]) -> Kind:
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(fault(document, kind, "") or str(error)) from None


def _check_directory(settings: Settings) -> None:
    """Check that tokens and organisations have one place only; raises `ConfigError`."""
    if settings.directory is None:
        return
    for key in ("organisations", "tokens", "tokens_from"):
        if getattr(settings, key):
            raise ConfigError(
                f"directory: the table `{settings.directory.dynamodb.table}` has the tokens and organisations, and "
                f"this file has `{key}` as well; keep one of both (`oai-extproc directory import` copies the file's "
                "into the table)"
            )
    if settings.last_used_in is not None:
        raise ConfigError(
            f"last_used_in: the table `{settings.directory.dynamodb.table}` has the tokens, and when they were used "
            "last as well; write `last_used: true` below `directory.dynamodb` instead"
        )


def _check_networks(networks: tuple[str, ...]) -> None:
    """Check that each is a network: an address inside one could mean the address or the network."""
    for index, text in enumerate(networks):
        try:
            ip_network(text)
        except ValueError as error:
            raise ConfigError(f"media.deny[{index}]: {error}; write a network, as in 203.0.113.0/24") from None


_OWN_PORTS = {"http": ":80", "https": ":443"}
"""Ports that browsers leave out of an origin."""


def _check_origins(origins: tuple[str, ...]) -> None:
    """Check that none has a port that no browser sends."""
    for index, origin in enumerate(origins):
        port = _OWN_PORTS.get(origin.partition("://")[0])
        if port and origin.endswith(port):
            raise ConfigError(
                f"cors.origins[{index}]: browsers send this origin without {port}; write {origin.removesuffix(port)}"
            )


def _check_metadata(settings: Settings) -> None:
    """Check that the gateway's own pairs are named once each; raises `ConfigError`."""
    chosen = settings.aws.request_metadata
    if len(set(chosen)) < len(chosen):
        raise ConfigError("aws.request_metadata: a name is repeated; write each once")
