"""The Converse wire format: encoded requests, and lenient decoding of responses and events."""

import json
from typing import Any

import botocore.session
import pytest
from botocore.model import ServiceModel, StructureShape
from msgspec import Raw, Struct

from extproc.bedrock import converse, converse_response
from extproc.bedrock.converse import (
    ConverseMessage,
    ConverseRequest,
    InferenceConfig,
    TextContent,
    ToolChoice,
    ToolUseBlock,
    ToolUseContent,
)
from extproc.bedrock.converse_response import (
    MAX_EVENT,
    MAX_VALUES,
    ContentBlockDeltaEvent,
    ConverseResponseError,
    ResponseBlock,
    decode_count,
    decode_event,
    decode_response,
)


@pytest.fixture(scope="module")
def model() -> ServiceModel:
    return botocore.session.get_session().get_service_model("bedrock-runtime")


def structure(model: ServiceModel, name: str) -> StructureShape:
    shape = model.shape_for(name)
    assert isinstance(shape, StructureShape)
    return shape


# Requests


def test_unset_fields_are_not_sent() -> None:
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
        (converse_response.ConverseResponse, "ConverseResponse"),
        (converse_response.TokenUsage, "TokenUsage"),
        (ResponseBlock, "ContentBlock"),
        (converse_response.ResponseToolUse, "ToolUseBlock"),
        (converse_response.ResponseReasoning, "ReasoningContentBlock"),
        (converse_response.ResponseReasoningText, "ReasoningTextBlock"),
        (converse_response.CitationsContentBlock, "CitationsContentBlock"),
        (converse_response.MessageStartEvent, "MessageStartEvent"),
        (converse_response.ContentBlockStartEvent, "ContentBlockStartEvent"),
        (converse_response.ContentBlockStart, "ContentBlockStart"),
        (converse_response.ToolUseBlockStart, "ToolUseBlockStart"),
        (converse_response.ContentBlockDeltaEvent, "ContentBlockDeltaEvent"),
        (converse_response.ContentBlockDelta, "ContentBlockDelta"),
        (converse_response.ToolUseBlockDelta, "ToolUseBlockDelta"),
        (converse_response.ReasoningContentBlockDelta, "ReasoningContentBlockDelta"),
        (converse_response.ContentBlockStopEvent, "ContentBlockStopEvent"),
        (converse_response.MessageStopEvent, "MessageStopEvent"),
        (converse_response.ConverseStreamMetadataEvent, "ConverseStreamMetadataEvent"),
    ],
)
def test_every_field_is_a_member_of_the_service_model(struct: type[Struct], shape: str, model: ServiceModel) -> None:
    assert set(struct.__struct_encode_fields__) <= set(structure(model, shape).members)


def test_every_event_of_the_service_model_is_read(model: ServiceModel) -> None:
    members = structure(model, "ConverseStreamOutput").members
    events = {name for name, shape in members.items() if not shape.metadata.get("exception")}
    assert events == set(converse_response._EVENTS)


# Responses

RESPONSE = {"output": {"message": {"role": "assistant", "content": []}}, "stopReason": "end_turn"}


def content(*blocks: Any) -> list[ResponseBlock]:
    body = {**RESPONSE, "output": {"message": {"role": "assistant", "content": blocks}}}
    return decode_response(json.dumps(body).encode()).output.message.content


def test_unknown_fields_of_a_response_are_ignored() -> None:
    body = {**RESPONSE, "metrics": {"latencyMs": 1}, "trace": {"a": None}, "p": "abc", "serviceTier": {"type": "x"}}
    assert decode_response(json.dumps(body).encode()).stop_reason == "end_turn"
    assert content({"video": {}}, {"cachePoint": {"type": "default"}}) == [ResponseBlock(), ResponseBlock()]


def test_a_tool_input_is_kept_byte_for_byte() -> None:
    inputs = b'{"b": 1.0, "a":[1e2,123456789012345678901234567890,"\\u00e9"]}'
    use = b'{"toolUse":{"toolUseId":"c1","name":"f","input":' + inputs + b"}}"
    body = b'{"output":{"message":{"content":[' + use + b']}},"stopReason":"tool_use"}'
    [block] = decode_response(body).output.message.content
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
def test_an_unreadable_response_is_a_bad_response(body: bytes) -> None:
    with pytest.raises(ConverseResponseError):
        decode_response(body)


# Events


def test_an_event_is_read_past_its_padding() -> None:
    event = decode_event("contentBlockDelta", b'{"contentBlockIndex":2,"delta":{"text":"Hi"},"p":"abcdefgh"}')
    assert event == converse_response.ContentBlockDeltaEvent(2, converse_response.ContentBlockDelta(text="Hi"))


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
        ("metadata", b'{"usage":{"inputTokens":-1}}'),
        ("metadata", b'{"usage":{"outputTokens":1000000001}}'),
        ("metadata", b'{"usage":{"cacheReadInputTokens":%s}}' % (b"9" * 400)),
        ("metadata", b'{"usage":{"cacheWriteInputTokens":-18446744073709551616}}'),
        ("metadata", b'{"trace":' + b"[" * 100_000),
    ],
)
def test_an_event_that_breaks_the_service_model_is_a_bad_response(kind: str, payload: bytes) -> None:
    with pytest.raises(ConverseResponseError, match=kind):
        decode_event(kind, payload)


@pytest.mark.parametrize("member", ["trace", "additionalModelResponseFields"])
def test_a_response_of_too_many_values_is_malformed(member: str) -> None:
    for value in (b"[%b0]" % (b"[]," * MAX_VALUES), b"{%b}" % b",".join(b'"%d":{}' % at for at in range(MAX_VALUES))):
        body = b'{"output":{"message":{"role":"assistant","content":[]}},"stopReason":"end_turn","%b":%b}'
        with pytest.raises(ConverseResponseError, match="more than 100,000 JSON values"):
            decode_response(body % (member.encode(), value))


@pytest.mark.parametrize("kind", ["messageStop", "metadata", "contentBlockDelta", "contentBlockStart"])
def test_an_event_of_too_many_values_or_bytes_is_malformed(kind: str) -> None:
    with pytest.raises(ConverseResponseError, match=f"{kind} event: more than 100,000 JSON values"):
        decode_event(kind, b'{"trace":{"a":[%b0]}}' % (b"[]," * MAX_VALUES))
    with pytest.raises(ConverseResponseError, match=f"{kind} event: 8,388,620 bytes"):
        decode_event(kind, b'{"p":"%b"}' % (b"x" * (MAX_EVENT + 4)))


def test_a_long_text_is_one_value() -> None:
    event = decode_event("contentBlockDelta", b'{"contentBlockIndex":0,"delta":{"text":"%b"}}' % (b"[],{:" * 200_000))
    assert isinstance(event, ContentBlockDeltaEvent)
    assert len(event.delta.text or "") == 1_000_000


def test_a_number_of_tokens() -> None:
    assert decode_count(b'{"inputTokens":7,"more":[1]}') == 7


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputTokens":7,"more":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"inputTokens":"\xff"}',
        b'{"inputTokens":1000000001}',
        b'{"inputTokens":-1}',
        b"{}",
        b"",
    ],
    ids=["deep", "no UTF-8", "too many", "negative", "none", "empty"],
)
def test_what_is_no_number_of_tokens_is_an_error(body: bytes) -> None:
    with pytest.raises(ConverseResponseError, match="CountTokens response"):
        decode_count(body)
