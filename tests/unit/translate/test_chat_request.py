"""A chat request as a Converse request. botocore's service model validates every body."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.bodies import MODEL
from bench.schema_shapes import GPT_OSS
from bench.shapes import SHAPES
from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.capability_table import BUILT_IN
from extproc.openai.chat import decode_request
from extproc.openai.errors import ApiError
from extproc.translate.chat_request import ChatPlan, plan

CLIENTS = Path(__file__).parents[2] / "data" / "client-requests.jsonl"

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {}}},
}
CALLED = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}]},
    {"role": "tool", "tool_call_id": "c1", "content": "42"},
]
SCHEMA: dict[str, Any] = {"type": "json_schema", "json_schema": {"name": "report", "schema": {"type": "object"}}}

Read = Callable[[bytes], dict[str, Any]]


def planned(family: Capabilities = BUILT_IN.families["claude-3-7"], **fields: Any) -> ChatPlan:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    return plan(decode_request(json.dumps(body).encode()), family)


def rejection(family: Capabilities = BUILT_IN.families["claude-3-7"], **fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        planned(family, **fields)
    assert (caught.value.status, caught.value.type) == (400, "invalid_request_error")
    return caught.value


def test_an_unknown_field_in_a_message_changes_nothing_and_is_reported() -> None:
    message = {"role": "user", "content": "Hi"}
    translated = planned(messages=[{**message, "id": "msg_1"}])
    assert translated.ignored == ("messages[].id",)
    assert translated.body == planned(messages=[message]).body


# Families

each_family = pytest.mark.parametrize("family", BUILT_IN.families.values(), ids=lambda family: family.family)


@each_family
def test_a_plain_question_goes_out_plain(family: Capabilities, read_converse: Read) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    if not family.converse:
        error = rejection(family, messages=messages)
        assert (error.param, error.code) == ("model", "unsupported_value")
        assert family.family in error.message
        return
    translated = planned(family, messages=messages)
    own = {"additionalModelResponseFieldPaths"} if family.reasoning_tokens and family.reasons_unasked else set()
    assert set(read_converse(translated.body)) <= {"messages", "system", "inferenceConfig", *own}
    assert translated.ignored == ()


@each_family
def test_a_stream_is_made_of_a_whole_response_where_bedrock_has_none(family: Capabilities) -> None:
    if not family.converse:
        return
    plain = planned(family, stream=True)
    assert (plain.stream, plain.streamed) == (family.streams, True)
    if family.tools:
        tools = planned(family, stream=True, tools=[TOOL])
        assert (tools.stream, tools.streamed) == (family.streams and family.streams_with_tools, True)


def test_a_model_that_cannot_stream_is_called_with_converse() -> None:
    family = msgspec.structs.replace(BUILT_IN.families["nova"], streams=False)
    plain = planned(family, stream=True)
    assert (plain.stream, plain.streamed) == (False, True)


def test_an_ignored_field_is_reported_once() -> None:
    translated = planned(
        BUILT_IN.families["claude-4-7"],
        seed=1,
        temperature=0.5,
        thinking={"type": "enabled", "budget_tokens": 2000},
        tools=[{**TOOL, "function": {**TOOL["function"], "strict": True}}, {"type": "custom", "custom": {"name": "g"}}],
        messages=[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho", "reasoning_content": "Hm."}]
        * 2,
    )
    assert translated.ignored == (
        "seed",
        "thinking.budget_tokens",
        "tools[].function.strict",
        "messages[].reasoning_content",
        "temperature",
    )


def test_response_format_and_effort_are_sent_together(read_converse: Read) -> None:
    schema = {**SCHEMA["json_schema"], "schema": {"type": "object", "properties": {"a": {"type": "string"}}}}
    translated = planned(
        BUILT_IN.families["claude-4-6"],
        response_format={"type": "json_schema", "json_schema": schema},
        reasoning_effort="low",
    )
    config = read_converse(translated.body)["outputConfig"]
    assert (config["effort"], config["textFormat"]["type"]) == ("low", "json_schema")


# Parameters


def test_a_bare_question_goes_out_bare(read_converse: Read) -> None:
    assert read_converse(planned().body) == {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}


def test_one_choice_is_the_default() -> None:
    assert planned(n=1).body == planned().body


def test_more_choices_than_one_are_rejected() -> None:
    assert rejection(n=2).param == "n"


# Streams


def test_a_stream_has_the_same_body_as_a_whole_response() -> None:
    assert planned(stream=True).body == planned(stream=False).body
    assert planned(stream=True).stream is True
    assert planned(stream=False).stream is planned().stream is False


@pytest.mark.parametrize(
    ("options", "usage"),
    [
        (None, False),
        ({}, False),
        ({"include_usage": None}, False),
        ({"include_usage": False}, False),
        ({"include_usage": True, "include_obfuscation": True}, True),
    ],
)
def test_usage_is_streamed_if_requested(options: Any, usage: bool) -> None:
    assert planned(stream=True, stream_options=options).include_usage is usage


@pytest.mark.parametrize("stream", [None, False])
def test_options_for_a_stream_without_a_stream_are_rejected(stream: bool | None) -> None:
    assert rejection(stream=stream, stream_options={"include_usage": True}).param == "stream_options"


# Tools


def test_tool_blocks_require_a_tool_config(read_converse: Read) -> None:
    request = read_converse(planned(messages=CALLED, tools=[TOOL]).body)
    assert [next(iter(turn["content"][0])) for turn in request["messages"]] == ["text", "toolUse", "toolResult"]
    assert "toolConfig" in request


@pytest.mark.parametrize(
    "fields", [{"tools": [TOOL], "tool_choice": "none"}, {"tools": []}, {}, {"tool_choice": "auto"}]
)
def test_the_history_becomes_text_where_no_tool_may_be_called(fields: dict[str, Any], read_converse: Read) -> None:
    request = read_converse(planned(messages=CALLED, **fields).body)
    assert [next(iter(turn["content"][0])) for turn in request["messages"]] == ["text", "text", "text"]
    assert "toolConfig" not in request


# Response formats


def test_a_json_schema_becomes_a_tool(read_converse: Read) -> None:
    translated = planned(response_format=SCHEMA)
    assert translated.shape.answer_tool == "report"
    assert read_converse(translated.body)["toolConfig"]["toolChoice"] == {"tool": {"name": "report"}}


@pytest.mark.parametrize(
    ("model", "fields", "is_tool"),
    [
        ("anthropic.claude-sonnet-4-6", {}, True),
        ("anthropic.claude-haiku-4-5-20251001-v1:0", {}, True),
        ("anthropic.claude-haiku-4-5-20251001-v1:0", {"reasoning_effort": "low"}, False),
        ("anthropic.claude-sonnet-4-6", {"thinking": {"type": "enabled", "budget_tokens": 2048}}, False),
        ("anthropic.claude-opus-4-6-v1", {}, False),
        ("anthropic.claude-opus-4-5-20251101-v1:0", {}, False),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", {}, False),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_schema_is_native_where_that_is_reliable_or_no_call_can_be_forced(
    model: str, fields: dict[str, Any], is_tool: bool, stream: bool, read_converse: Read
) -> None:
    """See vercel/ai#17881 and #19988 for the two models with a tool."""
    closed = {"type": "object", "properties": {}, "additionalProperties": False}
    response_format = {"type": "json_schema", "json_schema": {"name": "report", "schema": closed}}
    family = BUILT_IN.of(model)
    body = read_converse(planned(family, response_format=response_format, stream=stream, **fields).body)
    assert ("toolConfig" in body) == is_tool
    assert ("textFormat" in body.get("outputConfig", {})) == (not is_tool)


