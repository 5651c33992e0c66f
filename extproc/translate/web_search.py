"""`web_search_options` -> the system tool by which AWS searches the web; its citations become annotations.

A model that must call a tool does not search. So where a JSON schema would be enforced by a forced tool, it is sent in
words instead; a tool of the client's that must be called stays so.

Decision: docs/decisions.md, D136.
"""

import msgspec

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.converse import SystemTool, SystemToolEntry, ToolConfig
from extproc.openai.chat import ChatRequest
from extproc.openai.errors import ApiError, invalid
from extproc.translate.ignored import Ignored
from extproc.translate.tools import Tools

_PARAM = "web_search_options"
_USUAL = (None, "medium")
"""Values of `search_context_size` that ask for nothing special."""


def while_searching(request: ChatRequest, capabilities: Capabilities) -> Capabilities:
    """Return the family's capabilities for this request, which may search the web. Raises a 400 `ApiError`."""
    if request.web_search_options is None:
        return capabilities
    if not capabilities.web_search:
        raise _unsupported(capabilities)
    unforced = tuple([way for way in capabilities.json_schema if way != "tool"])
    return msgspec.structs.replace(capabilities, json_schema=unforced)


def with_search(request: ChatRequest, capabilities: Capabilities, tools: Tools, ignored: Ignored) -> Tools:
    """Return `tools` with the one that searches, if the client requests that."""
    options, name = request.web_search_options, capabilities.web_search
    if options is None or name is None:
        return tools
    if options.search_context_size not in _USUAL:
        ignored.add(f"{_PARAM}.search_context_size")
    if options.user_location is not None:
        ignored.add(f"{_PARAM}.user_location")
    search = SystemToolEntry(SystemTool(name))
    config = tools.config
    searching = ToolConfig([search]) if config is None else ToolConfig([*config.tools, search], config.tool_choice)
    return msgspec.structs.replace(tools, config=searching, name_pattern=capabilities.tool_names)


def _unsupported(capabilities: Capabilities) -> ApiError:
    models = f"Models of the family '{capabilities.family}'"
    if capabilities.web_search_geographies:
        named = ", ".join([f"'{name}.'" for name in capabilities.web_search_geographies])
        message = f"{models} search the web only by an inference profile whose id begins with {named}: use one"
    else:
        message = f"{models} do not search the web: use another model"
    return invalid(f"{message}, or leave '{_PARAM}' out.", _PARAM, "unsupported_parameter")
