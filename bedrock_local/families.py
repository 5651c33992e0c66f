"""The features of each family of models, as flags that the rules read; no rule reads a name.

The facts are in `families.json`, one row a family; a row that is `like` another contains only the differences. They are
this emulator's own, written from the same sources as the gateway's table but in terms of what the service rejects, so
that neither hides the other's mistake (a test compares the two). Where the sources disagree the narrower reading
applies: what may be rejected is rejected.

A key that is no field of `Family` is an error at start. `*` stands for all formats that Converse has.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from bedrock_local.shapes import service

#: Fields that may contain `*`, and the shape of the service model whose values it stands for.
_ALL_OF = {
    "documents": "DocumentFormat",
    "result_documents": "DocumentFormat",
    "video": "VideoFormat",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The flags of one family. A tuple lists what is accepted; an empty one accepts nothing.

    The defaults describe an unknown model.
    """

    name: str

    #: Whether Converse serves it, and whether guardrails, service tiers (beside `default`) and optimised latency work.
    converse: bool = True
    guardrails: bool = True
    tiers: tuple[str, ...] = ()
    optimised: bool = False

    #: `system`; the role `system` in messages; an assistant's turn as the first; one as the last, to be continued.
    system: bool = True
    system_turns: bool = False
    assistant_first: bool = False
    prefill: bool = False

    #: `toolConfig`, with streams too, the members of its `toolChoice`, and those of them beside reasoning.
    tools: bool = True
    streamed_tools: bool = True
    tool_choice: tuple[str, ...] = ()
    forced_reasoning: bool = False
    #: Values of `additionalModelRequestFields.tool_choice`: `none` (as its type), `single` (no parallel calls).
    own_tool_choice: tuple[str, ...] = ()
    #: Text beside tool calls in an assistant's turn.
    text_beside_calls: bool = True
    #: The names of tools that it can call, and those of properties at the root of a tool's schema (empty: any).
    tool_names: str = "^[a-zA-Z0-9_-]{1,64}$"
    property_names: str = ""
    #: `toolSpec.strict`, what a tool's schema may not contain (`definitions`, `lookaround`, `root_combinators`), and
    #: the only keys that its root may have (empty: any).
    strict: bool = False
    schema_gaps: tuple[str, ...] = ()
    root_keys: tuple[str, ...] = ()
    #: Tools that AWS itself executes, by name.
    system_tools: tuple[str, ...] = ()

    #: Tool results: JSON objects only as `json`, their `status`, the media in them, the blocks beside them.
    json_results: bool = False
    result_status: bool = False
    result_images: bool = False
    result_documents: tuple[str, ...] = ()
    beside_results: tuple[str, ...] = ()

    #: Media in a user's turn: formats, and the kinds that may be in S3.
    images: bool = False
    documents: tuple[str, ...] = ()
    #: Formats of documents that may be cited (`citations.enabled`).
    cited: tuple[str, ...] = ()
    video: tuple[str, ...] = ()
    audio: tuple[str, ...] = ()
    s3: tuple[str, ...] = ()

    #: `outputConfig.textFormat`.
    structured: bool = False

    #: When it reasons: `never`, `asked` (on request), `unasked` (unless the request disables it).
    reasons: str = "never"
    #: The types that `additionalModelRequestFields.thinking` may have.
    thinking: tuple[str, ...] = ()
    #: The path of the effort, its values, and those beside which maxTokens, temperature and topP are rejected.
    effort_at: tuple[str, ...] = ()
    efforts: tuple[str, ...] = ()
    unlimited_efforts: tuple[str, ...] = ()
    #: Whether its own response has `usage.output_tokens_details.thinking_tokens`.
    counts_thoughts: bool = False
    #: Whether CountTokens takes its models.
    counts_tokens: bool = False
    #: Whether its reasoning is empty unless `thinking.display` is `summarized`.
    hides_thoughts: bool = False
    #: The reasoning that it accepts in the history: `none`, `signed`, `unsigned`, `redacted`; and whether that is bound
    #: to the conversation before it.
    history: str = "none"
    bound: bool = False

    #: `both` temperature and topP, `one` of them, or `none`; the path of top_k; the number of stop sequences.
    sampling: str = "both"
    top_k: tuple[str, ...] = ()
    stops: int = 0
    #: The least maxTokens, and its default (None: the model's limit).
    least_tokens: int = 1
    default_tokens: int | None = None

    #: The places of cache points (`system`, `messages`, `tools`), and their `ttl`s.
    cache: tuple[str, ...] = ()
    cache_ttls: tuple[str, ...] = ()

    #: Further keys of additionalModelRequestFields.
    fields: tuple[str, ...] = ()

    @property
    def extra(self) -> frozenset[str]:
        """Return all keys that additionalModelRequestFields may have."""
        keys = set(self.fields)
        for path in (self.top_k, self.effort_at):
            keys.update(path[1:2] if path[:1] == ("additionalModelRequestFields",) else ())
        keys.update(("thinking",) if self.thinking else ())
        keys.update(("output_config",) if self.effort_at == ("outputConfig", "effort") else ())
        keys.update(("tool_choice",) if self.own_tool_choice else ())
        return frozenset(keys)


def load() -> dict[str, Family]:
    """Read `families.json`; return the families by name."""
    rows = json.loads(resources.files("bedrock_local").joinpath("families.json").read_text("utf-8"))
    return {name: Family(name=name, **_fields(name, rows)) for name in rows}


def _fields(name: str, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    row = dict(rows[name])
    parent = row.pop("like", None)
    inherited = _fields(parent, rows) if parent else {}
    return {**inherited, **{key: _value(key, value) for key, value in row.items()}}


def _value(key: str, value: Any) -> Any:
    if value == "*":
        return tuple(service("bedrock-runtime").shape_for(_ALL_OF[key]).metadata["enum"])
    return tuple(value) if isinstance(value, list) else value
