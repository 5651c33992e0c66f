"""POST /responses: what becomes of its items, tools and fields, and its errors, in the client's own terms."""

import json
import re
from typing import Any

import msgspec
import pytest

from extproc.bedrock.capability_table import BUILT_IN
from extproc.bedrock.catalogue import Target
from extproc.exchange.endpoint import AskContext, ResponseContext, TranslatedRequest
from extproc.exchange.responses_endpoint import decode, decode_for_count
from extproc.openai.errors import ApiError
from extproc.openai.unknown import MOST
from extproc.payload import segments
from extproc.translate.ignored import MOST_TYPES
from extproc.translate.sealed_reasoning import ReasoningSeal

CLAUDE = "anthropic.claude-sonnet-4-6"
LLAMA = "meta.llama3-3-70b-instruct-v1:0"
KEYS = (b"k" * 32,)
CONTEXT = ResponseContext("i", 1_790_000_000, 1_790_000_007, "length", KEYS)
FUNCTION = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}
NAMESPACE = {"type": "namespace", "name": "agents", "description": "Agents.", "tools": [FUNCTION]}
CALL = {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "Nothing."}


def ask(model: str = CLAUDE, **fields: Any) -> TranslatedRequest:
    body = {"model": model, "input": "Hello", **fields}
    return decode(json.dumps(body).encode()).ask(
        Target(model, model), BUILT_IN.of(model), AskContext({}, lambda _: "", KEYS)
    )


def converse(translated: TranslatedRequest) -> Any:
    [call] = translated.calls
    return json.loads(b"".join(map(bytes, segments(call.body))))


def response(translated: TranslatedRequest, *blocks: Any, stop: str = "end_turn") -> Any:
    """Return the response object for a whole response of Bedrock's with these blocks."""
    message = {"role": "assistant", "content": blocks}
    body = {"output": {"message": message}, "stopReason": stop, "usage": {"inputTokens": 3, "outputTokens": 5}}
    return json.loads(translated.pending.complete(CONTEXT, [({}, json.dumps(body).encode())]).body)


def test_instructions_come_first() -> None:
    body = converse(
        ask(
            instructions="Be brief.",
            input=[{"role": "developer", "content": "Be kind."}, {"role": "user", "content": "Hi"}],
        )
    )
    assert body["system"] == [{"text": "Be brief."}, {"text": "Be kind."}]
    assert body["messages"] == [{"role": "user", "content": [{"text": "Hi"}]}]


def test_the_response_repeats_the_request_and_stores_nothing() -> None:
    translated = ask(
        instructions="Be brief.", tools=[FUNCTION], tool_choice="required", metadata={"a": "b"}, store=True
    )
    made = response(translated, {"text": "Hi"})
    assert made["instructions"] == "Be brief."
    assert made["tools"] == [{**FUNCTION, "description": None, "strict": None}]
    assert (made["tool_choice"], made["metadata"], made["store"]) == ("required", {"a": "b"}, False)
    assert (made["id"], made["object"], made["status"]) == ("resp_i", "response", "completed")
    assert (made["created_at"], made["completed_at"]) == (1_790_000_000, 1_790_000_007)
    assert made["usage"] == {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 8,
    }


@pytest.mark.parametrize(
    ("stop", "reason"), [("max_tokens", "max_output_tokens"), ("content_filtered", "content_filter")]
)
def test_a_message_that_was_cut_short_is_incomplete(stop: str, reason: str) -> None:
    made = response(ask(), {"text": "Hi"}, stop=stop)
    assert (made["status"], made["incomplete_details"]) == ("incomplete", {"reason": reason})
    assert made["output"][0]["status"] == "incomplete"


def test_a_namespaces_tools_have_names_of_their_own_and_their_calls_go_back_under_both() -> None:
    translated = ask(tools=[FUNCTION, NAMESPACE, {**NAMESPACE, "name": "agents_"}])
    names = [tool["toolSpec"]["name"] for tool in converse(translated)["toolConfig"]["tools"]]
    assert names[:2] == ["look", "agents__look"]
    assert len(set(names)) == 3
    made = response(translated, *({"toolUse": {"toolUseId": name, "name": name, "input": {}}} for name in names))
    called = [(item["call_id"], item["name"], item.get("namespace")) for item in made["output"]]
    assert called == [("look", "look", None), (names[1], "look", "agents"), (names[2], "look", "agents_")]


