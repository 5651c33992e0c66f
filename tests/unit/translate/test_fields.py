"""The fields that AWS's errors speak of, by OpenAI's names; the texts are as AWS and the models' servers write them."""

import json
from typing import Any

import pytest

from extproc.bedrock.errors import BedrockError
from extproc.openai.chat import decode_request
from extproc.translate.errors import from_bedrock
from extproc.translate.fields import alternatives, param


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (
            "1 validation error detected: Value '1.5' at 'inferenceConfig.temperature' failed to satisfy constraint: "
            "Member must have value less than or equal to 1",
            "temperature",
        ),
        (
            "Value at 'messages.1.member.content.1.member.toolUse.name' failed to satisfy constraint: Member must "
            "satisfy regular expression pattern: [a-zA-Z0-9_-]+",
            "messages",
        ),
        ("This model doesn't support the stopSequences field. Remove stopSequences and try again.", "stop"),
        (
            "This model doesn't support the toolConfig.toolChoice.any field. Remove toolConfig.toolChoice.any and try "
            "again.",
            "tool_choice",
        ),
        (
            "The value at toolConfig.tools.0.toolSpec.inputSchema.json.type must be one of the following: object.",
            "tools",
        ),
        ("The text field in the ContentBlock object at messages.0.content.0 is blank. Add text to it.", "messages"),
        ("Malformed input request: #/temperature: 1.5 is not less or equal to 1, please reformat it.", "temperature"),
        ("Malformed input request: #/inputText: expected minLength: 1, actual: 0, please reformat it.", "input"),
        ("The model returned the following errors: messages.2.content.0: `tool_use` ids must be unique", "messages"),
        ("The model returned the following errors: temperature: range: 0..1", "temperature"),
        ("`temperature` and `top_p` cannot both be specified for this model. Please use only one.", "temperature"),
        ("The model returned the following errors: `temperature` is deprecated for this model.", "temperature"),
        ("Value 'x' at 'outputConfig.effort' failed to satisfy constraint: enum", "reasoning_effort"),
        ("Value 'x' at 'outputConfig.textFormat.type' failed to satisfy constraint: enum", "response_format"),
        ("Value 'x' at 'serviceTier.type' failed to satisfy constraint: enum", "service_tier"),
        ("Value '' at 'guardrailConfig.guardrailIdentifier' failed to satisfy constraint", "guardrailConfig"),
        (
            "The model returned the following errors: output_config.format: Extra inputs are not permitted",
            "response_format",
        ),
        (
            "The model returned the following errors: output_config.format.schema: Schema is too complex.",
            "response_format",
        ),
        ("The model returned the following errors: output_config.effort: Extra inputs", "reasoning_effort"),
        ("The model returned the following errors: output_config.effort: 'xhigh' is not one of", "reasoning_effort"),
        (
            "The model returned the following errors: thinking.enabled.budget_tokens: Input should be greater than or "
            "equal to 1024",
            "thinking.budget_tokens",
        ),
        (
            "The model returned the following errors: thinking.budget_tokens: must be at least 1024",
            "thinking.budget_tokens",
        ),
        ("`max_tokens` must be greater than `thinking.budget_tokens`. Please consult", "max_tokens"),
        (
            "The model returned the following errors: max_tokens: 100000 > 64000, which is the maximum allowed number",
            "max_tokens",
        ),
        (
            "Value '0' at 'inferenceConfig.maxTokens' failed to satisfy constraint: greater than or equal to 1",
            "max_tokens",
        ),
        ("A maximum of 4 blocks with cache_control may be provided. Found 5.", "cache_control"),
        ("`cache_control` cannot be set for empty text blocks", "cache_control"),
        ("Unsupported parameter: 'reasoning.effort' is not supported with this model.", "reasoning_effort"),
        ("Unsupported value: 'reasoning.effort' does not support 'none' with this model.", "reasoning_effort"),
        ("The model returned the following errors: reasoning.effort: Invalid value", "reasoning_effort"),
        ("Invalid 'reasoning_effort': `reasoning_effort` must be one of low, medium, high", "reasoning_effort"),
    ],
)
def test_a_field_that_aws_names_becomes_the_clients_own(message: str, name: str) -> None:
    assert param(message) == name


@pytest.mark.parametrize(
    ("fields", "message", "name"),
    [
        ({"max_tokens": 5}, "max_tokens: 5 > 4", "max_tokens"),
        ({"max_completion_tokens": 5}, "max_tokens: 5 > 4", "max_completion_tokens"),
        ({"reasoning_effort": "low"}, "thinking.budget_tokens: too low", "reasoning_effort"),
        ({"reasoning_effort": "low"}, "thinking: Extra inputs", "reasoning_effort"),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 5}},
            "thinking.budget_tokens: too low",
            "thinking.budget_tokens",
        ),
        ({}, "temperature: 5 > 1", "temperature"),
    ],
)
def test_of_two_fields_the_one_that_the_request_has_is_named(fields: dict[str, Any], message: str, name: str) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    failure = BedrockError("ValidationException", f"The model returned the following errors: {message}", status=400)
    names = alternatives(decode_request(json.dumps(body).encode()))
    assert from_bedrock(failure, names).param == name


@pytest.mark.parametrize(
    "message",
    [
        "",
        "The provided request is not valid",
        "Value 'x' at 'additionalModelRequestFields' failed to satisfy constraint",
        "Your temperature is too high, says nobody.",
        "A conversation must start with a user message. Try again with a conversation that starts with one.",
    ],
)
def test_where_it_is_not_sure_no_field_is_named(message: str) -> None:
    assert param(message) is None
