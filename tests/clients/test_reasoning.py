"""Reasoning with OpenAI's Python SDK: by effort or by budget, read, sent back with its signature."""

import json
from typing import Any

import pytest
from openai import BadRequestError, OpenAI

CLAUDE = "anthropic.claude-sonnet-4-6"
BY_BUDGET = "anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "amazon.nova-micro-v1:0"
REASONING_NOVA = "amazon.nova-2-lite-v1:0"
ONLY_HIGH = "qwen.qwen3-32b-v1:0"

QUESTION: Any = [{"role": "user", "content": "What is the weather in Paris?"}]


def message_of(client: OpenAI, stream: bool, **parameters: Any) -> Any:
    """Return the message, of a whole response or put together by the SDK from a stream."""
    if not stream:
        return client.chat.completions.create(**parameters).choices[0].message
    with client.chat.completions.stream(**parameters) as events:
        return events.get_final_completion().choices[0].message


def thoughts(call: Any) -> list[Any]:
    """The reasoning in what a call sent to the model."""
    blocks = [block for message in call["body"]["messages"] for block in message["content"]]
    return [block["reasoningContent"] for block in blocks if "reasoningContent" in block]


def again(message: Any, text: str = "18 degrees") -> Any:
    """The conversation with the message as it came, and the result of the call in it."""
    [call] = message.tool_calls
    return [*QUESTION, message, {"role": "tool", "tool_call_id": call.id, "content": text}]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", [CLAUDE, BY_BUDGET])
def test_reasoning_goes_round_with_its_signature(
    client: OpenAI, weather: Any, local: Any, model: str, stream: bool
) -> None:
    parameters: Any = {"model": model, "tools": [weather], "reasoning_effort": "low"}
    message = message_of(client, stream, messages=QUESTION, **parameters)
    assert message.reasoning_content.startswith('Thinking about "What is the weather in Paris?"')
    [block] = message.thinking_blocks
    assert (block["type"], block["thinking"]) == ("thinking", message.reasoning_content)
    assert block["signature"]

    response = message_of(client, stream, messages=again(message), **parameters)
    assert response.content == 'get_weather says "18 degrees".'
    sent = {"text": block["thinking"], "signature": block["signature"]}
    assert thoughts(local.calls()[-1]) == [{"reasoningText": sent}]


@pytest.mark.parametrize("model", [CLAUDE, BY_BUDGET])
def test_the_tokens_of_reasoning_are_a_part_of_the_usage(client: OpenAI, local: Any, model: str) -> None:
    parameters: Any = {"model": model, "messages": QUESTION, "reasoning_effort": "low"}
    usage = client.chat.completions.create(**parameters).usage
    assert usage is not None
    assert usage.completion_tokens_details is not None
    assert 0 < (usage.completion_tokens_details.reasoning_tokens or 0) < usage.completion_tokens
    *_, last = client.chat.completions.create(**parameters, stream=True, stream_options={"include_usage": True})
    assert last.usage == usage
    assert [call["body"]["additionalModelResponseFieldPaths"] for call in local.calls()] == [
        ["/usage/output_tokens_details"]
    ] * 2


@pytest.mark.parametrize("model", [CLAUDE, NOVA])
def test_without_reasoning_there_is_no_number_of_its_tokens(client: OpenAI, model: str) -> None:
    usage = client.chat.completions.create(model=model, messages=QUESTION).usage
    assert usage is not None
    assert usage.completion_tokens_details is None


@pytest.mark.parametrize("stream", [False, True])
def test_reasoning_that_a_model_writes_into_its_text_is_reasoning(
    client: OpenAI, weather: Any, local: Any, stream: bool
) -> None:
    question: Any = [{"role": "user", "content": 'The weather in Paris? [[local: think="I need get_weather."]]'}]
    parameters: Any = {"model": NOVA, "tools": [weather]}
    message = message_of(client, stream, messages=question, **parameters)
    assert message.reasoning_content == " I need get_weather."
    assert "thinking" not in (message.content or "")
    [call] = message.tool_calls
    result: Any = {"role": "tool", "tool_call_id": call.id, "content": "18 degrees"}
    response = message_of(client, stream, messages=[*QUESTION, message, result], **parameters)
    assert response.content == 'get_weather says "18 degrees".'
    assert b"I need" not in json.dumps(local.calls()[-1]["body"]).encode()


@pytest.mark.parametrize("model", [CLAUDE, REASONING_NOVA])
def test_the_same_text_of_other_models_is_content(client: OpenAI, model: str) -> None:
    message = message_of(client, False, model=model, messages=[{"role": "user", "content": "Hi [[local: think=Hm]]"}])
    assert message.content.startswith("<thinking> Hm</thinking>")


