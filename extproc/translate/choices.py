"""`tool_choice`, and `function_call` from before it -> which tools go out, and whether one of them must be called.

| the client sends          | goes out            | `toolChoice`                                             |
|---------------------------|---------------------|----------------------------------------------------------|
| nothing, `auto`           | every tool          | none: every model takes that for `auto`                  |
| `none`                    | no tool             | Bedrock has no equivalent                                |
| `required`                | every tool          | `any`                                                    |
| a tool's name             | every tool          | `tool`; a family without it gets that tool only, and `any`|
| `allowed_tools`           | the allowed tools   | as for `auto` or `required`                              |

A request for a call that the model cannot be forced to make is rejected: the client would wait for that call.
"""

from collections.abc import Collection, Mapping
from typing import Literal, NamedTuple

from extproc.bedrock.capabilities import Capabilities
from extproc.openai.chat import AllowedTools, ChatRequest, CustomChoice, FunctionChoice, NamedTool
from extproc.openai.errors import ApiError, invalid

Kind = Literal["function", "custom"]


class Choice(NamedTuple):
    """The client's tools that may be called, and the one that must be."""

    names: frozenset[str]
    """The tools that go out, as the client calls them."""
    forced: bool = False
    """Whether one of them must be called."""
    named: str | None = None
    """The one that must be called, where others go out too, or where the family has no `any`."""


class _Requested(NamedTuple):
    """The client's `tool_choice` or `function_call`, in one form."""

    mode: Literal["auto", "none", "required"]
    tools: Collection[tuple[Kind, str]] | None = None
    """The only ones that may be called; None: all."""
    is_name: bool = False
    """Whether it names the tool that must be called, rather than listing what is allowed."""


def choose(request: ChatRequest, tools: Mapping[str, Kind], capabilities: Capabilities, *, reasoning: bool) -> Choice:
    """Return which of `tools`, the client's by name, may or must be called. Raises a 400 `ApiError`."""
    param = "function_call" if request.functions else "tool_choice"
    requested = _requested_function(request) if request.functions else _requested_tool(request)
    names = _named(requested, tools, param)
    if requested.mode == "none":
        return Choice(frozenset())
    if requested.mode == "auto":
        return Choice(names)
    if not tools:
        raise invalid(f"'{param}' needs 'tools': there is none to call.", param, "invalid_value")
    return _forced(requested, names, tools, capabilities, param, reasoning=reasoning)


def _forced(
    requested: _Requested,
    names: frozenset[str],
    tools: Mapping[str, Kind],
    capabilities: Capabilities,
    param: str,
    *,
    reasoning: bool,
) -> Choice:
    if reasoning and not capabilities.forced_tools_while_reasoning:
        raise _cannot(param, capabilities, " while it reasons", "Turn reasoning off, or let")
    only = next(iter(names)) if len(names) == 1 else None
    if requested.is_name and "tool" in capabilities.tool_choices:
        return Choice(frozenset(tools), True, only)
    if "any" in capabilities.tool_choices:
        return Choice(names, True)
    if only is not None and "tool" in capabilities.tool_choices:
        return Choice(names, True, only)
    raise _cannot(param, capabilities, "", "Let")


def _cannot(param: str, capabilities: Capabilities, when: str, advice: str) -> ApiError:
    return invalid(
        f"A model of the family '{capabilities.family}' cannot be made to call a tool{when}. "
        f"{advice} '{param}' be 'auto', or ask another model.",
        param,
        "unsupported_value",
    )


def _named(requested: _Requested, tools: Mapping[str, Kind], param: str) -> frozenset[str]:
    """Return the names of the tools that may be called. Raises a 400 `ApiError` if the client has no such tool."""
    if requested.tools is None:
        return frozenset(tools)
    if not tools:
        raise invalid(f"'{param}' needs 'tools': there is none to call.", param, "invalid_value")
    for kind, name in requested.tools:
        if tools.get(name) != kind:
            what = "tool" if kind == "function" else "custom tool"
            raise invalid(f"No {what} is named '{name}'.", _place(requested, param, kind), "invalid_value")
    return frozenset(name for _, name in requested.tools)


def _place(requested: _Requested, param: str, kind: Kind) -> str:
    if param == "function_call":
        return f"{param}.name"
    return f"{param}.{kind}.name" if requested.is_name else f"{param}.allowed_tools.tools"


def _requested_tool(request: ChatRequest) -> _Requested:
    if request.function_call not in (None, "none", "auto"):
        raise invalid("'function_call' needs 'functions'; for 'tools' there is 'tool_choice'.", "function_call")
    match request.tool_choice:
        case None | "auto":
            return _Requested("auto")
        case "none" | "required" as mode:
            return _Requested(mode)
        case AllowedTools(allowed_tools=allowed):
            return _Requested(allowed.mode, [_reference(tool) for tool in allowed.tools])
        case tool:
            return _Requested("required", [_reference(tool)], is_name=True)


def _requested_function(request: ChatRequest) -> _Requested:
    if request.tool_choice not in (None, "none", "auto"):
        raise invalid("'tool_choice' needs 'tools'; for 'functions' there is 'function_call'.", "tool_choice")
    match request.function_call:
        case None | "auto":
            return _Requested("auto")
        case NamedTool(name=name):
            return _Requested("required", [("function", name)], is_name=True)
        case mode:
            return _Requested(mode)


def _reference(tool: FunctionChoice | CustomChoice) -> tuple[Kind, str]:
    return ("function", tool.function.name) if isinstance(tool, FunctionChoice) else ("custom", tool.custom.name)
