"""The decoder of gateway.yaml: bytes -> typed settings.

Every key of the file is a field of a struct below, with its default. The description of a type is also the error
message for a wrong value. An unknown key, a repeated key, a wrong type or a value out of range is rejected with the
key's path. Nothing here reads the environment or AWS.

Tokens may be in files of their own, which `tokens_from` names: `Draft` is a gateway.yaml before those are read.

Invariant: for any bytes, `parse` returns `Settings` or raises `ConfigError`, never another exception.

Decisions: docs/decisions.md, D54, D174.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, TypeVar, get_args

import msgspec
from msgspec import Meta

from extproc.bedrock.capabilities import Capabilities, Effort
from extproc.bedrock.capability_table import BUILT_IN, CapabilityError, Row
from extproc.bedrock.request_metadata import OWN, PAIRS, is_own
from extproc.config.aliases import check_aliases
from extproc.config.budgets import (
    Budgets,
    BudgetSettings,
    Cents,
    Percent,
    check_below,
    check_budgets,
    check_defaults,
    check_store,
    of_cents,
    placed,
)
from extproc.config.directory import DirectorySettings
from extproc.config.directory import DynamoDbSettings as DynamoDbSettings
from extproc.config.document import ConfigError as ConfigError
from extproc.config.document import read
from extproc.config.faults import fault, nearest
from extproc.config.features import Feature
from extproc.config.jwt import JwtIssuer, check_jwt
from extproc.config.kinds import (
    Aliases,
    Bytes,
    Cidr,
    Concurrency,
    Expiry,
    FieldPath,
    Geography,
    GuardrailId,
    GuardrailVersion,
    InFlightBytes,
    MachineName,
    MaxTokens,
    MetadataName,
    ModelId,
    Origin,
    Pattern,
    Pdf,
    Place,
    ProjectId,
    Rate,
    Region,
    Regions,
    RequestMetadata,
    ResponseKey,
    Scope,
    Seconds,
    Sha256,
    StateFile,
    TokenName,
    Workers,
    YesNo,
)
from extproc.config.metrics import MetricsSettings
from extproc.config.prices import ModelPrices
from extproc.config.rate_limits import RateLimits, RateLimitSettings, check_rate_limits
from extproc.config.regions import check_regions
from extproc.config.response_keys import check_keys
from extproc.config.roles import RoleSettings
from extproc.config.sources import contents, token_texts
from extproc.config.usage import UsageSettings

Kind = TypeVar("Kind")

TRANSLATION_SECONDS = 30.0
"""Timeout of a step in the translation process, in seconds, the wait for earlier requests included."""

LOOKUP_SECONDS = 3.0
"""Timeout of a lookup of a caller, in seconds, the wait for earlier ones and a second try included."""

ASSUME_SECONDS = 10.0
"""Timeout of the wait for a role that a worker has not assumed yet, in seconds."""

UPLOAD_BYTES_PER_SECOND = 512 * 1024
"""Speed of an upload beyond its first `limits.upload_seconds`."""


MAX_PATTERNS = 500
"""Most patterns of a list of models: each is compared with each name of a model."""


class Models(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The models that an organisation may call: glob patterns (`*`, `?`); `deny` has priority over `allow`.

    `extproc.tenancy.policy` has the rules of matching.
    """

    allow: tuple[Pattern, ...] = ("*",)
    deny: tuple[Pattern, ...] = ()


class EndpointSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Endpoints that an operator switches on."""

    responses: YesNo = False
    """`POST /oai/v1/responses`, without state: nothing is stored, and the client sends the whole conversation."""


class GuardrailSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A guardrail of Bedrock."""

    id: GuardrailId
    version: GuardrailVersion


