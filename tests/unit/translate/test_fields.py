"""The fields that AWS's errors speak of, by OpenAI's names; the texts are as AWS and the models' servers write them."""

import pytest

from extproc.translate.fields import param


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
    ],
)
def test_a_field_that_aws_names_becomes_the_clients_own(message: str, name: str) -> None:
    assert param(message) == name


@pytest.mark.parametrize(
    "message",
    [
        "",
        "The provided request is not valid",
        "Value '0' at 'inferenceConfig.maxTokens' failed to satisfy constraint: greater than or equal to 1",
        "The model returned the following errors: max_tokens: 100000 > 64000, which is the maximum allowed number",
        "The model returned the following errors: thinking.budget_tokens: must be at least 1024",
        "Value 'x' at 'additionalModelRequestFields' failed to satisfy constraint",
        "Your temperature is too high, says nobody.",
        "A conversation must start with a user message. Try again with a conversation that starts with one.",
    ],
)
def test_where_it_is_not_sure_no_field_is_named(message: str) -> None:
    assert param(message) is None
