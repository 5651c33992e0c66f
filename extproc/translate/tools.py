"""OpenAI's tools, tool choice and response format -> Bedrock's `toolConfig`, and what has to go out beside it.

Bedrock has no `none`: a request whose model must not call a tool goes out without `toolConfig`, and then its history
may not contain tool blocks either (`translate/messages` writes them as text). The form of the answer may take one more
tool, the answer tool (`translate/structured`): the model answers by calling it, and its input is the client's
`content`.

Bedrock knows one kind of tool. Custom tools, whose input is a text, go out as functions with one argument `input`;
`functions`, from before there were tools, as tools. `ResponseShape` remembers what was what.

Schemas go out byte for byte, but for what a family does not take (`translate/schemas`).
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from msgspec import UNSET, Raw, UnsetType

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.converse import (
    CachePointBlock,
    CachePointContent,
    OutputFormat,
    SpecificToolChoice,
    ToolChoice,
    ToolConfig,
    ToolInputSchema,
    ToolSpec,
    ToolSpecification,
)
from extproc.openai.chat import ChatRequest, Custom, CustomFormatGrammar, CustomTool, Function, FunctionTool
from extproc.openai.errors import invalid
from extproc.openai.messages import CacheControl
from extproc.translate.cache import shortened
from extproc.translate.choices import Choice, Kind, choose
from extproc.translate.grammar import MAX_OBJECTS, Size, grammar, objects
from extproc.translate.ignored import Ignored
from extproc.translate.names import bedrock_name, bedrock_names
from extproc.translate.response_shape import ResponseShape
from extproc.translate.schemas import Growth
from extproc.translate.structured import Form, adapted, form, unless_blank
from extproc.value import Value

_BEDROCK_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_NO_PARAMETERS = Raw(b'{"type":"object","properties":{}}')
_ONE_TEXT = Raw(
    b'{"type":"object","properties":{"input":{"type":"string"}},"required":["input"],"additionalProperties":false}'
)
_STRICT_TOOLS = 20
"""Of one request; Anthropic's limit."""


class Tools(Value, frozen=True):
    """What goes out, and the shape in which the answer is to come back."""

    config: ToolConfig | None = None
    """None where nothing may be called."""
    output: OutputFormat | UnsetType = UNSET
    """The schema of the answer, where the model takes one as such."""
    instruction: str | None = None
    """What the model must be told of its answer's form, where words are all there is."""
    model_fields: Mapping[str, Any] = {}
    """To be merged into `additionalModelRequestFields`."""
    shape: ResponseShape = ResponseShape()
    names: Mapping[str, str] = {}
    """The client's names of its tools, and Bedrock's."""

    def bedrock_name(self, client_name: str) -> str:
        """The name by which Bedrock knows the tool that the client calls so, be it on offer or not."""
        return self.names.get(client_name) or bedrock_name(client_name)


_NOTHING = Tools()


class _Offer(NamedTuple):
    """A tool of the client's, of any kind."""

    name: str
    description: str | None
    schema: Raw
    strict: bool
    cache: CacheControl | None
    cache_path: str
    """The path of what has the cache mark."""
    kind: Kind = "function"
    grammar: bool = False


def plan_tools(request: ChatRequest, capabilities: Capabilities, ignored: Ignored, *, reasoning: bool = False) -> Tools:
    """Return the tools that the model may call; raises a 400 `ApiError`.

    `reasoning`: whether it will reason, since it may then be impossible to force a call.
    """
    if _asks_for_nothing(request):
        return _NOTHING
    growth = Growth()
    offers = _offers(request, capabilities, growth)
    choice = choose(request, {offer.name: offer.kind for offer in offers}, capabilities, reasoning=reasoning)
    sent = [offer for offer in offers if offer.name in choice.names]
    if sent and not capabilities.tools:
        param = "functions" if request.functions else "tools"
        raise invalid(f"A model of the family '{capabilities.family}' takes no tools.", param, "unsupported_parameter")
    names = bedrock_names(offer.name for offer in offers)
    taken = {names[offer.name] for offer in sent}
    wanted = None if choice.forced else request.response_format
    asked = form(wanted, capabilities, taken, growth, reasoning=reasoning)
    strict = _strict(sent, asked.size) if capabilities.strict_tools else frozenset()
    specs = _specs(sent, names, strict, capabilities)
    cut = shortened(spec for spec in specs if isinstance(spec, CachePointContent))
    ignored.add(*asked.ignored, *_ignored(request, capabilities, sent, strict, cut=bool(cut)))
    config = _config([*specs, asked.tool] if asked.tool else specs, asked.choice or _tool_choice(choice, names))
    return Tools(
        config,
        asked.output,
        asked.instruction,
        _model_fields(request, capabilities, config, sent),
        _shape(request, sent, names, asked),
        names,
    )


