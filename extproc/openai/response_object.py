"""The response to POST /responses: the `response` object, and its output items.

Every key that OpenAI's schema requires is always there, null where it is empty. What the request decides is encoded
once (`ResponseHead`), what happens afterwards is added for each event that carries the object. Long members that repeat
the request are not copied into those events.

Source: `Response` in OpenAI's API description, and `types/responses/response.py` of the openai package; the keys that
strict clients insist on are those of `ResponseResource` in https://github.com/openresponses/openresponses.

Decision: docs/decisions.md, D47.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import Raw

from extproc.openai.completion import Usage
from extproc.openai.errors import ApiError
from extproc.payload import LARGE, Payload, Segments

_RATE, _SERVER = "rate_limit_exceeded", "server_error"
_FUNCTION = Raw(b'"function"')
_FUNCTION_MEMBERS: Mapping[str, Any] = MappingProxyType({"description": None, "parameters": None, "strict": None})

_LATER_MEMBERS: Mapping[str, Any] = MappingProxyType(
    {"completed_at": None, "error": None, "incomplete_details": None, "usage": None, "service_tier": "default"}
)
"""The members of a response that its end decides, as they are before it."""


class ResponseHead:
    """The members of a response that are known before the model begins, as the beginning of a JSON object.

    `own` is that beginning, with a comma at its end; `echo` is an object of the members that repeat the request.
    """

    def __init__(self, own: bytes, echo: bytes | memoryview) -> None:
        self._own = own
        self._echo = memoryview(echo)[1:-1]

    def encode(self, status: str, output: bytes, more: dict[str, Any]) -> Payload:
        """Return the object; `output` is a JSON list, `more` are its other members, or those that differ."""
        later = msgspec.json.encode({**_LATER_MEMBERS, **more})[1:]
        rest = b"".join((b',"status":', msgspec.json.encode(status), b',"output":', output, b",", later))
        if len(self._echo) < LARGE:
            return b"".join((self._own, self._echo, rest))
        return Segments((self._own, self._echo, rest))


def response_head(response_id: str, created: int, model: str, echo: bytes | memoryview) -> ResponseHead:
    """Return the head of a response; `echo` are the members that repeat the request, as a JSON object."""
    own = {
        "id": response_id,
        "object": "response",
        "created_at": created,
        "model": model,
        "background": False,
        "previous_response_id": None,
        "store": False,
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "top_logprobs": 0,
    }
    return ResponseHead(msgspec.json.encode(own)[:-1] + b",", echo)


def tool_object(tool: Raw) -> Raw:
    """Return a tool of the request as the response repeats it: a function has all of its members."""
    members = msgspec.json.decode(tool, type=dict[str, Raw])
    if members.get("type") != _FUNCTION:
        return tool
    return Raw(msgspec.json.encode({**_FUNCTION_MEMBERS, **members}))


def usage_object(usage: Usage) -> dict[str, Any]:
    """Return the `usage` of a response."""
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.cache_written},
        "output_tokens": usage.completion,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning or 0},
        "total_tokens": usage.prompt + usage.completion,
    }


def error_object(error: ApiError) -> dict[str, Any]:
    """Return the `error` of a failed response. OpenAI has few codes for it, and clients know no others."""
    code = _RATE if error.status == 429 else _SERVER
    return {"code": code, "message": error.message, "param": error.param, "type": error.type}


def incomplete_details(finish: str) -> dict[str, str] | None:
    """Return why a response is incomplete, by the finish reason that a chat has; None if it is complete."""
    match finish:
        case "length":
            return {"reason": "max_output_tokens"}
        case "content_filter":
            return {"reason": "content_filter"}
    return None


# Output items


def message_item(item_id: str, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a message of the assistant's."""
    return {"id": item_id, "type": "message", "status": status, "role": "assistant", "content": content}


def output_text(text: str, annotations: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a text of a message."""
    return {"type": "output_text", "text": text, "annotations": annotations, "logprobs": []}


def reasoning_item(item_id: str, status: str, summary: list[str], encrypted: str | None) -> dict[str, Any]:
    """Return a reasoning item; `encrypted` is for the model, in the next turn."""
    item: dict[str, Any] = {
        "id": item_id,
        "type": "reasoning",
        "status": status,
        "summary": [{"type": "summary_text", "text": text} for text in summary],
    }
    if encrypted is not None:
        item["encrypted_content"] = encrypted
    return item


def image_item(item_id: str, status: str, image: str | None) -> dict[str, Any]:
    """Return an image that the model made, in base64."""
    return {"id": item_id, "type": "image_generation_call", "status": status, "result": image}
