"""`tool_choice`, and `function_call` from before it -> which tools go out, and whether one of them must be called.

| the client says           | goes out            | `toolChoice`                                             |
|---------------------------|---------------------|----------------------------------------------------------|
| nothing, `auto`           | every tool          | none: every model takes that for `auto`                  |
| `none`                    | no tool             | Bedrock has no word for it                               |
| `required`                | every tool          | `any`                                                    |
| a tool's name             | every tool          | `tool`; a family without it gets that tool only, and `any`|
| `allowed_tools`           | the allowed tools   | as for `auto` or `required`                              |

A call that the model cannot be made to do is refused: a client that forces one would wait for it.
"""

from collections.abc import Collection, Mapping
from typing import Literal, NamedTuple

from extproc.bedrock.capabilities import Capabilities
from extproc.openai.chat import AllowedTools, ChatRequest, CustomChoice, FunctionChoice, NamedTool
from extproc.openai.errors import ApiError, invalid

Kind = Literal["function", "custom"]


class Choice(NamedTuple):
    """What of the client's tools may be called."""

    names: frozenset[str]
    """The tools that go out, as the client calls them."""
    forced: bool = False
    """Whether one of them must be called."""
    named: str | None = None
    """The one that must be called, where others go out too, or where the family has no `any`."""


class _Wish(NamedTuple):
    """What the client says, in one form for all."""

    mode: Literal["auto", "none", "required"]
    tools: Collection[tuple[Kind, str]] | None = None
    """The only ones that may be called; None: all."""
    is_name: bool = False
    """Whether it names the tool that must be called, rather than listing what is allowed."""


def choose(request: ChatRequest, offered: Mapping[str, Kind], capabilities: Capabilities, *, reasoning: bool) -> Choice:
    """What of `offered`, the client's tools by name, may be called, and must be; raises a 400 `ApiError`."""
    param = "function_call" if request.functions else "tool_choice"
    wish = _function_wish(request) if request.functions else _tool_wish(request)
    names = _named(wish, offered, param)
    if wish.mode == "none":
        return Choice(frozenset())
    if wish.mode == "auto":
        return Choice(names)
    if not offered:
        raise invalid(f"'{param}' needs 'tools': there is none to call.", param, "invalid_value")
    return _forced(wish, names, offered, capabilities, param, reasoning=reasoning)


def _forced(
    wish: _Wish,
    names: frozenset[str],
    offered: Mapping[str, Kind],
    capabilities: Capabilities,
    param: str,
    *,
    reasoning: bool,
) -> Choice:
    if reasoning and not capabilities.forced_tools_while_reasoning:
        raise _cannot(param, capabilities, " while it reasons", "Turn reasoning off, or let")
    only = next(iter(names)) if len(names) == 1 else None
    if wish.is_name and "tool" in capabilities.tool_choices:
        return Choice(frozenset(offered), True, only)
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


def _named(wish: _Wish, offered: Mapping[str, Kind], param: str) -> frozenset[str]:
    """The names of the tools that may be called, once it is known that there are such tools."""
    if wish.tools is None:
        return frozenset(offered)
    if not offered:
        raise invalid(f"'{param}' needs 'tools': there is none to call.", param, "invalid_value")
    for kind, name in wish.tools:
        if offered.get(name) != kind:
            what = "tool" if kind == "function" else "custom tool"
            raise invalid(f"No {what} is named '{name}'.", _place(wish, param, kind), "invalid_value")
    return frozenset(name for _, name in wish.tools)


def _place(wish: _Wish, param: str, kind: Kind) -> str:
    if param == "function_call":
        return f"{param}.name"
    return f"{param}.{kind}.name" if wish.is_name else f"{param}.allowed_tools.tools"


def _tool_wish(request: ChatRequest) -> _Wish:
    if request.function_call not in (None, "none", "auto"):
        raise invalid("'function_call' needs 'functions'; for 'tools' there is 'tool_choice'.", "function_call")
    match request.tool_choice:
        case None | "auto":
            return _Wish("auto")
        case "none" | "required" as mode:
            return _Wish(mode)
        case AllowedTools(allowed_tools=allowed):
            return _Wish(allowed.mode, [_reference(tool) for tool in allowed.tools])
        case tool:
            return _Wish("required", [_reference(tool)], is_name=True)


def _function_wish(request: ChatRequest) -> _Wish:
    if request.tool_choice not in (None, "none", "auto"):
        raise invalid("'tool_choice' needs 'tools'; for 'functions' there is 'function_call'.", "tool_choice")
    match request.function_call:
        case None | "auto":
            return _Wish("auto")
        case NamedTool(name=name):
            return _Wish("required", [("function", name)], is_name=True)
        case mode:
            return _Wish(mode)


def _reference(tool: FunctionChoice | CustomChoice) -> tuple[Kind, str]:
    return ("function", tool.function.name) if isinstance(tool, FunctionChoice) else ("custom", tool.custom.name)
