"""The features of a family of models in Converse, and their values.

`capability_table` has the families and their rows.
"""

from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta, Struct

UNKNOWN = "unknown"
"""The family of a model that no row names."""


# The values of a row. The description of a type is the error message for any other value.

ToolChoice = Literal["auto", "any", "tool"]
BlockKind = Literal["text", "image", "document", "video"]
MediaKind = Literal["image", "document", "video"]
DocumentFormat = Literal["pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"]
VideoFormat = Literal["mkv", "mov", "mp4", "webm", "flv", "mpeg", "mpg", "wmv", "three_gp"]
AudioFormat = Literal[
    "mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "mka", "x-aac", "m4a", "mpeg", "mpga", "pcm", "webm"
]
SchemaGap = Literal["definitions", "lookaround", "root_combinators"]
SchemaWay = Literal["native", "tool"]
ReasoningStyle = Literal["none", "always", "budget", "adaptive", "effort", "nova"]
ReasoningOff = Literal["omit", "disabled", "between_tools", "effort_none", "never"]
InlineReasoning = Literal["none", "thinking", "think", "reasoning"]
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
SystemToolName = Annotated[
    str,
    Meta(
        pattern=r"\A[a-zA-Z0-9_-]{1,64}\Z", description="the name of a system tool (1 to 64 letters, digits, `_`, `-`)"
    ),
]
Geography = Annotated[
    str, Meta(pattern=r"\A[a-z-]{1,16}\Z", description="a geography of inference profiles, as in `us`")
]
Step = Annotated[
    str, Meta(pattern=r"\A[A-Za-z_]{1,64}\Z", description="a key of the Converse request, as in `outputConfig`")
]
NamePattern = Annotated[
    str,
    Meta(
        pattern=r"\A\[a-zA-Z0-9_\.?-?\]\{1,(1[6-9]|[2-5][0-9]|6[0-4])\}\Z",
        description="a pattern of names, as in `[a-zA-Z0-9_.-]{1,64}` (`.` and `-` may be missing; 16 to 64 letters)",
    ),
]
Keyword = Annotated[
    str, Meta(pattern=r"\A[$A-Za-z]{1,64}\Z", description="a keyword of JSON Schema, as in `properties`")
]
Note = Annotated[str, Meta(min_length=1, description="a sentence or an address")]
Path = tuple[Step, ...]
"""A path in a Converse request: the keys from its root. Empty: the feature is not supported."""


