"""The members of both wires: those of the installed packages, and those that the code declares.

Each side is a mapping of places (`openai chat request`) to members (`tests.wire.members`).
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, get_args

import botocore.session
from botocore.model import OperationModel, ServiceModel, StructureShape
from openai.types import CreateEmbeddingResponse, Model, chat
from openai.types.chat import completion_create_params as create
from openai.types.embedding_create_params import EmbeddingCreateParams
from openai.types.shared import ErrorObject

from extproc.bedrock.capabilities import AudioFormat, CacheTtl, DocumentFormat, VideoFormat
from extproc.bedrock.converse import ConverseRequest
from extproc.bedrock.converse_response import _EVENTS, ConverseResponse
from extproc.openai import chunks, embeddings
from extproc.openai.chat import ChatRequest
from extproc.openai.completion import Usage
from extproc.openai.embeddings import EmbeddingsRequest
from extproc.openai.errors import ApiError
from extproc.openai.models import model_object
from extproc.translate.chat_completion import translate_response
from extproc.translate.errors import _RULES, _key
from extproc.translate.parameters import _NO_TIER, _TIERS
from extproc.translate.response_fields import _FINISH_REASONS
from extproc.translate.response_shape import ResponseShape
from tests.wire.members import of_hint, of_json, of_shape

Side = Mapping[str, set[str]]

CALLED = {
    "bedrock-runtime": ("Converse", "ConverseStream", "InvokeModel"),
    "bedrock": ("ListFoundationModels", "ListInferenceProfiles"),
}
"""The operations that the gateway calls."""

VALUES: Mapping[str, tuple[str, ...]] = {
    ".document.format": get_args(DocumentFormat),
    ".video.format": get_args(VideoFormat),
    ".audio.format": get_args(AudioFormat),
    ".cachePoint.ttl": get_args(CacheTtl),
    "serviceTier.type": tuple(_TIERS.values()),
}
"""The values of members of requests that are `str` in the code."""


# The installed packages


def of_packages() -> dict[str, set[str]]:
    """Return the members of the openai package's types and of botocore's service models."""
    side = {
        "openai chat request": set(of_hint(create.CompletionCreateParamsStreaming)),
        "openai chat response": set(of_hint(chat.ChatCompletion)),
        "openai chat chunk": set(of_hint(chat.ChatCompletionChunk)),
        "openai embeddings request": set(of_hint(EmbeddingCreateParams)),
        "openai embeddings response": set(of_hint(CreateEmbeddingResponse)),
        "openai model": set(of_hint(Model)),
        "openai error": set(of_hint(ErrorObject)),
    }
    session = botocore.session.get_session()
    for service, operations in CALLED.items():
        model = session.get_service_model(service)
        for name in operations:
            side.update(_operation(model, name))
    return side


def _operation(model: ServiceModel, name: str) -> Iterator[tuple[str, set[str]]]:
    operation: OperationModel = model.operation_model(name)
    yield f"{name} request", set(of_shape(operation.input_shape))
    yield f"{name} response", set(of_shape(operation.output_shape))
    yield f"{name} error", {shape.name for shape in operation.error_shapes} | set(_stream_errors(operation))


def _stream_errors(operation: OperationModel) -> Iterator[str]:
    """Yield the exceptions that are events of a stream."""
    for member in operation.output_shape.members.values() if operation.output_shape else ():
        if isinstance(member, StructureShape):
            yield from (event.name for event in member.members.values() if event.metadata.get("exception"))


# The code


def of_code() -> dict[str, set[str]]:
    """Return the members that the code declares, reads or writes."""
    tiers = {f"service_tier = {name}" for name in (*_TIERS, *_NO_TIER)}
    reasons = {f"stopReason = {reason}" for reason in _FINISH_REASONS}
    finish = {f"choices[].finish_reason = {reason}" for reason in {*_FINISH_REASONS.values(), "function_call"}}
    request = set(of_hint(ConverseRequest))
    request |= {
        f"{path} = {value}"
        for path in request
        for end, values in VALUES.items()
        if path.endswith(end)
        for value in values
    }
    errors = set(_RULES)
    side = {
        "openai chat request": set(of_hint(ChatRequest)) | tiers,
        "openai chat response": {member for body in _responses() for member in _written(body)} | finish,
        "openai chat chunk": {member for chunk in _chunks() for member in _written(chunk)} | finish,
        "openai embeddings request": set(of_hint(EmbeddingsRequest)),
        "openai embeddings response": _written(json.loads(embeddings.encode("m", [[1.0]], 1, "float"))),
        "openai model": _written(model_object("m", 1, "o")),
        "openai error": _written(ApiError(400, "m", param="p", code="c").as_object()["error"]),
        "Converse request": request,
        "ConverseStream request": request,
        "Converse response": set(of_hint(ConverseResponse)) | reasons,
        "ConverseStream response": _events() | {f"stream.messageStop.{reason}" for reason in reasons},
    }
    for place, members in of_packages().items():
        if place.endswith(" error") and not place.startswith("openai"):
            side[place] = {name for name in members if _key(name) in errors}
    return side


def _values(path: str) -> Iterator[str]:
    for end, values in VALUES.items():
        if path.endswith(end):
            yield from values


def _events() -> set[str]:
    members = {"stream"}
    for name, decoder in _EVENTS.items():
        members |= {f"stream.{name}", *of_hint(decoder.type, f"stream.{name}")}
    return members


def _written(value: Any) -> set[str]:
    """Return the members of JSON that the code has written, with the values of those that name a kind."""
    kinds = {"role", "type", "object"}
    return set(of_json(value)) | {
        f"{path} = {text}" for path, text in _texts(value) if path.rpartition(".")[2] in kinds
    }


def _texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(inner, f"{path}.{name}".removeprefix("."))
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, f"{path}[]")
    elif isinstance(value, str):
        yield path, value


def _responses() -> Iterator[Any]:
    """Yield chat completions that have, together, everything that one may have."""
    web = {"location": {"web": {"url": "https://example.com", "domain": "example.com"}}, "title": "t"}
    blocks = [
        {"reasoningContent": {"reasoningText": {"text": "r", "signature": "s"}}},
        {"citationsContent": {"content": [{"text": "t"}], "citations": [web]}},
        {"toolUse": {"toolUseId": "1", "name": "f", "input": {}}},
        {"toolUse": {"toolUseId": "2", "name": "c", "input": {"input": ""}}},
    ]
    converse = {
        "output": {"message": {"role": "assistant", "content": blocks}},
        "stopReason": "tool_use",
        "usage": {"inputTokens": 1, "outputTokens": 1},
        "serviceTier": {"type": "priority"},
    }
    body = json.dumps(converse).encode()
    for shape in (ResponseShape(custom=frozenset(("c",))), ResponseShape(legacy=True)):
        yield json.loads(translate_response(body, completion_id="1", created=1, model="m", shape=shape).body)


def _chunks() -> Iterator[Any]:
    """Yield a chunk of each kind."""
    encoder = chunks.ChunkEncoder("1", 1, "m", include_usage=True)
    for chunk in (
        chunks.RoleChunk(),
        chunks.ContentChunk("c"),
        chunks.ToolCallChunk(0, "1", "f"),
        chunks.ToolArgumentsChunk(0, "{}"),
        chunks.CustomCallChunk(0, "1", "c"),
        chunks.CustomInputChunk(0, "t"),
        chunks.FunctionCallChunk("f"),
        chunks.FinishChunk("stop", "priority"),
        chunks.UsageChunk(Usage(1, 1), "priority"),
    ):
        yield json.loads(encoder.encode(chunk).removeprefix(b"data: "))