@pytest.mark.parametrize(
    ("fields", "is_cited"),
    [
        ({}, True),
        ({"response_format": {"type": "json_object"}}, True),
        ({"response_format": SCHEMA}, False),
    ],
)
@pytest.mark.parametrize("family", ["claude-4-5", "claude-sonnet-4-6", "claude-opus-5-5"])
def test_a_pdf_is_not_cited_beside_a_schema(
    family: str, fields: dict[str, Any], is_cited: bool, read_converse: Read
) -> None:
    part = {"type": "file", "file": {"file_data": "JVBERi0xLjcK"}}
    messages = [{"role": "user", "content": [part, {"type": "text", "text": "Hi"}]}]
    body = read_converse(planned(BUILT_IN.families[family], messages=messages, **fields).body)
    assert ("citations" in body["messages"][0]["content"][0]["document"]) == is_cited


def test_an_answer_tool_lets_the_history_keep_its_tool_blocks(read_converse: Read) -> None:
    request = read_converse(planned(messages=CALLED, response_format=SCHEMA).body)
    assert "toolUse" in request["messages"][1]["content"][0]


def test_a_json_object_is_requested_in_the_instructions(read_converse: Read) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    request = read_converse(planned(messages=messages, response_format={"type": "json_object"}).body)
    first, second = request["system"]
    assert first == {"text": "Be brief."}
    assert "JSON object" in second["text"]
    assert "toolConfig" not in request


@pytest.mark.parametrize("shape", [{"type": "text"}, None])
def test_plain_text_is_the_default(shape: Any) -> None:
    assert planned(response_format=shape).body == planned().body


# Recorded requests of clients


@pytest.mark.parametrize("line", CLIENTS.read_text().splitlines())
def test_requests_of_real_clients_are_planned_or_rejected_by_name(line: str, read_converse: Read) -> None:
    recorded = json.loads(line)
    if "refused" not in recorded:
        assert read_converse(planned(**recorded["body"]).body)["messages"][0]["role"] == "user"
    else:
        error = rejection(**recorded["body"])
        assert {"param": error.param, "code": error.code} == recorded["refused"]


# The guardrail's trace