class Capabilities(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The features of one family. The defaults are those of the family `unknown`.

    A `tuple` holds the supported values, best first where there is a choice; an empty one means none.
    """

    family: Name = UNKNOWN

    # Operations

    converse: YesNo = True
    """Converse; some OpenAI models are served by their own API only."""
    streams: YesNo = True
    """ConverseStream."""
    guardrails: YesNo = True
    """`guardrailConfig`."""
    service_tiers: tuple[Annotated[ServiceTier, _one_of(ServiceTier)], ...] = ()
    """Values of `serviceTier` beside `default`. Not every region has all of them."""
    optimized_latency: YesNo = False
    """`performanceConfig.latency: optimized`, in some regions."""

    # Turns

    system: YesNo = True
    """`system`. Without it, instructions go to the head of the first user turn."""
    system_turns: YesNo = False
    """The role `system` inside `messages`, after a user's turn. Without it, later instructions go into the user's turn,
    inside a mark."""
    opens_with_assistant: YesNo = False
    """An assistant's turn as the first."""
    prefill: YesNo = False
    """An assistant's turn as the last, which the model continues (never with tools or reasoning)."""

    # Tools

    tools: YesNo = True
    """`toolConfig`."""
    streams_with_tools: YesNo = True
    """ConverseStream with `toolConfig`; without it, such a stream is made of a Converse response."""
    tool_choices: tuple[Annotated[ToolChoice, _one_of(ToolChoice)], ...] = ()
    """Members of `toolConfig.toolChoice`. Left out, it is `auto` for every model with tools."""
    tool_choice_none: YesNo = False
    """`additionalModelRequestFields.tool_choice: {"type": "none"}`, instead of `toolConfig.toolChoice`."""
    parallel_tool_switch: YesNo = False
    """`additionalModelRequestFields.tool_choice.disable_parallel_tool_use`."""
    forced_tools_while_reasoning: YesNo = False
    """`any` and `tool` with reasoning in the family's own style; with a budget in tokens they are never supported."""
    text_beside_tool_calls: YesNo = True
    """Text in an assistant's turn with tool calls; without it, the text goes into a turn before."""
    strict_tools: YesNo = False
    """`toolSpec.strict`."""
    tool_names: NamePattern = "[a-zA-Z0-9_-]{1,64}"
    """The names of tools that it can call; the default are Converse's."""
    property_names: NamePattern | None = None
    """The names of properties at the root of a tool's schema; None: any."""
    schema_gaps: tuple[Annotated[SchemaGap, _one_of(SchemaGap)], ...] = ()
    """Unsupported parts of a tool's schema.

    definitions: `$defs` and references to them. lookaround: look-around in a `pattern`. root_combinators: `anyOf`,
    `oneOf` and `allOf` at the root."""
    schema_root_keys: tuple[Keyword, ...] = ()
    """The only keywords at the root of a tool's schema; none: any."""

    web_search: SystemToolName | None = None
    """The system tool that searches the web; without one, `web_search_options` is rejected."""
    web_search_geographies: tuple[Geography, ...] = ()
    """Geographies of the profiles with which it searches."""

    # Tool results

    tool_result_format: Annotated[Literal["text", "json"], Meta(description="`text` or `json`")] = "text"
    """The kind of block for a result that is a JSON object; any other result is text."""
    tool_result_status: YesNo = False
    """`status` of a tool result; without it, a failed call looks like any other."""
    tool_result_images: YesNo = False
    """Images inside a tool result."""
    tool_result_documents: tuple[Annotated[DocumentFormat, _one_of(DocumentFormat)], ...] = ()
    """Documents inside a tool result, by format."""
    beside_tool_results: tuple[Annotated[BlockKind, _one_of(BlockKind)], ...] = ()
    """Blocks that may follow tool results in their turn; others need an assistant's turn in between."""

    # Media

    images: YesNo = False
    """Images in user turns: png, jpeg, gif, webp, as bytes."""
    max_images: Count = 20
    """Images of one request; the default is Converse's own limit."""
    documents: tuple[Annotated[DocumentFormat, _one_of(DocumentFormat)], ...] = ()
    """Documents in user turns, by format."""
    cited_documents: tuple[Annotated[DocumentFormat, _one_of(DocumentFormat)], ...] = ()
    """Documents in user turns whose pages it sees only with `citations: {"enabled": true}`; else it gets the text."""
    video: tuple[Annotated[VideoFormat, _one_of(VideoFormat)], ...] = ()
    """Video in user turns, by format."""
    audio: tuple[Annotated[AudioFormat, _one_of(AudioFormat)], ...] = ()
    """Audio in user turns, by format."""
    s3_sources: tuple[Annotated[MediaKind, _one_of(MediaKind)], ...] = ()
    """Media that may have an `s3Location` instead of bytes."""

    # Structured output

    json_schema: tuple[Annotated[SchemaWay, _one_of(SchemaWay)], ...] = ()
    """Ways to enforce a JSON schema: `native` (`outputConfig.textFormat`), `tool` (a forced tool call).

    Without any, the schema is an instruction in the prompt."""

    # Reasoning

    reasoning: Annotated[ReasoningStyle, _one_of(ReasoningStyle)] = "none"
    """The style of its reasoning parameters.

    none: it does not reason, as far as is known. always: it reasons, without a parameter.
    budget: `additionalModelRequestFields.thinking: {"type": "enabled", "budget_tokens": …}`.
    adaptive: `additionalModelRequestFields.thinking: {"type": "adaptive"}`, with an effort.
    effort: an effort alone. nova: an effort, with `"type": "enabled"` beside it."""
    effort_path: Path = ()
    """The path of the effort."""
    efforts: tuple[Annotated[Effort, _one_of(Effort)], ...] = ()
    """Efforts with an effect, lowest first. See `effort_for`."""
    efforts_without_limits: tuple[Annotated[Effort, _one_of(Effort)], ...] = ()
    """Efforts with which maxTokens, temperature and topP must be left out."""
    reasoning_off: Annotated[ReasoningOff, _one_of(ReasoningOff)] = "omit"
    """The way to turn reasoning off.

    omit: no parameter. disabled, between_tools: that `thinking.type`. effort_none: the effort `none`. never: it cannot
    be turned off."""
    minimum_budget: Tokens | None = None
    """The least `budget_tokens`; None: budgets are rejected."""
    ask_for_thinking: YesNo = False
    """Its reasoning is empty unless the request has `thinking.display: summarized`."""
    inline_reasoning: Annotated[InlineReasoning, _one_of(InlineReasoning)] = "none"
    """The tag in which it writes reasoning at the beginning of a text, unasked: `thinking` for `<thinking>…`."""
    reasoning_tokens: YesNo = False
    """Its own response counts the tokens of its reasoning, at `/usage/output_tokens_details`."""
    reasoning_history: Annotated[ReasoningHistory, _one_of(ReasoningHistory)] = "none"
    """The `reasoningContent` of earlier turns that it takes; any other must be left out.

    signed: `reasoningText` with its signature, and `redactedContent`. unsigned: `reasoningText` without a signature.
    redacted: `redactedContent` only."""
    reasoning_bound: YesNo = False
    """Earlier reasoning is rejected once `system`, tools or earlier turns have changed, unless
    `thinking.block_binding.prefix_mismatch_behavior: drop_block` drops it."""

    # Parameters

    sampling: Annotated[Sampling, _one_of(Sampling)] = "both"
    """`temperature` and `topP`: both at once, one of them at a time, or neither."""
    max_temperature: Temperature = 1.0
    """The highest `temperature`; Converse's own limit is 1."""
    top_k: Path = ()
    """The path of `top_k`."""
    stop_sequences: Count = 0
    """The greatest number of `stopSequences`; 0: the field is rejected."""
    blank_stops: YesNo = False
    """Stop sequences of white space only."""
    min_max_tokens: Tokens = 1
    """The least `maxTokens`."""
    default_max_tokens: Tokens | None = None
    """The `maxTokens` for a request without one, where Bedrock's own default cuts messages short; None: none."""

    # Prompt cache

    cache: tuple[Annotated[CachePlace, _one_of(CachePlace)], ...] = ()
    """The places for `cachePoint` blocks."""
    cache_ttls: tuple[Annotated[CacheTtl, _one_of(CacheTtl)], ...] = ()
    """Values of `cachePoint.ttl`; without any, it must be left out (and is five minutes)."""
    cache_points: Count = 4
    """The greatest number of cache points of one request."""

    implicit_caching: YesNo = False
    """Cache points without the client's marks: behind `system`, and behind the last turn. An organisation may set it
    for all families (`caching`)."""

    def effort_for(self, reasoning_effort: str) -> Effort | None:
        """Return the effort to send for OpenAI's `reasoning_effort`: the same, the next above, or else the highest.

        Returns None for an unknown effort, `none` included, and without `efforts`.
        """
        if reasoning_effort not in _EFFORTS or not self.efforts:
            return None
        least = _EFFORTS.index(reasoning_effort)
        return next((effort for effort in self.efforts if _EFFORTS.index(effort) >= least), self.efforts[-1])

    @property
    def reasons_unasked(self) -> bool:
        """Return whether it reasons if the request has no parameter for it."""
        return self.reasoning == "always" or self.reasoning_off != "omit"


_EFFORTS = get_args(Effort)

FIELDS = tuple(field for field in msgspec.structs.fields(Capabilities) if field.name != "family")
"""The features that a row may set."""
