"""Reasoning by boto3: which models show it, how, and that only their own comes back to them."""

import json

import pytest

from bedrock_local.models import Shelf

CLAUDE = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
SONNET_5 = "us.anthropic.claude-sonnet-5"
OPUS_55 = "us.anthropic.claude-opus-5-5"
GPT = "us.openai.gpt-5.6-sol"
OSS = "openai.gpt-oss-20b-1:0"
KIMI = "moonshotai.kimi-k2.5"

BUDGET = {"thinking": {"type": "enabled", "budget_tokens": 2048}}
SUMMARIZED = {"thinking": {"type": "adaptive", "display": "summarized"}}
DROP = {
    "anthropic_beta": ["thinking-binding-controls-2026-08-01"],
    "thinking": {"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "drop_block"}},
}


def content(response):
    return response["output"]["message"]["content"]


def reasoning_blocks(response):
    return [block["reasoningContent"] for block in content(response) if "reasoningContent" in block]


@pytest.fixture
def send(local, wire):
    """Send a message, and return the response. `extra` are the additionalModelRequestFields."""

    def speak(model, text="hello", extra=None, **more):
        fields = {"additionalModelRequestFields": extra} if extra else {}
        return local.runtime.converse(modelId=model, **{"messages": [wire.user(text)], **fields, **more})

    return speak


# --- who reasons, and what is seen of it -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "extra"),
    [
        (CLAUDE, BUDGET),
        ("us.anthropic.claude-sonnet-4-6", {"thinking": {"type": "adaptive"}}),
        ("us.anthropic.claude-opus-4-7", SUMMARIZED),
        (SONNET_5, SUMMARIZED),
    ],
)
def test_claude_signs_its_reasoning(send, model, extra):
    first, second = content(send(model, extra=extra))
    assert first["reasoningContent"]["reasoningText"]["text"] == 'Thinking about "hello".'
    assert len(first["reasoningContent"]["reasoningText"]["signature"]) == 64
    assert second["text"].startswith('You said: "hello"')


@pytest.mark.parametrize("extra", [None, {"thinking": {"type": "adaptive"}}])
def test_newer_claudes_hide_it_and_sign_it_all_the_same(send, extra):
    (reasoning,) = reasoning_blocks(send(SONNET_5, extra=extra))
    assert reasoning["reasoningText"]["text"] == ""
    assert reasoning["reasoningText"]["signature"]


@pytest.mark.parametrize(
    ("model", "extra"),
    [
        (CLAUDE, None),
        (CLAUDE, {"thinking": {"type": "disabled"}}),
        (SONNET_5, {"thinking": {"type": "disabled"}}),
        ("us.anthropic.claude-sonnet-5-5", {"thinking": {"type": "between_tools"}}),
        ("us.amazon.nova-2-lite-v1:0", None),
        ("us.amazon.nova-2-lite-v1:0", {"reasoningConfig": {"type": "disabled"}}),
        ("qwen.qwen3-32b-v1:0", None),
        (GPT, {"reasoning": {"effort": "none"}}),
    ],
)
def test_models_without_reasoning(send, model, extra):
    assert reasoning_blocks(send(model, extra=extra)) == []


@pytest.mark.parametrize(
    ("model", "extra", "text"),
    [
        ("us.deepseek.r1-v1:0", None, 'Thinking about "hello".'),
        ("minimax.minimax-m2", None, 'Thinking about "hello".'),
        (OSS, None, 'Thinking about "hello".'),
        (OSS, {"reasoning_effort": "high"}, 'Thinking about "hello" with high effort.'),
        ("deepseek.v3-v1:0", {"reasoning_effort": "high"}, 'Thinking about "hello" with high effort.'),
        ("qwen.qwen3-32b-v1:0", {"reasoning_config": "high"}, 'Thinking about "hello" with high effort.'),
        (
            "us.amazon.nova-2-lite-v1:0",
            {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}},
            'Thinking about "hello" with high effort.',
        ),
    ],
)
def test_others_reason_without_a_signature(send, model, extra, text):
    assert reasoning_blocks(send(model, extra=extra)) == [{"reasoningText": {"text": text}}]


@pytest.mark.parametrize("model", [GPT, "us.xai.grok-4.6"])
def test_some_withhold_it(send, model):
    (reasoning,) = reasoning_blocks(send(model))
    assert len(reasoning["redactedContent"]) == 48


def test_a_demanded_tool_needs_no_reasoning(send, wire):
    tools = {"tools": [wire.tool("ping")], "toolChoice": {"any": {}}}
    assert [list(block) for block in content(send(SONNET_5, toolConfig=tools))] == [["toolUse"]]
    assert [list(block) for block in content(send(OSS, toolConfig=tools))] == [["reasoningContent"], ["toolUse"]]