class Organisation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An organisation. Its machine name is its key in `organisations`."""

    models: Models = msgspec.field(default_factory=Models)
    enabled: YesNo = True
    pdf: Pdf | None = None
    """Overrides `media.pdf`."""
    project: ProjectId | None = None
    """The project that its calls belong to (`projectIdentifier`)."""
    caching: Annotated[Literal["implicit", "explicit"], Meta(description="`implicit` or `explicit`")] = "explicit"
    """Whether prompts are cached without a client's marks: behind the instructions, and behind the last turn."""
    endpoints: EndpointSettings | None = None
    """Overrides `endpoints`."""
    aliases: Aliases = {}
    """Names for models, beside `aliases` and before them."""
    request_metadata: RequestMetadata = {}
    """Pairs that all of its calls have in AWS's books."""
    max_tokens: MaxTokens | None = None
    """Most tokens of a completion, reasoning included."""
    guardrail: GuardrailSettings | None = None
    """The guardrail that each of its chats passes."""
    default_model: ModelId | None = None
    """The model, or the alias, of chats that name none."""
    features: tuple[Feature, ...] | None = None
    """What its requests may use; None is everything."""
    region: Region | None = None
    """The AWS region of its calls, one of `regions`; the default is the gateway's own."""
    geography: Geography = "global"
    """Whether its calls may be served outside of the region's geography, or never (`strict`)."""
    role: RoleSettings | None = None
    """The role that its calls are made with, in place of the gateway's own identity."""
    limits: RateLimits | None = None
    """Its limits, before those of `rate_limits.organisation`."""
    budgets: Budgets | None = None
    """What it may spend, in place of `budgets.organisation`; after loading, with `monthly_budget_cents` and so on."""
    user_budgets: Budgets | None = None
    """What each of its users may spend, in place of `budgets.user`; likewise."""
    monthly_budget_cents: Cents | None = None
    daily_budget_cents: Cents | None = None
    per_user_monthly_budget_cents: Cents | None = None
    per_user_daily_budget_cents: Cents | None = None
    warning_threshold_percent: Percent | None = None
    """`warn_at` of the budgets in cents."""

    def __post_init__(self) -> None:
        """Write what is in cents as budgets, and nowhere else."""
        warn = self.warning_threshold_percent
        own = of_cents(self.budgets, self.monthly_budget_cents, self.daily_budget_cents, warn)
        each = of_cents(self.user_budgets, self.per_user_monthly_budget_cents, self.per_user_daily_budget_cents, warn)
        if own is self.budgets and each is self.user_budgets:
            return
        for key, value in (("budgets", own), ("user_budgets", each), *((key, None) for key in _IN_CENTS)):
            msgspec.structs.force_setattr(self, key, value)


_IN_CENTS = (
    "monthly_budget_cents",
    "daily_budget_cents",
    "per_user_monthly_budget_cents",
    "per_user_daily_budget_cents",
    "warning_threshold_percent",
)


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An API key. Only the SHA-256 of the whole token (`qc_` included) is stored."""

    name: TokenName
    sha256: Sha256
    """In lower case, whatever the file has."""
    organisations: tuple[MachineName, ...] = ()
    expires: Expiry | None = None
    models: Models | None = None
    """Narrows the organisation's: a model has to be permitted by both."""
    scopes: tuple[Scope, ...] | None = None
    """The groups of endpoints that it may call; None is all of them."""
    features: tuple[Feature, ...] | None = None
    """Narrows the organisation's: a feature has to be permitted by both."""
    limits: RateLimits | None = None
    """Its limits, before those of `rate_limits.token`, and beside its organisation's."""
    budgets: Budgets | None = None
    """What it may spend, in place of `budgets.token`, and beside its organisation's."""

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "sha256", self.sha256.lower())


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
        with _naming(self.source):
            settings = _convert(self.document, Settings)
            _check_capabilities(settings.capabilities)
            _check_networks(settings.media.deny)
            _check_origins(settings.cors.origins)
            for name, organisation in settings.organisations.items():
                check_organisation(name, organisation)
            _check_metadata(settings)
            check_defaults(settings.budgets)
            check_aliases(settings.aliases, {name: own.aliases for name, own in settings.organisations.items()})
            _check_directory(settings)
            check_regions(
                {name: own.region for name, own in settings.organisations.items()}, settings.region, settings.regions
            )
        files, keys = {self.source: settings.tokens}, settings.responses.keys
        for source, text in token_texts.items():
            with _naming(source):
                file = _convert(read(text), TokenFile)
            files[source] = file.tokens
            keys += file.responses.keys
        _check_tokens(files, settings)
        tokens = tuple(token for tokens in files.values() for token in tokens)
        with _naming(self.source):
            check_jwt(settings.jwt, (token.name for token in tokens))
            check_keys(settings, keys, tokens)
            check_store(
                settings.budgets,
                {name: (own.budgets, own.user_budgets) for name, own in settings.organisations.items()},
                (token.budgets for token in tokens),
            )
        return msgspec.structs.replace(
            settings,
            tokens=tokens,
            responses=ResponsesSettings(keys),
            last_used_in=settings.last_used_in and str(Path(self.source).parent / settings.last_used_in),
            rate_limits=_placed(settings.rate_limits, Path(self.source).parent),
            usage=settings.usage.placed(Path(self.source).parent),
            budgets=placed(settings.budgets, Path(self.source).parent),
        )


