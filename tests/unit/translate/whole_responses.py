"""Whole Converse responses, as tests write them, and what becomes of them."""

import json
from typing import Any

from openai.types.chat import ChatCompletion

from extproc.openai.chunks import ChunkEncoder
from extproc.translate.chat_completion import translate_response
from extproc.translate.chat_sse import whole_stream
from extproc.translate.chat_stream import ChatStream
from extproc.translate.completed import Completed
from extproc.translate.response_shape import ResponseShape


def converse(*blocks: Any, stop: str = "end_turn", **usage: int) -> bytes:
    counted = {"inputTokens": 10, "outputTokens": 20, "totalTokens": 30, **usage}
    message = {"role": "assistant", "content": list(blocks)}
    return json.dumps({"output": {"message": message}, "stopReason": stop, "usage": counted}).encode()


def use(name: str = "f", call_id: str = "c1", **fields: Any) -> dict[str, Any]:
    return {"toolUse": {"toolUseId": call_id, "name": name, **fields}}


def completed(body: bytes, **shape: Any) -> Completed:
    return translate_response(
        body, completion_id="chatcmpl-1", created=1_790_000_000, model="m", shape=ResponseShape(**shape)
    )


def web(url: str | None, **fields: Any) -> dict[str, Any]:
    return {"location": {"web": {"url": url, "domain": "x.org"}}, **fields}


def cited(text: str, *citations: dict[str, Any]) -> dict[str, Any]:
    return {"citationsContent": {"content": [{"text": text}], "citations": list(citations)}}


def call(name: str = "f", call_id: str = "c1", arguments: str = "{}") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def streamed(body: bytes, *, truncation: str = "length", usage: bool = True, **shape: Any) -> Completed:
    encoder = ChunkEncoder("chatcmpl-1", 1_790_000_000, "m", include_usage=usage)
    return whole_stream(body, ChatStream(shape=ResponseShape(**shape), truncation=truncation), encoder)


REPORT = {"answer_tool": "report"}


def completion(*blocks: Any, shape: dict[str, Any] | None = None, **fields: Any) -> Any:
    decoded = json.loads(completed(converse(*blocks, **fields), **shape or {}).body)
    ChatCompletion.model_validate(decoded, strict=True)
    return decoded


def message(*blocks: Any, **fields: Any) -> Any:
    return completion(*blocks, **fields)["choices"][0]["message"]


def finish(*blocks: Any, **fields: Any) -> str:
    decoded: str = completion(*blocks, **fields)["choices"][0]["finish_reason"]
    return decoded