def test_reasoning_that_is_cut_short_is_not_signed(send):
    response = send(SONNET_5, "count to 9", SUMMARIZED, inferenceConfig={"maxTokens": 3})
    assert content(response) == [{"reasoningContent": {"reasoningText": {"text": "Thinking abou"}}}]
    assert response["stopReason"] == "max_tokens"


def test_withheld_reasoning_costs_tokens_too(send):
    response = send(GPT, "count to 100", inferenceConfig={"maxTokens": 16})
    assert [list(block) for block in content(response)] == [["reasoningContent"], ["text"]]
    assert content(response)[1]["text"] == "1 2 3 4 5 6 7 8 9 10 11 12"
    assert response["usage"]["outputTokens"] == 16


def test_ordered_reasoning(send):
    first, second, _ = content(send(CLAUDE, 'hello [[local: reasoning="Let me see" redacted]]'))
    assert first["reasoningContent"]["reasoningText"]["text"] == "Let me see"
    assert first["reasoningContent"]["reasoningText"]["signature"]
    assert second["reasoningContent"]["redactedContent"]
    (plain,) = reasoning_blocks(send("amazon.nova-lite-v1:0", "hello [[local: reasoning=Hm]]"))
    assert plain == {"reasoningText": {"text": "Hm"}}


# --- streams ---------------------------------------------------------------------------------------------------------


def deltas(local, wire, model, text="hello", extra=None):
    fields = {"additionalModelRequestFields": extra} if extra else {}
    stream = local.runtime.converse_stream(modelId=model, messages=[wire.user(text)], **fields)["stream"]
    return [event["contentBlockDelta"]["delta"] for event in stream if "contentBlockDelta" in event]


def test_reasoning_streams_in_words_and_ends_with_its_signature(local, wire, send):
    reasoning_deltas = [
        delta["reasoningContent"] for delta in deltas(local, wire, CLAUDE, extra=BUDGET) if "text" not in delta
    ]
    assert [list(delta) for delta in reasoning_deltas] == [["text"], ["text"], ["text"], ["signature"]]
    (whole,) = reasoning_blocks(send(CLAUDE, extra=BUDGET))
    assert "".join(delta.get("text", "") for delta in reasoning_deltas) == whole["reasoningText"]["text"]
    assert reasoning_deltas[-1]["signature"] == whole["reasoningText"]["signature"]


def test_hidden_reasoning_streams_as_its_signature_alone(local, wire):
    first = deltas(local, wire, SONNET_5)[0]
    assert list(first["reasoningContent"]) == ["signature"]


def test_withheld_reasoning_streams_in_one_piece(local, wire):
    first, second = deltas(local, wire, GPT)[:2]
    assert list(first["reasoningContent"]) == ["redactedContent"]
    assert list(second) == ["text"]


# --- coming back -----------------------------------------------------------------------------------------------------


def conversation(response, wire, then="and now?"):
    return [wire.user("hello"), response["output"]["message"], wire.user(then)]


@pytest.mark.parametrize(
    ("model", "extra"), [(CLAUDE, BUDGET), (SONNET_5, None), (OPUS_55, None), (GPT, None), (KIMI, None)]
)
def test_a_models_own_reasoning_is_accepted_back(send, wire, model, extra):
    response = send(model, extra=extra)
    assert reasoning_blocks(response)
    assert send(model, extra=extra, messages=conversation(response, wire))["stopReason"] == "end_turn"


def test_changed_reasoning_is_rejected(send, wire, rejected):
    response = send(CLAUDE, extra=BUDGET)
    reasoning_blocks(response)[0]["reasoningText"]["text"] += "!"
    status, name, message = rejected(send, model=CLAUDE, extra=BUDGET, messages=conversation(response, wire))
    assert (status, name) == (400, "ValidationException")
    assert message.endswith("messages.1.content.0: Invalid `signature` in `thinking` block")


def test_a_changed_redaction_is_rejected(send, wire, rejected):
    response = send(GPT)
    reasoning_blocks(response)[0]["redactedContent"] = b"x" + reasoning_blocks(response)[0]["redactedContent"][1:]
    assert "Invalid `data`" in rejected(send, model=GPT, messages=conversation(response, wire))[2]


