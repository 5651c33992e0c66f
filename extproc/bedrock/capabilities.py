"""What each family of models takes in Converse: one table, and nothing else in the code asks for a model's name.

A *family* is what behaves alike. The table (`capabilities.json`) is rows: a family's name, glob patterns of the
foundation ids that belong to it, and what it takes; a row that is `like` another says only what differs. How a
foundation id finds its family:

1. a geography in front (`eu.anthropic…`) is taken off: what a model takes does not depend on where it runs;
2. the first row, from the top, that has a fitting pattern counts, so the narrower row stands above the wider one;
3. an id that fits none, or that nobody knows (None: a provisioned or imported model), is of the family `unknown`.

`unknown` is the defaults of `Capabilities`: a plain chat goes through, tools too, and nothing optional is ever sent.
Each provider's last row is a wide one, so that tomorrow's model gets its relatives' narrowest rules.

An operator's rows (`Table.with_overrides`) stand above the built-in ones. A row with a built-in family's name changes
that family, and all that are `like` it: its fields replace the family's, its patterns are looked at first. A row with
a new name is a new family.

Invariant: `Table.of` gives capabilities for any string at all, and never raises.

Where the rows come from stands in each (`source`); where sources disagree, or nobody has tried, it says so (`doubt`)
and the row keeps to what is least likely to be refused.
"""

import difflib
import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, Struct

from extproc.bedrock.catalogue import PREFIXES
from extproc.bedrock.model_ids import LONGEST_REMEMBERED

UNKNOWN = "unknown"
"""The family of a model that no row names."""


class CapabilityError(ValueError):
    """Rows that make no table; the message starts with the place, as in `capabilities[2].like: …`."""


# The words a row may use. What a type says of itself is what an operator reads who wrote something else there.

ToolChoice = Literal["auto", "any", "tool"]
BlockKind = Literal["text", "image", "document", "video"]
MediaKind = Literal["image", "document", "video"]
DocumentFormat = Literal["pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"]
VideoFormat = Literal["mkv", "mov", "mp4", "webm", "flv", "mpeg", "mpg", "wmv", "three_gp"]
AudioFormat = Literal[
    "mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "mka", "x-aac", "m4a", "mpeg", "mpga", "pcm", "webm"
]
SchemaGap = Literal["definitions", "lookaround"]
SchemaWay = Literal["native", "tool"]
ReasoningStyle = Literal["none", "always", "budget", "adaptive", "effort", "nova"]
ReasoningOff = Literal["omit", "disabled", "between_tools", "effort_none", "never"]
ReasoningHistory = Literal["none", "signed", "unsigned", "redacted"]
Effort = Literal["minimal", "low", "medium", "high", "xhigh", "max"]
Sampling = Literal["both", "one", "none"]
CachePlace = Literal["system", "messages", "tools"]
CacheTtl = Literal["5m", "1h"]
ServiceTier = Literal["priority", "flex", "reserved"]


def _one_of(literal: Any) -> Meta:
    return Meta(description=f"one of {', '.join(f'`{word}`' for word in get_args(literal))}")


YesNo = Annotated[bool, Meta(description="true or false")]
Name = Annotated[
    str,
    Meta(
        pattern=r"\A[a-z0-9][a-z0-9.-]{0,63}\Z",
        description="a family's name (1 to 64 of `a-z`, `0-9`, `.`, `-`; a letter or digit first)",
    ),
]
Pattern = Annotated[
    str,
    Meta(
        pattern=r"\A[^\s\[\]]{1,2048}\Z",
        description="a pattern of foundation model ids, as in `acme.chat-*` (`*` any characters, `?` one)",
    ),
]
Count = Annotated[int, Meta(ge=0, le=2500, description="a whole number from 0 to 2500")]
Tokens = Annotated[int, Meta(ge=1, le=2**31 - 1, description="a whole number of tokens, 1 or more")]
Temperature = Annotated[float, Meta(gt=0, le=2, description="a number above 0 and at most 2")]
Step = Annotated[
    str, Meta(pattern=r"\A[A-Za-z_]{1,64}\Z", description="a key of the Converse request, as in `outputConfig`")
]
Note = Annotated[str, Meta(min_length=1, description="a sentence or an address")]
Path = tuple[Step, ...]
"""Where something goes in a Converse request: the keys from its root. Empty: nowhere, it is not taken."""


