"""Reasoning by boto3: which models show it, how, and that only their own comes back to them."""

import json

import pytest

from bedrock_local.models import Shelf

CLAUDE = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
SONNET_5 = "us.anthropic.claude-sonnet-5"
OPUS_55 = "us.anthropic.claude-opus-5-5"
GPT = "us.openai.gpt-5.6-sol"
OSS = "openai.gpt-oss-20b-1:0"

BUDGET = {"thinking": {"type": "enabled", "budget_tokens": 2048}}
SUMMARIZED = {"thinking": {"type": "adaptive", "display": "summarized"}}
DROP = {
    "anthropic_beta": ["thinking-binding-controls-2026-08-01"],
    "thinking": {"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "drop_block"}},
}


def content(answer):
    return answer["output"]["message"]["content"]


def thoughts(answer):
    return [block["reasoningContent"] for block in content(answer) if "reasoningContent" in block]


@pytest.fixture
def ask(local, wire):
    """Say something; gives the answer. `extra` are the additionalModelRequestFields."""

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
def test_claude_signs_what_it_thinks(ask, model, extra):
    first, second = content(ask(model, extra=extra))
    assert first["reasoningContent"]["reasoningText"]["text"] == 'Thinking about "hello".'
    assert len(first["reasoningContent"]["reasoningText"]["signature"]) == 64
    assert second["text"].startswith('You said: "hello"')


@pytest.mark.parametrize("extra", [None, {"thinking": {"type": "adaptive"}}])
def test_newer_claudes_hide_it_and_sign_it_all_the_same(ask, extra):
    (thought,) = thoughts(ask(SONNET_5, extra=extra))
    assert thought["reasoningText"]["text"] == ""
    assert thought["reasoningText"]["signature"]


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
def test_who_does_not_reason(ask, model, extra):
    assert thoughts(ask(model, extra=extra)) == []


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
def test_others_reason_without_a_signature(ask, model, extra, text):
    assert thoughts(ask(model, extra=extra)) == [{"reasoningText": {"text": text}}]


@pytest.mark.parametrize("model", [GPT, "us.xai.grok-4.6"])
def test_some_withhold_it(ask, model):
    (thought,) = thoughts(ask(model))
    assert len(thought["redactedContent"]) == 48


def test_a_demanded_tool_needs_no_thought(ask, wire):
    tools = {"tools": [wire.tool("ping")], "toolChoice": {"any": {}}}
    assert [list(block) for block in content(ask(SONNET_5, toolConfig=tools))] == [["toolUse"]]
    assert [list(block) for block in content(ask(OSS, toolConfig=tools))] == [["reasoningContent"], ["toolUse"]]


def test_a_thought_that_is_cut_short_is_not_signed(ask):
    answer = ask(SONNET_5, "count to 9", SUMMARIZED, inferenceConfig={"maxTokens": 3})
    assert content(answer) == [{"reasoningContent": {"reasoningText": {"text": "Thinking abou"}}}]
    assert answer["stopReason"] == "max_tokens"


def test_a_withheld_thought_costs_tokens_too(ask):
    answer = ask(GPT, "count to 100", inferenceConfig={"maxTokens": 16})
    assert [list(block) for block in content(answer)] == [["reasoningContent"], ["text"]]
    assert content(answer)[1]["text"] == "1 2 3 4 5 6 7 8 9 10 11 12"
    assert answer["usage"]["outputTokens"] == 16


def test_ordered_thoughts(ask):
    first, second, _ = content(ask(CLAUDE, 'hello [[local: reasoning="Let me see" redacted]]'))
    assert first["reasoningContent"]["reasoningText"]["text"] == "Let me see"
    assert first["reasoningContent"]["reasoningText"]["signature"]
    assert second["reasoningContent"]["redactedContent"]
    (plain,) = thoughts(ask("amazon.nova-lite-v1:0", "hello [[local: reasoning=Hm]]"))
    assert plain == {"reasoningText": {"text": "Hm"}}


# --- streams ---------------------------------------------------------------------------------------------------------


def deltas(local, wire, model, text="hello", extra=None):
    fields = {"additionalModelRequestFields": extra} if extra else {}
    stream = local.runtime.converse_stream(modelId=model, messages=[wire.user(text)], **fields)["stream"]
    return [event["contentBlockDelta"]["delta"] for event in stream if "contentBlockDelta" in event]


def test_a_thought_streams_in_words_and_ends_with_its_signature(local, wire, ask):
    found = [delta["reasoningContent"] for delta in deltas(local, wire, CLAUDE, extra=BUDGET) if "text" not in delta]
    assert [list(delta) for delta in found] == [["text"], ["text"], ["text"], ["signature"]]
    (whole,) = thoughts(ask(CLAUDE, extra=BUDGET))
    assert "".join(delta.get("text", "") for delta in found) == whole["reasoningText"]["text"]
    assert found[-1]["signature"] == whole["reasoningText"]["signature"]


def test_a_hidden_thought_streams_as_its_signature_alone(local, wire):
    first = deltas(local, wire, SONNET_5)[0]
    assert list(first["reasoningContent"]) == ["signature"]


def test_a_withheld_thought_streams_in_one_piece(local, wire):
    first, second = deltas(local, wire, GPT)[:2]
    assert list(first["reasoningContent"]) == ["redactedContent"]
    assert list(second) == ["text"]


# --- coming back -----------------------------------------------------------------------------------------------------


def conversation(answer, wire, then="and now?"):
    return [wire.user("hello"), answer["output"]["message"], wire.user(then)]


@pytest.mark.parametrize(
    ("model", "extra"), [(CLAUDE, BUDGET), (SONNET_5, None), (OPUS_55, None), (GPT, None), (OSS, None)]
)
def test_its_own_reasoning_comes_back(ask, wire, model, extra):
    answer = ask(model, extra=extra)
    assert thoughts(answer)
    assert ask(model, extra=extra, messages=conversation(answer, wire))["stopReason"] == "end_turn"


def test_a_changed_thought_does_not(ask, wire, refused):
    answer = ask(CLAUDE, extra=BUDGET)
    thoughts(answer)[0]["reasoningText"]["text"] += "!"
    status, name, message = refused(ask, model=CLAUDE, extra=BUDGET, messages=conversation(answer, wire))
    assert (status, name) == (400, "ValidationException")
    assert message.endswith("messages.1.content.0: Invalid `signature` in `thinking` block")


def test_a_changed_redaction_does_not(ask, wire, refused):
    answer = ask(GPT)
    thoughts(answer)[0]["redactedContent"] = b"x" + thoughts(answer)[0]["redactedContent"][1:]
    assert "Invalid `data`" in refused(ask, model=GPT, messages=conversation(answer, wire))[2]


def test_a_thought_and_a_tool_make_a_loop(ask, wire, refused):
    tools = {"tools": [wire.tool("get_weather", city={"type": "string"})]}
    question = wire.user("What is the weather in New York?")
    asked = ask(CLAUDE, extra=BUDGET, messages=[question], toolConfig=tools)
    _, said, call = content(asked)
    loop = [question, asked["output"]["message"], wire.user(toolResult=wire.result(call["toolUse"]["toolUseId"]))]
    answer = ask(CLAUDE, extra=BUDGET, messages=loop, toolConfig=tools)
    assert content(answer)[-1]["text"] == 'get_weather says "18 degrees".'
    asked["output"]["message"]["content"] = [said, call]
    told = refused(ask, model=CLAUDE, extra=BUDGET, messages=loop, toolConfig=tools)[2]
    assert "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `text`." in told
    assert ask(CLAUDE, messages=loop, toolConfig=tools)["stopReason"] == "end_turn"


def test_between_tools_it_thinks_only_there(ask, wire):
    model, extra = "us.anthropic.claude-sonnet-5-5", {"thinking": {"type": "between_tools"}}
    tools = {"tools": [wire.tool("get_weather")]}
    question = wire.user("weather?")
    asked = ask(model, extra=extra, messages=[question], toolConfig=tools)
    assert thoughts(asked) == []
    result = wire.user(toolResult=wire.result(content(asked)[-1]["toolUse"]["toolUseId"]))
    loop = [question, asked["output"]["message"], result]
    assert len(thoughts(ask(model, extra=extra, messages=loop, toolConfig=tools))) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"system": [{"text": "Be brief."}]},
        {"toolConfig": {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}]}},
    ],
)
def test_a_bound_thought_wants_what_was_before_it(ask, wire, refused, change):
    messages = conversation(ask(OPUS_55), wire)
    told = refused(ask, model=OPUS_55, messages=messages, **change)[2]
    assert "messages.1.content.0: Invalid `signature` in `thinking` block. The block is bound to a different" in told
    assert ask(OPUS_55, extra=DROP, messages=messages, **change)["stopReason"] == "end_turn"
    assert ask(SONNET_5, messages=conversation(ask(SONNET_5), wire), **change)["stopReason"] == "end_turn"