def test_a_call_of_a_namespaces_tool_keeps_its_name_in_the_history() -> None:
    items = [{"role": "user", "content": "Hi"}, {**CALL, "namespace": "agents"}, OUTPUT]
    [_, assistant, _] = converse(ask(tools=[NAMESPACE], input=items))["messages"]
    assert assistant["content"][0]["toolUse"]["name"] == "agents__look"


def test_the_output_of_no_call_is_the_users_and_comes_after_results_that_are_due() -> None:
    own = {"type": "function_call_output", "name": "goal", "namespace": "agent", "output": "Win."}
    seen = {**own, "name": None, "namespace": None, "call_id": None, "output": [{"type": "input_text", "text": "A"}]}
    [_, _, results] = converse(
        ask(tools=[FUNCTION], input=[{"role": "user", "content": "Hi"}, CALL, own, OUTPUT, seen])
    )["messages"]
    assert results["content"] == [
        {"toolResult": {"toolUseId": "c", "content": [{"text": "Nothing."}]}},
        {"text": "[Output of the tool agent.goal, which was not called:]"},
        {"text": "Win."},
        {"text": "[Output of a tool that was not called:]"},
        {"text": "A"},
    ]


def test_messages_between_calls_and_their_results_come_after_the_results() -> None:
    other = {**CALL, "call_id": "d"}
    between = [{"role": "user", "content": "Wait."}, {"role": "developer", "content": "Be kind."}]
    items = [{"role": "user", "content": "Hi"}, CALL, other, between[0], OUTPUT, between[1], {**OUTPUT, "call_id": "d"}]
    after = [*items[:3], items[4], items[6], *between]
    assert converse(ask(tools=[FUNCTION], input=items)) == converse(ask(tools=[FUNCTION], input=after))


def test_tools_that_openai_runs_and_items_of_unknown_types_are_left_out_and_named() -> None:
    hosted = [
        {"type": "file_search", "vector_store_ids": []},
        {"type": "mcp"},
        {"type": "web_search_preview"},
        {"type": "A b\n"},
    ]
    items = [{"type": "mcp_call", "id": "x"}, {"role": "user", "content": "Hi"}]
    translated = ask(tools=[*hosted, FUNCTION], input=items)
    assert len(converse(translated)["toolConfig"]["tools"]) == 1
    assert {
        "tools[type=file_search]",
        "tools[type=mcp]",
        "tools[type=web_search_preview]",
        "tools[type=*]",
        "input[type=mcp_call]",
    } == set(translated.pending.ignored)


def test_the_types_that_are_named_are_few() -> None:
    items = [{"role": "user", "content": "Hi"}, *({"type": f"type_{number}"} for number in range(1000))]
    ignored = ask(input=items).pending.ignored
    assert len(ignored) == MOST_TYPES + 1
    assert ignored[-1] == "input[type=*]"


def test_the_unknown_members_that_are_named_are_few() -> None:
    ignored = ask(
        input=[{"role": "user", "content": "Hi", f"member_{number}": 1} for number in range(1000)]
    ).pending.ignored
    assert len(ignored) == MOST + 1
    assert ignored[-1] == "input[].*"


def test_the_web_is_searched_where_the_family_can() -> None:
    nova = next(name for name, family in BUILT_IN.families.items() if family.web_search)
    capabilities = BUILT_IN.families[nova]
    body = json.dumps({"model": "m", "input": "Hi", "tools": [{"type": "web_search"}]}).encode()
    translated = decode(body).ask(Target("m", "m"), capabilities, AskContext({}, lambda _: "", KEYS))
    assert translated.pending.ignored == ()
    assert converse(translated)["toolConfig"]["tools"] == [{"systemTool": {"name": capabilities.web_search}}]


def with_part(**part: Any) -> Any:
    return {"input": [{"role": "user", "content": [part]}]}


def rejected(**fields: Any) -> ApiError:
    with pytest.raises(ApiError) as raised:
        ask(**fields)
    assert raised.value.status == 400
    return raised.value


