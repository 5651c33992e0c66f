"""The tools of a Responses request -> those of a chat request, and the way back for their calls.

Functions and custom tools are the same in both. A namespace's tools are flattened: each gets a name of its own that
begins with the namespace's, and a call of it goes back under both. Tools that OpenAI itself would run (`web_search`,
`file_search`, …) are left out and named, except for a search of the web where the model's family has one.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import msgspec
from msgspec import Raw

from extproc.openai import chat
from extproc.openai.decoding import decode_at
from extproc.openai.errors import ApiError, invalid
from extproc.openai.limits import MAX_TOOLS
from extproc.openai.responses import (
    ClientTool,
    GrammarFormat,
    Namespace,
    ResponsesAllowedTools,
    ResponsesCustomChoice,
    ResponsesCustomTool,
    ResponsesFunctionChoice,
    ResponsesFunctionTool,
)
from extproc.translate.ignored import Ignored, shown_type
from extproc.value import Value

_SEARCHES = frozenset({"web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11"})
_MODES: Mapping[str, Literal["none", "auto", "required"]] = MappingProxyType(
    {"none": "none", "auto": "auto", "required": "required"}
)


class Tagged(msgspec.Struct):
    """The type of a tool or a choice."""

    type: str


class QualifiedName(msgspec.Struct, frozen=True):
    """The name of a tool, and of the namespace that it belongs to."""

    namespace: str
    name: str


class ResponsesTools(Value, frozen=True):
    """The tools of a request in the form of chat's."""

    tools: list[chat.Tool]
    paths: list[str]
    """The path of each tool."""
    names: dict[str, QualifiedName]
    """The client's names of flattened tools, by their names in chat's form."""
    flat: dict[QualifiedName, str]
    """The other way round."""
    chosen: dict[str, str]
    """The names in chat's form by the tools' own; where one is in a namespace and one is not, the latter."""
    search: str
    """The type of the tool that searches the web; empty where the request has none."""

    def chat_name(self, name: str, namespace: str | None) -> str:
        """Return the name in chat's form of a tool that a call names."""
        if not namespace:
            return name
        qualified = QualifiedName(namespace, name)
        return self.flat.get(qualified) or _flat(qualified)


def plan_tools(raw_tools: Sequence[Raw], ignored: Ignored) -> ResponsesTools:
    """Return the tools in chat's form. Raises a 400 `ApiError` that names the tool."""
    found: list[tuple[ClientTool, str, str]] = []
    """Each tool with its namespace, if any, and its path."""
    search = ""
    for index, raw in enumerate(raw_tools):
        path = f"tools[{index}]"
        match decode_at(raw, Tagged, path).type:
            case "function":
                found.append((decode_at(raw, ResponsesFunctionTool, path), "", path))
            case "custom":
                found.append((decode_at(raw, ResponsesCustomTool, path), "", path))
            case "namespace":
                namespace = decode_at(raw, Namespace, path)
                found += [(tool, namespace.name, f"{path}.tools[{at}]") for at, tool in enumerate(namespace.tools)]
            case kind if kind in _SEARCHES:
                search = kind
            case kind:
                ignored.add_type("tools", kind)
    if len(found) > MAX_TOOLS:
        raise invalid(f"Invalid 'tools': too many tools. Send at most {MAX_TOOLS}.", "tools", "array_above_max_length")
    return _flattened(found, search, ignored)


def _flattened(found: Sequence[tuple[ClientTool, str, str]], search: str, ignored: Ignored) -> ResponsesTools:
    taken = {tool.name for tool, namespace, _ in found if not namespace}
    names: dict[str, QualifiedName] = {}
    tools: list[chat.Tool] = []
    for tool, namespace, _ in found:
        name = tool.name
        if namespace:
            qualified = QualifiedName(namespace, tool.name)
            name = _free(_flat(qualified), taken)
            taken.add(name)
            names[name] = qualified
        _ignore_unused(tool, ignored)
        tools.append(_chat_tool(tool, name))
    flat = {qualified: name for name, qualified in names.items()}
    own = {tool.name: tool.name for tool, namespace, _ in found if not namespace}
    chosen = {**{qualified.name: name for name, qualified in names.items()}, **own}
    return ResponsesTools(tools, [path for *_, path in found], names, flat, chosen, search)


