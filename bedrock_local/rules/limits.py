"""How a model is to answer: sampling, lengths, structured output, and fields of the model's own."""

import json
from collections.abc import Iterator
from typing import Any

from bedrock_local.conversation import Conversation
from bedrock_local.json_schema import problems
from bedrock_local.tokens import input_tokens

_EFFORTS = ("low", "medium", "high", "xhigh", "max")

#: Cache points per request, and the least that Claude may be told to think.
_MAX_CACHE_POINTS = 4
_MIN_THINKING = 1024


def sampling(conversation: Conversation) -> Iterator[str]:
    """Temperature and topP: both, one of them, or neither, by model."""
    given = [name for name in ("temperature", "topP") if name in conversation.inference]
    if conversation.model.sampling == "none" and given:
        spelled = {"temperature": "temperature", "topP": "top_p"}[given[0]]
        yield f"The model returned the following errors: `{spelled}` is deprecated for this model."
    if conversation.model.sampling == "one" and len(given) > 1:
        yield (
            "The model returned the following errors: `temperature` and `top_p` cannot both be specified for this "
            "model. Please use only one."
        )


def answer_length(conversation: Conversation) -> Iterator[str]:
    """maxTokens stays within what the model can say."""
    limit = conversation.model.max_tokens
    if conversation.inference.get("maxTokens", 1) > limit:
        yield (
            f"The maximum tokens you requested exceeds the model limit of {limit}. Try again with a maximum tokens "
            f"value that is lower than {limit}."
        )


def question_length(conversation: Conversation) -> Iterator[str]:
    """The whole request stays within what the model can read."""
    if input_tokens(conversation) > conversation.model.context:
        yield "Input is too long for requested model."


def stop_sequences(conversation: Conversation) -> Iterator[str]:
    """Claude will not be stopped by white space alone."""
    if not conversation.model.blank_stop and any(
        not sequence.strip() for sequence in conversation.inference.get("stopSequences", [])
    ):
        yield (
            "The model returned the following errors: stop_sequences: each stop sequence must contain non-whitespace"
        )


def cache_points(conversation: Conversation) -> Iterator[str]:
    """Only some models cache prompts, with at most four points."""
    points = sum(1 for _ in conversation.blocks("cachePoint"))
    points += sum("cachePoint" in block for block in conversation.request.get("system", []))
    points += sum("cachePoint" in tool for tool in conversation.request.get("toolConfig", {}).get("tools", []))
    if points and not conversation.model.cache:
        yield "This model doesn't support the cachePoint field. Remove cachePoint and try again."
    if points > _MAX_CACHE_POINTS:
        yield f"A maximum of {_MAX_CACHE_POINTS} cachePoint blocks may be provided. Found {points}."


def extra_fields(conversation: Conversation) -> Iterator[str]:
    """additionalModelRequestFields is an object, with keys that the model knows."""
    fields = conversation.request.get("additionalModelRequestFields", {})
    if not isinstance(fields, dict):
        yield (
            "The format of the additionalModelRequestFields field is invalid. Provide a json object for the field "
            "and try again."
        )
        return
    known = conversation.model.additional
    for key in fields:
        if known is not None and key not in known:
            yield (
                f"Malformed input request: #: extraneous key [{key}] is not permitted, please reformat your input "
                "and try again."
            )


def thinking(conversation: Conversation) -> Iterator[str]:
    """Claude thinks within a budget, at its own temperature, and calls no tool because it must."""
    config = conversation.extra.get("thinking")
    if not isinstance(config, dict) or config.get("type") == "disabled":
        return
    problem = "The model returned the following errors: "
    if conversation.tool_choice[0] != "auto":
        yield problem + "Thinking may not be enabled when tool_choice forces tool use."
    if config.get("type") != "enabled":
        return
    budget = config.get("budget_tokens")
    if not isinstance(budget, int) or budget < _MIN_THINKING:
        yield problem + "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"
    elif budget >= conversation.inference.get("maxTokens", conversation.model.max_tokens):
        yield problem + "`max_tokens` must be greater than `thinking.budget_tokens`."
    if conversation.inference.get("temperature", 1) != 1:
        yield problem + "`temperature` may only be set to 1 when thinking is enabled."


def effort(conversation: Conversation) -> Iterator[str]:
    """outputConfig.effort is a word that the model knows, where it knows any."""
    said = conversation.request.get("outputConfig", {}).get("effort")
    if said is None:
        return
    if not conversation.model.effort:
        yield "This model doesn't support the outputConfig.effort field. Remove outputConfig.effort and try again."
    if said not in _EFFORTS:
        yield f"The value at outputConfig.effort must be one of the following: {', '.join(_EFFORTS)}."


def structured_output(conversation: Conversation) -> Iterator[str]:
    """A schema for the answer: JSON in a string, every object closed, on models that can."""
    text_format = conversation.request.get("outputConfig", {}).get("textFormat")
    if text_format is None:
        return
    if not conversation.model.structured:
        yield (
            "This model doesn't support the outputConfig.textFormat field. Remove outputConfig.textFormat and try "
            "again."
        )
        return
    try:
        schema = json.loads(text_format["structure"]["jsonSchema"]["schema"])
    except ValueError:
        schema = None
    if not isinstance(schema, dict):
        yield "The value at outputConfig.textFormat.structure.jsonSchema.schema must be a JSON object in a string."
        return
    for place in problems(schema, "output_config.format.schema"):
        yield f"The model returned the following errors: {place}: Invalid JSON schema."
    yield from _open_objects(schema, "schema")


def _open_objects(schema: Any, path: str) -> Iterator[str]:
    if isinstance(schema, list):
        for index, item in enumerate(schema):
            yield from _open_objects(item, f"{path}.{index}")
    if not isinstance(schema, dict):
        return
    kind = schema.get("type")
    is_object = kind == "object" or (isinstance(kind, list) and "object" in kind)
    if is_object and schema.get("additionalProperties") is not False:
        yield (
            "The model returned the following errors: output_config.format.schema: For 'object' type, "
            f"'additionalProperties' must be explicitly set to false (at {path})"
        )
    for key, value in schema.items():
        if key in _SCHEMAS_BY_NAME and isinstance(value, dict):
            for name, member in value.items():
                yield from _open_objects(member, f"{path}.{key}.{name}")
        elif key not in _NO_SCHEMAS:
            yield from _open_objects(value, f"{path}.{key}")


#: Keywords whose value maps names to schemas, and those whose value is data.
_SCHEMAS_BY_NAME = ("properties", "$defs", "definitions")
_NO_SCHEMAS = ("enum", "const", "default", "examples", "required")

RULES = (
    sampling,
    answer_length,
    stop_sequences,
    cache_points,
    extra_fields,
    thinking,
    effort,
    structured_output,
    question_length,
)