@pytest.mark.parametrize(
    ("trace", "is_returned"), [(None, False), ("disabled", False), ("enabled", True), ("enabled_full", True)]
)
def test_a_guardrails_trace_is_returned_if_it_was_requested(trace: str | None, is_returned: bool) -> None:
    guardrail = {"guardrailIdentifier": "gr1", "guardrailVersion": "1"} | ({"trace": trace} if trace else {})
    chat_request = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "guardrailConfig": guardrail}
    translated = plan(decode_request(json.dumps(chat_request).encode()), BUILT_IN.of("anthropic.claude-sonnet-4-6"))
    assert translated.shape.trace is is_returned


@pytest.mark.parametrize(
    ("family", "fields", "is_asked"),
    [
        ("claude-3", {}, False),
        ("claude-3-7", {}, False),
        ("claude-3-7", {"reasoning_effort": "low"}, True),
        ("claude-4-6", {"thinking": {"type": "adaptive"}}, True),
        ("claude-5", {}, True),
        ("claude-5", {"reasoning_effort": "none"}, False),
        ("nova-2", {"reasoning_effort": "low"}, False),
        ("gpt-oss", {"reasoning_effort": "low"}, False),
    ],
)
def test_the_tokens_of_reasoning_are_requested_where_a_model_counts_them_and_reasons(
    family: str, fields: dict[str, Any], is_asked: bool, read_converse: Read
) -> None:
    sent = read_converse(planned(BUILT_IN.families[family], **fields).body)
    assert sent.get("additionalModelResponseFieldPaths") == (["/usage/output_tokens_details"] if is_asked else None)


@pytest.mark.parametrize(
    ("family", "tag"),
    [("nova-micro", "thinking"), ("nova-premier", "thinking"), ("nova-2", None), ("claude-3-7", None)],
)
def test_the_response_is_read_for_the_reasoning_that_the_family_writes_into_its_text(
    family: str, tag: str | None
) -> None:
    assert planned(BUILT_IN.families[family]).shape.inline_reasoning == tag


@pytest.mark.parametrize(
    ("family", "fields", "is_bare"),
    [
        ("claude-3-7", {"response_format": {"type": "json_object"}}, True),
        ("claude-4-5", {"response_format": {"type": "json_object"}}, True),
        ("unknown", {"response_format": SCHEMA}, True),
        ("claude-3-7", {"response_format": SCHEMA}, False),
        ("claude-4-5", {"response_format": SCHEMA}, False),
        ("claude-3-7", {"response_format": {"type": "text"}}, False),
        ("claude-3-7", {}, False),
    ],
)
def test_json_that_is_requested_in_words_is_bare(family: str, fields: dict[str, Any], is_bare: bool) -> None:
    assert planned(BUILT_IN.families[family], **fields).shape.bare_json == is_bare


def test_seventy_tools_whose_references_multiply_are_rejected_at_once() -> None:
    """Each definition uses the next twice: 8,190 references in a tool of 837 bytes."""
    visited = 0

    def count(frame: Any, event: str, _: object) -> None:
        nonlocal visited
        visited += event == "call" and frame.f_code.co_name == "over_schemas"

    request = decode_request(SHAPES["schema, references, nested"].write(70))
    sys.setprofile(count)
    try:
        with pytest.raises(ApiError) as caught:
            plan(request, BUILT_IN.of(GPT_OSS))
    finally:
        sys.setprofile(None)
    assert (caught.value.status, caught.value.param) == (400, "tools[0].function.parameters")
    assert visited < 1000


def test_objects_in_a_row_in_arguments_are_limited_in_all_calls_together() -> None:
    """Each is two bytes here, and a call and its result there."""
    with pytest.raises(ApiError) as caught:
        plan(decode_request(SHAPES["tool calls, joined arguments of many"].write(29)), BUILT_IN.of(MODEL))
    assert (caught.value.status, caught.value.param) == (400, "messages[3].tool_calls[0].function.arguments")
    assert plan(decode_request(SHAPES["tool calls, joined arguments of many"].write(1)), BUILT_IN.of(MODEL)).body


# Web search


@pytest.mark.parametrize("offered", [True, False])
def test_calls_of_the_history_have_the_familys_names_while_it_searches(offered: bool, read_converse: Read) -> None:
    family = msgspec.structs.replace(BUILT_IN.families["nova-premier"], property_names="[a-z]{1,64}")
    function = {"name": "a-b", "parameters": {"type": "object", "properties": {"Last Name": {"type": "string"}}}}
    call = {"id": "c1", "type": "function", "function": {"name": "a-b", "arguments": '{"Last Name":"x"}'}}
    fields: dict[str, Any] = {"messages": [CALLED[0], {"role": "assistant", "tool_calls": [call]}, CALLED[2]]}
    if offered:
        fields["tools"] = [{"type": "function", "function": function}]
    body = read_converse(planned(family, web_search_options={}, **fields).body)
    use = body["messages"][1]["content"][0]["toolUse"]
    assert use["name"] == "a_b"
    assert list(use["input"]) == (list(_properties(body)) if offered else ["Last Name"])


def _properties(body: Any) -> dict[str, Any]:
    properties: dict[str, Any] = body["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"]["json"]["properties"]
    return properties