def _flat(name: QualifiedName) -> str:
    return f"{name.namespace}__{name.name}"


def _free(name: str, taken: Iterable[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _ignore_unused(tool: ClientTool, ignored: Ignored) -> None:
    """Report what has no effect: how a tool is found, and who may call it."""
    if tool.defer_loading:
        ignored.add("tools[].defer_loading")
    if tool.asynchronous:
        ignored.add("tools[].async")
    if tool.allowed_callers is not None and tool.allowed_callers != ["direct"]:
        ignored.add("tools[].allowed_callers")
    if isinstance(tool, ResponsesFunctionTool) and tool.output_schema is not None:
        ignored.add("tools[].output_schema")


def _chat_tool(tool: ClientTool, name: str) -> chat.Tool:
    if isinstance(tool, ResponsesFunctionTool):
        return chat.FunctionTool(chat.Function(name, tool.description, tool.parameters, tool.strict))
    assert isinstance(tool, ResponsesCustomTool)
    form: chat.CustomFormatText | chat.CustomFormatGrammar | None = None
    if isinstance(tool.format, GrammarFormat):
        form = chat.CustomFormatGrammar(chat.GrammarBody(tool.format.definition, tool.format.syntax))
    return chat.CustomTool(chat.Custom(name, tool.description, form))


# The choice among them


def plan_choice(raw: Raw, tools: ResponsesTools, ignored: Ignored) -> chat.ToolChoice | None:
    """Return the tool choice in chat's form. Raises a 400 `ApiError` for one that cannot be kept to."""
    first = bytes(memoryview(raw)[:1])
    if raw == Raw(b"null"):
        return None
    if first == b'"':
        mode = _MODES.get(decode_at(raw, str, "tool_choice"))
        if mode is None:
            raise invalid(
                f"Invalid value for 'tool_choice': send one of {', '.join(_MODES)}, or an object.",
                "tool_choice",
                "invalid_value",
            )
        return mode
    kind = decode_at(raw, Tagged, "tool_choice").type
    if kind == "allowed_tools":
        return _allowed(decode_at(raw, ResponsesAllowedTools, "tool_choice"), tools, ignored)
    chosen = _named(raw, kind, "tool_choice", tools)
    if chosen is None:
        raise _not_here(kind)
    return chosen


def _allowed(allowed: ResponsesAllowedTools, tools: ResponsesTools, ignored: Ignored) -> chat.ToolChoice:
    choices: list[chat.FunctionChoice | chat.CustomChoice] = []
    kind = ""
    for index, raw in enumerate(allowed.tools):
        path = f"tool_choice.tools[{index}]"
        kind = decode_at(raw, Tagged, path).type
        chosen = _named(raw, kind, path, tools)
        if chosen is None:
            ignored.add_type("tool_choice.tools", kind)
        else:
            choices.append(chosen)
    if choices:
        return chat.AllowedTools(chat.AllowedToolsBody(allowed.mode, choices))
    if allowed.mode == "required":
        raise _not_here(kind)
    return "none"


def _named(raw: Raw, kind: str, path: str, tools: ResponsesTools) -> chat.FunctionChoice | chat.CustomChoice | None:
    """Return the choice of a tool by its name; None if it is a tool of OpenAI's own."""
    if kind == "function":
        name = decode_at(raw, ResponsesFunctionChoice, path).name
        return chat.FunctionChoice(chat.NamedTool(tools.chosen.get(name, name)))
    if kind == "custom":
        name = decode_at(raw, ResponsesCustomChoice, path).name
        return chat.CustomChoice(chat.NamedTool(tools.chosen.get(name, name)))
    return None


def _not_here(kind: str) -> ApiError:
    return invalid(
        f"'tool_choice' requires a tool of the type '{shown_type(kind)}': only functions and custom tools can be "
        "required. Choose one of yours, or 'auto'.",
        "tool_choice",
        "unsupported_value",
    )