def _placed(settings: RateLimitSettings, folder: Path) -> RateLimitSettings:
    """Return the settings with the whole path of their file."""
    if settings.sqlite is None:
        return settings
    return msgspec.structs.replace(settings, sqlite=str(folder / settings.sqlite))


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
    with _naming(source):
        return Draft(source, read(text))


def parse(text: bytes, source: str = "gateway.yaml") -> Settings:
    """Return the settings in `text`, without token files; raises `ConfigError`, whose message starts with `source`."""
    return draft(text, source).settings({})


@contextmanager
def _naming(source: str) -> Iterator[None]:
    """Put the file's name before the message of a `ConfigError`."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error.__cause__


def _convert(document: Mapping[object, object], kind: type[Kind]) -> Kind:
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(fault(document, kind, "") or str(error)) from None


def _check_tokens(files: Mapping[str, tuple[Token, ...]], settings: Settings) -> None:
    """Check that organisations are declared, and that nothing is repeated in any file; raises `ConfigError`."""
    names: _Seen = {}
    hashes: _Seen = {}
    organisations = settings.organisations
    usual = settings.budgets.organisation
    budgets = {name: usual if own.budgets is None else own.budgets for name, own in organisations.items()}
    limits = {name: own.limits for name, own in organisations.items() if own.limits is not None}
    for source, tokens in files.items():
        with _naming(source):
            for index, token in enumerate(tokens):
                _check_organisations(token, organisations, index)
                if token.models is not None:
                    check_patterns(token.models, f"tokens[{index}]")
                check_rate_limits(token.limits, f"tokens[{index}]", token.organisations, limits)
                if token.budgets is not None:
                    check_budgets(token.budgets, f"tokens[{index}].budgets")
                    check_below(token.budgets, f"tokens[{index}]", token.organisations, budgets)
                _check_unique("name", names, token.name, source, index)
                _check_unique("sha256", hashes, token.sha256, source, index)


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


_Seen = dict[str, tuple[str, int]]
"""A name or a hash -> the file that has it first, and the position of its token there."""

_UNIQUE = {
    "name": "give each token a name of its own, by which logs tell them apart",
    "sha256": "list the organisations of one token in one entry",
}
"""The keys of which no two tokens have the same value -> what to do."""


def _check_unique(key: str, seen: _Seen, value: str, source: str, index: int) -> None:
    """Raise if another token has the same `value`; otherwise add it to `seen`."""
    file, position = seen.setdefault(value, (source, index))
    if (file, position) != (source, index):
        other = f"tokens[{position}]" if file == source else f"{file}: tokens[{position}]"
        raise ConfigError(f"tokens[{index}].{key}: the same as in {other}; {_UNIQUE[key]}")


def _check_organisations(token: Token, organisations: Mapping[str, Organisation], index: int) -> None:
    """Check that every organisation of `token` is declared, and named once."""
    named: set[str] = set()
    for position, name in enumerate(token.organisations):
        if name not in organisations:
            raise ConfigError(
                f"tokens[{index}].organisations[{position}]: no organisation `{name}` is declared under `organisations`"
                f"{nearest(name, organisations)}"
            )
        if name in named:
            raise ConfigError(f"tokens[{index}].organisations[{position}]: `{name}` is repeated; keep one")
        named.add(name)


_NEEDS = {"budget": ("minimum_budget",), "effort": ("effort_path", "efforts"), "nova": ("effort_path", "efforts")}
"""Style of reasoning -> the features that it requires."""
_MODEL_FIELDS = "additionalModelRequestFields"
_EFFORT = ("outputConfig", "effort")
"""The only path outside `additionalModelRequestFields`."""


def _check_capabilities(rows: tuple[Row, ...]) -> None:
    """Check that the rows make a table, and that each family is complete; raises `ConfigError`."""
    if not rows:
        return
    try:
        table = BUILT_IN.with_overrides(rows)
    except CapabilityError as error:
        raise ConfigError(str(error)) from None
    places = {row.family: f"capabilities[{index}]" for index, row in enumerate(rows)}
    for name in (*places, *table.families):
        _check_family(table.families[name], places.get(name, f"capabilities: the family `{name}`"))


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


def check_patterns(models: Models, where: str) -> None:
    """Check that no list has so many patterns that a list of models takes a worker too long; raises `ConfigError`."""
    for key, patterns in (("allow", models.allow), ("deny", models.deny)):
        if len(patterns) > MAX_PATTERNS:
            raise ConfigError(
                f"{where}.models.{key}: {len(patterns):,} patterns, at most {MAX_PATTERNS} are "
                "accepted; write fewer, with `*`, as in `anthropic.*`"
            )


def _check_metadata(settings: Settings) -> None:
    """Check that the gateway's own pairs are named once each; raises `ConfigError`."""
    chosen = settings.aws.request_metadata
    if len(set(chosen)) < len(chosen):
        raise ConfigError("aws.request_metadata: a name is repeated; write each once")


