"""OpenAI's tools, tool choice and response format -> Bedrock's `toolConfig`, and the members that belong to it.

Bedrock has no `none`: a request whose model must not call a tool goes out without `toolConfig`, and then its history
may not contain tool blocks either (`translate/messages` writes them as text). A response format may need one more tool,
the answer tool (`translate/structured`): the model calls it, and its input is the client's `content`.

Bedrock has one kind of tool. Custom tools, whose input is a text, are sent as functions with one argument `input`, and
legacy `functions` as tools. `ResponseShape` has the client's own form of each.

Schemas are sent byte for byte, except for keywords that a family does not accept (`translate/schemas`).
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
from extproc.translate.fitting import Fitted, fit, tool_limits
from extproc.translate.grammar import MAX_OBJECTS, Size, grammar, objects
from extproc.translate.ignored import Ignored
from extproc.translate.names import CONVERSE, bedrock_name, bedrock_names
from extproc.translate.renaming import renamed_json
from extproc.translate.response_shape import ResponseShape
from extproc.translate.schemas import Growth
from extproc.translate.structured import MessageForm, form, loosened, unless_blank, with_note
from extproc.value import Value

_BEDROCK_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_NO_PARAMETERS = Raw(b'{"type":"object","properties":{}}')
_ONE_TEXT = Fitted(Raw(b'{"type":"object","properties":{"input":{"type":"string"}},"required":["input"]}'))
_STRICT_TOOLS = 20
"""Most strict tools of one request; Anthropic's limit."""


class Tools(Value, frozen=True):
    """The members of a request that concern tools, and the shape of the response."""

    config: ToolConfig | None = None
    """None if no tool may be called."""
    output: OutputFormat | UnsetType = UNSET
    """The schema of the message, if the model accepts one as such."""
    instruction: str | None = None
    """The instruction with the schema, if the family has no other way."""
    model_fields: Mapping[str, Any] = {}
    """Members of `additionalModelRequestFields`."""
    shape: ResponseShape = ResponseShape()
    names: Mapping[str, str] = {}
    """Bedrock's names of the tools by the client's."""
    name_pattern: str = CONVERSE
    """The names that the model takes."""
    properties: Mapping[str, Mapping[str, str]] = {}
    """Bedrock's names of properties by the client's, by the client's name of the tool, only where any differ."""

    def bedrock_name(self, client_name: str) -> str:
        """Return Bedrock's name of the client's tool, which this request may lack."""
        return self.names.get(client_name) or bedrock_name(client_name, self.name_pattern)

    def renamed(self, client_name: str, arguments: Raw) -> Raw:
        """Return the arguments of an earlier call with Bedrock's names of properties."""
        names = self.properties.get(client_name)
        return Raw(renamed_json(bytes(arguments), names)) if names else arguments


_NOTHING = Tools()


class _ClientTool(NamedTuple):
    """A tool of the client's, of any kind."""

    name: str
    description: str | None
    fitted: Fitted
    strict: bool
    cache: CacheControl | None
    cache_path: str
    """The path of the field that has the cache mark."""
    kind: Kind = "function"
    grammar: bool = False


def plan_tools(request: ChatRequest, capabilities: Capabilities, ignored: Ignored, *, reasoning: bool = False) -> Tools:
    """Return the tools that the model may call; raises a 400 `ApiError`.

    `reasoning`: whether it will reason, since it may then be impossible to force a call.
    """
    if _has_no_tools(request):
        return _NOTHING
    growth = Growth()
    client_tools = _client_tools(request, capabilities, growth)
    choice = choose(request, {tool.name: tool.kind for tool in client_tools}, capabilities, reasoning=reasoning)
    sent = [tool for tool in client_tools if tool.name in choice.names]
    if sent and not capabilities.tools:
        param = "functions" if request.functions else "tools"
        raise invalid(f"A model of the family '{capabilities.family}' takes no tools.", param, "unsupported_parameter")
    names = bedrock_names((tool.name for tool in client_tools), capabilities.tool_names)
    taken = {names[tool.name] for tool in sent}
    response_format = None if choice.forced else request.response_format
    response_form = form(response_format, capabilities, taken, growth, reasoning=reasoning)
    strict = _strict(sent, response_form.size) if capabilities.strict_tools else frozenset()
    specs = _specs(sent, names, strict, capabilities)
    cut = shortened(spec for spec in specs if isinstance(spec, CachePointContent))
    ignored.add(*response_form.ignored, *_ignored(request, capabilities, sent, strict, cut=bool(cut)))
    all_specs = [*specs, response_form.tool] if response_form.tool else specs
    config = _config(all_specs, response_form.choice or _tool_choice(choice, names))
    return Tools(
        config,
        response_form.output,
        response_form.instruction,
        _model_fields(request, capabilities, config, sent),
        _shape(request, sent, names, response_form),
        names,
        capabilities.tool_names,
        {tool.name: tool.fitted.names for tool in client_tools if tool.fitted.names},
    )


