"""Every form of request on every model of the local Bedrock: it accepts the request, or the gateway rejects it.

The local Bedrock has a table and rules of its own, so that a mistake in the gateway's would have to be made twice.
"""

import json
from typing import Any

import pytest

from bedrock_local import models, rules, shapes
from bedrock_local.conversation import Conversation
from extproc.bedrock.capability_table import BUILT_IN
from extproc.openai.chat import decode_request
from extproc.openai.errors import ApiError
from extproc.translate.chat_request import ChatPlan, plan

MODELS = [model for model in models.load()[0].values() if model.family and model.family.converse]

Json = dict[str, Any]

TOOL = {
    "type": "function",
    "function": {
        "name": "f",
        "description": "d",
        "parameters": {
            "type": "object",
            "properties": {"a": {"$ref": "#/$defs/A"}, "p": {"type": "string", "pattern": "(?=a)a"}},
            "$defs": {"A": {"type": "integer", "minimum": 1}},
        },
    },
}
STRICT = {
    "type": "function",
    "function": {
        "name": "f",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer", "minimum": 1}},
            "required": ["a"],
            "additionalProperties": False,
        },
    },
}
RECURSIVE = {
    "type": "function",
    "function": {
        "name": "f",
        "parameters": {"type": "object", "properties": {"kids": {"type": "array", "items": {"$ref": "#"}}}},
    },
}
STRICT_RECURSIVE = {
    "type": "function",
    "function": {
        "name": "f",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"kids": {"type": "array", "items": {"$ref": "#"}}},
            "required": ["kids"],
            "additionalProperties": False,
        },
    },
}


def response_format(schema: Json) -> Json:
    return {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": schema}}


OPEN_LISTS = {
    "type": "object",
    "properties": {
        "a": {"type": "integer", "minimum": 1},
        "b": {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 3},
    },
    "required": ["a", "b"],
    "additionalProperties": False,
}
TREE = {
    "type": "object",
    "properties": {"kids": {"type": "array", "items": {"$ref": "#"}}},
    "required": ["kids"],
    "additionalProperties": False,
}
THIRTY_OPTIONS = {
    "type": "object",
    "properties": {f"p{n}": {"type": ["string", "null"]} for n in range(30)},
    "required": [],
    "additionalProperties": False,
}
EITHER = {
    "type": "object",
    "properties": {"a": {"oneOf": [{"type": "string"}, {"type": "integer"}]}},
    "required": ["a"],
    "additionalProperties": False,
}
USER = [{"role": "user", "content": "hello"}]
CALL = {
    "role": "assistant",
    "content": "so",
    "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}
ROUND = [*USER, CALL, {"role": "tool", "tool_call_id": "1", "content": '{"x": 1}'}]
PNG = "data:image/png;base64,iVBORw0KGgo="
CASES: dict[str, Json] = {
    "plain": {},
    "system": {"messages": [{"role": "system", "content": "s"}, *USER]},
    "late system": {
        "messages": [*USER, {"role": "assistant", "content": "x"}, {"role": "system", "content": "s"}, *USER]
    },
    "assistant first": {"messages": [{"role": "assistant", "content": "x"}, *USER]},
    "prefill": {"messages": [*USER, {"role": "assistant", "content": "x "}]},
    "prefill tools": {"messages": [*USER, {"role": "assistant", "content": "x "}], "tools": [TOOL]},
    "prefill schema": {
        "messages": [*USER, {"role": "assistant", "content": "x "}],
        "response_format": response_format(OPEN_LISTS),
    },
    "prefill effort": {"messages": [*USER, {"role": "assistant", "content": "x "}], "reasoning_effort": "low"},
    "tools": {"tools": [TOOL]},
    "tools stream": {"tools": [TOOL], "stream": True},
    "strict": {"tools": [STRICT]},
    "recursive tool": {"tools": [RECURSIVE]},
    "strict recursive": {"tools": [STRICT_RECURSIVE]},
    "21 strict": {
        "tools": [{"type": "function", "function": {**STRICT["function"], "name": f"f{n}"}} for n in range(21)]
    },
    "required": {"tools": [TOOL], "tool_choice": "required"},
    "named": {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
    "none": {"tools": [TOOL], "tool_choice": "none"},
    "none+history": {"messages": ROUND, "tools": [TOOL], "tool_choice": "none"},
    "no parallel": {"tools": [TOOL], "parallel_tool_calls": False},
    "no parallel required": {"tools": [TOOL], "parallel_tool_calls": False, "tool_choice": "required"},
    "loop": {"messages": ROUND, "tools": [TOOL]},
    "loop no tools": {"messages": ROUND},
    "loop+text": {"messages": ROUND + USER, "tools": [TOOL]},
    "loop+system": {"messages": [*ROUND, {"role": "system", "content": "s"}], "tools": [TOOL]},
    "loop+effort": {"messages": ROUND, "tools": [TOOL], "reasoning_effort": "high"},
    "loop image": {
        "messages": [*ROUND, {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG}}]}],
        "tools": [TOOL],
    },
    "image": {
        "messages": [
            {
                "role": "user",
                "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": PNG}}],
            }
        ]
    },
    "schema": {"response_format": response_format(OPEN_LISTS)},
    "schema+tools": {"response_format": response_format(OPEN_LISTS), "tools": [TOOL]},
    "schema recursive": {"response_format": response_format(TREE)},
    "schema big": {"response_format": response_format(THIRTY_OPTIONS)},
    "schema oneOf": {"response_format": response_format(EITHER)},
    "schema+effort": {"response_format": response_format(OPEN_LISTS), "reasoning_effort": "medium"},
    "schema stream": {"response_format": response_format(OPEN_LISTS), "stream": True},
    "json_object": {"response_format": {"type": "json_object"}},
    **{f"effort {e}": {"reasoning_effort": e} for e in ("none", "minimal", "low", "medium", "high", "xhigh")},
    "effort+max": {"reasoning_effort": "high", "max_tokens": 500},
    "effort+temp": {"reasoning_effort": "high", "temperature": 0.3, "top_p": 0.5},
    "effort+required": {"reasoning_effort": "high", "tools": [TOOL], "tool_choice": "required"},
    "sampling": {"temperature": 1.7, "top_p": 0.4},
    "top_k": {"top_k": 5},
    "effort+top_k": {"top_k": 5, "reasoning_effort": "low"},
    "stop": {"stop": ["a", "b"]},
    "blank stop": {"stop": "\n"},
    "max 1": {"max_tokens": 1},
    "max 2048": {"max_completion_tokens": 2048},
    "tier": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "metadata": {"metadata": {"a": "b"}, "user": "é@x"},
    "cache": {
        "messages": [
            {
                "role": "system",
                "content": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
            },
            {"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]},
        ]
    },
    "thinking": {"thinking": {"type": "enabled", "budget_tokens": 2048}},
}


def planned(request: Json) -> ChatPlan | ApiError:
    """Return the plan, or the error."""
    try:
        return plan(decode_request(json.dumps(request).encode()), BUILT_IN.of(request["model"]))
    except ApiError as error:
        return error


@pytest.mark.parametrize("form", CASES)
def test_every_model_accepts_the_request_or_it_is_a_400(form: str) -> None:
    for model in MODELS:
        made = planned({"model": model.id, "messages": USER, **CASES[form]})
        if isinstance(made, ApiError):
            assert (made.status, bool(made.param)) == (400, True), (model.id, made.message)
            continue
        operation = "ConverseStream" if made.stream else "Converse"
        sent = shapes.check(operation, shapes.read_json(made.body), modelId=model.id)
        rules.check(Conversation(sent, model, model.family, streaming=made.stream))