CHATS_WORDS = re.compile(r"messages\[|response_format|tool_calls|tool_call_id|'tool'|assistant message|max_tokens'")
"""Words that only a chat request has."""


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id", "unsupported_parameter"),
        ({"conversation": "conv_1"}, "conversation", "unsupported_parameter"),
        ({"background": True}, "background", "unsupported_parameter"),
        ({"prompt": {"id": "p"}}, "prompt", "unsupported_parameter"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]", "unsupported_parameter"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice", "unsupported_value"),
        ({"tool_choice": "maybe"}, "tool_choice", "invalid_value"),
        ({"tools": [{"name": "x"}]}, "tools[0].type", "missing_required_parameter"),
        ({"tools": [{**FUNCTION, "colour": 1}]}, "tools[0].colour", "unknown_parameter"),
        ({"colour": 1}, "colour", "unknown_parameter"),
        ({"input": []}, "input", "invalid_value"),
        ({"input": 5}, "input", "invalid_type"),
        ({"input": [5]}, "input[0]", "invalid_type"),
        ({"input": [{"role": "user"}]}, "input[0].content", "missing_required_parameter"),
        ({"input": [OUTPUT]}, "input[0].call_id", "invalid_value"),
        ({"input": [CALL, {"role": "user", "content": "Hi"}]}, "input[1]", "invalid_value"),
        ({"input": [{"role": "user", "content": "Hi"}, CALL]}, "input[1]", "invalid_value"),
        ({"input": [CALL, {**CALL, "call_id": "d"}, {**OUTPUT, "call_id": "d"}]}, "input[0]", "invalid_value"),
        (
            {"input": [{"type": "custom_tool_call_output", "output": ""}]},
            "input[0].call_id",
            "missing_required_parameter",
        ),
        ({"input": [{**CALL, "call_id": None}]}, "input[0].call_id", "invalid_type"),
        ({"input": [{"role": "user", "content": "Hi"}, CALL, CALL, OUTPUT]}, "input[2].call_id", "invalid_value"),
        (with_part(type="input_image", file_id="f"), "input[0].content[0].file_id", "unsupported_parameter"),
        (with_part(type="input_image", image_url="data:,"), "input[0].content[0].image_url", None),
        (with_part(type="input_file", file_url="https://x"), "input[0].content[0].file_url", "unsupported_parameter"),
        ({"stream_options": {}}, "stream_options", "invalid_value"),
        ({"model": LLAMA, "reasoning": {"effort": "high"}}, "reasoning.effort", "unsupported_parameter"),
    ],
)
def test_an_error_names_the_clients_own_field(fields: Any, param: str, code: str | None) -> None:
    error = rejected(**fields)
    assert error.param == param
    if code is not None:
        assert error.code == code
    assert not CHATS_WORDS.search(error.message)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([CALL], "No tool output found for function call c."),
        ([CALL, {**CALL, "call_id": "d"}], "No tool output found for function calls c, d."),
        ([OUTPUT], "No tool call found for function call output with call_id c."),
    ],
)
def test_calls_without_outputs_and_outputs_without_calls_have_openais_messages(items: Any, message: str) -> None:
    assert rejected(input=[{"role": "user", "content": "Hi"}, *items]).message.startswith(message)


def test_a_search_of_the_web_cannot_be_required() -> None:
    error = rejected(tools=[{"type": "web_search"}], tool_choice={"type": "web_search"})
    assert error.message.startswith("'tool_choice' requires a tool of the type 'web_search': only functions")


def history(encrypted: str, model: str = CLAUDE) -> TranslatedRequest:
    reasoning = {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": encrypted}
    items = [{"role": "user", "content": "Hi"}, reasoning, CALL, OUTPUT]
    return ask(model, input=items, tools=[FUNCTION], reasoning={"effort": "high"})


def test_reasoning_returns_to_its_place() -> None:
    include = {"include": ["reasoning.encrypted_content"], "reasoning": {"effort": "high", "summary": "auto"}}
    block = {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}}
    use = {"toolUse": {"toolUseId": "c", "name": "look", "input": {}}}
    made = response(ask(tools=[FUNCTION], **include), block, use)
    assert [item["type"] for item in made["output"]] == ["reasoning", "function_call"]
    assert made["output"][0]["summary"] == [{"type": "summary_text", "text": "Hm."}]
    translated = history(made["output"][0]["encrypted_content"])
    assert translated.pending.ignored == ()
    assert converse(translated)["messages"][1]["content"] == [block, use]


