"""Every body, however odd, gets a response or an error: none makes the server fail."""

import copy
import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bedrock_local.seals import signature

SCHEMA = {"type": "object", "properties": {"a": {"type": "array", "items": {"$ref": "#/properties/a"}}}}
WHOLE = {
    "system": [{"text": "Be brief."}, {"cachePoint": {"type": "default"}}],
    "messages": [
        {"role": "user", "content": [{"text": "look"}, {"image": {"format": "gif", "source": {"bytes": "R0lGODlh"}}}]},
        {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "hm", "signature": signature("hm", "hm", bytes(16))}}},
                {"text": "yes"},
                {"toolUse": {"toolUseId": "1", "name": "f", "input": {}}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"toolResult": {"toolUseId": "1", "content": [{"json": {"a": 1}}], "status": "success"}},
                {"text": "f [[local: texts=2]]"},
                {"cachePoint": {"type": "default", "ttl": "5m"}},
            ],
        },
    ],
    "inferenceConfig": {"maxTokens": 20, "temperature": 0.5, "stopSequences": ["x"]},
    "toolConfig": {
        "tools": [{"toolSpec": {"name": "f", "description": "F.", "strict": False, "inputSchema": {"json": SCHEMA}}}],
        "toolChoice": {"auto": {}},
    },
    "outputConfig": {
        "textFormat": {
            "type": "json_schema",
            "structure": {"jsonSchema": {"schema": '{"type": "object", "additionalProperties": false}'}},
        }
    },
    "additionalModelRequestFields": {
        "thinking": {"type": "disabled"},
        "top_k": 5,
        "anthropic_beta": ["context-1m-2025-08-07"],
        "tool_choice": {"disable_parallel_tool_use": True},
    },
    "guardrailConfig": {"guardrailIdentifier": "abc", "guardrailVersion": "1", "trace": "enabled"},
    "serviceTier": {"type": "default"},
    "additionalModelResponseFieldPaths": ["/stop_sequence"],
    "requestMetadata": {"a": "b"},
}

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["auto", "user", "1"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["text", "a", "type", "$ref"]), inner),
    max_leaves=4,
)


def places(value, path=()):
    """Every path into a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


PLACES = list(places(WHOLE))[1:]


@st.composite
def bodies(draw):
    """The whole request with one to three places changed or gone."""
    body = copy.deepcopy(WHOLE)
    for path in draw(st.lists(st.sampled_from(PLACES), min_size=1, max_size=3)):
        holder = body
        try:
            for key in path[:-1]:
                holder = holder[key]
            if draw(st.booleans()):
                holder[path[-1]] = draw(VALUES)
            else:
                del holder[path[-1]]
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took it away
    return json.dumps(body).encode()


CLAUDE = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
OTHERS = ("us.anthropic.claude-opus-5-5", "us.amazon.nova-2-lite-v1:0", "us.openai.gpt-5.6-sol")


def test_the_request_is_whole(local):
    assert local.converse(WHOLE, CLAUDE).status == 200


@settings(max_examples=600, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(bodies(), st.sampled_from([CLAUDE, CLAUDE, *OTHERS]))
def test_a_changed_request_is_served_or_rejected(local, body, model):
    response = local.converse(body, model)
    assert response.status in (200, 400), response.body


@settings(max_examples=50, derandomize=True, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_rejected(local, body):
    assert local.converse(body).status == 400
    assert local.post("/model/cohere.embed-english-v3/invoke", body).status == 400