def test_reasoning_and_a_tool_make_a_loop(send, wire, rejected):
    tools = {"tools": [wire.tool("get_weather", city={"type": "string"})]}
    question = wire.user("What is the weather in New York?")
    response = send(CLAUDE, extra=BUDGET, messages=[question], toolConfig=tools)
    _, text_block, call = content(response)
    loop = [question, response["output"]["message"], wire.user(toolResult=wire.result(call["toolUse"]["toolUseId"]))]
    final = send(CLAUDE, extra=BUDGET, messages=loop, toolConfig=tools)
    assert content(final)[-1]["text"] == 'get_weather says "18 degrees".'
    response["output"]["message"]["content"] = [text_block, call]
    message = rejected(send, model=CLAUDE, extra=BUDGET, messages=loop, toolConfig=tools)[2]
    assert "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `text`." in message
    assert send(CLAUDE, messages=loop, toolConfig=tools)["stopReason"] == "end_turn"


def test_between_tools_it_thinks_only_there(send, wire):
    model, extra = "us.anthropic.claude-sonnet-5-5", {"thinking": {"type": "between_tools"}}
    tools = {"tools": [wire.tool("get_weather")]}
    question = wire.user("weather?")
    response = send(model, extra=extra, messages=[question], toolConfig=tools)
    assert reasoning_blocks(response) == []
    result = wire.user(toolResult=wire.result(content(response)[-1]["toolUse"]["toolUseId"]))
    loop = [question, response["output"]["message"], result]
    assert len(reasoning_blocks(send(model, extra=extra, messages=loop, toolConfig=tools))) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"system": [{"text": "Be brief."}]},
        {"toolConfig": {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}]}},
    ],
)
def test_bound_reasoning_needs_the_messages_before_it(send, wire, rejected, change):
    messages = conversation(send(OPUS_55), wire)
    message = rejected(send, model=OPUS_55, messages=messages, **change)[2]
    assert "messages.1.content.0: Invalid `signature` in `thinking` block. The block is bound to a different" in message
    assert send(OPUS_55, extra=DROP, messages=messages, **change)["stopReason"] == "end_turn"
    assert send(SONNET_5, messages=conversation(send(SONNET_5), wire), **change)["stopReason"] == "end_turn"


def test_bound_reasoning_is_independent_of_the_cache(send, wire):
    messages = conversation(send(OPUS_55), wire)
    messages[0]["content"].append({"cachePoint": {"type": "default"}})
    assert send(OPUS_55, messages=messages)["stopReason"] == "end_turn"


def test_models_accept_each_others_signatures(send, wire):
    messages = conversation(send(CLAUDE, extra=BUDGET), wire)
    assert send("us.anthropic.claude-sonnet-4-6", messages=messages)["stopReason"] == "end_turn"


def test_every_chat_model_responds_to_a_plain_prompt_and_streams(local, wire):
    """Every model serves what every client does first, with its reasoning and all."""
    for identifier in callable_ids():
        call = {"modelId": identifier, "messages": [wire.user("hello")]}
        assert content(local.runtime.converse(**call))[-1]["text"].startswith('You said: "hello"')
        assert any("metadata" in event for event in local.runtime.converse_stream(**call)["stream"])


def callable_ids():
    shelf = Shelf("us-east-1")
    for model in shelf.models.values():
        if model.family is not None and model.family.converse and model.inference != ("PROVISIONED",):
            yield model.id if "ON_DEMAND" in model.inference else f"us.{model.id}"


def test_a_model_that_converse_does_not_serve(local, wire, rejected):
    error = rejected(local.runtime.converse, modelId="openai.gpt-5.4", messages=[wire.user("hello")])
    assert error[:2] == (400, "ValidationException")
    assert error[2].startswith("This action doesn't support the model")


def test_its_own_choice_of_no_tool(send, wire):
    tools = {"tools": [wire.tool("get_weather")]}
    extra = {"tool_choice": {"type": "none"}}
    assert [list(block) for block in content(send(CLAUDE, "weather?", extra, toolConfig=tools))] == [["text"]]


def test_its_own_choice_of_a_tool(send, wire):
    tools = {"tools": [wire.tool("first"), wire.tool("second")]}
    extra = {"tool_choice": {"type": "tool", "name": "second"}}
    (call,) = content(send(CLAUDE, extra=extra, toolConfig=tools))
    assert call["toolUse"]["name"] == "second"


def test_a_default_length_cuts(send):
    response = send(CLAUDE, "count to 5000")
    assert (response["stopReason"], response["usage"]["outputTokens"]) == ("max_tokens", 4096)
    assert send(CLAUDE, "count to 5000", inferenceConfig={"maxTokens": 64000})["stopReason"] == "end_turn"
    assert json.dumps(content(response)).endswith('4096"}]')