def bedrock_id(call_id: str) -> str:
    """A tool call's id as Bedrock takes it: 1 to 64 of `[a-zA-Z0-9_.:-]`; others are hashed, always alike."""
    if _BEDROCK_ID.fullmatch(call_id):
        return call_id
    return "call_" + hashlib.sha256(call_id.encode("utf-8", "surrogatepass")).hexdigest()[:40]


# What the client has


def _asks_for_nothing(request: ChatRequest) -> bool:
    """As most requests do."""
    given = (request.tools, request.functions, request.tool_choice, request.function_call, request.response_format)
    return not any(given)


def _offers(request: ChatRequest, capabilities: Capabilities, growth: Growth) -> list[_Offer]:
    if request.tools and request.functions:
        raise invalid("'functions' are what 'tools' were before: send one of them.", "functions", "invalid_value")
    offers = [
        _custom_offer(tool)
        if isinstance(tool, CustomTool)
        else _function_offer(tool, capabilities, growth, f"tools[{index}].function")
        for index, tool in enumerate(request.tools or ())
    ] + [
        _function_offer(FunctionTool(function), capabilities, growth, f"functions[{index}]")
        for index, function in enumerate(request.functions or ())
    ]
    _check_names(offers, request)
    return offers


def _check_names(offers: Sequence[_Offer], request: ChatRequest) -> None:
    names: set[str] = set()
    for index, offer in enumerate(offers):
        if offer.name in names:
            place = f"functions[{index}]" if request.functions else f"tools[{index}].{offer.kind}"
            raise invalid(f"Two tools are named '{offer.name}'.", f"{place}.name", "invalid_value")
        names.add(offer.name)


def _function_offer(tool: FunctionTool, capabilities: Capabilities, growth: Growth, param: str) -> _Offer:
    function: Function = tool.function
    return _Offer(
        function.name,
        function.description,
        adapted(function.parameters, _NO_PARAMETERS, capabilities, growth, f"{param}.parameters"),
        bool(function.strict),
        tool.cache_control or function.cache_control,
        _cache_path(tool, param),
    )


def _cache_path(tool: FunctionTool, param: str) -> str:
    """Return the path of the tool, or of its function, whichever has the cache mark."""
    if tool.cache_control is not None:
        return "tools[]"
    return "functions[]" if param.startswith("functions") else "tools[].function"


def _custom_offer(tool: CustomTool) -> _Offer:
    custom: Custom = tool.custom
    about = [custom.description] if unless_blank(custom.description) else []
    if isinstance(custom.format, CustomFormatGrammar):
        text = custom.format.grammar
        about.append(f"The input must be a text of this grammar ({text.syntax}):\n{text.definition}")
    return _Offer(
        custom.name,
        "\n\n".join(part for part in about if part),
        _ONE_TEXT,
        False,
        tool.cache_control,
        "tools[]",
        kind="custom",
        grammar=isinstance(custom.format, CustomFormatGrammar),
    )


# What goes out


def _specs(
    sent: Sequence[_Offer], names: Mapping[str, str], strict: frozenset[str], capabilities: Capabilities
) -> list[ToolSpec | CachePointContent]:
    """The tools, each with its cache point behind it; of too many points, those that cover most remain."""
    marked = [offer.name for offer in sent if offer.cache] if "tools" in capabilities.cache else []
    points = frozenset(marked[-capabilities.cache_points :] if capabilities.cache_points else ())
    specs: list[ToolSpec | CachePointContent] = []
    for offer in sent:
        body = ToolSpecification(
            names[offer.name],
            ToolInputSchema(offer.schema),
            unless_blank(offer.description),
            True if offer.name in strict else UNSET,
        )
        specs.append(ToolSpec(body))
        if offer.cache is not None and offer.name in points:
            specs.append(CachePointContent(CachePointBlock(ttl=_ttl(offer.cache, capabilities) or UNSET)))
    return specs


