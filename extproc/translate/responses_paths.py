"""Paths of a chat request's fields -> those of the Responses request that it was made of.

The translation works on the chat form (`responses_request`), so its errors and its ignored fields name that; clients
read their own.
"""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from extproc.openai.errors import ApiError
from extproc.translate.past_calls import UnmatchedCallError
from extproc.value import Value

_FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "max_completion_tokens": "max_output_tokens",
        "max_tokens": "max_output_tokens",
        "response_format": "text.format",
        "verbosity": "text.verbosity",
        "reasoning_effort": "reasoning.effort",
        "web_search_options": "tools",
        "logprobs": "include[]",
        "messages": "input",
    }
)
"""Members of a chat request that Responses have under another name."""

_MESSAGE = re.compile(r"messages\[(\d+)\](.*)", re.DOTALL)
_CALL = re.compile(r"\.tool_calls\[(\d+)\](.*)", re.DOTALL)
_TOOL = re.compile(r"tools\[(\d+)\](.*)", re.DOTALL)
_IMAGE = re.compile(r"\.image_url\.(url|detail)")
_THINKING = re.compile(r"\.thinking_blocks.*", re.DOTALL)
_NESTING = re.compile(r"\.(?:file|function|custom|json_schema|allowed_tools)(?=[.\[]|\Z)")
_QUOTED = re.compile(r"'([a-z_]+)'")


class ItemPaths(Value, frozen=True):
    """The places of what became one chat message."""

    path: str
    """The path of the item, as `input[3]`."""
    calls: tuple[str, ...] = ()
    """The paths of the items that became its tool calls, in order."""
    content: str = ".content"
    """The member that has the message's content; empty where the whole is a text."""


class Paths:
    """The paths of one request."""

    def __init__(self, messages: Sequence[ItemPaths], tools: Sequence[str]) -> None:
        """`tools` are the paths of the functions and custom tools, in order."""
        self._messages = messages
        self._tools = tools

    def of(self, path: str) -> str:
        """Return the client's path for one of the chat request's."""
        if match := _MESSAGE.fullmatch(path):
            return self._in_message(self._messages[int(match[1])], match[2])
        if match := _TOOL.fullmatch(path):
            return self._tools[int(match[1])] + _member(match[2])
        if path.startswith("messages[]"):
            return "input[]" + _member(path.removeprefix("messages[]").replace(".tool_calls[]", ""))
        first, dot, rest = path.partition(".")
        if first in _FIELDS:
            return _FIELDS[first] + _member(dot + rest)
        return first + _member(dot + rest)

    def error(self, error: ApiError) -> ApiError:
        """Return an error of the translation in the client's terms."""
        message = error.in_responses if isinstance(error, UnmatchedCallError) else error.message
        message = _QUOTED.sub(lambda match: f"'{_FIELDS.get(match[1], match[1])}'", message)
        param = None if error.param is None else self.of(error.param)
        if error.param and param:
            message = message.replace(f"'{error.param}'", f"'{param}'")
        return ApiError(error.status, message, type=error.type, param=param, code=error.code, headers=error.headers)

    def _in_message(self, place: ItemPaths, rest: str) -> str:
        if rest == ".tool_calls" and place.calls:
            return place.calls[0]
        if match := _CALL.fullmatch(rest):
            at = int(match[1])
            return (place.calls[at] if at < len(place.calls) else place.path) + _member(match[2])
        if rest.startswith(".content"):
            return place.path + place.content + _member(rest.removeprefix(".content"))
        return place.path + _member(rest)


def _member(rest: str) -> str:
    """Return the path below an item, a tool or a field, without the objects that only chat requests have."""
    rest = _IMAGE.sub(lambda match: ".image_url" if match[1] == "url" else ".detail", rest)
    rest = _THINKING.sub(".encrypted_content", rest)
    rest = rest.replace(".tool_call_id", ".call_id")
    if rest == ".id":
        return ".call_id"
    return _NESTING.sub("", rest)
