"""OpenAI's tools, tool choice and JSON schemas -> Bedrock's `toolConfig`.

Bedrock has no `none`: a request whose model must not call a tool goes out without `toolConfig`, and then its history
may not contain tool blocks either (`translate/messages` writes them as text). A JSON schema as `response_format`
becomes one more tool, the answer tool: the model answers by calling it, and its input is the client's `content`.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec import UNSET, Raw, UnsetType

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.converse import InputSchema, TextFormat, ToolChoice, ToolConfig, ToolName, ToolSpec, ToolSpecBody
from extproc.openai.chat import (
    ChatRequest,
    Function,
    FunctionChoice,
    FunctionTool,
    JsonSchemaFormat,
)
from extproc.openai.errors import invalid
from extproc.translate.schemas import object_schema
from extproc.translate.shape import Shape

_BEDROCK_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_NO_PARAMETERS = Raw(b'{"type":"object","properties":{}}')
_ANY_OBJECT = Raw(b'{"type":"object"}')
_ANSWER = "Give the answer by calling this tool: its input is the answer."


@dataclass(frozen=True, slots=True)
class Tools:
    """What goes out, and the shape in which the answer is to come back."""

    config: ToolConfig | None = None
    """None where nothing may be called."""
    output: TextFormat | UnsetType = UNSET
    """The schema of the answer, where the model takes one as such."""
    instruction: str | None = None
    """What the model must be told of its answer's form, where words are all there is."""
    model_fields: Mapping[str, Any] = field(default_factory=dict)
    """To be merged into `additionalModelRequestFields`."""
    shape: Shape = Shape()
    ignored: tuple[str, ...] = ()
    """What was asked for and changes nothing, as `x-oai-ignored-params` names it."""

    def bedrock_name(self, client_name: str) -> str:
        """The name by which Bedrock knows the tool that the client calls so."""
        return client_name


def tools(request: ChatRequest, capabilities: Capabilities, *, reasoning: bool = False) -> Tools:
    """The tools that the model may call in answer to `request`; raises a 400 `ApiError`.

    `reasoning`: whether it will reason, since it may then be impossible to force a call.
    """
    functions = _functions(request)
    choice = _choice(request, functions)
    schema = request.response_format if isinstance(request.response_format, JsonSchemaFormat) else None
    offered = [] if request.tool_choice == "none" else [_spec(f, i) for i, f in enumerate(functions)]
    if schema is None or (choice is not None and offered):
        return Tools(_config(offered, choice))
    answer = _answer_tool(schema, {function.name for function in functions})
    name = answer.tool_spec.name
    forced = ToolChoice(any={}) if offered else ToolChoice(tool=ToolName(name))
    return Tools(_config([*offered, answer], forced), shape=Shape(answer_tool=name))


def bedrock_id(call_id: str) -> str:
    """A tool call's id as Bedrock takes it: 1 to 64 of `[a-zA-Z0-9_.:-]`; others are hashed, always alike."""
    if _BEDROCK_ID.fullmatch(call_id):
        return call_id
    return "call_" + hashlib.sha256(call_id.encode("utf-8", "surrogatepass")).hexdigest()[:40]


def _functions(request: ChatRequest) -> list[Function]:
    functions: list[Function] = []
    names: set[str] = set()
    for index, tool in enumerate(request.tools or ()):
        param = f"tools[{index}]"
        if not isinstance(tool, FunctionTool):
            raise invalid("Custom tools are not supported: offer a function.", param, "unsupported_value")
        if tool.function.name in names:
            raise invalid(f"Two tools are named '{tool.function.name}'.", f"{param}.function.name", "invalid_value")
        names.add(tool.function.name)
        functions.append(tool.function)
    return functions


def _choice(request: ChatRequest, functions: list[Function]) -> ToolChoice | None:
    """The choice that must go out; None for `auto`, which is Bedrock's default, and for `none`."""
    choice = request.tool_choice
    if choice is None or choice in ("auto", "none"):
        return None
    if not functions:
        raise invalid("'tool_choice' needs 'tools': there is none to call.", "tool_choice", "invalid_value")
    if choice == "required":
        return ToolChoice(any={})
    if not isinstance(choice, FunctionChoice):
        raise invalid(
            "This form of 'tool_choice' is not supported: use 'auto', 'none', 'required' or a named function.",
            "tool_choice",
            "unsupported_value",
        )
    name = choice.function.name
    if all(function.name != name for function in functions):
        raise invalid(f"No tool is named '{name}'.", "tool_choice.function.name", "invalid_value")
    return ToolChoice(tool=ToolName(name))


def _config(specs: list[ToolSpec], choice: ToolChoice | None) -> ToolConfig | None:
    if not specs:
        return None
    return ToolConfig(specs, UNSET if choice is None else choice)


def _spec(function: Function, index: int) -> ToolSpec:
    schema = object_schema(function.parameters, _NO_PARAMETERS, f"tools[{index}].function.parameters")
    return ToolSpec(ToolSpecBody(function.name, InputSchema(schema), _description(function.description)))


def _answer_tool(schema: JsonSchemaFormat, taken: set[str]) -> ToolSpec:
    wanted = schema.json_schema
    root = object_schema(wanted.schema, _ANY_OBJECT, "response_format.json_schema.schema")
    description = _description(wanted.description) or _ANSWER
    return ToolSpec(ToolSpecBody(_free_name(wanted.name, taken), InputSchema(root), description))


def _free_name(wanted: str, taken: set[str]) -> str:
    """`wanted`, or, since Bedrock would refuse two tools of one name, something like it."""
    name, number = wanted, 1
    while name in taken:
        number += 1
        suffix = f"_{number}"
        name = wanted[: 64 - len(suffix)] + suffix
    return name


def _description(text: str | None) -> str | UnsetType:
    """Bedrock refuses an empty description, which LangChain sends."""
    return text if text and text.strip() else UNSET