def bedrock_id(call_id: str) -> str:
    """Return a tool call's id if Bedrock accepts it, 1 to 64 of `[a-zA-Z0-9_.:-]`, or else one made of its hash."""
    if _BEDROCK_ID.fullmatch(call_id):
        return call_id
    return "call_" + hashlib.sha256(call_id.encode("utf-8", "surrogatepass")).hexdigest()[:40]


# The client's tools


def _has_no_tools(request: ChatRequest) -> bool:
    """Return whether the request has no field that concerns tools, which most have not."""
    fields = (request.tools, request.functions, request.tool_choice, request.function_call, request.response_format)
    return not any(fields)


def _client_tools(request: ChatRequest, capabilities: Capabilities, growth: Growth) -> list[_ClientTool]:
    if request.tools and request.functions:
        raise invalid("'functions' is the older form of 'tools': send one of them.", "functions", "invalid_value")
    client_tools = [
        _from_custom(tool)
        if isinstance(tool, CustomTool)
        else _from_function(tool, capabilities, growth, f"tools[{index}].function")
        for index, tool in enumerate(request.tools or ())
    ] + [
        _from_function(FunctionTool(function), capabilities, growth, f"functions[{index}]")
        for index, function in enumerate(request.functions or ())
    ]
    _check_names(client_tools, request)
    return client_tools


def _check_names(client_tools: Sequence[_ClientTool], request: ChatRequest) -> None:
    names: set[str] = set()
    for index, tool in enumerate(client_tools):
        if tool.name in names:
            place = f"functions[{index}]" if request.functions else f"tools[{index}].{tool.kind}"
            raise invalid(f"Two tools are named '{tool.name}'.", f"{place}.name", "invalid_value")
        names.add(tool.name)


def _from_function(tool: FunctionTool, capabilities: Capabilities, growth: Growth, param: str) -> _ClientTool:
    function: Function = tool.function
    return _ClientTool(
        function.name,
        function.description,
        fit(function.parameters, _NO_PARAMETERS, tool_limits(capabilities), growth, f"{param}.parameters"),
        bool(function.strict),
        tool.cache_control or function.cache_control,
        _cache_path(tool, param),
    )


def _cache_path(tool: FunctionTool, param: str) -> str:
    """Return the path of the tool, or of its function, whichever has the cache mark."""
    if tool.cache_control is not None:
        return "tools[]"
    return "functions[]" if param.startswith("functions") else "tools[].function"


def _from_custom(tool: CustomTool) -> _ClientTool:
    custom: Custom = tool.custom
    about = [custom.description] if unless_blank(custom.description) else []
    if isinstance(custom.format, CustomFormatGrammar):
        text = custom.format.grammar
        about.append(f"The input must be a text of this grammar ({text.syntax}):\n{text.definition}")
    return _ClientTool(
        custom.name,
        "\n\n".join(part for part in about if part),
        _ONE_TEXT,
        False,
        tool.cache_control,
        "tools[]",
        kind="custom",
        grammar=isinstance(custom.format, CustomFormatGrammar),
    )


# Bedrock's tools


def _specs(
    sent: Sequence[_ClientTool], names: Mapping[str, str], strict: frozenset[str], capabilities: Capabilities
) -> list[ToolSpec | CachePointContent]:
    """Return the tools, each followed by its cache point; of too many points, the last, which cover most, remain."""
    marked = [tool.name for tool in sent if tool.cache] if "tools" in capabilities.cache else []
    points = frozenset(marked[-capabilities.cache_points :] if capabilities.cache_points else ())
    specs: list[ToolSpec | CachePointContent] = []
    for tool in sent:
        body = ToolSpecification(
            names[tool.name],
            ToolInputSchema(tool.fitted.schema),
            with_note(tool.description, tool.fitted),
            True if tool.name in strict else UNSET,
        )
        specs.append(ToolSpec(body))
        if tool.cache is not None and tool.name in points:
            specs.append(CachePointContent(CachePointBlock(ttl=_ttl(tool.cache, capabilities) or UNSET)))
    return specs


def _ttl(cache: CacheControl, capabilities: Capabilities) -> str | None:
    return cache.ttl if cache.ttl in capabilities.cache_ttls else None