def _ttl(cache: CacheControl, capabilities: Capabilities) -> str | None:
    return cache.ttl if cache.ttl in capabilities.cache_ttls else None


def _cut_short(cache: CacheControl, capabilities: Capabilities) -> bool:
    """Five minutes is what there is without a `ttl`."""
    return cache.ttl == "1h" and _ttl(cache, capabilities) is None


def _strict(sent: Sequence[_Offer], size: Size) -> frozenset[str]:
    """Return the strict tools whose schemas are grammars as they are, while `size`, and they, are not too much."""
    found: set[str] = set()
    examined = 0
    for offer in sent:
        if not offer.strict or len(found) == _STRICT_TOOLS:
            continue
        examined += objects(offer.schema)
        written = grammar(offer.schema) if examined <= MAX_OBJECTS else None
        if written is not None and written.unchanged and (size + written.size).fits:
            size += written.size
            found.add(offer.name)
    return frozenset(found)


def _config(specs: Sequence[ToolSpec | CachePointContent], choice: ToolChoice | None) -> ToolConfig | None:
    if not specs:
        return None
    return ToolConfig(specs, UNSET if choice is None else choice)


def _tool_choice(choice: Choice, names: Mapping[str, str]) -> ToolChoice | None:
    if choice.named is not None:
        return ToolChoice(tool=SpecificToolChoice(names[choice.named]))
    return ToolChoice(any={}) if choice.forced else None


def _model_fields(
    request: ChatRequest, capabilities: Capabilities, config: ToolConfig | None, sent: Sequence[_Offer]
) -> dict[str, Any]:
    """One call at a time, where the client wants that, or has no way to read more of them.

    `type` must not stand beside `toolConfig.toolChoice` (litellm's converse_transformation.py).
    """
    one = request.parallel_tool_calls is False or bool(request.functions)
    if config is None or not sent or not one or not capabilities.parallel_tool_switch:
        return {}
    kind = {"type": "auto"} if config.tool_choice is UNSET else {}
    return {"tool_choice": {**kind, "disable_parallel_tool_use": True}}


def _shape(request: ChatRequest, sent: Sequence[_Offer], names: Mapping[str, str], asked: Form) -> ResponseShape:
    return ResponseShape(
        answer_tool=asked.tool.tool_spec.name if asked.tool else None,
        names={names[offer.name]: offer.name for offer in sent if names[offer.name] != offer.name},
        custom=frozenset(offer.name for offer in sent if offer.kind == "custom"),
        legacy=bool(request.functions),
    )


def _ignored(
    request: ChatRequest, capabilities: Capabilities, sent: Sequence[_Offer], strict: frozenset[str], *, cut: bool
) -> list[str]:
    """Return the fields of the tools that change nothing. `cut`: whether a cache point lives shorter than requested."""
    functions = "functions[]" if request.functions else "tools[].function"
    apart = request.parallel_tool_calls is False
    given = request.functions or [tool.function for tool in request.tools or () if isinstance(tool, FunctionTool)]
    ignored = {
        f"{functions}.type": any(function.type for function in given),
        f"{functions}.strict": any(offer.strict and offer.name not in strict for offer in sent),
        "tools[].custom.format": any(offer.grammar for offer in sent),
        "parallel_tool_calls": apart and bool(sent) and not capabilities.parallel_tool_switch,
    }
    return [*(path for path, stands in ignored.items() if stands), *_ignored_marks(capabilities, sent, cut=cut)]


def _ignored_marks(capabilities: Capabilities, sent: Sequence[_Offer], *, cut: bool) -> list[str]:
    marked = [offer for offer in sent if offer.cache]
    if "tools" not in capabilities.cache:
        return [f"{offer.cache_path}.cache_control" for offer in marked]
    lost = marked[: max(0, len(marked) - capabilities.cache_points)]
    shorter = [offer for offer in marked if cut or (offer.cache and _cut_short(offer.cache, capabilities))]
    return [
        *(f"{offer.cache_path}.cache_control" for offer in lost),
        *(f"{offer.cache_path}.cache_control.ttl" for offer in shorter),
    ]