class Capabilities(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the models of one family take. The defaults are what the family `unknown` gets.

    A `tuple` holds what is taken, best first where there is a choice; an empty one means that nothing is.
    """

    family: Name = UNKNOWN

    # Which calls reach it

    converse: YesNo = True
    """Whether Converse serves it at all; some OpenAI models are served by their own API only."""
    streams: YesNo = True
    """Whether ConverseStream serves it."""
    guardrails: YesNo = True
    """`guardrailConfig`."""
    service_tiers: tuple[Annotated[ServiceTier, _one_of(ServiceTier)], ...] = ()
    """Values of `serviceTier` beside `default`, which need not be said. Not every region has all of them."""
    optimized_latency: YesNo = False
    """`performanceConfig.latency: optimized`, in some regions."""

    # Turns

    system: YesNo = True
    """`system`. Without it, instructions have to stand at the head of the first user turn."""
    system_turns: YesNo = False
    """The role `system` inside `messages`."""
    opens_with_assistant: YesNo = False
    """Whether the first turn may be the assistant's."""
    prefill: YesNo = False
    """Whether the last turn may be the assistant's, to be continued (never with tools, nor while it reasons)."""

    # Tools

    tools: YesNo = True
    """`toolConfig`."""
    streams_with_tools: YesNo = True
    """ConverseStream with `toolConfig`; without it, such a stream has to be made of a Converse answer."""
    tool_choices: tuple[Annotated[ToolChoice, _one_of(ToolChoice)], ...] = ()
    """What `toolConfig.toolChoice` may say. Left out, it is `auto` for every model that takes tools."""
    tool_choice_none: YesNo = False
    """`additionalModelRequestFields.tool_choice: {"type": "none"}`, instead of `toolConfig.toolChoice`."""
    parallel_tool_switch: YesNo = False
    """`additionalModelRequestFields.tool_choice.disable_parallel_tool_use`."""
    forced_tools_while_reasoning: YesNo = False
    """`any` and `tool` while it reasons, in its own style; beside a budget in tokens they never are."""
    strict_tools: YesNo = False
    """`toolSpec.strict`."""
    schema_gaps: tuple[Annotated[SchemaGap, _one_of(SchemaGap)], ...] = ()
    """What it does not take in a tool's schema: `$defs` (not read), look-around in a `pattern` (refused)."""

    # Tool results

    tool_result_format: Annotated[Literal["text", "json"], Meta(description="`text` or `json`")] = "text"
    """The block that a JSON object goes back in; anything else goes back as text."""
    tool_result_images: YesNo = False
    """Images inside a tool result."""
    tool_result_documents: tuple[Annotated[DocumentFormat, _one_of(DocumentFormat)], ...] = ()
    """Documents inside a tool result, by format."""
    beside_tool_results: tuple[Annotated[BlockKind, _one_of(BlockKind)], ...] = ()
    """What may follow tool results in their turn; anything else needs an assistant's turn in between."""

    # Media

    images: YesNo = False
    """Images in user turns: png, jpeg, gif, webp, as bytes."""
    max_images: Count = 20
    """Of one request; Converse's own limit."""
    documents: tuple[Annotated[DocumentFormat, _one_of(DocumentFormat)], ...] = ()
    """Documents in user turns, by format."""
    video: tuple[Annotated[VideoFormat, _one_of(VideoFormat)], ...] = ()
    """Video in user turns, by format."""
    audio: tuple[Annotated[AudioFormat, _one_of(AudioFormat)], ...] = ()
    """Sound in user turns, by format."""
    s3_sources: tuple[Annotated[MediaKind, _one_of(MediaKind)], ...] = ()
    """What may be an `s3Location` instead of bytes."""

    # Structured output

    json_schema: tuple[Annotated[SchemaWay, _one_of(SchemaWay)], ...] = ()
    """Ways to hold an answer to a JSON schema: `native` (`outputConfig.textFormat`), `tool` (a forced answer tool).

    Where none is to be had, the schema can only be asked for in words."""

    # Reasoning

    reasoning: Annotated[ReasoningStyle, _one_of(ReasoningStyle)] = "none"
    """How it is told to reason.

    none: it does not, as far as is known. always: it does, and has no knob.
    budget: `additionalModelRequestFields.thinking: {"type": "enabled", "budget_tokens": …}`.
    adaptive: `additionalModelRequestFields.thinking: {"type": "adaptive"}`, with an effort.
    effort: an effort alone. nova: an effort, with `"type": "enabled"` beside it."""
    effort_path: Path = ()
    """Where the effort goes."""
    efforts: tuple[Annotated[Effort, _one_of(Effort)], ...] = ()
    """Efforts that do something, lowest first. See `effort_for`."""
    efforts_without_limits: tuple[Annotated[Effort, _one_of(Effort)], ...] = ()
    """Efforts beside which maxTokens, temperature and topP must be left out."""
    reasoning_off: Annotated[ReasoningOff, _one_of(ReasoningOff)] = "omit"
    """How it is kept from reasoning.

    omit: by asking for nothing. disabled, between_tools: by that `thinking.type`. effort_none: by the effort `none`.
    never: not at all."""
    minimum_budget: Tokens | None = None
    """The least `budget_tokens`; None: budgets are refused."""
    ask_for_thinking: YesNo = False
    """Whether what it thinks comes empty unless `thinking.display: summarized` asks for it."""
    reasoning_history: Annotated[ReasoningHistory, _one_of(ReasoningHistory)] = "none"
    """Which `reasoningContent` of earlier turns it takes back; any other must be left out.

    signed: `reasoningText` with its signature, and `redactedContent`. unsigned: `reasoningText` without a signature.
    redacted: `redactedContent` only."""
    reasoning_bound: YesNo = False
    """Whether earlier reasoning is refused once `system`, tools or earlier turns changed, unless
    `thinking.block_binding.prefix_mismatch_behavior: drop_block` has it dropped."""

    # Parameters

    sampling: Annotated[Sampling, _one_of(Sampling)] = "both"
    """`temperature` and `topP`: both at once, one of them at a time, or neither."""
    max_temperature: Temperature = 1.0
    """The highest `temperature`; Converse's own limit is 1."""
    top_k: Path = ()
    """Where `top_k` goes."""
    stop_sequences: Count = 0
    """How many `stopSequences`; 0: the field is refused."""
    blank_stops: YesNo = False
    """Whether a stop sequence may be white space alone."""
    min_max_tokens: Tokens = 1
    """The least `maxTokens`."""
    default_max_tokens: Tokens | None = None
    """What `maxTokens` to send if the client names none, as Bedrock's own default cuts answers short; None: none."""

    # Prompt cache

    cache: tuple[Annotated[CachePlace, _one_of(CachePlace)], ...] = ()
    """Where `cachePoint` blocks may stand."""
    cache_ttls: tuple[Annotated[CacheTtl, _one_of(CacheTtl)], ...] = ()
    """What `cachePoint.ttl` may say; with none, it must be left out (and is five minutes)."""
    cache_points: Count = 4
    """Of one request, where there may be any."""

    def effort_for(self, asked: str) -> Effort | None:
        """The effort to send for OpenAI's `reasoning_effort`: the same, or the next above, or the highest there is.

        None where there is none to send: for an effort nobody knows, `none` included, and without `efforts`.
        """
        if asked not in _EFFORTS or not self.efforts:
            return None
        least = _EFFORTS.index(asked)
        return next((effort for effort in self.efforts if _EFFORTS.index(effort) >= least), self.efforts[-1])

    @property
    def reasons_unasked(self) -> bool:
        """Whether it reasons when the request says nothing of it."""
        return self.reasoning == "always" or self.reasoning_off != "omit"


_EFFORTS = get_args(Effort)

FIELDS = tuple(field for field in msgspec.structs.fields(Capabilities) if field.name != "family")
"""All that a row can say of its family."""


class _Head(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a row says beside capabilities."""

    family: Name
    match: tuple[Pattern, ...] = ()
    """Which foundation ids are of this family. Case counts, and the whole id must fit."""
    like: Name | None = None
    """The family that has all that is not said here; without it, the defaults stand."""
    source: tuple[Note, ...] = ()
    """Where this is known from: keys of the file's `sources`, or addresses."""
    doubt: tuple[Note, ...] = ()
    """What is not sure, and why."""


if TYPE_CHECKING:

    class Row(_Head, frozen=True, forbid_unknown_fields=True, kw_only=True):
        """A row of the table: `_Head`, and any of `FIELDS`, each UNSET unless the row says it."""

else:
    Row = msgspec.defstruct(
        "Row",
        [(field.name, field.type, UNSET) for field in FIELDS],
        bases=(_Head,),
        frozen=True,
        forbid_unknown_fields=True,
        kw_only=True,
        module=__name__,
        namespace={"__doc__": "A row of the table: `_Head`, and any of `FIELDS`, each UNSET unless the row says it."},
    )


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    about: tuple[str, ...]
    date: str
    sources: dict[str, str]
    families: tuple[Row, ...]


class Table:
    """The families, and how a foundation id finds its own. Immutable."""

    def __init__(self, rows: Sequence[Row], overrides: Sequence[Row] = (), where: str = "capabilities") -> None:
        """`where` is what messages call `overrides`. Raises `CapabilityError`."""
        self._rows = tuple(rows)
        merged = {UNKNOWN: Row(family=UNKNOWN)} | _by_name(self._rows, "families")
        for name, row in _by_name(overrides, where).items():
            merged[name] = _over(merged[name], row) if name in merged else row
        _check(overrides, merged, frozenset({UNKNOWN, *(row.family for row in self._rows)}), where)
        self.families: Mapping[str, Capabilities] = {
            name: Capabilities(family=name, **_inherited(name, merged)) for name in merged
        }
        """By name; those that other families are `like`, and that have no model of their own, too."""
        self._patterns = tuple(
            (re.compile(fnmatch.translate(pattern)), row.family)
            for row in (*overrides, *self._rows)
            for pattern in row.match
        )
        self._cached = lru_cache(maxsize=4096)(self._find)

    def of(self, foundation: str | None) -> Capabilities:
        """What the model with this foundation id takes; None is a model that nobody can name."""
        find = self._cached if len(foundation or "") <= LONGEST_REMEMBERED else self._find
        return self.families[UNKNOWN] if foundation is None else find(foundation)

    def with_overrides(self, rows: Sequence[Row], where: str = "capabilities") -> "Table":
        """The built-in rows with an operator's above them, in place of any others; raises `CapabilityError`."""
        return Table(self._rows, rows, where)

    def _find(self, foundation: str) -> Capabilities:
        geography, _, rest = foundation.partition(".")
        name = rest if geography in PREFIXES and "." in rest else foundation
        return self.families[next((family for fits, family in self._patterns if fits.match(name)), UNKNOWN)]


def _by_name(rows: Iterable[Row], where: str) -> dict[str, Row]:
    """The rows by family; raises for one that stands twice."""
    found: dict[str, Row] = {}
    for index, row in enumerate(rows):
        if row.family in found:
            raise CapabilityError(f"{where}[{index}].family: `{row.family}` has a row already; write one row for it")
        found[row.family] = row
    return found


def _over(row: Row, override: Row) -> Row:
    """`row`, changed as `override` says. Its patterns stay its own: where they are looked for knows both."""
    return msgspec.structs.replace(row, like=override.like or row.like, **_said(override))


def _said(row: Row) -> dict[str, Any]:
    """The capabilities that a row names."""
    pairs = ((field.name, getattr(row, field.name)) for field in FIELDS)
    return {name: value for name, value in pairs if value is not UNSET}


def _inherited(name: str, rows: Mapping[str, Row]) -> dict[str, Any]:
    """What a row says, and before it those that it is `like`, which all exist and make no circle."""
    row = rows[name]
    return (_inherited(row.like, rows) if row.like else {}) | _said(row)


def _check(overrides: Sequence[Row], rows: Mapping[str, Row], built_in: frozenset[str], where: str) -> None:
    """Every `like` leads somewhere, and every override to some model; raises `CapabilityError`."""
    places = {row.family: f"{where}[{index}]" for index, row in enumerate(overrides)}
    parents = {row.like for row in rows.values()}
    for name in (*places, *rows):
        row, place = rows[name], places.get(name, f"the family {name}")
        if row.like is not None and row.like not in rows:
            guesses = difflib.get_close_matches(row.like, list(rows), n=1)
            guess = f", did you mean `{guesses[0]}`?" if guesses else ""
            raise CapabilityError(f"{place}.like: there is no family `{row.like}`{guess}")
        if _circles(name, rows):
            raise CapabilityError(f"{place}.like: `{name}` would be like itself")
        if name in places and name not in built_in and not row.match and name not in parents:
            raise CapabilityError(f"{place}.match: missing; say which foundation ids are of the family `{name}`")


def _circles(name: str | None, rows: Mapping[str, Row]) -> bool:
    """Whether following `like` from here comes back to where it was."""
    seen: list[str] = []
    while name is not None and name in rows and name not in seen:
        seen.append(name)
        name = rows[name].like
    return name in seen


_FILE = msgspec.json.decode((files("extproc.bedrock") / "capabilities.json").read_bytes(), type=_File)

ROWS = _FILE.families
"""The built-in rows, as they stand in the file."""

SOURCES: Mapping[str, str] = _FILE.sources
"""What the keys in `Row.source` stand for."""

BUILT_IN = Table(ROWS)
"""The table without any operator's rows."""