def check_organisation(name: str, organisation: Organisation) -> None:
    """Check what can be seen of an organisation alone; raises `ConfigError`."""
    check_patterns(organisation.models, f"organisations.{name}")
    check_budgets(organisation.budgets, f"organisations.{name}.budgets")
    check_budgets(organisation.user_budgets, f"organisations.{name}.user_budgets")
    if organisation.warning_threshold_percent is not None:
        raise ConfigError(
            f"organisations.{name}.warning_threshold_percent: there is no budget in cents that it could be for; write "
            "`warn_at` in an entry of `budgets`"
        )
    most = PAIRS - len(get_args(get_args(MetadataName)[0]))
    pairs = organisation.request_metadata
    for key in pairs:
        if is_own(key):
            raise ConfigError(
                f"organisations.{name}.request_metadata.{key}: keys that begin with `{OWN}` are the gateway's; "
                "choose another"
            )
    if len(pairs) > most:
        raise ConfigError(f"organisations.{name}.request_metadata: {len(pairs)} pairs, at most {most} are accepted")


def _check_family(family: Capabilities, where: str) -> None:
    for need in _NEEDS.get(family.reasoning, ()):
        if not getattr(family, need):
            raise ConfigError(f"{where}.{need}: missing; models that reason by `{family.reasoning}` need it")
    if (family.efforts or family.reasoning_off == "effort_none") and not family.effort_path:
        raise ConfigError(f"{where}.effort_path: missing; name the path of the effort")
    ordered = sorted(set(family.efforts), key=get_args(Effort).index)
    if list(family.efforts) != ordered:
        raise ConfigError(f"{where}.efforts: write them lowest first, each once: {', '.join(ordered)}")
    for name, path, other in (("effort_path", family.effort_path, _EFFORT), ("top_k", family.top_k, ())):
        if path != other and path and (len(path) == 1 or path[0] != _MODEL_FIELDS):
            raise ConfigError(f"{where}.{name}: expected `{_MODEL_FIELDS}` and the keys below it")
    if family.reasoning == "nova" and len(family.effort_path) < 3:
        # `type` goes beside the effort.
        raise ConfigError(f"{where}.effort_path: expected `{_MODEL_FIELDS}`, a key, and one below that")