def test_reasoning_without_a_wish_for_it_has_neither_a_summary_nor_content() -> None:
    block = {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}}
    [reasoning, _] = response(ask(), block, {"text": "Hi"})["output"]
    assert reasoning["summary"] == []
    assert "encrypted_content" not in reasoning


def test_forged_and_foreign_reasoning_is_left_out_and_named() -> None:
    block = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
    for sealed in ("forged", ReasoningSeal((b"x" * 32,)).seal(block, CLAUDE), ReasoningSeal(KEYS).seal(block, LLAMA)):
        translated = history(sealed)
        assert "input[].encrypted_content" in translated.pending.ignored
        assert "reasoningContent" not in json.dumps(converse(translated))


def test_a_pending_request_survives_the_way_to_another_process() -> None:
    pending = ask(tools=[NAMESPACE], metadata={"a": "b"}).pending
    assert msgspec.json.decode(msgspec.json.encode(pending), type=type(pending)) == pending


# Counting


def test_a_count_is_of_what_would_be_sent() -> None:
    body = {"model": CLAUDE, "input": "Hello", "instructions": "Be brief.", "tools": [FUNCTION], "temperature": 0.5}
    target = Target(f"us.{CLAUDE}", CLAUDE)
    context = AskContext({}, lambda _: "", KEYS)
    translated = decode_for_count(json.dumps(body).encode()).ask(target, BUILT_IN.of(CLAUDE), context)
    sent = converse(ask(**{name: value for name, value in body.items() if name != "model"}))
    [call] = translated.calls
    assert call.path == "/model/anthropic.claude-sonnet-4-6/count-tokens"
    assert converse(translated) == {
        "input": {"converse": {name: sent[name] for name in ("messages", "system", "toolConfig")}}
    }
    completed = translated.pending.complete(CONTEXT, [({}, b'{"inputTokens":7}')])
    assert json.loads(completed.body) == {"object": "response.input_tokens", "input_tokens": 7}


@pytest.mark.parametrize("line_break", ["\n", "\r", "\r\n\r\n"])
def test_an_indented_request_is_repeated_in_events_of_one_line(line_break: str) -> None:
    schema = {"type": "object", "properties": {}}
    fields: dict[str, Any] = {
        "tools": [FUNCTION, {"type": "custom", "name": "note", "description": "A\nnote"}, NAMESPACE],
        "tool_choice": {"type": "function", "name": "look"},
        "text": {"format": {"type": "json_schema", "name": "it", "schema": schema}},
    }
    request = {"model": CLAUDE, "input": "Hello", "stream": True, **fields}
    body = json.dumps(request, indent=1).replace("\n", line_break).encode()
    translated = decode(body).ask(Target(CLAUDE, CLAUDE), BUILT_IN.of(CLAUDE), AskContext({}, lambda _: "", KEYS))
    message = {"role": "assistant", "content": [{"text": "Hi"}]}
    answer = {"output": {"message": message}, "stopReason": "end_turn", "usage": {"inputTokens": 3, "outputTokens": 5}}
    events = translated.pending.complete(CONTEXT, [({}, json.dumps(answer).encode())]).body
    lines = events.splitlines()
    assert {line.partition(b": ")[0] for line in lines} == {b"event", b"data", b""}
    data = [json.loads(line.removeprefix(b"data: ")) for line in lines if line.startswith(b"data: ")]
    whole = [event["response"] for event in data if "response" in event]
    assert len(whole) == 3
    for made in whole:
        assert made["tools"][1:] == fields["tools"][1:]
        assert (made["tool_choice"], made["text"]["format"]["schema"]) == (fields["tool_choice"], schema)


def test_an_unknown_foundation_model_is_not_counted() -> None:
    context = AskContext({}, lambda _: "", KEYS)
    with pytest.raises(ApiError, match="foundation models only") as raised:
        decode_for_count(b'{"model":"m","input":"Hello"}').ask(Target("m", None), BUILT_IN.of(CLAUDE), context)
    assert raised.value.status == 404
