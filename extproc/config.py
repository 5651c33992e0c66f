"""gateway.yaml -> typed settings.

Every key of the file is a field of a struct below, with its default; each type carries the sentence that says
what belongs there, and that sentence is the error message. An unknown key, a key that stands twice, a wrong type
or a value out of range is refused with the key's path. Nothing here reads the environment or AWS.

Invariant: whatever bytes are given, `parse` gives `Settings` or raises `ConfigError`, and never anything else.
"""

import datetime
import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
import yaml
from msgspec import Meta
from yaml.constructor import ConstructorError

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
YesNo = Annotated[bool, Meta(description="true or false")]
Seconds = Annotated[
    float, Meta(gt=0, le=31_536_000, description="a number of seconds, above 0 and at most 31536000 (a year)")
]


class ConfigError(Exception):
    """gateway.yaml cannot be used; the message names the file, the key's path and the remedy."""


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

    request_bytes: Annotated[
        int,
        Meta(
            ge=1024,
            le=512 * 1024 * 1024,
            description="a whole number of bytes from 1024 (1 KiB) to 536870912 (512 MiB)",
        ),
    ] = 32 * 1024 * 1024
    """A larger body is answered with 413."""


class Embeddings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How arrays go out to models that take one text, or a few, a call."""

    concurrency: Annotated[int, Meta(ge=1, le=1000, description="a whole number from 1 to 1000")] = 8
    """Calls in flight for one request."""
    seconds: Seconds = 120.0
    """How long all the calls of one request may take together."""


class Streaming(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What happens while a model thinks."""

    keepalive_seconds: Seconds = 15.0
    """After this much silence the client gets an SSE comment."""
    silence_seconds: Seconds = 300.0
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
    compat: Compat = msgspec.field(default_factory=Compat)
    limits: Limits = msgspec.field(default_factory=Limits)
    embeddings: Embeddings = msgspec.field(default_factory=Embeddings)
    streaming: Streaming = msgspec.field(default_factory=Streaming)
    catalogue: Catalogue = msgspec.field(default_factory=Catalogue)
    workers: Annotated[int, Meta(ge=1, le=64, description="a whole number from 1 to 64")] = 1
    """Python processes, one unix socket each."""


def load(path: Path) -> Settings:
    """Read and check a gateway.yaml; raises `ConfigError`."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; name a readable file with --config") from error
    return parse(text, str(path))


def parse(text: bytes, source: str = "gateway.yaml") -> Settings:
    """The settings in `text`; raises `ConfigError`, whose message starts with `source`.

    A file without any content is refused: it is what a reader sees while an editor saves, and taking it for
    "no tokens" would shut everybody out. `{}` says that on purpose.
    """
    try:
        document = _document(text)
        try:
            settings = msgspec.convert(document, Settings)
        except msgspec.ValidationError as error:
            raise ConfigError(_fault(document, Settings, "") or str(error)) from None
        _check(settings)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error.__cause__
    return settings


# --- YAML -----------------------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader; a date without a time of day is the start of that day in UTC."""

    def construct_time(self, node: yaml.ScalarNode) -> datetime.datetime:
        """A timestamp, with a zone unless it has a time of day and no zone of its own."""
        try:
            value = self.construct_yaml_timestamp(node)
        except ValueError as error:
            raise ConstructorError(None, None, f"no such time: {error}", node.start_mark) from error
        if isinstance(value, datetime.datetime):
            return value
        return datetime.datetime(value.year, value.month, value.day, tzinfo=datetime.UTC)


_Loader.add_constructor("tag:yaml.org,2002:timestamp", _Loader.construct_time)

_CONSTRUCTOR_BUGS = (ValueError, LookupError, AttributeError, TypeError, ArithmeticError)
"""What PyYAML's own constructors let through, for `!!bool maybe` and the like."""


def _document(text: bytes) -> Mapping[object, object]:
    """The one mapping in `text`; raises `ConfigError` without the file's name."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            raise ConfigError("is empty; write `{}` to run without organisations and tokens")
        _refuse_duplicates(node)
        document = loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ConfigError(_explain_yaml(error)) from error
    except RecursionError as error:
        raise ConfigError("is nested too deeply") from error
    except _CONSTRUCTOR_BUGS as error:
        raise ConfigError(f"holds a value that YAML cannot read: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"must be a mapping of keys such as `organisations:` and `tokens:`, not {_kind(document)}")
    return document


def _refuse_duplicates(root: yaml.Node) -> None:
    """Raise for a key that stands twice in one mapping, before merge keys (`<<`) are resolved."""
    nodes: list[yaml.Node] = [root]
    seen: set[int] = set()
    for node in nodes:  # grows underway; an alias is one node that stands in several places
        children = node.value if isinstance(node, yaml.SequenceNode) else []
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
            children = [value for _, value in node.value]
        nodes += [child for child in children if id(child) not in seen]
        seen.update(map(id, children))


def _check_keys(node: yaml.MappingNode) -> None:
    """Raise if two keys of this mapping are the same."""
    lines: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        name, line = (key.tag, key.value), key.start_mark.line + 1
        if name in lines:
            raise ConfigError(f"line {line}: the key `{key.value}` stands in line {lines[name]} already; keep one")
        lines[name] = line


def _explain_yaml(error: yaml.YAMLError) -> str:
    """PyYAML's complaint in one line, with the remedy where there is one."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return f"is not YAML: {' '.join(str(error).split())}"
    problem = error.problem or error.context or "not YAML"
    if "another document" in problem:
        problem = "a second document starts here; keep everything in one"
    elif "'\\t'" in problem:
        problem = "a tab; YAML is indented with spaces"
    mark = error.problem_mark
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