def _cut_short(cache: CacheControl, capabilities: Capabilities) -> bool:
    """Return whether an hour is requested that the family does not have; five minutes are the default."""
    return cache.ttl == "1h" and _ttl(cache, capabilities) is None


def _strict(sent: Sequence[_ClientTool], size: Size) -> frozenset[str]:
    """Return the strict tools whose schemas are grammars as they are, as far as the limits of all grammars allow."""
    accepted: set[str] = set()
    examined = 0
    for tool in sent:
        if not tool.strict or len(accepted) == _STRICT_TOOLS:
            continue
        examined += objects(tool.fitted.schema)
        written = grammar(tool.fitted.schema) if examined <= MAX_OBJECTS else None
        if written is not None and written.unchanged and (size + written.size).fits:
            size += written.size
            accepted.add(tool.name)
    return frozenset(accepted)


def _config(specs: Sequence[ToolSpec | CachePointContent], choice: ToolChoice | None) -> ToolConfig | None:
    if not specs:
        return None
    return ToolConfig(specs, UNSET if choice is None else choice)


def _tool_choice(choice: Choice, names: Mapping[str, str]) -> ToolChoice | None:
    if choice.named is not None:
        return ToolChoice(tool=SpecificToolChoice(names[choice.named]))
    return ToolChoice(any={}) if choice.forced else None


def _model_fields(
    request: ChatRequest, capabilities: Capabilities, config: ToolConfig | None, sent: Sequence[_ClientTool]
) -> dict[str, Any]:
    """Return the fields that limit the model to one call at a time, if the client requests that or has `functions`.

    `type` must not be present beside `toolConfig.toolChoice` (litellm's converse_transformation.py).
    """
    single = request.parallel_tool_calls is False or bool(request.functions)
    if config is None or not sent or not single or not capabilities.parallel_tool_switch:
        return {}
    kind = {"type": "auto"} if config.tool_choice is UNSET else {}
    return {"tool_choice": {**kind, "disable_parallel_tool_use": True}}


def _shape(
    request: ChatRequest, sent: Sequence[_ClientTool], names: Mapping[str, str], response_form: MessageForm
) -> ResponseShape:
    properties = {names[tool.name]: tool.fitted.names for tool in sent if tool.fitted.names}
    if response_form.tool and response_form.names:
        properties[response_form.tool.tool_spec.name] = response_form.names
    return ResponseShape(
        answer_tool=response_form.tool.tool_spec.name if response_form.tool else None,
        properties={name: {there: here for here, there in pairs.items()} for name, pairs in properties.items()},
        names={names[tool.name]: tool.name for tool in sent if names[tool.name] != tool.name},
        custom=frozenset(tool.name for tool in sent if tool.kind == "custom"),
        legacy=bool(request.functions),
    )


def _ignored(
    request: ChatRequest, capabilities: Capabilities, sent: Sequence[_ClientTool], strict: frozenset[str], *, cut: bool
) -> list[str]:
    """Return the fields of the tools that change nothing. `cut`: whether a cache point lives shorter than requested."""
    functions = "functions[]" if request.functions else "tools[].function"
    sequential = request.parallel_tool_calls is False
    declared = request.functions or [tool.function for tool in request.tools or () if isinstance(tool, FunctionTool)]
    ignored = {
        f"{functions}.type": any(function.type for function in declared),
        f"{functions}.strict": any(tool.strict and tool.name not in strict for tool in sent),
        "tools[].custom.format": any(tool.grammar for tool in sent),
        "parallel_tool_calls": sequential and bool(sent) and not capabilities.parallel_tool_switch,
    }
    parts = [path for tool in sent for path in loosened(f"{functions}.parameters", tool.fitted)]
    named = [path for path, present in ignored.items() if present]
    return [*named, *parts, *_ignored_marks(capabilities, sent, cut=cut)]


def _ignored_marks(capabilities: Capabilities, sent: Sequence[_ClientTool], *, cut: bool) -> list[str]:
    marked = [tool for tool in sent if tool.cache]
    if "tools" not in capabilities.cache:
        return [f"{tool.cache_path}.cache_control" for tool in marked]
    lost = marked[: max(0, len(marked) - capabilities.cache_points)]
    shorter = [tool for tool in marked if cut or (tool.cache and _cut_short(tool.cache, capabilities))]
    return [
        *(f"{tool.cache_path}.cache_control" for tool in lost),
        *(f"{tool.cache_path}.cache_control.ttl" for tool in shorter),
    ]
