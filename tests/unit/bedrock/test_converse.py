"""The Converse wire: what is encoded, and how leniently answers and events are read."""

import json
from typing import Any

import botocore.session
import pytest
from botocore.model import ServiceModel, StructureShape
from msgspec import Raw, Struct

from extproc.bedrock import converse, converse_answer
from extproc.bedrock.converse import (
    ConverseMessage,
    ConverseRequest,
    InferenceConfig,
    TextContent,
    ToolChoice,
    ToolUseBlock,
    ToolUseContent,
)
from extproc.bedrock.converse_answer import AnsweredBlock, BadAnswerError, decode_answer, decode_event


@pytest.fixture(scope="module")
def model() -> ServiceModel:
    return botocore.session.get_session().get_service_model("bedrock-runtime")


def structure(model: ServiceModel, name: str) -> StructureShape:
    shape = model.shape_for(name)
    assert isinstance(shape, StructureShape)
    return shape


# Requests


def test_what_is_not_set_does_not_go_out() -> None:
    assert (
        ConverseRequest([ConverseMessage("user", [TextContent("Hi")])]).encode()
        == b'{"messages":[{"role":"user","content":[{"text":"Hi"}]}]}'
    )


def test_names_are_camel_case_on_the_wire() -> None:
    request = ConverseRequest([], inference_config=InferenceConfig(max_tokens=1, top_p=0.0, stop_sequences=["x"]))
    assert json.loads(request.encode())["inferenceConfig"] == {"maxTokens": 1, "topP": 0.0, "stopSequences": ["x"]}


def test_an_empty_object_goes_out_where_it_means_something() -> None:
    assert json.loads(ConverseRequest([], tool_config=converse.ToolConfig([], ToolChoice(any={}))).encode()) == {
        "messages": [],
        "toolConfig": {"tools": [], "toolChoice": {"any": {}}},
    }


def test_free_json_goes_out_byte_for_byte() -> None:
    inputs = b'{"b":1.0, "a":123456789012345678901234567890}'
    request = ConverseRequest([ConverseMessage("assistant", [ToolUseContent(ToolUseBlock("c1", "f", Raw(inputs)))])])
    assert b'"input":' + inputs in request.encode()


@pytest.mark.parametrize(
    ("struct", "shape"),
    [
        (ConverseRequest, "ConverseRequest"),
        (InferenceConfig, "InferenceConfiguration"),
        (converse.ToolConfig, "ToolConfiguration"),
        (ToolChoice, "ToolChoice"),
        (converse.ToolSpecification, "ToolSpecification"),
        (converse.ToolInputSchema, "ToolInputSchema"),
        (converse.ImageBlock, "ImageBlock"),
        (converse.MediaSource, "ImageSource"),
        (converse.MediaSource, "DocumentSource"),
        (converse.MediaSource, "VideoSource"),
        (converse.MediaSource, "AudioSource"),
        (converse.S3Location, "S3Location"),
        (converse.DocumentBlock, "DocumentBlock"),
        (converse.VideoBlock, "VideoBlock"),
        (converse.AudioBlock, "AudioBlock"),
        (converse.CachePointBlock, "CachePointBlock"),
        (converse.ReasoningContentBlock, "ReasoningContentBlock"),
        (converse.ReasoningTextBlock, "ReasoningTextBlock"),
        (converse.JsonContent, "ToolResultContentBlock"),
        (converse.OutputConfig, "OutputConfig"),
        (converse.OutputFormat, "OutputFormat"),
        (converse.OutputFormatStructure, "OutputFormatStructure"),
        (converse.JsonSchemaDefinition, "JsonSchemaDefinition"),
        (converse.GuardrailConfig, "GuardrailStreamConfiguration"),
        (converse.PerformanceConfig, "PerformanceConfiguration"),
        (converse.ServiceTier, "ServiceTier"),
        (ToolUseBlock, "ToolUseBlock"),
        (converse.ToolResultBlock, "ToolResultBlock"),
        (converse_answer.Answer, "ConverseResponse"),
        (converse_answer.TokenUsage, "TokenUsage"),
        (AnsweredBlock, "ContentBlock"),
        (converse_answer.AnsweredToolUse, "ToolUseBlock"),
        (converse_answer.ReasoningContent, "ReasoningContentBlock"),
        (converse_answer.ReasoningText, "ReasoningTextBlock"),
        (converse_answer.CitationsContent, "CitationsContentBlock"),
        (converse_answer.MessageStart, "MessageStartEvent"),
        (converse_answer.ContentBlockStart, "ContentBlockStartEvent"),
        (converse_answer.BlockStart, "ContentBlockStart"),
        (converse_answer.ToolUseStart, "ToolUseBlockStart"),
        (converse_answer.ContentBlockDelta, "ContentBlockDeltaEvent"),
        (converse_answer.BlockDelta, "ContentBlockDelta"),
        (converse_answer.ToolUseDelta, "ToolUseBlockDelta"),
        (converse_answer.ReasoningDelta, "ReasoningContentBlockDelta"),
        (converse_answer.ContentBlockStop, "ContentBlockStopEvent"),
        (converse_answer.MessageStop, "MessageStopEvent"),
        (converse_answer.Metadata, "ConverseStreamMetadataEvent"),
    ],
)
def test_every_field_is_a_member_of_the_service_model(struct: type[Struct], shape: str, model: ServiceModel) -> None:
    assert set(struct.__struct_encode_fields__) <= set(structure(model, shape).members)


