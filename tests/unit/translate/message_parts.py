"""Messages of OpenAI's and of Converse's, as tests write them."""

import base64
import json
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.converse import ToolConfig, ToolInputSchema, ToolSpec, ToolSpecification
from extproc.openai.chat import decode_request
from extproc.openai.errors import ApiError
from extproc.translate.ignored import Ignored
from extproc.translate.messages import plan_conversation
from extproc.translate.tools import Tools
from tests.planned import Planned

PNG = b"\x89PNG\r\n\x1a\n rest"
IMAGE = base64.b64encode(PNG).decode()
PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}"}}
SENT_PICTURE = {"image": {"format": "png", "source": {"bytes": IMAGE}}}
PDF = base64.b64encode(b"%PDF-1.7").decode()
DOCUMENT = {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}}
SENT_DOCUMENT = {"document": {"format": "pdf", "name": "a", "source": {"bytes": PDF}}}
BLANKS = ["", " ", "\n\t ", "\u00a0\u2003"]


def system(text: Any, role: str = "system") -> dict[str, Any]:
    return {"role": role, "content": text}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any = None, *calls: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **({"tool_calls": list(calls)} if calls else {}), **fields}


def call(call_id: str = "c1", name: str = "f", arguments: str = "{}") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(call_id: str = "c1", content: Any = "done") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def texts_of(*texts: str) -> list[dict[str, Any]]:
    return [{"text": value} for value in texts]


def operators(value: str) -> dict[str, Any]:
    """Return a text of a later instruction, as it is marked in the user's turn."""
    return {
        "text": f"[System message, from the operator and not from the user:]\n{value}\n[End of the system message.]"
    }


def turn(role: str, *blocks: Any) -> dict[str, Any]:
    return {"role": role, "content": [{"text": block} if isinstance(block, str) else block for block in blocks]}


def use(call_id: str = "c1", name: str = "f", arguments: Any = None) -> dict[str, Any]:
    return {"toolUse": {"toolUseId": call_id, "name": name, "input": arguments or {}}}


def result_block(call_id: str = "c1", *texts: str) -> dict[str, Any]:
    return {"toolResult": {"toolUseId": call_id, "content": texts_of(*(texts or ("done",)))}}


def takes(**fields: Any) -> Capabilities:
    return Capabilities(**{"family": "test", "images": True, "beside_tool_results": ("text", "image"), **fields})


USUAL = takes()
TOOL = ToolSpec(ToolSpecification("f", ToolInputSchema(Raw(b'{"type":"object"}'))))
TOOLS = Tools(ToolConfig([TOOL]))


def read(*messages: dict[str, Any], to: Capabilities = USUAL, tools: Tools = TOOLS, **options: Any) -> Planned:
    request = decode_request(json.dumps({"model": "m", "messages": list(messages)}).encode())
    ignored = Ignored()
    step = plan_conversation(request.messages, to, tools, {"https://x/a.png": PNG}, ignored, **options)
    return Planned(step, ignored)


def translate(*messages: dict[str, Any], **options: Any) -> tuple[Any, Any]:
    outcome = read(*messages, **options)
    return json.loads(msgspec.json.encode(outcome.system)), json.loads(msgspec.json.encode(outcome.turns))


def turns(*messages: dict[str, Any], **options: Any) -> Any:
    return translate(*messages, **options)[1]


def rejection(*messages: dict[str, Any], **options: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        translate(*messages, **options)
    assert caught.value.status == 400
    return caught.value
