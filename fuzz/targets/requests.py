"""Bodies of requests: decoding, and the translation for several families (chat), or the model's (embeddings).

Invariant: a body becomes one `ApiError` with status 400 or 404, or a plan whose body is a request that botocore's
service model accepts. No other exception is raised.

Oracle: botocore's `ParamValidator` over the service model of Converse.

The first byte of an input selects the endpoint and the family, the rest is the body.
"""

import base64
import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import botocore.session
from botocore.model import ListShape, Shape, StructureShape
from botocore.validate import ParamValidator

from extproc import cl100k_base
from extproc.bedrock.capability_table import BUILT_IN
from extproc.bedrock.invoke import EMBEDDING_MODELS
from extproc.openai import embeddings as openai_embeddings
from extproc.openai.chat import decode_request
from extproc.openai.errors import ApiError
from extproc.translate import embeddings
from extproc.translate.chat_request import plan

FAMILIES = tuple(family for _, family in sorted(BUILT_IN.families.items()) if family.converse)
EMBEDDERS = tuple(sorted(EMBEDDING_MODELS))
EXPECTED = (400, 404)

WORDS = tuple(
    f'"{word}"'.encode()
    for word in re.findall(
        r"\S+",
        """
        model messages role content user system developer assistant tool function text type image_url url detail file
        file_data filename input_audio data format video_url refusal tool_calls tool_call_id id name arguments tools
        parameters description strict tool_choice auto none required response_format json_schema schema json_object
        stream stream_options include_usage max_tokens max_completion_tokens temperature top_p stop n seed thinking
        budget_tokens reasoning_effort low high cache_control ephemeral ttl thinking_blocks signature custom grammar
        guarded_text guardrailConfig performanceConfig service_tier metadata additionalModelRequestFields top_k input
        dimensions encoding_format base64 float $ref $defs properties anyOf enum const additionalProperties
        """,
    )
)


def check(data: bytes) -> None:
    """Decode and plan; check what would be sent against the service model."""
    select, body = (data[0] if data else 0), data[1:]
    if select >= 0xE0:
        _embed(body, EMBEDDERS[select % len(EMBEDDERS)])
        return
    takes = FAMILIES[select % len(FAMILIES)]
    try:
        planned = plan(decode_request(body), takes)
    except ApiError as error:
        assert error.status in EXPECTED, error.status
        json.loads(error.encode())
        return
    _check_converse(bytes(planned.body))


def seeds() -> Iterator[bytes]:
    """Yield bodies that use each part of the API, for several families, and embeddings."""
    for at, body in enumerate(_bodies()):
        for family in (at, at + 7, at + 13):
            yield bytes([family % len(FAMILIES)]) + json.dumps(body).encode()
    texts: list[Any] = ["a", ["a", "b"], [1, 2, 3], [[1], [2]]]
    for at in range(len(EMBEDDERS)):
        model = 0xE0 + (at - 0xE0) % len(EMBEDDERS)
        body = {"model": "m", "input": texts[at % 4], "encoding_format": "base64", "dimensions": 256}
        yield bytes([model]) + json.dumps(body).encode()


def _bodies() -> Iterator[dict[str, Any]]:
    user = {"role": "user", "content": "Hi"}
    png = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n.").decode()
    mark = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "mcp.a/b", "parameters": schema, "strict": True}}
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    yield {"model": "m", "messages": [user]}
    yield {"model": "m", "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 5, "messages": [user]}
    parts: list[Any] = [{"type": "text", "text": "x", **mark}, {"type": "image_url", "image_url": {"url": png}}]
    parts.append({"type": "file", "file": {"file_data": "JVBERi0xLjc=", "filename": "a.pdf"}})
    parts.append({"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}})
    parts.append({"type": "guarded_text", "text": "x"})
    yield {"model": "m", "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": parts}]}
    yield {"model": "m", "tools": [tool], "tool_choice": "required", "messages": [user]}
    yield {"model": "m", "tools": [{"type": "custom", "custom": {"name": "shell"}}], "messages": [user]}
    spoken = {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None}
    spoken["thinking_blocks"] = [{"type": "thinking", "thinking": "t", "signature": "s"}]
    result = {"role": "tool", "tool_call_id": "c1", "content": "r"}
    yield {"model": "m", "messages": [user, spoken, result, user], "thinking": {"type": "enabled", "budget_tokens": 9}}
    legacy = {"role": "assistant", "content": "", "function_call": {"name": "f", "arguments": "{}"}}
    yield {"model": "m", "messages": [user, legacy, {"role": "function", "name": "f", "content": "r"}]}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}}
    yield {"model": "m", "messages": [user], "response_format": form, "reasoning_effort": "low", "stop": ["x"]}
    yield {"model": "m", "messages": [user], "temperature": 0.5, "top_p": 0.5, "seed": 1, "metadata": {"a": "b"}}
    guardrail = {"guardrailIdentifier": "abcdefghij", "guardrailVersion": "1", "trace": "enabled"}
    yield {"model": "m", "messages": [user], "guardrailConfig": guardrail, "service_tier": "flex"}


def _embed(body: bytes, model: str) -> None:
    try:
        request = openai_embeddings.decode(body)
        planned = embeddings.plan(request, model, cl100k_base.decode)
    except ApiError as error:
        assert error.status in EXPECTED, error.status
        return
    for one in planned.bodies:
        assert isinstance(json.loads(one), dict)


@cache
def _converse_shape() -> Shape:
    model = botocore.session.get_session().get_service_model("bedrock-runtime")
    shape = model.operation_model("Converse").input_shape
    assert shape is not None
    return shape


def _check_converse(body: bytes) -> None:
    shape = _converse_shape()
    report = ParamValidator().validate({"modelId": "m", **_with_blobs(json.loads(body), shape)}, shape)
    assert not report.has_errors(), report.generate_report()


def _with_blobs(value: Any, shape: Shape) -> Any:
    """Return `value` with base64 decoded where the service model has bytes; raises where it is none."""
    if shape.type_name == "blob":
        return base64.b64decode(value, validate=True)
    if isinstance(shape, StructureShape) and isinstance(value, dict) and not shape.is_document_type:
        members = shape.members
        return {key: _with_blobs(item, members[key]) if key in members else item for key, item in value.items()}
    if isinstance(shape, ListShape) and isinstance(value, list):
        return [_with_blobs(item, shape.member) for item in value]
    return value
