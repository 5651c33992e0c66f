"""gateway.yaml -> typed settings.

Every key of the file is a field of a struct below, with its default; each type carries the sentence that says
what belongs there, and that sentence is the error message. An unknown key, a key that stands twice, a wrong type
or a value out of range is refused with the key's path. Nothing here reads the environment or AWS.

Tokens may stand in files of their own, which `tokens_from` names: `Draft` is a gateway.yaml before those are read.

Invariant: whatever bytes are given, `parse` gives `Settings` or raises `ConfigError`, and never anything else.
"""

import datetime
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, TypeVar, get_args

import msgspec
from msgspec import Meta

from extproc.bedrock.capabilities import BUILT_IN, Capabilities, CapabilityError, Effort, Row
from extproc.config.document import ConfigError as ConfigError
from extproc.config.document import read
from extproc.config.faults import fault, nearest
from extproc.config.sources import contents, token_texts

Kind = TypeVar("Kind")

MachineName = Annotated[
    str,
    Meta(
        pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z",
        description="a machine name (1 to 64 letters, digits, `.`, `_`, `-`; a letter or digit first)",
    ),
]
Region = Annotated[str, Meta(pattern=r"\A[a-z0-9-]{1,63}\Z", description="the name of an AWS region, as in us-east-1")]
Sha256 = Annotated[
    str,
    Meta(
        pattern=r"\A[0-9A-Fa-f]{64}\Z",
        description="64 hex digits (the SHA-256 of the whole token, as `oai-extproc token new` prints it)",
    ),
]
TokenName = Annotated[
    str,
    Meta(
        pattern=r"\A[^\x00-\x1f\x7f]{1,128}\Z",
        description="a name of 1 to 128 characters on one line, by which logs and metrics know the token",
    ),
]
Pattern = Annotated[
    str,
    Meta(
        pattern=r"\A[^\s\x00-\x1f\x7f]{1,2048}\Z",
        description="a pattern of model ids without blanks, as in `anthropic.*`",
    ),
]
Expiry = Annotated[datetime.datetime, Meta(tz=True, description="a time with its zone, as in 2027-01-01T00:00:00Z")]
Place = Annotated[
    str,
    Meta(
        pattern=r"\A[^\x00-\x1f\x7f]{1,4096}\Z",
        description="the path of a file or a folder, as in /etc/oai/tokens",
    ),
]
Cidr = Annotated[
    str,
    Meta(pattern=r"\A[0-9a-fA-F.:]+/[0-9]{1,3}\Z", description="a network, as in 2600:1f18::/32 or 203.0.113.0/24"),
]
Workers = Annotated[
    Literal["auto"] | Annotated[int, Meta(ge=1, le=64)], Meta(description="`auto`, or a whole number from 1 to 64")
]
TRANSLATION_SECONDS = 30.0
"""Timeout of a step in the process that translates large requests, the turns of other requests before it included."""

YesNo = Annotated[bool, Meta(description="true or false")]
Seconds = Annotated[
    float, Meta(gt=0, le=31_536_000, description="a number of seconds, above 0 and at most 31536000 (a year)")
]

Bytes = Annotated[
    int,
    Meta(
        ge=1024,
        le=512 * 1024 * 1024,
        description="a whole number of bytes from 1024 (1 KiB) to 536870912 (512 MiB)",
    ),
]
InFlightBytes = Annotated[
    Literal["auto"] | Annotated[int, Meta(ge=1024 * 1024, le=1024**4)],
    Meta(description="`auto`, or a whole number of bytes from 1048576 (1 MiB) to 1099511627776 (1 TiB)"),
]
Rate = Annotated[int, Meta(ge=1, le=100_000, description="a whole number from 1 to 100000")]
Concurrency = Annotated[int, Meta(ge=1, le=1000, description="a whole number from 1 to 1000")]