def test_a_bound_thought_does_not_mind_the_cache(ask, wire):
    messages = conversation(ask(OPUS_55), wire)
    messages[0]["content"].append({"cachePoint": {"type": "default"}})
    assert ask(OPUS_55, messages=messages)["stopReason"] == "end_turn"


def test_one_models_signature_is_anothers(ask, wire):
    messages = conversation(ask(CLAUDE, extra=BUDGET), wire)
    assert ask("us.anthropic.claude-sonnet-4-6", messages=messages)["stopReason"] == "end_turn"


def test_every_chat_model_answers_a_plain_question_and_streams(local, wire):
    """What every client does first works with every model, with its reasoning and all."""
    for identifier in callable_ids():
        call = {"modelId": identifier, "messages": [wire.user("hello")]}
        assert content(local.runtime.converse(**call))[-1]["text"].startswith('You said: "hello"')
        assert any("metadata" in event for event in local.runtime.converse_stream(**call)["stream"])


def callable_ids():
    shelf = Shelf("us-east-1")
    for model in shelf.models.values():
        if model.family is not None and model.family.converse and model.inference != ("PROVISIONED",):
            yield model.id if "ON_DEMAND" in model.inference else f"us.{model.id}"


def test_a_model_that_converse_does_not_serve(local, wire, refused):
    told = refused(local.runtime.converse, modelId="openai.gpt-5.4", messages=[wire.user("hello")])
    assert told[:2] == (400, "ValidationException")
    assert told[2].startswith("This action doesn't support the model")


def test_its_own_choice_of_no_tool(ask, wire):
    tools = {"tools": [wire.tool("get_weather")]}
    extra = {"tool_choice": {"type": "none"}}
    assert [list(block) for block in content(ask(CLAUDE, "weather?", extra, toolConfig=tools))] == [["text"]]


def test_its_own_choice_of_a_tool(ask, wire):
    tools = {"tools": [wire.tool("first"), wire.tool("second")]}
    extra = {"tool_choice": {"type": "tool", "name": "second"}}
    (call,) = content(ask(CLAUDE, extra=extra, toolConfig=tools))
    assert call["toolUse"]["name"] == "second"


def test_a_default_length_cuts(ask):
    answer = ask(CLAUDE, "count to 5000")
    assert (answer["stopReason"], answer["usage"]["outputTokens"]) == ("max_tokens", 4096)
    assert ask(CLAUDE, "count to 5000", inferenceConfig={"maxTokens": 64000})["stopReason"] == "end_turn"
    assert json.dumps(content(answer)).endswith('4096"}]')