def test_every_event_of_the_service_model_is_read(model: ServiceModel) -> None:
    members = structure(model, "ConverseStreamOutput").members
    events = {name for name, shape in members.items() if not shape.metadata.get("exception")}
    assert events == set(converse_answer._EVENTS)


# Answers

ANSWER = {"output": {"message": {"role": "assistant", "content": []}}, "stopReason": "end_turn"}


def content(*blocks: Any) -> list[AnsweredBlock]:
    body = {**ANSWER, "output": {"message": {"role": "assistant", "content": blocks}}}
    return decode_answer(json.dumps(body).encode()).output.message.content


def test_what_is_not_known_is_passed_over() -> None:
    body = {**ANSWER, "metrics": {"latencyMs": 1}, "trace": {"a": None}, "p": "abc", "serviceTier": {"type": "x"}}
    assert decode_answer(json.dumps(body).encode()).stop_reason == "end_turn"
    assert content({"video": {}}, {"cachePoint": {"type": "default"}}) == [AnsweredBlock(), AnsweredBlock()]


def test_a_tool_input_is_kept_byte_for_byte() -> None:
    inputs = b'{"b": 1.0, "a":[1e2,123456789012345678901234567890,"\\u00e9"]}'
    use = b'{"toolUse":{"toolUseId":"c1","name":"f","input":' + inputs + b"}}"
    body = b'{"output":{"message":{"content":[' + use + b']}},"stopReason":"tool_use"}'
    [block] = decode_answer(body).output.message.content
    assert block.tool_use is not None
    assert block.tool_use.arguments == inputs.decode()


@pytest.mark.parametrize("use", [{}, {"input": None}, {"input": {}}])
def test_a_tool_without_input_has_an_empty_object(use: Any) -> None:
    [block] = content({"toolUse": {"toolUseId": "c1", "name": "f", **use}})
    assert block.tool_use is not None
    assert block.tool_use.arguments == "{}"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"<html>",
        b"{}",
        b'{"output":{},"stopReason":"end_turn"}',
        b'{"output":{"message":{"content":[]}}}',
        b'{"output":{"message":{"content":["Hi"]}},"stopReason":"end_turn"}',
        b'{"output":{"message":{"content":[{"text":"\xff"}]}},"stopReason":"end_turn"}',
        b'{"output":{"message":{"content":[{"toolUse":{"toolUseId":"c","name":"f","input":{"a":"\xff"}}}]}},"stopReason":"x"}',
        b'{"output":' + b"[" * 100_000,
    ],
)
def test_an_answer_that_is_none_is_a_bad_answer(body: bytes) -> None:
    with pytest.raises(BadAnswerError):
        decode_answer(body)


# Events


def test_an_event_is_read_past_its_padding() -> None:
    event = decode_event("contentBlockDelta", b'{"contentBlockIndex":2,"delta":{"text":"Hi"},"p":"abcdefgh"}')
    assert event == converse_answer.ContentBlockDelta(2, converse_answer.BlockDelta(text="Hi"))


@pytest.mark.parametrize("kind", ["", "contentBlockPause", "messagestart"])
def test_an_event_of_a_kind_that_is_not_known_is_nothing(kind: str) -> None:
    assert decode_event(kind, b"whatever") is None


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("messageStop", b"{}"),
        ("messageStop", b""),
        ("contentBlockDelta", b'{"delta":{"text":"x"}}'),
        ("contentBlockDelta", b'{"contentBlockIndex":0,"delta":{"text":5}}'),
        ("contentBlockDelta", b'{"contentBlockIndex":0,"delta":{"text":"\xff"}}'),
        ("contentBlockStart", b'{"contentBlockIndex":0,"start":{"toolUse":{"name":"f"}}}'),
        ("metadata", b'{"usage":{"inputTokens":"5"}}'),
        ("metadata", b'{"trace":' + b"[" * 100_000),
    ],
)
def test_an_event_that_breaks_the_service_model_is_a_bad_answer(kind: str, payload: bytes) -> None:
    with pytest.raises(BadAnswerError, match=kind):
        decode_event(kind, payload)