class Models(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which models an organisation may call: glob patterns (`*`, `?`), `deny` wins over `allow`.

    What exactly a pattern is matched with is said in `extproc.tenancy.policy`.
    """

    allow: tuple[Pattern, ...] = ("*",)
    deny: tuple[Pattern, ...] = ()


class Organisation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tenant. Its machine name is its key in `organisations`."""

    models: Models = msgspec.field(default_factory=Models)
    enabled: YesNo = True


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An API key. Only the SHA-256 of the whole token (`qc_` included) is ever stored."""

    name: TokenName
    sha256: Sha256
    """Lower-case, however it was written."""
    organisations: tuple[MachineName, ...] = ()
    expires: Expiry | None = None

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "sha256", self.sha256.lower())


class Compat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Departures from OpenAI's behaviour that a deployment may need."""

    streaming_truncation: Annotated[Literal["length", "stop"], Meta(description="`length` or `stop`")] = "length"
    """The `finish_reason` of a stream that ran into its token limit."""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a request may cost."""

    request_bytes: Bytes = 32 * 1024 * 1024
    """A larger body is answered with 413."""
    in_flight_bytes: InFlightBytes = "auto"
    """Of all requests in flight at once; more are answered with 503. `auto` derives it from the memory limit."""
    organisation_in_flight_bytes: InFlightBytes = "auto"
    """Of one organisation's; more are answered with 429. `auto` is half of the whole where there are several."""

    address_requests_per_second: Rate | None = None
    """From one network address, with or without a token; more are answered with 429 by Envoy. None is no limit."""

    @property
    def body_bytes(self) -> int:
        """The largest body that Envoy may hold: the worker may make it longer than what a caller may send."""
        return self.request_bytes * 5 // 4


class Embeddings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How arrays go out to models that take one text, or a few, a call."""

    concurrency: Concurrency = 8
    """Calls in flight for one request."""
    seconds: Seconds = 120.0
    """How long all the calls of one request may take together."""


class Media(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Media that clients name by URL: whether, and within which limits, the gateway fetches them."""

    fetch: YesNo = True
    """Otherwise a request with such a URL is refused, and images have to come as `data:` URLs."""
    max_bytes: Bytes = 3_750_000
    """Of one image: what Converse takes."""
    total_bytes: Bytes = 15_000_000
    """Of all the images of one request."""
    seconds: Seconds = 20.0
    """How long fetching all the images of one request may take."""
    concurrency: Concurrency = 4
    """Images of one request that are fetched at a time."""
    deny: tuple[Cidr, ...] = ()
    """Networks that nothing is fetched from although their addresses look public, such as a VPC's IPv6 range."""
    s3: YesNo = False
    """Whether callers may name `s3://` objects, which Bedrock then reads with the gateway's own permissions: every
    caller can have read to him whatever the gateway's role may read."""


class Streaming(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What happens while a model thinks."""

    keepalive_seconds: Seconds = 15.0
    """After this much silence the client gets an SSE comment."""
    idle_seconds: Seconds = 300.0
    """After this much silence from Bedrock the call is given up."""


class Catalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the list of models is kept."""

    refresh_seconds: Seconds = 3600.0


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of gateway.yaml."""

    region: Region | None = None
    """AWS region; without it, AWS's own settings decide (AWS_REGION, the profile)."""
    organisations: dict[MachineName, Organisation] = {}
    tokens: tuple[Token, ...] = ()
    """Once read, those of the token files too."""
    tokens_from: Place | None = None
    """A file with more tokens, or a folder of such files; a relative path starts where gateway.yaml is."""
    compat: Compat = msgspec.field(default_factory=Compat)
    limits: Limits = msgspec.field(default_factory=Limits)
    embeddings: Embeddings = msgspec.field(default_factory=Embeddings)
    streaming: Streaming = msgspec.field(default_factory=Streaming)
    catalogue: Catalogue = msgspec.field(default_factory=Catalogue)
    media: Media = msgspec.field(default_factory=Media)
    capabilities: tuple[Row, ...] = ()
    """What families of models take, where the built-in table is to say something else."""
    workers: Workers = 1
    """Python processes, one unix socket each; `auto` is one for every two CPUs."""
    transport: Annotated[Literal["auto", "http2", "grpcio"], Meta(description="`auto`, `http2` or `grpcio`")] = "auto"
    """What speaks gRPC with Envoy: `auto` is http2 on a unix socket, and grpcio elsewhere."""

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
    """All of a token file."""

    tokens: tuple[Token, ...]


@dataclass(frozen=True, slots=True)
class Draft:
    """A gateway.yaml that is YAML; whether it can be used shows once its token files are read as well."""

    source: str
    document: Mapping[object, object]

    @property
    def tokens_from(self) -> Path | None:
        """Where more tokens stand; None as well where it says so in a way that `settings` refuses."""
        place = self.document.get("tokens_from")
        return Path(self.source).parent / place if place and isinstance(place, str) else None

    def settings(self, token_texts: Mapping[str, bytes]) -> Settings:
        """The settings, with the tokens in `token_texts` (by the file's name) behind its own; raises `ConfigError`."""
        with _naming(self.source):
            settings = _convert(self.document, Settings)
            _check_capabilities(settings.capabilities)
            _check_networks(settings.media.deny)
        files = {self.source: settings.tokens}
        for source, text in token_texts.items():
            with _naming(source):
                files[source] = _convert(read(text), TokenFile).tokens
        _check_tokens(files, settings.organisations)
        return msgspec.structs.replace(settings, tokens=tuple(token for tokens in files.values() for token in tokens))


def load(path: Path) -> Settings:
    """Read and check a gateway.yaml and its token files; raises `ConfigError`."""
    drafted = draft(contents(path), str(path))
    place = drafted.tokens_from
    return drafted.settings(token_texts(place) if place else {})


def draft(text: bytes, source: str = "gateway.yaml") -> Draft:
    """The gateway.yaml in `text`; raises `ConfigError`, whose message starts with `source`.

    A file without any content is refused: it is what a reader sees while an editor saves, and taking it for
    "no tokens" would shut everybody out. `{}` says that on purpose.
    """
    with _naming(source):
        return Draft(source, read(text))


def parse(text: bytes, source: str = "gateway.yaml") -> Settings:
    """The settings in `text` alone, without token files; raises `ConfigError`, whose message starts with `source`."""
    return draft(text, source).settings({})


@contextmanager
def _naming(source: str) -> Iterator[None]:
    """Put the file's name before what is wrong in it."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error.__cause__


def _convert(document: Mapping[object, object], kind: type[Kind]) -> Kind:
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(fault(document, kind, "") or str(error)) from None


def _check_tokens(files: Mapping[str, tuple[Token, ...]], organisations: Mapping[str, Organisation]) -> None:
    """Names refer to something, and nothing stands twice, in one file or in several; raises `ConfigError`."""
    seen: dict[str, str] = {}
    for source, tokens in files.items():
        for index, token in enumerate(tokens):
            where = f"tokens[{index}]"
            with _naming(source):
                _check_organisations(token, organisations, where)
                _check_unique(token, seen, source, where)


def _check_unique(token: Token, seen: dict[str, str], source: str, where: str) -> None:
    for key, why in (
        ("name", "names tell tokens apart in the logs"),
        ("sha256", "list the organisations of one token in one entry"),
    ):
        here = f"{source}: {where}"
        other = seen.setdefault(f"{key} {getattr(token, key)}", here)
        if other != here:
            raise ConfigError(f"{where}.{key}: the same as in {other.removeprefix(f'{source}: ')}; {why}")


def _check_organisations(token: Token, organisations: Mapping[str, Organisation], where: str) -> None:
    """Every organisation of `token` is declared, and named once."""
    named: set[str] = set()
    for position, name in enumerate(token.organisations):
        if name not in organisations:
            raise ConfigError(
                f"{where}.organisations[{position}]: no organisation `{name}` is declared under `organisations`"
                f"{nearest(name, organisations)}"
            )
        if name in named:
            raise ConfigError(f"{where}.organisations[{position}]: `{name}` stands twice")
        named.add(name)


_NEEDS = {"budget": ("minimum_budget",), "effort": ("effort_path", "efforts"), "nova": ("effort_path", "efforts")}
"""What a way to reason cannot do without."""
_MODEL_FIELDS = "additionalModelRequestFields"
_EFFORT = ("outputConfig", "effort")
"""The one path outside of these."""


def _check_capabilities(rows: tuple[Row, ...]) -> None:
    """With these rows there is a table, and nothing in it is half said."""
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
    """Each is a network, and not an address inside one: whoever writes that may have meant either."""
    for index, text in enumerate(networks):
        try:
            ip_network(text)
        except ValueError as error:
            raise ConfigError(f"media.deny[{index}]: {error}; write a network, as in 203.0.113.0/24") from None


def _check_family(family: Capabilities, where: str) -> None:
    for need in _NEEDS.get(family.reasoning, ()):
        if not getattr(family, need):
            raise ConfigError(f"{where}.{need}: missing; models that reason by `{family.reasoning}` need it")
    if (family.efforts or family.reasoning_off == "effort_none") and not family.effort_path:
        raise ConfigError(f"{where}.effort_path: missing; say where the effort goes")
    ordered = sorted(set(family.efforts), key=get_args(Effort).index)
    if list(family.efforts) != ordered:
        raise ConfigError(f"{where}.efforts: write them lowest first, each once: {', '.join(ordered)}")
    for name, path, other in (("effort_path", family.effort_path, _EFFORT), ("top_k", family.top_k, ())):
        if path != other and path and (len(path) == 1 or path[0] != _MODEL_FIELDS):
            raise ConfigError(f"{where}.{name}: expected `{_MODEL_FIELDS}` and the keys below it")
    if family.reasoning == "nova" and len(family.effort_path) < 3:
        # `type` goes beside the effort.
        raise ConfigError(f"{where}.effort_path: expected `{_MODEL_FIELDS}`, a key, and one below that")