def _check(settings: Settings) -> None:
    """Names refer to something, and nothing stands twice; raises `ConfigError` without the file's name."""
    seen: dict[str, str] = {}
    for index, token in enumerate(settings.tokens):
        where = f"tokens[{index}]"
        _check_organisations(token, settings, where)
        for key, why in (
            ("name", "names tell tokens apart in the logs"),
            ("sha256", "list the organisations of one token in one entry"),
        ):
            other = seen.setdefault(f"{key} {getattr(token, key)}", where)
            if other != where:
                raise ConfigError(f"{where}.{key}: the same as in {other}; {why}")


def _check_organisations(token: Token, settings: Settings, where: str) -> None:
    """Every organisation of `token` is declared, and named once."""
    for position, name in enumerate(token.organisations):
        if name not in settings.organisations:
            raise ConfigError(
                f"{where}.organisations[{position}]: no organisation `{name}` is declared under `organisations`"
                f"{_nearest(name, settings.organisations)}"
            )
        if name in token.organisations[:position]:
            raise ConfigError(f"{where}.organisations[{position}]: `{name}` stands twice")


# --- What is wrong, and where -----------------------------------------------------------------------------------
#
# msgspec says where, but not inside a mapping with free keys (`organisations[...]`), and what, but in terms of
# Python and regular expressions. So once it has refused a document, the document is walked along the types, and
# the first fault is put in our own words: those of the type's `Meta(description=…)`.


def _fault(value: object, kind: Any, path: str) -> str | None:
    """What is wrong with `value` where a `kind` belongs, as `path: what`; None if nothing is."""
    base = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if isinstance(base, type) and issubclass(base, msgspec.Struct):
        return _struct_fault(value, base, path)
    if get_origin(base) is dict:
        key_kind, value_kind = get_args(base)
        return _mapping_fault(value, key_kind, value_kind, path)
    if get_origin(base) is tuple:
        return _list_fault(value, get_args(base)[0], path)
    return None if _fits(value, kind) else f"{path}: expected {_description(kind)}; found {_kind(value)}"


def _struct_fault(value: object, struct: type[msgspec.Struct], path: str) -> str | None:
    """The first fault in a mapping with fixed keys."""
    if not isinstance(value, dict):
        return f"{path}: expected a mapping; found {_kind(value)}"
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    for key in value:
        if not isinstance(key, str):
            return _not_text(path, key)
        if key not in fields:
            return f"{_join(path, key)}: unknown key{_nearest(key, fields)}; known here: {', '.join(fields)}"
    for name, field in fields.items():
        below = _join(path, name)
        if name not in value and field.required:
            return f"{below}: missing; expected {_description(field.type)}"
        fault = _fault(value[name], field.type, below) if name in value else None
        if fault:
            return fault
    return None


def _mapping_fault(value: object, key_kind: Any, value_kind: Any, path: str) -> str | None:
    """The first fault in a mapping with free keys."""
    if not isinstance(value, dict):
        return f"{path}: expected a mapping; found {_kind(value)}"
    for key, item in value.items():
        if not isinstance(key, str):
            return _not_text(path, key)
        below = _join(path, key)
        if not _fits(key, key_kind):
            return f"{below}: expected {_description(key_kind)} as the key"
        fault = _fault(item, value_kind, below)
        if fault:
            return fault
    return None


def _list_fault(value: object, kind: Any, path: str) -> str | None:
    """The first fault in a list."""
    if not isinstance(value, list):
        return f"{path}: expected a list; found {_kind(value)}"
    faults = (_fault(item, kind, f"{path}[{index}]") for index, item in enumerate(value))
    return next(filter(None, faults), None)


def _fits(value: object, kind: Any) -> bool:
    """Whether msgspec takes `value` for a `kind`."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _description(kind: Any) -> str:
    """The sentence that a type carries, itself or in one of its alternatives."""
    for part in (*getattr(kind, "__metadata__", ()), *get_args(kind)):
        text = part.description if isinstance(part, Meta) else _description(part)
        if text:
            return str(text)
    return ""


def _kind(value: object) -> str:
    """What a person would call `value`. Text is not repeated: it may be a secret that stands in the wrong place."""
    if value is None or isinstance(value, bool):
        return "nothing" if value is None else str(value).lower()
    if isinstance(value, float) or (isinstance(value, int) and abs(value) < 10**18):
        return f"the number {value!r}"
    if isinstance(value, str):
        return "the token itself" if value.startswith("qc_") else "text that is not that"
    if isinstance(value, datetime.datetime):
        return "a time" if value.tzinfo else "a time without a zone"
    kinds = {int: "a huge number", dict: "a mapping", list: "a list"}
    return kinds.get(type(value), f"a {type(value).__name__}")


def _not_text(path: str, key: object) -> str:
    """What is wrong with a key such as `on` or `2`, which YAML takes for something else."""
    return f"{path or 'top level'}: a key is read as {_kind(key)}, not as text; put it in quotes"


def _join(path: str, key: str) -> str:
    """The path of `key` below `path`."""
    if key.isprintable() and " " not in key:
        return f"{path}.{key}" if path else key
    return f"{path}[{key!r}]"


def _nearest(name: str, known: Iterable[str]) -> str:
    """A guess at what was meant."""
    guesses = difflib.get_close_matches(name[:100], list(known), n=1)
    return f", did you mean `{guesses[0]}`?" if guesses else ""
