"""Any parameters beside the messages are accepted by the local Bedrock after translation, or are one 400.

The local Bedrock has a table and rules of its own, so that a mistake in the gateway's would have to be made twice.
"""

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from bedrock_local import models, rules, shapes
from bedrock_local.conversation import Conversation
from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.capability_table import BUILT_IN
from extproc.openai.chat import decode_request
from extproc.openai.errors import ApiError
from extproc.translate.chat_request import ChatPlan, plan

ROOMY = 3000
MODELS = [
    model for model in models.load()[0].values() if model.family and model.family.converse and model.max_tokens >= ROOMY
]
"""Those that hold a conversation, and can give as many tokens."""

efforts = st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh", "max"])
thinking = st.fixed_dictionaries(
    {"type": st.sampled_from(["enabled", "adaptive", "disabled"])},
    optional={"budget_tokens": st.integers(1, 4096), "display": st.sampled_from(["summarized", "omitted"])},
)
tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
choices = st.sampled_from(["auto", "none", "required", {"type": "function", "function": {"name": "f"}}])
schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
formats = st.sampled_from(
    [{"type": "json_object"}, {"type": "json_schema", "json_schema": {"name": "r", "schema": schema}}]
)
texts = st.text(st.sampled_from("ab é\n@"), max_size=4)
call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
histories = st.sampled_from(
    [
        [{"role": "user", "content": "Hi"}],
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Once upon"}],
        [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "42"},
        ],
    ]
)
requests = st.fixed_dictionaries(
    {"model": st.just("m"), "messages": histories, "max_tokens": st.integers(1, ROOMY)},
    optional={
        "stream": st.booleans(),
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0, 1),
        "top_k": st.integers(0, 500),
        "stop": texts | st.lists(texts, max_size=5),
        "reasoning_effort": efforts,
        "thinking": thinking,
        "tools": st.just([tool]),
        "tool_choice": choices,
        "response_format": formats,
        "service_tier": st.sampled_from(["auto", "default", "flex", "priority", "fast"]),
        "metadata": st.dictionaries(texts, texts, max_size=3),
        "user": texts,
        "safety_identifier": texts,
        "guardrailConfig": st.fixed_dictionaries(
            {"guardrailIdentifier": st.just("gr1"), "guardrailVersion": st.sampled_from(["1", "DRAFT"])},
            optional={"streamProcessingMode": st.sampled_from(["sync", "async"])},
        ),
        "performanceConfig": st.fixed_dictionaries({"latency": st.sampled_from(["standard", "optimized"])}),
    },
)


def outcome(request: dict[str, Any], takes: Capabilities) -> ChatPlan | ApiError:
    try:
        return plan(decode_request(json.dumps(request).encode()), takes)
    except ApiError as error:
        return error


def check(body: bytes, model: Any, *, streaming: bool) -> dict[str, Any]:
    """Return the request after the local Bedrock has accepted it."""
    sent = shapes.read_json(body)
    request = shapes.check("ConverseStream" if streaming else "Converse", sent, modelId=model.id)
    rules.check(Conversation(request, model, model.family, streaming))
    return request


def check_reasoning(sent: dict[str, Any], takes: Capabilities) -> None:
    inference, more = sent.get("inferenceConfig", {}), sent.get("additionalModelRequestFields", {})
    assert set(inference) <= {"maxTokens", "temperature", "topP", "stopSequences"}
    if more.get("thinking", {}).get("type") == "enabled":
        assert takes.minimum_budget is not None
        assert takes.minimum_budget <= more["thinking"]["budget_tokens"] < inference["maxTokens"]


@given(st.sampled_from(MODELS), requests)
@example(MODELS[0], {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stop": ["\n", ""]})
def test_translated_parameters_are_accepted_or_a_400(model: Any, request: dict[str, Any]) -> None:
    takes = BUILT_IN.of(model.id)
    planned = outcome(request, takes)
    if isinstance(planned, ApiError):
        assert (planned.status, planned.type) == (400, "invalid_request_error")
        assert planned.param
        return
    check_reasoning(check(planned.body, model, streaming=planned.stream), takes)
    assert len(set(planned.ignored)) == len(planned.ignored)