@pytest.mark.parametrize("stream", [False, True])
def test_withheld_reasoning_makes_the_round_trip_too(client: OpenAI, weather: Any, local: Any, stream: bool) -> None:
    parameters: Any = {"model": BY_BUDGET, "tools": [weather], "reasoning_effort": "low"}
    question: Any = [{"role": "user", "content": "What is the weather in Paris? [[local: redacted]]"}]
    message = message_of(client, stream, messages=question, **parameters)
    [hidden] = [block for block in message.thinking_blocks if block["type"] == "redacted_thinking"]
    [call] = message.tool_calls
    history: Any = [*question, message, {"role": "tool", "tool_call_id": call.id, "content": "18 degrees"}]
    response = message_of(client, stream, messages=history, **parameters)
    assert response.content == 'get_weather says "18 degrees".'
    assert {"redactedContent": hidden["data"]} in thoughts(local.calls()[-1])


def fields(**extra: Any) -> Any:
    return {"additionalModelRequestFields": extra}


BUDGET: Any = {"type": "enabled", "budget_tokens": 2000}
WAYS: Any = {
    CLAUDE: ({"reasoning_effort": "low"}, fields(thinking={"type": "adaptive"}) | {"outputConfig": {"effort": "low"}}),
    BY_BUDGET: ({"extra_body": {"thinking": BUDGET}, "max_tokens": 4000}, fields(thinking=BUDGET)),
    REASONING_NOVA: (
        {"reasoning_effort": "medium"},
        fields(reasoningConfig={"type": "enabled", "maxReasoningEffort": "medium"}),
    ),
}


@pytest.mark.parametrize("model", WAYS)
def test_each_family_gets_reasoning_in_its_own_way(client: OpenAI, local: Any, model: str) -> None:
    parameters, sent = WAYS[model]
    message: Any = client.chat.completions.create(model=model, messages=QUESTION, **parameters).choices[0].message
    assert message.reasoning_content
    body = local.call()["body"]
    others = ("messages", "inferenceConfig", "additionalModelResponseFieldPaths")
    assert {key: body[key] for key in body if key not in others} == sent


@pytest.mark.parametrize(
    ("model", "effort", "sent", "named"),
    [
        (ONLY_HIGH, "minimal", None, True),
        (ONLY_HIGH, "low", None, True),
        (ONLY_HIGH, "medium", fields(reasoning_config="high"), True),
        (ONLY_HIGH, "high", fields(reasoning_config="high"), False),
        (CLAUDE, "xhigh", fields(thinking={"type": "adaptive"}) | {"outputConfig": {"effort": "max"}}, True),
        (
            REASONING_NOVA,
            "minimal",
            fields(reasoningConfig={"type": "enabled", "maxReasoningEffort": "low"}),
            True,
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_another_effort_than_the_requested_one_is_named(
    client: OpenAI, local: Any, model: str, effort: Any, sent: Any, named: bool, stream: bool
) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=QUESTION, reasoning_effort=effort, stream=stream
    )
    assert list(raw.parse())
    assert raw.headers.get("x-oai-ignored-params") == ("reasoning_effort" if named else None)
    body = local.call()["body"]
    others = ("messages", "inferenceConfig", "additionalModelResponseFieldPaths")
    assert {key: body[key] for key in body if key not in others} == (sent or {})


def test_it_gives_way_to_a_forced_tool_and_to_a_history_without_signatures(
    client: OpenAI, weather: Any, local: Any
) -> None:
    parameters: Any = {"model": BY_BUDGET, "messages": QUESTION, "tools": [weather], "reasoning_effort": "low"}
    forced = client.chat.completions.with_raw_response.create(**parameters, tool_choice="required")
    message: Any = forced.parse().choices[0].message
    bare = {"role": "assistant", "tool_calls": [call.to_dict() for call in message.tool_calls]}
    history = [*QUESTION, bare, again(message)[-1]]
    unsigned = client.chat.completions.with_raw_response.create(**{**parameters, "messages": history})
    for raw in (forced, unsigned):
        assert raw.headers["x-oai-ignored-params"] == "reasoning_effort"
        assert "reasoning_content" not in (raw.parse().choices[0].message.model_extra or {})
    assert unsigned.parse().choices[0].message.content == 'get_weather says "18 degrees".'
    assert not any("additionalModelRequestFields" in call["body"] for call in local.calls())


def test_a_signature_that_is_not_the_models_is_a_bad_request(client: OpenAI, weather: Any) -> None:
    parameters: Any = {"model": BY_BUDGET, "tools": [weather], "reasoning_effort": "low"}
    message: Any = client.chat.completions.create(messages=QUESTION, **parameters).choices[0].message
    message.thinking_blocks[0]["signature"] = "AAAA"
    with pytest.raises(BadRequestError, match="signature"):
        client.chat.completions.create(messages=again(message), **parameters)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": NOVA, "reasoning_effort": "low"}, "reasoning_effort"),
        (
            {"model": BY_BUDGET, "max_tokens": 1500, "extra_body": {"thinking": BUDGET}},
            "thinking.budget_tokens",
        ),
    ],
)
def test_impossible_reasoning_is_rejected_by_name(client: OpenAI, local: Any, fields: Any, param: str) -> None:
    with pytest.raises(BadRequestError) as rejected:
        client.chat.completions.create(messages=QUESTION, **fields)
    assert rejected.value.param == param
    assert local.calls() == []
